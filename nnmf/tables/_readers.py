"""Reading a table of ratings from a file of any kind, by way of the cache."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar, cast

from nnmf.errors import ConfigError, DataError, one_of

from . import _cache as table_cache
from ._cache import Columns
from ._duckdb import Room, check_room, connection, literal, temporary_folder
from ._head import Columns as Wanted
from ._layout import ROLES, shown
from ._relation import read_relation
from ._text import LONGEST_LINE, TextTable
from ._zstd import check_zstd

logger = logging.getLogger(__name__)

#: how files that are no plain text begin
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PAR1": "parquet"}
_BLOCK_BYTES = 1 << 20
# What a delimiter may be written as where a tab is hard to type, as on a command line.
_ESCAPES = re.compile(r"\\(t|\\|x[0-9a-fA-F]{2})")

_Found = TypeVar("_Found")


def read_columns(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    columns: Wanted | None = None,
    on_error: str = "raise",
    cache: bool = True,
    room: Room | None = None,
) -> Columns:
    r"""Read a table of ratings: text (plain, gzip or zstd), JSON lines, or Parquet; the content tells which.

    Lines end with LF, CRLF or CR. Fields may stand in double quotes, which end in the line they begin in; blanks around
    a field do not count. Ids are what stands there: where all of a column are integers of 64 bits, written without
    leading zeros or plus signs, they are integers, else they are all texts. An id has at most 1,000 characters.

    Of a gzip file the checksum is verified. Of a zstd file only that it is whole: bytes altered within it are found just
    where they make no sense any more.

    Parameters
    ----------
    path : path
    delimiter : str, optional
        What stands between fields; the escapes ``\t``, ``\\`` and ``\x1f`` (any two hexadecimal digits) are understood
        when written out, as on a command line; default: found out from the first lines.
    header : bool, optional
        Whether the first line names the columns; default: found out (it does when a known name of the rating's column,
        or two known names of others, stand in it, or when it holds no number and the lines below hold numbers alone).
    columns : tuple of int or mapping, optional
        Positions of user, item, rating and, optionally, timestamp; or the names of their columns, as in
        ``{"user": "customer", "item": "sku", "rating": "stars"}``; default: by the header's names, else 0 1 2 3.
    on_error : str
        "raise", or "skip" to leave malformed lines out, count them and log the count.
    cache : bool
        Keep the columns in the cache folder, keyed by the file's state and content and these options.
    room : Room, optional
        What reading may take; with it the columns are files, and none of the cache.

    Returns
    -------
    columns : Columns
        Of the file's ratings in its own order.

    Raises
    ------
    DataError
        The file is missing, empty, damaged, or has a malformed line: the sentence names file, line and text.
    ConfigError
        Options that cannot be used.
    """
    path = checked_path(path)
    if on_error not in ("raise", "skip"):
        raise ConfigError(one_of(on_error, ("raise", "skip"), "on_error"))
    delimiter = None if delimiter is None else unescape(delimiter)
    _check_columns(columns, header)
    with readable(path):
        wanted = dict(columns) if isinstance(columns, Mapping) else columns
        cached = table_cache.place(path, [delimiter, header, wanted, on_error]) if cache and not room else None
        found = table_cache.read(cached) if cached else None
        if found is None:
            found = _read(path, delimiter, header, columns, on_error == "skip", room)
            if cached:
                table_cache.write(cached, found)
    if found.n_skipped:
        logger.warning("%s: skipped %d malformed lines, kept %d ratings.", path, found.n_skipped, len(found.rating))
    return found


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in one sentence what is wrong with a file that cannot be read within.

    Raises
    ------
    DataError
        No such file, one that may not be read, one whose compression is damaged.
    """
    try:
        if not path.is_file():
            path.stat()
            raise DataError(f"{path}: not a file; give the table itself.")
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}); get it again.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions."
        ) from None


def checked_path(path: Any) -> Path:
    """The path of a file that may be any object.

    Raises
    ------
    ConfigError
        What is no path of text.
    DataError
        A NUL in it.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise ConfigError(f"path: got {path!r}; give the path of a file as a text or a pathlib.Path.")
    if "\0" in str(path):
        raise DataError(f"{str(path)!r}: no file can have a NUL in its name; check the path.")
    return Path(path)


def _check_columns(columns: Wanted | None, header: bool | None) -> None:
    if isinstance(columns, Mapping):
        if header is False:
            raise ConfigError("columns: names need a header; give positions, or leave header=False out.")
        if set(columns) - set(ROLES) or not set(ROLES[:3]) <= set(columns) or len(set(columns.values())) < len(columns):
            raise ConfigError(
                f"columns: got {dict(columns)!r}; give distinct names for user, item, rating[, timestamp]."
            )
    elif columns is not None and (
        not all(isinstance(at, int) for at in columns)
        or len(columns) not in (3, 4)
        or len(set(columns)) != len(columns)
        or min(columns) < 0
    ):
        raise ConfigError(f"columns: got {columns!r}; give 3 or 4 distinct positions: user, item, rating[, timestamp].")


def unescape(delimiter: str) -> str:
    plain = _ESCAPES.sub(lambda found: {"t": "\t", "\\": "\\"}.get(found[1]) or chr(int(found[1][1:], 16)), delimiter)
    if plain == "" or any(character in plain for character in '\n\r"\0'):
        raise ConfigError(
            f"delimiter: got {delimiter!r}; give the characters that stand between two fields, no quote or line break."
        )
    return plain


def _read(
    path: Path, delimiter: str | None, header: bool | None, columns: Wanted | None, skip: bool, room: Room | None
) -> Columns:
    def of_parquet(con: Any, source: str) -> Columns:
        if delimiter is not None or header is not None:
            raise ConfigError("delimiter and header: belong to text; a Parquet file names its columns itself.")
        return read_relation(con, f"read_parquet({source})", str(path), columns, skip, room)

    def of_text(con: Any, source: str, compression: str, not_text: frozenset[int]) -> Columns:
        return TextTable(path, con, source, compression, not_text, room).read(delimiter, header, columns, skip)

    return read_by_kind(path, of_parquet, of_text, room)


def read_by_kind(
    path: Path,
    of_parquet: Callable[[Any, str], _Found],
    of_text: Callable[[Any, str, str, frozenset[int]], _Found],
    room: Room | None = None,
) -> _Found:
    """What a reader of Parquet, or of text, finds in a file, by the file's kind.

    Parameters
    ----------
    path : Path
    of_parquet : callable
        Called with a connection of DuckDB and the SQL literal that names the file to it.
    of_text : callable
        Called with these, the compression, and the lines (from 0) that are not UTF-8: a file with such lines, or with
        line ends of several kinds, DuckDB is given as a copy that it can read, where those stand escaped.
    room : Room, optional
        What it may take.

    Raises
    ------
    DataError
        A file that is damaged, or that DuckDB cannot read.
    """
    import duckdb

    with path.open("rb") as file:
        start = file.read(4)
    kind = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), "none")
    if kind == "gzip":
        _check_gzip(path)
    elif kind == "zstd":
        check_zstd(path)
    try:
        with connection(path, room) as (con, source):
            return of_parquet(con, source) if kind == "parquet" else of_text(con, source, kind, frozenset())
    except duckdb.Error as error:
        check_room(error, room)
        if kind == "parquet" or not _is_odd(error):
            _refuse(path, error)
        if kind == "zstd":
            raise DataError(f"{path}: has mixed line ends or is not UTF-8 text; unpack and mend it.") from None
    with temporary_folder(room) as folder:
        copy = Path(folder) / "table"
        not_text = _copy_mended(path, kind, copy)
        try:
            with connection(copy, room) as (con, _):
                return of_text(con, literal(str(copy.resolve())), "none", not_text)
        except duckdb.Error as error:
            check_room(error, room)
            _refuse(path, error)


def _is_odd(error: Exception) -> bool:
    return any(words in str(error) for words in ("invalid state", "nvalid unicode", "not utf-8", "not valid UTF"))


def _refuse(path: Path, error: Exception) -> NoReturn:
    """The sentence for what DuckDB says of a file."""
    text = str(error)
    line = re.search(r"CSV Error on Line: (\d+)", text)
    if line and "aximum line size" in text:
        raise DataError(
            f"{path}, line {line[1]}: has more than {LONGEST_LINE} bytes; a table has one line a rating."
        ) from None
    if re.search("gzip|zstd", text, re.IGNORECASE):
        raise DataError(
            f"{path}: the compressed file is damaged ({text.partition(chr(10))[0]}); get it again."
        ) from None
    if line:
        original, fault = (
            re.search(pattern, text) for pattern in (r"Original Line: (.*)", r"\n(.*Found.*|.*quote.*)\n")
        )
        what = f"{shown(original[1])}: {fault[1].rstrip('.')}" if original and fault else text.partition("\n")[0]
        raise DataError(f"{path}, line {line[1]}: cannot read {what}; mend the line.") from None
    what = text.partition("\n")[0]
    raise DataError(f"{path}: cannot be read ({what}); check that it is a whole table.") from None


def _open(path: Path, kind: str) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if kind == "gzip" else path.open("rb")


def _check_gzip(path: Path) -> None:
    """Unpack a file once, for its checksum, which DuckDB does not look at; and for a line that has no end."""
    n_lines, length = 1, 0
    with _open(path, "gzip") as file:
        while block := file.read(_BLOCK_BYTES):
            first, last = block.find(b"\n"), block.rfind(b"\n")
            length += len(block) if first < 0 else first
            if length > LONGEST_LINE and b"\r" not in block:
                raise DataError(
                    f"{path}, line {n_lines}: has more than {LONGEST_LINE} bytes; a table has one line a rating."
                )
            n_lines += block.count(b"\n")
            length = length if last < 0 else len(block) - last - 1


def _copy_mended(path: Path, kind: str, copy: Path) -> frozenset[int]:
    """Copy a file with LF for every line end; answers which lines (from 0) are not UTF-8, and stand escaped there, before a NUL."""
    not_text = set()
    with _open(path, kind) as file, copy.open("wb") as target:
        for number, line in enumerate(universal_lines(file, str(path))):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                not_text.add(number)
                line = line.decode("utf-8", "backslashreplace").encode() + b"\0"
            target.write(line + b"\n")
    return frozenset(not_text)


def universal_lines(file: Any, name: str) -> Iterator[bytes]:
    """The lines of a file, without their ends, which are LF, CRLF or CR.

    Raises
    ------
    DataError
        A line longer than any of a table, before it fills the memory.
    """
    rest, number = b"", 0
    read = getattr(file, "read1", file.read)  # of a pipe, what there is
    while block := read(_BLOCK_BYTES):
        block = rest + block
        # A CR at the end may be half of a line end.
        end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
        rest = block[end:]
        if len(rest) > LONGEST_LINE:
            raise DataError(
                f"{name}, line {number + 1 + len(block[:end].splitlines())}: has more than {LONGEST_LINE} bytes; "
                "no table has such lines."
            )
        for line in block[:end].splitlines():
            number += 1
            yield line
    yield from rest.splitlines()
