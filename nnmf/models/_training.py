"""How a `Model` is trained: what is checked before, what it is meanwhile, and what it is whatever ends the training."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmf.cluster import check_cluster, joined
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, DataError
from nnmf.files import walk
from nnmf.metrics import rmse, rmse_of_blocks
from nnmf.tables import Ratings
from nnmf.training import (
    Callback,
    Course,
    EarlyStopping,
    EpochResult,
    Keeper,
    Learner,
    Progress,
    Sample,
    Scorer,
    Snapshot,
    chosen_progress,
    run,
)

from ._answers import Answers
from ._biases import DampedBiases
from ._catalogue import Catalogue
from ._ids import check_table, under
from ._kind import Kind
from ._learned import Learned
from ._mean import own_scorer
from ._means import Averaging

logger = logging.getLogger("nnmf")


@dataclass(frozen=True)
class Watched:
    """What is told of a training, measured while it runs, or runs it: it changes nothing but when training stops.

    Attributes
    ----------
    callbacks : iterable of callable
    progress : Progress or bool, default=None
        As `chosen_progress` takes it.
    test : Ratings, default=None
        Ratings that are measured after each epoch and choose nothing.
    warns : bool, default=True
        Whether to say so where what comes of it is of no use.
    cluster : str or distributed.Client, default=None
        Whose workers train; None: this process.
    """

    callbacks: Iterable[Callback] = ()
    progress: Progress | bool | None = None
    test: Ratings | None = None
    warns: bool = True
    cluster: Any = None


def fit(model: Kind, train: Ratings, valid: Ratings | None, watched: Watched) -> None:
    """Train from drawn parameters; see `Model.fit`."""
    _check_tables(model.config, train, valid)
    _check_cluster(model, watched)
    if watched.cluster is None:
        model.check_alone()
    _begin(model, model.config_for(train, valid), train, valid, watched)


def train_once(model: Kind, config: TrainConfig, train: Ratings, valid: Ratings | None) -> None:
    """Train from drawn parameters with these settings, watched by nobody, to see what comes of them."""
    model._learned = None
    _begin(model, config, train, valid, Watched(progress=False, warns=False))


def _begin(model: Kind, config: TrainConfig, train: Ratings, valid: Ratings | None, watched: Watched) -> None:
    _run(model, config, Catalogue.of(train, config.negatives or 0), train, valid, None, [], 1, watched)


def fit_more(
    model: Kind,
    ratings: Ratings,
    valid: Ratings | None,
    n_epochs: int | None,
    watched: Watched,
) -> None:
    """Train from what is kept on another table; see `Model.fit_more`."""
    learned = model._need()
    _check_tables(model.config, ratings, valid)
    _check_cluster(model, watched)
    done = len(learned.history)
    n_more = n_epochs if n_epochs is not None else (model.config.n_epochs or 0) - learned.compared_from + 1
    if isinstance(n_more, bool) or not isinstance(n_more, (int, np.integer)) or n_more < 1:
        raise ConfigError(f"n_epochs: got {n_epochs!r}; give a whole number of at least 1.")
    config = dataclasses.replace(model.config, n_epochs=done + int(n_more))
    catalogue, table = learned.answers.catalogue.extended(ratings)
    _run(model, config, catalogue, table, valid, learned.kept, learned.history, done + 1, watched)


def resume(model: Kind, train: Ratings, valid: Ratings | None, watched: Watched) -> None:
    """Train on from the last epoch; see `Model.resume`."""
    learned = model._need()
    _check_tables(model.config, train, valid)
    _check_cluster(model, watched)
    catalogue = learned.answers.catalogue
    if train.digest != catalogue.digest:
        raise DataError(
            f"{train.name}: is not the table that training began with, so it cannot go on as if it never stopped; "
            "give that table, or learn from a new one with fit_more."
        )
    if learned.last is None:
        raise ConfigError(
            "the model keeps no state of its last epoch to go on from; take load_checkpoint of a run, or fit_more."
        )
    model.check_same(train)
    # The same table, and the very id maps of the model, so that looking its ids up is not needed.
    table = train.under(catalogue.users, catalogue.items, catalogue.scale)
    start, first = learned.last, learned.compared_from
    _run(model, model.config, catalogue, table, valid, start, learned.history, first, watched, learned.kept)


def _run(
    model: Kind,
    config: TrainConfig,
    catalogue: Catalogue,
    train: Ratings,
    valid: Ratings | None,
    start: Snapshot | None,
    before: list[EpochResult],
    compared_from: int,
    watched: Watched,
    kept: Snapshot | None = None,
) -> None:
    """Train, and make the model what came of it; whatever goes wrong, it is what it was, or holds whole epochs."""
    was, config_was = model._learned, model.config
    every: list[Callback] = [
        *_checked(watched.callbacks),
        *([EarlyStopping(config.patience)] if config.patience else []),
    ]
    table, test = (None if ratings is None else under(catalogue, ratings) for ratings in (valid, watched.test))
    history = list(before)
    join = Averaging(compared_from, config.n_epochs or compared_from)
    keeper = Keeper(_what_is_kept(config, table), kept, _lowest(history[compared_from - 1 :]), join)
    if start is not None:
        start = dataclasses.replace(start, scorer=own_scorer(start.scorer))
    progress = chosen_progress(watched.progress)
    model.config = config
    learner: Learner | None = None

    def judge(ratings: Ratings | None) -> Callable[[Scorer], float] | None:
        return None if ratings is None else lambda scorer: Answers(catalogue, scorer).rmse(ratings)

    def epoch_end(result: EpochResult) -> bool:
        assert learner is not None and keeper.kept is not None
        history.append(result)
        now = keeper.kept
        if now.epoch != result.epoch:
            now = Snapshot(result.epoch, learner.snapshot(), learner.state())
        model._learned = Learned(Answers(catalogue, now.scorer), history, keeper.kept, now, compared_from)
        # Every callback hears of the epoch before one of them may stop training.
        return any([callback(result, model) for callback in every])

    try:
        with nullcontext() if watched.cluster is None else joined(watched.cluster, model.own_workers) as client:
            learner = model.learner(catalogue, start)
            learner.cluster = client
            first = len(history) + 1
            run(
                learner,
                train,
                Course(config, first, compared_from, judge(table), judge(test), keeper, epoch_end, progress),
            )
    except BaseException:
        # A run that is resumed is the one it was: its finished epochs stay, as those of a first training do.
        whole = (was is None or kept is not None) and keeper.kept is not None and history
        model._learned = _learned(catalogue, history, keeper.kept, compared_from) if whole else was
        if not whole:
            model.config = config_was
        raise
    model._learned = _learned(catalogue, history, keeper.kept, compared_from)
    if watched.warns and not catalogue.negatives:
        biases = DampedBiases.of(train)
        _warn_of_less(catalogue, biases, train, table, model)
        if test is not None and len(test):
            _warn_of_test(catalogue, biases, test, model)


def _what_is_kept(config: TrainConfig, valid: Ratings | None) -> str:
    # With negatives the best prediction of ratings is not what is wanted, so that the last epoch counts.
    return config.keep or ("best" if valid is not None and not config.negatives else "last")


def _checked(callbacks: Any) -> list[Callback]:
    """The callbacks, or a ConfigError for what is none."""
    found: list[Any] = list(callbacks) if isinstance(callbacks, Iterable) else [None]
    if not all(map(callable, found)):
        raise ConfigError(f"callbacks: got {callbacks!r}; give a list of functions of an EpochResult and the model.")
    return found


def _learned(catalogue: Catalogue, history: list[EpochResult], kept: Snapshot | None, compared_from: int) -> Learned:
    assert kept is not None
    last = kept if kept.epoch == len(history) else None
    return Learned(Answers(catalogue, kept.scorer), history, kept, last, compared_from)


def _lowest(history: list[EpochResult]) -> float:
    return min((past.valid_rmse for past in history if past.valid_rmse is not None), default=math.inf)


def _warn_of_less(
    catalogue: Catalogue, biases: DampedBiases, train: Ratings, valid: Ratings | None, model: Kind
) -> None:
    """Say so where a model predicts no better than one number, or damped biases, do: of the validation ratings, else of those it
    was trained on.
    """
    if valid is not None:
        name, found = "validation", model.history[model.best_epoch - 1].valid_rmse
        mean, biased = _least(catalogue, biases, valid)
    else:
        sample = Sample(train)
        name, found, mean = "training", sample.rmse(model.scorer), sample.spread()
        biased = rmse(sample.rating, biases.predict(sample.user, sample.item))
    _compare(name, found, mean, biased, "; try other settings, more epochs or ")


def _warn_of_test(catalogue: Catalogue, biases: DampedBiases, test: Ratings, model: Kind) -> None:
    """Say so where a model learned the ratings it was trained on, and predicts others no better than those do."""
    _compare("test", model.history[model.best_epoch - 1].test_rmse, *_least(catalogue, biases, test), "")


def _least(catalogue: Catalogue, biases: DampedBiases, ratings: Ratings) -> tuple[float, float]:
    """RMSE of ratings by the mean of all, and by damped biases."""
    return (
        rmse_of_blocks((part, np.full(len(part), catalogue.base)) for (part,) in walk(ratings.rating)),
        rmse_of_blocks(
            (rating, np.clip(biases.predict(user, item), *catalogue.scale))
            for user, item, rating in walk(ratings.user, ratings.item, ratings.rating)
        ),
    )


def _compare(name: str, found: float | None, mean: float, biased: float, advice: str) -> None:
    than = "The %s RMSE, %.4f, is no better than that of "
    if found is not None and found >= mean > 0:
        advice = advice and f"{advice}another model"
        logger.warning(than + "answering the mean rating to everything, %.4f%s.", name, found, mean, advice)
    elif found is not None and found >= biased > 0:
        advice = advice and f"{advice}a model with biases, such as biased_mlp or svd"
        logger.warning(than + "damped means of users and items, %.4f%s.", name, found, biased, advice)


def _check_cluster(model: Kind, watched: Watched) -> None:
    if watched.cluster is not None:
        model.check_cluster()
        check_cluster(watched.cluster, model.own_workers)


def _check_tables(config: TrainConfig, train: Ratings, valid: Ratings | None) -> None:
    """Refuse what cannot be trained with, before anything of the model changes."""
    for what, table in (("train", train), ("valid", valid)):
        if what == "train" or table is not None:
            check_table(table, what)
    if len(train) == 0:
        raise DataError(f"{train.name}: holds no ratings to train on.")
    if train.n_unknown:
        raise DataError(f"{train.name}: holds ratings of unknown users or items; drop them with take(known).")
    if config.keep == "best" and valid is None:
        raise ConfigError(
            "keep: got 'best', which validation ratings tell, and there are none; give some, or leave it out."
        )
    if config.patience and config.keep in ("last", "mean"):
        raise ConfigError(
            f"patience: waits for a better epoch, which keep={config.keep!r} does not seek; leave one of them out."
        )
    if config.patience and (valid is None or config.negatives):
        raise ConfigError(
            "patience: needs validation ratings to wait for, and no negatives, with which the RMSE is not what is sought; "
            "leave it out."
        )
    if valid is not None and len(valid) == 0:
        raise DataError(f"{valid.name}: holds no ratings to validate on.")
