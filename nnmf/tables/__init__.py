"""Ratings and their ids: building, reading, checking, splitting, describing."""

from __future__ import annotations

from ._ids import UNKNOWN, IdMap, as_ids
from ._layout import is_whole
from ._pairs import PairReader
from ._ratings import Ratings
from ._readers import read_columns
from ._statistics import Statistics, gini_index, statistics

__all__ = [
    "UNKNOWN",
    "IdMap",
    "PairReader",
    "Ratings",
    "Statistics",
    "as_ids",
    "gini_index",
    "is_whole",
    "read_columns",
    "statistics",
]
