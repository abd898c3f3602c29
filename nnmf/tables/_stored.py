"""Tables in folders: a file for each column, which a table is mapped from, and a manifest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nnmf._version import __version__
from nnmf.errors import ConfigError, DataError
from nnmf.files import (
    OWN,
    Claim,
    cannot_write,
    commit,
    map_npy,
    peek,
    read_manifest,
    stored,
    strangers,
    sweep,
    write_npy,
)

from ._ids import IdMap
from ._table import Table

#: the columns of a folder and their types
COLUMNS = {"user": np.int32, "item": np.int32, "rating": np.float32, "timestamp": np.int64}
_WHAT = "stored table"
_LOCK = f"{OWN}lock"

_Table = TypeVar("_Table", bound=Table)


class StoredTable(Table):
    """A table that a folder can hold."""

    @classmethod
    def open(cls: type[_Table], folder: str | os.PathLike[str]) -> _Table:
        """The table of a folder that `store` or `convert` wrote, its columns mapped: for tables larger than the memory.

        The columns are looked through once, block after block, so that no index or rating is unchecked; a file that changes
        while it is mapped is not seen. What trains on such a table, and splits it, holds blocks of it alone in memory;
        `take` reads the rows asked for.

        Parameters
        ----------
        folder : path

        Raises
        ------
        DataError
            No such folder, one that holds no table, a file that is missing, cut or damaged, an index that is none of the
            id maps', a rating that is no finite number.
        """
        return open_table(cls, as_folder(folder))

    def store(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the table to a folder, whole or not at all: 12 bytes a rating, 20 with timestamps, and the ids, no features.

        Parameters
        ----------
        folder : path
            A new or empty folder.
        overwrite : bool, default=False
            Replace the table that the folder holds; it stays until the new one is on the disk.

        Raises
        ------
        ConfigError
            A folder that is not to be replaced.
        DataError
            It cannot be written, or the table holds no ratings, or such of unknown users or items.
        """
        place = as_folder(folder)
        with held(place, overwrite):
            store(self, place)


def _is_stored(folder: Path) -> bool:
    """Whether a folder holds a table."""
    return isinstance((peek(folder) or {}).get("table"), dict)


def open_table(kind: type[_Table], folder: Path) -> _Table:
    """The table of a folder, its columns mapped and looked through; see `StoredTable.open`."""
    manifest = read_manifest(folder, _WHAT, [f"{name}.npy" for name in COLUMNS])
    content = manifest.get("table")
    if not isinstance(content, dict):
        raise DataError(f"{folder}: holds a saved model, no stored table; give a folder that convert or store() wrote.")
    try:
        maps = [_ids(folder, manifest, side) for side in ("users", "items")]
        columns: dict[str, Any] = {
            name: map_npy(stored(folder, manifest, f"{name}.npy"), dtype)
            for name, dtype in COLUMNS.items()
            if f"{name}.npy" in manifest["files"]
        }
        low, high = content["scale"]
        table = kind(
            **columns, users=maps[0], items=maps[1], name=str(content["name"]), scale=(low, high), home=folder.resolve()
        )
        if not len(table):
            raise DataError("holds no ratings.")
        table.require_known(table.user, table.item)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error}).") from None
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(str(folder)) else f"{folder}: {text}") from None
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise DataError(
            f"{folder}: is no table that nnmf {__version__} can read, it was written by {manifest.get('nnmf')} ({error})."
        ) from None
    return table


def _ids(folder: Path, manifest: dict[str, Any], side: str) -> IdMap:
    """The id map of a side, of the files that have its name."""
    arrays = {}
    for name in manifest["files"]:
        if name.startswith(f"{side}.") and name.endswith(".npy"):
            with stored(folder, manifest, name).open("rb") as file:
                arrays[name[len(side) + 1 : -4]] = np.lib.format.read_array(file, allow_pickle=False)
    return IdMap.from_arrays(arrays)


def store(table: Table, folder: Path) -> None:
    """Write a table to a folder that is `held`, whole or not at all; see `StoredTable.store`."""
    if not len(table):
        raise DataError(f"{table.name}: holds no ratings to store.")
    table.require_known(table.user, table.item)
    columns: dict[str, np.ndarray] = {name: column for name in COLUMNS if (column := getattr(table, name)) is not None}
    for side, ids in (("users", table.users), ("items", table.items)):
        columns |= {f"{side}.{name}": array for name, array in ids.to_arrays().items()}
    content = {
        "nnmf": __version__,
        "table": {
            "name": table.name,
            "scale": list(table.scale),
            "n_users": table.n_users,
            "n_items": table.n_items,
            "n_ratings": len(table),
            "digest": table.digest,
        },
    }
    commit(folder, {f"{name}.npy": partial(write_npy, column=column) for name, column in columns.items()}, (), content)


@contextlib.contextmanager
def held(folder: Path, overwrite: bool) -> Iterator[None]:
    """Hold a folder that is to become a table's; one that was made for it goes again where nothing came of it.

    Raises
    ------
    ConfigError
        A folder that holds other things, or a table that is not to be replaced.
    DataError
        It cannot be written, or somebody else writes it.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: is a file; give a folder.")
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        claim = Claim(folder / _LOCK)
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        if strangers(folder) or (peek(folder) is not None and not _is_stored(folder)):
            raise ConfigError(f"{folder}: holds other things than a table, so it is not replaced; give another folder.")
        if peek(folder) is not None and not overwrite:
            raise ConfigError(
                f"{folder}: holds a table; give another folder, or replace it with overwrite=True (--overwrite)."
            )
        try:
            sweep(folder)
            yield
        finally:
            sweep(folder)  # what an interrupt left at an awkward moment
    finally:
        claim.release()
        if made and peek(folder) is None:
            with contextlib.suppress(OSError):
                folder.rmdir()


def as_folder(folder: Any) -> Path:
    """The path of a folder that may be any object.

    Raises
    ------
    ConfigError
        What is no path of text.
    """
    text = os.fspath(folder) if isinstance(folder, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(f"folder: got {folder!r}; give the path of a folder.")
    return Path(text)
