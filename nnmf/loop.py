"""The one loop over epochs that trains every kind of model: schedule, validation, divergence, best epoch, callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .callbacks import Callback, EarlyStopping, EpochResult
from .data import Ratings
from .errors import TrainingError

if TYPE_CHECKING:
    from .model import Model

# A training RMSE this many times what predicting zero would give is no transient any more.
_EXPLODED = 100


class Progress(Protocol):
    """Shows how training goes; see `nnmf.progress`."""

    def begin(self, n_epochs: int, n_ratings: int, done: int) -> None:
        """Training of ``n_epochs`` epochs over ``n_ratings`` ratings begins, ``done`` epochs of them already behind it."""

    def tick(self, epoch: int, done: int, rmse: float, samples_per_second: float) -> None:
        """``done`` ratings of an epoch were trained on, with the given RMSE so far."""

    def end(self) -> None:
        """Training ended, one way or another."""


def run(
    model: Model, train: Ratings, valid: Ratings | None, callbacks: Iterable[Callback], progress: Progress | None
) -> None:
    """Train a model up to its ``config.n_epochs``, from the epoch after those of its history."""
    config = model.config
    assert config.n_epochs is not None
    every: list[Callback] = [*callbacks, *([EarlyStopping(config.patience)] if config.patience else [])]
    exploded = _EXPLODED * math.sqrt(float(np.dot(train.rating, train.rating)) / len(train))
    model._begin(train)
    first = len(model.history) + 1
    if progress:
        progress.begin(config.n_epochs, len(train), first - 1)
    try:
        for epoch in range(first, config.n_epochs + 1):
            learning_rate = config.learning_rate_at(epoch)
            start = time.perf_counter()

            def check(rmse: float, epoch: int = epoch) -> None:
                if not rmse < exploded:  # NaN too
                    raise _diverged(model, epoch, rmse)

            def tick(done: int, rmse: Callable[[], float], epoch: int = epoch, start: float = start) -> None:
                now = rmse()
                check(now)
                if progress:
                    progress.tick(epoch, done, now, done / (time.perf_counter() - start))

            train_rmse = model._epoch(epoch, learning_rate, tick)
            trained = time.perf_counter() - start
            check(train_rmse)
            valid_rmse = None if valid is None else model.rmse(valid)
            seconds = time.perf_counter() - start
            result = EpochResult(epoch, train_rmse, valid_rmse, learning_rate, len(train) / trained, seconds)
            best = min(
                (past.valid_rmse for past in model.history[model.compared_from - 1 :] if past.valid_rmse is not None),
                default=math.inf,
            )
            model.history.append(result)
            if valid_rmse is None:
                model.best_epoch = epoch
            elif valid_rmse < best:
                model.keep_best()
            # Every callback hears of the epoch before one of them may stop training.
            if any([callback(result, model) for callback in every]):
                break
    finally:
        model._end()
        if progress:
            progress.end()
    model.restore_best()


def _diverged(model: Model, epoch: int, rmse: float) -> TrainingError:
    config = model.config
    lower = [f"learning_rate ({config.learning_rate:g})"]
    if config.momentum:
        lower.append(f"momentum ({config.momentum:g})")
    larger = " or raise batch_size" if config.batch_size else ""
    return TrainingError(
        f"training diverged in epoch {epoch}: the training RMSE reached {rmse:.3g}; lower {' or '.join(lower)}{larger}."
    )
