"""What a user types: ``nnmf COMMAND ...``, or ``python -m nnmf.COMMAND ...``."""

from __future__ import annotations

import importlib
import sys

#: module of each command, whose ``main`` takes its arguments as a list of texts (default: the command line's) and exits
COMMANDS = {"train": "_train", "predict": "_predict", "data": "_data"}

__all__ = ["COMMANDS", "run"]


def run(name: str, argv: list[str] | None = None) -> None:
    """Run a command and exit. Imports wait until here, so that Ctrl-C meanwhile is no traceback."""
    try:
        importlib.import_module(f".{COMMANDS[name]}", __name__).main(argv)
    except KeyboardInterrupt:
        print(f"python -m nnmf.{name}: interrupted.", file=sys.stderr)
        sys.exit(130)
