"""Finding a known data set's files on this machine, telling them from others, and fetching them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnmf.errors import DataError
from nnmf.files import Progress, cache_dir, check_digest, download, lock, unpack, unreachable

from . import _registry as registry
from ._registry import CSV_HEADER, SYNTHETIC, Dataset, Size

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

_LINE_BYTES = (10, 40)  # a line of a rating has more, and fewer


def find(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, files: Sequence[str] | None = None
) -> Path | None:
    """The folder that holds a dataset's files, or None; neither downloads nor unpacks.

    Looks in ``data_dir``, ``data_dir/NAME``, ``$NNMF_DATA``, ``$NNMF_DATA/NAME`` and ``cache_dir()/NAME``, in that
    order, NAME being the dataset's name or its archive's folder. A folder named after another dataset is passed over;
    so is one whose files are not the published ones by their first line or size, with a warning.

    Parameters
    ----------
    name : str
    data_dir : path, default=None
        Where the user says the files are: then they, or the archive NAME.zip (which ``fetch`` unpacks), must be there.
    files : sequence of str, default=the ratings file
        What a folder must hold, for instance ``DATASETS[name].files("u1")``.

    Returns
    -------
    Path or None

    Raises
    ------
    ConfigError
        Unknown name.
    DataError
        ``data_dir`` was given and does not hold the dataset, or something else under its name.
    """
    dataset = registry.get(name)
    wanted = tuple(files or dataset.files())
    if data_dir is not None:
        given = Path(data_dir)
        folder, faults = _first(_below(given, dataset), dataset, wanted)
        if folder is None and not _is_file(given / f"{name}.zip"):
            names = " and ".join(wanted)
            if faults:
                raise DataError(
                    f"{name}: {given} does not hold {names} as published ({faults[0][1]}); "
                    f"name the file itself as dataset to take it as it is, or {_way_out(name)}"
                )
            state = "does not hold" if given.is_dir() else "is no folder, so it cannot hold"
            raise DataError(f"{name}: {given} {state} {names}, or {name}.zip; {_way_out(name)}")
        _warn(dataset, faults)
        if folder:
            return folder
    places: list[Path] = []
    if data_dir is None and (variable := os.environ.get("NNMF_DATA")):
        places += _below(Path(variable), dataset)
    # An archive that was given and has no digest may be another version than the cached one: it is unpacked again.
    if data_dir is None or dataset.sha256 or dataset.md5:
        places.append(cache_dir() / name)
    folder, faults = _first(places, dataset, wanted)
    _warn(dataset, faults)
    return folder


def fetch(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    session: requests.Session | None = None,
    *,
    files: Sequence[str] | None = None,
    patient: bool = True,
) -> Path:
    """The folder that holds a dataset's files: found, or unpacked from its archive into the cache.

    The archive is NAME.zip in ``data_dir``, ``$NNMF_DATA`` or the cache, else it is downloaded; its digest is checked
    in each case. Processes that start together download once.

    Parameters
    ----------
    name : str
    data_dir, files
        As for `find`.
    progress, session
        As for `nnmf.files.download`.
    patient : bool, default=True
        False gives up after some seconds where the server does not answer at all.

    Returns
    -------
    Path

    Raises
    ------
    ConfigError
        Unknown name.
    DataError
        Whatever failed, in one sentence with the ways to go on offline; another dataset is never put in its place.
    """
    dataset = registry.get(name)
    if folder := find(name, data_dir, files=files):
        return folder
    cache = cache_dir()
    try:
        with lock(cache / f"{name}.lock"):
            if folder := find(name, data_dir, files=files):  # another process was faster
                return folder
            variable = os.environ.get("NNMF_DATA")
            places = [Path(data_dir)] if data_dir is not None else [*([Path(variable)] if variable else []), cache]
            archive = next((path for place in places if _is_file(path := place / f"{name}.zip")), None)
            if not (dataset.sha256 or dataset.md5):
                log.info("%s changes over time and has no published digest: only the archive's CRCs are checked", name)
            if archive is not None:
                check_digest(archive, sha256=dataset.sha256, md5=dataset.md5)
                return _unpacked(archive, dataset)
            if not patient and (reason := unreachable(dataset.url)):
                raise DataError(reason)
            archive = cache / f"{name}.zip"
            log.info("downloading %s to %s (%s)", dataset.url, cache, dataset.licence)
            download(dataset.url, archive, sha256=dataset.sha256, md5=dataset.md5, progress=progress, session=session)
            try:
                return _unpacked(archive, dataset)
            finally:
                archive.unlink(missing_ok=True)
    except DataError as error:
        if _way_out(name) in str(error):
            raise
        raise DataError(f"{name}: {error}; {_way_out(name)}") from error


def check_count(dataset: Dataset, path: Path, n_ratings: int) -> None:
    """Compare the ratings that were read from a file of a dataset with those it was published with.

    Parameters
    ----------
    dataset : Dataset
    path : Path
    n_ratings : int

    Raises
    ------
    DataError
        Too few or too many.
    """
    size = dataset.sizes.get(path.name)
    if size and not size.least <= n_ratings <= size.most:
        raise DataError(
            f"{path} is not {dataset.name}'s: it holds {n_ratings:,} ratings instead of {_count(size)}; "
            f"name the file itself as dataset to take it as it is, or {_way_out(dataset.name)}"
        )


def _unpacked(archive: Path, dataset: Dataset) -> Path:
    folder = unpack(archive, dataset.members, cache_dir() / dataset.name)
    if not (dataset.sha256 or dataset.md5) and (fault := _fault(folder / dataset.ratings_file, dataset)):
        raise DataError(f"{archive} is not what was expected ({fault})")
    return folder


def _way_out(name: str) -> str:
    return f"put {name}.zip or its files in --data-dir or $NNMF_DATA, or use --dataset {SYNTHETIC}"


def _below(place: Path, dataset: Dataset) -> list[Path]:
    return [place, *(place / folder for folder in dict.fromkeys((dataset.name, dataset.archive_folder)))]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered
        return False


_Faults = list[tuple[Path, str]]  # folders that were passed over, each with what is wrong


def _first(folders: Sequence[Path], dataset: Dataset, files: Sequence[str]) -> tuple[Path | None, _Faults]:
    """The first of some folders with the published files, and the faulty ones before it."""
    faults: _Faults = []
    for folder in folders:
        if not _holds(folder, dataset, files):
            continue
        fault = next(filter(None, (_fault(folder / file, dataset) for file in files)), None)
        if fault is None:
            return folder, faults
        faults.append((folder, fault))
    return None, faults


def _warn(dataset: Dataset, faults: _Faults) -> None:
    for folder, fault in faults:
        log.warning("%s: %s is passed over, %s", dataset.name, folder, fault)


def _holds(folder: Path, dataset: Dataset, files: Sequence[str]) -> bool:
    """Whether all files are there by their names, in a folder that is not named after another dataset."""
    others = [other for other in registry.DATASETS.values() if other.name != dataset.name]
    if any(folder.name in (other.name, other.archive_folder) for other in others):
        return False
    return all(_is_file(folder / file) for file in files)


def _fault(path: Path, dataset: Dataset) -> str | None:
    """A clause on what tells a file from the published one at a glance, by its first line and size; None for nothing."""
    size = dataset.sizes.get(path.name)
    if size is None:  # no file of ratings
        return None
    try:
        n_bytes = path.stat().st_size
        with path.open(encoding="latin-1") as lines:
            head = [lines.readline(200).rstrip("\r\n") for _ in range(2)]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror})") from error
    if path.name == dataset.ratings_file:
        others = [other for other in registry.DATASETS.values() if other.name != dataset.name]
        if other := next((other for other in others if other.first_line in head), None):
            return f"it holds {other.name}"
        changes = size.least < size.most
        expected = [*([CSV_HEADER] if dataset.header else []), *([] if changes else [dataset.first_line])]
        for found, line in zip(head, expected, strict=False):
            if found != line:
                return f"{path} begins with {found!r} instead of {line!r}"
    if not _plausible(n_bytes, size):
        published = "" if size.n_bytes is None else f"{size.n_bytes:,} bytes of "
        return f"{path} has {n_bytes:,} bytes instead of the {published}{_count(size)} ratings"
    return None


def _plausible(n_bytes: int, size: Size) -> bool:
    if size.n_bytes is None:
        return size.least * _LINE_BYTES[0] <= n_bytes <= size.most * _LINE_BYTES[1]
    # Line ends may have been converted, either way, and the last one lost; there may be a header.
    changes = (-size.most - 1, 0, size.most + 1)
    return any(abs(n_bytes - size.n_bytes - change) <= 3 for change in changes)


def _count(size: Size) -> str:
    return f"{size.least:,}" if size.least == size.most else f"{size.least:,} to {size.most:,}"
