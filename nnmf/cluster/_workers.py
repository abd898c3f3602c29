"""Which workers a cluster has, and whether they can do this package's work."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnmf._version import __version__
from nnmf.errors import BackendError

if TYPE_CHECKING:
    from distributed import Client


class Worker(NamedTuple):
    """A worker of a cluster.

    Attributes
    ----------
    address : str
        As Dask knows it, such as ``tcp://10.0.0.7:40331``.
    host : str
        Its machine.
    n_threads : int
        Tasks that it runs at a time.
    """

    address: str
    host: str
    n_threads: int


def workers_of(client: Client) -> list[Worker]:
    """The workers that are there now, always in the same order."""
    found = client.scheduler_info(n_workers=-1)["workers"]
    return [Worker(address, found[address]["host"], found[address]["nthreads"]) for address in sorted(found)]


def check_workers(client: Client) -> None:
    """Refuse a cluster with a worker that cannot import this package, or has another version of it.

    Raises
    ------
    BackendError
        The sentence names the worker.
    """
    for worker, version in client.run(_version, on_error="return").items():
        if isinstance(version, Exception):
            raise BackendError(
                f"cluster: the worker {worker} cannot import nnmf ({type(version).__name__}: {version}); install nnmf {__version__} "
                "there, and what it needs."
            )
        if version != __version__:
            raise BackendError(
                f"cluster: the worker {worker} has nnmf {version} and this process {__version__}; install the same everywhere."
            )


def _version() -> str:
    return __version__
