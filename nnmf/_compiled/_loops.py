"""`compiled`: loops compiled by Numba, kept between processes where they can be and compiled anew where they cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

from nnmf.errors import BackendError

logger = logging.getLogger("nnmf")

# Numba writes thousands of DEBUG lines on what it compiles; who wants them sets a level of Numba's own.
if logging.getLogger("numba").level == logging.NOTSET:
    logging.getLogger("numba").setLevel(logging.WARNING)

_EACH_TIME = "every process compiles for some seconds; $NUMBA_CACHE_DIR may name a folder that can be written."
_said: set[str] = set()


class _Cache(FunctionCache):
    """Numba's cache on the disk, which is only ever a saving of time: what is wrong with it is said, once, not raised."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What the cache holds for a signature, or None to have it compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling what is damaged can raise anything
            _say(
                "damaged",
                f"Numba's cache in {self.cache_path} is damaged or unreadable ({_why(error)}): compiling anew.",
            )
        try:
            self.flush()  # or nothing could be saved beside what is damaged, and the next process would stumble again
        except OSError as error:
            self._is_lost(error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, where it can be kept."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # the index may be damaged, the disk full, the folder gone or read-only by now
            self._is_lost(error)

    def _is_lost(self, error: Exception) -> None:
        self.disable()
        _say("lost", f"Numba's cache in {self.cache_path} cannot be written ({_why(error)}): {_EACH_TIME}")


def compiled(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a loop that releases the GIL; kept between processes where a folder can be written.

    Parameters
    ----------
    function : callable, optional
        The loop; left out where the decorator is given options.
    **options
        Of `numba.njit`, such as ``fastmath``.

    Returns
    -------
    callable
        Numba's dispatcher of the loop, or the decorator where no loop was given.
    """
    if function is None:
        return lambda loop: compiled(loop, **options)
    dispatcher = numba.njit(nogil=True, **options)(function)
    if dispatcher is function:  # $NUMBA_DISABLE_JIT: a debugger steps through it
        return function
    try:
        dispatcher._cache = _Cache(dispatcher.py_func)
    except (RuntimeError, OSError) as error:  # "cannot cache function: no locator available"
        _say("lost", _no_folder(error))
    else:
        _say_where(dispatcher._cache)
    return dispatcher


def loop_cache() -> Path:
    """The folder that compiled loops are kept in.

    Raises
    ------
    BackendError
        There is none that can be written.
    """
    try:
        return Path(FunctionCache(loop_cache).cache_path)
    except (RuntimeError, OSError) as error:
        raise BackendError(_no_folder(error)) from error


def _say_where(cache: _Cache) -> None:
    """Say so where Numba keeps loops elsewhere than it was told, as it does without a word."""
    wanted = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    if wanted and Path(wanted).absolute() not in Path(cache.cache_path).absolute().parents:
        _say(
            "elsewhere",
            f"$NUMBA_CACHE_DIR names {wanted}, which is no folder that can be written: compiled loops are kept in "
            f"{cache.cache_path}.",
        )


def _no_folder(error: Exception) -> str:
    return f"Numba finds no folder to keep compiled loops in ({_why(error)}): {_EACH_TIME}"


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _say(kind: str, sentence: str) -> None:
    """Log a sentence, and no other of its kind: there are dozens of loops, and one cause."""
    if kind not in _said:
        _said.add(kind)
        logger.warning("%s", sentence)
