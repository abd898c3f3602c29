"""Columns that lie in files: mapped, walked in blocks, of which one is in memory at a time, and written a piece after the other."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np

from nnmf.errors import DataError

from ._atomic import cannot_write
from ._places import cache_dir

#: entries of a block
BLOCK = 1 << 20
# Entries far apart that are looked at before what came with them is let go: the system reads dozens of kilobytes for each.
_GATHERED = 256


class _Mapping(mmap.mmap):
    """A mapping that was made here, of a file that is only read: what of it is in memory can be let go at any time."""


def walk(*columns: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Columns of one length, block after block; of those that are mapped no more than a block is in memory at a time."""
    for low in range(0, len(columns[0]), BLOCK):
        yield tuple(column[low : low + BLOCK] for column in columns)
        release(*columns)


def release(*columns: np.ndarray) -> None:
    """Let go of what is in memory of columns that `map_file` made; it is read again where it is looked at."""
    for column in columns:
        base: Any = column
        while base is not None and not isinstance(base, mmap.mmap):
            base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
        if isinstance(base, _Mapping) and hasattr(base, "madvise"):  # not on Windows
            base.madvise(mmap.MADV_DONTNEED)


def gather(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The entries of a column at ascending places, of whose surroundings little is in memory at a time."""
    found = np.empty(len(rows), column.dtype)
    for low in range(0, len(rows), _GATHERED):
        found[low : low + _GATHERED] = column[rows[low : low + _GATHERED]]
        release(column)
    return found


def write_npy(file: IO[bytes], column: np.ndarray) -> None:
    """Write a column as a ``.npy`` file, block after block."""
    header = {"descr": np.lib.format.dtype_to_descr(column.dtype), "fortran_order": False, "shape": column.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for (part,) in walk(column):
        file.write(np.ascontiguousarray(part).data.cast("B"))


def write_arrays(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as ``np.savez`` does, into a file that cannot be wound back and may fail at any moment."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                if np.ndim(array) == 1:
                    write_npy(entry, np.asarray(array))
                else:
                    np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def map_file(file: IO[bytes], dtype: Any, n: int, offset: int = 0) -> np.ndarray:
    """The n entries from a place of a file on, which must be there: read-only array of shape (n,), read where it is looked at."""
    if n == 0:
        return np.empty(0, dtype)
    mapping = _Mapping(file.fileno(), offset + n * np.dtype(dtype).itemsize, access=mmap.ACCESS_READ)
    return np.frombuffer(mapping, dtype, n, offset)


def map_npy(path: Path, dtype: Any) -> np.ndarray:
    """The one column of numbers that a ``.npy`` file holds, mapped: array of shape (n,).

    Raises
    ------
    DataError
        Another array, or fewer bytes than it says.
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, found = read_header[version](file)
        except (ValueError, KeyError, SyntaxError, EOFError) as error:
            raise DataError(f"{path}: is no .npy file ({error}); write the folder again.") from None
        if found != np.dtype(dtype) or len(shape) != 1:
            raise DataError(f"{path}: expected one column of {np.dtype(dtype)}, got {found} of shape {shape}.")
        offset = file.tell()
        if path.stat().st_size != offset + shape[0] * found.itemsize:
            raise DataError(f"{path}: is not of the {shape[0]} entries that it says it has; write the folder again.")
        return map_file(file, found, shape[0], offset)


def scratch(home: Path) -> IO[bytes]:
    """A file without a name, gone with the process: in a folder, or in the cache where that cannot be written.

    Raises
    ------
    DataError
        Neither can be written.
    """
    try:
        return tempfile.TemporaryFile(dir=home)
    except OSError:
        pass
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=cache_dir())
    except OSError as error:
        raise cannot_write(cache_dir(), error) from None


class _Scratch:
    """What is written to a `scratch` file of its own.

    Parameters
    ----------
    home : Path
        Folder for the file.
    """

    def __init__(self, home: Path) -> None:
        self._home, self._file = home, scratch(home)

    def __del__(self) -> None:
        file = getattr(self, "_file", None)  # none where there was no room for it
        if file is not None:
            with contextlib.suppress(OSError):  # what is still buffered nobody will read
                file.close()


class Spill(_Scratch):
    """A column that grows in a `scratch` file, to be mapped in the end.

    Parameters
    ----------
    home : Path
        Folder for the file.
    dtype : data type
    """

    def __init__(self, home: Path, dtype: Any) -> None:
        super().__init__(home)
        self._dtype, self._n = np.dtype(dtype), 0

    def append(self, part: np.ndarray) -> None:
        """Write entries behind those that are there; a DataError where the disk is full."""
        put(self._home, self._file, self._n * self._dtype.itemsize, np.asarray(part, self._dtype))
        self._n += len(part)

    def column(self) -> np.ndarray:
        """What was written: read-only array of shape (n,), which the file stays for."""
        found = map_file(self._file, self._dtype, self._n)
        self._file.close()
        return found


class Parts(_Scratch):
    """Rows of some columns, in a `scratch` file, by the part that each belongs to, in their own order within a part.

    So is sorted what memory does not hold: rows are put into parts that it holds, which then are sorted one by one.

    Parameters
    ----------
    home : Path
        Folder for the file.
    sizes : int array of shape (n_parts,)
        Rows of each part, at most.
    dtypes : data types of the columns
    """

    def __init__(self, home: Path, sizes: np.ndarray, *dtypes: Any) -> None:
        super().__init__(home)
        self._sizes, self._dtypes = np.asarray(sizes, np.int64), [np.dtype(dtype) for dtype in dtypes]
        self.row_bytes = sum(dtype.itemsize for dtype in self._dtypes)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self._filled = np.zeros(len(self._sizes), np.int64)
        self._one_at_a_time = Lock()

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, part: np.ndarray, *columns: np.ndarray) -> None:
        """Put rows where they belong; ``part`` (n,) says where, and a DataError that the disk is full."""
        # Sorted by digits, in time that grows as n does, where two bytes do.
        order = np.argsort(part.astype(np.uint16) if len(self) <= 1 << 16 else part, kind="stable")
        counts = np.bincount(part, minlength=len(self))
        ends = np.cumsum(counts)
        ordered = [np.asarray(column, dtype)[order] for column, dtype in zip(columns, self._dtypes, strict=True)]
        for number in np.flatnonzero(counts):
            first, last = ends[number] - counts[number], ends[number]
            at = self._starts[number] * self.row_bytes
            for column in ordered:
                place = at + self._filled[number] * column.itemsize
                put(self._home, self._file, int(place), column[first:last])
                at += self._sizes[number] * column.itemsize
            self._filled[number] += counts[number]

    def read(self, number: int) -> list[np.ndarray]:
        """The columns of what a part was given, each in memory."""
        columns, at = [], int(self._starts[number]) * self.row_bytes
        for dtype in self._dtypes:
            columns.append(self._get(at, int(self._filled[number]), dtype))
            at += int(self._sizes[number]) * dtype.itemsize
        return columns

    def _get(self, at: int, n: int, dtype: np.dtype[Any]) -> np.ndarray:
        """The n entries that were written from a place on."""
        column = np.empty(n, dtype)
        self._fill(at, [column])
        return column

    def _fill(self, at: int, columns: Sequence[np.ndarray]) -> None:
        """Fill columns, one after another, with what was written from a place on; several threads may at once.

        Raises
        ------
        DataError
            It cannot be read, or less is there than was written: what is not there may be no index.
        """
        rest = [column.data.cast("B") for column in columns if len(column)]
        try:
            while rest:  # the system may read less than it is asked for
                if not (found := self._read_some(at, rest)):
                    raise OSError("it is shorter than it was")
                at += found
                while rest and found >= len(rest[0]):
                    found -= len(rest.pop(0))
                if found:
                    rest[0] = rest[0][found:]
        except OSError as error:
            why = error.strerror or error
            raise DataError(
                f"{self._home}: a file that was written there cannot be read again; check the disk ({why})."
            ) from None

    def _read_some(self, at: int, rest: list[memoryview]) -> int:
        """Read some of the bytes from a place on; how many."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), rest, at)
        with self._one_at_a_time:  # Windows
            self._file.seek(at)
            return int(self._file.readinto(rest[0]))  # type: ignore[attr-defined]

    def write_rows(self, first: int, *columns: np.ndarray) -> None:
        """Put the columns of some rows, one after another, in the place of the rows that are there, for `read_rows`."""
        at = first * self.row_bytes
        for column in columns:
            put(self._home, self._file, at, column)
            at += column.nbytes

    def read_rows(self, first: int, columns: Sequence[np.ndarray]) -> None:
        """Fill columns with those of as many rows that begin a part, or that `write_rows` wrote; several threads may at once."""
        self._fill(first * self.row_bytes, columns)

    def soon(self, first: int, n: int) -> None:
        """Tell the system that n rows will be read: it fetches them meanwhile, where it can and has not yet."""
        if n and hasattr(os, "posix_fadvise"):
            at, n_bytes = first * self.row_bytes, n * self.row_bytes
            with contextlib.suppress(OSError):  # it is told for speed alone
                os.posix_fadvise(self._file.fileno(), at, n_bytes, os.POSIX_FADV_WILLNEED)


def put(home: Path, file: IO[bytes], at: int, column: np.ndarray) -> None:
    """Write a column into a file from a place on.

    Raises
    ------
    DataError
        The disk is full.
    """
    try:
        file.seek(at)
        file.write(np.ascontiguousarray(column).data.cast("B") if column.size else b"")
        file.flush()  # so that none is left to be written where nobody says that the disk is full
    except OSError as error:
        raise cannot_write(home, error) from None
