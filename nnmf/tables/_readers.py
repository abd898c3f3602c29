"""Reading rating tables from text files: delimiters, headers, gzip, bad lines."""

from __future__ import annotations

import gzip
import io
import itertools
import logging
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnmf.errors import ConfigError, DataError, one_of

from . import _cache as table_cache
from ._cache import Columns
from ._layout import LARGEST_RATING, LONGEST_ID, STAND_IN, LineFault, find_layout, is_whole, looks_like_number

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 24
# Lines, blank ones aside, that are looked at to find the layout.
_HEAD_LINES = 20
# Whole seconds up to here are exact in a float.
_LARGEST_EXACT = 2.0**53
# What a delimiter may be written as where a tab is hard to type, as on a command line.
_ESCAPES = re.compile(r"\\(t|\\|x[0-9a-fA-F]{2})")

# Columns of a block: user ids, item ids, ratings and, where the table has them, timestamps.
_Part = tuple[np.ndarray, ...]


def read_columns(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    columns: tuple[int, ...] | None = None,
    on_error: str = "raise",
    cache: bool = True,
) -> Columns:
    r"""Read a text table of ratings, plain or gzip.

    Args:
        path: the file.
        delimiter: what stands between fields; the escapes ``\t``, ``\\`` and ``\x1f`` (any two hexadecimal digits) are
            understood when written out, as on a command line; default: found out from the first lines.
        header: whether the first line names the columns; default: found out (it does when a known name of the rating's
            column, or two known names of others, stand in it: userId, movieId, item, rating, timestamp and the like).
        columns: positions of user, item, rating and, optionally, timestamp; default: by the header's names, else 0 1 2 3.
        on_error: "raise", or "skip" to leave malformed lines out, count them and log the count.
        cache: keep the parsed columns in the cache folder, keyed by the file's size, time and these options.

    Returns:
        Columns of the file's ratings in its own order.

    Raises:
        DataError: the file is missing, empty, or has a malformed line: the sentence names file, line and text. Fields
            may stand in double quotes, which end in the line they begin in; an id has at most 1,000 characters.
        ConfigError: options that cannot be used.
    """
    path = Path(path)
    if on_error not in ("raise", "skip"):
        raise ConfigError(one_of(on_error, ("raise", "skip"), "on_error"))
    delimiter = None if delimiter is None else _unescape(delimiter)
    if columns is not None and (len(columns) not in (3, 4) or len(set(columns)) != len(columns) or min(columns) < 0):
        raise ConfigError(f"columns: got {columns!r}; give 3 or 4 distinct positions: user, item, rating[, timestamp].")
    try:
        status = path.stat()
        if not path.is_file():
            raise DataError(f"{path}: not a file; give the table of ratings itself.")
        options = [delimiter, header, columns, on_error]
        cached = table_cache.place(path, options, [status.st_size, status.st_mtime_ns]) if cache else None
        found = table_cache.read(cached) if cached else None
        if found is None:
            with _open(path) as file:
                found = _Table(path, file, delimiter, header, columns).read(skip=on_error == "skip")
            if cached:
                table_cache.write(cached, found)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}); get it again.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions."
        ) from None
    if found.n_skipped:
        logger.warning("%s: skipped %d malformed lines, kept %d ratings.", path, found.n_skipped, len(found.rating))
    return found


def _unescape(delimiter: str) -> str:
    plain = _ESCAPES.sub(lambda found: {"t": "\t", "\\": "\\"}.get(found[1]) or chr(int(found[1][1:], 16)), delimiter)
    if plain == "" or any(character in plain for character in '\n\r"'):
        raise ConfigError(
            f"delimiter: got {delimiter!r}; give the characters that stand between two fields, no quote or line break."
        )
    return plain


def _open(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where they begin with gzip's magic number."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


class _Table:
    """One pass over a table's bytes: NumPy parses a block of lines at a time; only a block it cannot is read by line."""

    def __init__(
        self, path: Path, file: BinaryIO, delimiter: str | None, header: bool | None, columns: tuple[int, ...] | None
    ) -> None:
        self.path, self.file, self.guesses_header = path, file, header is None
        head: list[bytes] = []
        full: list[int] = []  # those of the head that are not blank
        while len(full) < _HEAD_LINES and (line := file.readline()):
            if line.strip():
                full.append(len(head))
            head.append(line)
        if not full:
            raise self._empty()
        head[0] = head[0].removeprefix(b"\xef\xbb\xbf")
        try:
            self.layout, names = find_layout([head[at] for at in full], delimiter, header, columns)
        except LineFault as fault:
            raise DataError(
                f"{path}, line {full[0] + 1}: cannot read {_shown(head[full[0]])}: {fault}; "
                "name the columns userId, itemId and rating, or give their positions with columns=(user, item, rating)."
            ) from None
        # The first lines go back in front of the others, without the header.
        start = full[0] + (names is not None)
        self.head, self.head_end, self.first_line = b"".join(head[start:]), file.tell(), start + 1
        # Whether user and item ids are known to be no integers.
        self.as_text = [False, False]
        if names is not None:
            logger.info("%s: line %d is a header: %s.", path, start, ", ".join(names))

    def _empty(self) -> DataError:
        return DataError(
            f"{self.path}: holds no ratings; a table has one line a rating: user, item, rating[, timestamp]."
        )

    def _fault(self, number: int, line: bytes, fault: LineFault) -> DataError:
        ways = "mend the line, name the delimiter"
        if self.guesses_header and number == self.first_line:
            fields = line.decode("utf-8", "replace").split(self.layout.delimiter)
            if not any(looks_like_number(field) for field in fields):
                ways += ", pass header=True if it names the columns"
        return DataError(
            f"{self.path}, line {number}: cannot read {_shown(line)}: {fault}, expected {self.layout}; "
            f"{ways}, or leave such lines out with on_error='skip' (--on-error skip)."
        )

    def _blocks(self) -> Iterator[bytes]:
        """Blocks of whole lines."""
        self.file.seek(self.head_end)
        rest = self.head
        while block := self.file.read(_BLOCK_BYTES):
            block = rest + block
            end = block.rfind(b"\n") + 1
            rest = block[end:]
            if end:
                yield block[:end]
        if rest:
            yield rest

    def read(self, skip: bool) -> Columns:
        """The table's columns.

        Raises:
            DataError: a malformed line, unless they may be skipped; no line that is not.
        """
        parts: list[_Part] = []
        bad: DataError | None = None
        n_skipped, number = 0, self.first_line
        for block in self._blocks():
            part = self._parse(block)
            if part is None:
                part, n_bad, first_bad = self._parse_by_line(block, number, skip)
                n_skipped, bad = n_skipped + n_bad, bad or first_bad
            number += block.count(b"\n")
            if part is not None:
                parts.append(part)
        if not parts:
            raise bad or self._empty()
        mixed = [len({part[side].dtype.kind for part in parts}) > 1 for side in (0, 1)]
        if any(mixed):
            # Ids that turned out to be texts late: once more from the start, for an integer has lost its leading zeros.
            self.as_text = [known or found for known, found in zip(self.as_text, mixed, strict=True)]
            return self.read(skip)
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        timestamp = joined[3] if len(joined) > 3 else None
        return Columns(_narrow(joined[0]), _narrow(joined[1]), joined[2], timestamp, n_skipped)

    def _parse(self, block: bytes) -> _Part | None:
        """A block's columns by NumPy, or None where it cannot read them; by line they may yet be."""
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            return None
        layout, n_rows = self.layout, None
        delimiter = None if layout.delimiter == " " else layout.delimiter
        quoted = '"' in text
        if quoted and len(delimiter or "") != 1:
            return None
        if len(layout.delimiter) > 1:
            if STAND_IN in text:
                return None
            text, delimiter = text.replace(layout.delimiter, STAND_IN), STAND_IN
        if quoted:
            # NumPy lets a quoted field go on over line breaks, up to the end: a line of ours behind the last, and the
            # count of the rows, show whether one did.
            text = text.replace("\r\n", "\n")
            if "\r" in text:
                return None
            lines = [line for line in text.split("\n") if line.strip()]
            n_rows = len(lines)
            text = "\n".join([*lines, layout.delimiter.join(["0"] * layout.n_fields)])
        # Timestamps as floats are tried last; integers do not pass through a float, which would cost nanoseconds digits.
        stamps = ("i8", "f8") if len(layout.columns) > 3 else ("",)
        sides = [("O",) if known else ("i8", "O") for known in self.as_text]
        for stamp, user, item in itertools.product(stamps, *sides):
            wanted = dict(zip(layout.columns, (user, item, "f8", stamp), strict=False))
            # Every field is named, so that NumPy refuses a line with too many or too few; others keep one character.
            dtype = np.dtype([(f"field{at}", wanted.get(at, "U1")) for at in range(layout.n_fields)])
            table = _loadtxt(text, delimiter, dtype)
            if table is not None:
                if n_rows is not None and len(table) != n_rows + 1:
                    return None
                return _checked([table[f"field{at}"][:n_rows] for at in layout.columns])
        return None

    def _parse_by_line(self, block: bytes, number: int, skip: bool) -> tuple[_Part | None, int, DataError | None]:
        """The good lines of a block that begins at the given line, the number of bad ones, and the first one's error.

        Raises:
            DataError: the first bad line, unless they may be skipped.
        """
        rows = []
        n_bad, bad = 0, None
        for at, line in enumerate(block.split(b"\n"), start=number):
            if line.decode("utf-8", "replace").strip() == "":
                continue
            try:
                rows.append(self.layout.read(line))
            except LineFault as fault:
                n_bad, bad = n_bad + 1, bad or self._fault(at, line, fault)
                if not skip:
                    raise bad from None
        if not rows:
            return None, n_bad, bad
        user, item, rating, timestamp = zip(*rows, strict=True)
        ids = (_ids(texts, known) for texts, known in zip((user, item), self.as_text, strict=True))
        part = (*ids, np.array(rating, np.float32))
        return part if timestamp[0] is None else (*part, np.array(timestamp, np.int64)), n_bad, bad


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace").strip("\r\n")
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _loadtxt(text: str, delimiter: str | None, dtype: np.dtype) -> np.ndarray | None:
    """NumPy's reading of a block, or None where it cannot; its warnings (an integer read by way of a float) count as faults."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.loadtxt(io.StringIO(text), dtype, comments=None, delimiter=delimiter, quotechar='"', ndmin=1)
        except (ValueError, OverflowError, DeprecationWarning, UserWarning):
            return None


def _checked(columns: list[np.ndarray]) -> _Part | None:
    """The columns in the types they are kept in, or None where a line of them is malformed."""
    *ids, rating = columns[:3]
    part = []
    for column in ids:
        if column.dtype.kind == "O":
            # As objects, so that one long id does not make NumPy ask for as much memory for each.
            texts = [text.strip() for text in column.tolist()]
            if not all(texts) or max(map(len, texts)) > LONGEST_ID:
                return None
            column = np.array(texts, str)
        part.append(column.copy())
    if not (np.abs(rating) <= LARGEST_RATING).all():  # NaN too
        return None
    part.append(rating.astype(np.float32))
    if len(columns) > 3:
        if columns[3].dtype.kind == "f" and not (np.abs(columns[3]) <= _LARGEST_EXACT).all():
            return None
        part.append(columns[3].astype(np.int64))
    return tuple(part)


def _ids(texts: Sequence[str], as_text: bool) -> np.ndarray:
    whole = not as_text and all(map(is_whole, texts))
    return np.array([int(text) for text in texts], np.int64) if whole else np.array(texts, str)


def _narrow(ids: np.ndarray) -> np.ndarray:
    """Integer ids in 32 bits where they fit: half the memory of everything that follows."""
    if ids.dtype.kind == "i" and ids.size and ids.min() > -(2**31) and ids.max() < 2**31:
        return ids.astype(np.int32)
    return ids
