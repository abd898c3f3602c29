"""How good a model is: metrics of its predictions and lists on ratings that it was not trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from nnmf.errors import ConfigError, one_of
from nnmf.metrics import mae, rmse, rmse_per_user
from nnmf.ranking import UserItems, ranking_metrics
from nnmf.tables import UNKNOWN, Ratings

from ._answers import Answers
from ._ids import under

_RATING_METRICS = ("rmse", "mae", "rmse_per_user")
_RANKING_METRICS = ("precision", "recall", "hit_rate", "ndcg", "mrr", "map", "coverage")


def evaluate(
    answers: Answers,
    test: Ratings,
    metrics: Iterable[str] = ("rmse", "mae"),
    *,
    clip: bool = True,
    relevant_from: float | None = None,
) -> dict[str, float]:
    """Metrics of a model on a table of ratings it was not trained on.

    Parameters
    ----------
    answers : Answers
        The model's.
    test : Ratings
        The ratings, under any id maps; unknown ids are answered as `Model.predict` does.
    metrics : iterable of str
        "rmse", "mae", "rmse_per_user" (mean over the users of each one's RMSE), and, at any k, "precision@k", "recall@k",
        "hit_rate@k", "ndcg@k", "mrr@k", "map@k", "coverage@k" of the lists of all items not seen in training
        (`nnmf.ranking.ranking_metrics` has the formulas), and "within@p", for models that know deviations: the share of the
        ratings that the intervals of p % hold, which is to be p / 100. Users and items that training does not know count as missed;
        with any of these the answer says how many were judged: "judged_users", "judged_ratings".
    clip : bool, default=True
        Keep predictions within the rating scale.
    relevant_from : float, default=None
        Lowest test rating that makes an item relevant to a user; None: every test rating does.

    Raises
    ------
    ConfigError
        An unknown metric.
    """
    try:
        wanted = [metrics] if isinstance(metrics, str) else list(metrics)
        levels = {name: level for name in wanted if (level := _level(name))}
        cuts = {name: _cut(name) for name in wanted if name not in _RATING_METRICS and name not in levels}
    except TypeError:
        raise ConfigError(f"metrics: got {metrics!r}; give names, such as ['rmse', 'ndcg@10'].") from None
    catalogue = answers.catalogue
    test = under(catalogue, test)
    found: dict[str, float] = {}
    if set(wanted) & set(_RATING_METRICS):
        prediction = answers.predict(test.user, test.item, test.timestamp)
        if clip:
            prediction = np.clip(prediction, *catalogue.scale)
        found["rmse"] = rmse(test.rating, prediction)
        found["mae"] = mae(test.rating, prediction)
        found["rmse_per_user"] = rmse_per_user(test.user, test.rating, prediction)
    for name, level in levels.items():
        low, high = answers.interval(test.user, test.item, test.timestamp, level=level)
        found[name] = float(np.mean((low <= test.rating) & (test.rating <= high)))
    if cuts:
        found |= _ranking(answers, test, relevant_from, set(cuts.values()))
        wanted += ["judged_users", "judged_ratings"]
    return {name: found[name] for name in wanted}


def _ranking(answers: Answers, test: Ratings, relevant_from: float | None, cuts: set[int]) -> dict[str, float]:
    """The ranking metrics at these cuts; what training does not know is in no list, and counts as missed."""
    catalogue, n_users = answers.catalogue, len(answers.catalogue.users)
    chosen = np.ones(len(test), bool) if relevant_from is None else test.rating >= relevant_from
    user = catalogue.known("user", test.user[chosen])
    item = catalogue.known("item", test.item[chosen])
    relevant = UserItems.of(user, item, n_users)
    strange = np.bincount(user[(item == UNKNOWN) & (user != UNKNOWN)], minlength=n_users)
    judged = np.flatnonzero(relevant.n_items + strange).astype(np.int32)
    # Users that training does not know: their number in the map, or what tells the strangers apart behind all of those.
    numbers = test.user[chosen].astype(np.int64)
    if test.strangers is not None:
        numbers = np.where(numbers == UNKNOWN, n_users + test.strangers[chosen].astype(np.int64), numbers)
    _, nobody = np.unique(numbers[user == UNKNOWN], return_counts=True)
    lists, _ = answers.lists(judged, min(max(cuts), max(1, len(catalogue.items))))
    found: dict[str, float] = {}
    for k in cuts:
        found |= ranking_metrics(
            lists,
            relevant.of_users(judged),
            len(catalogue.items),
            k,
            n_unknown=strange[judged],
            unknown_users=nobody,
        )
    return found


def check_metrics(metrics: Iterable[str]) -> list[str]:
    """The names of metrics, or a ConfigError for one that there is not."""
    names = list(metrics)
    for name in names:
        if name not in _RATING_METRICS and not _level(name):
            _cut(name)
    return names


def _level(name: str) -> float:
    """The probability of ``within@p``, or 0."""
    match = re.fullmatch(r"within@([1-9]\d?)", name)
    return int(match[1]) / 100 if match else 0.0


def _cut(name: str) -> int:
    """The k of ``metric@k``."""
    match = re.fullmatch(r"(\w+)@([1-9]\d{0,9})", name)
    if match is None or match[1] not in _RANKING_METRICS:
        raise ConfigError(
            one_of(name, [*_RATING_METRICS, "within@90", *(f"{metric}@k" for metric in _RANKING_METRICS)], "metric")
        )
    return int(match[2])
