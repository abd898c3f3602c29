"""Where the ratings of a `DataConfig` come from, and which of its settings mean something there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnmf.config import DataConfig
from nnmf.errors import ConfigError, one_of

from . import _registry as registry

DEFAULT_DATASET, DEFAULT_FOLD = "ml-100k", "u1"
#: settings that say where files are, which may change between a run and its resumption
MOVABLE = ("dataset", "data_dir", "train_file", "test_file", "user_features", "item_features")
_FEATURES = ("user_features", "item_features")
_PLACES = ("dataset", "train_file", "test_file", "sql", "fold", "data_dir", *_FEATURES)
_PARTING = ("train_file", "test_file", "fold", "split", "split_by", "split_seed", "valid_fraction")
_WITHOUT_DELIMITER = {".parquet", ".pq", ".json", ".jsonl", ".ndjson"}


@dataclass(frozen=True)
class Source:
    """Where ratings come from.

    Attributes
    ----------
    kind : str
        ``published`` (a dataset of the registry), ``synthetic``, ``file``, ``folder`` (of a stored table), ``files`` (train and
        test) or ``sql``.
    name : str
        What messages call it.
    fold : str or None
        The fold of a published dataset that is taken, given or by default.
    """

    kind: str
    name: str
    fold: str | None = None

    @property
    def test(self) -> str | None:
        """Where its own test ratings come from, in words; None for ratings that are to be split."""
        if self.kind == "files":
            return "test_file"
        return f"{self.name}'s fold {self.fold}" if self.fold else None


def source_of(config: DataConfig, *, whole: bool = False) -> Source:
    """Where the ratings of a config come from; without any name, from the default dataset.

    Parameters
    ----------
    config : DataConfig
    whole : bool, default=False
        Whether they are asked for in one table, so that no setting may part them.

    Returns
    -------
    Source

    Raises
    ------
    ConfigError
        Two places, half of a pair of files, a name that is neither a dataset nor a file, or a setting that would have
        no effect.
    """
    for setting in _PLACES:
        value = getattr(config, setting)
        if value is not None and not value.strip():
            raise ConfigError(f"{setting}: got an empty text; give one that names something, or leave it out.")
    if whole:
        _refuse(config, dict.fromkeys(_PARTING, "has no effect on a whole table; leave it out, or use load_tables."))
    given = [setting for setting in ("dataset", "train_file", "sql") if getattr(config, setting) is not None]
    if len(given) > 1:
        raise ConfigError(f"{given[1]}: names ratings, and so does {given[0]}; give one of them.")
    if config.test_file is not None and config.train_file is None:
        raise ConfigError("test_file: comes with train_file, the ratings to train on; give both.")
    for setting in _FEATURES:
        path = getattr(config, setting)
        if path is not None and not _exists(path):
            raise ConfigError(f"{setting}: got {path!r}; there is no such file.")
    source = _named(config, whole)
    _refuse(config, _WITHOUT_EFFECT[source.kind], source.name)
    _check_delimiter(config)
    _check_split(config, source)
    return source


def moved(config: DataConfig, places: Mapping[str, str]) -> DataConfig:
    """The config of a run, its files being elsewhere now.

    Parameters
    ----------
    config : DataConfig
        Of the run, as `Tables.config` gave it.
    places : mapping of str to str
        Some of ``MOVABLE``. ``data_dir`` is the folder that holds the dataset's files, or the files that the run was
        trained on under their old names; the others are a file's new path.

    Returns
    -------
    DataConfig
        Whether its ratings are still those of the run is for who goes on with it to check.
    """
    changes: dict[str, str | None] = dict(places)
    files = [name for name in ("dataset", "train_file", "test_file") if _is_path(getattr(config, name))]
    if folder := places.get("data_dir"):
        if files:
            del changes["data_dir"]
            for name in [*files, *(name for name in _FEATURES if getattr(config, name))]:
                changes.setdefault(name, str(Path(folder) / Path(getattr(config, name)).name))
    elif "dataset" in places and _is_path(places["dataset"]):
        changes["data_dir"] = None  # where a published set was, which is read as a file now
    return DataConfig.from_dict({**config.to_dict(), **changes})


def _is_path(name: str | None) -> bool:
    return name is not None and name not in (*registry.DATASETS, registry.SYNTHETIC)


def _named(config: DataConfig, whole: bool) -> Source:
    if config.sql is not None:
        return Source("sql", "a query")
    if config.train_file is not None:
        if config.test_file is None:
            raise ConfigError("train_file: comes with test_file; give both, or one file as dataset, which is split.")
        for setting, path in (("train_file", config.train_file), ("test_file", config.test_file)):
            if not _exists(path):
                raise ConfigError(f"{setting}: got {path!r}; there is no such file.")
        if Path(config.train_file).resolve() == Path(config.test_file).resolve():
            raise ConfigError(f"test_file: got {config.test_file!r}, the train_file itself; give other ratings.")
        return Source("files", f"{Path(config.train_file).name}")
    name = DEFAULT_DATASET if config.dataset is None else config.dataset
    if name == registry.SYNTHETIC:
        return Source("synthetic", name)
    if name in registry.DATASETS:
        fold = config.fold
        if fold is None and config.split is None and name == DEFAULT_DATASET and not whole:
            fold = DEFAULT_FOLD
        return Source("published", name, fold)
    if not _exists(name):
        raise ConfigError(
            one_of(name, [*registry.DATASETS, registry.SYNTHETIC], "dataset") + ", and there is no such file."
        )
    return Source("folder" if Path(name).is_dir() else "file", name)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name that no file can have, a folder that may not be entered
        return False


_NO_FOLDS = "{name} has no folds of its own; use split."
_AS_PUBLISHED = "{name} is read as it was published; leave it out, or give the file itself as dataset."
_DRAWN = "{name} is drawn, not read from files; leave it out."
_NO_FOLDER = "{name} is not looked for in a folder; leave it out, and give whole paths."
_IN_QUERY = "a query says itself what it reads; leave it out, and say it there: SELECT customer AS user, ..."
_CONVERTED = "{name} is a table that was converted; leave it out, and give it to nnmf.data convert."
_MAPPED = "{name} is mapped, not kept in the cache; leave it out."
_NOT_KEPT = "what a query gives is not kept in the cache; leave it out."
_OWN_TEST = "the test ratings are those of test_file; leave it out, or give the one file as dataset."

# Settings without effect, by kind of source, each with what to do.
_WITHOUT_EFFECT: dict[str, dict[str, str]] = {
    "published": dict.fromkeys(("delimiter", "columns", "on_error", "duplicates"), _AS_PUBLISHED),
    "synthetic": {
        "fold": _NO_FOLDS,
        **dict.fromkeys(("data_dir", "delimiter", "columns", "on_error", "duplicates", "cache"), _DRAWN),
    },
    "file": {"fold": _NO_FOLDS, "data_dir": _NO_FOLDER},
    "folder": {
        "fold": _NO_FOLDS,
        "data_dir": _NO_FOLDER,
        **dict.fromkeys(("delimiter", "columns", "on_error", "duplicates"), _CONVERTED),
        "cache": _MAPPED,
    },
    "files": {"fold": _OWN_TEST, "split": _OWN_TEST, "data_dir": _NO_FOLDER},
    "sql": {
        "fold": _NO_FOLDS,
        **dict.fromkeys(("data_dir", "delimiter", "columns", "on_error"), _IN_QUERY),
        "cache": _NOT_KEPT,
    },
}


def _refuse(config: DataConfig, without_effect: Mapping[str, str], name: str = "") -> None:
    """Refuse the first setting that was given among those without effect."""
    for setting, reason in without_effect.items():
        if getattr(config, setting) != getattr(DataConfig, setting):  # a setting's default
            raise ConfigError(f"{setting}: {reason.format(name=name)}")


def _check_delimiter(config: DataConfig) -> None:
    for path in (config.dataset, config.train_file, config.test_file):
        if config.delimiter is not None and path is not None and _format(path) in _WITHOUT_DELIMITER:
            raise ConfigError(f"delimiter: {path} has no delimiter between fields; leave it out.")


def _format(path: str) -> str:
    """The ending that tells a file's format, that of its compression left out."""
    name = Path(path.lower())
    return name.with_suffix("").suffix if name.suffix in (".gz", ".zst") else name.suffix


def _check_split(config: DataConfig, source: Source) -> None:
    """Refuse settings of a split where nothing is split, or not by drawing."""
    if config.fold is not None and config.split is not None:
        raise ConfigError("fold: comes with its own test table, so it does not go with split; give one of them.")
    if source.test and not config.valid_fraction:
        # A split does not go with what was asked for: test ratings of its own.
        asked = source.kind == "files" or config.fold is not None
        way_out = "valid_fraction" if asked else "split or valid_fraction"
        nothing = f"nothing is split, for the test ratings are those of {{name}}; leave it out, or give {way_out} too."
        _refuse(config, dict.fromkeys(("split_by", "split_seed"), nothing), source.test)
    if config.split_by == "time" and config.split_seed is not None:
        raise ConfigError("split_seed: a split by time draws nothing; leave it out, or give another split_by.")
