"""Files that are whole or not there: written under a name of their own, flushed, renamed into place."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from nnmf.errors import DataError

#: start of the names under which files are written before they are whole
ASIDE = ".nnmf-part."

#: writes one file's bytes to what it is given, from the first to the last
Writer = Callable[[IO[bytes]], None]


class Written(NamedTuple):
    """What was written: SHA-256 as hexadecimal digits, and number of bytes."""

    sha256: str
    n_bytes: int


class _Hashing(io.RawIOBase):
    """A file that is written from its first byte to its last, hashed on the way, so that nobody reads it again for that."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self._n_bytes = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data)
        self._digest.update(data)
        n_bytes = memoryview(data).nbytes
        self._n_bytes += n_bytes
        return n_bytes

    def tell(self) -> int:
        return self._n_bytes

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    @property
    def written(self) -> Written:
        return Written(self._digest.hexdigest(), self._n_bytes)


def write_aside(folder: Path, name: str, write: Writer) -> tuple[Path, Written]:
    """Write a file under a name that no other thread or process has, and flush it to the disk; nothing stays if that fails.

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written.
    """
    aside = folder / f"{ASIDE}{secrets.token_hex(8)}.{name[-100:]}"
    try:
        with aside.open("xb") as file:
            hashing = _Hashing(file)
            write(hashing)  # type: ignore[arg-type] # of IO[bytes] it has what a writer needs
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    return aside, hashing.written


def write_file(path: Path, write: Writer) -> Written:
    """Write a file, which takes the place of the one before once it is whole.

    Raises
    ------
    DataError
        The disk is full, or the folder cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a device, a pipe, a folder: what a file would take the place of
            raise DataError(f"{path}: is there and is no file; give the name of one.")
        aside, written = write_aside(path.parent, path.name, write)
        try:
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from None
    return written


def write_text(path: Path, text: str) -> Written:
    """`write_file` of a text in UTF-8."""
    return write_file(path, content(text.encode()))


def content(data: bytes) -> Writer:
    """What writes these bytes."""

    def write(file: IO[bytes]) -> None:
        file.write(data)

    return write


def cannot_write(path: Path, error: OSError) -> DataError:
    """The sentence for a file or folder that cannot be written."""
    return DataError(
        f"{path}: cannot be written ({error.strerror or error}); free some space or choose another folder."
    )


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written."""
    for path in folder.glob(f"{ASIDE}*"):
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
