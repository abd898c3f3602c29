"""What `DataIter` and `Negatives` are given, looked at before it reaches MXNet or a compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.tables import Ratings


def whole_number(value: Any, name: str, low: int | None = None) -> int:
    """The value as an int.

    Raises
    ------
    ConfigError
        It is no whole number, or lies below ``low``.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ConfigError(f"{name}: got {value!r}; give a whole number.")
    if low is not None and value < low:
        raise ConfigError(f"{name}: got {value!r}; give a whole number of at least {low}.")
    return int(value)


def ratings_table(value: Any) -> Ratings:
    """The value, if it is a table.

    Raises
    ------
    DataError
        It is none.
    """
    if not isinstance(value, Ratings):
        raise DataError(
            f"ratings: got a {type(value).__name__}; give Ratings, as Ratings.from_file, from_frame or from_arrays makes them."
        )
    return value


def worker(rank: Any, n_workers: Any) -> tuple[int, int]:
    """A worker's number and how many there are.

    Raises
    ------
    ConfigError
        No whole numbers, or no worker of that number.
    """
    n_workers = whole_number(n_workers, "n_workers", 1)
    rank = whole_number(rank, "rank")
    if not 0 <= rank < n_workers:
        raise ConfigError(f"rank: got {rank}; give a number from 0 to n_workers - 1 = {n_workers - 1}.")
    return rank, n_workers
