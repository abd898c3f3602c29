"""The memory of MXNet's arrays, as the loops of steps by rows see it."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from nnmf import _mxnet

mx: Any = _mxnet.load()


class Mirror:
    """An array of MXNet and its numbers in NumPy: on a CPU the same memory, elsewhere a copy."""

    def __init__(self, array: Any, shared: bool) -> None:
        self.array, self._shared = array, shared
        self._address = address_of(array) if shared else 0
        self.host: np.ndarray = memory_of(array) if shared else array.asnumpy()

    def push(self) -> None:
        """Let MXNet see what was written."""
        if not self._shared:
            self.array[:] = self.host

    def pull(self) -> None:
        """See what MXNet has written, which it has to be done with."""
        if not self._shared:
            self.host[...] = self.array.asnumpy()
        elif (address := address_of(self.array)) != self._address:
            self._address, self.host = address, memory_of(self.array)


def address_of(array: Any) -> int:
    """Where an array that MXNet keeps on a CPU lies; one that an operator has laid out in a way of its own is put in order first."""
    found = ctypes.c_void_p()
    mx.base.check_call(mx.base._LIB.MXNDArrayGetData(array.handle, ctypes.byref(found)))
    return found.value or 0


def memory_of(array: Any) -> np.ndarray:
    """The memory of such an array, as long as the array lives; nobody looks after who writes when."""
    array.wait_to_read()
    size = array.size * np.dtype(array.dtype).itemsize
    memory = (ctypes.c_char * size).from_address(address_of(array))
    return np.frombuffer(memory, array.dtype).reshape(array.shape)
