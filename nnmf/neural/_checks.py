"""What `DataIter`, `Negatives` and networks are given, looked at before it reaches MXNet or a compiled loop."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.errors import ConfigError, DataError, NnmfError
from nnmf.networks import output_layer
from nnmf.tables import Ratings, extent, root_mean_square

mx: Any = _mxnet.load()
logger = logging.getLogger("nnmf")

# Root mean square of ratings, from zero, where a network begins: up to the one the default settings converge (from 15 on some
# networks do not, were ML-100K's ratings multiplied or raised), and that of 1 to 5 stars.
_LARGE_RATINGS, _STARS = 12.0, 3.7


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


def advice_of(train: Ratings) -> str:
    """What to do about ratings far larger than 1 to 5 stars, which is said before training; "" where there are none."""
    size = root_mean_square(train.rating)
    if size <= _LARGE_RATINGS:
        return ""
    advice = f"divide the ratings, whose root mean square is {size:.3g}, by {round(size / _STARS)}"
    logger.warning(
        "Networks are tuned to ratings of 1 to 5 stars, and may diverge: %s (or take logarithms of counts), or lower "
        "learning_rate.",
        advice,
    )
    return advice


@contextlib.contextmanager
def in_one_sentence(kind: type[NnmfError], what: str) -> Iterator[None]:
    """Turn MXNet's error of many lines into one of ours."""
    try:
        yield
    except mx.MXNetError as error:
        text = str(error)
        if "llocate" in text or "bad_alloc" in text:
            raise kind(
                f"{what}: it takes more memory than can be had; take narrower vectors (n_factors), layers or batches."
            ) from None
        lines = [line for line in text.splitlines() if "rror" in line] or text.splitlines()
        raise kind(f"{what}: {lines[-1].strip()}") from error
