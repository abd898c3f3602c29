"""Reading rating tables from text files: delimiters, headers, gzip, bad lines."""

from __future__ import annotations

import gzip
import io
import logging
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from . import table_cache
from .errors import ConfigError, DataError, one_of
from .table_cache import Columns

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 24
_DELIMITERS = ("::", "\t", ",", ";", "|", " ")
# Names that a header may give the columns, in the order user, item, rating, timestamp.
_HEADER_NAMES = (
    ("userid", "user_id", "user"),
    ("movieid", "itemid", "item_id", "movie_id", "item", "movie"),
    ("rating", "score", "stars"),
    ("timestamp", "time", "ts"),
)
# A byte that no table holds: stands in for a delimiter of two characters, which NumPy cannot take.
_STAND_IN = "\x1f"
# Largest rating or timestamp; NaN and infinity are not below it.
_LARGEST = float(np.finfo(np.float32).max)


def read_columns(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    columns: tuple[int, ...] | None = None,
    on_error: str = "raise",
    cache: bool = True,
) -> Columns:
    """Read a text table of ratings, plain or gzip.

    Args:
        path: the file.
        delimiter: what stands between fields; default: found out from the first line.
        header: whether the first line names the columns; default: found out (it does when its rating is no number).
        columns: positions of user, item, rating and, optionally, timestamp; default: by the header's names, else 0 1 2 3.
        on_error: "raise", or "skip" to leave malformed lines out, count them and log the count.
        cache: keep the parsed columns in the cache folder, keyed by the file's size, time and these options.

    Returns:
        Columns of the file's ratings in its own order.

    Raises:
        DataError: the file is missing, empty, or has a malformed line: the sentence names file, line and text.
        ConfigError: options that cannot be used.
    """
    path = Path(path)
    if on_error not in ("raise", "skip"):
        raise ConfigError(one_of(on_error, ("raise", "skip"), "on_error"))
    if delimiter is not None and (delimiter == "" or "\n" in delimiter):
        raise ConfigError(f"delimiter: got {delimiter!r}; give the characters that stand between two fields.")
    if columns is not None and (len(columns) not in (3, 4) or len(set(columns)) != len(columns) or min(columns) < 0):
        raise ConfigError(f"columns: got {columns!r}; give 3 or 4 distinct positions: user, item, rating[, timestamp].")
    try:
        status = path.stat()
        if not path.is_file():
            raise DataError(f"{path}: not a file; give the table of ratings itself.")
        key = [
            str(path.resolve()),
            status.st_size,
            status.st_mtime_ns,
            delimiter,
            header,
            columns,
            on_error,
        ]
        cached = table_cache.place(key)
        found = table_cache.read(cached) if cache else None
        if found is None:
            with _open(path) as file:
                found = _Table(path, file, delimiter, header, columns).read(skip=on_error == "skip")
            if cache:
                table_cache.write(cached, found)
    except (gzip.BadGzipFile, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}); get it again.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions."
        ) from None
    if found.n_skipped:
        logger.warning("%s: skipped %d malformed lines, kept %d ratings.", path, found.n_skipped, len(found.rating))
    return found


def _open(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where they begin with gzip's magic number."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


class _Table:
    """One pass over a table's bytes: NumPy parses a block of lines at a time; only a block with a fault is walked by line."""

    def __init__(
        self, path: Path, file: BinaryIO, delimiter: str | None, header: bool | None, columns: tuple[int, ...] | None
    ) -> None:
        self.path, self.file = path, file
        first = b""
        lines_before = 0
        while first.strip() == b"":
            first = file.readline()
            if first == b"":
                raise DataError(
                    f"{path}: holds no ratings; a table has one line a rating: user, item, rating[, timestamp]."
                )
            lines_before += 1
        text = self._decode(first.removeprefix(b"\xef\xbb\xbf"), lines_before).strip("\r\n")
        self.delimiter = delimiter or next((mark for mark in _DELIMITERS if mark in text), "\t")
        fields = self._split(text)
        self.n_fields = len(fields)
        if header is None:
            at = columns[2] if columns else 2
            header = len(fields) > at and not any(_is_number(field) for field in fields)
        self.columns = columns or self._default_columns(fields if header else None, text, lines_before)
        if max(self.columns) >= self.n_fields:
            raise self._fault(lines_before, text)
        # The first line goes back in front of the others unless it is the header.
        self.pending = b"" if header else text.encode() + b"\n"
        self.line = lines_before + 1 if header else lines_before

    def _default_columns(self, header: list[str] | None, text: str, line: int) -> tuple[int, ...]:
        if header is not None:
            names = [name.strip().strip('"').lower() for name in header]
            places = [next((names.index(name) for name in known if name in names), None) for known in _HEADER_NAMES]
            found = [place for place in places if place is not None]
            if None not in places[:3]:
                return tuple(found)
        if self.n_fields < 3:
            raise self._fault(line, text)
        return (0, 1, 2, 3) if self.n_fields > 3 else (0, 1, 2)

    def _decode(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(
                f"{self.path}, line {number}: {line[:60]!r} is not UTF-8 text; is this a table of ratings?"
            ) from None

    def _split(self, line: str) -> list[str]:
        return line.split() if self.delimiter == " " else line.split(self.delimiter)

    def _fault(self, line: int, text: str) -> DataError:
        shown = text if len(text) <= 80 else text[:77] + "..."
        what = ["user", "item", "rating", "timestamp"][: len(getattr(self, "columns", (0, 1, 2)))]
        return DataError(
            f"{self.path}, line {line}: cannot read {shown!r} as {self.n_fields if self.n_fields > 2 else 3} fields separated by "
            f"{self.delimiter!r} ({', '.join(what)}); mend the line, name the delimiter, or skip such lines with on_error='skip'."
        )

    def _blocks(self) -> Iterator[bytes]:
        """Blocks of whole lines."""
        rest = self.pending
        while block := self.file.read(_BLOCK_BYTES):
            block = rest + block
            end = block.rfind(b"\n") + 1
            rest = block[end:]
            if end:
                yield block[:end]
        if rest:
            yield rest

    def read(self, skip: bool) -> Columns:
        parts: list[tuple[np.ndarray, ...]] = []
        n_skipped = 0
        for block in self._blocks():
            part = self._parse(block)
            if part is None:
                part, bad = self._parse_by_line(block, skip)
                n_skipped += bad
            self.line += block.count(b"\n")
            if part is not None:
                parts.append(part)
        if not parts:
            raise DataError(
                f"{self.path}: holds no ratings; a table has one line a rating: user, item, rating[, timestamp]."
            )
        joined = []
        for number in range(len(parts[0])):
            joined.append(
                np.concatenate([part[number].astype(str) if _mixed(parts, number) else part[number] for part in parts])
            )
        timestamp = joined[3] if len(joined) > 3 else None
        return Columns(_narrow(joined[0]), _narrow(joined[1]), joined[2], timestamp, n_skipped)

    def _parse(self, block: bytes) -> tuple[np.ndarray, ...] | None:
        """A block's columns, or None where a line of it cannot be read so."""
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            return None
        delimiter: str | None = None if self.delimiter == " " else self.delimiter
        if len(self.delimiter) > 1:
            if _STAND_IN in text:
                return None
            text, delimiter = text.replace(self.delimiter, _STAND_IN), _STAND_IN
        found = self._parse_integer_ids(text, delimiter) or self._parse_string_ids(text, delimiter)
        if found is None or not all((np.abs(column) <= _LARGEST).all() for column in found[2:]):
            return None
        user_id, item_id, rating, *timestamp = found
        return (user_id, item_id, rating.astype(np.float32), *(column.astype(np.int64) for column in timestamp))

    def _parse_integer_ids(self, text: str, delimiter: str | None) -> list[np.ndarray] | None:
        # Every field is named, so that NumPy refuses a line with too many or too few; unwanted ones keep one character.
        wanted = dict(zip(self.columns, ("i8", "i8", "f8", "f8"), strict=False))
        dtype = np.dtype([(f"field{at}", wanted.get(at, "U1")) for at in range(self.n_fields)])
        table = _loadtxt(text, delimiter, dtype, 1)
        return None if table is None else [table[f"field{at}"].copy() for at in self.columns]

    def _parse_string_ids(self, text: str, delimiter: str | None) -> list[np.ndarray] | None:
        table = _loadtxt(text, delimiter, np.dtype(str), 2)
        if table is None or table.shape[1] != self.n_fields:
            return None
        user_id, item_id, *numbers = (table[:, at] for at in self.columns)
        user_id, item_id = np.char.strip(user_id), np.char.strip(item_id)
        try:
            columns = [user_id, item_id, *(column.astype(np.float64) for column in numbers)]
        except ValueError:
            return None
        return None if (user_id == "").any() or (item_id == "").any() else columns

    def _parse_by_line(self, block: bytes, skip: bool) -> tuple[tuple[np.ndarray, ...] | None, int]:
        """The good lines of a block that holds a bad one, and the number of bad ones; an error unless they may be skipped."""
        good = []
        n_bad = 0
        lines = block.split(b"\n")
        for number, line in enumerate(lines, start=self.line):
            if line.strip() == b"":
                continue
            if self._is_good(line):
                good.append(line)
            elif skip:
                n_bad += 1
            else:
                raise self._fault(number, line.decode("utf-8", "backslashreplace").rstrip("\r"))
        if not good:
            return None, n_bad
        part = self._parse(b"\n".join(good) + b"\n")
        if part is None:
            number = next(at for at, line in enumerate(lines, start=self.line) if line.strip())
            raise self._fault(number, lines[number - self.line].decode("utf-8", "backslashreplace"))
        return part, n_bad

    def _is_good(self, line: bytes) -> bool:
        try:
            fields = self._split(line.decode("utf-8").strip("\r\n"))
        except UnicodeDecodeError:
            return False
        if len(fields) != self.n_fields or any(fields[at].strip() == "" for at in self.columns):
            return False
        return all(_is_number(fields[at]) for at in self.columns[2:])


def _loadtxt(text: str, delimiter: str | None, dtype: np.dtype, ndmin: Literal[1, 2]) -> np.ndarray | None:
    """NumPy's reading of a block, or None where it cannot; its warnings (an integer read by way of a float) count as faults."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.loadtxt(io.StringIO(text), dtype, comments=None, delimiter=delimiter, quotechar='"', ndmin=ndmin)
        except (ValueError, OverflowError, DeprecationWarning, UserWarning):
            return None


def _is_number(text: str) -> bool:
    try:
        return abs(float(text.strip().strip('"'))) <= _LARGEST
    except ValueError:
        return False


def _mixed(parts: list[tuple[np.ndarray, ...]], number: int) -> bool:
    return number < 2 and len({part[number].dtype.kind for part in parts}) > 1


def _narrow(ids: np.ndarray) -> np.ndarray:
    """Integer ids in 32 bits where they fit: half the memory of everything that follows."""
    if ids.dtype.kind == "i" and ids.size and ids.min() > -(2**31) and ids.max() < 2**31:
        return ids.astype(np.int32)
    return ids
