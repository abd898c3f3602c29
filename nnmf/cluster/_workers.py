"""Which workers a cluster has, and whether they can do this package's work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from nnmf._version import __version__
from nnmf.errors import BackendError

if TYPE_CHECKING:
    from distributed import Client


# Seconds that workers have to come in.
_WORKER_SECONDS = 60


class Worker(NamedTuple):
    """A worker of a cluster.

    Attributes
    ----------
    address : str
        As Dask knows it, such as ``tcp://10.0.0.7:40331``.
    n_threads : int
        Tasks that it runs at a time.
    """

    address: str
    n_threads: int


def workers_of(client: Client) -> list[Worker]:
    """The workers that are there now, always in the same order; where there are none, those that come.

    Raises
    ------
    BackendError
        None comes, or the scheduler does not answer.
    """
    while not (there := present(client)):
        _wait(client)
    return [Worker(address, n_threads) for address, n_threads in sorted(there.items())]


def _wait(client: Client) -> None:
    """Wait for a worker."""
    # A cluster that adapts itself starts one where there is something to do.
    asked = client.submit(_version, pure=False)
    try:
        client.wait_for_workers(1, timeout=_WORKER_SECONDS)
    except (TimeoutError, asyncio.TimeoutError):  # the same from Python 3.11 on
        address = cast(Any, client.scheduler).address
        raise BackendError(
            f"cluster: the scheduler at {address} has no workers, and none came within {_WORKER_SECONDS} s; "
            f"start some (dask worker {address})."
        ) from None
    finally:
        asked.release()  # nobody waits for it


def threads_of(client: Client) -> list[str]:
    """The worker of each thread that there is now: all workers' first threads, then all second ones; see `workers_of`."""
    workers = workers_of(client)
    most = max(worker.n_threads for worker in workers)
    return [worker.address for number in range(most) for worker in workers if worker.n_threads > number]


def present(client: Client) -> dict[str, int]:
    """The workers that are there now, and their threads.

    Raises
    ------
    BackendError
        The scheduler does not answer.
    """
    with _reached(client):
        return dict(client.ncores())


def paused(client: Client, addresses: set[str]) -> str | None:
    """A worker that begins no task, as Dask has it where memory is nearly full, if none of these has a task in hand.

    Raises
    ------
    BackendError
        The scheduler does not answer.
    """
    with _reached(client):
        found: str | None = client.run_on_scheduler(_paused, addresses)
    return found


def _paused(addresses: set[str], dask_scheduler: Any) -> str | None:
    workers = [dask_scheduler.workers[address] for address in addresses if address in dask_scheduler.workers]
    if any(worker.executing for worker in workers):
        return None
    return next((worker.address for worker in workers if worker.status.name == "paused"), None)


def answers(client: Client, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What a function comes to on each worker, or the error that it raises there; of those that are gone by then, nothing.

    Raises
    ------
    BackendError
        The scheduler does not answer.
    """
    from distributed.comm import CommClosedError

    with _reached(client):
        found = client.run(function, *arguments, on_error="return")
    there = present(client)
    # One that has just died may still be counted.
    return {w: answer for w, answer in found.items() if w in there and not isinstance(answer, CommClosedError)}


@contextlib.contextmanager
def _reached(client: Client) -> Iterator[None]:
    """Say so where the scheduler that is asked no longer answers."""
    try:
        yield
    except (OSError, RuntimeError, AttributeError, asyncio.TimeoutError) as error:
        # What a client that was closed has in the place of a scheduler has no attributes.
        why = "its client was closed" if client.status == "closed" else error
        raise BackendError(f"cluster: the scheduler no longer answers ({why}); see what became of it.") from None


def check_workers(client: Client) -> None:
    """Refuse a cluster with a worker that cannot import this package, or has another version of it; so must its scheduler.

    Raises
    ------
    BackendError
        The sentence names the worker.
    """
    try:
        found = {"scheduler": client.run_on_scheduler(_version)}
    except Exception as error:
        found = {"scheduler": error}
    found |= {f"worker {worker}": version for worker, version in answers(client, _version).items()}
    for who, version in found.items():
        if isinstance(version, Exception):
            raise BackendError(
                f"cluster: the {who} cannot import nnmf ({type(version).__name__}: {version}); install nnmf {__version__} "
                "there, and what it needs."
            )
        if version != __version__:
            raise BackendError(
                f"cluster: the {who} has nnmf {version} and this process {__version__}; install the same everywhere."
            )


def _version() -> str:
    return __version__
