"""The compiled loop behind `UserItems.of`; no index is checked here."""

from __future__ import annotations

import numpy as np

from nnmf._compiled import compiled


@compiled
def group(user: np.ndarray, item: np.ndarray, n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """(start of each user's items (n_users + 1,), distinct items in ascending order); pairs with a -1 are left out.

    Two counting sorts, by item and then by user, the second keeping the order of the first: no comparison is made.
    """
    item_start, start = np.zeros(n_items + 1, np.int64), np.zeros(n_users + 1, np.int64)
    for at in range(len(user)):
        if user[at] >= 0 and item[at] >= 0:
            item_start[item[at] + 1] += 1
            start[user[at] + 1] += 1
    for at in range(n_items):
        item_start[at + 1] += item_start[at]
    for at in range(n_users):
        start[at + 1] += start[at]
    by_item, free = np.empty(item_start[-1], np.int32), item_start[:-1].copy()
    for at in range(len(user)):
        if user[at] >= 0 and item[at] >= 0:
            by_item[free[item[at]]] = user[at]
            free[item[at]] += 1
    items, end = np.empty(len(by_item), np.int32), start[:-1].copy()
    for number in range(n_items):
        for at in range(item_start[number], item_start[number + 1]):
            row = by_item[at]
            if end[row] == start[row] or items[end[row] - 1] != number:
                items[end[row]] = number
                end[row] += 1
    kept = 0
    for row in range(n_users):
        first = start[row]
        start[row] = kept
        for at in range(first, end[row]):
            items[kept] = items[at]
            kept += 1
    start[n_users] = kept
    return start, items[:kept]
