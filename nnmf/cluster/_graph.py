"""`Graph`: pure tasks, each on a worker of its own choice, whose results come as they are found; workers may die meanwhile."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import secrets
import threading
from collections.abc import Callable, Generator, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

from nnmf.errors import BackendError

from ._workers import paused, present

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger("nnmf")

# Seconds between two looks at which workers are alive.
_LOOK_SECONDS = 1.0
# Looks, one after another, at which a worker that is paused holds up all others, before it is given up: most go on by themselves.
_PAUSED_LOOKS = 30
# Seconds that results on their way may take to be of no use.
_END_SECONDS = 30.0
# Times that something is begun anew because a worker was lost.
_ATTEMPTS = 20

_Result = TypeVar("_Result")


class LostWorker(Exception):
    """A worker that tasks were given to is gone; who made the graph makes another for those that are left."""


class Graph:
    """Tasks, and where each is to run: no other worker takes it, so that what it works on stays where it is.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Client) -> None:
        self._client, self._prefix = client, f"nnmf-{secrets.token_hex(8)}"
        self._tasks: dict[str, tuple[Any, ...]] = {}
        self._places: dict[str, str] = {}
        self._wanted: dict[str, Hashable] = {}

    def add(self, worker: str, function: Callable[..., Any], *arguments: Any) -> str:
        """Add a task; its key, which later tasks may take for one of their arguments.

        Parameters
        ----------
        worker : str
            Address of the worker.
        function : callable
            Of a module, and pure: it changes no argument.
        arguments
            Keys of tasks whose results it takes, and plain objects: no texts, tuples, lists or dicts, which Dask looks into.
        """
        key = f"{self._prefix}-{function.__name__}-{len(self._tasks)}"
        self._tasks[key], self._places[key] = (function, *arguments), worker
        return key

    def part(self, key: str, name: str) -> str:
        """The key of one entry of a task's result, a dict; so no more than that entry is sent to who wants it alone."""
        return self.add(self._places[key], _entry, key, name)

    def want(self, key: str, name: Hashable) -> None:
        """Have `results` yield what a task comes to, by a name."""
        self._wanted[key] = name

    def results(self) -> Generator[tuple[Hashable, Any], None, None]:
        """Run it: (name, result) of each that is wanted, as they come. Once it is closed, no task is left waiting.

        Raises
        ------
        LostWorker
            A worker died.
        BackendError
            A worker stays paused.
        NnmfError
            What a task raised.
        """
        import dask

        with dask.annotate(workers=self._places.get):
            futures = self._client.get(self._tasks, list(self._wanted), sync=False)
        found: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        # Dask waits for the results of a worker that is gone as long as for others; this thread looks who is there meanwhile.
        names = dict(zip(futures, self._wanted, strict=True))
        fetching = threading.Thread(target=self._fetch, args=(names, found), daemon=True)
        left, paused_looks = len(futures), 0
        try:
            fetching.start()
            while left:
                try:
                    name, result = found.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    places = set(self._places.values())
                    if not places <= present(self._client).keys():
                        raise LostWorker from None
                    waiting = paused(self._client, places)
                    paused_looks = paused_looks + 1 if waiting else 0
                    if paused_looks >= _PAUSED_LOOKS:
                        raise BackendError(
                            f"cluster: the worker {waiting} is paused, for nearly all of its memory is in use; give workers more of it "
                            "(dask worker --memory-limit), or have fewer on a machine."
                        ) from None
                    continue
                paused_looks = 0
                if isinstance(result, BaseException):
                    raise result
                left -= 1
                yield name, result
        finally:
            if left:
                with contextlib.suppress(Exception):  # of a scheduler that is gone nothing waits any more
                    self._client.cancel(futures, force=True)
            fetching.join(_END_SECONDS)

    def _fetch(self, names: dict[Any, str], found: queue.SimpleQueue[tuple[Any, Any]]) -> None:
        """Put the results of futures where they are waited for, or what took their place."""
        from distributed import KilledWorker, wait

        try:
            with self._client.as_current():
                while names:
                    done = list(wait(list(names), return_when="FIRST_COMPLETED").done)
                    for future, result in zip(done, self._client.gather(done), strict=True):
                        found.put((self._wanted[names.pop(future)], result))
        except (KilledWorker, asyncio.CancelledError, concurrent.futures.CancelledError, OSError):
            found.put((None, LostWorker()))
        except BaseException as error:
            found.put((None, error))


def persistently(attempt: Callable[[], _Result], what: str) -> _Result:
    """What an attempt comes to, begun anew with the workers that are left where one was lost.

    Raises
    ------
    BackendError
        Too many were.
    """
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except LostWorker:
            logger.warning("A worker was lost; %s begins anew with those that are left.", what)
    raise BackendError(
        f"cluster: workers were lost {_ATTEMPTS} times in {what}; see what ends them, such as a lack of memory."
    )


def _entry(result: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: result[name]}
