"""What the columns of a block stand for: a value, a bin or a day each, one for rare values, one for what is unknown.

A part of a vocabulary is a dictionary that JSON can hold: ``kind``, and ``values`` in the order of their columns with
the ``rare`` ones that share the column behind them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmf.errors import DataError

_DAY_SECONDS = 86_400
# Days since 1970 of the years 1 and 10,000, which no calendar goes beyond.
_FIRST_DAY, _END_DAY = -719_162, 2_932_897
# With more values than these, those of a single row share a column.
_MANY = 1000


def days_of(timestamps: np.ndarray) -> np.ndarray:
    """The calendar days, UTC, that timestamps in seconds fall on, counted from 1970: int64 array of shape (n,)."""
    return timestamps // _DAY_SECONDS


def day_part(timestamps: np.ndarray, table: str) -> dict[str, Any]:
    """The days of a table.

    Raises
    ------
    DataError
        A timestamp that no calendar has a day for, which most of the time is one in milliseconds.
    """
    days = days_of(timestamps)
    bad = (days < _FIRST_DAY) | (days >= _END_DAY)
    if bad.any():
        raise DataError(
            f"day: {table} holds the timestamp {timestamps[bad][0]}, which is not within the years 1 to 9999; "
            "give seconds since 1970 (milliseconds divided by 1,000), or leave the feature out."
        )
    values, counts = np.unique(days, return_counts=True)
    return value_part("day", values, counts)


def value_part(kind: str, values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """A column for each value; among very many, one for all of those that occur once.

    Parameters
    ----------
    kind : str
    values : array of shape (n,)
        Distinct.
    counts : array of shape (n,)
        Training rows that hold each.
    """
    rare = (counts < 2) & (len(values) > _MANY)
    return {"kind": kind, "values": values[~rare].tolist(), "rare": values[rare].tolist()}


def check_vocabulary(vocabulary: Any) -> None:
    """Refuse what is no vocabulary of a `Design`.

    Raises
    ------
    DataError
        It is none, in one sentence.
    """
    sides = ("user", "item", "rating")
    if not isinstance(vocabulary, dict) or set(vocabulary) != {"features", *sides}:
        raise DataError("vocabulary: holds no features of users, items and ratings.")
    if not isinstance(vocabulary["features"], list) or not all(isinstance(vocabulary[side], dict) for side in sides):
        raise DataError("vocabulary: holds no features of users, items and ratings.")
    for side in sides:
        for name, part in vocabulary[side].items():
            try:
                n_columns = n_columns_of(part)
            except (KeyError, TypeError):
                n_columns = 0
            if isinstance(n_columns, bool) or not isinstance(n_columns, int) or n_columns < 1:
                raise DataError(f"vocabulary: does not tell the columns of {name!r}.")


def n_columns_of(part: dict[str, Any]) -> int:
    """Columns of a part: the values, the rare ones if there are any, the unknown."""
    if "n_columns" in part:
        return int(part["n_columns"])
    return len(part["values"]) + bool(part["rare"]) + 1


def coded(part: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """The column of each value, the last one for what has none: int32 array of the shape of ``values``."""
    known = np.array([*part["values"], *part["rare"]])
    if not len(known):
        return np.zeros(len(values), np.int32)
    code = np.minimum(np.arange(len(known)), len(part["values"])).astype(np.int32)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, values, sorter=order), len(known) - 1)
    found = order[place]
    return np.where(known[found] == values, code[found], np.int32(n_columns_of(part) - 1))
