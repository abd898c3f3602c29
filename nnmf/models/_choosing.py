"""`best_of`: which of several settings suits a table, by ratings that are held out of it."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence

from nnmf.config import TrainConfig
from nnmf.errors import TrainingError
from nnmf.tables import Ratings

from ._kind import Kind
from ._training import train_once

logger = logging.getLogger("nnmf")

# Part of the ratings that is trained on while the settings are chosen.
_PART = 0.9
# Ratings to choose by, at least: fewer find chance differences.
_FEWEST = 100


def best_of(model: Kind, configs: Sequence[TrainConfig], train: Ratings, valid: Ratings | None) -> TrainConfig:
    """The settings with which a model predicts ratings best that it was not trained on.

    Parameters
    ----------
    model : Kind
        The model; it stays as it is.
    configs : sequence of TrainConfig
        Those to try, and first the one to take where there are not ratings enough to choose by.
    train : Ratings
        The ratings to train on: without a validation table a random tenth of them, drawn by the seed, is held out to choose by.
    valid : Ratings or None
        Ratings to choose by in place of that tenth.

    Returns
    -------
    TrainConfig
        The first of those with the lowest RMSE. Settings that diverge are not chosen while others do not.
    """
    part, judges = train.split(_PART, model.config.seed) if valid is None else (train, valid)
    if len(judges) < _FEWEST:
        logger.info(
            "Settings: the fast ones, for %d ratings are too few to choose by (%d are needed).", len(judges), _FEWEST
        )
        return configs[0]
    found = [_score(model, config, part, judges, keep_best=valid is not None) for config in configs]
    best = configs[found.index(min(found))]
    values = [config.to_dict() for config in configs]
    names = [name for name in values[0] if len({str(value[name]) for value in values}) > 1]
    logger.info(
        "Settings: %s, of %d tried on %d %s ratings the best, RMSE %.4f.",
        ", ".join(f"{name}={getattr(best, name)}" for name in names),
        len(configs),
        len(judges),
        "held-out" if valid is None else "validation",
        min(found),
    )
    return best


def _score(model: Kind, config: TrainConfig, part: Ratings, judges: Ratings, keep_best: bool) -> float:
    """RMSE of a model of these settings, of its best epoch or of its last."""
    tried = copy.copy(model)
    try:
        train_once(tried, config, part, judges if keep_best else None)
    except TrainingError:
        return math.inf
    return tried.answers.rmse(judges.under(tried.users, tried.items, tried.scale))
