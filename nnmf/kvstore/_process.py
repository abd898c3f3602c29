"""`Process`: one process of a job, on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

# Seconds that a process has to end in once its orders have.
_END_SECONDS = 5.0


class Process:
    """A process that is told what to do and heard, by lines of JSON, and ends with this object's end of its pipe.

    It hears no Ctrl-C of a terminal.

    Parameters
    ----------
    name : str
        What messages from it are marked with.
    module : str
        What it runs, as ``python -m`` does; see `Orders`.
    folder : Path
        Where it runs, and what it prints is kept.
    variables : mapping of str to str
        Of its environment, beside those of this process.
    hear : callable
        Told of each message, on a thread of its own; the last says with which exit code the process ended.
    """

    def __init__(
        self,
        name: str,
        module: str,
        folder: Path,
        variables: Mapping[str, str],
        hear: Callable[[dict[str, Any]], Any],
    ) -> None:
        self.name, self._hear, self._log = name, hear, folder / f"{name.replace(' ', '-')}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=folder,
                env={**_own_environment(), **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, order: dict[str, Any]) -> None:
        """Send an order; that nobody is there to take it is heard, too."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # what a library prints before the process minds its output
                    self._hear({"from": self.name, **json.loads(line)})
        self._hear({"from": self.name, "ended": _told(self._process.wait(), self._last_line())})

    def _last_line(self) -> str:
        """What it printed last, or the last error that it printed."""
        with contextlib.suppress(OSError):
            lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
            return ([line for line in lines if "rror" in line] or lines or [""])[-1]
        return ""

    def close(self) -> None:
        """Let it end by itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def wait(self) -> None:
        """See it end, or end it."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def end(processes: Iterable[Process]) -> None:
    """End processes, all at once."""
    started = list(processes)
    for process in started:
        process.close()
    for process in started:
        process.wait()


def _own_environment() -> dict[str, str]:
    """The environment of this process, by which another finds this very package, and no job that this one may be of."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("DMLC_", "MXNET_UPDATE_ON"))}
    places = [str(Path(__file__).parents[2]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    found["PYTHONPATH"] = os.pathsep.join(str(Path(place).absolute()) for place in places)
    return found


def _told(code: int, last_line: str) -> str:
    if code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}" + (f" ({last_line})" if last_line and code else "")
