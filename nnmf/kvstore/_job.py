"""`Job`: the scheduler, servers and workers of a parameter server, which live and end together."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnmf import errors
from nnmf._compiled import usable_cores
from nnmf.cluster import workers_of
from nnmf.errors import BackendError, TrainingError

from ._places import Place
from ._remote import RemotePlace, host_of

logger = logging.getLogger("nnmf")

# Seconds in which all processes have to find each other.
_START_SECONDS = 120.0
_NODE = "nnmf.kvstore._node"


AnyPlace = Place | RemotePlace


def places_of(cluster: Any, folder: Path) -> list[AnyPlace]:
    """The place of each worker of a job.

    Parameters
    ----------
    cluster : int or distributed.Client
        So many workers on this machine, or one for each of the cluster's.
    folder : Path
        The job's.

    Raises
    ------
    BackendError
        The cluster has no workers, and none come, or one is beyond MXNet's reach.
    """
    if isinstance(cluster, int):
        # Each of them would else take all cores.
        n_threads = None if "OMP_NUM_THREADS" in os.environ else max(1, usable_cores() // cluster)
        return [Place(folder, n_threads)] * cluster
    workers = workers_of(cluster)
    for worker in workers:
        if ":" in host_of(worker.address):
            raise BackendError(
                f"cluster: the worker {worker.address} has an IPv6 address, by which KVStore reaches nobody; start it with one of IPv4 "
                "(dask worker --host)."
            )
    # What the environment says there is Dask's word to its own tasks: 1.
    return [RemotePlace(cluster, worker.address, folder, worker.n_threads) for worker in workers]


class ProcessEnded(TrainingError):
    """A process of a job ended by itself; the text says which, and how."""


class Job:
    """A parameter server, and its workers, each of which has said that it is ready.

    Parameters
    ----------
    places : sequence of Place
        Of each worker, see `places_of`; the first is the scheduler's, too, and each has a server.
    module : str
        What a worker runs; it finds its number in ``NNMF_RANK``, answers an error with ``error`` and ``text``, and says
        ``ready`` once the store is open.

    Raises
    ------
    ProcessEnded
        One of them ended, at once; so do `hear` and `tell` later.
    BackendError
        They did not find each other in time.
    """

    def __init__(self, places: Sequence[AnyPlace], module: str) -> None:
        self._places, self._heard = places, queue.SimpleQueue[dict[str, Any]]()
        distinct = list(dict.fromkeys(places))
        self.workers = [f"worker {number}" for number in range(1, len(places) + 1)]
        root = places[0]
        try:
            shared = {
                "DMLC_PS_ROOT_URI": root.host,
                "DMLC_PS_ROOT_PORT": str(root.free_port()),
                "DMLC_NUM_SERVER": str(len(distinct)),
                "DMLC_NUM_WORKER": str(len(places)),
            }
            if any(not place.host.startswith("127.") for place in places):
                logger.warning(
                    "KVStore's ports (%s:%s, and others that it chooses) ask nobody who he is, and run what they are sent: they are "
                    "for a network that you trust.",
                    root.host,
                    shared["DMLC_PS_ROOT_PORT"],
                )
            self._start(root, "scheduler", _NODE, {**shared, "DMLC_ROLE": "scheduler"})
            for number, place in enumerate(distinct, 1):
                self._start(place, f"server {number}", _NODE, {**shared, "DMLC_ROLE": "server"})
            for rank, (place, name) in enumerate(zip(places, self.workers, strict=True)):
                self._start(place, name, module, {**shared, "DMLC_ROLE": "worker", "NNMF_RANK": str(rank)})
            self.ready = self._all_ready()
        except BaseException:
            self.end()
            raise

    def _start(self, place: AnyPlace, name: str, module: str, variables: dict[str, str]) -> None:
        place.start(name, module, {**variables, "DMLC_NODE_HOST": place.host}, self._heard.put)

    def _all_ready(self) -> list[dict[str, Any]]:
        """What each worker said when it was ready."""
        deadline = time.monotonic() + _START_SECONDS
        ready: dict[str, dict[str, Any]] = {}
        while len(ready) < len(self.workers):
            try:
                message = self.hear(max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise BackendError(
                    f"kvstore: {len(ready)} of {len(self.workers)} workers were ready after {_START_SECONDS:.0f} s; check that the "
                    "machines of the cluster reach each other."
                ) from None
            ready[message["from"]] = message
        return [ready[name] for name in self.workers]

    def tell(self, **order: Any) -> None:
        """Send an order to all workers."""
        for place, name in zip(self._places, self.workers, strict=True):
            place.tell(name, order)

    def hear(self, seconds: float | None = None) -> dict[str, Any]:
        """The next message of a worker, whose name it has as ``from``; `queue.Empty` where none comes in time."""
        message = self._heard.get(timeout=seconds)
        if "error" in message:
            raise getattr(errors, message["error"])(message["text"])
        if "ended" in message:
            raise ProcessEnded(f"KVStore's {message['from']} {message['ended']}")
        return message

    def collect(self, name: str) -> None:
        """See to it that a file of the first worker is in the job's folder here."""
        self._places[0].collect(name)

    def end(self) -> None:
        """End all processes."""
        for place in dict.fromkeys(self._places):
            place.end()
