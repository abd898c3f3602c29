"""What columns must be to make a table: checked once, wherever they come from, before a loop sees them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.files import walk

from ._columns import unmasked
from ._ids import UNKNOWN
from ._sums import extent, mean_of

logger = logging.getLogger("nnmf")

_YEAR_5000 = 95_617_584_000


def checked_columns(table: str, given: dict[str, Any], n_users: int, n_items: int) -> dict[str, np.ndarray | None]:
    """The columns of a table of that name in their types, none copied that has its type already.

    Raises
    ------
    DataError
        Columns of unequal length or another shape, an index that is none of the maps', a rating that is no finite number.
    """
    wanted: dict[str, Any] = {"user": np.int32, "item": np.int32, "rating": np.float32}
    wanted |= {"timestamp": np.int64, "strangers": np.int32}
    columns: dict[str, np.ndarray | None] = {}
    for name, dtype in wanted.items():
        column = given[name]
        optional = name in ("timestamp", "strangers")
        columns[name] = None if column is None and optional else _column(table, name, column, dtype)
    rating = columns["rating"]
    assert rating is not None
    lengths = {len(column) for column in columns.values() if column is not None}
    if len(lengths) > 1:
        raise DataError(
            f"{table}: the columns have unequal lengths {sorted(lengths)}; give one entry a rating in each."
        )
    for name, n in (("user", n_users), ("item", n_items)):
        index = columns[name]
        assert index is not None
        low, high = extent(index) if len(index) else (0, -1)
        if low < UNKNOWN or high >= n:
            raise DataError(
                f"{table}: {name} indices run from {low} to {high}, the map has {n} {name}s; "
                "give indices of the map, -1 for unknown, or build the table with from_arrays."
            )
    # A sum is finite where all its terms are.
    if len(rating) and not math.isfinite(mean_of(rating)):
        at = int(np.argmin(np.isfinite(rating)))
        raise DataError(f"{table}: rating {at} is {rating[at]}; give finite numbers, drop or mend such rows.")
    return columns


def _column(table: str, name: str, given: Any, dtype: Any) -> np.ndarray:
    column = unmasked(given, f"{table}: {name}")
    kinds = "fiu" if name == "rating" else "iu"
    if column.ndim != 1 or (column.dtype.kind not in kinds and column.size):
        raise DataError(
            f"{table}: {name} is {column.dtype} of shape {column.shape}; give one column of "
            f"{'numbers' if name == 'rating' else 'whole numbers'}, or build the table with from_arrays."
        )
    if column.dtype == dtype:
        return column
    converted = column.astype(dtype)
    if kinds == "iu" and not np.array_equal(converted, column):
        raise DataError(f"{table}: {name} holds numbers that {np.dtype(dtype)} cannot hold.")
    return converted


def checked_scale(scale: Any) -> tuple[float, float]:
    """Lowest and highest rating.

    Raises
    ------
    ConfigError
        They are no pair of finite numbers, the lower first.
    """
    try:
        if isinstance(scale, str) or any(isinstance(bound, (str, bytes, bool, np.bool_)) for bound in scale):
            raise TypeError
        low, high = map(float, scale)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(f"scale: got {scale!r}; give the lowest and the highest rating, such as (1, 5).")
    return low, high


def within_scale(value: float, scale: tuple[float, float]) -> bool:
    """Whether a number lies within a scale of ratings, as precisely as ratings are held."""
    with np.errstate(over="ignore"):
        return bool(np.float32(scale[0]) <= np.float32(value) <= np.float32(scale[1]))


def check_within(rating: np.ndarray, scale: tuple[float, float], table: str) -> None:
    """Refuse a scale that ratings (n,) lie outside of, as those cannot be answered then.

    Raises
    ------
    ConfigError
        Such a rating.
    """
    if len(rating) == 0:
        return
    low, high = extent(rating)
    if not (within_scale(low, scale) and within_scale(high, scale)):
        raise ConfigError(
            f"scale: got {scale}, and {table} has ratings from {low:g} to {high:g}; give a scale that "
            "holds them, or leave out what lies outside."
        )


def say_of_milliseconds(timestamp: np.ndarray, table: str) -> None:
    """Say so where timestamps (n,), taken for seconds, lie in years that nobody has seen: mostly they are milliseconds."""
    if len(timestamp) and timestamp.max() > _YEAR_5000:
        logger.warning(
            "%s: timestamps reach %d, which as seconds is beyond the year 5000; if they are milliseconds, divide them by 1000.",
            table,
            timestamp.max(),
        )


def as_index(values: Any, side: str, n: int, lowest: int = UNKNOWN) -> np.ndarray:
    """A column of indices as int32, each from ``lowest`` to below ``n``; "user" or "item" of ``side`` are named.

    Raises
    ------
    DataError
        It is none.
    """
    index = _array(values, side)
    if index.ndim != 1 or (index.dtype.kind not in "iu" and index.size):
        raise DataError(f"{side}: expected one column of indices, got {index.dtype} of shape {index.shape}.")
    if lowest == 0 and index.dtype == np.int32:
        # As unsigned numbers those below 0 are the largest of all: one pass where two would show beside a prediction's own time.
        within = all(part.max() < n for (part,) in walk(index.view(np.uint32)))
    else:
        low, high = extent(index) if len(index) else (lowest, lowest)
        within = not len(index) or lowest <= low <= high < n
    if not within:
        raise DataError(f"{side}: indices run from {index.min()} to {index.max()}, the model has {n} {side}s.")
    return np.ascontiguousarray(index, np.int32)


def as_index_pairs(
    user: Any, item: Any, sizes: Mapping[str, int], lowest: int = UNKNOWN
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of indices of users and of items, of one length; see `as_index`."""
    user, item = as_index(user, "user", sizes["user"], lowest), as_index(item, "item", sizes["item"], lowest)
    if len(user) != len(item):
        raise DataError(f"{len(user)} users and {len(item)} items do not make pairs; give as many of each.")
    return user, item


def as_timestamps(values: Any, n: int) -> np.ndarray | None:
    """A column of ``n`` timestamps in whole seconds as int64, or None.

    Raises
    ------
    DataError
        It is none.
    """
    if values is None:
        return None
    seconds = _array(values, "timestamp")
    if seconds.shape != (n,) or (seconds.dtype.kind not in "iu" and n):
        raise DataError(
            f"timestamp: expected one column of {n} whole seconds, got {seconds.dtype} of shape {seconds.shape}."
        )
    return np.ascontiguousarray(seconds, np.int64)


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:  # rows of unequal length
        raise DataError(f"{name}: expected one column of whole numbers, got rows of unequal length.") from None
