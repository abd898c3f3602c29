"""`GridScorer`: predicts ratings that are values of a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import ConfigError
from nnmf.onnx import ExportedIds

from . import _ordinal_kernels as kernels
from ._bayes_scorer import PosteriorScorer
from ._posterior import Totals

# Pairs whose probabilities are held at a time.
_PAIRS = 1 << 14


class GridScorer(PosteriorScorer):
    """Prediction: the expectation of a rating whose latent number is normal about the mean over draws, as `Grid` has it.

    The latent number's variance is 1 and that between the draws; the cut points are the means of theirs.

    Parameters
    ----------
    values : float64 array of shape (n_values,)
        The grid.
    others : as `PosteriorScorer`.
    """

    def __init__(
        self,
        totals: Totals,
        centre: float,
        spread: float,
        vocabulary: dict[str, Any],
        digest: str,
        values: np.ndarray,
    ) -> None:
        super().__init__(totals, centre, spread, vocabulary, digest)
        self.values = values
        self._cuts = np.array([-math.inf, *totals.cuts / totals.n_draws, math.inf])

    def _latent(self, index: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the latent numbers, float64 (n,) each."""
        between = self._variance(index) if len(self._settled) > 1 else 0.0
        return self._mean(index), 1.0 + between + np.zeros(len(index["user"]))

    def _predict(self, *columns: Any) -> np.ndarray:
        return self._expected(*self._latent(self._rows(*columns)))

    def _expected(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        answer = np.empty(len(mean))
        kernels.expected(mean, variance, self._cuts, self.values, answer)
        return answer.astype(np.float32)

    def probabilities(self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None) -> np.ndarray:
        """Probability of each value of the grid: float64 (n, n_values); columns and errors are those of `predict`."""
        return self._shares(*self._columns(user, item, timestamp))

    def _shares(self, *columns: Any) -> np.ndarray:
        mean, variance = self._latent(self._rows(*columns))
        up_to = np.empty((len(self._cuts), len(mean)))
        for cut, below in zip(self._cuts, up_to, strict=True):
            # The expectation of a rating that is 1 below a cut point and 0 beyond is the probability to lie below.
            kernels.expected(mean, variance, np.array([-math.inf, cut, math.inf]), np.array([1.0, 0.0]), below)
        return np.diff(up_to, axis=0).T

    def _parts(self, *columns: Any) -> Iterator[tuple[slice, np.ndarray]]:
        """`_shares` of some rows at a time: many times as large as what is made of them.

        Raises
        ------
        ConfigError
            Too few draws to tell how far they lie apart.
        """
        self._check_draws()
        for start in range(0, len(columns[0]), _PAIRS):
            rows = slice(start, start + _PAIRS)
            yield rows, self._shares(*(None if column is None else column[rows] for column in columns))

    def _deviation(self, *columns: Any) -> np.ndarray:
        deviation = np.empty(len(columns[0]), np.float32)
        for rows, share in self._parts(*columns):
            deviation[rows] = np.sqrt(np.maximum(share @ self.values**2 - (share @ self.values) ** 2, 0.0))
        return deviation

    def _interval(self, *columns: Any, level: float) -> tuple[np.ndarray, np.ndarray]:
        bounds = np.empty((2, len(columns[0])))
        for rows, share in self._parts(*columns):
            bounds[:, rows] = self._quantiles(share, ((1 - level) / 2, (1 + level) / 2))
        return bounds[0], bounds[1]

    def _quantiles(self, share: np.ndarray, probabilities: tuple[float, ...]) -> list[np.ndarray]:
        """Quantiles, each value's probability spread evenly over all that is nearer to it than to another."""
        up_to = np.concatenate([np.zeros((len(share), 1)), np.cumsum(share, axis=1)], axis=1)
        middles = (self.values[1:] + self.values[:-1]) / 2
        edges = np.array([2 * self.values[0] - middles[0], *middles, 2 * self.values[-1] - middles[-1]])
        bounds = []
        for probability in probabilities:
            # The last edge that less than the probability lies below, and the way on from it to the next.
            at = np.clip((up_to < probability).sum(axis=1) - 1, 0, len(self.values) - 1)
            rows = np.arange(len(share))
            part = (probability - up_to[rows, at]) / np.maximum(share[rows, at], np.finfo(np.float64).tiny)
            bounds.append(edges[at] + np.clip(part, 0.0, 1.0) * (edges[at + 1] - edges[at]))
        return bounds

    def towers(self, side: str, rows: np.ndarray | None = None) -> np.ndarray | None:
        return None  # expectations are no dot products

    def alone(self, side: str) -> np.ndarray:
        latent = (super().alone(side).astype(np.float64) - self.centre) / self.spread
        return self._expected(latent, np.full(len(latent), 1.0))

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        raise ConfigError(
            "likelihood: expectations of ratings on a grid have no translation to ONNX; train with likelihood='normal' for it."
        )
