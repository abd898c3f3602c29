"""The public data sets this package knows: where they come from, how their files are laid out, and how to get them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmf.errors import ConfigError, DataError, one_of
from nnmf.files import Progress, cache_dir, check_digest, download, lock, unpack

if TYPE_CHECKING:
    import requests

SYNTHETIC = "synthetic"  # the embedded table of nnmf.synthetic: it has no files, so it is not in DATASETS

_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872"
)
_LICENCE = (
    "GroupLens Research, University of Minnesota: for research under the terms of its README; commercial use, and for "
    "some sets redistribution, needs permission"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A published set of ratings.

    Attributes
    ----------
    name, url : str
    archive_folder : str
        The top folder inside the archive, where it is not ``name``.
    sha256, md5 : str or None
        Digests of the archive; where both are known the SHA-256 is checked. None for a set whose archive changes.
    members : tuple of str
        The files that are unpacked, by their names below the archive's folder.
    ratings_file : str
        One rating a line: user id, item id, rating, timestamp (seconds since 1970).
    delimiter : str
        Of ``ratings_file`` and the folds.
    header : bool
        Whether ``ratings_file`` starts with a line of column names.
    folds : mapping of str to (train file, test file)
        The published splits; empty for most sets.
    rating_scale : (float, float)
        The smallest and the largest rating.
    n_users, n_items, n_ratings : int
        As published: n_items counts the lines of ``item_file`` (some items have no rating), and of ml-10m's users
        69,878 have ratings. For ml-latest-small: as of September 2018.
    item_file, item_format, item_encoding : str
        Formats: ``u.item``, ``dat`` (``id::title::genre|genre``), ``csv`` (quoted, with a header).
    licence, citation : str
        One line each.
    first_line : str
        The first rating of ``ratings_file``, by which files of the same name are told apart.
    """

    name: str
    url: str
    archive_folder: str
    members: tuple[str, ...]
    ratings_file: str
    delimiter: str
    header: bool
    n_users: int
    n_items: int
    n_ratings: int
    item_file: str
    item_format: str
    first_line: str
    item_encoding: str = "utf-8"
    rating_scale: tuple[float, float] = (0.5, 5.0)
    sha256: str | None = None
    md5: str | None = None
    licence: str = _LICENCE
    citation: str = _CITATION
    folds: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)

    def files(self, fold: str | None = None) -> tuple[str, ...]:
        """The rating files of the whole set (default) or of a fold: (train, test). ConfigError for a wrong fold."""
        if fold is None:
            return (self.ratings_file,)
        if not self.folds:
            raise ConfigError(f"fold: got {fold!r}, but {self.name} is published without folds")
        if fold not in self.folds:
            raise ConfigError(one_of(fold, self.folds, "fold"))
        return self.folds[fold]


_FOLDS = {fold: (f"{fold}.base", f"{fold}.test") for fold in ("u1", "u2", "u3", "u4", "u5", "ua", "ub")}


_LAYOUTS: dict[str, dict[str, Any]] = {
    "u.item": {"ratings_file": "u.data", "delimiter": "\t", "header": False, "item_file": "u.item"},
    "dat": {"ratings_file": "ratings.dat", "delimiter": "::", "header": False, "item_file": "movies.dat"},
    "csv": {"ratings_file": "ratings.csv", "delimiter": ",", "header": True, "item_file": "movies.csv"},
}


def _movielens(
    name: str, layout: str, sizes: tuple[int, int, int], *, also: Sequence[str], folder: str = "", **rest: Any
) -> Dataset:
    files = _LAYOUTS[layout]
    n_users, n_items, n_ratings = sizes
    return Dataset(
        name=name,
        url=f"https://files.grouplens.org/datasets/movielens/{name}.zip",
        archive_folder=folder or name,
        members=(files["ratings_file"], files["item_file"], *also),
        n_users=n_users,
        n_items=n_items,
        n_ratings=n_ratings,
        item_format=layout,
        **files,
        **rest,
    )


_ALL = (
    _movielens(
        "ml-100k",
        "u.item",
        (943, 1682, 100_000),
        also=("README", "u.genre", *(file for pair in _FOLDS.values() for file in pair)),
        sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        md5="0e33842e24a9c977be4e0107933c0723",
        rating_scale=(1.0, 5.0),
        item_encoding="latin-1",
        first_line="196\t242\t3\t881250949",
        folds=_FOLDS,
    ),
    _movielens(
        "ml-1m",
        "dat",
        (6040, 3883, 1_000_209),
        also=("README",),
        sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        md5="c4d9eecfca2ab87c1945afe126590906",
        rating_scale=(1.0, 5.0),
        item_encoding="latin-1",
        first_line="1::1193::5::978300760",
    ),
    _movielens(
        "ml-10m",
        "dat",
        (71_567, 10_681, 10_000_054),
        folder="ml-10M100K",
        also=("README.html",),
        sha256="813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862",
        md5="ce571fd55effeba0271552578f2648bd",
        first_line="1::122::5::838985046",
    ),
    _movielens(
        "ml-20m",
        "csv",
        (138_493, 27_278, 20_000_263),
        also=("README.txt",),
        md5="cd245b17a1ae2cc31bb14903e1204af3",
        first_line="1,2,3.5,1112486027",
    ),
    _movielens(
        "ml-25m",
        "csv",
        (162_541, 62_423, 25_000_095),
        also=("README.txt",),
        md5="6b51fb2759a8657d3bfcbfc42b592ada",
        first_line="1,296,5.0,1147880044",
    ),
    _movielens("ml-latest-small", "csv", (610, 9742, 100_836), also=("README.txt",), first_line="1,1,4.0,964982703"),
)

DATASETS: Mapping[str, Dataset] = {dataset.name: dataset for dataset in _ALL}


def get(name: str) -> Dataset:
    """The registry's entry; ConfigError for an unknown name and for ``synthetic``, which has no files."""
    if name == SYNTHETIC:
        raise ConfigError(f"dataset: {SYNTHETIC} is drawn by nnmf.synthetic and has no files")
    if name not in DATASETS:
        raise ConfigError(one_of(name, [*DATASETS, SYNTHETIC], "dataset"))
    return DATASETS[name]


def find(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, files: Sequence[str] | None = None
) -> Path | None:
    """The folder that holds a dataset's files, or None; neither downloads nor unpacks.

    Looks in ``data_dir``, ``data_dir/NAME``, ``$NNMF_DATA``, ``$NNMF_DATA/NAME`` and ``cache_dir()/NAME``, in that
    order, NAME being the dataset's name or its archive's folder. A folder named after another dataset, or holding the
    ratings of one (several sets use the same file names), is passed over.

    Parameters
    ----------
    name : str
    data_dir : path, default=None
        Where the user says the files are: then they, or the archive NAME.zip (which ``fetch`` unpacks), must be there.
    files : sequence of str, default=the ratings file
        What a folder must hold, for instance ``DATASETS[name].files("u1")``.

    Raises
    ------
    ConfigError
        Unknown name.
    DataError
        ``data_dir`` was given and does not hold the dataset.
    """
    dataset = get(name)
    wanted = tuple(files or dataset.files())
    if data_dir is not None:
        given = Path(data_dir)
        for folder in _below(given, dataset):
            if _holds(folder, dataset, wanted):
                return folder
        if not _is_file(given / f"{name}.zip"):
            state = "does not hold" if given.is_dir() else "is no folder, so it cannot hold"
            raise DataError(f"{name}: {given} {state} {' and '.join(wanted)}, or {name}.zip; {_way_out(name)}")
    places: list[Path] = []
    if data_dir is None and (variable := os.environ.get("NNMF_DATA")):
        places += _below(Path(variable), dataset)
    # An archive that was given and has no digest may be another version than the cached one: it is unpacked again.
    if data_dir is None or dataset.sha256 or dataset.md5:
        places.append(cache_dir() / name)
    return next((folder for folder in places if _holds(folder, dataset, wanted)), None)


def fetch(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    session: requests.Session | None = None,
    *,
    files: Sequence[str] | None = None,
) -> Path:
    """The folder that holds a dataset's files: found, or unpacked from its archive into the cache.

    The archive is NAME.zip in ``data_dir``, ``$NNMF_DATA`` or the cache, else it is downloaded; its digest is checked
    in each case. Processes that start together download once. See ``find`` for ``data_dir`` and ``files`` and
    ``nnmf.files.download`` for ``progress`` and ``session``.

    Raises
    ------
    ConfigError
        Unknown name.
    DataError
        Whatever failed, in one sentence with the ways to go on offline; another dataset is never put in its place.
    """
    dataset = get(name)
    if folder := find(name, data_dir, files=files):
        return folder
    cache = cache_dir()
    target = cache / name
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
                return unpack(archive, dataset.members, target)
            archive = cache / f"{name}.zip"
            log.info("downloading %s to %s (%s)", dataset.url, cache, dataset.licence)
            download(dataset.url, archive, sha256=dataset.sha256, md5=dataset.md5, progress=progress, session=session)
            try:
                return unpack(archive, dataset.members, target)
            finally:
                archive.unlink(missing_ok=True)
    except DataError as error:
        if _way_out(name) in str(error):
            raise
        raise DataError(f"{name}: {error}; {_way_out(name)}") from error


def _way_out(name: str) -> str:
    return f"put {name}.zip or its files in --data-dir or $NNMF_DATA, or use --dataset {SYNTHETIC}"


def _below(place: Path, dataset: Dataset) -> list[Path]:
    return [place, *(place / folder for folder in dict.fromkeys((dataset.name, dataset.archive_folder)))]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered
        return False


def _holds(folder: Path, dataset: Dataset, files: Sequence[str]) -> bool:
    own = {dataset.name, dataset.archive_folder}
    others = [other for other in DATASETS.values() if other.name != dataset.name]
    if any(folder.name in (other.name, other.archive_folder) for other in others):
        return False
    if not all(_is_file(folder / file) for file in files):
        return False
    if folder.name in own or not _is_file(folder / dataset.ratings_file):
        return True
    try:
        with (folder / dataset.ratings_file).open(encoding="latin-1") as lines:
            head = [lines.readline(200).rstrip("\r\n") for _ in range(2)]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror})") from error
    if other := next((other for other in others if other.first_line in head), None):
        log.warning("%s: %s is passed over, it holds %s", dataset.name, folder, other.name)
        return False
    return True
