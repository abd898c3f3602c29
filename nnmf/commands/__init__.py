"""What a user types: ``nnmf COMMAND ...``, or ``python -m nnmf.COMMAND ...``."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Any, NoReturn

#: module of each command, whose ``main`` takes its arguments as a list of texts (default: the command line's) and exits
COMMANDS = {"train": "_train", "predict": "_predict", "data": "_data", "cache": "_cache"}

__all__ = ["COMMANDS", "Terminated", "run"]


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which batch systems end a job: Ctrl-C's twin."""


def run(name: str, argv: list[str] | None = None) -> NoReturn:
    """Run a command as the whole of this process, and exit.

    Imports wait until here, so that Ctrl-C meanwhile is no traceback; SIGTERM ends a command as Ctrl-C does.
    """
    code: Any = 0
    try:
        signal.signal(signal.SIGTERM, _terminate)
        importlib.import_module(f".{COMMANDS[name]}", __name__).main(argv)
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt as interrupt:
        print(f"python -m nnmf.{name}: interrupted.", file=sys.stderr)
        code = 143 if isinstance(interrupt, Terminated) else 130
    finally:
        # What comes is the end, whatever else is sent.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _terminate(*_: Any) -> NoReturn:
    raise Terminated("terminated")
