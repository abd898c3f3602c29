"""Folders of files that are whole or not there: checksums in a manifest, which is renamed into place last."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import DataError

MANIFEST = "manifest.json"
_FORMAT = 1
#: start of the names under which files are written before they are whole
ASIDE = ".nnmf-part."

#: writes one file at the path it is given
Writer = Callable[[Path], None]


def write_text(path: Path, text: str) -> None:
    """Write a text file aside and rename it into place.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """

    def write(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    write_file(path, write)


def write_file(path: Path, write: Writer) -> None:
    """Let ``write`` make a file under a temporary name of the same ending, flush it to disk and rename it into place."""
    aside = path.with_name(f"{ASIDE}{os.getpid()}.{path.name}")
    try:
        try:
            write(aside)
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as ``np.savez`` does, which on a full disk leaves an archive that complains when it is collected."""
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def cannot_write(path: Path, error: OSError) -> DataError:
    """The sentence for a file or folder that cannot be written."""
    return DataError(
        f"{path}: cannot be written ({error.strerror or error}); free some space or choose another folder."
    )


def commit(folder: Path, files: dict[str, Writer], keep: Iterable[str], content: dict[str, Any]) -> None:
    """Make a folder hold a new state: the given files, those to keep, and the manifest that names them all.

    A crash at any moment leaves the state before or the one after. Files that only the state before had are removed.

    Args:
        folder: made where it is missing.
        files: writer by name. A file that two states share under one name must be the same in both.
        keep: names of files of the state before that stay.
        content: what else the manifest says, as JSON can hold it.

    Raises:
        DataError: something cannot be written.
    """
    before = _entries(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    entries = {name: before[name] for name in keep}
    try:
        for name, write in files.items():
            write_file(folder / name, write)
            entries[name] = {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size}
        manifest = {"format": _FORMAT, **content, "files": entries}
        manifest["sha256"] = _digest(manifest)
        write_text(folder / MANIFEST, json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    except BaseException:
        for name in files.keys() - before.keys():
            (folder / name).unlink(missing_ok=True)
        raise
    for name in before.keys() - entries.keys():
        (folder / name).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written."""
    for path in folder.glob(f"{ASIDE}*"):
        path.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove the state a folder holds, and nothing else."""
    sweep(folder)
    if peek(folder):
        for name in [*_entries(folder), MANIFEST]:
            (folder / name).unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, after checking that each file it names is there and is what was written.

    Raises:
        DataError: no manifest, or a file that is missing, truncated, edited or foreign.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        what = "no saved model: it has no manifest.json" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {what}; give the folder that a training run or save() wrote.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    try:
        manifest = json.loads(text)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise DataError(f"{path}: is no manifest of a saved model, or is damaged; restore it from a copy.") from None
    if manifest.get("format") != _FORMAT:
        raise DataError(
            f"{folder}: is of format {manifest.get('format')!r}, this version reads format {_FORMAT}; load it with the version "
            f"that wrote it ({manifest.get('nnmf', 'unknown')})."
        )
    if manifest.pop("sha256", None) != _digest(manifest):
        raise DataError(f"{path}: was edited or damaged, its checksum is wrong; restore it from a copy.")
    for name, entry in manifest["files"].items():
        file = folder / name
        if Path(name).name != name:
            raise DataError(f"{path}: names the file {name!r} outside its folder; this is no folder that save() wrote.")
        try:
            if file.stat().st_size != entry["bytes"] or _sha256(file) != entry["sha256"]:
                raise DataError(f"{file}: was edited or damaged, its checksum is wrong; restore it from a copy.")
        except OSError as error:
            raise DataError(
                f"{file}: is missing or cannot be read ({error.strerror or error}); restore it from a copy."
            ) from None
    return manifest


def peek(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder without a look at its files; None where there is none that was written here."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest.pop("sha256") != _digest(manifest):
            return None
        entries = manifest["files"]
        manifest["files"] = {name: entry for name, entry in entries.items() if Path(name).name == name}
        return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _entries(folder: Path) -> dict[str, dict[str, Any]]:
    """File entries of the state a folder holds."""
    manifest = peek(folder)
    return manifest["files"] if manifest else {}


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
