"""Arrays of a saved model as ``.npz`` (NumPy's) or ``.params`` (MXNet's) files; nothing is pickled, nothing is believed."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from nnmf.errors import DataError
from nnmf.files import Writer, write_arrays

from ._mxparams import read_params, write_params

_WRITERS: dict[str, Callable[[IO[bytes], Mapping[str, np.ndarray]], None]] = {
    "npz": write_arrays,
    "params": write_params,
}
SUFFIXES = tuple(_WRITERS)


def writer(suffix: str, arrays: Mapping[str, np.ndarray]) -> Writer:
    """What writes arrays as files of that ending."""
    return lambda file: _WRITERS[suffix](file, arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Raises
    ------
    DataError
        It cannot be read, is no such file, or says that it holds more than it does.
    """
    try:
        with path.open("rb") as file:
            return read_params(file) if path.suffix == ".params" else _read_npz(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, SyntaxError) as error:
        raise DataError(f"{path}: is damaged, or no file of arrays that save() wrote ({error}).") from None


def _read_npz(file: IO[bytes]) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
                raise ValueError(f"{info.filename!r} is no plain array")
            with archive.open(info) as entry:
                arrays[info.filename[:-4]] = _read_npy(entry, info.file_size)
    return arrays


def _read_npy(file: Any, n_bytes: int) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"an array is of format {version}")
    shape, fortran, dtype = read_header[version](file)
    data = file.read(n_bytes)
    # The header may say anything: what it asks for must be what is there.
    if dtype.hasobject or dtype.kind not in "fiub" or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of {dtype} and shape {shape} does not fit its {len(data)} bytes")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
