"""What ratings are explained by besides their ids, as parts of a design matrix: histories, days, and what is known of users and items."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError, one_of

from ._feature_columns import Column
from ._features import RESERVED, Features
from ._ids import UNKNOWN, IdMap
from ._ratings import Ratings
from ._vocabulary import column_part, day_codes, day_part, entries_of, n_columns_of

logger = logging.getLogger(__name__)

_HISTORY, _RATERS, _DAY, _ATTRIBUTES = RESERVED


@dataclass(frozen=True, eq=False)
class Block:
    """A part of a design matrix with one sparse row a user, or an item.

    Attributes
    ----------
    name : str
    starts : int64 array of shape (n_rows + 1,)
        Where the entries of each row begin, and the end.
    column : int32 array of shape (n_entries,)
        Within 0 .. n_columns - 1.
    weight : float32 array of shape (n_entries,)
    n_columns : int
    """

    name: str
    starts: np.ndarray
    column: np.ndarray
    weight: np.ndarray
    n_columns: int


@dataclass(frozen=True, eq=False)
class Codes:
    """A part of a design matrix with one column a rating, of weight 1.

    Attributes
    ----------
    name : str
    code : int32 array of shape (n_ratings,)
        Within 0 .. n_columns - 1.
    n_columns : int
    """

    name: str
    code: np.ndarray
    n_columns: int


@dataclass(frozen=True, eq=False)
class Design:
    """What `encode` finds in a table.

    Attributes
    ----------
    user, item : tuple of Block
        A row for each of the table's users, or items, by their indices.
    rating : tuple of Codes
    vocabulary : dict
        What each column of each block stands for, as JSON can hold it; with it another table is encoded alike.
    """

    user: tuple[Block, ...]
    item: tuple[Block, ...]
    rating: tuple[Codes, ...]
    vocabulary: dict[str, Any]

    def digest(self, table: Ratings) -> str:
        """SHA-256 of the table that was encoded and of all that its features say of it, by which both are known again."""
        digest = hashlib.sha256(table.digest.encode())
        for block in self.user + self.item:
            for array in (block.starts, block.column, block.weight):
                digest.update(np.ascontiguousarray(array).data)
        for codes in self.rating:
            digest.update(np.ascontiguousarray(codes.code).data)
        return digest.hexdigest()


def encode(train: Ratings, features: Sequence[str], vocabulary: dict[str, Any] | None = None) -> Design:
    """The parts of a design matrix that some features of a table make.

    ``history``
        A row a user: the items that are rated, each weighted 1 / sqrt(their number); a column an item.
    ``raters``
        A row an item: its raters, likewise; a column a user.
    ``day``
        Of each rating the calendar day (UTC) of its timestamp: a column a day that occurs.
    ``attributes``, or the name of a column of the table's user or item features
        Of categories a column a value that occurs; of numbers a column a bin, of ten at the quantiles, or one a value
        where there are no more; of lists a column an entry that occurs, each weighted 1 / sqrt(entries).

    What is missing or does not occur has a column of its own in each. Among more than 1,000 days or values, all that fewer
    than two rows hold share one more. A column that is the same for all says nothing and is left out, which the log says.

    Parameters
    ----------
    train : Ratings
        The table that is trained on, which alone says which columns there are: those of its users and items that have
        a rating in it.
    features : sequence of str
    vocabulary : dict, optional
        That of a table encoded before, under whose id maps (or longer ones) this one is: no column is added, and what
        has none is left out of histories.

    Returns
    -------
    Design

    Raises
    ------
    ConfigError
        An unknown feature, features that are not those of the vocabulary.
    DataError
        A feature that the table has nothing for, a timestamp beyond the calendar.
    """
    if isinstance(features, str):
        raise ConfigError(f"features: got the text {features!r}; give a list of names.")
    wanted = list(dict.fromkeys(features))
    if vocabulary is None:
        vocabulary = _vocabulary(train, wanted)
    elif set(wanted) != set(vocabulary["features"]):
        raise ConfigError(f"features: got {wanted} instead of those of the vocabulary, {vocabulary['features']}.")
    user = tuple(_user_block(train, name, part) for name, part in vocabulary["user"].items())
    item = tuple(_item_block(train, name, part) for name, part in vocabulary["item"].items())
    codes = codes_of(vocabulary, train.timestamp, len(train))
    rating = tuple(Codes(name, codes[name], n_columns_of(part)) for name, part in vocabulary["rating"].items())
    return Design(user, item, rating, vocabulary)


def codes_of(vocabulary: dict[str, Any], timestamps: np.ndarray | None, n: int) -> dict[str, np.ndarray]:
    """The columns of `Codes` of pairs that are to be predicted.

    Parameters
    ----------
    vocabulary : dict
        Of a `Design`.
    timestamps : int64 array of shape (n,), or None
        In seconds; without them every day is missing.
    n : int

    Returns
    -------
    dict of str to int32 array of shape (n,)
    """
    codes = {}
    for name, part in vocabulary["rating"].items():
        if timestamps is None:
            codes[name] = np.full(n, n_columns_of(part) - 1, np.int32)
        else:
            codes[name] = day_codes(part, timestamps)
    return codes


# -- what the columns stand for --------------------------------------------------------------------------------------
def _vocabulary(train: Ratings, features: list[str]) -> dict[str, Any]:
    """What the columns of the features stand for, by the training table alone."""
    _check_known(train, features)
    found: dict[str, Any] = {"features": features, "user": {}, "item": {}, "rating": {}}
    if _HISTORY in features:
        found["user"][_HISTORY] = {"kind": "items", "n_columns": train.n_items}
    if _RATERS in features:
        found["item"][_RATERS] = {"kind": "users", "n_columns": train.n_users}
    if _DAY in features:
        if train.timestamp is None:
            raise DataError(
                f"day: {train.name} has no timestamps; leave the feature out, or give ratings that have them."
            )
        found["rating"][_DAY] = day_part(train.timestamp, train.name)
    for side, known, ids, index in (
        ("user", train.user_features, train.users, train.user),
        ("item", train.item_features, train.items, train.item),
    ):
        if known is not None:
            rated = np.flatnonzero(np.bincount(index[index != UNKNOWN], minlength=len(ids)))
            columns = list(known.columns) if _ATTRIBUTES in features else [n for n in known.columns if n in features]
            found[side] |= _attribute_parts(known, columns, known.ids.index_of(ids)[rated], side)
    return found


def _attribute_parts(features: Features, names: list[str], rows: np.ndarray, side: str) -> dict[str, Any]:
    """What the columns of some columns of features stand for, by the rows that are trained on."""
    parts = {}
    for name in names:
        part = column_part(features.columns[name], rows)
        if _says_nothing(part, features.columns[name], rows):
            logger.info("%s: %s is the same for all %ss and is left out.", features.name, name, side)
        else:
            parts[name] = part
    return parts


def _says_nothing(part: dict[str, Any], column: Column, rows: np.ndarray) -> bool:
    """Whether every row has the same entries."""
    counts = np.bincount(entries_of(part, column, rows)[1])
    return bool(np.isin(counts, (0, len(rows))).all())


def _check_known(train: Ratings, features: list[str]) -> None:
    sides = [side for side in (train.user_features, train.item_features) if side is not None]
    columns = [name for side in sides for name in side.columns]
    allowed = {*RESERVED, *columns}
    for name in features:
        if name not in allowed:
            raise ConfigError(one_of(name, allowed, "features") + ".")
    if _ATTRIBUTES in features and not columns:
        raise DataError(
            f"attributes: of the users and items of {train.name} nothing is known; add it with with_features "
            "(--user-features FILE, --item-features FILE), or leave the feature out."
        )


# -- the blocks ------------------------------------------------------------------------------------------------------
def _user_block(table: Ratings, name: str, part: dict[str, Any]) -> Block:
    if name == _HISTORY:
        return _history(name, part, table.user, table.item, table.n_users)
    return _attribute(name, part, table.user_features, table.users)


def _item_block(table: Ratings, name: str, part: dict[str, Any]) -> Block:
    if name == _RATERS:
        return _history(name, part, table.item, table.user, table.n_items)
    return _attribute(name, part, table.item_features, table.items)


def _attribute(name: str, part: dict[str, Any], features: Features | None, ids: IdMap) -> Block:
    """What is known of each id under a name; where nothing is, the column of what is missing."""
    n_columns = n_columns_of(part)
    if features is None or name not in features.columns:
        starts, column = np.arange(len(ids) + 1), np.full(len(ids), n_columns - 1, np.int32)
    else:
        starts, column = entries_of(part, features.columns[name], features.ids.index_of(ids))
    count = np.diff(starts)
    return Block(name, starts, column, np.repeat(1 / np.sqrt(count), count).astype(np.float32), n_columns)


def _history(name: str, part: dict[str, Any], row: np.ndarray, column: np.ndarray, n_rows: int) -> Block:
    """What stands in a column for each row, weighted 1 / sqrt(entries of the row)."""
    known = (row != UNKNOWN) & (column != UNKNOWN) & (column < part["n_columns"])
    if not known.all():
        row, column = row[known], column[known]
    count = np.bincount(row, minlength=n_rows)
    starts = np.zeros(n_rows + 1, np.int64)
    np.cumsum(count, out=starts[1:])
    weight = (1 / np.sqrt(np.maximum(count, 1))).astype(np.float32)
    ordered = column[np.argsort(row, kind="stable")]
    return Block(name, starts, ordered, np.repeat(weight, count), part["n_columns"])
