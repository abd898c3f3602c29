"""Between ids and indices, on a model's border: look-ups, checks of arguments, frames."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError, one_of
from nnmf.files import walk
from nnmf.tables import UNKNOWN, Ratings, as_seconds

from ._answers import Answers
from ._catalogue import Catalogue

if TYPE_CHECKING:
    import pandas

logger = logging.getLogger("nnmf")

#: what may answer for ids that training never saw
UNKNOWN_WAYS = ("mean", "error")
# So many pairs without one known id are no cold start any more.
_MANY = 10
# Places of lists, where most would be empty.
_MOST_PLACES = 1 << 27


def index_of(catalogue: Catalogue, side: str, ids: npt.ArrayLike, unknown: str) -> np.ndarray:
    """Indices of one side's ids, -1 where unknown unless that is an error."""
    if unknown not in UNKNOWN_WAYS:
        raise ConfigError(one_of(unknown, UNKNOWN_WAYS, "unknown"))
    known = catalogue.users if side == "user" else catalogue.items
    index = catalogue.known(side, known.index(ids))
    if unknown == "error" and (index == UNKNOWN).any():
        first = np.atleast_1d(np.asarray(ids)).tolist()[int(np.argmax(index == UNKNOWN))]
        raise DataError(f"{side} {first!r} is not among the {len(known)} {side}s trained on.")
    return index


def pairs_of(
    answers: Answers,
    user_ids: npt.ArrayLike,
    item_ids: npt.ArrayLike,
    unknown: str,
    timestamps: npt.ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Users and items, int32 (n,) each, of pairs of ids, and their timestamps, int64 (n,) or None; see `Model.predict`."""
    sides = [index_of(answers.catalogue, side, ids, unknown) for side, ids in (("user", user_ids), ("item", item_ids))]
    try:
        user, item = np.broadcast_arrays(*sides)
    except ValueError:
        raise DataError(
            f"{len(sides[0])} user ids and {len(sides[1])} item ids do not make pairs; give as many of each."
        ) from None
    if len(user) >= _MANY:
        _warn_of_strangers(f"{len(user):,} pairs", user, item)
    return user, item, None if timestamps is None else _timestamps(answers, timestamps, len(user))


def _timestamps(answers: Answers, timestamps: npt.ArrayLike, n: int) -> np.ndarray:
    """Timestamps of pairs as whole seconds, int64 (n,)."""
    if not answers.scorer.dated:
        raise ConfigError(
            "timestamps: this model uses no dates; leave them out, or train 'bayes' with the feature 'day'."
        )
    seconds = as_seconds(timestamps, "timestamps")
    if seconds.shape not in ((n,), (1,)):
        raise DataError(f"timestamps: {len(seconds)} of them do not go with {n} pairs; give as many, or one for all.")
    return np.broadcast_to(seconds, (n,))


def risk_of(risk: Any) -> float:
    """The number of deviations to rank by, or a ConfigError."""
    if isinstance(risk, bool) or not isinstance(risk, (int, float, np.number)) or not math.isfinite(risk):
        raise ConfigError(f"risk: got {risk!r}; give a number, below 0 to rank what is sure first.")
    return float(risk)


def _warn_of_strangers(what: str, user: np.ndarray, item: np.ndarray) -> None:
    """Say so where not one id is known, and the predictions are all one mean."""
    blocks = walk(user, item)  # where one is known, the first of them mostly tells
    if len(user) and all((users == UNKNOWN).all() and (items == UNKNOWN).all() for users, items in blocks):
        logger.warning(
            "Not one user or item of %s is known to the model, so the mean rating answers for all of them; are the columns "
            "the other way round?",
            what,
        )


def only_known(answers: Answers, item_ids: npt.ArrayLike) -> np.ndarray:
    """Indices of those of the items that are known."""
    index = answers.catalogue.items.index(item_ids)
    return index[index != UNKNOWN]


def length(n: Any, n_lists: int, n_items: int) -> int:
    """The length of so many lists, or a ConfigError."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ConfigError(f"n: got {n!r}; give a whole number of at least 1.")
    if n > n_items and n * n_lists > _MOST_PLACES:
        raise ConfigError(f"n: got {n}; there are {n_items} items to list, and so many empty places find no room.")
    return int(n)


def check_table(table: Any, what: str) -> None:
    """Refuse what is no table of ratings."""
    if not isinstance(table, Ratings):
        raise DataError(f"{what}: got {type(table).__name__}; give a nnmf.Ratings, such as Ratings.from_frame makes.")


def under(catalogue: Catalogue, ratings: Ratings) -> Ratings:
    """A table under the ids of a catalogue; what it lacks is -1."""
    check_table(ratings, "ratings")
    if ratings.users is not catalogue.users or ratings.items is not catalogue.items:
        ratings = ratings.under(catalogue.users, catalogue.items, catalogue.scale)
    known = (catalogue.known(side, getattr(ratings, side)) for side in ("user", "item"))
    _warn_of_strangers(f"{ratings.name} ({len(ratings):,} ratings)", *known)
    return ratings


def similar(answers: Answers, side: str, wanted: Any, n: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ids (n,) of the nearest of one side, and their cosines (n,); see `Model.similar_items`."""
    index = index_of(answers.catalogue, side, [wanted], "error")
    known = answers.catalogue.users if side == "user" else answers.catalogue.items
    rows, cosine = answers.neighbours(side, int(index[0]), length(n, 1, len(known)))
    return known.at(rows), cosine


def frame(answers: Answers, side: str) -> pandas.DataFrame:
    """The vectors (and bias) of one side as a pandas frame; see `Model.to_frame`."""
    if side not in ("user", "item"):
        raise ConfigError(one_of(side, ("user", "item"), "side"))
    try:
        import pandas
    except ImportError:
        raise DataError("frames need pandas: pip install pandas; to_numpy needs nothing.") from None
    vectors = answers.scorer.vectors()
    if f"{side}_factors" not in vectors:
        raise DataError(
            f"this network has no node named {side}_tower whose product with the other side's is its prediction, so its {side}s "
            "have no vectors."
        )
    ids = (answers.catalogue.users if side == "user" else answers.catalogue.items).ids
    table = vectors[f"{side}_factors"]
    found = pandas.DataFrame(
        table, index=pandas.Index(ids, name=f"{side}_id"), columns=[f"factor_{n}" for n in range(table.shape[1])]
    )
    if f"{side}_bias" in vectors:
        found.insert(0, "bias", vectors[f"{side}_bias"])
    return found
