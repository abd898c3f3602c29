"""`Factorization`: what Funk SVD, SVD and SVD++ have in common: parameters, layout, prediction, vectors and files; no MXNet."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import ConfigError
from nnmf.files import Writer, write_arrays
from nnmf.models import Model, Tick
from nnmf.onnx import ExportedIds, export_factors_onnx
from nnmf.tables import Ratings

from . import _blocks, _kernels

# Bytes of either side's factor rows that a block may touch, so that both sides' stay in a core's second-level cache.
_BLOCK_BYTES = 1 << 19
# Ratings a block should have at least, to be worth a call.
_BLOCK_RATINGS = 4096
# Blocks a side, for the threads' sake, unless they would be too small.
_MIN_BLOCKS = 8


class Factorization(Model):
    """What the three have in common; see `SVD`.

    Parameters are kept in `unit`s of rating, so that the defaults suit a scale of 0 to 100 as they do 1 to 5 stars.
    """

    suffix = "npz"
    defaults: ClassVar[dict[str, Any]]
    #: names of the parameters that are tables of vectors
    tables: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors")

    def __init__(self, config: TrainConfig | None = None, **settings: Any) -> None:
        given = TrainConfig.from_dict({**(config.to_dict() if config else {}), **settings})
        defaults = {**self.defaults, "n_threads": os.cpu_count() or 1}
        super().__init__(given.with_defaults(self.kind, defaults))
        self._pool: ThreadPoolExecutor | None = None
        #: a power of two near the spread of the ratings on a scale of 1 to 5: what parameters and steps are measured in
        self.unit = 1.0

    # Narrowed views of what with_defaults filled in.
    @property
    def n_factors(self) -> int:
        """Width of the vectors."""
        return int(self.config.n_factors or 0)

    @property
    def user_factors(self) -> np.ndarray:
        """p_u of each user: float32 array of shape (n_users, n_factors)."""
        return self._view("user_factors")

    @property
    def item_factors(self) -> np.ndarray:
        """q_i of each item: float32 array of shape (n_items, n_factors)."""
        return self._view("item_factors")

    def _view(self, name: str) -> np.ndarray:
        """A table of vectors without its padding, such that products of two are ratings."""
        self.check_trained()
        table: np.ndarray = self.parameters[name][:, : self.n_factors]
        return table if self.unit == 1 else table * np.float32(math.sqrt(self.unit))

    def _in_units(self, rating: np.ndarray) -> np.ndarray:
        return rating if self.unit == 1 else rating / np.float32(self.unit)

    # -- training ----------------------------------------------------------------------------------------------------
    def _begin(self, train: Ratings) -> None:
        config = self.config
        counts = [
            _blocks.count_ratings(index, n) for index, n in ((train.user, train.n_users), (train.item, train.n_items))
        ]
        if not self.parameters:
            self.unit = _unit(train.rating)
            self._initialise(train, np.random.default_rng(config.seed))
        self._check_start()
        self.n_streamed = len(train)
        self._l2 = [_penalties(count, config.l2 or 0.0, config.l2_power or 0.0) for count in counts]
        self._lay_out(train, counts)

    def _end(self) -> None:
        if self._pool:
            self._pool.shutdown()
            self._pool = None
        del self._columns, self._starts

    def _initialise(self, train: Ratings, rng: np.random.Generator) -> None:
        for name, n in (("user_factors", train.n_users), ("item_factors", train.n_items)):
            self.parameters[name] = self._draw(n, self._centre(name), rng)

    def _centre(self, name: str) -> float:
        """Mean of the initial values of a table of vectors."""
        return 0.0

    def _draw(self, n: int, centre: float, rng: np.random.Generator) -> np.ndarray:
        table = np.zeros((n, _kernels.padded(self.n_factors)), np.float32)
        part = table[:, : self.n_factors]
        part[:] = rng.standard_normal(part.shape, np.float32)
        part *= np.float32(self.config.init_std or 0.0)
        part += np.float32(centre)
        return table

    def _check_start(self) -> None:
        if not any(self.parameters[name].any() for name in self.tables):
            raise ConfigError(
                "init_std: got 0; with all factors at zero each step is zero too (a user's is the error times the item's "
                "factors, and the other way round), so the model could never learn. Give a small value above 0, such as 0.01."
            )

    def _lay_out(self, train: Ratings, counts: list[np.ndarray]) -> None:
        width = self.parameters["user_factors"].shape[1]
        if (self.config.n_threads or 1) > 1:
            self._pool = ThreadPoolExecutor(self.config.n_threads)
        self._grid = _grid(train.n_users, train.n_items, width, len(train))
        *self._columns, self._starts = _blocks.lay_out(
            train.user,
            train.item,
            self._in_units(train.rating),
            _blocks.block_edges(counts[0], self._grid[0]),
            _blocks.block_edges(counts[1], self._grid[1]),
            self.config.seed,
            self.config.n_threads or 1,
        )

    def _epoch(self, epoch: int, learning_rate: float, tick: Tick) -> float:
        n_ratings = int(self._starts[-1])
        # The order depends on (seed, epoch) alone, so that a resumed run needs no random state.
        squared_error = self._train(np.random.default_rng((self.config.seed, epoch)), learning_rate)
        return self.unit * math.sqrt(squared_error / n_ratings) if squared_error >= 0 else math.nan

    def _train(self, rng: np.random.Generator, learning_rate: float) -> float:
        """One epoch; returns the total squared error, each rating's before its step."""
        raise NotImplementedError

    def _run_blocks(self, kernel: Any, rng: np.random.Generator, *arguments: Any) -> float:
        order = _blocks.draw_order(*self._grid, rng)
        n_threads = self.config.n_threads or 1
        return _blocks.run_blocks(
            kernel, order, self._grid[1], self._starts, self._pool, n_threads, *self._columns, *arguments
        )

    # -- predicting --------------------------------------------------------------------------------------------------
    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        prediction = np.empty(len(user), np.float32)
        _kernels.predict(_read_only(user), _read_only(item), *self._linear(), prediction)
        if self.unit != 1:
            prediction *= np.float32(self.unit)
        return prediction

    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """(user vectors, item vectors, user bias, item bias, mean), in units: their sum and dot product is the prediction."""
        no_bias = np.zeros(self.n_users, np.float32), np.zeros(self.n_items, np.float32)
        return self._user_vectors(), self.parameters["item_factors"], *no_bias, 0.0

    def _in_ratings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """What `_linear` gives, without padding and measured in ratings."""
        users, items, user_bias, item_bias, mean = self._linear()
        root, unit = np.float32(math.sqrt(self.unit)), np.float32(self.unit)
        users, items = users[:, : self.n_factors] * root, items[:, : self.n_factors] * root
        return users, items, user_bias * unit, item_bias * unit, mean * self.unit

    def _towers(self) -> tuple[np.ndarray, np.ndarray]:
        users, items, user_bias, item_bias, mean = self._in_ratings()
        ones = [np.ones((n, 1), np.float32) for n in (self.n_users, self.n_items)]
        return (
            np.hstack([users, user_bias[:, None] + np.float32(mean), ones[0]]),
            np.hstack([items, ones[1], item_bias[:, None]]),
        )

    def _vectors(self) -> dict[str, np.ndarray]:
        found = {name: self._view(name) for name in self.tables if name in self.parameters}
        if "user_bias" in self.parameters:
            found |= {name: self.parameters[name] * np.float32(self.unit) for name in ("user_bias", "item_bias")}
            found["global_mean"] = np.array(self.global_mean)
        if "user_vectors" in self.parameters:
            found["user_vectors"] = self._view("user_vectors")
        return found

    def _grow(self, n_users: int, n_items: int) -> None:
        rng = np.random.default_rng((self.config.seed, len(self.history)))
        for name, table in self.parameters.items():
            n_new = (n_users if name.startswith("user") else n_items) - len(table)
            new = self._draw(n_new, self._centre(name), rng) if table.ndim == 2 else np.zeros(n_new, np.float32)
            self.parameters[name] = np.concatenate([table, new])

    def _user_vectors(self) -> np.ndarray:
        """The vectors that stand for the users in a prediction: float32 array of shape (n_users, width)."""
        table: np.ndarray = self.parameters["user_factors"]
        return table

    def _export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        users, items, user_bias, item_bias, mean = self._in_ratings()
        export_factors_onnx(users, items, user_bias, item_bias, mean, path, ids=ids, metadata=metadata)

    # -- saving ------------------------------------------------------------------------------------------------------
    def _files(self) -> dict[str, Writer]:
        return {}

    def _content(self) -> dict[str, Any]:
        return {"unit": self.unit}

    @classmethod
    def _from_content(cls, content: dict[str, Any], config: TrainConfig, folder: Path) -> Factorization:
        model = cls(config)
        model.unit = content["unit"]
        return model

    def _read_arrays(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: self._widened(arrays[name]) for name in arrays}

    def _widened(self, array: np.ndarray) -> np.ndarray:
        """A table of vectors with the padding that the kernels want."""
        if array.ndim == 1:
            return array
        table = np.zeros((len(array), _kernels.padded(self.n_factors)), np.float32)
        table[:, : self.n_factors] = array
        return table

    def _write_arrays(self, arrays: dict[str, Any], path: Path) -> None:
        narrow = {name: array[:, : self.n_factors] if array.ndim == 2 else array for name, array in arrays.items()}
        write_arrays(path, narrow)


def _grid(n_users: int, n_items: int, width: int, n_ratings: int) -> tuple[int, int]:
    """(user blocks, item blocks) of the grid of ratings; the number of threads has no say, so that it changes no result."""
    most = max(1, math.isqrt(n_ratings // _BLOCK_RATINGS))
    fewest = min(_MIN_BLOCKS, most)
    most = max(fewest, n_ratings // _BLOCK_RATINGS // _MIN_BLOCKS)
    user_blocks, item_blocks = (min(max(-(-4 * n * width // _BLOCK_BYTES), fewest), most) for n in (n_users, n_items))
    return user_blocks, item_blocks


def _unit(rating: np.ndarray) -> float:
    """The power of two by which ratings are divided so that their spread is about that of 1 to 5 stars, 1.1.

    Learning rate and penalties then suit any scale; 1 for stars and half stars, and exact in floating point for others.
    """
    spread = float(rating.std(dtype=np.float64))
    return 2.0 ** round(math.log2(spread / 1.1)) if spread > 0 else 1.0


def _read_only(index: np.ndarray) -> np.ndarray:
    """The array as tables hand theirs over: Numba would compile a loop anew for one that may be written."""
    view = np.ascontiguousarray(index).view()
    view.flags.writeable = False
    return view


def _penalties(counts: np.ndarray, l2: float, power: float) -> np.ndarray:
    """Penalty of each row by its number of ratings: float32 array of the counts' shape."""
    counts = np.maximum(counts, 1)
    penalties: np.ndarray = (l2 * (counts / counts.mean()) ** power).astype(np.float32)
    return penalties
