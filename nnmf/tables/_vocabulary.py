"""What the columns of a block stand for: a value, a bin or a day each, perhaps one for rare values, one for what is missing.

A part of a vocabulary is a dictionary that JSON can hold. ``kind`` says what it is of. Histories have ``n_columns``, an
item or user each; numbers have ``edges``, the lowest value of every bin but the first; all else has ``values``, each with a
column, and ``rare``, whether a column behind them is for all others. Without that one others have the last column, as what
is missing has.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from nnmf.errors import DataError

from ._feature_columns import KINDS, Column, Numbers, gathered
from ._ids import UNKNOWN, IdMap

_DAY_SECONDS = 86_400
# Days since 1970 of the years 1 and 10,000, which no calendar goes beyond.
_FIRST_DAY, _END_DAY = -719_162, 2_932_897
# With more values than these, those of fewer than two rows share a column.
_MANY = 1000
_N_BINS = 10


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
    return _value_part("day", values, counts)


def column_part(column: Column, rows: np.ndarray) -> dict[str, Any]:
    """What the columns of a column of `Features` stand for, by some of its rows; -1 is a row that it lacks.

    Numbers: ten bins at the quantiles, or one for each value where there are no more than ten. Categories and lists: one
    column a value that occurs.
    """
    if isinstance(column, Numbers):
        value = column.value[rows[rows != UNKNOWN]]
        distinct = np.unique(value[~np.isnan(value)])
        if len(distinct) > _N_BINS:
            shares = np.arange(1, _N_BINS) / _N_BINS
            distinct = np.unique(np.append(distinct[0], np.quantile(value[~np.isnan(value)], shares, method="higher")))
        return {"kind": column.kind, "edges": distinct[1:].tolist()}
    at, _ = gathered(column.starts, rows)
    counts = np.bincount(column.code[at], minlength=len(column.words))
    there = np.flatnonzero(counts)
    return _value_part(column.kind, column.words.at(there), counts[there])


def _value_part(kind: str, values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """A column for each of some distinct values; among very many, for those alone that more than one row holds."""
    rare = bool(len(values) > _MANY and (counts < 2).any())
    return {"kind": kind, "values": (values[counts > 1] if rare else values).tolist(), "rare": rare}


def n_columns_of(part: dict[str, Any]) -> int:
    """Columns of a part."""
    if "n_columns" in part:
        return int(part["n_columns"])
    return len(part["edges"]) + 2 if "edges" in part else len(part["values"]) + part["rare"] + 1


def day_codes(part: dict[str, Any], timestamps: np.ndarray) -> np.ndarray:
    """The column of the day of each timestamp: int32 array of shape (n,)."""
    known = np.array(part["values"], np.int64)
    days = days_of(timestamps)
    place = np.searchsorted(known, days)
    found = known[np.minimum(place, len(known) - 1)] == days if len(known) else np.zeros(len(days), bool)
    return np.where(found, place, len(known)).astype(np.int32)


def entries_of(part: dict[str, Any], column: Column, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What stands in the columns of a part for some rows of a column, -1 being one that it lacks.

    Returns
    -------
    starts : int64 array of shape (len(rows) + 1,)
        Where the entries of each row begin, and the end: one at least.
    column : int32 array of shape (n_entries,)
        Ascending within a row, each once.
    """
    n_columns = n_columns_of(part)
    if isinstance(column, Numbers):
        value = np.where(rows == UNKNOWN, np.nan, column.value[rows])
        code = np.searchsorted(np.array(part["edges"], np.float64), value, side="right")
        code[np.isnan(value)] = n_columns - 1
        return np.arange(len(rows) + 1), code.astype(np.int32)
    known = IdMap(np.array(part["values"], object)) if part["values"] else None
    index = np.full(len(column.words), UNKNOWN) if known is None else known.index_of(column.words)
    of_word = np.where(index == UNKNOWN, len(part["values"]), index)
    at, starts = gathered(column.starts, rows)
    count = np.diff(starts)
    row = np.append(np.repeat(np.arange(len(rows)), count), np.flatnonzero(count == 0))
    code = np.append(of_word[column.code[at]], np.full(len(row) - len(at), n_columns - 1))
    row, code = np.divmod(np.unique(row * n_columns + code), n_columns)
    return np.searchsorted(row, np.arange(len(rows) + 1)), code.astype(np.int32)


def check_vocabulary(vocabulary: Any) -> None:
    """Refuse what is no vocabulary of a `Design`, as one from a file may be.

    Raises
    ------
    DataError
        It is none, in one sentence.
    """
    sides = ("user", "item", "rating")
    if (
        not isinstance(vocabulary, dict)
        or set(vocabulary) != {"features", *sides}
        or not _are(vocabulary["features"], str)
        or not all(isinstance(vocabulary[side], dict) for side in sides)
    ):
        raise DataError("vocabulary: holds no features of users, items and ratings.")
    for side in sides:
        for name, part in vocabulary[side].items():
            own = {("user", "history"): "items", ("item", "raters"): "users", ("rating", "day"): "day"}.get(
                (side, name)
            )
            kinds = (own,) if own or side == "rating" else KINDS
            if not isinstance(part, dict) or part.get("kind") not in kinds or not _is_part(part):
                raise DataError(f"vocabulary: does not tell the columns of {name!r}.")


def _is_part(part: dict[str, Any]) -> bool:
    kind, keys = part["kind"], set(part) - {"kind"}
    if kind in ("items", "users"):
        return keys == {"n_columns"} and _are([part["n_columns"]], int) and part["n_columns"] > 0
    if kind == "number":
        return keys == {"edges"} and _are(part["edges"], float) and _ascend(part["edges"])
    if keys != {"values", "rare"} or not isinstance(part["rare"], bool):
        return False
    values = part["values"]
    if kind == "day":
        return _are(values, int) and _ascend(values) and all(_FIRST_DAY <= day < _END_DAY for day in values)
    return _are(values, str) and len(set(values)) == len(values)


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _ascend(values: list[Any]) -> bool:
    return all(math.isfinite(value) for value in values) and all(a < b for a, b in pairwise(values))
