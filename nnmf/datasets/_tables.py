"""From a `DataConfig` to the tables a run trains, validates and tests on."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnmf.config import DataConfig, columns_of
from nnmf.errors import DataError
from nnmf.tables import Ratings, Statistics, statistics

from . import _fetching as fetching
from . import _registry as registry
from ._features import features_of
from ._registry import Dataset
from ._sources import DEFAULT_DATASET, MOVABLE, Source, source_of

logger = logging.getLogger("nnmf")

_DEFAULT_SPLIT = 0.8


@dataclass(frozen=True)
class Tables:
    """The tables of a run.

    Attributes
    ----------
    config : DataConfig
        What gives these tables again, from any folder: its dataset is named and its paths are whole.
    name : str
        The dataset and how it was split: what every line, file and report calls it.
    statistics : Statistics or None
        Of the table before it was split; None where the test ratings came in a file of their own.
    train : Ratings
    valid : Ratings or None
        Held out of the training ratings to choose the epoch by; None without ``valid_fraction``. The test ratings
        choose nothing.
    test : Ratings
        Mapped through the training table's ids.
    best_rmse : float or None
        The RMSE that knowing the truth would reach, where it is known (the synthetic table's noise).
    """

    config: DataConfig
    name: str
    statistics: Statistics | None
    train: Ratings
    valid: Ratings | None
    test: Ratings
    best_rmse: float | None = None


def load_table(config: DataConfig) -> tuple[Ratings, float | None]:
    """The whole table of a config's dataset, file or query.

    Parameters
    ----------
    config : DataConfig

    Returns
    -------
    ratings : Ratings
    best_rmse : float or None
        Its known best RMSE.

    Raises
    ------
    ConfigError
        An unknown dataset, or a setting that has no effect here.
    DataError
        A table that cannot be had or read, or is not the dataset it is named after.
    """
    source = source_of(config, whole=True)
    if source.kind == "published" and config.dataset is None:
        config = _reachable(config, source)
        source = source_of(config, whole=True)
    ratings, best_rmse = _whole(config, source)
    return ratings.with_features(*features_of(config, source, published=False)), best_rmse


def load_tables(config: DataConfig, *, features: bool = False) -> Tables:
    """The train, validation and test tables of a config.

    Without ``fold`` and ``split``, ml-100k is taken at its fold u1 and any other table at a split of 0.8.

    Parameters
    ----------
    config : DataConfig
    features : bool, default=False
        Whether the tables carry what a known dataset tells of its users and items (age, gender, occupation and the first
        character of the zip code; year and genres); files of features that the config names they carry in any case.

    Returns
    -------
    Tables

    Raises
    ------
    ConfigError
        As `load_table`; a fold that the dataset does not have.
    DataError
        As `load_table`.
    """
    source = source_of(config)
    if source.kind == "published" and config.dataset is None:
        config = _reachable(config, source)
        source = source_of(config)
    best_rmse, found = None, None
    if source.kind == "files":
        train, test = _load_files(config)
        label = f"{train.name} tested on {test.name}"
    elif source.fold is not None:
        train, test = _load_fold(source.name, source.fold, config)
        label = f"{source.name}/{source.fold}"
    else:
        whole, best_rmse = _whole(config, source)
        fraction = config.split or _DEFAULT_SPLIT
        train, test = _split(whole, fraction, config)
        by = "" if config.split_by in (None, "rating") else f" by {config.split_by}"
        found = statistics(whole)
        label = f"{whole.name} {fraction:g}/{1 - fraction:.3g}{by}"
    valid = None
    if config.valid_fraction:
        train, valid = _split(train, 1 - config.valid_fraction, config)
        test = test.mapped(train)
    users, items = features_of(config, source, published=features)
    if users or items:
        train = train.with_features(users, items)
        # The same objects, and ids of which nothing is known are not logged again.
        test = replace(test, user_features=users, item_features=items)
        valid = valid and replace(valid, user_features=users, item_features=items)
    return Tables(_anywhere(config, source), label, found, train, valid, test, best_rmse)


def _file_options(config: DataConfig) -> dict[str, Any]:
    """What a file of the user's own is read with."""
    columns = None if config.columns is None else columns_of(config.columns)
    return {
        "delimiter": config.delimiter,
        "columns": columns,
        "on_error": config.on_error or "raise",
        "duplicates": config.duplicates or "error",
        "cache": config.cache,
    }


def _whole(config: DataConfig, source: Source) -> tuple[Ratings, float | None]:
    if source.kind == "synthetic":
        from ._synthetic import synthetic

        drawn = synthetic()
        columns = drawn.user_ids, drawn.item_ids, drawn.rating, drawn.timestamp
        return Ratings.from_arrays(*columns, name=source.name, scale=(1.0, 5.0)), drawn.noise_rmse
    if source.kind == "sql":
        return Ratings.from_sql(config.sql or "", duplicates=config.duplicates or "error"), None
    if source.kind == "published":
        dataset = registry.get(source.name)
        folder = fetching.fetch(source.name, config.data_dir)
        return _published(dataset, folder / dataset.ratings_file, config, name=source.name), None
    if source.kind == "folder":
        return Ratings.open(source.name), None
    return Ratings.from_file(source.name, **_file_options(config)), None


def _published(dataset: Dataset, path: Path, config: DataConfig, name: str, like: Ratings | None = None) -> Ratings:
    """The ratings of a file of a dataset, as many as were published."""
    table = Ratings.from_file(
        path,
        delimiter=dataset.delimiter,
        header=dataset.header,
        scale=dataset.rating_scale,
        name=name,
        like=like,
        cache=config.cache,
    )
    fetching.check_count(dataset, path, len(table))
    return table


def _load_fold(name: str, fold: str, config: DataConfig) -> tuple[Ratings, Ratings]:
    dataset = registry.get(name)
    files = dataset.files(fold)
    folder = fetching.fetch(name, config.data_dir, files=files)
    train = _published(dataset, folder / files[0], config, f"{name}/{files[0]}")
    return train, _published(dataset, folder / files[1], config, f"{name}/{files[1]}", like=train)


def _load_files(config: DataConfig) -> tuple[Ratings, Ratings]:
    options = _file_options(config)
    train = Ratings.from_file(str(config.train_file), **options)
    return train, Ratings.from_file(str(config.test_file), like=train, **options)


def _split(table: Ratings, fraction: float, config: DataConfig) -> tuple[Ratings, Ratings]:
    seed = config.split_seed or 0
    if config.split_by == "time":
        if table.timestamp is None:
            raise DataError(
                f"{table.name}: has no timestamps, so split_by='time' (--split-by time) has nothing to go by; give 'rating' or 'user'."
            )
        return table.split_by_time(fraction)
    if config.split_by == "user":
        return table.split_by_user(fraction, seed)
    return table.split(fraction, seed)


def _anywhere(config: DataConfig, source: Source) -> DataConfig:
    """The config with whole paths, so that a run can be resumed from any folder."""
    names = [
        *(name for name in MOVABLE if name != "dataset"),
        *(["dataset"] if source.kind in ("file", "folder") else []),
    ]
    paths = {name: str(Path(path).resolve()) for name in names if (path := getattr(config, name)) is not None}
    return DataConfig.from_dict({**config.to_dict(), **paths})


def _reachable(config: DataConfig, source: Source) -> DataConfig:
    """The config with a name for the default dataset: ml-100k, or the synthetic table where that is out of reach.

    Nothing is put in the place of ml-100k where a setting names it: a fold, or a folder that holds it.
    """
    named = config.data_dir is not None or config.fold is not None
    try:
        files = registry.get(source.name).files(source.fold)
        fetching.fetch(source.name, config.data_dir, files=files, patient=named)
    except DataError as error:
        if named:
            raise
        logger.warning("%s", error)
        if place := os.environ.get("NNMF_DATA"):
            logger.warning("$NNMF_DATA is %s, where no %s was found.", place, DEFAULT_DATASET)
        logger.warning("Taking the embedded SYNTHETIC table of the same shape instead.")
        # Where parsed tables are kept says nothing about a table that is drawn.
        return replace(config, dataset=registry.SYNTHETIC, cache=True)
    return replace(config, dataset=DEFAULT_DATASET)
