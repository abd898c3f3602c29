"""`compiled`: the one way this package compiles loops."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numba


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def compiled(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a loop that releases the GIL; kept between processes where a folder can be written, else compiled anew in each.

    Args:
        function: the loop; left out where the decorator is given options.
        options: of `numba.njit`, such as ``fastmath``.
    """
    if function is None:
        return lambda loop: compiled(loop, **options)
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return numba.njit(nogil=True, **options)(function)
