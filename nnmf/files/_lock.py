"""Who may write a file or folder: locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nnmf.errors import DataError

fcntl: Any = None  # Windows: without file locks, nothing is held
with contextlib.suppress(ImportError):
    import fcntl

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` against other processes (workers that start together), waiting for one that has it.

    Raises
    ------
    DataError
        The file cannot be made.
    """
    if fcntl is None:
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
            logger.info("waiting for another process that holds %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems
            logger.info("no lock on %s (%s)", path, error.strerror)
        yield


class Claim:
    """A lock file that is there while somebody holds it, and says who.

    Parameters
    ----------
    path : Path
        The lock file; its folder must be there.

    Raises
    ------
    DataError
        Somebody has it: named with process, machine and time. `OSError` where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None
        while self._file is None:
            file = path.open("a+")
            if _locked(file):
                # Whoever had it removed the file when it let go: hold the one that is there now.
                with contextlib.suppress(FileNotFoundError):
                    if fcntl is None or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        self._file = file
                        continue
                file.close()
                continue
            file.seek(0)
            who = file.read(200).strip() or "another process"
            file.close()
            raise DataError(f"{path.parent}: is being written by {who}; wait for it, or give another folder.")
        self._file.truncate(0)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {stamp}\n")
        self._file.flush()

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def _locked(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems have no locks; there, nothing is held against others.
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    return True
