"""`Factorization`: what Funk SVD, SVD and SVD++ have in common: parameters, layout, prediction, vectors and files; no MXNet."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nnmf._compiled import usable_cores
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError
from nnmf.files import Writer, write_arrays
from nnmf.models import Model, Tick
from nnmf.onnx import ExportedIds, export_factors_onnx
from nnmf.tables import Ratings

from . import _kernels
from ._schedule import GridSchedule, Schedule, Workers
from ._vectors import zero_rows

# Spread of the ratings that the defaults suit as they are: that of 1 to 5 stars.
_SPREAD_OF_STARS = 1.125
# Seconds between two looks at a running epoch.
_TICK_SECONDS = 0.1


class Factorization(Model):
    """What the three have in common; see `SVD`.

    Parameters are in ratings; steps are measured in `unit`s of them, so that the defaults suit a scale of 0 to 100 as they do 1
    to 5 stars.
    """

    suffix = "npz"
    defaults: ClassVar[dict[str, Any]]
    #: names of the parameters that are tables of vectors
    tables: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors")
    #: the loop over ratings
    _kernel: ClassVar[Any]

    def __init__(self, config: TrainConfig | None = None, **settings: Any) -> None:
        given = TrainConfig.from_dict({**(config.to_dict() if config else {}), **settings})
        defaults = {**self.defaults, "n_threads": usable_cores()}
        super().__init__(given.with_defaults(self.kind, defaults))
        #: spread of the ratings as a multiple of that of 1 to 5 stars: what the steps of training are measured in
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
        """A table of vectors without its padding."""
        self.check_trained()
        table: np.ndarray = self.parameters[name][:, : self.n_factors]
        return table

    # -- training ----------------------------------------------------------------------------------------------------
    def _begin(self, train: Ratings) -> None:
        config = self.config
        if not self.parameters:
            self.unit = _unit(train.rating)
            self._initialise(train, np.random.default_rng(config.seed))
        self._check_start()
        self.n_streamed = len(train)
        self._schedule = self._lay_out(train)
        self._l2 = [_penalties(count, config.l2 or 0.0, config.l2_power or 0.0) for count in self._schedule.counts]
        self._workers = Workers(config.n_threads or 1)

    def _end(self) -> None:
        if hasattr(self, "_workers"):
            self._workers.__exit__()
            del self._workers, self._schedule

    def _initialise(self, train: Ratings, rng: np.random.Generator) -> None:
        for name, n in (("user_factors", train.n_users), ("item_factors", train.n_items)):
            self.parameters[name] = self._draw(n, self._centre(name), rng)

    def _centre(self, name: str) -> float:
        """Mean of the initial values of a table of vectors."""
        return 0.0

    def _draw(self, n: int, centre: float, rng: np.random.Generator) -> np.ndarray:
        table = zero_rows(n, self.n_factors)
        part = table[:, : self.n_factors]
        part[:] = rng.standard_normal(part.shape, np.float32)
        part *= np.float32((self.config.init_std or 0.0) * math.sqrt(self.unit))
        part += np.float32(centre)
        return table

    def _check_start(self) -> None:
        if not any(self.parameters[name].any() for name in self.tables):
            raise ConfigError(
                "init_std: got 0; with all factors at zero each step is zero too (a user's is the error times the item's "
                "factors, and the other way round), so the model could never learn. Give a small value above 0, such as 0.01."
            )

    def _lay_out(self, train: Ratings) -> Schedule:
        columns, width = (train.user, train.item, train.rating), self.parameters["user_factors"].shape[1]
        sizes = train.n_users, train.n_items
        return GridSchedule(*columns, *sizes, width, self.config.seed, self.config.n_threads or 1)

    def _epoch(self, epoch: int, learning_rate: float, tick: Tick) -> float:
        looked = time.perf_counter()

        def look(done: int, squared_error: float) -> None:
            nonlocal looked
            if time.perf_counter() - looked > _TICK_SECONDS:
                tick(done, lambda: math.sqrt(squared_error / done))
                looked = time.perf_counter()

        # The order depends on (seed, epoch) alone, so that a resumed run needs no random state.
        options: dict[str, Any] = {"seed": self.config.seed, "epoch": epoch, "workers": self._workers, "tick": look}
        squared_error = self._schedule.run(self._kernel, *self._arguments(learning_rate), **options)
        return math.sqrt(squared_error / self._schedule.n_ratings)

    def _arguments(self, learning_rate: float) -> tuple[Any, ...]:
        """What the kernel takes after the columns: parameters and settings."""
        raise NotImplementedError

    # -- predicting --------------------------------------------------------------------------------------------------
    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        prediction = np.empty(len(user), np.float32)
        _kernels.predict(_read_only(user), _read_only(item), *self._linear(), prediction)
        return prediction

    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """(user vectors, item vectors, user bias, item bias, mean): their sum and dot product is the prediction."""
        no_bias = np.zeros(self.n_users, np.float32), np.zeros(self.n_items, np.float32)
        return self._user_vectors(), self.parameters["item_factors"], *no_bias, 0.0

    def _narrow(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """What `_linear` gives, without padding."""
        users, items, user_bias, item_bias, mean = self._linear()
        return users[:, : self.n_factors], items[:, : self.n_factors], user_bias, item_bias, mean

    def _towers(self) -> tuple[np.ndarray, np.ndarray]:
        users, items, user_bias, item_bias, mean = self._narrow()
        ones = [np.ones((n, 1), np.float32) for n in (self.n_users, self.n_items)]
        return (
            np.hstack([users, user_bias[:, None] + np.float32(mean), ones[0]]),
            np.hstack([items, ones[1], item_bias[:, None]]),
        )

    def _vectors(self) -> dict[str, np.ndarray]:
        found = {name: self._view(name) for name in self.tables if name in self.parameters}
        if "user_bias" in self.parameters:
            found |= {name: self.parameters[name] for name in ("user_bias", "item_bias")}
            found["global_mean"] = np.array(self.global_mean)
        if "user_vectors" in self.parameters:
            found["user_vectors"] = self._view("user_vectors")
        return found

    def _grow(self, n_users: int, n_items: int) -> None:
        rng = np.random.default_rng((self.config.seed, len(self.history)))
        for name, table in self.parameters.items():
            n_new = (n_users if name.startswith("user") else n_items) - len(table)
            if table.ndim == 1:
                self.parameters[name] = np.concatenate([table, np.zeros(n_new, np.float32)])
                continue
            grown = zero_rows(len(table) + n_new, self.n_factors)
            grown[: len(table)], grown[len(table) :] = table, self._draw(n_new, self._centre(name), rng)
            self.parameters[name] = grown

    def _user_vectors(self) -> np.ndarray:
        """The vectors that stand for the users in a prediction: float32 array of shape (n_users, width)."""
        table: np.ndarray = self.parameters["user_factors"]
        return table

    def _export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        users, items, user_bias, item_bias, mean = self._narrow()
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
        table = zero_rows(len(array), self.n_factors)
        table[:, : self.n_factors] = array
        return table

    def _write_arrays(self, arrays: dict[str, Any], path: Path) -> None:
        narrow = {name: array[:, : self.n_factors] if array.ndim == 2 else array for name, array in arrays.items()}
        write_arrays(path, narrow)


def _unit(rating: np.ndarray) -> float:
    """The spread of ratings as a multiple of that of 1 to 5 stars, to which learning rates and penalties are tuned."""
    spread = float(rating.std(dtype=np.float64))
    return spread / _SPREAD_OF_STARS if spread > 0 else 1.0


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
