"""From a `DataConfig` to the tables a run trains, validates and tests on."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnmf.config import DataConfig
from nnmf.errors import ConfigError, DataError, one_of
from nnmf.tables import Ratings, Statistics, statistics

from . import _registry as registry

logger = logging.getLogger("nnmf")

_DEFAULT_DATASET, _DEFAULT_FOLD = "ml-100k", "u1"
_DEFAULT_SPLIT = 0.8


@dataclass(frozen=True)
class Tables:
    """The tables of a run.

    Attributes:
        dataset: the dataset's name, or the file.
        name: the dataset and how it was split: what every line, file and report calls it.
        statistics: of the table before it was split; None for a dataset's own fold.
        train: training ratings.
        valid: ratings to choose the epoch by, or None: the last epoch counts.
        test: test ratings, mapped through the training table's ids.
        best_rmse: the RMSE that knowing the truth would reach, where it is known (the synthetic table's noise).
    """

    dataset: str
    name: str
    statistics: Statistics | None
    train: Ratings
    valid: Ratings | None
    test: Ratings
    best_rmse: float | None = None


def load_table(config: DataConfig) -> tuple[Ratings, float | None]:
    """The whole table of a config's dataset or file, and its known best RMSE.

    Raises:
        ConfigError: an unknown dataset; DataError: a table that cannot be had or read.
    """
    name = _dataset(config)
    options: dict[str, Any] = {"on_error": config.on_error, "duplicates": config.duplicates}
    if name == registry.SYNTHETIC:
        from ._synthetic import synthetic

        drawn = synthetic()
        return (
            Ratings.from_arrays(
                drawn.user_ids, drawn.item_ids, drawn.rating, drawn.timestamp, name=registry.SYNTHETIC, scale=(1.0, 5.0)
            ),
            drawn.noise_rmse,
        )
    if name in registry.DATASETS:
        dataset = registry.DATASETS[name]
        path = registry.fetch(name, config.data_dir) / dataset.ratings_file
        return (
            Ratings.from_file(
                path,
                delimiter=dataset.delimiter,
                header=dataset.header,
                name=name,
                scale=dataset.rating_scale,
                **options,
            ),
            None,
        )
    path = Path(name)
    if not path.exists():
        raise ConfigError(
            one_of(name, [*registry.DATASETS, registry.SYNTHETIC], "dataset") + ", and there is no such file."
        )
    return Ratings.from_file(path, delimiter=config.delimiter, **options), None


def load_tables(config: DataConfig) -> Tables:
    """The train, validation and test tables of a config.

    Without ``fold`` and ``split``, ml-100k is taken at its fold u1 and any other table at a split of 0.8.

    Raises:
        ConfigError, DataError: as `load_table`; a fold that the dataset has not.
    """
    name = _dataset(config)
    fold = config.fold
    if fold is not None and (config.split is not None or config.split_by != "rating"):
        raise ConfigError("fold: comes with its own test table, so it does not go with split; give one of them.")
    if fold is None and config.split is None and name == _DEFAULT_DATASET:
        fold = _DEFAULT_FOLD
    best_rmse, found = None, None
    if fold is not None:
        train, test = _load_fold(name, fold, config)
        label = f"{name}/{fold}"
    else:
        whole, best_rmse = load_table(DataConfig(**{**config.to_dict(), "dataset": name}))
        fraction = config.split or _DEFAULT_SPLIT
        train, test = _split(whole, fraction, config)
        by = "" if config.split_by == "rating" else f" by {config.split_by}"
        found = statistics(whole)
        label = f"{whole.name} {fraction:g}/{1 - fraction:.3g}{by}"
    valid = None
    if config.valid_fraction:
        train, valid = _split(train, 1 - config.valid_fraction, config)
        test = test.mapped(train)
    if name not in (*registry.DATASETS, registry.SYNTHETIC):
        name = str(Path(name).resolve())  # so that a run can be resumed from anywhere
    return Tables(name, label, found, train, valid, test, best_rmse)


def _split(table: Ratings, fraction: float, config: DataConfig) -> tuple[Ratings, Ratings]:
    if config.split_by == "time":
        return table.split_by_time(fraction)
    if config.split_by == "user":
        return table.split_by_user(fraction, config.split_seed)
    return table.split(fraction, config.split_seed)


def _load_fold(name: str, fold: str, config: DataConfig) -> tuple[Ratings, Ratings]:
    if name not in registry.DATASETS:
        raise ConfigError(f"fold: {name} has no folds of its own; use split.")
    dataset = registry.DATASETS[name]
    files = dataset.files(fold)
    folder = registry.fetch(name, config.data_dir, files=files)
    tables: list[Ratings] = []
    for file in files:
        tables.append(
            Ratings.from_file(
                folder / file,
                delimiter=dataset.delimiter,
                header=False,
                name=f"{name}/{file}",
                scale=dataset.rating_scale,
                on_error=config.on_error,
                duplicates=config.duplicates,
                like=tables[0] if tables else None,
            )
        )
    return tables[0], tables[1]


def _dataset(config: DataConfig) -> str:
    if config.dataset is not None and not config.dataset.strip():
        raise ConfigError("dataset: got an empty name; give a dataset or a file, or leave it out.")
    return config.dataset or _reachable_default(config)


def _reachable_default(config: DataConfig) -> str:
    """ml-100k, or the synthetic table where ml-100k is out of reach and nothing that was asked for names it."""
    try:
        fold = config.fold or (None if config.split else _DEFAULT_FOLD)
        registry.fetch(_DEFAULT_DATASET, config.data_dir, files=registry.DATASETS[_DEFAULT_DATASET].files(fold))
    except DataError as error:
        if config.data_dir is not None or config.fold is not None:
            raise
        logger.warning("%s", error)
        if place := os.environ.get("NNMF_DATA"):
            logger.warning("$NNMF_DATA is %s, where no %s was found.", place, _DEFAULT_DATASET)
        logger.warning("Taking the embedded SYNTHETIC table of the same shape instead.")
        return registry.SYNTHETIC
    return _DEFAULT_DATASET
