"""`starting_std`: how large the factors are to be that chains start from."""

from __future__ import annotations

import math

import numpy as np

from nnmf._compiled import compiled
from nnmf.files import walk
from nnmf.models import DampedBiases
from nnmf.tables import Ratings, deviation_of, root_mean_square

_ITERATIONS = 15
# Of the size from which the strongest factor would grow by itself: chains that find it a little later are worth more, for
# their first draws are of fewer factors (chosen on parts of u1.base and on drawn tables).
_SHARE = 0.85
_LEAST, _MOST = 0.02, 0.5


def starting_std(train: Ratings) -> float:
    """Standard deviation of the factors to start a chain with, for ratings in units of their standard deviation.

    Too small ones are taken for noise for many sweeps before they grow, too large ones fit noise at once. Of two tables of
    standard deviation s whose product explains a residual e with precision a, the next draw's mean is ``a s^2 e``, and grows where
    ``a s^2`` times the largest singular value of the table of residuals is above 1.

    Parameters
    ----------
    train : Ratings
        Every user and item known.

    Returns
    -------
    float
    """
    biases = DampedBiases.of(train)
    residual, done = np.empty(len(train), np.float32), 0
    for user, item, rating in walk(train.user, train.item, train.rating):
        residual[done : done + len(rating)] = rating - biases.predict(user, item)
        done += len(rating)
    variance = root_mean_square(residual) ** 2
    largest = _largest_singular_value(train, residual)
    if not variance * largest > 0:
        return _LEAST
    # In units of the ratings' spread a residual is e / spread, its precision spread^2 / variance.
    spread = deviation_of(train.rating)
    return min(max(_SHARE * math.sqrt(variance / (spread * largest)), _LEAST), _MOST)


def _largest_singular_value(train: Ratings, residual: np.ndarray) -> float:
    """Of the table of users by items that holds the residuals, by power iteration."""
    item: np.ndarray = np.random.default_rng(0).standard_normal(train.n_items)
    user = np.zeros(train.n_users)
    length = 0.0
    for _ in range(_ITERATIONS):
        item /= max(float(np.linalg.norm(item)), 1e-300)
        _times(train.item, train.user, residual, item, user)
        length = float(np.linalg.norm(user))
        _times(train.user, train.item, residual, user, item)
    return length


@compiled
def _times(from_row, to_row, value, known, found) -> None:  # type: ignore[no-untyped-def]
    """``found[to_row] = sum of value * known[from_row]`` over the ratings."""
    found[:] = 0.0
    for n in range(len(value)):
        found[np.uint64(to_row[n])] += value[n] * known[np.uint64(from_row[n])]
