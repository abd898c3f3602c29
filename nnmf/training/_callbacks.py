"""What happens at the end of an epoch: the one callback signature, early stopping and the log line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

logger = logging.getLogger("nnmf")


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to.

    Attributes
    ----------
    epoch : int
        From 1.
    train_rmse : float
        Over all ratings of the epoch, each predicted before its step, as the step saw it: not clipped.
    valid_rmse : float or None
        Over all validation ratings after the epoch, as `Model.rmse` counts it; None without such ratings.
    learning_rate : float
        The epoch's.
    samples_per_second : float
        Training ratings over the seconds of training.
    seconds : float
        Of training and of what was measured after it.
    test_rmse : float or None
        As ``valid_rmse``, of test ratings that were given to be watched; they choose nothing.
    """

    epoch: int
    train_rmse: float
    valid_rmse: float | None
    learning_rate: float
    samples_per_second: float
    seconds: float
    test_rmse: float | None = None


#: Called after each epoch with its result and the model as it stands; an answer of True stops training.
Callback = Callable[[EpochResult, Any], "bool | None"]


class Trained(Protocol):
    """What the callbacks here read of a model."""

    best_epoch: int
    dataset: str


class EarlyStopping:
    """Callback that stops training once ``patience`` epochs in a row brought no better validation RMSE.

    It reads the model's history alone, so that a resumed run stops where an uninterrupted one does.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def __call__(self, result: EpochResult, model: Trained) -> bool:
        stop = result.valid_rmse is not None and result.epoch - model.best_epoch >= self.patience
        if stop:
            logger.info(
                "Stopped: no better validation RMSE for %d epochs; the best was epoch %d.",
                self.patience,
                model.best_epoch,
            )
        return stop


def log_epoch(result: EpochResult, model: Trained) -> None:
    """Callback that logs one line an epoch."""
    measured = (("valid", result.valid_rmse), ("test", result.test_rmse))
    others = "".join(f"  {name} RMSE {rmse:.4f}" for name, rmse in measured if rmse is not None)
    logger.info(
        "Epoch %d: train RMSE %.4f%s  %s samples/s  %.2f s  (%s)",
        result.epoch,
        result.train_rmse,
        others,
        f"{result.samples_per_second:,.0f}",
        result.seconds,
        model.dataset,
    )
