"""Answers for indices: predictions and lists, from a scorer where it knows, by the cold-start rule where it does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, partial
from statistics import NormalDist
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.files import walk
from nnmf.metrics import rmse_of_blocks
from nnmf.ranking import ItemIndex, top_n_of_scores
from nnmf.tables import UNKNOWN, Ratings, as_index, as_index_pairs, as_timestamps
from nnmf.training import Scorer, check_level

from ._catalogue import Catalogue

# Scores of a model without towers are found for this many (user, item) pairs at a time.
_BLOCK_PAIRS = 1 << 20
_BLOCK_USERS = 1 << 13


class Answers:
    """What a catalogue and a scorer answer together. It never changes, so threads may ask it side by side.

    Cold start: where the user is unknown the item's mean is answered, or its bias where the scorer has one; where the item
    is, the user's; where both are, the mean of all. Who stands in the id map without a training rating is unknown, too.
    """

    def __init__(self, catalogue: Catalogue, scorer: Scorer) -> None:
        self.catalogue, self.scorer = catalogue, scorer

    @cached_property
    def user_alone(self) -> np.ndarray:
        """What is predicted of each user when the item is unknown: float32 array of shape (n_users,)."""
        return self._alone("user", self.catalogue.user_mean)

    @cached_property
    def item_alone(self) -> np.ndarray:
        """What is predicted of each item when the user is unknown: float32 array of shape (n_items,)."""
        return self._alone("item", self.catalogue.item_mean)

    def _alone(self, side: str, mean: np.ndarray) -> np.ndarray:
        found = self.scorer.alone(side)
        if found is None:
            return mean
        return np.where(self.catalogue.trained(side), found, np.float32(self.catalogue.base)).astype(np.float32)

    # -- pairs -------------------------------------------------------------------------------------------------------
    def predict(self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None) -> np.ndarray:
        """Unclipped predictions, float32 (n,), for indices, -1 where unknown: int32 (n,) each.

        Timestamps, int64 (n,), count where the scorer takes them.

        Raises
        ------
        DataError
            Columns of unequal length, another type, or an index beyond the tables.
        """
        user, item, known = self._checked(user, item)
        if len(user) and known.all():
            return self._ask(self.scorer.predict, user, item, timestamp, known)
        one_side = np.where(item != UNKNOWN, self.item_alone[item], np.float32(self.catalogue.base))
        prediction = np.where(user != UNKNOWN, self.user_alone[user], one_side).astype(np.float32)
        if known.any():
            prediction[known] = self._ask(self.scorer.predict, user, item, timestamp, known)
        return prediction

    def deviation(self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None) -> np.ndarray:
        """Standard deviations of the ratings about `predict`'s answers, float32 (n,); where unknown that of all ratings.

        Raises
        ------
        ConfigError
            The model cannot tell.
        DataError
            As `predict`.
        """
        user, item, known = self._checked(user, item)
        deviation = np.full(len(user), self._spread, np.float32)
        found = self._ask(self.scorer.deviation, user, item, timestamp, known)
        if found is None:
            raise ConfigError("the model knows no deviations of its predictions; take one that draws, such as 'bayes'.")
        deviation[known] = found
        return deviation

    def interval(
        self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None, *, level: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Intervals that hold a rating with probability ``level``, within the scale: float32 (n,) each; errors as `deviation`."""
        level = check_level(level)
        user, item, known = self._checked(user, item)
        found = self._ask(partial(self.scorer.interval, level=level), user, item, timestamp, known)
        middle, reach = self.predict(user[~known], item[~known]), NormalDist().inv_cdf((1 + level) / 2) * self._spread
        bounds = np.empty(len(user), np.float32), np.empty(len(user), np.float32)
        for bound, of_known, of_unknown in zip(bounds, found, (middle - reach, middle + reach), strict=True):
            bound[known], bound[~known] = of_known, of_unknown
            np.clip(bound, *self.catalogue.scale, out=bound)
        return bounds

    @property
    def _spread(self) -> float:
        """Standard deviation of ratings of which nothing is known; of those evenly spread over the scale, where no scorer tells."""
        low, high = self.catalogue.scale
        return (high - low) / math.sqrt(12) if math.isnan(self.scorer.spread) else self.scorer.spread

    def _checked(self, user: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns of indices, -1 where unknown, and where both are known."""
        catalogue = self.catalogue
        user, item = as_index_pairs(user, item, {"user": len(catalogue.users), "item": len(catalogue.items)})
        user, item = catalogue.known("user", user), catalogue.known("item", item)
        return user, item, (user != UNKNOWN) & (item != UNKNOWN)

    def _ask(
        self,
        question: Callable[..., Any],
        user: np.ndarray,
        item: np.ndarray,
        timestamp: np.ndarray | None,
        known: np.ndarray,
    ) -> Any:
        """What the scorer answers to the pairs that are known."""
        columns = user, item, as_timestamps(timestamp, len(user)) if self.scorer.dated else None
        return question(*(None if column is None else column[known] for column in columns))

    def rmse(self, ratings: Ratings, clip: bool = True) -> float:
        """RMSE over all ratings of a table under this catalogue's ids; see `Model.rmse`."""
        stamp, low, high = ratings.timestamp, *(self.catalogue.scale if clip else (-np.inf, np.inf))
        columns = [ratings.rating, ratings.user, ratings.item, *([] if stamp is None else [stamp])]
        return rmse_of_blocks((part[0], np.clip(self.predict(*part[1:]), low, high)) for part in walk(*columns))

    # -- lists -------------------------------------------------------------------------------------------------------
    def lists(
        self,
        user: np.ndarray,
        n: int,
        exclude_seen: bool = True,
        allowed: np.ndarray | None = None,
        excluded: np.ndarray | None = None,
        risk: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items and scores, int32 and float32 (n_users_asked, n), for users by index, -1 where unknown.

        Where a list has no more items, -1 and NaN stand. ``risk``: deviations that are added to the scores.
        """
        user = self.catalogue.known("user", as_index(user, "user", len(self.catalogue.users)))
        barred: dict[str, Any] = {"allowed": allowed, "excluded": excluded}
        item, score = np.full((len(user), n), UNKNOWN, np.int32), np.full((len(user), n), np.nan, np.float32)
        known, unknown = np.flatnonzero(user != UNKNOWN), np.flatnonzero(user == UNKNOWN)
        seen = self.catalogue.seen
        if len(known) and not risk and self._index is not None:
            # Some users at a time: what is copied for them, towers and items seen, stays small beside the model.
            for rows in np.array_split(known, -(-len(known) // _BLOCK_USERS)):
                mine = seen.of_users(user[rows]) if exclude_seen else None
                item[rows], score[rows] = self._index.top(self._user_tower(user[rows]), n, seen=mine, **barred)
        elif len(known):
            n_blocks = max(1, -(-len(known) * len(self.catalogue.items) // _BLOCK_PAIRS))
            for rows in np.array_split(known, n_blocks):
                mine = seen.of_users(user[rows]) if exclude_seen else None
                scores = self._all_scores(user[rows], risk)
                item[rows], score[rows] = top_n_of_scores(scores, n, seen=mine, item_order=self._item_order, **barred)
        if len(unknown):
            # All who are unknown get the one list.
            item[unknown], score[unknown] = self._popular.top(np.ones((1, 1), np.float32), n, **barred)
        return item, score

    @cached_property
    def _item_order(self) -> np.ndarray:
        return self.catalogue.items.rank()

    @cached_property
    def _index(self) -> ItemIndex | None:
        """The items by their towers, or None without such.

        Where some items have no training rating, a column more tells them, and they have nothing else.
        """
        tower = self.scorer.towers("item")
        untrained = self.catalogue.untrained("item")
        if tower is None:
            return None
        if untrained is not None:
            trained = np.where(untrained[:, None], np.float32(0), tower)
            tower = np.column_stack([trained, untrained.astype(np.float32)])
        return ItemIndex(tower, item_order=self._item_order)

    @cached_property
    def _popular(self) -> ItemIndex:
        return ItemIndex(self.item_alone[:, None], item_order=self._item_order)

    def _user_tower(self, rows: np.ndarray) -> np.ndarray:
        tower = self.scorer.towers("user", rows)
        assert tower is not None
        if self.catalogue.untrained("item") is None:
            return tower
        return np.column_stack([tower, self.user_alone[rows]])

    def _all_scores(self, user: np.ndarray, risk: float) -> np.ndarray:
        """Scores of every item for some users: float32 (n, n_items)."""
        n_items = len(self.catalogue.items)
        pairs = np.repeat(user, n_items), np.tile(np.arange(n_items, dtype=np.int32), len(user))
        scores = self.predict(*pairs)
        if risk:
            with np.errstate(over="ignore"):
                scores += np.float32(risk) * self.deviation(*pairs)
            if not np.isfinite(scores).all():
                raise ConfigError(
                    f"risk: got {risk:g}, which makes scores that no float32 holds; give a smaller number, such as -1."
                )
        return scores.reshape(len(user), n_items)

    # -- neighbours --------------------------------------------------------------------------------------------------
    def neighbours(self, side: str, row: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n,) and cosines (n,) of those whose vectors point most nearly the way this one's does."""
        index, vectors = self._neighbourhoods[side]
        untrained = self.catalogue.untrained(side)  # whose vectors are as they were drawn
        excluded = np.array([row]) if untrained is None else np.append(np.flatnonzero(untrained), row)
        found, cosine = index.top(vectors[[row]], n, excluded=excluded)
        return found[0], cosine[0]

    @cached_property
    def _neighbourhoods(self) -> _Neighbourhoods:
        return _Neighbourhoods(self)


class _Neighbourhoods(dict[str, tuple[ItemIndex, np.ndarray]]):
    """Each side's vectors, laid out to find the nearest by, when they are first asked for."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def __missing__(self, side: str) -> tuple[ItemIndex, np.ndarray]:
        tables, catalogue = self._answers.scorer.vectors(), self._answers.catalogue
        vectors = tables.get(f"{side}_vectors", tables.get(f"{side}_factors"))
        if vectors is None:
            raise DataError(
                f"this network has no node named {side}_tower whose product with the other side's is its prediction, so its "
                f"{side}s have no vectors to compare."
            )
        order = (catalogue.users if side == "user" else catalogue.items).rank()
        self[side] = ItemIndex(vectors, item_order=order, cosine=True), vectors
        return self[side]
