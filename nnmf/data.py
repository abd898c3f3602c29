"""The door to tables: `Ratings`, `DataIter`, `load_tables`, and the command ``python -m nnmf.data``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnmf._lazy import lazily
from nnmf.config import DataConfig
from nnmf.datasets import Tables, load_tables
from nnmf.tables import Ratings, statistics

if TYPE_CHECKING:
    from nnmf.neural import DataIter

__all__ = ["DataConfig", "DataIter", "Ratings", "Tables", "load_tables", "statistics"]

# DataIter derives from a class of MXNet, which tables, splits and statistics do without.
__getattr__, __dir__ = lazily(__name__, {"DataIter": "nnmf.neural"})

if __name__ == "__main__":
    from nnmf.commands import data

    data()
