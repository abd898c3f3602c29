"""What every argument of this package must pass before a compiled loop or a large allocation sees it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError
from nnmf.tables import extent

# Places of lists beyond the items there are that are filled up without a question: 1 GB of indices and scores.
_PADDED_PLACES = 1 << 27


def as_index(values: npt.ArrayLike, length: int | None, what: str, lowest: int = 0) -> np.ndarray:
    """A column of indices, each at least `lowest` and below `length`: a contiguous int32 view or copy that is read-only."""
    index = np.asarray(values)
    if index.size == 0:
        index = index.astype(np.int32)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise DataError(f"{what}: expected one column of indices, got {index.dtype} of shape {index.shape}.")
    limit = np.iinfo(np.int32).max if length is None else length
    low, high = extent(index) if len(index) else (lowest, lowest)  # of a mapped column a block at a time
    if low < lowest or (len(index) and high >= limit):
        wrong = index[(index < lowest) | (index >= limit)][0]
        raise DataError(f"{what}: index {wrong} lies outside the table of {limit}.")
    return read_only(np.ascontiguousarray(index, np.int32))


def as_order(item_order: npt.ArrayLike | None, n_items: int) -> np.ndarray:
    """The rank of each item: a permutation of 0 .. n_items - 1, int32."""
    if item_order is None:
        return read_only(np.arange(n_items, dtype=np.int32))
    rank = as_index(item_order, n_items, "item_order")
    if len(rank) != n_items or (np.bincount(rank, minlength=n_items) != 1).any():
        raise DataError(f"item_order: expected each of 0 .. {n_items - 1} once, one for each item.")
    return rank


def as_count(value: object, what: str, lowest: int = 1) -> int:
    """A whole number of at least `lowest`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
        raise ConfigError(f"{what}: got {value!r} instead of at least {lowest}")
    return int(value)


def as_length(n: object, n_lists: int, n_items: int) -> int:
    """The length of lists of which no more than `n_items` places can be filled."""
    length = as_count(n, "n")
    if length > n_items and length * n_lists > _PADDED_PLACES:
        raise ConfigError(
            f"n: got {length} for {n_items} items; the rest of each list would be empty, ask for at most {n_items}"
        )
    return length


def barred_items(n_items: int, allowed: npt.ArrayLike | None, excluded: npt.ArrayLike | None) -> np.ndarray:
    """Which items are not to be listed: bool (n_items,)."""
    barred = np.full(n_items, allowed is not None)
    if allowed is not None:
        barred[as_index(allowed, n_items, "allowed")] = False
    if excluded is not None:
        barred[as_index(excluded, n_items, "excluded")] = True
    return barred


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written: loops are compiled for such, and only once."""
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view
