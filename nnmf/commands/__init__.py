"""What a user types: ``nnmf COMMAND ...``, or ``python -m nnmf.COMMAND ...``."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys

TYPE_CHECKING = False  # as in `nnmf`

if TYPE_CHECKING:
    from typing import Any, NoReturn

#: what each command is for; the module ``_NAME.py`` has its ``main``, which takes its arguments as a list of texts and exits
COMMANDS = {
    "train": "train a model and report its RMSE",
    "predict": "predict ratings or list recommendations with a saved model",
    "data": "print the statistics of a table of ratings",
    "cache": "see and clear what is kept between runs",
    "doctor": "say what is installed, what can be used, and what mends the rest",
}

__all__ = ["COMMANDS", "Terminated", "is_terminated", "main", "raise_lost", "run"]

# The interrupts that were sent to this process.
_sent: list[type[KeyboardInterrupt]] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which batch systems end a job: Ctrl-C's twin."""


def run(name: str, argv: list[str] | None = None) -> NoReturn:
    """Run a command as the whole of this process, and exit.

    Imports wait until here, so that Ctrl-C meanwhile is no traceback; SIGTERM ends a command as Ctrl-C does.
    """
    code: Any = 0
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        sys.unraisablehook = _unraisable
        importlib.import_module("nnmf._mxnet").compute_in_caller()
        importlib.import_module(f"._{name}", __name__).main(argv)
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt as interrupt:
        print("nnmf: interrupted.", file=sys.stderr)
        code = 143 if isinstance(interrupt, Terminated) else 130
    finally:
        # What comes is the end, whatever else is sent.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    if code in (130, 143):
        # An interrupt within an import makes Python end itself by the signal, whatever exit code it is told.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """The script ``nnmf``: its first argument names the command."""
    run("main")


def raise_lost(*_: Any) -> None:
    """Interrupt the command where an interrupt was sent that did not; it can be a callback of training.

    What is raised within a destructor, or an import by code in C, comes to nothing, and both are many while a command starts.
    """
    if _sent:
        raise _interruption(_sent[0])


def is_terminated() -> bool:
    """Whether SIGTERM was sent, even where what it interrupted has made Ctrl-C of it, as DuckDB does."""
    return Terminated in _sent


def _interrupt(number: int, _: Any) -> NoReturn:
    _sent.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
    raise _interruption(_sent[-1])


def _interruption(kind: type[KeyboardInterrupt]) -> KeyboardInterrupt:
    return kind("terminated") if kind is Terminated else kind()


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):  # that is not lost: no word of it
        sys.__unraisablehook__(unraisable)
