"""The one way this package compiles loops, and how many cores may run them. Numba is imported by the first loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnmf._lazy import lazily

from ._cores import usable_cores

if TYPE_CHECKING:
    from ._fetch import fetch
    from ._loops import compiled, loop_cache

__all__ = ["compiled", "fetch", "loop_cache", "usable_cores"]

__getattr__, __dir__ = lazily(
    __name__, {"fetch": "nnmf._compiled._fetch", **dict.fromkeys(("compiled", "loop_cache"), "nnmf._compiled._loops")}
)
