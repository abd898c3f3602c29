"""The order in which an epoch visits the ratings, and who walks it: rounds of blocks, and threads that share each round.

The blocks of a round share no user and no item, so they may be trained at the same time in any order, by any number of threads
or machines: the factors are the same, bit for bit. What a round holds follows from (seed, epoch), what a block holds from
(seed, block). Between two rounds nothing runs, so that the caller may look at the epoch, stop it, or send the next round elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._layout import COLUMNS, block_edges, checked_columns, grid, lay_out, lay_out_in_file
from ._turns import Turns

# Multiply-adds in a round that are worth waking threads for, which takes some 50 microseconds.
_SHARED_WORK = 1 << 19
# Ratings that are read from a file together, at least.
_READ_RATINGS = 1 << 20
# Ratings that SVD++ walks between two looks, at least.
_CHUNK_RATINGS = 1 << 18


class Workers:
    """Threads that walk a round side by side; a context manager that ends them.

    Parameters
    ----------
    n_threads : threads, the calling one among them.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()

    def walk(self, kernel: Callable[..., None], blocks: np.ndarray, n_threads: int, *arguments: Any) -> None:
        """Call ``kernel(blocks, taken, *arguments)`` on up to `n_threads` threads, and return when all have ended.

        Each takes the next block as soon as it has done one, so no division of labour can be wrong.
        """
        taken = np.zeros(1, np.int64)
        self.each(lambda _: kernel(blocks, taken, *arguments), min(n_threads, len(blocks)))

    def each(self, work: Callable[[int], None], n: int) -> None:
        """Call ``work(0)`` to ``work(n - 1)``, side by side where there are threads, and return when all have ended."""
        numbers = iter(range(n))

        def some() -> None:
            for number in numbers:
                work(number)

        others = [self._pool.submit(some) for _ in range(min(self.n_threads, n) - 1)] if self._pool else []
        try:
            some()
        finally:
            wait(others)  # a Ctrl-C, too, leaves no thread behind that still writes
        for other in others:
            other.result()


class Held(NamedTuple):
    """The ratings of a round in memory: those of its n-th block are the columns' starts[numbers[n]] .. starts[numbers[n] + 1] - 1."""

    numbers: np.ndarray
    starts: np.ndarray
    columns: tuple[np.ndarray, ...]


class Schedule(ABC):
    """Ratings laid out in blocks, and the rounds of an epoch over them.

    Attributes
    ----------
    columns : the laid-out columns that the kernel reads.
    starts : int64 array of shape (n_blocks + 1,): where each block starts in them.
    counts : int32 arrays of shape (n_users,) and (n_items,): ratings of each user and of each item.
    """

    columns: tuple[np.ndarray, ...]
    starts: np.ndarray
    counts: list[np.ndarray]

    @abstractmethod
    def rounds(self, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """The rounds of an epoch: int32 arrays of block numbers, each block in one of them."""

    @abstractmethod
    def _threads_for(self, n_ratings: int) -> int | None:
        """How many threads a round of so many ratings is worth; None: all there are."""

    def _held(self, rounds: Iterator[np.ndarray], workers: Workers) -> Iterator[tuple[np.ndarray, Held]]:
        """Each round, and where its ratings are in memory."""
        return ((blocks, Held(blocks, self.starts, self.columns)) for blocks in rounds)

    @property
    def n_ratings(self) -> int:
        """Ratings of an epoch."""
        return int(self.starts[-1])

    def run(
        self,
        kernel: Callable[..., None],
        *arguments: Any,
        seed: int,
        epoch: int,
        workers: Workers,
        tick: Callable[[int, float], None] | None = None,
    ) -> float:
        """Walk one epoch.

        Parameters
        ----------
        kernel : a loop of `_kernels`: ``kernel(blocks, taken, starts, errors, *columns, *arguments)``.
        arguments : what it takes besides.
        seed, epoch : what the rounds follow from.
        workers : threads that share each round.
        tick : called after each round that holds ratings with those done and their total squared error; may raise to end the epoch.

        Returns
        -------
        float
            The total squared error, each rating's measured just before its own update, added up in the order of the blocks.
        """
        errors, sizes = np.zeros(len(self.starts) - 1), np.diff(self.starts)
        done, squared_error = 0, 0.0
        # Most rounds have no ratings, where a single row has nearly all of them.
        for blocks, held in self._held((blocks for blocks in self.rounds(seed, epoch) if sizes[blocks].any()), workers):
            n_ratings = int(sizes[blocks].sum())
            n_threads = self._threads_for(n_ratings) or workers.n_threads
            found = errors if held.numbers is blocks else np.zeros(len(held.starts) - 1)
            workers.walk(kernel, held.numbers, n_threads, held.starts, found, *held.columns, *arguments)
            errors[blocks] = found[held.numbers]
            if tick:
                done, squared_error = done + n_ratings, squared_error + float(errors[blocks].sum())
                tick(done, squared_error)
        return float(errors.sum())


class GridSchedule(Schedule):
    """Rounds of blocks that share no user and no item, for Funk SVD and SVD.

    Parameters
    ----------
    user, item : int32 arrays of shape (n_ratings,), indices.
    rating : float32 array of shape (n_ratings,).
    n_users, n_items : rows of the tables.
    width : floats in a row of factors.
    seed : seed of the shuffle within blocks.
    n_threads : threads that lay the ratings out.
    shape : (user blocks, item blocks) as `Turns` takes them; default: `grid` chooses.

    Raises
    ------
    DataError
        Columns that do not fit together, or an index outside the tables.
    """

    def __init__(
        self,
        user: np.ndarray,
        item: np.ndarray,
        rating: np.ndarray,
        n_users: int,
        n_items: int,
        width: int,
        seed: int,
        n_threads: int = 1,
        shape: tuple[int, int] | None = None,
    ) -> None:
        columns, self.counts = checked_columns(user, item, rating, n_users, n_items)
        self.width, self.shape = width, shape or grid(n_users, n_items, width, len(user))
        self.edges = [block_edges(count, n_blocks) for count, n_blocks in zip(self.counts, self.shape, strict=True)]
        self._lay_out(columns, self.edges, seed, n_threads)

    def _lay_out(self, columns: list[np.ndarray], edges: list[np.ndarray], seed: int, n_threads: int) -> None:
        *laid_out, self.starts = lay_out(*columns, *edges, seed, n_threads)  # type: ignore[call-arg, arg-type]
        self.columns = tuple(laid_out)

    def rounds(self, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """Those of `Turns`: each of min(shape) blocks, the largest first, so that all threads end together."""
        blocks = Turns.of(self.shape, seed, epoch).rounds()
        largest_first = np.argsort(-np.diff(self.starts)[blocks], axis=1, kind="stable")
        yield from np.take_along_axis(blocks, largest_first, axis=1)

    def stored(self, n_ratings: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """All blocks in their order, some with about so many ratings at a time: their numbers, and the columns of their ratings."""
        starts = self.starts
        cuts = np.searchsorted(starts[1:-1], np.arange(n_ratings, starts[-1], n_ratings)) + 1
        groups = np.split(np.arange(len(starts) - 1, dtype=np.int32), np.unique(cuts))
        for blocks, held in self._held((group for group in groups if len(group)), Workers(1)):
            first, last = held.starts[held.numbers[0]], held.starts[held.numbers[-1] + 1]
            yield blocks, [column[first:last] for column in held.columns]

    def _threads_for(self, n_ratings: int) -> int | None:
        return None if n_ratings * self.width >= _SHARED_WORK else 1


class FileGridSchedule(GridSchedule):
    """The same for a mapped table: the blocks lie in a file, and some rounds of them in memory.

    Parameters
    ----------
    home : folder for the file.
    others : as of `GridSchedule`.
    """

    columns = ()

    def __init__(self, home: Path, *arguments: Any) -> None:
        self._home = home
        super().__init__(*arguments)

    def _lay_out(self, columns: list[np.ndarray], edges: list[np.ndarray], seed: int, n_threads: int) -> None:
        self._room = [np.empty(0, dtype) for dtype in COLUMNS.values()]
        self._parts, self.starts = lay_out_in_file(self._home, *columns, *edges, seed)  # type: ignore[call-arg, arg-type]

    def _held(self, rounds: Iterator[np.ndarray], workers: Workers) -> Iterator[tuple[np.ndarray, Held]]:
        """Some rounds at a time, read by the threads that will train on them, for whom another that reads ahead has no core left."""
        groups = self._groups(rounds)
        now = next(groups)
        while now:
            coming = next(groups, [])
            yield from self._read(now, coming, workers)
            now = coming

    def _groups(self, rounds: Iterator[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Rounds that are read together: about `_READ_RATINGS` ratings."""
        sizes, group, n_ratings = np.diff(self.starts), [], 0
        for blocks in rounds:
            group.append(blocks)
            n_ratings += int(sizes[blocks].sum())
            if n_ratings >= _READ_RATINGS:
                yield group
                group, n_ratings = [], 0
        yield group

    def _read(
        self, group: list[np.ndarray], coming: list[np.ndarray], workers: Workers
    ) -> list[tuple[np.ndarray, Held]]:
        """The rounds of a group, which are there until the next is read; what is coming the system may fetch meanwhile."""
        blocks, sizes = np.concatenate(group), np.diff(self.starts)
        starts = np.concatenate(([0], np.cumsum(sizes[blocks])))
        if starts[-1] > len(self._room[0]):  # used again: fresh memory takes longer to come by than to fill
            self._room = [np.empty(starts[-1], dtype) for dtype in COLUMNS.values()]
        order = np.argsort(blocks)  # as they lie in the file
        later = np.sort(np.concatenate(coming)) if coming else np.empty(0, np.int32)
        parts, room, n = self._parts, self._room, workers.n_threads

        def read(share: int) -> None:
            own, others = order[share::n], later[share::n]
            for first, low, high in np.stack((self.starts[blocks[own]], starts[own], starts[own + 1]), axis=1).tolist():
                parts.read_rows(first, [column[low:high] for column in room])
            for first, n_ratings in np.stack((self.starts[others], sizes[others]), axis=1).tolist():
                parts.soon(first, n_ratings)

        workers.each(read, n)
        numbers = np.split(np.arange(len(blocks), dtype=np.int32), np.cumsum(list(map(len, group)))[:-1])
        held = (Held(number, starts, tuple(room)) for number in numbers)
        return list(zip(group, held, strict=True))


class UserSchedule(Schedule):
    """All ratings of a user together, the users in random order, for SVD++: one thread, for users share their items' rows.

    Parameters, Raises: as `GridSchedule`. A block is a user, a round a number of them with some 260,000 ratings together.
    """

    def __init__(
        self, user: np.ndarray, item: np.ndarray, rating: np.ndarray, n_users: int, n_items: int, seed: int
    ) -> None:
        columns, self.counts = checked_columns(user, item, rating, n_users, n_items)
        edges = np.arange(n_users + 1, dtype=np.int32), np.array([0, n_items], np.int32)
        _, *laid_out, self.starts = lay_out(*columns, *edges, seed)  # type: ignore[call-arg, arg-type]
        self.columns = tuple(laid_out)

    def rounds(self, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """The users in random order, cut where another `_CHUNK_RATINGS` ratings are full."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self.starts) - 1).astype(np.int32)
        total = np.cumsum(np.diff(self.starts)[order])
        cuts = np.searchsorted(total, np.arange(_CHUNK_RATINGS, total[-1], _CHUNK_RATINGS)) + 1
        yield from (users for users in np.split(order, np.unique(cuts)) if len(users))

    def _threads_for(self, n_ratings: int) -> int | None:
        return 1
