"""Columns of tables that were read, and the bounded cache that keeps them as mapped ``.npy`` files, a folder a table."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnmf.errors import ConfigError
from nnmf.files import ASIDE, cache_dir

from ._ids import IdMap
from ._sizes import size_of
from ._texts import Texts

logger = logging.getLogger(__name__)

# Raised whenever reading changes, so that columns read by an older version are not taken for today's.
_VERSION = 4
_ENTRY = "entry.json"
_DEFAULT_SIZE = 4 << 30
# A file is looked into at so many places, of so many bytes each.
_PROBES, _PROBE_BYTES = 16, 1 << 16
# What a process that was killed left half-written is old by then.
_STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class Columns:
    """Columns of a table, each of shape (n_ratings,), in the order of the file.

    Attributes
    ----------
    users, items : IdMap
        The distinct ids, ascending.
    user, item : int32 array
        The index of each rating's user and item.
    rating : float32 array
    timestamp : int64 array or None
        Whole seconds, where the table has them.
    n_skipped : int
        Lines left out under ``on_error="skip"``.
    """

    users: IdMap
    items: IdMap
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    timestamp: np.ndarray | None = None
    n_skipped: int = 0

    @property
    def user_id(self) -> np.ndarray:
        """The user id of each rating, int64 or `str`."""
        return self.users.at(self.user)

    @property
    def item_id(self) -> np.ndarray:
        """The item id of each rating, int64 or `str`."""
        return self.items.at(self.item)


class CacheFile(NamedTuple):
    """A table in the cache: its folder, its bytes, and when it was last used in seconds since 1970."""

    path: Path
    n_bytes: int
    last_use: float


def place(path: Path, options: Sequence[object]) -> Path | None:
    """Where the columns of a table are kept: the first half of the name tells file and options, the second its state.

    None where no place can be had: that costs the next read its time, as all that can go wrong with the cache does.

    Parameters
    ----------
    path : Path
        The table.
    options : sequence
        What it is read with, as JSON can hold it.

    Raises
    ------
    ConfigError
        A size in $NNMF_CACHE_SIZE that is none.
    """
    if _limit() == 0:
        return None
    try:
        return _folder() / f"{_digest(str(path.resolve()), *options)}-{_digest(_VERSION, *_state(path))}"
    except Exception as error:
        logger.info("The table is not cached: %s.", error)
        return None


def read(entry: Path) -> Columns | None:
    """Cached columns, mapped; None where there are none or a file is damaged (they are then written anew)."""
    try:
        content = json.loads((entry / _ENTRY).read_bytes())
        arrays = {}
        for name, crc in content["files"].items():
            array = np.lib.format.open_memmap(entry / f"{name}.npy", mode="r")
            if zlib.crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"") != crc:
                raise ValueError(f"{name} has another checksum")
            arrays[name] = array
        users, items = (_map_of(arrays, side) for side in ("users", "items"))
        os.utime(entry / _ENTRY)
        return Columns(
            users,
            items,
            arrays["user"],
            arrays["item"],
            arrays["rating"],
            arrays.get("timestamp"),
            content["n_skipped"],
        )
    except FileNotFoundError:
        return None
    except Exception as error:  # damage has many faces
        logger.info("The cached table %s is damaged (%s) and is built again.", entry, error)
        return None


def _map_of(arrays: dict[str, np.ndarray], side: str) -> IdMap:
    if f"{side}.id" in arrays:
        return IdMap.of_distinct(arrays[f"{side}.id"])
    return IdMap.of_distinct(Texts(arrays[f"{side}.text"], arrays[f"{side}.start"]))


def write(entry: Path, columns: Columns) -> None:
    """Keep the columns in place of those of an older state; a folder that cannot be written is no error."""
    arrays = {"user": columns.user, "item": columns.item, "rating": columns.rating}
    if columns.timestamp is not None:
        arrays["timestamp"] = columns.timestamp
    for side, ids in (("users", columns.users), ("items", columns.items)):
        arrays |= {f"{side}.{name}": array for name, array in ids.to_arrays().items()}
    if sum(array.nbytes for array in arrays.values()) > _limit():
        logger.info("The table is not cached: it is larger than the cache may be ($NNMF_CACHE_SIZE).")
        return
    aside = entry.with_name(f"{ASIDE}{uuid.uuid4().hex}")
    try:
        aside.mkdir(parents=True)
        _write_arrays(aside, arrays)
        files = {name: zlib.crc32(array.data.cast("B") if array.size else b"") for name, array in arrays.items()}
        (aside / _ENTRY).write_text(json.dumps({"files": files, "n_skipped": columns.n_skipped}))
        for other in entry.parent.glob(entry.name.partition("-")[0] + "-*"):
            shutil.rmtree(other, ignore_errors=True)
        aside.rename(entry)
        _bound(keep=entry)
    except Exception as error:
        logger.info("The table is not cached: %s", error)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


# -- the whole cache -------------------------------------------------------------------------------------------------
def cache_files() -> list[CacheFile]:
    """The tables in the cache, the one used last first."""
    found = []
    for path in _entries():
        with contextlib.suppress(OSError):  # removed meanwhile
            n_bytes = sum(file.stat().st_size for file in path.iterdir())
            found.append(CacheFile(path, n_bytes, (path / _ENTRY).stat().st_mtime))
    return sorted(found, key=lambda file: file.last_use, reverse=True)


def clear_cache() -> int:
    """Remove all tables from the cache; the bytes that were freed."""
    freed = sum(file.n_bytes for file in cache_files())
    for path in _folder().glob("*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:  # of an older version
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
    return freed


def _entries() -> Iterator[Path]:
    return (path for path in _folder().glob("*-*") if path.is_dir() and not path.name.startswith(ASIDE))


def _bound(keep: Path) -> None:
    """Remove the tables that were not used for longest until the others fit, and what killed processes left."""
    left = _limit()
    for file in cache_files():
        left -= file.n_bytes
        if left < 0 and file.path != keep:
            shutil.rmtree(file.path, ignore_errors=True)
    for path in _folder().glob(f"{ASIDE}*"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
    for path in _folder().glob("*.npz"):  # of an older version
        path.unlink(missing_ok=True)


def _limit() -> int:
    """Bytes that the cache may fill: $NNMF_CACHE_SIZE, a number or one with a unit, else 4 GiB."""
    text = os.environ.get("NNMF_CACHE_SIZE", "").strip()
    if not text:
        return _DEFAULT_SIZE
    size = size_of(text)
    if size is None:
        raise ConfigError(f"$NNMF_CACHE_SIZE: got {text!r}; give bytes, or a size such as 500MB or 2GiB.")
    return size


def _folder() -> Path:
    return cache_dir() / "tables"


def _state(path: Path) -> list[object]:
    """What changes when the file does; its times alone may not, where it was copied with them."""
    status = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for at in range(_PROBES):
            file.seek(max(0, status.st_size - _PROBE_BYTES) * at // (_PROBES - 1))
            digest.update(file.read(_PROBE_BYTES))
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, digest.hexdigest()]


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
