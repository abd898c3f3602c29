"""What becomes of a pair of user and item that a table holds more than once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from nnmf.errors import ConfigError, DataError, one_of
from nnmf.files import BLOCK, Parts, Spill, walk

from ._sums import counts_of, ranges_of
from ._table import Table

_Table = TypeVar("_Table", bound=Table)
_WAYS = ("error", "last", "mean")


def check_way(how: str) -> None:
    """Refuse a way with duplicates that there is not."""
    if how not in _WAYS:
        raise ConfigError(one_of(how, _WAYS, "duplicates"))


def without_duplicates(table: _Table, how: str) -> _Table:
    """The table with one rating of each (user, item) pair; see `nnmf.tables.Ratings.from_arrays`."""
    if table.home is not None:
        return _mapped_without(table, how)
    pair = _pairs(table.user, table.item, table.n_items)
    n_twice, first = _repeated(pair)
    if not n_twice:
        return table
    pair = _pairs(table.user, table.item, table.n_items)
    if how == "error":
        raise _refusal(table, np.flatnonzero(pair == first), n_twice)
    rows, rating = _kept(pair, table.rating, how)
    return replace(table.take(rows), rating=rating)


def _pairs(user: np.ndarray, item: np.ndarray, n_items: int) -> np.ndarray:
    """A number for each pair of a user and an item: int64 array (n,)."""
    return user.astype(np.int64) * n_items + item


def _repeated(pair: np.ndarray) -> tuple[int, int]:
    """How many pairs stand there again, and the lowest that does; sorts them in place, for at 10 million a copy is 80 MB."""
    pair.sort()
    twice = pair[1:] == pair[:-1]
    return int(twice.sum()), int(pair[1:][int(twice.argmax())]) if len(twice) else 0


def _refusal(table: Table, rows: np.ndarray, n_twice: int) -> DataError:
    """The sentence for a table with duplicates, the first of which is the pair of these rows."""
    user, item = (
        ids.at(index[rows[0]]).item() for ids, index in ((table.users, table.user), (table.items, table.item))
    )
    return DataError(
        f"{table.name}: user {user!r} rated item {item!r} {len(rows)} times (ratings {int(rows[0]) + 1} and "
        f"{int(rows[1]) + 1} of the table; {n_twice} duplicates in all); keep the 'last' or the 'mean' of such ratings "
        "with the duplicates option."
    )


def _kept(pair: np.ndarray, rating: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """The positions, ascending, of the last of each pair, and their ratings: those, or the mean of all of the pair."""
    # np.unique keeps the first of equals: of the reversed table that is the last.
    _, last, group = np.unique(pair[::-1], return_index=True, return_inverse=True)
    keep = len(pair) - 1 - last
    order = np.argsort(keep)
    if how == "last":
        return keep[order], rating[keep[order]]
    total = np.bincount(group, weights=rating[::-1].astype(np.float64))
    return keep[order], (total / np.bincount(group))[order].astype(np.float32)


def _mapped_without(table: _Table, how: str) -> _Table:
    """`without_duplicates` of a mapped table: its ratings by ranges of users, one of which is in memory at a time."""
    assert table.home is not None
    part_of, sizes = ranges_of(counts_of(table.user, table.n_users))
    parts = Parts(table.home, sizes, np.int32, np.int32, np.float32, np.int32)
    for at, (user, item, rating) in enumerate(walk(table.user, table.item, table.rating)):
        parts.add(part_of[user], user, item, rating, np.arange(len(user)) + at * BLOCK)
    n_twice, rows = 0, np.empty(0, np.int32)
    for number in range(len(parts)):
        user, item, _, row = parts.read(number)
        n_here, first = _repeated(_pairs(user, item, table.n_items))
        if n_here and not n_twice:
            rows = row[_pairs(user, item, table.n_items) == first]
        n_twice += n_here
    if not n_twice:
        return table
    if how == "error":
        raise _refusal(table, rows, n_twice)
    return _rewritten(table, parts, how)


def _rewritten(table: _Table, parts: Parts, how: str) -> _Table:
    """The table with the rows of these parts that are kept, which are brought into its order again."""
    assert table.home is not None
    n_blocks = -(-len(table) // BLOCK)
    ordered = Parts(table.home, np.full(n_blocks, BLOCK), np.int32, np.float32)
    for number in range(len(parts)):
        user, item, rating, row = parts.read(number)
        keep, rating = _kept(_pairs(user, item, table.n_items), rating, how)
        ordered.add(row[keep] // BLOCK, row[keep], rating)
    columns = {"user": table.user, "item": table.item}
    columns |= {} if table.timestamp is None else {"timestamp": table.timestamp}
    spills = {name: Spill(table.home, column.dtype) for name, column in columns.items()}
    ratings = Spill(table.home, np.float32)
    for number, given in enumerate(walk(*columns.values())):
        row, rating = ordered.read(number)
        order = np.argsort(row)
        ratings.append(rating[order])
        for spill, column in zip(spills.values(), given, strict=True):
            spill.append(column[row[order] - number * BLOCK])
    written: dict[str, Any] = {name: spill.column() for name, spill in spills.items()}
    return replace(table, rating=ratings.column(), **written)
