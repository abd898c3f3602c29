"""Laying ratings out in a grid of blocks, and running a loop over the blocks on several threads with one result.

Two blocks that share no user and no item may be trained at the same time in any order: the factors are bit for bit the same for
every number of threads. Indices are not checked in the loops: `count_ratings` refuses what lies outside the tables.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from nnmf._compiled import compiled


@compiled
def count_ratings(row: np.ndarray, n_rows: int) -> np.ndarray:
    """Number of ratings of each user (or item): int32 array of shape (n_rows,). `row`: int32 array of shape (n_ratings,)."""
    counts = np.zeros(n_rows, np.int32)
    for n in range(row.shape[0]):
        if row[n] < 0 or row[n] >= n_rows:
            raise IndexError("a user or item index lies outside the table")
        counts[row[n]] += 1
    return counts


def block_edges(counts: np.ndarray, n_blocks: int) -> np.ndarray:
    """Cuts the rows into `n_blocks` consecutive ranges of about as many ratings: int32 array of shape (n_blocks + 1,).

    Ranges may be empty (a single row may hold more than its share of the ratings).
    """
    total = np.cumsum(counts, dtype=np.int64)
    edges = np.searchsorted(total, np.arange(1, n_blocks) * (total[-1] / n_blocks)) + 1
    return np.concatenate(([0], np.minimum(edges, len(counts)), [len(counts)])).astype(np.int32)


@compiled
def _ranges(edges: np.ndarray, n_rows: int) -> np.ndarray:
    """The range in which each row lies: int32 array of shape (n_rows,)."""
    ranges = np.empty(n_rows, np.int32)
    for b in range(edges.shape[0] - 1):
        ranges[edges[b] : edges[b + 1]] = b
    return ranges


@compiled
def _block_starts(
    user: np.ndarray,
    item: np.ndarray,
    user_range: np.ndarray,
    item_range: np.ndarray,
    n_user_blocks: int,
    n_item_blocks: int,
) -> np.ndarray:
    """Where each block starts in the laid-out columns: int64 array of shape (n_user_blocks * n_item_blocks + 1,)."""
    starts = np.zeros(n_user_blocks * n_item_blocks + 1, np.int64)
    for n in range(user.shape[0]):
        starts[user_range[user[n]] * n_item_blocks + item_range[item[n]] + 1] += 1
    return np.cumsum(starts)


@compiled
def _scatter(  # type: ignore[no-untyped-def] # columns and tables as in lay_out
    user, item, rating, user_range, item_range, n_item_blocks, low, high, starts, seed, out_user, out_item, out_rating
):
    """Copies the ratings of the user ranges low..high-1 to their blocks, then shuffles each block (Fisher-Yates, xorshift64*)."""
    fill = starts.copy()
    for n in range(user.shape[0]):
        band = user_range[user[n]]
        if low <= band < high:
            block = band * n_item_blocks + item_range[item[n]]
            at = fill[block]
            fill[block] = at + 1
            out_user[at], out_item[at], out_rating[at] = user[n], item[n], rating[n]
    for block in range(low * n_item_blocks, high * n_item_blocks):
        state = (np.uint64(seed) + np.uint64(block + 1)) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
        first = starts[block]
        for n in range(starts[block + 1] - 1, first, -1):
            state ^= state >> np.uint64(12)
            state ^= state << np.uint64(25)
            state ^= state >> np.uint64(27)
            draw = (state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)
            other = first + np.int64((draw * np.uint64(n - first + 1)) >> np.uint64(32))
            out_user[n], out_user[other] = out_user[other], out_user[n]
            out_item[n], out_item[other] = out_item[other], out_item[n]
            out_rating[n], out_rating[other] = out_rating[other], out_rating[n]


def lay_out(
    user: np.ndarray,
    item: np.ndarray,
    rating: np.ndarray,
    user_edges: np.ndarray,
    item_edges: np.ndarray,
    seed: int,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Copies the rating columns block by block, shuffled within each block.

    user, item: int32 arrays of shape (n_ratings,); rating: float32 array of shape (n_ratings,); edges from `block_edges`.
    Returns (user, item, rating, starts): block b = user_range * n_item_blocks + item_range holds starts[b] .. starts[b + 1] - 1.
    One range per user and a single item range (user_edges = arange(n_users + 1)) is the layout that SVD++ needs.
    The only memory taken is the copy itself (12 bytes a rating) and an int32 for each user and item.
    """
    n_user_blocks, n_item_blocks = len(user_edges) - 1, len(item_edges) - 1
    user_range, item_range = _ranges(user_edges, user_edges[-1]), _ranges(item_edges, item_edges[-1])
    starts = _block_starts(user, item, user_range, item_range, n_user_blocks, n_item_blocks)
    columns = np.empty_like(user), np.empty_like(item), np.empty_like(rating)
    bands = np.searchsorted(starts[::n_item_blocks], np.arange(1, n_threads) * (len(user) / n_threads))
    cuts = [0, *np.minimum(bands, n_user_blocks), n_user_blocks]

    def part(t: int) -> None:
        _scatter(
            user, item, rating, user_range, item_range, n_item_blocks, cuts[t], cuts[t + 1], starts, seed, *columns
        )

    if n_threads == 1:
        part(0)
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(part, range(n_threads)))
    return *columns, starts


def draw_order(n_user_blocks: int, n_item_blocks: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of the grid's blocks, int32 array of shape (n_user_blocks * n_item_blocks,), for one epoch.

    It goes through a random Latin rectangle: any min(n_user_blocks, n_item_blocks) blocks counted from a multiple of that number
    share no user and no item range, so that many threads find work.
    """
    users, items = rng.permutation(n_user_blocks), rng.permutation(n_item_blocks)
    most, least = max(n_user_blocks, n_item_blocks), min(n_user_blocks, n_item_blocks)
    longer = (rng.permutation(most)[:, None] + np.arange(least)) % most
    if n_user_blocks < n_item_blocks:
        return (users * n_item_blocks + items[longer]).ravel().astype(np.int32)
    return (users[longer] * n_item_blocks + items).ravel().astype(np.int32)


def run_blocks(
    train: Callable[..., None],
    order: np.ndarray,
    n_item_blocks: int,
    starts: np.ndarray,
    pool: ThreadPoolExecutor | None,
    n_threads: int,
    *arguments: Any,
) -> float:
    """One epoch: ``train(blocks, starts, errors, *arguments)`` on every block, by `n_threads` threads, all but one of `pool`.

    A block starts once every earlier block of `order` that shares its users or its items is done. So each row sees its ratings in
    the same order whatever the number of threads and their timing, and no two threads ever touch the same row.
    Returns the total squared error, each rating's measured just before its own update, added up in the order of the block numbers.
    pool: a `ThreadPoolExecutor` with n_threads - 1 free workers, or None with one thread.
    """
    errors = np.zeros(len(starts) - 1)
    if pool is None or n_threads == 1:
        train(order, starts, errors, *arguments)
        return float(errors.sum())
    # (block, its users, its items); ~ tells item ranges from user ranges.
    waiting = [(block, block // n_item_blocks, ~(block % n_item_blocks)) for block in order.tolist()]
    busy: set[int] = set()
    changed = threading.Condition()

    def take() -> tuple[int, int, int] | None:
        blocked = set(busy)
        for at, (_, users, items) in enumerate(waiting):
            if users not in blocked and items not in blocked:
                busy.update((users, items))
                return waiting.pop(at)
            blocked.update((users, items))
        return None

    def work() -> None:
        while True:
            with changed:
                while (job := take()) is None and waiting:
                    changed.wait()
            if job is None:
                return
            try:
                train(np.array(job[:1], np.int32), starts, errors, *arguments)
            finally:
                with changed:
                    busy.difference_update(job[1:])
                    changed.notify_all()

    others = [pool.submit(work) for _ in range(n_threads - 1)]
    work()
    for other in others:
        other.result()
    return float(errors.sum())
