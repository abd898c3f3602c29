"""Which threads MXNet computes in: by itself its own, for a program that says so the one that asks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_VARIABLE = "MXNET_ENGINE_TYPE"
_wanted = False


def compute_in_caller() -> None:
    """Have MXNet's build for CPUs compute in the thread that asks, if this is said before it is first loaded.

    A step of a network over a small batch takes some 20 microseconds of arithmetic, and as long again to wake MXNet's threads and be
    woken by them. For programs in which one thread uses MXNet, for nothing then keeps those apart whose operators share memory.
    ``$MXNET_ENGINE_TYPE`` is heeded where it is set.
    """
    global _wanted
    _wanted = _VARIABLE not in os.environ


@contextlib.contextmanager
def chosen() -> Iterator[None]:
    """Have MXNet, which is imported meanwhile, do as was wanted.

    It reads the variable for operators written in Python while it is imported, and for all others when it first has something to do.
    """
    if not _wanted:
        yield
        return
    os.environ[_VARIABLE] = "NaiveEngine"
    try:
        yield
        with _hushed():  # it prints which it takes
            sys.modules["mxnet"].nd.waitall()
    finally:
        del os.environ[_VARIABLE]


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Drop what is written to the process's standard error, whoever writes."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with contextlib.suppress(Exception):  # what Python itself holds back is not lost
        sys.stderr.flush()
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
