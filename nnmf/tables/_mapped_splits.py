"""Splits of mapped tables: who trains is said block after block, and both sides are written to files as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from nnmf.files import Spill, walk

from ._ids import UNKNOWN
from ._splits import generator
from ._sums import counts_of, extent
from ._table import Table

_Table = TypeVar("_Table", bound=Table)
_BINS = 1 << 16


def drawn(table: Table, n_train: int, seed: int) -> Iterator[np.ndarray]:
    """Masks, block after block, of a random ``n_train`` ratings, each as likely as another."""
    return _picked(np.broadcast_to(np.int32(0), len(table)), np.array([n_train]), np.array([len(table)]), seed)


def drawn_of_each(table: Table, fraction: float, seed: int) -> Iterator[np.ndarray]:
    """Masks, block after block, of a random ``ceil(fraction * n)`` of each user's n ratings."""
    counts = counts_of(table.user, table.n_users)
    return _picked(table.user, np.ceil(fraction * counts - 1e-9).astype(np.int64), counts, seed)


def _picked(group: np.ndarray, wanted: np.ndarray, left: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Of each group's ``left`` ratings ``wanted``, drawn one after another."""
    from ._picking import pick

    rng = generator(seed)
    for (part,) in walk(group):
        mask = np.empty(len(part), bool)
        pick(np.ascontiguousarray(part, np.int32), rng.random(len(part)), wanted, left, mask)
        yield mask


def oldest(timestamp: np.ndarray, n_train: int) -> Iterator[np.ndarray]:
    """Masks, block after block, of the oldest ``n_train`` ratings; ties by the table's order."""
    low, high = map(int, extent(timestamp))
    below = 0  # how many are older than `low`
    while low < high:
        width = -(-(high - low + 1) // _BINS)
        counts = np.zeros(_BINS, np.int64)
        for (part,) in walk(timestamp):
            inside = part[(part >= low) & (part <= high)]
            # Without a sign a difference of any two fits.
            above = inside.astype(np.uint64) - np.uint64(low % 2**64)
            counts += np.bincount((above // np.uint64(width)).astype(np.int64), minlength=_BINS)
        total = below + np.cumsum(counts)
        at = int(np.searchsorted(total, n_train))
        below = int(total[at] - counts[at])
        low, high = low + at * width, min(high, low + (at + 1) * width - 1)
    n_tied = n_train - below
    for (part,) in walk(timestamp):
        tied = part == low
        yield (part < low) | (tied & (np.cumsum(tied) <= n_tied))
        n_tied -= int(tied.sum())


def parted(table: _Table, masks: Iterator[np.ndarray]) -> tuple[_Table, _Table]:
    """(train, test) of a mapped table whose users and items are all known, by masks of what trains, block after block."""
    assert table.home is not None
    columns = {"user": table.user, "item": table.item, "rating": table.rating}
    columns |= {} if table.timestamp is None else {"timestamp": table.timestamp}
    in_train = Spill(table.home, bool)
    present = [np.zeros(table.n_users, bool), np.zeros(table.n_items, bool)]
    for mask, user, item in zip(masks, *(_blocks(column) for column in (table.user, table.item)), strict=True):
        in_train.append(mask)
        present[0][user[mask]] = present[1][item[mask]] = True
    chosen = in_train.column()
    rows = [np.flatnonzero(side) for side in present]
    users, items = (ids.used(kept)[0] for ids, kept in zip((table.users, table.items), rows, strict=True))
    tables = {}
    for name, kept, n in (("user", rows[0], table.n_users), ("item", rows[1], table.n_items)):
        tables[name] = np.full(n, UNKNOWN, np.int32)
        tables[name][kept] = np.arange(len(kept), dtype=np.int32)
    sides = [{name: Spill(table.home, column.dtype) for name, column in columns.items()} for _ in range(2)]
    strangers = Spill(table.home, np.int32)
    for mask, *parts in walk(chosen, *columns.values()):
        for side, taken in zip(sides, (mask, ~mask), strict=True):
            for (name, spill), part in zip(side.items(), parts, strict=True):
                spill.append(tables[name][part[taken]] if name in tables else part[taken])
        user = parts[0][~mask]
        strangers.append(np.where(tables["user"][user] == UNKNOWN, user, np.int32(UNKNOWN)))
    written: list[dict[str, Any]] = [{name: spill.column() for name, spill in side.items()} for side in sides]
    train, test = (replace(table, **part, users=users, items=items) for part in written)
    return train, test if present[0].all() else replace(test, strangers=strangers.column())


def _blocks(column: np.ndarray) -> Iterator[np.ndarray]:
    return (part for (part,) in walk(column))
