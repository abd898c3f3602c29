"""Known data sets: where they come from, their files, titles of items, the embedded table, and a run's tables."""

from __future__ import annotations

from ._cached import cached_datasets, clear_datasets
from ._fetching import fetch, find
from ._items import ItemTable, load_items
from ._registry import DATASETS, SYNTHETIC, Dataset, get
from ._sources import MOVABLE, moved
from ._synthetic import SyntheticTable, synthetic
from ._tables import Tables, load_table, load_tables

__all__ = [
    "DATASETS",
    "MOVABLE",
    "SYNTHETIC",
    "Dataset",
    "ItemTable",
    "SyntheticTable",
    "Tables",
    "cached_datasets",
    "clear_datasets",
    "fetch",
    "find",
    "get",
    "load_items",
    "load_table",
    "load_tables",
    "moved",
    "synthetic",
]
