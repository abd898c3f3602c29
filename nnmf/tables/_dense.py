"""Whole ids that lie close together: where a table over their range is small enough to be worth it."""

from __future__ import annotations

import numpy as np

# A dense lookup table is used while it is at most this many times as long as the ids themselves (or small outright):
# it turns a search of log2(n) steps an id into one memory read.
_DENSE_FACTOR, _DENSE_MIN = 8, 1 << 20


def dense_span(ids: np.ndarray, least: int = _DENSE_MIN) -> tuple[int, int] | None:
    """Lowest and highest id where a table over their range is small enough to be worth it."""
    if ids.dtype.kind != "i" or len(ids) == 0:
        return None
    low, high = int(ids.min()), int(ids.max())
    return (low, high) if high - low < max(least, _DENSE_FACTOR * len(ids)) else None


def above(ids: np.ndarray, low: int, high: int) -> np.ndarray:
    """``ids - low``, right for ids from low to high: in 64 bits where the ids' own type may not hold it."""
    return np.subtract(ids, low, dtype=ids.dtype if high - low < 2**31 and abs(low) < 2**31 else np.int64)
