"""What happens at the end of an epoch: the one callback signature, early stopping and the log line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnmf.models import Model

logger = logging.getLogger("nnmf")


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to.

    Attributes:
        epoch: from 1.
        train_rmse: over all ratings of the epoch, each predicted before its step.
        valid_rmse: over all validation ratings after the epoch, unclipped; None without such ratings.
        learning_rate: the epoch's.
        samples_per_second: training ratings over the seconds of training.
        seconds: of training and validation together.
    """

    epoch: int
    train_rmse: float
    valid_rmse: float | None
    learning_rate: float
    samples_per_second: float
    seconds: float


#: Called after each epoch with its result and the model as it stands; an answer of True stops training.
Callback = Callable[[EpochResult, "Model"], bool | None]


class EarlyStopping:
    """Callback that stops training once ``patience`` epochs in a row brought no better validation RMSE.

    It reads the model's history alone, so that a resumed run stops where an uninterrupted one does.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def __call__(self, result: EpochResult, model: Model) -> bool:
        stop = result.valid_rmse is not None and result.epoch - model.best_epoch >= self.patience
        if stop:
            logger.info(
                "Stopped: no better validation RMSE for %d epochs; the best was epoch %d.",
                self.patience,
                model.best_epoch,
            )
        return stop


def log_epoch(result: EpochResult, model: Model) -> None:
    """Callback that logs one line an epoch."""
    valid = "" if result.valid_rmse is None else f"  valid RMSE {result.valid_rmse:.4f}"
    logger.info(
        "Epoch %d: train RMSE %.4f%s  %s samples/s  %.2f s  (%s)",
        result.epoch,
        result.train_rmse,
        valid,
        f"{result.samples_per_second:,.0f}",
        result.seconds,
        model.dataset,
    )
