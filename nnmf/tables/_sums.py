"""What is counted and added up over a table's columns, block after block: no copy of a column is made on the way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnmf.files import BLOCK, walk

_SPREAD_OF_STARS = 1.125


def extent(column: np.ndarray) -> tuple[Any, Any]:
    """Lowest and highest entry of a column that has some, NaN where one is."""
    found = [(part.min(), part.max()) for (part,) in walk(column)]
    low, high = np.array([low for low, _ in found]).min(), np.array([high for _, high in found]).max()
    return low, high


def counts_of(index: np.ndarray, n_rows: int) -> np.ndarray:
    """How often each index occurs: int64 array of shape (n_rows,). ``index``: (n,), none below 0."""
    counts = np.zeros(n_rows, np.int64)
    for (part,) in walk(index):
        counts += np.bincount(part, minlength=n_rows)
    return counts


def totals_of(index: np.ndarray, values: np.ndarray, n_rows: int) -> np.ndarray:
    """Sum of the values (n,) by their index (n,): float64 array of shape (n_rows,)."""
    totals = np.zeros(n_rows)
    for rows, part in walk(index, values):
        totals += np.bincount(rows, weights=part, minlength=n_rows)
    return totals


def mean_of(column: np.ndarray) -> float:
    """Mean of a column that has entries."""
    return sum(float(part.sum(dtype=np.float64)) for (part,) in walk(column)) / len(column)


def deviation_of(column: np.ndarray) -> float:
    """Standard deviation of a column that has entries, from their mean."""
    mean, total = mean_of(column), 0.0
    for (part,) in walk(column):
        rest = part.astype(np.float64)
        rest -= mean
        rest *= rest
        total += float(rest.sum())
    return math.sqrt(total / len(column))


def in_stars(deviation: float) -> float:
    """A spread of ratings as a multiple of that of 1 to 5 stars, to which steps and penalties are tuned; 1 where there is none."""
    return deviation / _SPREAD_OF_STARS if deviation > 0 else 1.0


def root_mean_square(column: np.ndarray) -> float:
    """Size of a column that has entries, from zero: what predicting zero would have for RMSE."""
    # Added up in float64, whose range the squares of float32 do not leave.
    squares = (float(np.einsum("i,i->", part, part, dtype=np.float64)) for (part,) in walk(column))
    return math.sqrt(sum(squares) / len(column))


def ranges_of(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranges of rows, such as users, with about a block of ratings each: the range of each row, and the ratings of each range.

    Parameters
    ----------
    counts : int array of shape (n_rows,)
        Ratings of each row.

    Returns
    -------
    ranges, sizes : int64 arrays of shape (n_rows,) and (n_ranges,)
    """
    ranges = (np.cumsum(counts, dtype=np.int64) - counts) // BLOCK
    _, ranges = np.unique(ranges, return_inverse=True)  # none is empty
    return ranges, np.bincount(ranges, weights=counts).astype(np.int64)
