"""Folders of files that change as a whole: a manifest with checksums is renamed into place last.

A file of the manifest never changes under its name, so that a crash at any moment leaves the state before or the one after.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from nnmf.errors import DataError

from ._atomic import Writer, cannot_write, sweep, write_aside, write_text

MANIFEST = "manifest.json"
#: start of the names of what this package keeps in a folder beside the files of its manifest
OWN = ".nnmf-"
FORMAT = 2
# Names of files that a commit brings or takes away, while it does: whoever finds it after a crash knows them for ours.
_PENDING = f"{OWN}pending"
# What a folder may hold, and what writes it.
_WRITERS = {"saved model": "a training run or save()", "stored table": "convert or store()"}


def commit(folder: Path, files: dict[str, Writer], keep: Iterable[str], content: dict[str, Any]) -> None:
    """Make a folder hold a new state: the given files, those to keep, and the manifest that names them all.

    A file whose name the state before has for other bytes gets its checksum's first digits into its own; what asks for a
    file by the name it was given here (`stored`) finds it. Files that only the state before had are removed in the end.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    files : dict of str to Writer
        Writer of each file by name.
    keep : iterable of str
        Names of files of the state before that stay.
    content : dict
        What else the manifest says, as JSON can hold it.

    Raises
    ------
    DataError
        Something cannot be written; the state before is still there.
    """
    before = peek(folder)
    old = before["files"] if before else {}
    entries = {name: old[name] for name in keep}
    taken = {entry["name"] for entry in old.values()}
    new: list[tuple[Path, str]] = []  # what lies aside, and the name it is to have
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _finish(folder)
        for name, write in files.items():
            path = folder / name
            aside, written = write_aside(folder, name, write)
            stored = name if name not in taken else f"{path.stem}.{written.sha256[:12]}{path.suffix}"
            if stored in taken:  # the very bytes that are there
                aside.unlink()
            else:
                new.append((aside, stored))
            entries[name] = {"name": stored, "sha256": written.sha256, "bytes": written.n_bytes}
        gone = taken - {entry["name"] for entry in entries.values()}
        write_text(folder / _PENDING, json.dumps(sorted({*gone, *(name for _, name in new)})))
        for aside, name in new:
            path = folder / name
            aside.replace(path)
        manifest = {"format": FORMAT, **content, "files": entries}
        manifest["sha256"] = _digest(manifest)
        path = folder / MANIFEST
        write_text(path, json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    except BaseException as error:
        for aside, _ in new:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        _finish(folder)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from None
        raise
    _finish(folder)


def _finish(folder: Path) -> None:
    """Remove what a commit, broken off or not, leaves that the manifest does not name."""
    with contextlib.suppress(OSError):
        for name in _pending(folder) - _named(folder):
            (folder / name).unlink(missing_ok=True)
        (folder / _PENDING).unlink(missing_ok=True)


def _pending(folder: Path) -> set[str]:
    try:
        names = json.loads((folder / _PENDING).read_bytes())
        return {name for name in names if isinstance(name, str) and Path(name).name == name}
    except (OSError, ValueError, TypeError):
        return set()


def _named(folder: Path) -> set[str]:
    """Names of the manifest and of the files it names."""
    manifest = peek(folder)
    return {MANIFEST, *(entry["name"] for entry in manifest["files"].values())} if manifest else set()


def clear(folder: Path) -> None:
    """Remove the state a folder holds, and nothing else."""
    sweep(folder)
    _finish(folder)
    names = _named(folder) - {MANIFEST}
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in names:
        (folder / name).unlink(missing_ok=True)


def strangers(folder: Path) -> set[str]:
    """Names of what a folder holds that belongs neither to the state in it nor to this package's own files."""
    found = {entry.name for entry in folder.iterdir() if not entry.name.startswith(OWN)}
    return found - _named(folder) - _pending(folder)


def read_manifest(folder: Path, what: str = "saved model", mapped: Collection[str] = ()) -> dict[str, Any]:
    """The manifest of a folder, after checking that each file it names is there and is what was written.

    Parameters
    ----------
    folder : Path
    what : str
        What the folder is to hold, for errors.
    mapped : collection of str
        Files that are not read through: of them the size alone is looked at.

    Raises
    ------
    DataError
        No manifest, or a file that is missing, truncated, edited or foreign.
    """
    path = folder / MANIFEST
    for _ in range(3):
        text = _read(path, what)
        manifest = _parse(path, text, what)
        try:
            for name in manifest["files"]:
                _check(folder, manifest, name, name not in mapped)
        except DataError:
            if _read(path, what) != text:  # another process brought a new state meanwhile
                continue
            raise
        return manifest
    raise DataError(f"{folder}: changes faster than it can be read; try again.")


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        found = f"no {what}: it has no manifest.json" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {found}; give the folder that {_WRITERS[what]} wrote.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}).") from None


def _parse(path: Path, text: bytes, what: str = "saved model") -> dict[str, Any]:
    damaged = DataError(f"{path}: is no manifest of a {what}, or is damaged; restore it from a copy.")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise damaged from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise damaged
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path.parent}: is of format {manifest.get('format')!r}, this version reads format {FORMAT}; load it with the "
            f"version that wrote it ({manifest.get('nnmf', 'unknown')})."
        )
    if manifest.pop("sha256", None) != _digest(manifest):
        raise DataError(f"{path}: was edited or damaged, its checksum is wrong; restore it from a copy.")
    for entry in manifest["files"].values():
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or "sha256" not in entry:
            raise damaged
        if Path(entry["name"]).name != entry["name"]:
            raise DataError(
                f"{path}: names the file {entry['name']!r} outside its folder; this is no folder that {_WRITERS[what]} wrote."
            )
    return manifest


def _check(folder: Path, manifest: dict[str, Any], name: str, whole: bool) -> None:
    entry = manifest["files"][name]
    file = folder / entry["name"]
    try:
        if file.stat().st_size != entry.get("bytes") or (whole and _sha256(file) != entry["sha256"]):
            raise DataError(f"{file}: was edited or damaged, its size or checksum is wrong; restore it from a copy.")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file}: is missing or cannot be read ({reason}); restore it from a copy.") from None


def peek(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder without a look at its files; None where there is none that was written here."""
    try:
        return _parse(folder / MANIFEST, (folder / MANIFEST).read_bytes())
    except (OSError, ValueError):  # a DataError is a ValueError
        return None


def stored(folder: Path, manifest: dict[str, Any], name: str) -> Path:
    """Where a file of the manifest lies."""
    return folder / str(manifest["files"][name]["name"])


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
