"""MXNet `EvalMetric`s over all ratings of an epoch that do not make the engine wait for every batch."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from nnmf import _mxnet
from nnmf.errors import ConfigError, DataError

mx: Any = _mxnet.load()

# Batches whose errors are kept on the device before they are fetched together: asking for every batch would make training
# wait for every batch.
_KEPT_BATCHES, _KEPT_ERRORS = 1024, 1 << 22


class _Total(mx.metric.EvalMetric):
    """Sum over all ratings since `reset` of a function of the error.

    Parameters
    ----------
    n_ratings : int, default=None
        Rows that count between two resets; what comes after them is the padding of a last batch. None: all.

    Raises
    ------
    ConfigError
        n_ratings is no whole number of at least 1.
    """

    label: ClassVar[str]

    def __init__(self, n_ratings: int | None = None) -> None:
        if n_ratings is not None and (isinstance(n_ratings, bool) or not isinstance(n_ratings, (int, np.integer))):
            raise ConfigError(f"n_ratings: got {n_ratings!r}; give a whole number, or None to count all rows.")
        if n_ratings is not None and n_ratings < 1:
            raise ConfigError(f"n_ratings: got {n_ratings}; give at least 1, or None to count all rows.")
        self.n_ratings = n_ratings
        self._rows: list[Any] = []
        self._kept_as: tuple[Any, Any] | None = None
        super().__init__(self.label)

    def reset(self) -> None:
        """Forget what was counted."""
        # Totals batch by batch: their exact sum does not depend on when they were fetched.
        self._totals: list[float] = []
        self._counted, self._kept = 0, 0

    def update(self, labels: list[Any], preds: list[Any]) -> None:
        """Count one batch.

        Parameters
        ----------
        labels, preds : list of NDArray
            Arrays of batch_size entries each.

        Raises
        ------
        DataError
            A label and its prediction of unequal sizes, or one without the other.
        """
        if len(labels) != len(preds):
            raise DataError(f"there are {len(labels)} labels and {len(preds)} predictions; give one of each.")
        for label, prediction in zip(labels, preds, strict=True):
            shape, context = label.shape, prediction.context  # each a call into MXNet, so asked once
            if self._kept_as is not None and context != self._kept_as[1]:
                # Of several devices that share a batch: errors are kept on one.
                context = self._kept_as[1]
                prediction = prediction.as_in_context(context)
            if prediction.shape != shape:
                if prediction.size != label.size:
                    raise DataError(
                        f"a label of shape {shape} and a prediction of {prediction.shape} do not make pairs."
                    )
                prediction = prediction.reshape(shape)
            if label.context != context:
                label = label.as_in_context(context)
            if (shape, context) != self._kept_as:
                self._fetch()
                self._kept_as = (shape, context)
                n_kept = max(1, min(_KEPT_BATCHES, _KEPT_ERRORS // label.size))
                self._kept_errors = mx.nd.empty((n_kept, *shape), ctx=context)
                self._rows = [self._kept_errors[at] for at in range(n_kept)]
            elif self._kept == len(self._rows):
                self._fetch()
            mx.nd.elemwise_sub(label, prediction, out=self._rows[self._kept])
            self._kept += 1

    def _fetch(self) -> None:
        if self._kept:
            for row in self._kept_errors[: self._kept].asnumpy().astype(np.float64).reshape(self._kept, -1):
                error = row if self.n_ratings is None else row[: self.n_ratings - self._counted]
                self._totals.append(self._sum(error))
                self._counted += len(error)
            self._kept = 0

    def get(self) -> tuple[str, float]:
        """(name, value); NaN when nothing was counted yet."""
        self._fetch()
        return self.name, self._value(math.fsum(self._totals) / self._counted) if self._counted else math.nan

    @staticmethod
    def _sum(error: np.ndarray) -> float:
        raise NotImplementedError

    @staticmethod
    def _value(mean: float) -> float:
        return mean


class RMSE(_Total):
    """Root of (total squared error / number of ratings)."""

    label = "rmse"

    @staticmethod
    def _sum(error: np.ndarray) -> float:
        return float(np.dot(error, error))

    @staticmethod
    def _value(mean: float) -> float:
        return math.sqrt(mean)


class MAE(_Total):
    """Total absolute error / number of ratings."""

    label = "mae"

    @staticmethod
    def _sum(error: np.ndarray) -> float:
        return float(np.abs(error).sum())
