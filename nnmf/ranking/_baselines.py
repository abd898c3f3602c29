"""Lists to compare with: the most popular items, and random ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError
from nnmf.tables import UNKNOWN

from ._checks import as_count, as_index, as_length
from ._user_items import UserItems

# Lots are drawn for this many users at a time.
_BLOCK_USERS = 512


def popularity_factors(item: npt.ArrayLike, n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors of width 1 by which an item's score is its number of ratings, for every user.

    Parameters
    ----------
    item : indices of the train table's items, shape (n_ratings,); `UNKNOWN` (-1) is not counted.
    n_users, n_items : sizes of the tables.

    Returns
    -------
    user_factors, item_factors : float32 arrays of shape (n_users, 1) and (n_items, 1).

    Raises
    ------
    ConfigError
        A size below 0.
    DataError
        An index outside the table.
    """
    n_rows, n_columns = as_count(n_users, "n_users", 0), as_count(n_items, "n_items", 0)
    column = as_index(item, n_columns, "item", UNKNOWN)
    count = np.bincount(column[column != UNKNOWN], minlength=n_columns)
    return np.ones((n_rows, 1), np.float32), count[:, None].astype(np.float32)


def random_lists(
    n_users: int, n_items: int, n: int = 10, *, seed: int = 0, seen: UserItems | None = None
) -> np.ndarray:
    """n distinct items drawn at random for each user, every list of unseen items as likely as any other.

    Parameters
    ----------
    n_users, n_items, n, seen : sizes of the tables, the rest as of `top_n`.
    seed : seed of the draw; a user's list does not depend on how many users come after.

    Returns
    -------
    item : int32 array of shape (n_users, n), padded with -1.

    Raises
    ------
    ConfigError
        A size that cannot be, or `n` far beyond the catalogue.
    DataError
        `seen` holds other users or items.
    """
    n_rows, n_columns = as_count(n_users, "n_users", 0), as_count(n_items, "n_items", 0)
    width = as_length(n, n_rows, n_columns)
    if seen is not None:
        if seen.n_users != n_rows:
            raise DataError(f"seen holds {seen.n_users} users instead of {n_rows}; give the items of the same users.")
        seen.check(n_columns, "seen")
    rng, length = np.random.default_rng(seed), min(width, n_columns)
    item = np.full((n_rows, width), UNKNOWN, np.int32)
    for start in range(0, n_rows, _BLOCK_USERS):
        rows = np.arange(start, min(start + _BLOCK_USERS, n_rows))
        lot = rng.random((len(rows), n_columns))  # a user's items in the order of their lots are a shuffle
        if seen is not None:
            of_rows = seen.of_users(rows)
            lot[np.repeat(np.arange(len(rows)), of_rows.n_items), of_rows.item] = 2.0
        drawn = (
            np.argpartition(lot, length - 1, axis=1)[:, :length] if 0 < length < n_columns else np.argsort(lot, axis=1)
        )
        drawn = np.take_along_axis(drawn, np.take_along_axis(lot, drawn, axis=1).argsort(axis=1), axis=1)
        left = np.take_along_axis(lot, drawn, axis=1) < 1
        item[rows, :length] = np.where(left, drawn, UNKNOWN)
    return item
