"""The public data sets this package knows: where they come from, how their files are laid out, and their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnmf.errors import ConfigError, one_of

SYNTHETIC = "synthetic"  # the embedded table of nnmf.synthetic: it has no files, so it is not in DATASETS

_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872"
)
_LICENCE = (
    "GroupLens Research, University of Minnesota: for research under the terms of its README; commercial use, and for "
    "some sets redistribution, needs permission"
)

CSV_HEADER = "userId,movieId,rating,timestamp"


@dataclass(frozen=True)
class Size:
    """What a file of ratings has to hold.

    Attributes
    ----------
    least, most : int
        Numbers of ratings; equal but for a set that changes over time.
    n_bytes : int or None
        Of the published file; None for a set that changes.
    """

    least: int
    most: int
    n_bytes: int | None = None


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
    user_file, user_columns : str or None, tuple of str
        What is known of the users, a line each, and the names of its columns; None where nothing is.
    licence, citation : str
        One line each.
    first_line : str
        The first rating of ``ratings_file``, by which files of the same name are told apart; a set that changes over
        time may begin otherwise.
    sizes : mapping of str to Size
        Of ``ratings_file`` and of the files of the folds.
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
    user_file: str | None = None
    user_columns: tuple[str, ...] = ()
    rating_scale: tuple[float, float] = (0.5, 5.0)
    sha256: str | None = None
    md5: str | None = None
    licence: str = _LICENCE
    citation: str = _CITATION
    folds: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    sizes: Mapping[str, Size] = field(default_factory=dict, hash=False)

    def files(self, fold: str | None = None) -> tuple[str, ...]:
        """The rating files of the whole set (default) or of a fold.

        Parameters
        ----------
        fold : str, default=None

        Returns
        -------
        tuple of str
            ``(ratings_file,)``, or a fold's ``(train file, test file)``.

        Raises
        ------
        ConfigError
            A fold that the set does not have.
        """
        if fold is None:
            return (self.ratings_file,)
        if not self.folds:
            raise ConfigError(f"fold: got {fold!r}, but {self.name} is published without folds; use split.")
        if fold not in self.folds:
            raise ConfigError(one_of(fold, self.folds, "fold"))
        return self.folds[fold]


_FOLDS = {fold: (f"{fold}.base", f"{fold}.test") for fold in ("u1", "u2", "u3", "u4", "u5", "ua", "ub")}
_FOLD_BYTES = {  # train, test
    "u1": (1_586_544, 392_629),
    "u2": (1_583_948, 395_225),
    "u3": (1_582_546, 396_627),
    "u4": (1_581_878, 397_295),
    "u5": (1_581_776, 397_397),
    "ua": (1_792_501, 186_672),
    "ub": (1_792_476, 186_697),
}
_FOLD_RATINGS = {"u": (80_000, 20_000), "ua": (90_570, 9_430), "ub": (90_570, 9_430)}
_FOLD_SIZES = {
    file: Size(n_ratings, n_ratings, n_bytes)
    for fold, files in _FOLDS.items()
    for file, n_ratings, n_bytes in zip(
        files, _FOLD_RATINGS.get(fold, _FOLD_RATINGS["u"]), _FOLD_BYTES[fold], strict=True
    )
}

_LAYOUTS: dict[str, dict[str, Any]] = {
    "u.item": {"ratings_file": "u.data", "delimiter": "\t", "header": False, "item_file": "u.item"},
    "dat": {"ratings_file": "ratings.dat", "delimiter": "::", "header": False, "item_file": "movies.dat"},
    "csv": {"ratings_file": "ratings.csv", "delimiter": ",", "header": True, "item_file": "movies.csv"},
}


def _movielens(
    name: str,
    layout: str,
    counts: tuple[int, int, int],
    size: Size | int,
    *,
    also: Sequence[str],
    folder: str = "",
    folds: Mapping[str, tuple[str, str]] | None = None,
    fold_sizes: Mapping[str, Size] | None = None,
    **rest: Any,
) -> Dataset:
    """An entry; ``counts`` are (users, items, ratings), ``size`` is that of the ratings file, or its bytes."""
    files = _LAYOUTS[layout]
    n_users, n_items, n_ratings = counts
    size = size if isinstance(size, Size) else Size(n_ratings, n_ratings, size)
    return Dataset(
        name=name,
        url=f"https://files.grouplens.org/datasets/movielens/{name}.zip",
        archive_folder=folder or name,
        members=(files["ratings_file"], files["item_file"], *also),
        n_users=n_users,
        n_items=n_items,
        n_ratings=n_ratings,
        item_format=layout,
        folds=folds or {},
        sizes={files["ratings_file"]: size, **(fold_sizes or {})},
        **files,
        **rest,
    )


_ALL = (
    _movielens(
        "ml-100k",
        "u.item",
        (943, 1682, 100_000),
        1_979_173,
        also=("README", "u.genre", "u.user", *(file for pair in _FOLDS.values() for file in pair)),
        sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        md5="0e33842e24a9c977be4e0107933c0723",
        rating_scale=(1.0, 5.0),
        item_encoding="latin-1",
        user_file="u.user",
        user_columns=("id", "age", "gender", "occupation", "zip"),
        first_line="196\t242\t3\t881250949",
        folds=_FOLDS,
        fold_sizes=_FOLD_SIZES,
    ),
    _movielens(
        "ml-1m",
        "dat",
        (6040, 3883, 1_000_209),
        24_594_131,
        also=("README", "users.dat"),
        sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        md5="c4d9eecfca2ab87c1945afe126590906",
        rating_scale=(1.0, 5.0),
        item_encoding="latin-1",
        user_file="users.dat",
        user_columns=("id", "gender", "age", "occupation", "zip"),
        first_line="1::1193::5::978300760",
    ),
    _movielens(
        "ml-10m",
        "dat",
        (71_567, 10_681, 10_000_054),
        265_105_635,
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
        533_444_411,
        also=("README.txt",),
        md5="cd245b17a1ae2cc31bb14903e1204af3",
        first_line="1,2,3.5,1112486027",
    ),
    _movielens(
        "ml-25m",
        "csv",
        (162_541, 62_423, 25_000_095),
        678_260_987,
        also=("README.txt",),
        md5="6b51fb2759a8657d3bfcbfc42b592ada",
        first_line="1,296,5.0,1147880044",
    ),
    _movielens(
        "ml-latest-small",
        "csv",
        (610, 9742, 100_836),
        Size(50_000, 200_000),  # "100,000 ratings", whatever the year
        also=("README.txt",),
        first_line="1,1,4.0,964982703",
    ),
)

DATASETS: Mapping[str, Dataset] = {dataset.name: dataset for dataset in _ALL}


def get(name: str) -> Dataset:
    """The registry's entry.

    Parameters
    ----------
    name : str

    Raises
    ------
    ConfigError
        An unknown name, or ``synthetic``, which has no files.
    """
    if name == SYNTHETIC:
        raise ConfigError(f"dataset: {SYNTHETIC} is drawn by nnmf.synthetic and has no files")
    if name not in DATASETS:
        raise ConfigError(one_of(name, [*DATASETS, SYNTHETIC], "dataset"))
    return DATASETS[name]
