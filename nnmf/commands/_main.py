"""``nnmf COMMAND ...``: the commands under one name, each imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys

import nnmf
from nnmf.errors import one_of

from ._flags import Parser

# What each command is for; its module is ``_NAME.py`` beside this one.
_COMMANDS = {
    "train": "train a model and report its RMSE",
    "predict": "predict ratings or list recommendations with a saved model",
    "data": "print the statistics of a table of ratings",
    "cache": "see and clear what is kept between runs",
    "doctor": "say what is installed, what can be used, and what mends the rest",
}


def main(argv: list[str] | None = None) -> None:
    """The script ``nnmf``.

    Parameters
    ----------
    argv : list of str, default=the command line's
        A command's name and its arguments.
    """
    arguments = sys.argv[1:] if argv is None else argv
    width = max(map(len, _COMMANDS))
    parser = Parser(
        prog="nnmf",
        usage="nnmf COMMAND [arguments]",
        description="Neural matrix factorization from (user, item, rating) tables.",
        epilog="commands:\n" + "\n".join(f"  {name:{width}}  {what}" for name, what in _COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nnmf {nnmf.__version__}")
    if not arguments or arguments[0].startswith("-"):
        parser.parse_args(arguments)
        parser.error(f"a command is missing; give one of {sorted(_COMMANDS)}")
    name, *rest = arguments
    if name not in _COMMANDS:
        parser.error(one_of(name, _COMMANDS, "command"))
    importlib.import_module(f"nnmf.commands._{name}").main(rest)
