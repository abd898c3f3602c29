"""`UserItems`: the distinct items of each user."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError
from nnmf.files import Parts, Spill, walk
from nnmf.tables import UNKNOWN, counts_of, extent, ranges_of

from ._checks import as_count, as_index


@dataclass(frozen=True, eq=False)
class UserItems:
    """The distinct items of each user: what a model was trained on, or what a test table holds.

    The two arrays are taken over, not copied, and cannot be written from then on.

    Attributes
    ----------
    indptr : int64 array of shape (n_users + 1,): where each user's items start in `item`.
    item : int32 array of shape (n_pairs,), ascending within a user.

    Raises
    ------
    DataError
        Starts that do not lead through `item` from its beginning to its end, or items that do not ascend.
    """

    indptr: np.ndarray
    item: np.ndarray

    def __post_init__(self) -> None:
        # Copies, which nobody else can write to after they were checked.
        for name in ("indptr", "item"):
            object.__setattr__(self, name, np.array(getattr(self, name)))
        self._freeze()
        indptr, item = self.indptr, self.item
        if indptr.ndim != 1 or indptr.dtype.kind not in "iu" or not len(indptr):
            raise DataError(f"indptr: expected one column of starts, got {indptr.dtype} of shape {indptr.shape}.")
        if indptr[0] != 0 or indptr[-1] != len(item) or (indptr[1:] < indptr[:-1]).any():
            raise DataError(
                f"indptr: starts must ascend from 0 to the number of items, {len(item)}; the column is damaged."
            )
        object.__setattr__(self, "indptr", np.ascontiguousarray(indptr, np.int64))
        object.__setattr__(self, "item", as_index(item, None, "item"))
        self._freeze()
        ascending = np.concatenate(([True], self.item[1:] > self.item[:-1]))
        ascending[self.indptr[:-1][np.diff(self.indptr) > 0]] = True  # a row's first item follows none
        if not ascending[: len(item)].all():
            row = int(np.searchsorted(self.indptr, int(np.argmin(ascending)), "right")) - 1
            raise DataError(f"item: the items of user {row} must ascend, each standing there once.")

    def _freeze(self) -> None:
        for name in ("indptr", "item"):
            array = np.asarray(getattr(self, name))
            array.flags.writeable = False
            # A view of what cannot be written cannot be made writeable again.
            object.__setattr__(self, name, array.view())

    def __setstate__(self, state: dict[str, np.ndarray]) -> None:
        self.__dict__.update(state)
        self._freeze()  # a copy's arrays can be written at first

    @classmethod
    def _trusted(cls, indptr: np.ndarray, item: np.ndarray) -> UserItems:
        """A table from arrays that this module has just made, unchecked."""
        table = object.__new__(cls)
        for name, array in (("indptr", indptr), ("item", item)):
            # Compiled loops answer with arrays over memory that anyone may declare writeable; NumPy's own stays frozen.
            object.__setattr__(table, name, array if array.flags.owndata else array.copy())
        table._freeze()
        return table

    @classmethod
    def of(cls, user: npt.ArrayLike, item: npt.ArrayLike, n_users: int, home: Path | None = None) -> UserItems:
        """Group the pairs of two columns by user.

        Parameters
        ----------
        user, item : integer arrays of shape (n_ratings,), indices; pairs with an `UNKNOWN` (-1) are left out, and pairs that
            stand there more than once count once.
        n_users : users there are, with or without items.
        home : folder of a mapped table whose columns these are, all known; the items are then mapped, too, from a file there.

        Raises
        ------
        ConfigError
            `n_users` is no whole number of at least 0.
        DataError
            Unequal lengths, or an index outside the tables.
        """
        from ._grouping import group

        n_rows = as_count(n_users, "n_users", 0)
        rows, columns = as_index(user, n_rows, "user", UNKNOWN), as_index(item, None, "item", UNKNOWN)
        if len(rows) != len(columns):
            raise DataError(f"user and item must be columns of one length, got {len(rows)} and {len(columns)}.")
        if home is not None and len(rows):
            return cls._mapped(rows, columns, n_rows, home)
        n_columns = int(columns.max(initial=-1)) + 1
        if n_columns <= 1 << 20 or n_columns <= 64 * len(columns):
            return cls._trusted(*group(rows, columns, n_rows, n_columns))
        # Numbers far apart: those between them are not worth counting.
        distinct, columns = np.unique(columns, return_inverse=True)
        known = rows if distinct[0] != UNKNOWN else np.where(columns == 0, UNKNOWN, rows)
        indptr, found = group(
            as_index(known, None, "user", UNKNOWN), as_index(columns, None, "item"), n_rows, len(distinct)
        )
        return cls._trusted(indptr, distinct[found])

    @classmethod
    def _mapped(cls, user: np.ndarray, item: np.ndarray, n_users: int, home: Path) -> UserItems:
        """The same of columns that memory may not hold: by ranges of users, one of which is in memory at a time."""
        from ._grouping import group

        ranges, sizes = ranges_of(counts_of(user, n_users))
        parts = Parts(home, sizes, np.int32, np.int32)
        for rows, columns in walk(user, item):
            parts.add(ranges[rows], rows, columns)
        n_items, found, lengths = int(extent(item)[1]) + 1, Spill(home, np.int32), np.zeros(n_users, np.int64)
        for number in range(len(parts)):
            rows, columns = parts.read(number)
            low, high = np.searchsorted(ranges, [number, number + 1])
            start, items = group(rows - np.int32(low), columns, high - low, n_items)
            lengths[low:high] = np.diff(start)
            found.append(items)
        table = object.__new__(cls)
        object.__setattr__(table, "indptr", np.concatenate([[0], np.cumsum(lengths)]))
        object.__setattr__(table, "item", found.column())
        table._freeze()
        return table

    def __repr__(self) -> str:
        return f"UserItems({self.n_users} users, {len(self.item)} pairs)"

    @property
    def n_users(self) -> int:
        """Users there are, with or without items."""
        return len(self.indptr) - 1

    @property
    def n_items(self) -> np.ndarray:
        """Items of each user: int64 array of shape (n_users,)."""
        return np.diff(self.indptr)

    @cached_property
    def largest(self) -> int:
        """The highest index of an item, -1 where there is none."""
        return int(extent(self.item)[1]) if len(self.item) else -1

    def check(self, n_items: int, what: str) -> None:
        """Refuse items that a catalogue of `n_items` does not hold.

        Raises
        ------
        DataError
            An item outside the catalogue.
        """
        if self.largest >= n_items:
            raise DataError(f"{what}: index {self.largest} lies outside the table of {n_items}.")

    def of_users(self, users: npt.ArrayLike) -> UserItems:
        """The rows of the given users, in their order.

        Raises
        ------
        DataError
            A user outside the table.
        """
        rows = as_index(users, self.n_users, "user")
        length = self.indptr[1:][rows] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(length)])
        # Each pair's place in the new table, moved by as far as its user's row moves.
        place = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], length)
        return UserItems._trusted(indptr, self.item[place])
