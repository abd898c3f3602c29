"""`RemotePlace`: the machine of a Dask worker, whose processes that worker starts, tells and hears.

Functions here that take a ``key`` run on the worker, by `distributed.Client.run`. It ends what it started for a job of which it was
asked nothing for a while, such as one whose process was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ._child import PREFIX
from ._places import Place

if TYPE_CHECKING:
    from distributed import Client

# Seconds without a question after which a job is taken for dead, and that an answer waits for something to tell.
_LEASE_SECONDS, _WAIT_SECONDS = 30.0, 1.0
_LOOK_SECONDS = 0.02


def host_of(address: str) -> str:
    """The machine in an address such as ``tcp://10.0.0.7:40331``."""
    return urlsplit(address).hostname or ""


class RemotePlace:
    """The machine of a Dask worker; does what `Place` does.

    Parameters
    ----------
    client : distributed.Client
    address : str
        The worker's, as Dask knows it.
    folder : Path
        The job's on this machine; the worker has one of its own where it does not see this one.
    n_threads : int
        Those that a process computes with.
    """

    def __init__(self, client: Client, address: str, folder: Path, n_threads: int) -> None:
        self.host = host_of(address)
        self._client, self._address, self._folder, self._n_threads = client, address, folder, n_threads
        self._key = f"{folder.name} {address}"
        self._names: list[str] = []
        self._is_open, self._is_shared = False, True

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        answers = self._client.run(function, self._key, *arguments, workers=[self._address])
        return answers[self._address]

    def _open(self) -> None:
        if self._is_open:
            return
        self._is_shared = self._ask(_open, str(self._folder), self.host, self._n_threads, None)
        if not self._is_shared:
            files = {path.name: path.read_bytes() for path in self._folder.iterdir()}
            self._ask(_open, str(self._folder), self.host, self._n_threads, files)
        self._is_open = True

    def free_port(self) -> int:
        """As `Place.free_port`."""
        self._open()
        found: int = self._ask(_free_port)
        return found

    def start(self, name: str, module: str, variables: dict[str, str], hear: Callable[[dict[str, Any]], Any]) -> None:
        """As `Place.start`."""
        self._open()
        self._ask(_start, name, module, variables)
        self._names.append(name)
        if len(self._names) == 1:
            threading.Thread(target=self._listen, args=(hear,), daemon=True).start()

    def _listen(self, hear: Callable[[dict[str, Any]], Any]) -> None:
        while self._is_open:
            try:
                messages = self._ask(_heard)
            except Exception as error:  # whatever Dask raises where a worker is gone
                lost, self._is_open = self._is_open, False  # a question to who is gone would wait for half a minute
                for name in self._names if lost else ():
                    hear(
                        {
                            "from": name,
                            "ended": f"is lost with the Dask worker {self._address} ({type(error).__name__})",
                        }
                    )
                return
            for message in messages:
                hear(message)

    def tell(self, name: str, order: dict[str, Any]) -> None:
        """As `Place.tell`."""
        with contextlib.suppress(OSError):  # that the worker is gone is heard
            self._ask(_tell, name, order)

    def collect(self, name: str) -> None:
        """As `Place.collect`."""
        if not self._is_shared:
            (self._folder / name).write_bytes(self._ask(_collect, name))

    def end(self) -> None:
        """As `Place.end`."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(Exception):  # a worker that is gone has ended them
                self._ask(_end)


# -- on the worker ------------------------------------------------------------------------------------------------------------
class _Held:
    """What a Dask worker holds of a job."""

    def __init__(self, place: Place, own_folder: Path | None) -> None:
        self.place, self.own_folder, self.asked = place, own_folder, time.monotonic()
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def end(self) -> None:
        self.place.end()
        if self.own_folder is not None:
            shutil.rmtree(self.own_folder, ignore_errors=True)


_held: dict[str, _Held] = {}


def _open(key: str, folder: str, host: str, n_threads: int, files: dict[str, bytes] | None) -> bool:
    """Make room for a job: in its folder where it is seen here, or with its files in one of its own; whether there is."""
    place, own = Path(folder), None
    if files is not None:
        place = own = Path(tempfile.mkdtemp(prefix=PREFIX))
        for name, content in files.items():
            (own / name).write_bytes(content)
    elif not place.is_dir():
        return False
    _held[key] = _Held(Place(place, n_threads, host), own)
    threading.Thread(target=_watch, args=(key,), daemon=True).start()
    return True


def _watch(key: str) -> None:
    """End a job that nobody asks for any more."""
    while key in _held:
        time.sleep(1)
        held = _held.get(key)
        if held is not None and time.monotonic() - held.asked > _LEASE_SECONDS:
            _held.pop(key).end()


def _asked(key: str) -> _Held:
    held = _held[key]
    held.asked = time.monotonic()
    return held


def _free_port(key: str) -> int:
    return _asked(key).place.free_port()


def _start(key: str, name: str, module: str, variables: dict[str, str]) -> None:
    held = _asked(key)
    held.place.start(name, module, variables, held.messages.put)


def _tell(key: str, name: str, order: dict[str, Any]) -> None:
    _asked(key).place.tell(name, order)


async def _heard(key: str) -> list[dict[str, Any]]:
    """What the processes have said; waits a moment for it."""
    held, deadline = _asked(key), time.monotonic() + _WAIT_SECONDS
    while held.messages.empty() and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(held.messages.get_nowait())
    return found


def _collect(key: str, name: str) -> bytes:
    held = _asked(key)
    assert held.own_folder is not None
    return (held.own_folder / name).read_bytes()


async def _end(key: str) -> None:
    held = _held.pop(key, None)
    if held is not None:
        await asyncio.to_thread(held.end)
