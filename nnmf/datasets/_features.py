"""What the known data sets tell of their users and items, as `Features` with declared kinds."""

from __future__ import annotations

from itertools import compress

import numpy as np

from nnmf.config import DataConfig
from nnmf.tables import Features

from . import _fetching as fetching
from . import _registry as registry
from ._items import load_items
from ._registry import Dataset
from ._sources import Source

_USER_KINDS = {"age": "number", "gender": "category", "occupation": "category", "zip": "category"}
_ITEM_KINDS = {"year": "number", "genres": "list"}


def features_of(config: DataConfig, source: Source, *, published: bool) -> tuple[Features | None, Features | None]:
    """What is known of the users and of the items of a config's ratings, None each where nothing is.

    Parameters
    ----------
    config : DataConfig
        Its files of features come before those of a dataset.
    source : Source
        Where its ratings come from.
    published : bool
        Whether to take what the dataset itself tells: of users age, gender, occupation and the first character of the zip
        code, of items year and genres.

    Raises
    ------
    DataError
        A file that is missing or cannot be read.
    """
    users = None if config.user_features is None else Features.from_file(config.user_features)
    items = None if config.item_features is None else Features.from_file(config.item_features)
    if published and source.kind == "published":
        dataset = registry.get(source.name)
        users = users or _users(dataset, config)
        items = items or _items(dataset, config)
    return users, items


def _users(dataset: Dataset, config: DataConfig) -> Features | None:
    if dataset.user_file is None:
        return None
    folder = fetching.fetch(dataset.name, config.data_dir, files=(dataset.user_file,))
    name = f"{dataset.name}/{dataset.user_file}"
    columns = dataset.user_columns
    found = Features.from_file(
        folder / dataset.user_file,
        columns=columns,
        delimiter=_USER_DELIMITERS[dataset.item_format],
        header=False,
        kinds=_USER_KINDS,
        name=name,
    )
    # A region: with all of their digits nearly every user has a code of his own.
    values = {column: found[column] for column in columns[1:]}
    values["zip"] = np.array([code and code[:1] for code in found["zip"]], object)
    return Features.from_arrays(found.ids.ids, values, kinds=_USER_KINDS, name=name)


_USER_DELIMITERS = {"u.item": "|", "dat": "::"}


def _items(dataset: Dataset, config: DataConfig) -> Features:
    files = (dataset.item_file, *(["u.genre"] if dataset.item_format == "u.item" else []))
    folder = fetching.fetch(dataset.name, config.data_dir, files=files)
    table = load_items(dataset.name, folder)
    assert table is not None  # its file was found
    year = np.where(table.year > 0, table.year, np.nan)
    genres = np.empty(len(table), object)
    genres[:] = [tuple(compress(table.genre_names, flags)) for flags in table.genres.tolist()]
    return Features.from_arrays(
        table.item_id, {"year": year, "genres": genres}, kinds=_ITEM_KINDS, name=f"{dataset.name}/{dataset.item_file}"
    )
