"""MXNet's parameter files, read and written without MXNet: what ``mx.nd.save`` and ``mx.nd.load`` call named arrays.

The layout (little endian): a header (0x112, 0), the number of arrays and each of them, the number of names and each of them.
An array: a magic number, a storage type (0: dense), the number of axes and their lengths, a device (1, 0: the CPU), a type, data.

References
----------
MXNet 1.9.1, ``src/ndarray/ndarray.cc``, ``NDArray::Save`` and ``NDArray::Load``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO

import numpy as np

_HEADER, _DENSE, _CPU = 0x112, 0, (1, 0)
_MAGIC_V2, _MAGIC_V3 = 0xF993FAC9, 0xF993FACA
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}
_MOST_AXES = 32


def write_params(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as ``mx.nd.load`` reads them."""
    numbers = {np.dtype(text): number for number, text in _TYPES.items()}
    file.write(struct.pack("<QQQ", _HEADER, 0, len(arrays)))
    for array in arrays.values():
        plain = np.ascontiguousarray(array)
        file.write(struct.pack("<Iii", _MAGIC_V2, _DENSE, plain.ndim))
        file.write(struct.pack(f"<{plain.ndim}q", *plain.shape))
        file.write(struct.pack("<iii", *_CPU, numbers[plain.dtype]))
        file.write(plain.data.cast("B") if plain.size else b"")
    file.write(struct.pack("<Q", len(arrays)))
    for name in arrays:
        text = name.encode()
        file.write(struct.pack("<Q", len(text)) + text)


def read_params(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Named arrays of a file that `write_params` or ``mx.nd.save`` wrote.

    Raises
    ------
    ValueError
        It is none, or is cut short.
    """
    header, _, n_arrays = _unpack(file, "<QQQ")
    if header != _HEADER:
        raise ValueError("is no parameter file of MXNet")
    arrays: list[np.ndarray] = []
    while len(arrays) < n_arrays:
        magic, storage, n_axes = _unpack(file, "<Iii")
        if magic not in (_MAGIC_V2, _MAGIC_V3) or storage != _DENSE or not 0 <= n_axes <= _MOST_AXES:
            raise ValueError("holds an array that is not dense, or is damaged")
        shape = _unpack(file, f"<{n_axes}q")
        *_, kind = _unpack(file, "<iii")
        if kind not in _TYPES or min(shape, default=0) < 0:
            raise ValueError("holds an array of an unknown type or shape")
        dtype = np.dtype(_TYPES[kind])
        n_bytes = dtype.itemsize
        for length in shape:
            n_bytes *= length  # of Python, so that nothing overflows
        arrays.append(np.frombuffer(_exactly(file, n_bytes), dtype).reshape(shape))
    (n_names,) = _unpack(file, "<Q")
    if n_names != n_arrays:
        raise ValueError("does not name each of its arrays")
    names = [_exactly(file, _unpack(file, "<Q")[0]).decode() for _ in arrays]
    return dict(zip(names, arrays, strict=True))


def _unpack(file: IO[bytes], layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, _exactly(file, struct.calcsize(layout)))


def _exactly(file: IO[bytes], n_bytes: int) -> bytes:
    # In pieces, so that a wild length asks for no more memory than the file has bytes.
    pieces, left = [], n_bytes
    while left:
        piece = file.read(min(left, 1 << 26))
        if not piece:
            raise ValueError("is cut short")
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
