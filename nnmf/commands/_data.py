"""``python -m nnmf.data NAME_OR_FILE``: the statistics of a table; ``convert SOURCE FOLDER``: a table into a folder."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from nnmf.config import DataConfig

from ._flags import Parser, add_flags, read_flags, run_command, start_logging

_FLAGS = ("sql", "data_dir", "delimiter", "columns", "on_error", "duplicates", "cache")


def main(argv: list[str] | None = None) -> None:
    """The command ``python -m nnmf.data``.

    Parameters
    ----------
    argv : list of str, default=None
        Its arguments; None takes the command line's.
    """
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["convert"]:
        from ._convert import main as convert

        convert(given[1:])
    parser = Parser(
        prog="python -m nnmf.data",
        description="Print the statistics of a table of ratings.",
        epilog="python -m nnmf.data convert SOURCE FOLDER writes a table of any size to a folder that it is mapped from.",
    )
    parser.add_argument(
        "dataset",
        metavar="NAME_OR_FILE",
        nargs="?",
        default=argparse.SUPPRESS,
        help="a dataset's name, synthetic, a file of ratings, or a folder that convert wrote; left out with --sql",
    )
    add_flags(parser, DataConfig, "data", only=_FLAGS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    if not {"dataset", "sql"} & set(vars(arguments)):
        parser.error("give NAME_OR_FILE, or a query with --sql")

    def command() -> None:
        start_logging()
        # Imported once the flags are known to be good: --help and a mistyped flag answer without them.
        from nnmf.datasets import load_table
        from nnmf.tables import statistics

        ratings, best_rmse = load_table(read_flags(DataConfig, arguments))
        found = statistics(ratings)
        if arguments.json:
            print(json.dumps({**asdict(found), "best_possible_rmse": best_rmse}))
        else:
            print(found)
            if best_rmse is not None:
                print(f"best possible RMSE {best_rmse:.4f} (the noise it was drawn with)")

    run_command(parser.prog, command)
