"""`MeanScorer`: predicts by the mean of what many epochs' scorers do, and tells how far they lie apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmf.errors import ConfigError
from nnmf.training import Scorer

from ._low_rank import thinned

#: what the names of a mean's own arrays begin with
MEAN = "mean:"
#: scorers that are kept whole: at most so many
MOST = 16
#: pairs that are answered at a time
PAIRS = 1 << 14


def own_scorer(scorer: Scorer) -> Scorer:
    """The newest epoch's own scorer, from which training goes on, of a mean; any other itself."""
    return scorer.own if isinstance(scorer, MeanScorer) else scorer


@dataclass(frozen=True)
class Count:
    """How many scorers are averaged, the sum of their squared errors in training, and that every so many are kept whole."""

    n: int = 0
    squared_error: float = 0.0
    every: int = 1


class MeanScorer(Scorer):
    """The mean of what scorers predict; never changed once made.

    Parameters
    ----------
    own : Scorer
        The newest epoch's.
    count : Count
    draws : tuple
        What is kept of every `every`-th scorer.
    """

    def __init__(self, own: Scorer, count: Count, draws: tuple[Any, ...]) -> None:
        self.own, self.count, self.draws, self.sizes = own, count, draws, own.sizes

    def joined(self, scorer: Scorer, squared_error: float) -> MeanScorer:
        """The mean with one scorer more, whose epoch had this mean squared error."""
        n = self.count.n
        draws, every = thinned(self.draws, self.count.every, n, lambda: self._draw(scorer), MOST)
        count = Count(n + 1, self.count.squared_error + squared_error, every)
        return self._with(scorer, count, draws, add=True)

    def moved_on(self, scorer: Scorer) -> MeanScorer:
        """The same mean, with another scorer for training to go on from."""
        return self._with(scorer, self.count, self.draws, add=False)

    @abstractmethod
    def _with(self, scorer: Scorer, count: Count, draws: tuple[Any, ...], add: bool) -> MeanScorer:
        """The mean of other counts and draws; ``add``: of this scorer, too."""

    @abstractmethod
    def _draw(self, scorer: Scorer) -> Any:
        """What is kept of a scorer."""

    @abstractmethod
    def _predicted(self, draw: Any, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """What a kept scorer predicts."""

    @abstractmethod
    def _mean_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the mean, without what begins their names."""

    def _deviation(self, *columns: Any) -> np.ndarray:
        """By the variance between the kept scorers, and that of the noise, which is taken to be their error in training."""
        if len(self.draws) < 2:
            raise ConfigError(
                f"keep: {self.count.n} epochs are averaged, and deviations need two at least; train more epochs."
            )
        user, item = columns
        deviation = np.empty(len(user), np.float32)
        noise = self.count.squared_error / self.count.n
        for start in range(0, len(user), PAIRS):
            rows = slice(start, start + PAIRS)
            predicted = np.stack([self._predicted(draw, user[rows], item[rows]) for draw in self.draws])
            deviation[rows] = np.sqrt(predicted.var(axis=0, ddof=1, dtype=np.float64) + noise)
        return deviation

    def arrays(self) -> dict[str, np.ndarray]:
        numbers = np.array([self.count.n, self.count.every, self.count.squared_error])
        mine = {"numbers": numbers, **self._mean_arrays()}
        return {**self.own.arrays(), **{f"{MEAN}{name}": array for name, array in mine.items()}}

    @property
    def parameters(self) -> Mapping[str, Any]:
        mine = {name: array for name, array in self.arrays().items() if name.startswith(MEAN)}
        return {**self.own.parameters, **mine}

    def newest(self) -> Mapping[str, np.ndarray]:
        return self.own.newest()
