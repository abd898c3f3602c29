"""What becomes of a pair of user and item that a table holds more than once."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from nnmf.errors import ConfigError, DataError, one_of

from ._table import Table

_Table = TypeVar("_Table", bound=Table)
_WAYS = ("error", "last", "mean")


def check_way(how: str) -> None:
    """Refuse a way with duplicates that there is not."""
    if how not in _WAYS:
        raise ConfigError(one_of(how, _WAYS, "duplicates"))


def without_duplicates(table: _Table, how: str) -> _Table:
    """The table with one rating of each (user, item) pair; see `nnmf.tables.Ratings.from_arrays`."""
    pair = table.user.astype(np.int64) * table.n_items + table.item
    pair.sort()  # in place: at 10 million ratings a copy is 80 MB
    twice = pair[1:] == pair[:-1]
    if not twice.any():
        return table
    ordered, pair = pair, table.user.astype(np.int64) * table.n_items + table.item
    if how == "error":
        first = np.flatnonzero(pair == ordered[1:][twice][0])
        at = first[0]
        raise DataError(
            f"{table.name}: user {table.users.at(table.user[at]).item()!r} rated item {table.items.at(table.item[at]).item()!r} "
            f"{len(first)} times (ratings {int(first[0]) + 1} and {int(first[1]) + 1} of the table; {int(twice.sum())} "
            "duplicates in all); keep the 'last' or the 'mean' of such ratings with the duplicates option."
        )
    # np.unique keeps the first of equals: of the reversed table that is the last.
    _, last, group = np.unique(pair[::-1], return_index=True, return_inverse=True)
    keep = len(pair) - 1 - last
    order = np.argsort(keep)
    kept = table.take(keep[order])
    if how == "mean":
        total = np.bincount(group, weights=table.rating[::-1].astype(np.float64))
        kept = replace(kept, rating=(total / np.bincount(group))[order].astype(np.float32))
    return kept
