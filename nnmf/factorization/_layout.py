"""Laying ratings out in a grid of blocks: ranges of users times ranges of items, each block shuffled."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nnmf._compiled import compiled
from nnmf.errors import DataError
from nnmf.files import Parts, walk
from nnmf.tables import ranges_of

# Bytes of the factor rows of the finer cut side that a block may touch: they stay in a core's second-level cache, with room for
# the other side's that come again. (Of 64 to 512 KB the best on ML-10M's shape and on 5 M users.)
_BLOCK_BYTES = 1 << 17
# Ratings a block should have at least: fewer find no row in the cache that another of them has fetched.
_BLOCK_RATINGS = 4096
# Blocks of a side at least, for the threads' sake, where there are ratings enough for them; a round has as many.
_SIDE_BLOCKS = 16
# Ratings that are worth a thread of their own in laying them out.
_PART_RATINGS = 1 << 16
# Ratings in a round at most, so that one takes less than about half a second of one thread.
_ROUND_RATINGS = 1 << 22
#: columns of ratings, and their types
COLUMNS = {"user": np.int32, "item": np.int32, "rating": np.float32}


def grid(n_users: int, n_items: int, width: int, n_ratings: int) -> tuple[int, int]:
    """(user blocks, item blocks) of the grid of ratings; the number of threads has no say, so that it changes no result.

    Blocks have `_BLOCK_RATINGS` on average or more, however many rows there are. The side with more rows is cut until a
    block's fit the cache, the other no finer than threads want it: its rows come again so often that they stay near. A round
    has 16 blocks for up to 16 threads, and more from some 270 M ratings on, such as 32 for 1,000 M. The fewer are a power of
    two and the more a multiple of it, as `Turns` needs them.

    Parameters
    ----------
    n_users, n_items : rows of the tables, of `width` floats each.
    n_ratings : ratings in the grid.
    """
    most = max(1, n_ratings // _BLOCK_RATINGS)
    side = math.isqrt(most)
    fewer = 1 << (min(max(_SIDE_BLOCKS, side // 8), side).bit_length() - 1)
    fitting = -(-4 * max(n_users, n_items) * width // _BLOCK_BYTES)
    more = min(max(fewer, fitting, -(-n_ratings // _ROUND_RATINGS)), most // fewer) // fewer * fewer
    return (more, fewer) if n_users >= n_items else (fewer, more)


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
    """Cut rows into `n_blocks` consecutive ranges of about as many ratings: int32 array of shape (n_blocks + 1,).

    Ranges may be empty (a single row may hold more than its share of the ratings).
    """
    total = np.cumsum(counts, dtype=np.int64)
    edges = np.searchsorted(total, np.arange(1, n_blocks) * (total[-1] / n_blocks)) + 1
    return np.concatenate(([0], np.minimum(edges, len(counts)), [len(counts)])).astype(np.int32)


def checked_columns(
    user: np.ndarray, item: np.ndarray, rating: np.ndarray, n_users: int, n_items: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Columns as the loops read them without a check, and the number of ratings of each user and of each item.

    Raises
    ------
    DataError
        Columns of unequal lengths or without ratings, or an index outside the tables.
    """
    columns = []
    for (name, kind), column in zip(COLUMNS.items(), (user, item, rating), strict=True):
        if column.ndim != 1 or not np.can_cast(column.dtype, kind, "same_kind"):
            raise DataError(f"{name}: expected one column of {np.dtype(kind)}, got {column.dtype} of {column.shape}.")
        columns.append(np.ascontiguousarray(column, kind).view())
        columns[-1].flags.writeable = False  # as tables hand theirs over: the loops are compiled once
    if not len(user) == len(item) == len(rating) > 0:
        raise DataError(
            f"user, item and rating must be columns of one length above 0, got {len(user)}, {len(item)} and {len(rating)}."
        )
    counts = []
    for name, index, n_rows in (("user", columns[0], n_users), ("item", columns[1], n_items)):
        try:
            counts.append(sum(count_ratings(part, n_rows) for (part,) in walk(index)))
        except IndexError:
            wrong = index[(index < 0) | (index >= n_rows)][0]
            raise DataError(f"{name}: index {wrong} lies outside the table of {n_rows}.") from None
    return columns, counts


@compiled
def _ranges(edges: np.ndarray, n_rows: int) -> np.ndarray:
    """The range in which each row lies: int32 array of shape (n_rows,)."""
    ranges = np.empty(n_rows, np.int32)
    for b in range(edges.shape[0] - 1):
        ranges[edges[b] : edges[b + 1]] = b
    return ranges


@compiled
def _count_bands(user, user_range, first, last, count) -> None:  # type: ignore[no-untyped-def]
    """Add the ratings first .. last - 1 of each range of users to `count` (n_user_blocks,)."""
    for n in range(first, last):
        count[user_range[user[n]]] += 1


@compiled
def _scatter(user, item, rating, user_range, first, last, place, out_user, out_item, out_rating) -> None:  # type: ignore[no-untyped-def]
    """Copy the ratings first .. last - 1 to their ranges of users, whose next free places are in `place` (n_user_blocks,)."""
    for n in range(first, last):
        band = user_range[user[n]]
        at = place[band]
        place[band] = at + 1
        out_user[at], out_item[at], out_rating[at] = user[n], item[n], rating[n]


@compiled
def _shuffle(block, first, last, seed, user, item, rating) -> None:  # type: ignore[no-untyped-def]
    """Shuffle the ratings first .. last - 1 of a block (Fisher-Yates, xorshift64*), by what (seed, block) alone say."""
    state = (np.uint64(seed) + np.uint64(block + 1)) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    for n in range(last - 1, first, -1):
        state ^= state >> np.uint64(12)
        state ^= state << np.uint64(25)
        state ^= state >> np.uint64(27)
        draw = (state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)
        other = first + np.int64((draw * np.uint64(n - first + 1)) >> np.uint64(32))
        user[n], user[other] = user[other], user[n]
        item[n], item[other] = item[other], item[n]
        rating[n], rating[other] = rating[other], rating[n]


@compiled
def _divide_bands(low, high, band_starts, item_range, n_item_blocks, seed, starts, user, item, rating) -> None:  # type: ignore[no-untyped-def]
    """Sort the ratings of the user ranges low .. high - 1 by range of items, shuffle each block, and fill in `starts`.

    Done after all are with their users, so that fewer places are written to at a time: doing both at once takes a fifth longer.
    """
    longest = 0
    for band in range(low, high):
        longest = max(longest, band_starts[band + 1] - band_starts[band])
    users, items, ratings = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.float32)
    for band in range(low, high):
        first, last, block = band_starts[band], band_starts[band + 1], band * n_item_blocks
        place = np.zeros(n_item_blocks + 1, np.int64)
        for n in range(first, last):
            place[item_range[item[n]] + 1] += 1
        place = np.cumsum(place)
        starts[block : block + n_item_blocks] = first + place[:-1]
        users[: last - first], items[: last - first], ratings[: last - first] = (
            user[first:last],
            item[first:last],
            rating[first:last],
        )
        for n in range(last - first):
            of_items = item_range[items[n]]
            at = first + place[of_items]
            place[of_items] += 1
            user[at], item[at], rating[at] = users[n], items[n], ratings[n]
        for b in range(n_item_blocks):  # place[b] is where block b ends by now
            _shuffle(block + b, starts[block + b], first + place[b], seed, user, item, rating)


def lay_out_in_file(
    home: Path,
    user: np.ndarray,
    item: np.ndarray,
    rating: np.ndarray,
    user_edges: np.ndarray,
    item_edges: np.ndarray,
    seed: int,
) -> tuple[Parts, np.ndarray]:
    """`lay_out` of a mapped table into a file: the same blocks in the same order, a few million ratings in memory at a time.

    Consecutive blocks make parts of about a million ratings, which are put together first and then divided one by one.

    Parameters
    ----------
    home : folder for the file.
    others : as in `lay_out`.

    Returns
    -------
    parts : whose rows starts[block] .. starts[block + 1] - 1 are those of a block: user, item and rating.
    starts : as of `lay_out`.
    """
    n_item_blocks = len(item_edges) - 1
    n_blocks = (len(user_edges) - 1) * n_item_blocks
    user_range, item_range = _ranges(user_edges, user_edges[-1]), _ranges(item_edges, item_edges[-1])
    counts = np.zeros(n_blocks, np.int64)
    for users, items in walk(user, item):
        counts += np.bincount(user_range[users] * n_item_blocks + item_range[items], minlength=n_blocks)
    starts = np.concatenate(([0], np.cumsum(counts)))
    part_of, sizes = ranges_of(counts)
    parts = Parts(home, sizes, *COLUMNS.values())
    for users, items, ratings in walk(user, item, rating):
        parts.add(part_of[user_range[users] * n_item_blocks + item_range[items]], users, items, ratings)
    for number in range(len(parts)):
        columns = parts.read(number)
        block = user_range[columns[0]] * n_item_blocks + item_range[columns[1]]
        order = np.argsort(block, kind="stable")
        columns = [column[order] for column in columns]
        low, high = np.searchsorted(part_of, [number, number + 1])
        for at in range(low, high):
            first, last = starts[at] - starts[low], starts[at + 1] - starts[low]
            _shuffle(at, first, last, seed, *columns)
            parts.write_rows(int(starts[at]), *(column[first:last] for column in columns))
    return parts, starts


def lay_out(
    user: np.ndarray,
    item: np.ndarray,
    rating: np.ndarray,
    user_edges: np.ndarray,
    item_edges: np.ndarray,
    seed: int,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Copy the rating columns block by block, shuffled within each block; the same for any number of threads.

    Each thread counts and copies a part of the ratings of its own, in their order, to places that the counts of the parts
    before leave free; then it divides ranges of users of its own. Memory: the copy (12 bytes a rating), as much for a range of
    users, an int32 for each user and item, and for each thread an int64 a range of users.

    Parameters
    ----------
    user, item : int32 arrays of shape (n_ratings,), which `checked_columns` has let pass.
    rating : float32 array of shape (n_ratings,).
    user_edges, item_edges : ranges of `block_edges`; one range a user and a single one of items is what SVD++ needs.
    seed : seed of the shuffles.
    n_threads : threads to use.

    Returns
    -------
    user, item, rating : the copies.
    starts : int64 array of shape (n_user_blocks * n_item_blocks + 1,): block user_range * n_item_blocks + item_range holds
        starts[block] .. starts[block + 1] - 1.
    """
    n_bands, n_item_blocks = len(user_edges) - 1, len(item_edges) - 1
    user_range, item_range = _ranges(user_edges, user_edges[-1]), _ranges(item_edges, item_edges[-1])
    n_threads = max(1, min(n_threads, len(user) // _PART_RATINGS))
    cuts = [len(user) * t // n_threads for t in range(n_threads + 1)]
    columns = np.empty_like(user), np.empty_like(item), np.empty_like(rating)
    counts, starts = np.zeros((n_threads, n_bands), np.int64), np.full(n_bands * n_item_blocks + 1, len(user))
    with ThreadPoolExecutor(n_threads) as pool:

        def each(part: Callable[[int], None]) -> None:
            list(pool.map(part, range(n_threads)))  # raises what a thread raised

        each(lambda t: _count_bands(user, user_range, cuts[t], cuts[t + 1], counts[t]))
        bands = np.concatenate(([0], np.cumsum(counts.sum(axis=0))))
        places = np.cumsum(counts, axis=0) - counts + bands[:-1]
        each(lambda t: _scatter(user, item, rating, user_range, cuts[t], cuts[t + 1], places[t], *columns))
        shares = [0, *np.searchsorted(bands[:-1], cuts[1:-1]), n_bands]
        divide = (bands, item_range, n_item_blocks, seed, starts, *columns)
        each(lambda t: _divide_bands(shares[t], shares[t + 1], *divide))
    return *columns, starts
