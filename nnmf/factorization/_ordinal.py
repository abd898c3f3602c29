"""`Grid`: the likelihood of ratings on a grid, by an ordered probit whose cut points are drawn."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np

from nnmf.errors import ConfigError

from . import _ordinal_kernels as kernels
from ._schedule import Workers

# Values a grid may have: more are no grid, and cut points between them no gain.
_MOST_LEVELS = 128
# Precision of the cut points' prior, normal about zero: all but flat.
_PRIOR = 0.01
# Ratings that are worth waking threads for.
_SHARED_RATINGS = 1 << 14


class Grid:
    """Ratings as values of a grid, the cut points between these, and draws of both them and what lies behind the ratings.

    Parameters
    ----------
    rating : float32 array of shape (n_ratings,)
    values : float64 array of shape (n_levels,), or None
        The grid; None: the values that the ratings take.
    n_chunks : int

    Attributes
    ----------
    values : float64 array of shape (n_levels,)
        The values that ratings take, rising.
    cuts : float64 array of shape (n_levels + 1,)
        The first and last are infinite.
    level : uint8 array of shape (n_ratings,)
        Which value each rating has.

    Raises
    ------
    ConfigError
        Ratings of one value, of too many, or of one that the grid lacks.

    References
    ----------
    J. Albert, S. Chib, "Bayesian analysis of binary and polychotomous response data", JASA 1993, for the latent numbers;
    cut points are drawn given the predictions alone, by Metropolis and Hastings with a Newton step for proposal.
    """

    def __init__(self, rating: np.ndarray, values: np.ndarray | None, n_chunks: int) -> None:
        if values is None:
            values = np.unique(rating)
        if not 2 <= len(values) <= _MOST_LEVELS:
            raise ConfigError(
                f"likelihood: 'ordinal' is for ratings on a grid of 2 to {_MOST_LEVELS} values, these take {len(values):,}; "
                "take 'normal'."
            )
        self.values = values.astype(np.float64)
        level = np.minimum(np.searchsorted(self.values, rating), len(values) - 1)
        if (strange := self.values[level] != rating).any():
            raise ConfigError(
                f"likelihood: the rating {rating[strange][0]:g} is none of the {len(values)} values that the model's ordinal "
                "likelihood knows; train anew with fit."
            )
        self.level = level.astype(np.uint8)
        # A value that no rating takes counts as half a one, so that cut points stay apart.
        count = np.maximum(np.bincount(level, minlength=len(values)), 0.5)
        below = np.cumsum(count)[:-1] / count.sum()
        self.cuts = np.array([-math.inf, *(kernels.quantile(p) for p in below), math.inf])
        self._chunks = np.arange(n_chunks, dtype=np.int32)
        self._edges = np.linspace(0, len(rating), n_chunks + 1).astype(np.int64)

    def copy(self) -> Grid:
        """The same grid and ratings, with cut points of its own."""
        made = copy.copy(self)
        made.cuts = self.cuts.copy()
        return made

    def draw(self, residual: np.ndarray, rng: np.random.Generator, key: np.uint64, workers: Workers) -> None:
        """Draw the cut points, then the latent numbers.

        Parameters
        ----------
        residual : float32 array of shape (n_ratings,)
            Minus the predictions; becomes the latent numbers minus them.
        """
        here = self._terms(residual, self.cuts, workers)
        drawn = here[1] + np.linalg.solve(here[2].T, rng.standard_normal(len(here[1])))
        # What a saved model holds of it is float32: a run that was resumed draws what one that was not would.
        cuts = np.array([-math.inf, *drawn.astype(np.float32).astype(np.float64), math.inf])
        chance = rng.random()
        if (np.diff(cuts[1:-1]) > 0).all():
            there = self._terms(residual, cuts, workers)
            gain = there[0] - here[0] + _log_density(self.cuts[1:-1], there) - _log_density(cuts[1:-1], here)
            if math.log(max(chance, 1e-300)) < gain:
                self.cuts = cuts
        self._walk(workers, kernels.draw_latents, residual, self.cuts, key)

    def _terms(self, residual: np.ndarray, cuts: np.ndarray, workers: Workers) -> tuple[float, np.ndarray, np.ndarray]:
        """Log density of cut points given the ratings; mean, and root of the precision, of the normal that a Newton step gives."""
        terms = np.zeros((len(self._chunks), 3, len(cuts)))
        self._walk(workers, kernels.cut_terms, residual, cuts, terms)
        gradient, diagonal, upper = terms.sum(axis=0)
        inner = cuts[1:-1]
        log_density = float(gradient[0]) - _PRIOR / 2 * float(inner @ inner)
        precision = np.diag(_PRIOR - diagonal[1:-1])
        at = np.arange(len(inner) - 1)
        precision[at, at + 1] = precision[at + 1, at] = -upper[1:-2]
        root = np.linalg.cholesky(precision)
        step = np.linalg.solve(root.T, np.linalg.solve(root, gradient[1:-1] - _PRIOR * inner))
        return log_density, inner + step, root

    def _walk(self, workers: Workers, kernel: Callable[..., None], *arguments: object) -> None:
        n_threads = workers.n_threads if len(self.level) >= _SHARED_RATINGS else 1
        workers.walk(kernel, self._chunks, n_threads, self._edges, self.level, *arguments)

    def rmse(self, residual: np.ndarray) -> float:
        """RMSE of the ratings' expectations; ``residual`` is minus the predictions."""
        answer = np.empty(len(residual))
        kernels.expected(-residual.astype(np.float64), np.ones(len(residual)), self.cuts, self.values, answer)
        error = answer - self.values[self.level]
        return math.sqrt(float(np.mean(error * error)))


def _log_density(point: np.ndarray, terms: tuple[float, np.ndarray, np.ndarray]) -> float:
    """Of a normal by its mean and the root of its precision, up to a constant."""
    _, mean, root = terms
    off = root.T @ (point - mean)
    return float(np.log(np.diag(root)).sum() - off @ off / 2)
