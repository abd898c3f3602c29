"""What trains the factorizations: stochastic gradient descent in compiled loops, one class for each model."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import ConfigError
from nnmf.models import Catalogue
from nnmf.tables import Ratings
from nnmf.training import Learner, Snapshot, Tick

from . import _blocks, _kernels
from ._scorer import FactorScorer

# Bytes of either side's factor rows that a block may touch, so that both sides' stay in a core's second-level cache.
_BLOCK_BYTES = 1 << 19
# Ratings a block should have at least, to be worth a call.
_BLOCK_RATINGS = 4096
# Blocks a side, for the threads' sake, unless they would be too small.
_MIN_BLOCKS = 8


class FunkLearner(Learner):
    """Trains `FunkSVD`; the others add to it.

    Parameters are kept in `unit`s of rating, so that the defaults suit a scale of 0 to 100 as they do 1 to 5 stars.
    """

    #: names of the parameters, tables of vectors first
    names: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors")

    def __init__(self, config: TrainConfig, catalogue: Catalogue, start: Snapshot | None) -> None:
        self.config = config
        self.sizes = {"user": len(catalogue.users), "item": len(catalogue.items)}
        self.n_factors, self.n_threads = config.n_factors or 0, config.n_threads or 1
        self.global_mean = catalogue.global_mean
        self.tables: dict[str, np.ndarray] = {}
        self.unit = 1.0
        self._pool: ThreadPoolExecutor | None = None
        if start is not None:
            assert isinstance(start.scorer, FactorScorer)
            self.unit = start.scorer.unit
            rng = np.random.default_rng((config.seed, start.epoch))
            self.tables = {name: self._grown(name, table, rng) for name, table in start.scorer.tables.items()}

    # -- parameters --------------------------------------------------------------------------------------------------
    def _size(self, name: str) -> int:
        return self.sizes["user" if name.startswith("user") else "item"]

    def _draw(self, name: str, n: int, rng: np.random.Generator) -> np.ndarray:
        """Initial values of n rows of a table."""
        if name.endswith("bias"):
            return np.zeros(n, np.float32)
        table = np.zeros((n, _kernels.padded(self.n_factors)), np.float32)
        part = table[:, : self.n_factors]
        part[:] = rng.standard_normal(part.shape, np.float32)
        part *= np.float32(self.config.init_std or 0.0)
        part += np.float32(self._centre(name))
        return table

    def _centre(self, name: str) -> float:
        """Mean of the initial values of a table of vectors."""
        if not self.config.init_std:
            return 0.0
        centre = math.sqrt(abs(self.global_mean) / self.unit / self.n_factors)
        return math.copysign(centre, self.global_mean) if name == "item_factors" else centre

    def _grown(self, name: str, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy of a table, with new rows as at the start."""
        return np.concatenate([table, self._draw(name, self._size(name) - len(table), rng)])

    def _check_start(self) -> None:
        if not any(table.any() for table in self.tables.values() if table.ndim == 2):
            raise ConfigError(
                "init_std: got 0; with all factors at zero each step is zero too (a user's is the error times the item's "
                "factors, and the other way round), so the model could never learn. Give a small value above 0, such as 0.01."
            )

    @property
    def mean(self) -> float:
        """What predictions start from, in units."""
        return 0.0

    # -- training ----------------------------------------------------------------------------------------------------
    def begin(self, train: Ratings) -> None:
        config = self.config
        sides = ((train.user, train.n_users), (train.item, train.n_items))
        counts = [_blocks.count_ratings(index, n) for index, n in sides]
        if not self.tables:
            self.unit = _unit(train.rating)
            rng = np.random.default_rng(config.seed)
            self.tables = {name: self._draw(name, self._size(name), rng) for name in self.names}
        self._check_start()
        self.n_streamed = len(train)
        self._l2 = [_penalties(count, config.l2 or 0.0, config.l2_power or 0.0) for count in counts]
        self._lay_out(train, counts)

    def _lay_out(self, train: Ratings, counts: list[np.ndarray]) -> None:
        if self.n_threads > 1:
            self._pool = ThreadPoolExecutor(self.n_threads)
        self._grid = _grid(train.n_users, train.n_items, self.tables["user_factors"].shape[1], len(train))
        *self._columns, self._starts = _blocks.lay_out(
            train.user,
            train.item,
            self._in_units(train.rating),
            _blocks.block_edges(counts[0], self._grid[0]),
            _blocks.block_edges(counts[1], self._grid[1]),
            self.config.seed,
            self.n_threads,
        )

    def _in_units(self, rating: np.ndarray) -> np.ndarray:
        return rating if self.unit == 1 else rating / np.float32(self.unit)

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        # The order depends on (seed, epoch) alone, so that a resumed run needs no random state.
        squared_error = self._train(np.random.default_rng((self.config.seed, number)), learning_rate)
        return self.unit * math.sqrt(squared_error / self.n_streamed) if squared_error >= 0 else math.nan

    def _train(self, rng: np.random.Generator, learning_rate: float) -> float:
        """One epoch; returns the total squared error in units, each rating's before its step."""
        return self._run_blocks(_kernels.train_funk, rng, *self._factors(), learning_rate, *self._l2)

    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.tables["user_factors"], self.tables["item_factors"]

    def _run_blocks(self, kernel: Any, rng: np.random.Generator, *arguments: Any) -> float:
        order = _blocks.draw_order(*self._grid, rng)
        return _blocks.run_blocks(
            kernel, order, self._grid[1], self._starts, self._pool, self.n_threads, *self._columns, *arguments
        )

    def end(self) -> None:
        if self._pool:
            self._pool.shutdown()
            self._pool = None
        self.__dict__.pop("_columns", None)

    def scorer(self) -> FactorScorer:
        return FactorScorer(self.tables, self.n_factors, self.mean, self.unit)

    def snapshot(self) -> FactorScorer:
        return self.scorer().copy()


class SVDLearner(FunkLearner):
    """Trains `SVD`."""

    names: ClassVar[tuple[str, ...]] = (*FunkLearner.names, "user_bias", "item_bias")

    def _centre(self, name: str) -> float:
        return 0.0

    @property
    def mean(self) -> float:
        return self.global_mean / self.unit

    def _train(self, rng: np.random.Generator, learning_rate: float) -> float:
        return self._run_blocks(_kernels.train_svd, rng, *self._factors(), *self._arguments(learning_rate))

    def _arguments(self, learning_rate: float) -> tuple[Any, ...]:
        biases = self.tables["user_bias"], self.tables["item_bias"]
        return *biases, self.mean, learning_rate, *self._l2, self.config.bias_l2


class SVDppLearner(SVDLearner):
    """Trains `SVDpp`, user by user on one thread."""

    names: ClassVar[tuple[str, ...]] = (*FunkLearner.names, "implicit_factors", "user_bias", "item_bias")

    def _lay_out(self, train: Ratings, counts: list[np.ndarray]) -> None:
        every_user = np.arange(train.n_users + 1, dtype=np.int32)
        all_items = np.array([0, train.n_items], np.int32)
        _, *self._columns, self._starts = _blocks.lay_out(
            train.user, train.item, self._in_units(train.rating), every_user, all_items, self.config.seed
        )

    def _train(self, rng: np.random.Generator, learning_rate: float) -> float:
        order = rng.permutation(self.sizes["user"]).astype(np.int32)
        errors = np.zeros(self.sizes["user"])
        tables = *self._factors(), self.tables["implicit_factors"]
        _kernels.train_svdpp(order, self._starts, errors, *self._columns, *tables, *self._arguments(learning_rate))
        self.tables["user_vectors"] = _kernels.implicit_user_factors(
            self._starts, self._columns[0], self.tables["user_factors"], self.tables["implicit_factors"]
        )
        return float(errors.sum())

    def scorer(self) -> FactorScorer:
        return FactorScorer(dict(self.tables), self.n_factors, self.mean, self.unit)


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


def _penalties(counts: np.ndarray, l2: float, power: float) -> np.ndarray:
    """Penalty of each row by its number of ratings: float32 array of the counts' shape."""
    counts = np.maximum(counts, 1)
    penalties: np.ndarray = (l2 * (counts / counts.mean()) ** power).astype(np.float32)
    return penalties
