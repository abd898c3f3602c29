"""``nnmf COMMAND ...``: the commands under one name, each imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys

from nnmf._version import __version__
from nnmf.errors import one_of

from . import COMMANDS
from ._flags import Parser


def main(argv: list[str] | None = None) -> None:
    """The script ``nnmf``.

    Parameters
    ----------
    argv : list of str, default=the command line's
        A command's name and its arguments.
    """
    arguments = sys.argv[1:] if argv is None else argv
    width = max(map(len, COMMANDS))
    parser = Parser(
        prog="nnmf",
        usage="nnmf COMMAND [arguments]",
        description="Neural matrix factorization from (user, item, rating) tables.",
        epilog="commands:\n" + "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nnmf {__version__}")
    if not arguments or arguments[0].startswith("-"):
        parser.parse_args(arguments)
        parser.error(f"a command is missing; give one of {sorted(COMMANDS)}")
    name, *rest = arguments
    if name not in COMMANDS:
        parser.error(one_of(name, COMMANDS, "command"))
    importlib.import_module(f"nnmf.commands._{name}").main(rest)
