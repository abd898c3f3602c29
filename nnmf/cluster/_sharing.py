"""`shared_folder`: a folder that a cluster's workers read from, made for a training and gone with it."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nnmf.errors import BackendError, DataError
from nnmf.files import cache_dir, cannot_write

from ._workers import answers

if TYPE_CHECKING:
    from distributed import Client

_TOKEN = "token"


@contextlib.contextmanager
def shared_folder(client: Client, home: Path | None) -> Iterator[Path]:
    """A new folder all of whose files the workers see, removed at the end.

    Parameters
    ----------
    client : distributed.Client
    home : Path or None
        Where it is made, or in the cache where that cannot be written; None: among temporary files ($TMPDIR).

    Raises
    ------
    BackendError
        A worker does not see what is written there.
    DataError
        Nothing can be written.
    """
    place, token = _writable(home), secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        try:
            made = tempfile.TemporaryDirectory(prefix="nnmf-shared-", dir=place, ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(made)).resolve()
            folder.chmod(0o755)  # workers may be another user's
            (folder / _TOKEN).write_text(token)
        except OSError as error:
            raise cannot_write(place, error) from None
        for worker, found in answers(client, _read, str(folder / _TOKEN)).items():
            if found != token:
                raise BackendError(
                    f"cluster: the worker {worker} does not see the files that are written to {folder.parent} here; take a table in a "
                    "folder that all machines share (python -m nnmf.data convert, then --dataset FOLDER), or set $TMPDIR to one."
                )
        yield folder


def unreadable(folder: Path, error: Exception) -> DataError:
    """What a task raises that cannot read the files of a shared folder."""
    return DataError(
        f"cluster: a worker cannot read what is in {folder} ({error}); see that all machines share that folder."
    )


def _writable(home: Path | None) -> Path:
    if home is None:
        return Path(tempfile.gettempdir())
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=home):
        return home
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(cache_dir(), error) from None
    return cache_dir()


def _read(path: str) -> str:
    return Path(path).read_text()
