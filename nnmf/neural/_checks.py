"""What `DataIter`, `Negatives` and networks are given, looked at before it reaches MXNet or a compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.networks import output_layer
from nnmf.tables import Ratings, extent


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


def check_range(symbol: Any, train: Ratings) -> None:
    """Refuse ratings that a network cannot answer.

    Raises
    ------
    ConfigError
        Ratings outside of 0 to 1 for a network that ends in LogisticRegressionOutput.
    """
    low, high = extent(train.rating)
    if output_layer(symbol) == "LogisticRegressionOutput" and not 0 <= low <= high <= 1:
        raise ConfigError(
            f"network: {symbol.name!r} ends in LogisticRegressionOutput, whose answers lie between 0 and 1, and the "
            f"ratings of {train.name} run from {low:g} to {high:g}; bring them to that range, or end it in "
            "LinearRegressionOutput."
        )
