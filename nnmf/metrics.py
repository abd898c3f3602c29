"""Metrics over all ratings of a table: exact totals, never means of batch values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nnmf._lazy import lazily
from nnmf.errors import DataError

if TYPE_CHECKING:
    from nnmf._eval_metrics import MAE, RMSE

__all__ = ["MAE", "RMSE", "mae", "rmse", "rmse_of_blocks", "rmse_per_user"]

# The EvalMetrics derive from a class of MXNet, which the functions here do without.
__getattr__, __dir__ = lazily(__name__, {"RMSE": "nnmf._eval_metrics", "MAE": "nnmf._eval_metrics"})


def rmse(rating: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Root of the mean squared error over all ratings: ``sqrt(sum((rating - prediction)^2) / n_ratings)``.

    Parameters
    ----------
    rating, prediction : array_like
        Arrays of shape (n_ratings,).

    Raises
    ------
    DataError
        No ratings, or unequal shapes.
    """
    return rmse_of_blocks([(rating, prediction)])


def rmse_of_blocks(blocks: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> float:
    """`rmse` of ratings and predictions that come in blocks, one after another.

    Parameters
    ----------
    blocks : iterable of pairs of array_like

    Raises
    ------
    DataError
        As `rmse`.
    """
    total, n_ratings = 0.0, 0
    for rating, prediction in blocks:
        error = _errors(rating, prediction)
        total, n_ratings = total + float(np.dot(error, error)), n_ratings + len(error)
    if n_ratings == 0:
        raise DataError("there are no ratings to take the error of.")
    return math.sqrt(total / n_ratings)


def mae(rating: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Mean absolute error over all ratings; arguments and errors as `rmse`."""
    return float(np.abs(_errors(rating, prediction)).mean())


def rmse_per_user(user: npt.ArrayLike, rating: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Mean over the users of each one's `rmse`, so that one with few ratings counts as much as one with many.

    Parameters
    ----------
    user : array_like
        Indices, shape (n_ratings,); all unknown users (-1) count as one.
    rating, prediction : array_like
        As for `rmse`.
    """
    error = _errors(rating, prediction)
    row = np.asarray(user) + 1
    n_ratings = np.bincount(row)
    total = np.bincount(row, weights=error * error)
    return float(np.sqrt(total[n_ratings > 0] / n_ratings[n_ratings > 0]).mean())


def _errors(rating: npt.ArrayLike, prediction: npt.ArrayLike) -> np.ndarray:
    observed, predicted = np.asarray(rating, np.float64), np.asarray(prediction, np.float64)
    if observed.shape != predicted.shape or observed.ndim != 1:
        raise DataError(
            f"rating and prediction must be columns of one length, got shapes {observed.shape} and {predicted.shape}."
        )
    if len(observed) == 0:
        raise DataError("there are no ratings to take the error of.")
    return observed - predicted
