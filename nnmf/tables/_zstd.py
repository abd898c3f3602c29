"""Whether a zstd file is whole: DuckDB takes one that ends early for a smaller table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from nnmf.errors import DataError

_FRAME = 0xFD2FB528
# Sixteen numbers begin frames that hold no data.
_SKIPPABLE, _SKIPPABLE_MASK = 0x184D2A50, 0xFFFFFFF0
_REPEATED, _RESERVED = 1, 3
# Bytes of a dictionary's number and of the content's size, by the flags that tell them.
_DICTIONARY_BYTES, _SIZE_BYTES = (0, 1, 2, 4), (0, 2, 4, 8)


def check_zstd(path: Path) -> None:
    """Walk through the frames of a zstd file, from the head of each block to the next, to its end.

    Nothing is unpacked, so this costs next to nothing; bytes that were altered within a block are not seen by it.

    Raises
    ------
    DataError
        A file that ends within a frame, or holds what is no frame.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            _skip_frame(file, path)
            if file.tell() > size:
                raise _damaged(path, f"it ends early, at byte {size}")


def _skip_frame(file: IO[bytes], path: Path) -> None:
    magic = _number(file, 4, path)
    if magic & _SKIPPABLE_MASK == _SKIPPABLE:
        file.seek(_number(file, 4, path), os.SEEK_CUR)
        return
    if magic != _FRAME:
        raise _damaged(path, f"no frame begins at byte {file.tell() - 4}")
    flags = _number(file, 1, path)
    one_segment, has_checksum = flags >> 5 & 1, flags >> 2 & 1
    size_bytes = _SIZE_BYTES[flags >> 6] or one_segment
    file.seek((1 - one_segment) + _DICTIONARY_BYTES[flags & 3] + size_bytes, os.SEEK_CUR)
    last = 0
    while not last:
        head = _number(file, 3, path)
        last, kind, length = head & 1, head >> 1 & 3, head >> 3
        if kind == _RESERVED:
            raise _damaged(path, f"no block begins at byte {file.tell() - 3}")
        file.seek(1 if kind == _REPEATED else length, os.SEEK_CUR)
    file.seek(4 * has_checksum, os.SEEK_CUR)


def _number(file: IO[bytes], n_bytes: int, path: Path) -> int:
    found = file.read(n_bytes)
    if len(found) < n_bytes:
        raise _damaged(path, f"it ends early, at byte {path.stat().st_size}")
    return int.from_bytes(found, "little")


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path}: the compressed file is damaged ({what}); get it again.")
