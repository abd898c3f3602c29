"""Ratings and their ids: building, reading, checking, splitting, describing."""

from __future__ import annotations

from ._blocks import Block, Codes, Design, codes_of, encode
from ._cache import CacheFile, Columns, cache_files, clear_cache
from ._checks import as_index, as_index_pairs, as_timestamps, within_scale
from ._columns import as_ids, as_seconds, is_whole
from ._features import Features
from ._ids import UNKNOWN, IdMap
from ._pairs import PairReader
from ._ratings import Ratings
from ._readers import read_columns
from ._statistics import Statistics, gini_index, statistics
from ._sums import counts_of, deviation_of, extent, in_stars, mean_of, ranges_of, root_mean_square, totals_of
from ._vocabulary import check_vocabulary, n_columns_of

__all__ = [
    "UNKNOWN",
    "Block",
    "CacheFile",
    "Codes",
    "Columns",
    "Design",
    "Features",
    "IdMap",
    "PairReader",
    "Ratings",
    "Statistics",
    "as_ids",
    "as_index",
    "as_index_pairs",
    "as_seconds",
    "as_timestamps",
    "cache_files",
    "check_vocabulary",
    "clear_cache",
    "codes_of",
    "counts_of",
    "deviation_of",
    "encode",
    "extent",
    "gini_index",
    "in_stars",
    "is_whole",
    "mean_of",
    "n_columns_of",
    "ranges_of",
    "read_columns",
    "root_mean_square",
    "statistics",
    "totals_of",
    "within_scale",
]
