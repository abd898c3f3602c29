"""DuckDB as tables are read by it: a connection of its own for each, that reads the files it is told to and nothing else."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_MEMORY_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# What DuckDB takes for a pattern of names.
_PATTERN = set("*?[")


@contextlib.contextmanager
def connection(path: Path | None = None) -> Iterator[tuple[Any, str]]:
    """A connection in memory, and the literal that names the file in its SQL.

    Parameters
    ----------
    path : Path, optional
        The one file that may be read; without it, whatever a query names.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="nnmf-") as folder:
        name = ""
        if path is not None:
            name = str(path.resolve())
            if _PATTERN & set(name):  # by another name, for patterns cannot be switched off
                link = Path(folder) / "table"
                link.symlink_to(name)
                name = str(link)
        con = duckdb.connect(":memory:", config=_settings(folder))
        try:
            con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            if path is not None:
                con.execute(f"SET allowed_paths = [{literal(name)}]")
                con.execute("SET enable_external_access = false")
            con.execute("SET lock_configuration = true")
            yield con, literal(name)
        finally:
            con.close()


def _settings(folder: str) -> dict[str, Any]:
    return {
        "threads": available_cores(),
        "memory_limit": f"{_memory() // 2 >> 20}MiB",  # the other half is for the arrays that come of it
        "temp_directory": str(Path(folder) / "spilled"),
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def available_cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _memory() -> int:
    """Bytes of memory that this process may use."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        total = 4 << 30
    for name in _MEMORY_FILES:
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(name).read_text()))
    return max(total, 512 << 20)


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The name of a column or table as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def fetch(con: Any, query: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A query's columns, and of those that hold NULLs, where (True is NULL)."""
    columns, missing = {}, {}
    for name, column in con.execute(query).fetchnumpy().items():
        columns[name] = np.ma.getdata(column)
        mask = np.ma.getmask(column)
        if mask is not np.ma.nomask and mask.any():
            missing[name] = mask
    return columns, missing
