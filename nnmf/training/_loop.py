"""The one loop over epochs that trains every kind of model: schedule, validation, divergence, best epoch, callbacks."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nnmf.errors import TrainingError
from nnmf.tables import Ratings

from ._callbacks import Callback, EarlyStopping, EpochResult

if TYPE_CHECKING:
    from nnmf.models import Model

# An RMSE this many times what predicting zero would give is no transient any more.
_EXPLODED = 100


class Progress(Protocol):
    """Shows how training goes; see `nnmf.progress`."""

    def begin(self, n_epochs: int, n_ratings: int, done: int) -> None:
        """Training of ``n_epochs`` epochs over ``n_ratings`` ratings begins, ``done`` epochs already behind it."""

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
    limit = _EXPLODED * max(1.0, math.sqrt(float(np.dot(train.rating, train.rating)) / len(train)))
    model._begin(train)
    try:
        done = len(model.history)
        if progress:
            progress.begin(config.n_epochs, model.n_streamed, done)
        for epoch in range(done + 1, config.n_epochs + 1):
            result = _Epoch(model, epoch, limit, progress).run(valid)
            # An epoch is in the history, and saved by a callback, or it is not: Ctrl-C waits for that moment.
            with _uninterrupted():
                _record(model, result)
                # Every callback hears of the epoch before one of them may stop training.
                stop = any([callback(result, model) for callback in every])
            if stop:
                break
    finally:
        model._end()
        model.restore_best()
        if progress:
            progress.end()


class _Epoch:
    """One epoch of training and validation."""

    def __init__(self, model: Model, epoch: int, limit: float, progress: Progress | None) -> None:
        self.model, self.epoch, self.limit, self.progress = model, epoch, limit, progress
        self.start = time.perf_counter()

    def run(self, valid: Ratings | None) -> EpochResult:
        model = self.model
        config, before = model.config, model.compared_from - 1
        learning_rate = config.learning_rate_at(self.epoch - before, (config.n_epochs or 0) - before)
        train_rmse = model._epoch(self.epoch, learning_rate, self.tick)
        samples_per_second = model.n_streamed / (time.perf_counter() - self.start)
        self.tick(model.n_streamed, lambda: train_rmse)
        valid_rmse = None if valid is None else self.check(model.rmse(valid))
        seconds = time.perf_counter() - self.start
        return EpochResult(self.epoch, train_rmse, valid_rmse, learning_rate, samples_per_second, seconds)

    def tick(self, done: int, rmse: Callable[[], float]) -> None:
        """Look at the epoch after ``done`` of its ratings."""
        now = self.check(rmse())
        if self.progress:
            self.progress.tick(self.epoch, done, now, done / (time.perf_counter() - self.start))

    def check(self, rmse: float) -> float:
        if rmse < self.limit:
            return rmse
        config = self.model.config  # exploded, or NaN
        lower = [f"learning_rate ({config.learning_rate:g})"]
        if config.momentum:
            lower.append(f"momentum ({config.momentum:g})")
        larger = " or raise batch_size" if config.batch_size else ""
        raise TrainingError(
            f"training diverged in epoch {self.epoch}: the RMSE reached {rmse:.3g}; lower {' or '.join(lower)}{larger}."
        )


def _record(model: Model, result: EpochResult) -> None:
    """Add an epoch to the history, and remember its parameters if it is the best.

    Without validation ratings the last is, and with negatives too: the best prediction of ratings is then not what is wanted.
    """
    compared = model.history[model.compared_from - 1 :]
    best = min((past.valid_rmse for past in compared if past.valid_rmse is not None), default=math.inf)
    model.history.append(result)
    if result.valid_rmse is None or model.config.negatives:
        model.best_epoch, model._best = result.epoch, {}
    elif result.valid_rmse < best:
        model.keep_best()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    caught: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *arguments: caught.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)  # None: set from outside Python
    if caught and callable(before):
        before(*caught[0])
