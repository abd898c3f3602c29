"""`Place`: where processes of a job are started; on this machine."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._process import Process, end

_LOOPBACK = "127.0.0.1"


class Place:
    """This machine.

    Parameters
    ----------
    folder : Path
        The job's.
    n_threads : int or None
        Those that a process computes with; None: as the environment says.
    host : str, default="127.0.0.1"
        The address at which processes listen; by default nobody else can reach them.
    """

    def __init__(self, folder: Path, n_threads: int | None, host: str = _LOOPBACK) -> None:
        self._folder, self._n_threads, self.host = folder, n_threads, host
        self._processes: dict[str, Process] = {}
        self._held: list[socket.socket] = []

    def free_port(self) -> int:
        """A port that is nobody's; on Linux nobody else's until the job ends."""
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so may who listens there, as MXNet does
        held.bind((self.host, 0))
        found: int = held.getsockname()[1]
        if sys.platform == "linux":
            self._held.append(held)
        else:  # elsewhere nobody may listen there meanwhile
            held.close()
        return found

    def start(self, name: str, module: str, variables: dict[str, str], hear: Callable[[dict[str, Any]], Any]) -> None:
        """Start a process; see `Process`."""
        if self._n_threads is not None:
            variables = {**variables, "OMP_NUM_THREADS": str(self._n_threads)}
        self._processes[name] = Process(name, module, self._folder, variables, hear)

    def tell(self, name: str, order: dict[str, Any]) -> None:
        """Send an order to a process."""
        self._processes[name].tell(order)

    def collect(self, name: str) -> None:
        """See to it that a file that a worker wrote into its folder is in that of the job here."""

    def end(self) -> None:
        """End all processes."""
        end(self._processes.values())
        for held in self._held:
            held.close()
