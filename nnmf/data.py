"""The door to tables: `Ratings`, `Features`, `DataIter`, `load_tables`, and the command ``python -m nnmf.data``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnmf._lazy import lazily

if TYPE_CHECKING:
    from nnmf.config import DataConfig
    from nnmf.datasets import Tables, load_tables
    from nnmf.neural import DataIter
    from nnmf.tables import Features, Ratings, statistics

_HOMES = {
    "DataConfig": "nnmf.config",
    "DataIter": "nnmf.neural",
    "Features": "nnmf.tables",
    "Ratings": "nnmf.tables",
    "Tables": "nnmf.datasets",
    "load_tables": "nnmf.datasets",
    "statistics": "nnmf.tables",
}

__all__ = ["DataConfig", "DataIter", "Features", "Ratings", "Tables", "load_tables", "statistics"]

# Imported when asked for: DataIter derives from a class of MXNet, which tables, splits and statistics do without.
__getattr__, __dir__ = lazily(__name__, _HOMES)

if __name__ == "__main__":
    from nnmf.commands import run

    run("data")
