"""`ClusterSchedule`: an epoch of SGD on the workers of a cluster, which change no bit of what one thread would make of it."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, starmap
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmf.cluster import Graph, persistently, shared_folder, threads_of
from nnmf.files import cannot_write

from ._layout import COLUMNS
from ._schedule import GridSchedule, Workers
from ._shares import STARTS, Share, Span, is_fixed, train_share
from ._turns import Turns

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger("nnmf")

# Ratings of a task, at most about: it takes half a second or so, after which there is something to tell. And at least, where there
# could be fewer tasks: one takes Dask some milliseconds.
_TASK_RATINGS, _FEW_RATINGS = 1 << 24, 1 << 18
# Share of the workers' time that may be lost because some have a group of stripes more than others.
_IDLE = 0.15
_COPIED_RATINGS = 1 << 20


class ClusterSchedule:
    """The rounds of a `GridSchedule` on a cluster.

    Stripes of users and of items are put into as many groups (see `Turns`). In part h of an epoch group g of the users meets group
    ``g ^ h`` of the items, in one task, on the worker whose group g is: its users' rows stay there, the items' go from worker to
    worker. The number of workers says how many groups there are, and who has which; what is computed does not depend on it.

    Parameters
    ----------
    schedule : GridSchedule
        The ratings, laid out.
    client : distributed.Client
    home : Path or None
        Where the ratings are put for the workers to read; see `shared_folder`.
    """

    def __init__(self, schedule: GridSchedule, client: Client, home: Path | None) -> None:
        self._client, self.shape, self._sizes = client, schedule.shape, np.diff(schedule.starts)
        self.counts, self._n_ratings = schedule.counts, schedule.n_ratings
        n_stripes = min(self.shape)
        self._spans = [
            list(starmap(Span, pairwise(edges[:: (len(edges) - 1) // n_stripes].tolist()))) for edges in schedule.edges
        ]
        self._told_threads = 0
        self._open = contextlib.ExitStack()
        try:
            self._folder = self._open.enter_context(shared_folder(client, home))
            self._write_ratings(schedule)
        except BaseException:
            self._open.close()
            raise

    def close(self) -> None:
        """Remove what the workers read."""
        self._open.close()

    def _write_ratings(self, schedule: GridSchedule) -> None:
        """Ratings block after block, users and items counted from the first of their stripe."""
        n_inner = [n // min(self.shape) for n in self.shape]
        firsts = [np.array([span.first for span in spans], np.int32) for spans in self._spans]
        try:
            np.save(self._folder / STARTS, schedule.starts)
            with contextlib.ExitStack() as stack:
                files = [stack.enter_context((self._folder / name).open("wb")) for name in COLUMNS]
                for blocks, columns in schedule.stored(_COPIED_RATINGS):
                    sizes = self._sizes[blocks]
                    user, item = np.divmod(blocks, self.shape[1])
                    offsets = [
                        np.repeat(first[block // n], sizes)
                        for first, block, n in zip(firsts, (user, item), n_inner, strict=True)
                    ]
                    relative = (column - offset for column, offset in zip(columns, offsets, strict=False))
                    for file, column in zip(files, (*relative, columns[2]), strict=True):
                        file.write(np.ascontiguousarray(column).data.cast("B"))
        except OSError as error:
            raise cannot_write(self._folder, error) from None

    def run(
        self,
        kernel: Callable[..., None],
        *arguments: Any,
        seed: int,
        epoch: int,
        workers: Workers,
        tick: Callable[[int, float], None] | None = None,
    ) -> float:
        """Walk one epoch; see `Schedule.run`. Where a worker is lost it begins anew, with those that are left."""
        names = list(inspect.signature(kernel).parameters)[4 + len(COLUMNS) :]
        given = dict(zip(names, arguments, strict=True))
        tables = {name: array for name, array in given.items() if isinstance(array, np.ndarray)}
        turns = Turns.of(self.shape, seed, epoch)
        with self._written(tables, epoch) as files:
            told = tuple(name if name in tables else value for name, value in given.items())
            share = Share(str(self._folder), kernel.__name__, told, files, {}, {}, [])
            return persistently(lambda: self._walk(self._graph(turns, share), tables, tick), f"epoch {epoch}")

    @contextlib.contextmanager
    def _written(self, tables: dict[str, np.ndarray], epoch: int) -> Iterator[dict[str, str]]:
        """Files of the tables as an epoch begins, by name: those that no epoch changes once, the others until it ends."""
        files = {name: f"{name}.npy" if is_fixed(name) else f"{name}.{epoch}.npy" for name in tables}
        try:
            for name, file in files.items():
                path = self._folder / file
                if not (is_fixed(name) and path.exists()):
                    np.save(path, tables[name])
        except OSError as error:
            raise cannot_write(self._folder, error) from None
        try:
            yield files
        finally:
            for name, file in files.items():
                if not is_fixed(name):
                    (self._folder / file).unlink(missing_ok=True)

    def _graph(self, turns: Turns, share: Share) -> Graph:
        """The tasks of an epoch; wanted are the errors of each, and the rows that the last leave."""
        graph, places = Graph(self._client), self._places()
        n_groups = len(places)
        held = len(turns.users) // n_groups  # stripes of a group
        before: list[str] = []
        for part in range(n_groups):
            trained = []
            for group in range(n_groups):
                visits = [
                    (int(turns.users[place]), int(turns.items[place ^ turn]), turns.blocks[turn, place])
                    for turn in range(part * held, (part + 1) * held)
                    for place in range(group * held, (group + 1) * held)
                ]
                users, items = (
                    {visit[side]: self._spans[side][visit[side]] for visit in sorted(visits, key=itemgetter(side))}
                    for side in (0, 1)
                )
                own = replace(share, users=users, items=items, visits=visits)
                rows: list[str | None] = [None, None]
                if part:
                    other = group ^ part ^ (part - 1)  # the group of users that these items were with
                    moves = places[group] != places[other]
                    rows = [before[group], graph.part(before[other], "items") if moves else before[other]]
                trained.append(graph.add(places[group], train_share, own, *rows))
                graph.want(graph.part(trained[-1], "errors"), "errors")
            before = trained
        for key in before:
            for name in ("users", "items"):
                graph.want(graph.part(key, name), name)
        return graph

    def _walk(self, graph: Graph, tables: dict[str, np.ndarray], tick: Callable[[int, float], None] | None) -> float:
        """Run the graph of an epoch and, once all of it is there, put what it comes to into the tables."""
        errors, done, squared_error = np.zeros(len(self._sizes)), 0, 0.0
        finished: list[tuple[int, Any]] = []
        with contextlib.closing(graph.results()) as results:
            for name, result in results:
                if name != "errors":
                    finished.append((("users", "items").index(str(name)), result[name]))
                    continue
                blocks, of_blocks = result[name]
                errors[blocks] = of_blocks
                done, squared_error = done + int(self._sizes[blocks].sum()), squared_error + float(of_blocks.sum())
                if tick and done:
                    tick(done, squared_error)
        for side, stripes in finished:
            for stripe, rows in stripes.items():
                span = self._spans[side][stripe]
                for name, part in rows.items():
                    tables[name][span.first : span.last] = part
        return float(errors.sum())

    def _places(self) -> list[str]:
        """The worker of each group of stripes."""
        most = min(self.shape)
        threads = threads_of(self._client)[:most]
        n_groups = 1
        while n_groups < most and self._wants_more(n_groups, len(threads)):
            n_groups *= 2
        if self._told_threads != len(threads):
            self._told_threads = len(threads)
            logger.info("Cluster: %d threads, %d tasks an epoch.", len(threads), n_groups**2)
        return [threads[group * len(threads) // n_groups] for group in range(n_groups)]

    def _wants_more(self, n_groups: int, n_threads: int) -> bool:
        """Whether there should be twice as many groups."""
        busy = n_groups / (n_threads * -(-n_groups // n_threads))
        of_task = self._n_ratings / n_groups**2
        return n_groups < n_threads or of_task > _TASK_RATINGS or (busy < 1 - _IDLE and of_task >= 4 * _FEW_RATINGS)
