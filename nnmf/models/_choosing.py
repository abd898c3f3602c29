"""`best_of`: which of several settings suits a table, by ratings that are held out of it."""

from __future__ import annotations

import copy
import itertools
import logging
import math
from collections.abc import Sequence

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import TrainingError
from nnmf.tables import Ratings

from ._kind import Kind
from ._training import train_once

logger = logging.getLogger("nnmf")

# Tenths of the ratings are held out, one after another, until so many are predicted: fewer find chance differences.
_TENTHS, _ENOUGH = 10, 5000
# Ratings of a table for which settings are chosen, at least.
_FEWEST = 500


def best_of(model: Kind, configs: Sequence[TrainConfig], train: Ratings, valid: Ratings | None) -> TrainConfig:
    """The settings with which a model predicts ratings best that it was not trained on.

    Parameters
    ----------
    model : Kind
        The model; it stays as it is.
    configs : sequence of TrainConfig
        Those to try, and first the one to take where there are not ratings enough to choose by.
    train : Ratings
        The ratings to train on. Without a validation table a random tenth of them, drawn by the seed, is held out to choose by;
        of a table of fewer than 50,000 ratings several tenths in turn.
    valid : Ratings or None
        Ratings to choose by in place of those.

    Returns
    -------
    TrainConfig
        The first of those with the lowest RMSE. Settings that diverge are not chosen while others do not.
    """
    if valid is None and len(train) < _FEWEST:
        logger.info("Settings: the fast ones, for %d ratings are too few to choose by (under %d).", len(train), _FEWEST)
        return configs[0]
    squares, n_ratings = [0.0] * len(configs), 0
    for part, judges in _parts(train, valid, model.config.seed):
        n_ratings += len(judges)
        for at, config in enumerate(configs):
            squares[at] += len(judges) * _rmse(model, config, part, judges, keep_best=valid is not None) ** 2
    best = configs[squares.index(min(squares))]
    values = [config.to_dict() for config in configs]
    names = [name for name in values[0] if any(value[name] != values[0][name] for value in values)]
    logger.info(
        "Settings: %s, of %d tried the best on %d %s ratings (RMSE %.4f).",
        ", ".join(f"{name}={getattr(best, name)}" for name in names),
        len(configs),
        n_ratings,
        "held-out" if valid is None else "validation",
        math.sqrt(min(squares) / n_ratings),
    )
    return best


def _parts(train: Ratings, valid: Ratings | None, seed: int) -> list[tuple[Ratings, Ratings]]:
    """(ratings to train on, ratings to choose by)"""
    if valid is not None:
        return [(train, valid)]
    if train.home is not None:
        if len(train) >= _TENTHS * _ENOUGH:
            return [train.split(1 - 1 / _TENTHS, seed)]
        train = train.take(np.arange(len(train)))  # memory holds one of so few
    return list(itertools.islice(train.folds(_TENTHS, seed), math.ceil(_ENOUGH / len(train) * _TENTHS)))


def _rmse(model: Kind, config: TrainConfig, part: Ratings, judges: Ratings, keep_best: bool) -> float:
    """What a model of these settings comes to, by its best epoch or by its last."""
    tried = copy.copy(model)
    try:
        train_once(tried, config, part, judges if keep_best else None)
    except TrainingError:
        return math.inf
    return tried.answers.rmse(judges.under(tried.users, tried.items, tried.scale))
