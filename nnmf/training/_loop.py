"""The one loop over epochs that trains every kind of model: schedule, validation, divergence, what is kept, callbacks."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import TrainingError
from nnmf.files import gather
from nnmf.tables import Ratings, root_mean_square

from ._callbacks import EpochResult
from ._keeper import Keeper
from ._protocols import Learner, Scorer

# An RMSE this many times what predicting zero would give is no transient any more.
_EXPLODED = 100
# Ratings that the parameters an epoch leaves are judged by.
_SAMPLE = 4096
# Two looks may fall within one tick of the clock.
_INSTANT = 1e-9


class Progress(Protocol):
    """Shows how training goes; see `TrainingProgress`."""

    def begin(self, n_epochs: int, n_ratings: int, done: int) -> None:
        """Training of ``n_epochs`` epochs over ``n_ratings`` ratings begins, ``done`` epochs already behind it."""

    def tick(self, epoch: int, done: int, rmse: float, samples_per_second: float) -> None:
        """``done`` ratings of an epoch were trained on, with the given RMSE so far.

        The speed is counted from the first call of a training on, which comes after what precedes the first step: putting
        the ratings in order, compiling loops. At the first call it is all there is to tell, that included.
        """

    def end(self) -> None:
        """Training ended, one way or another."""


@dataclass(frozen=True)
class Course:
    """Which epochs are trained, and how.

    Attributes
    ----------
    config : TrainConfig
        All filled in; its ``n_epochs`` is the last epoch's number.
    first : int
        Number of the first epoch to train.
    compared_from : int
        Number of the epoch at which this training began: from it the schedule runs, and the best epoch is one of its own.
    judge, watch : callable
        The RMSE of a scorer on the validation ratings, which choose the epoch, and on the test ratings, which choose
        nothing; None where there are none.
    keeper : Keeper
    epoch_end : callable
        Told of each epoch once it is kept; an answer of True stops training.
    progress : Progress, default=None
    """

    config: TrainConfig
    first: int
    compared_from: int
    judge: Callable[[Scorer], float] | None
    watch: Callable[[Scorer], float] | None
    keeper: Keeper
    epoch_end: Callable[[EpochResult], bool]
    progress: Progress | None = None


def run(learner: Learner, train: Ratings, course: Course) -> None:
    """Train a learner on a table from the first epoch of a course to its last.

    Raises
    ------
    TrainingError
        Training diverged; the sentence says which settings to lower.
    """
    last = course.config.n_epochs
    assert last is not None
    limit = _EXPLODED * max(1.0, root_mean_square(train.rating))
    speed, sample = _Speed(), Sample(train)
    try:
        learner.begin(train)
        if course.progress:
            course.progress.begin(last, learner.n_streamed, course.first - 1)
        for number in range(course.first, last + 1):
            result = _Epoch(learner, number, limit, course, speed, sample).run()
            # An epoch is in the history, and saved by a callback, or it is not: Ctrl-C waits for that moment.
            with uninterrupted():
                course.keeper.offer(result, learner)
                stop = course.epoch_end(result)
            if stop:
                break
    finally:
        learner.end()
        if course.progress:
            course.progress.end()


class Sample:
    """Some of a table's ratings, evenly spread, on which a scorer is quickly judged.

    Parameters
    ----------
    ratings : Ratings
        Every user and item known.
    """

    def __init__(self, ratings: Ratings) -> None:
        rows = np.unique(np.linspace(0, len(ratings) - 1, min(len(ratings), _SAMPLE)).astype(np.int64))
        self.user, self.item, self.rating = (
            gather(column, rows) for column in (ratings.user, ratings.item, ratings.rating)
        )

    def rmse(self, scorer: Scorer) -> float:
        """RMSE of the unclipped predictions; NaN where one is no number."""
        error = scorer.predict(self.user, self.item).astype(np.float64) - self.rating
        return math.sqrt(float(np.mean(error * error)))

    def spread(self) -> float:
        """What answering the mean of these ratings to all of them would have for RMSE."""
        return float(self.rating.std(dtype=np.float64))


class _Speed:
    """Ratings a second since the first look at a training."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def since(self, done: int, of_epoch: int, now: float, start: float) -> float:
        """The speed when ``done`` ratings of all epochs are done; at the first look that of the epoch since its start."""
        if self._first is None or done <= self._first[0]:  # nothing was trained on since
            self._first = done, now
            return of_epoch / max(now - start, _INSTANT)
        first_done, first_now = self._first
        return (done - first_done) / max(now - first_now, _INSTANT)


class _Epoch:
    """One epoch of training and validation."""

    def __init__(
        self, learner: Learner, number: int, limit: float, course: Course, speed: _Speed, sample: Sample
    ) -> None:
        self.learner, self.number, self.limit, self.course = learner, number, limit, course
        self.speed, self.sample = speed, sample
        self.start = time.perf_counter()

    def run(self) -> EpochResult:
        learner, course = self.learner, self.course
        config, before = course.config, course.compared_from - 1
        learning_rate = 0.0  # of what takes no steps
        if config.learning_rate is not None:
            learning_rate = config.learning_rate_at(self.number - before, (config.n_epochs or 0) - before)
        train_rmse = learner.epoch(self.number, learning_rate, self.tick)
        samples_per_second = learner.n_streamed / (time.perf_counter() - self.start)
        self.tick(learner.n_streamed, lambda: train_rmse)
        # The epoch's own figure is of the parameters before each step: what the last steps made of them shows here alone.
        self.check(self.sample.rmse(learner.scorer()))
        scorer = course.keeper.scorer(self.number, train_rmse, learner)
        valid_rmse = None if course.judge is None else self.check(course.judge(scorer))
        test_rmse = None if course.watch is None else course.watch(scorer)
        seconds = time.perf_counter() - self.start
        return EpochResult(self.number, train_rmse, valid_rmse, learning_rate, samples_per_second, seconds, test_rmse)

    def tick(self, done: int, rmse: Callable[[], float]) -> None:
        """Look at the epoch after ``done`` of its ratings."""
        if not done:
            return  # of a table of a few ratings no whole one is done yet, and there is no speed to tell
        now = self.check(rmse())
        if self.course.progress:
            total = (self.number - self.course.first) * self.learner.n_streamed + done
            speed = self.speed.since(total, done, time.perf_counter(), self.start)
            self.course.progress.tick(self.number, done, now, speed)

    def check(self, rmse: float) -> float:
        if rmse < self.limit:
            return rmse
        config = self.course.config  # exploded, or NaN
        settings = {name: getattr(config, name) for name in ("learning_rate", "momentum") if getattr(config, name)}
        lower = [f"{name} ({value:g})" for name, value in settings.items()] or ["init_std"]
        larger = " or raise batch_size" if config.batch_size else ""
        advice = f", or {self.learner.advice}" if self.learner.advice else ""
        raise TrainingError(
            f"training diverged in epoch {self.number}: the RMSE reached {rmse:.3g}; lower {' or '.join(lower)}{larger}{advice}."
        )


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C, and its twin of batch systems, back until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    caught: list[tuple[Any, Any]] = []
    held = [number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number))]
    before = {number: signal.signal(number, lambda *arguments: caught.append(arguments)) for number in held}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        before[caught[0][0]](*caught[0])  # type: ignore[operator, misc] # those that are not callable were left alone
