"""The order of a mapped table's epoch: windows of chunks from random places, each shuffled as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Ratings that are read and shuffled together: more make the order no better that training can tell, and take memory.
WINDOW = 1 << 21
# Consecutive ratings of a window: fewer would be read in pieces smaller than a disk likes, more would leave a window of a table
# that is sorted by user with few users.
CHUNK = 1 << 12


def windows(n: int, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
    """The positions 0 .. n-1, each once, as int64 arrays of some `WINDOW` each: in random order, or as they stand without ``rng``.

    Up to a window's size a table is shuffled as a whole.
    """
    starts = np.arange(0, n, CHUNK)
    if rng is not None:
        rng.shuffle(starts)
    step = max(1, WINDOW // CHUNK)
    for at in range(0, len(starts), step):
        # By place, as they are read.
        rows = (np.sort(starts[at : at + step])[:, None] + np.arange(CHUNK)).ravel()
        rows = rows[rows < n]
        yield rows if rng is None else rng.permutation(rows)


def pieces(
    n: int, rng: np.random.Generator | None, batch_size: int, n_batches: int, rank: int, n_workers: int
) -> Iterator[np.ndarray]:
    """Each window's share of a worker, in whole batches; what is left of one comes with the next, and the last is filled from the start.

    Parameters
    ----------
    n : int
        Ratings of the table.
    rng : Generator or None
        What draws the order.
    batch_size, n_batches : int
        Rows a batch, and batches of the epoch.
    rank, n_workers : int
        This worker's number and how many there are.
    """
    left, n_seen, n_rows = np.empty(0, np.int64), 0, n_batches * batch_size
    first = left
    for rows in windows(n, rng):
        own = rows[(rank - n_seen) % n_workers :: n_workers]
        n_seen += len(rows)
        first = np.concatenate([first, rows[: batch_size * n_workers - len(first)]])
        left = np.concatenate([left, own])
        n_whole = min(len(left) // batch_size * batch_size, n_rows)
        if n_whole:
            yield left[:n_whole]
            left, n_rows = left[n_whole:], n_rows - n_whole
    if n_rows:
        # All workers' batches together are those of one, whatever fills the last.
        filling = np.resize(first, (n_rows - len(left)) * n_workers + n_workers)[(rank - n) % n_workers :: n_workers]
        yield np.concatenate([left, filling[: n_rows - len(left)]])
