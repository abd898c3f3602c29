"""Lists from scores that are there already, for models that have no factors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError
from nnmf.tables import UNKNOWN

from ._checks import as_length, as_order, barred_items
from ._index import padded
from ._user_items import UserItems


def top_n_of_scores(
    scores: np.ndarray,
    n: int,
    *,
    seen: UserItems | None = None,
    allowed: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
    item_order: npt.ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`top_n` of scores that are there already, for models that have no factors.

    Parameters
    ----------
    scores : float32 array of shape (n_users, n_items).
    n, allowed, excluded, item_order : as of `top_n`.
    seen : items of each of these users that are not listed for them.

    Returns
    -------
    item, score : int32 and float32 arrays of shape (n_users, n), as of `top_n`.

    Raises
    ------
    ConfigError
        `n` below 1 or far beyond the catalogue.
    DataError
        Scores that are no table of finite numbers, or an index outside it.
    """
    table = np.asarray(scores)
    if table.ndim != 2 or table.dtype.kind not in "fiu" or not np.isfinite(table).all():
        raise DataError(f"scores: expected a table of finite numbers, got {table.dtype} of shape {table.shape}.")
    n_users, n_items = table.shape
    length, rank = as_length(n, n_users, n_items), as_order(item_order, n_items)
    barred = np.tile(barred_items(n_items, allowed, excluded), (n_users, 1))
    if seen is not None:
        if seen.n_users != n_users:
            raise DataError(f"seen holds {seen.n_users} users, the scores {n_users}; give both for the same users.")
        seen.check(n_items, "seen")
        barred[np.repeat(np.arange(n_users), seen.n_items), seen.item] = True
    filled = min(length, n_items)
    item, score = np.full((n_users, filled), UNKNOWN, np.int32), np.full((n_users, filled), np.nan, np.float32)
    if filled:
        below = np.where(barred, np.inf, -table.astype(np.float32, copy=False))
        # All that stand no lower than the last in the list, and only they, need sorting; there are more where scores tie.
        last = np.partition(below, filled - 1, axis=1)[:, filled - 1, None]
        row, column = np.nonzero((below <= last) & ~barred)
        order = np.lexsort((rank[column], below[row, column], row))
        row, column = row[order], column[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        row, column, place = (part[place < filled] for part in (row, column, place))
        item[row, place], score[row, place] = column, table[row, column]
    return padded(item, score, length)
