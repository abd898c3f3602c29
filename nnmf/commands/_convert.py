"""``python -m nnmf.data convert SOURCE FOLDER``: a table of any size into a folder that it is mapped from."""

from __future__ import annotations

import argparse

from nnmf.config import DataConfig, columns_of
from nnmf.errors import ConfigError

from ._flags import Parser, add_flags, read_flags, run_command, start_logging

_FLAGS = ("sql", "delimiter", "columns", "on_error", "duplicates")


def main(argv: list[str]) -> None:
    """The command ``python -m nnmf.data convert``; ``argv`` are the arguments behind its name."""
    parser = Parser(
        prog="python -m nnmf.data convert",
        description="Write a table of ratings of any size to a folder, which --dataset takes: it is read and trained on block "
        "after block, in memory that does not grow with the ratings.",
        usage="%(prog)s SOURCE FOLDER [options]",
    )
    parser.add_argument(
        "places", metavar="SOURCE FOLDER", nargs="+", help="a file of ratings, left out with --sql; what to write"
    )
    add_flags(parser, DataConfig, "data", only=_FLAGS)
    parser.add_argument(
        "--memory-limit",
        default="1GB",
        help="memory that DuckDB may use, such as 500MB; what it does not hold lies in FOLDER meanwhile (default: 1GB)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the table that the folder holds")
    arguments = parser.parse_args(argv)
    wanted = 1 if "sql" in vars(arguments) else 2
    if len(arguments.places) != wanted:
        parser.error("give SOURCE and FOLDER" if wanted == 2 else "give FOLDER alone with --sql")
    run_command(parser.prog, lambda: _convert(arguments))


def _convert(arguments: argparse.Namespace) -> None:
    start_logging()
    config = read_flags(DataConfig, arguments)
    from nnmf.tables import Ratings

    *source, folder = arguments.places
    if config.sql is not None and (config.delimiter, config.columns, config.on_error) != (None, None, None):
        raise ConfigError("sql: a query says itself what it reads; leave delimiter, columns and on_error out.")
    found = Ratings.convert(
        source[0] if source else str(config.sql),
        folder,
        sql=config.sql is not None,
        memory_limit=arguments.memory_limit,
        delimiter=config.delimiter,
        columns=None if config.columns is None else columns_of(config.columns),
        on_error=config.on_error or "raise",
        duplicates=config.duplicates or "error",
        overwrite=arguments.overwrite,
    )
    print(f"{len(found):,} ratings of {found.n_users:,} users and {found.n_items:,} items are in {folder}")
