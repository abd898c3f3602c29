"""What the cache holds of the known data sets: seeing it and giving the room back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from nnmf.errors import DataError
from nnmf.files import cache_dir, lock

from . import _registry as registry
from ._registry import Dataset


def cached_datasets() -> dict[str, int]:
    """The data sets that lie in the cache, unpacked or on their way.

    Returns
    -------
    dict of str to int
        Their bytes by name; sets without any are left out.
    """
    sizes = {name: sum(path.stat().st_size for path in _files(dataset)) for name, dataset in registry.DATASETS.items()}
    return {name: size for name, size in sizes.items() if size}


def clear_datasets() -> int:
    """Remove the data sets from the cache; they are fetched again when they are wanted, and other files stay.

    Returns
    -------
    int
        The bytes that were removed.

    Raises
    ------
    DataError
        A file that cannot be removed.
    """
    removed = 0
    for name in cached_datasets():
        with lock(cache_dir() / f"{name}.lock"):  # not while another process unpacks
            dataset = registry.get(name)
            try:
                for path in list(_files(dataset)):
                    size = path.stat().st_size
                    path.unlink()
                    removed += size
                for folder in cache_dir().glob(f".{name}-*"):
                    shutil.rmtree(folder)
                folder = cache_dir() / name
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
            except OSError as error:
                raise DataError(f"{error.filename}: cannot be removed ({error.strerror}).") from error
    return removed


def _files(dataset: Dataset) -> Iterator[Path]:
    """The files of a set in the cache: those that were unpacked, an archive, and what a killed process left."""
    cache, archive = cache_dir(), f"{dataset.name}.zip"
    paths = [cache / dataset.name / member for member in dataset.members]
    paths += [cache / archive, cache / f"{archive}.part", cache / f"{archive}.part.etag"]
    paths += cache.glob(f".{dataset.name}-*/**/*")
    return (path for path in paths if path.is_file())
