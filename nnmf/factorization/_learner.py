"""What trains the factorizations: stochastic gradient descent in compiled loops, one class for each model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import ConfigError
from nnmf.models import Catalogue
from nnmf.tables import Ratings, deviation_of, in_stars
from nnmf.training import Learner, Snapshot, Tick

from . import _kernels
from ._cluster_schedule import ClusterSchedule
from ._schedule import FileGridSchedule, GridSchedule, Schedule, UserSchedule, Workers
from ._scorer import FactorScorer, copied
from ._vectors import room_for, zero_rows

# Units between zero and the mean up to which Funk SVD's steps are whole: its vectors are as long as makes their products the mean.
_FARTHEST = 20.0
# Seconds between two looks at a running epoch.
_TICK_SECONDS = 0.1


class FunkLearner(Learner):
    """Trains `FunkSVD`; the others add to it.

    Steps are measured in `unit`, the spread of the ratings, so that the defaults suit a scale of 0 to 100 as they do 1 to 5
    stars.
    """

    #: names of the parameters, tables of vectors first
    names: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors")
    #: the loop that trains a block
    kernel: ClassVar[Callable[..., None]] = staticmethod(_kernels.train_funk)
    #: whether a cluster can train it
    on_clusters: ClassVar[bool] = True

    def __init__(self, config: TrainConfig, catalogue: Catalogue, start: Snapshot | None) -> None:
        self.config = config
        self.sizes = {"user": len(catalogue.users), "item": len(catalogue.items)}
        self.n_factors, self.n_threads = config.n_factors or 0, config.n_threads or 1
        self.global_mean = catalogue.global_mean
        self.tables: dict[str, np.ndarray] = {}
        self.unit = 1.0
        self._schedule: Schedule | ClusterSchedule | None = None
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
        table = zero_rows(n, self.n_factors)
        part = table[:, : self.n_factors]
        with room_for(n, self.n_factors):
            part[:] = rng.standard_normal(part.shape, np.float32)
        part *= np.float32((self.config.init_std or 0.0) * math.sqrt(self.unit))
        part += np.float32(self._centre(name))
        return table

    def _centre(self, name: str) -> float:
        """Mean of the initial values of a table of vectors."""
        if not self.config.init_std:
            return 0.0
        centre = math.sqrt(abs(self.global_mean) / self.n_factors)
        return math.copysign(centre, self.global_mean) if name == "item_factors" else centre

    def _grown(self, name: str, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy of a table, with new rows as at the start."""
        grown = copied(table, self._size(name))
        grown[len(table) :] = self._draw(name, len(grown) - len(table), rng)
        return grown

    def _check_start(self) -> None:
        if not any(table.any() for table in self.tables.values() if table.ndim == 2):
            raise ConfigError(
                "init_std: got 0; with all factors at zero each step is zero too (a user's is the error times the item's "
                "factors, and the other way round), so the model could never learn. Give a small value above 0, such as 0.01."
            )

    @property
    def mean(self) -> float:
        """What predictions start from."""
        return 0.0

    # -- training ----------------------------------------------------------------------------------------------------
    def begin(self, train: Ratings) -> None:
        config = self.config
        if not self.tables:
            self.unit = in_stars(deviation_of(train.rating))
            rng = np.random.default_rng(config.seed)
            self.tables = {name: self._draw(name, self._size(name), rng) for name in self.names}
        self._check_start()
        self.n_streamed = len(train)
        self._schedule = self._lay_out(train)
        rate = config.learning_rate or 1.0
        self._l2 = [_penalties(n, config.l2 or 0.0, config.l2_prior or 0.0, 1 / rate) for n in self._schedule.counts]
        self._workers = Workers(self.n_threads)

    def _lay_out(self, train: Ratings) -> Schedule | ClusterSchedule:
        columns, width = (train.user, train.item, train.rating), self.tables["user_factors"].shape[1]
        settings = self.sizes["user"], self.sizes["item"], width, self.config.seed, self.n_threads
        home = train.home
        grid = GridSchedule(*columns, *settings) if home is None else FileGridSchedule(home, *columns, *settings)
        return grid if self.cluster is None else ClusterSchedule(grid, self.cluster, home)

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        assert self._schedule is not None
        looked = time.perf_counter()

        def look(done: int, squared_error: float) -> None:
            nonlocal looked
            if time.perf_counter() - looked > _TICK_SECONDS:
                tick(done, lambda: _root(squared_error / done))
                looked = time.perf_counter()

        # The order depends on (seed, epoch) alone, so that a resumed run needs no random state.
        options: dict[str, Any] = {"seed": self.config.seed, "epoch": number, "workers": self._workers, "tick": look}
        squared_error = self._schedule.run(self.kernel, *self._arguments(learning_rate), **options)
        return _root(squared_error / self.n_streamed)

    def _arguments(self, learning_rate: float) -> tuple[Any, ...]:
        """What the kernel takes after the columns: parameters and settings."""
        # A step takes its own error's share of about 2 learning_rate |mean| / unit away: beyond 1 it would add to it.
        limit = _FARTHEST * self.unit
        learning_rate *= limit / max(limit, abs(self.global_mean))
        sign = math.copysign(1, self.global_mean)  # users and items start, and stay, about this times each other
        return *(self.tables[name] for name in self.names), sign, learning_rate, self.unit, *self._l2

    def end(self) -> None:
        if self._schedule is not None:
            if isinstance(self._schedule, ClusterSchedule):
                self._schedule.close()
            self._workers.__exit__()
            self._schedule = None

    def scorer(self) -> FactorScorer:
        return FactorScorer(dict(self.tables), self.n_factors, self.mean, self.unit)

    def snapshot(self) -> FactorScorer:
        return self.scorer().copy()


class SVDLearner(FunkLearner):
    """Trains `SVD`."""

    names: ClassVar[tuple[str, ...]] = (*FunkLearner.names, "user_bias", "item_bias")
    kernel: ClassVar[Callable[..., None]] = staticmethod(_kernels.train_svd)

    def _centre(self, name: str) -> float:
        return 0.0

    @property
    def mean(self) -> float:
        return self.global_mean

    def _arguments(self, learning_rate: float) -> tuple[Any, ...]:
        tables = (self.tables[name] for name in self.names)
        return *tables, self.mean, learning_rate, self.unit, *self._l2, self.config.bias_l2


class SVDppLearner(SVDLearner):
    """Trains `SVDpp`, user by user on one thread."""

    names: ClassVar[tuple[str, ...]] = (*FunkLearner.names, "implicit_factors", "user_bias", "item_bias")
    kernel: ClassVar[Callable[..., None]] = staticmethod(_kernels.train_svdpp)
    on_clusters = False

    def _lay_out(self, train: Ratings) -> Schedule:
        sizes = self.sizes["user"], self.sizes["item"]
        train.say_in_memory("SVD++")
        return UserSchedule(train.user, train.item, train.rating, *sizes, self.config.seed)

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        found = super().epoch(number, learning_rate, tick)
        assert isinstance(self._schedule, Schedule)
        self.tables["user_vectors"] = _kernels.implicit_user_factors(
            self._schedule.starts,
            self._schedule.columns[0],
            self.tables["user_factors"],
            self.tables["implicit_factors"],
        )
        return found


def _root(mean_square: float) -> float:
    return math.sqrt(mean_square) if mean_square >= 0 else math.nan


def _penalties(counts: np.ndarray, l2: float, prior: float, most: float) -> np.ndarray:
    """Penalty of each row at each of its ratings: float32 array of the counts' shape.

    None is above the one with which a single step would take all that a row has learned; beyond it steps would swing.
    """
    penalties: np.ndarray = np.minimum(l2 * (1 + prior / np.maximum(counts, 1)), most).astype(np.float32)
    return penalties
