"""What predicts and what trains: `Scorer`, `Learner`, and `Snapshot`, what an epoch leaves of both."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmf.errors import ConfigError
from nnmf.tables import as_index_pairs, as_timestamps

if TYPE_CHECKING:
    from nnmf.onnx import ExportedIds
    from nnmf.tables import Ratings

#: Called now and then within an epoch with the ratings done and a function that tells their RMSE so far.
Tick = Callable[[int, Callable[[], float]], None]


class Scorer(ABC):
    """What predicts: parameters that no longer change, addressed by the indices of an id map.

    What it is asked is checked here, on the border of the compiled loops. A scorer supplies `_predict` and, where it can tell,
    `_deviation` and `_interval`. They are given `columns`: users and items, int32 (n,) each, within `sizes`, and where `dated`
    a third, of timestamps, int64 (n,), or None for unknown ones.

    Attributes
    ----------
    sizes : dict of str to int
        Numbers of the "user" and the "item" indices that it knows.
    dated : bool
        Whether timestamps count.
    spread : float
        Standard deviation of ratings of which nothing is known; NaN where the scorer has no `deviation`.
    """

    sizes: dict[str, int]
    dated: bool = False
    spread: float = math.nan

    def predict(self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None) -> np.ndarray:
        """Unclipped predictions, float32 (n,), for columns of indices and of timestamps in seconds, whole numbers (n,) each.

        Raises
        ------
        DataError
            Columns of unequal length, another type, or an index beyond `sizes`; so do all that take such columns.
        """
        columns = self._columns(user, item, timestamp)
        return self._predict(*columns) if len(columns[0]) else np.empty(0, np.float32)

    def deviation(self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None) -> np.ndarray | None:
        """Standard deviations of the ratings about what `predict` answers, float32 (n,); None where that is not known."""
        return self._deviation(*self._columns(user, item, timestamp))

    def interval(
        self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None, *, level: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds that hold a rating with probability ``level``, (n,) each, where `deviation` is known.

        Raises
        ------
        ConfigError
            It is not, or ``level`` is no probability between 0 and 1.
        """
        return self._interval(*self._columns(user, item, timestamp), level=check_level(level))

    def _columns(self, user: Any, item: Any, timestamp: Any) -> tuple[Any, ...]:
        """What is asked, as the hooks take it."""
        pairs = as_index_pairs(user, item, self.sizes, lowest=0)
        seconds = as_timestamps(timestamp, len(pairs[0]))
        return (*pairs, seconds) if self.dated else pairs

    # -- what a scorer supplies --------------------------------------------------------------------------------------
    @abstractmethod
    def _predict(self, *columns: Any) -> np.ndarray:
        """What `predict` answers to one pair at least."""

    def _deviation(self, *columns: Any) -> np.ndarray | None:
        """What `deviation` answers; default: None."""
        return None

    def _interval(self, *columns: Any, level: float) -> tuple[np.ndarray, np.ndarray]:
        """What `interval` answers; default: the bounds of a normal distribution."""
        deviation = self._deviation(*columns)
        if deviation is None:
            raise ConfigError("the model knows no deviations of its predictions; take one that draws, such as 'bayes'.")
        reach, middle = NormalDist().inv_cdf((1 + level) / 2) * deviation, self._predict(*columns)
        return middle - reach, middle + reach

    @abstractmethod
    def towers(self, side: str, rows: np.ndarray | None = None) -> np.ndarray | None:
        """float32 (n_rows, width) of "user" or "item" whose dot products are the predictions; None without such.

        ``rows``: the indices wanted, in their order; default: all. Nothing but those rows is copied.
        """

    @abstractmethod
    def vectors(self) -> dict[str, np.ndarray]:
        """The learned vectors and biases by their names in this package's vocabulary."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters by name, as `nnmf.storage` keeps them."""

    @abstractmethod
    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        """Write the ONNX file."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters by name, in the arrays of whatever computes with them."""
        return self.arrays()

    def export_mean(
        self, members: Sequence[Any], path: Path, ids: ExportedIds | None, metadata: dict[str, str]
    ) -> None:
        """Write the ONNX file of the mean of what some scorers of this class predict.

        Raises
        ------
        ConfigError
            There is none of such scorers.
        """
        raise ConfigError("keep: 'mean' of such a model cannot be exported to ONNX; train it with keep='last'.")

    def newest(self) -> Mapping[str, np.ndarray]:
        """The arrays by which an epoch's scorer shows whether all its numbers are finite; default: all parameters."""
        return self.arrays()

    def alone(self, side: str) -> np.ndarray | None:
        """What is predicted of a user, or item, when the other side is unknown: float32 (n,); None: its mean rating."""
        return None


def check_level(level: Any) -> float:
    """The probability that an interval is to hold a rating with.

    Raises
    ------
    ConfigError
        It is none, or so near to 1 that no number lies between.
    """
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)) or not 0 < level < (1 + level) / 2 < 1:
        raise ConfigError(f"level: got {level!r}; give a probability between 0 and 1, such as 0.9.")
    return float(level)


class Learner(ABC):
    """What trains. It starts from drawn parameters, or from a copy of a scorer's, and never changes those of a scorer.

    Attributes
    ----------
    n_streamed : int
        Ratings an epoch trains on, negatives included; known once `begin` was called.
    advice : str
        What else, besides lower settings, helps where training on this table diverges; "" for nothing.
    cluster : distributed.Client, int or None
        Whose workers train, from `begin` to `end`; a number of workers to start; None: this process.
    """

    n_streamed: int
    advice: str = ""
    cluster: Any = None

    @abstractmethod
    def begin(self, train: Ratings) -> None:
        """Make what training on this table needs, and parameters where there are none yet."""

    @abstractmethod
    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        """Train one epoch, numbered from 1; returns the RMSE over its ratings, each predicted before its step."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """What predicts by the parameters as they stand; good until the next epoch begins."""

    @abstractmethod
    def snapshot(self) -> Scorer:
        """`scorer` with a copy of the parameters, which stays."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the arrays beyond the parameters that going on with training needs."""
        return {}

    def end(self) -> None:
        """Let go of what `begin` made for training alone."""
        return


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A model's parameters after an epoch.

    Attributes
    ----------
    epoch : int
        From 1.
    scorer : Scorer
    state : dict of str to array
        What a learner needs besides to go on from here.
    """

    epoch: int
    scorer: Scorer
    state: dict[str, np.ndarray] = field(default_factory=dict)
