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

if TYPE_CHECKING:
    from nnmf.onnx import ExportedIds
    from nnmf.tables import Ratings

#: Called now and then within an epoch with the ratings done and a function that tells their RMSE so far.
Tick = Callable[[int, Callable[[], float]], None]


class Scorer(ABC):
    """What predicts: parameters that no longer change, addressed by the indices of an id map.

    What it is asked is checked before: indices are int32 and lie within the tables, which all have a training rating.

    Attributes
    ----------
    dated : bool
        Whether `predict` and `deviation` take a third column, of timestamps in seconds, int64 (n,), or None for unknown ones.
    spread : float
        Standard deviation of ratings of which nothing is known; NaN where the scorer has no `deviation`.
    """

    dated: bool = False
    spread: float = math.nan

    @abstractmethod
    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Unclipped predictions, float32 (n,), for indices, int32 (n,) each."""

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

    def deviation(self, user: np.ndarray, item: np.ndarray) -> np.ndarray | None:
        """Standard deviations of the ratings about what `predict` answers, float32 (n,); None where that is not known."""
        return None

    def interval(self, *columns: np.ndarray | None, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Bounds that hold a rating with probability ``level``, (n,) each; ``columns`` are those of `deviation`, which it needs.

        Default: those of a normal distribution.
        """
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.deviation(*columns)  # type: ignore[operator, arg-type]
        middle = self.predict(*columns)  # type: ignore[arg-type]
        return middle - reach, middle + reach

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


class Learner(ABC):
    """What trains. It starts from drawn parameters, or from a copy of a scorer's, and never changes those of a scorer.

    Attributes
    ----------
    n_streamed : int
        Ratings an epoch trains on, negatives included; known once `begin` was called.
    advice : str
        What else, besides lower settings, helps where training on this table diverges; "" for nothing.
    """

    n_streamed: int
    advice: str = ""

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
