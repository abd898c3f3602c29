"""``nnmf cache``: what is kept so that the next start is fast, and giving the room back."""

from __future__ import annotations

import json
import time

from ._flags import Parser, run_command, start_logging

_WHAT = ("tables", "datasets", "all")


def main(argv: list[str] | None = None) -> None:
    """The command ``nnmf cache``.

    Parameters
    ----------
    argv : list of str, default=None
        Its arguments; None takes the command line's.
    """
    parser = Parser(
        prog="nnmf cache", description="List the parsed tables and the data sets in the cache, or clear it."
    )
    parser.add_argument(
        "--clear",
        choices=_WHAT,
        help="remove parsed tables, which are parsed again when they are wanted; data sets, which are downloaded "
        "again; or all",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)

    def command() -> None:
        start_logging()
        if arguments.clear:
            _clear(arguments.clear, arguments.json)
        else:
            _show(arguments.json)

    run_command(parser.prog, command)


def _show(as_json: bool) -> None:
    from nnmf.datasets import cached_datasets
    from nnmf.files import cache_dir
    from nnmf.tables import cache_files

    tables = sorted(cache_files(), key=lambda entry: entry[2], reverse=True)
    datasets = cached_datasets()
    if as_json:
        found = [{"path": str(path), "bytes": size, "last_use": used} for path, size, used in tables]
        print(json.dumps({"folder": str(cache_dir()), "tables": found, "datasets": datasets}))
        return
    print(f"Cache in {cache_dir()}")
    for name, size in datasets.items():
        print(f"{_megabytes(size)}  data set {name}")
    for path, size, used in tables:
        print(
            f"{_megabytes(size)}  table {path.name}, last used {time.strftime('%Y-%m-%d %H:%M', time.localtime(used))}"
        )
    total = sum(datasets.values()) + sum(size for _, size, _ in tables)
    print(f"{_megabytes(total)}  in all")


def _clear(what: str, as_json: bool) -> None:
    from nnmf.datasets import clear_datasets
    from nnmf.tables import clear_cache

    removed = (clear_cache() if what in ("tables", "all") else 0) + (
        clear_datasets() if what in ("datasets", "all") else 0
    )
    print(json.dumps({"removed_bytes": removed}) if as_json else f"Removed {_megabytes(removed).strip()}.")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:10,.1f} MB"
