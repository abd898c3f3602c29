"""What columns must be to make a table: checked once, wherever they come from, before a loop sees them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmf.errors import ConfigError, DataError

from ._ids import UNKNOWN

if TYPE_CHECKING:
    from ._ratings import Ratings


def checked_columns(table: Ratings) -> dict[str, np.ndarray | None]:
    """The columns of a table in their types, none copied that has its type already.

    Raises
    ------
    DataError
        Columns of unequal length or another shape, an index that is none of the maps', a rating that is no finite number.
    """
    wanted: dict[str, Any] = {"user": np.int32, "item": np.int32, "rating": np.float32}
    wanted |= {"timestamp": np.int64, "strangers": np.int32}
    columns: dict[str, np.ndarray | None] = {}
    for name, dtype in wanted.items():
        column = getattr(table, name)
        columns[name] = None if column is None and name in ("timestamp", "strangers") else _column(table, name, dtype)
    rating = columns["rating"]
    assert rating is not None
    lengths = {len(column) for column in columns.values() if column is not None}
    if len(lengths) > 1:
        raise DataError(
            f"{table.name}: the columns have unequal lengths {sorted(lengths)}; give one entry a rating in each."
        )
    for name, ids in (("user", table.users), ("item", table.items)):
        index = columns[name]
        assert index is not None
        if len(index) and not UNKNOWN <= index.min() <= index.max() < len(ids):
            raise DataError(
                f"{table.name}: {name} indices run from {index.min()} to {index.max()}, the map has {len(ids)} {name}s; "
                "give indices of the map, -1 for unknown, or build the table with from_arrays."
            )
    # A sum is finite where all its terms are.
    if not math.isfinite(float(rating.sum(dtype=np.float64))):
        at = int(np.argmin(np.isfinite(rating)))
        raise DataError(f"{table.name}: rating {at} is {rating[at]}; give finite numbers, drop or mend such rows.")
    return columns


def _column(table: Ratings, name: str, dtype: Any) -> np.ndarray:
    column = np.asarray(getattr(table, name))
    kinds = "fiu" if name == "rating" else "iu"
    if column.ndim != 1 or (column.dtype.kind not in kinds and column.size):
        raise DataError(
            f"{table.name}: {name} is {column.dtype} of shape {column.shape}; give one column of "
            f"{'numbers' if name == 'rating' else 'whole numbers'}, or build the table with from_arrays."
        )
    if column.dtype == dtype:
        return column
    converted = column.astype(dtype)
    if kinds == "iu" and not np.array_equal(converted, column):
        raise DataError(f"{table.name}: {name} holds numbers that {np.dtype(dtype)} cannot hold.")
    return converted


def checked_scale(scale: Any) -> tuple[float, float]:
    """Lowest and highest rating.

    Raises
    ------
    ConfigError
        They are no pair of finite numbers, the lower first.
    """
    try:
        low, high = map(float, scale)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(f"scale: got {scale!r}; give the lowest and the highest rating, such as (1, 5).")
    return low, high
