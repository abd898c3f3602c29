"""Columns of a table from what a program holds: arrays, frames, sparse matrices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError

from ._cache import Columns
from ._columns import as_column, as_ids, as_seconds
from ._ids import IdMap
from ._layout import ROLES
from ._names import column_places


def columns_of_arrays(
    user_ids: npt.ArrayLike,
    item_ids: npt.ArrayLike,
    ratings: npt.ArrayLike,
    timestamps: npt.ArrayLike | None,
    name: str,
) -> Columns:
    """Checked and numbered columns; see `nnmf.tables.Ratings.from_arrays`."""
    user_id, item_id = as_ids(user_ids, f"{name}: user ids"), as_ids(item_ids, f"{name}: item ids")
    rating = as_column(ratings, np.float32, f"{name}: ratings")
    timestamp = None if timestamps is None else as_seconds(timestamps, f"{name}: timestamps")
    lengths = {len(column) for column in (user_id, item_id, rating, timestamp) if column is not None}
    if len(lengths) > 1:
        raise DataError(f"{name}: the columns have unequal lengths {sorted(lengths)}; give one entry a rating in each.")
    if lengths == {0}:
        raise DataError(f"{name}: holds no ratings; give at least one.")
    users, user = IdMap.number(user_id, f"{name}: user ids")
    items, item = IdMap.number(item_id, f"{name}: item ids")
    return Columns(users, items, user, item, rating, timestamp)


def arrays_of_frame(frame: Any, wanted: list[Hashable]) -> list[Any]:
    """The named columns of a frame; or rows, columns and values of a sparse matrix, known by its ``tocoo``."""
    if hasattr(frame, "tocoo"):
        matrix = frame.tocoo()
        if len(matrix.shape) != 2:
            raise DataError(f"from_frame: got a sparse array of shape {matrix.shape}; give one of users by items.")
        return [np.asarray(matrix.row), np.asarray(matrix.col), np.asarray(matrix.data)]
    frame, names = opened_frame(frame)
    for name in wanted:
        if name not in names:
            raise DataError(
                f"the frame has no column {name!r}; it has {names}. Name the columns with user=, item=, rating=."
            )
    # A list stays one: an array of its texts would be as wide as the longest. A masked array keeps its mask.
    return [column if isinstance(column := frame[name], list) else np.asanyarray(column) for name in wanted]


def found_columns(frame: Any, given: list[Hashable | None]) -> tuple[Any, list[Hashable]]:
    """A frame, with the levels of its index among its columns, and the names of user, item and rating, those not given found."""
    frame, names = opened_frame(frame)
    levels = getattr(getattr(frame, "index", None), "names", ())  # of pandas
    if levels := [level for level in levels if level is not None and level not in names]:
        frame = {name: frame[name] for name in names} | {level: frame.index.get_level_values(level) for level in levels}
        names += levels
    free = [name for name in names if name not in given]
    places = column_places(list(map(str, free)))
    found = []
    for role, name, usual, place in zip(ROLES, given, ("user_id", "item_id", "rating"), places, strict=False):
        if name is None and usual not in free and place is None:
            raise DataError(
                f"the frame has no column known for {role}s; it has {names}. Name the columns with user=, item=, rating=."
            )
        found.append(name if name is not None else usual if usual in free else free[place or 0])
    return frame, found


def opened_frame(frame: Any) -> tuple[Any, list[Hashable]]:
    """A frame, collected where it is a lazy one, and the names of its columns."""
    if hasattr(frame, "collect") and not hasattr(frame, "__array__"):
        frame = frame.collect()
    columns = frame if isinstance(frame, Mapping) else getattr(frame, "columns", None)
    if columns is None:
        raise DataError(f"from_frame: got a {type(frame).__name__}, which has no columns; use from_arrays.")
    return frame, list(columns)
