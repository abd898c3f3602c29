"""`ItemIndex`: items laid out once, to be asked for the best of them again and again; `top_n` asks one once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError
from nnmf.tables import UNKNOWN

from ._checks import as_count, as_index, as_length, as_order, barred_items, read_only
from ._user_items import UserItems

# Users a thread takes at a time: handing them over costs nothing beside them, and no thread waits long for the last.
_BLOCK_USERS = 512
# Laying an item out takes about as long as scoring it for so many users.
_LAYING_OUT = 64
# For "no item" where a loop expects a column: read-only as others are, for loops are compiled for one or the other.
_NO_ITEMS, _NO_STARTS, _NONE_BARRED = (read_only(np.empty(0, kind)) for kind in (np.int32, np.int64, bool))


class ItemIndex:
    """Items' factors, laid out for finding the best of them for any user in a time that depends on the items alone.

    The score of an item is ``user_factors[user] . item_factors[item]``, plus both biases where there are some, of the numbers as
    float32, added up in double precision and rounded to float32; of items with equal scores the one with the lower `item_order`
    comes first. So an answer depends on nothing else: neither on which users are asked together nor on the number of threads.

    Scores of all items are found in single precision, 32 items by 16 users at a time, and never stored; those that could be
    among the n best within that arithmetic's error are scored again as above. The first question lays the items out (one float32
    copy of their factors); after that an index never changes, and threads may ask it side by side. The arrays given must not
    change either.

    Parameters
    ----------
    item_factors : array of shape (n_items, n_factors).
    item_bias : array of shape (n_items,); default: none.
    item_order : rank of each item's id, a permutation of 0 .. n_items-1; default: the index.
    cosine : score by the cosine of the angle between the user's factors and the item's, for finding neighbours; 0 where either
        are all zero. Without biases.

    Raises
    ------
    DataError
        Factors that are no table of numbers, biases or an order that do not fit them.
    """

    def __init__(
        self,
        item_factors: np.ndarray,
        item_bias: np.ndarray | None = None,
        *,
        item_order: npt.ArrayLike | None = None,
        cosine: bool = False,
    ) -> None:
        self._factors, self._cosine = _as_table(item_factors, "item"), cosine
        self._bias = None if item_bias is None else _as_bias(item_bias, len(self._factors), "item_bias")
        if cosine and item_bias is not None:
            raise DataError("item_bias: a cosine knows no bias; leave it out.")
        self._rank = as_order(item_order, self.n_items)
        self._tiles: tuple[np.ndarray, np.ndarray, float] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tiles": None}  # the first question lays them out anew

    def __repr__(self) -> str:
        return f"ItemIndex({self.n_items} items, {self.n_factors} factors)"

    @property
    def n_items(self) -> int:
        """Items there are."""
        return len(self._factors)

    @property
    def n_factors(self) -> int:
        """Width of the factors."""
        return int(self._factors.shape[1])

    def top(
        self,
        user_factors: np.ndarray,
        n: int = 10,
        *,
        user_bias: np.ndarray | None = None,
        seen: UserItems | None = None,
        allowed: npt.ArrayLike | None = None,
        excluded: npt.ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The n items with the highest scores for each of some users, the highest first.

        Parameters
        ----------
        user_factors : array of shape (n_users, n_factors), of the users asked for alone.
        n : length of the lists.
        user_bias : array of shape (n_users,) that is added to all of a user's scores, where the items have biases.
        seen : items of each of these n_users that are not listed for them.
        allowed : indices of the only items to list; default: all.
        excluded : indices of items not to list, allowed or not.
        n_threads : threads to use; default: as many as there are cores for this process, or NUMBA_NUM_THREADS.

        Returns
        -------
        item, score : int32 and float32 arrays of shape (n_users, n); where there are fewer than n candidates, the rest of the
            list is -1 and NaN.

        Raises
        ------
        ConfigError
            `n` or `n_threads` below 1, or lists so much longer than the catalogue that padding them takes over a gigabyte.
        DataError
            Factors that do not fit together, are not finite or overflow float32; an index outside the tables.
        """
        table = _as_table(user_factors, "user")
        every = read_only(np.arange(len(table), dtype=np.int32))
        return self._top(table, every, n, user_bias, seen, self._barred(allowed, excluded), n_threads)

    def _top(
        self,
        table: np.ndarray,
        users: np.ndarray,
        n: int,
        user_bias: np.ndarray | None,
        seen: UserItems | None,
        barred: np.ndarray,
        n_threads: int | None,
        once: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`top` for some rows of a table of users that `seen` follows; `once`: no question will come after this one."""
        from ._kernels import GROUP, best, default_threads

        n_lists, n_users = len(users), len(table)
        length = as_length(n, n_lists, self.n_items)
        n_threads = default_threads() if n_threads is None else as_count(n_threads, "n_threads")
        rows_of = self._users(table, user_bias)
        if seen is not None and seen.n_users != n_users:
            raise DataError(f"seen holds {seen.n_users} users, the factors {n_users}; give both for the same users.")
        starts, seen_item = (_NO_STARTS, _NO_ITEMS) if seen is None else (seen.indptr, seen.item)
        tiles, candidate, item_norm, barred = self._candidates(barred, n_lists, once)
        filled = min(length, self.n_items)
        item, score = np.full((n_lists, filled), UNKNOWN, np.int32), np.full((n_lists, filled), np.nan, np.float32)
        size = max(1, min(_BLOCK_USERS, max(GROUP, -(-n_lists // n_threads))))

        def fill(start: int) -> None:
            block = slice(start, start + size)
            arrays = tiles, candidate, read_only(self._rank), item_norm, barred, starts, seen_item
            best(rows_of(users[block], item_norm), users[block], *arrays, item[block], score[block])

        blocks = range(0, n_lists, size)
        if len(blocks) == 1:
            fill(0)
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(fill, blocks))  # raises what a thread raised
        return padded(item, score, length)

    def _barred(self, allowed: npt.ArrayLike | None, excluded: npt.ArrayLike | None) -> np.ndarray:
        """Which items are not to be listed: bool (n_items,), or empty where all are."""
        if allowed is None and excluded is None:
            return _NONE_BARRED
        return read_only(barred_items(self.n_items, allowed, excluded))

    def _candidates(
        self, barred: np.ndarray, n_lists: int, once: bool
    ) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """Tiles, the items in them, their largest norm, and which of them are barred after all."""
        if len(barred):
            open_ = np.flatnonzero(~barred).astype(np.int32)
            if once or n_lists * (self.n_items - len(open_)) > _LAYING_OUT * len(open_):
                return *self._lay_out(open_), _NONE_BARRED
        if self._tiles is None:  # two threads may find it so, and come to the same
            self._tiles = self._lay_out(np.arange(self.n_items, dtype=np.int32))
        return *self._tiles, barred

    def _lay_out(self, item: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Lay items out in an order that has nothing to do with their scores.

        Were they to come from the worst to the best, every one of them would enter its list for a while.
        """
        from ._kernels import lay_out

        def rows_of(items: np.ndarray) -> np.ndarray:
            return self._row(self._factors[items], None if self._bias is None else (self._bias[items], 1))

        width = self.n_factors if self._bias is None else self.n_factors + 2
        tiles, place, norm = lay_out(rows_of, width, np.random.default_rng(0).permutation(item))
        return read_only(tiles), read_only(place), norm

    def _users(self, table: np.ndarray, user_bias: np.ndarray | None) -> Callable[[np.ndarray, float], np.ndarray]:
        """What gives some users' rows of a table as the loop reads them, checked."""
        from ._kernels import largest_norm

        if table.shape[1] != self.n_factors:
            raise DataError(
                f"user and item factors must be tables of one width, got shapes {table.shape} and {self._factors.shape}."
            )
        if user_bias is not None and self._bias is None:
            raise DataError("user_bias: the index was made without item_bias; give both or neither.")
        bias = None if user_bias is None else _as_bias(user_bias, len(table), "user_bias")

        def rows_of(users: np.ndarray, item_norm: float) -> np.ndarray:
            last = 0 if bias is None else bias[users]
            rows = self._row(table[users], None if self._bias is None else (1, last))
            user_norm = largest_norm(rows, "user")
            if user_norm * item_norm > float(np.finfo(np.float32).max) / 2:
                raise DataError(
                    f"scores may overflow: the largest norms of factors are {user_norm:.3g} and {item_norm:.3g}."
                )
            return rows

        return rows_of

    def _row(self, factors: np.ndarray, more: tuple[Any, Any] | None) -> np.ndarray:
        """Rows as float32, with two more factors or as directions."""
        rows = np.empty((len(factors), self.n_factors + (0 if more is None else 2)), np.float32)
        with np.errstate(over="ignore"):  # largest_norm says so
            rows[:, : self.n_factors] = factors
            if more is not None:
                rows[:, -2], rows[:, -1] = more
        if self._cosine:
            length = np.sqrt(np.einsum("uf,uf->u", rows, rows, dtype=np.float64))
            rows /= np.where(length > 0, length, 1).astype(np.float32)[:, None]
        return rows


def top_n(
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    n: int = 10,
    *,
    users: npt.ArrayLike | None = None,
    seen: UserItems | None = None,
    allowed: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
    item_order: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the highest scores for each user, the highest first, as an `ItemIndex` made for this question answers.

    Whoever asks more than once should keep an index: laying the items out takes far longer than one user's list. Biases are
    columns here: the user's ``[p_u, b_u, 1]`` against the item's ``[q_i, 1, b_i]``.

    Parameters
    ----------
    user_factors : array of shape (n_users, n_factors).
    item_factors : array of shape (n_items, n_factors).
    n : length of the lists.
    users : indices of the users asked for, in the order of the answer; default: all.
    seen : items of each of the n_users that are not listed for them.
    allowed, excluded, item_order, n_threads : as of `ItemIndex`.

    Returns
    -------
    item, score : int32 and float32 arrays of shape (n_users_asked, n), as of `ItemIndex.top`.

    Raises
    ------
    ConfigError, DataError
        As `ItemIndex.top`.
    """
    index = ItemIndex(item_factors, item_order=item_order)
    table = _as_table(user_factors, "user")
    rows = as_index(np.arange(len(table)) if users is None else users, len(table), "users")
    return index._top(table, rows, n, None, seen, index._barred(allowed, excluded), n_threads, once=True)


def padded(item: np.ndarray, score: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists of `length` places: -1 and NaN where there are no more items."""
    if item.shape[1] == length:
        return item, score
    wide = ((0, 0), (0, length - item.shape[1]))
    return np.pad(item, wide, constant_values=UNKNOWN), np.pad(score, wide, constant_values=np.nan)


def _as_table(factors: np.ndarray, what: str) -> np.ndarray:
    table = np.asarray(factors)
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise DataError(f"{what} factors: expected a table of numbers, got {table.dtype} of shape {table.shape}.")
    return table


def _as_bias(bias: np.ndarray, length: int, what: str) -> np.ndarray:
    column = np.asarray(bias)
    if column.shape != (length,) or column.dtype.kind not in "fiu":
        raise DataError(f"{what}: expected one number for each of {length}, got {column.dtype} of {column.shape}.")
    return column
