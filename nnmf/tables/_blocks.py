"""What ratings are explained by besides their ids, as parts of a design matrix: histories, days, and what is known of users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError, one_of

from ._ids import UNKNOWN
from ._ratings import Ratings
from ._vocabulary import coded, day_part, days_of, n_columns_of

_HISTORY, _RATERS, _DAY = "history", "raters", "day"


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


def encode(train: Ratings, features: Sequence[str], vocabulary: dict[str, Any] | None = None) -> Design:
    """The parts of a design matrix that some features of a table make.

    ``history``
        A row a user: the items that are rated, each weighted 1 / sqrt(their number); a column an item.
    ``raters``
        A row an item: its raters, likewise; a column a user.
    ``day``
        Of each rating the calendar day (UTC) of its timestamp: a column a day that occurs, one for the days of one
        rating where there are more than 1,000 days, and a last one for days that are unknown.

    Parameters
    ----------
    train : Ratings
        The table that is trained on, which alone says which columns there are.
    features : sequence of str
    vocabulary : dict, optional
        That of a table encoded before, under whose id maps (or longer ones) this one is: no column is added, and what
        has none is unknown, or left out of histories.

    Returns
    -------
    Design

    Raises
    ------
    ConfigError
        An unknown feature, features that are not those of the vocabulary.
    DataError
        A feature that the table has nothing for.
    """
    wanted = _checked(features)
    if vocabulary is None:
        vocabulary = _vocabulary(train, wanted)
    elif set(wanted) != set(vocabulary["features"]):
        raise ConfigError(f"features: got {wanted} instead of those of the vocabulary, {vocabulary['features']}.")
    user = tuple(
        _history(name, part, train.user, train.item, train.n_users) for name, part in vocabulary["user"].items()
    )
    item = tuple(
        _history(name, part, train.item, train.user, train.n_items) for name, part in vocabulary["item"].items()
    )
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
        In seconds; without them every day is unknown.
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
            codes[name] = coded(part, days_of(timestamps))
    return codes


def _checked(features: Sequence[str]) -> list[str]:
    """The names of features, each once."""
    if isinstance(features, str):
        raise ConfigError(f"features: got the text {features!r}; give a list of names.")
    allowed = (_HISTORY, _RATERS, _DAY)
    for name in features:
        if name not in allowed:
            raise ConfigError(one_of(name, allowed, "features") + ".")
    return list(dict.fromkeys(features))


def _vocabulary(train: Ratings, features: list[str]) -> dict[str, Any]:
    """What the columns of the features stand for, by the training table alone."""
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
    return found


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
