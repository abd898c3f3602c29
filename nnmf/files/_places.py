"""Where files go that no folder was named for, and who may write them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from nnmf.errors import DataError

log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """$NNMF_CACHE, or ``nnmf`` in the platform's folder for a user's caches. Nothing is created."""
    if chosen := os.environ.get("NNMF_CACHE"):
        return Path(chosen)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise DataError("no home folder to keep downloads in was found: set $NNMF_CACHE to a folder") from error
    return base / "nnmf"


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` against other processes (workers that start together); without file locks, does nothing."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written ({error.strerror or error})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that holds %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems
            log.info("no lock on %s (%s)", path, error.strerror)
        yield
