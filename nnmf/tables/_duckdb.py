"""DuckDB as tables are read by it: a connection of its own for each, that reads the files it is told to and nothing else."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.files import ASIDE, cannot_write

from ._sizes import size_of
from ._texts import Texts

_MEMORY_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# What DuckDB takes for a pattern of names.
_PATTERN = set("*?[")
_LEAST_MEMORY = 100 * 10**6
# Bytes of memory that a thread of DuckDB works in.
_THREAD_MEMORY = 128 << 20


@dataclass(frozen=True)
class Room:
    """What reading a table may take.

    Attributes
    ----------
    folder : Path
        Where what memory does not hold is written, in files that go with the process or in folders that begin with `ASIDE`.
    memory : int
        Bytes of memory that DuckDB may use.
    """

    folder: Path
    memory: int


@contextlib.contextmanager
def connection(path: Path | None = None, room: Room | None = None) -> Iterator[tuple[Any, str]]:
    """A connection in memory, and the literal that names the file in its SQL.

    Parameters
    ----------
    path : Path, optional
        The one file that may be read; without it, whatever a query names.
    room : Room, optional
        What it may take; default: half the memory, and the system's folder for what is temporary.
    """
    import duckdb

    with temporary_folder(room) as folder:
        name = ""
        if path is not None:
            name = str(path.resolve())
            if _PATTERN & set(name):  # by another name, for patterns cannot be switched off
                link = Path(folder) / "table"
                link.symlink_to(name)
                name = str(link)
        con = duckdb.connect(":memory:", config=_settings(folder, room))
        try:
            con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            if path is not None:
                con.execute(f"SET allowed_paths = [{literal(name)}]")
                con.execute("SET enable_external_access = false")
            con.execute("SET lock_configuration = true")
            yield con, literal(name)
        except (RuntimeError, duckdb.InterruptException) as error:
            if "interrupted" in str(error).lower():  # how DuckDB tells of Ctrl-C
                raise KeyboardInterrupt from None
            raise
        finally:
            con.close()


def checked_memory(limit: Any) -> int:
    """The bytes of a limit of memory.

    Raises
    ------
    ConfigError
        No size, or less than anything can be read in.
    """
    memory = size_of(limit) if isinstance(limit, str) else None
    if memory is None or memory < _LEAST_MEMORY:
        raise ConfigError(f"memory_limit: got {limit!r}; give a size of at least 100MB, such as 1GB.")
    return memory


def check_room(error: Exception, room: Room | None) -> None:
    """Say so where what DuckDB says of a table is that there was too little room for it.

    Raises
    ------
    DataError
        The disk is full, or the memory too small.
    """
    if room is None:
        return
    if any(words in str(error) for words in ("No space left", "max_temp_directory_size")):  # which is what the disk has
        raise cannot_write(room.folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from None
    if "Out of Memory" in str(error):
        raise DataError(
            f"memory_limit: {room.memory >> 20} MiB are too little to read this table with; give more (--memory-limit 4GB)."
        ) from None


def temporary_folder(room: Room | None) -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed again, in the room there is."""
    if room is None:
        return tempfile.TemporaryDirectory(prefix="nnmf-")
    return tempfile.TemporaryDirectory(prefix=ASIDE, dir=room.folder)


def _settings(folder: str, room: Room | None) -> dict[str, Any]:
    memory = _memory() // 2 if room is None else room.memory  # the other half is for the arrays that come of it
    return {
        "threads": max(1, min(available_cores(), memory // _THREAD_MEMORY)),
        "memory_limit": f"{memory >> 20}MiB",
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


def number_texts(con: Any, source: str, side: str, where: str) -> Texts:
    """Number the distinct texts of a side, "user" or "item", in ascending order, for `fetch_numbered`; those texts."""
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE nnmf_{side}_ids AS SELECT {side}, CAST(row_number() OVER (ORDER BY {side}) - 1 AS "
        f"INTEGER) AS code FROM (SELECT DISTINCT {side} FROM {source} WHERE {where})"
    )
    found = con.execute(f"SELECT {side} AS text FROM temp.nnmf_{side}_ids ORDER BY code").fetchnumpy()
    return Texts.of(np.ma.getdata(found["text"]))


def fetch_numbered(
    con: Any, source: str, as_text: Sequence[bool], others: str, rows: tuple[int, int] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The columns user, item and others of a table in its order; texts as the numbers that `number_texts` gave them.

    Where the first of some rows, and the one behind the last, are given, of those.

    Returns
    -------
    columns, missing : dict of arrays
        And of those that hold NULLs, where (True is NULL).
    """
    wanted, joins = [], ""
    for side, text in zip(("user", "item"), as_text, strict=True):
        wanted.append(f"{side}_ids.code AS {side}" if text else f"given.{side}")
        if text:
            joins += f" LEFT JOIN temp.nnmf_{side}_ids AS {side}_ids ON given.{side} = {side}_ids.{side}"
    if joins:  # a join keeps no order
        others += ", given.rowid AS place"
    columns, missing = {}, {}
    where = f" WHERE given.rowid >= {rows[0]} AND given.rowid < {rows[1]}" if rows else ""
    result = con.execute(f"SELECT {', '.join(wanted)}, {others} FROM {source} AS given{joins}{where}").fetchnumpy()
    place = result.pop("place", None)
    if place is not None and rows:
        place -= rows[0]
    for name in list(result):
        column = result.pop(name)
        mask = np.ma.getmask(column)
        columns[name] = _placed(np.ma.getdata(column), place)
        if mask is not np.ma.nomask and mask.any():
            missing[name] = _placed(mask, place)
    return columns, missing


def _placed(column: np.ndarray, place: np.ndarray | None) -> np.ndarray:
    if place is None:
        return column
    ordered = np.empty_like(column)
    ordered[np.ma.getdata(place)] = column
    return ordered
