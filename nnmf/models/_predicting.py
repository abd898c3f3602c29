"""`Predicting`: the part of a `Model` that answers for pairs of users and items, known or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError, one_of
from nnmf.metrics import rmse
from nnmf.tables import UNKNOWN, IdMap, Ratings

#: what may answer for ids that training never saw
UNKNOWN_WAYS = ("mean", "error")


class Predicting(ABC):
    """Predictions, cold start and clipping; see `Model` for the attributes."""

    users: IdMap
    items: IdMap
    scale: tuple[float, float]
    global_mean: float
    user_mean: np.ndarray
    item_mean: np.ndarray
    history: list[Any]

    @abstractmethod
    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Unclipped predictions, float32 (n,), for known indices, int32 (n,) each."""

    @property
    def n_users(self) -> int:
        """Users in the id map."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Items in the id map."""
        return len(self.items)

    def check_trained(self) -> None:
        """Raise a ConfigError unless the model is trained."""
        if not self.history:
            raise ConfigError("the model is not trained yet; fit it first.")

    def predict(
        self, user_ids: npt.ArrayLike, item_ids: npt.ArrayLike, *, clip: bool = True, unknown: str = "mean"
    ) -> np.ndarray:
        """Predicted ratings of (user, item) pairs, in the file's own ids.

        Args:
            user_ids, item_ids: ids, shape (n,) each; a single id on one side goes with all of the other.
            clip: keep predictions within the rating scale.
            unknown: what answers for ids that training never saw: "mean" (see the class), or "error".

        Returns:
            float32 array of shape (n,).

        Raises:
            DataError: unequal lengths; with ``unknown="error"`` an unknown id, named.
            ConfigError: another value of ``unknown``, or a model that is not trained.
        """
        self.check_trained()
        sides = self._index("user", user_ids, unknown), self._index("item", item_ids, unknown)
        try:
            user, item = np.broadcast_arrays(*sides)
        except ValueError:
            raise DataError(
                f"{len(sides[0])} user ids and {len(sides[1])} item ids do not make pairs; give as many of each."
            ) from None
        prediction = self.predict_index(user, item)
        return np.clip(prediction, *self.scale, out=prediction) if clip else prediction

    def predict_index(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Unclipped predictions, float32 (n,), for indices, -1 where unknown: int32 (n,) each.

        Raises:
            DataError: an index beyond the tables.
        """
        for side, index, n in (("user", user, self.n_users), ("item", item, self.n_items)):
            if len(index) and not UNKNOWN <= index.min() <= index.max() < n:
                raise DataError(f"{side}: indices run from {index.min()} to {index.max()}, the model has {n} {side}s.")
        known = (user != UNKNOWN) & (item != UNKNOWN)
        if known.all():
            return self._predict(user, item) if len(user) else np.empty(0, np.float32)
        user_mean, item_mean = self._means()
        one_side = np.where(item != UNKNOWN, item_mean[item], np.float32(self.global_mean))
        prediction = np.where(user != UNKNOWN, user_mean[user], one_side).astype(np.float32)
        if known.any():
            prediction[known] = self._predict(user[known], item[known])
        return prediction

    def rmse(self, ratings: Ratings) -> float:
        """RMSE of the unclipped predictions over all ratings of a table."""
        if ratings.users is not self.users or ratings.items is not self.items:
            ratings = ratings.under(self.users, self.items, self.scale)
        return rmse(ratings.rating, self.predict_index(ratings.user, ratings.item))

    def _means(self) -> tuple[np.ndarray, np.ndarray]:
        """What is predicted of a user, float32 (n_users,), and of an item (n_items,), when the other side is unknown."""
        return self.user_mean, self.item_mean

    def _index(self, side: str, ids: npt.ArrayLike, unknown: str) -> np.ndarray:
        """Indices of one side's ids, -1 where unknown unless that is an error."""
        if unknown not in UNKNOWN_WAYS:
            raise ConfigError(one_of(unknown, UNKNOWN_WAYS, "unknown"))
        known = self.users if side == "user" else self.items
        index = known.index(ids)
        if unknown == "error" and (index == UNKNOWN).any():
            first = np.atleast_1d(np.asarray(ids)).tolist()[int(np.argmax(index == UNKNOWN))]
            raise DataError(f"{side} {first!r} is not among the {len(known)} {side}s trained on.")
        return index
