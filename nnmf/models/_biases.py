"""Damped biases: what a mean of all, of each item and of each user say of a rating, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnmf.files import walk
from nnmf.tables import Ratings, counts_of, mean_of

from ._catalogue import DAMPING


@dataclass(frozen=True, eq=False)
class DampedBiases:
    """``mean + b_i + b_u``: the least that a model of ratings should be better than.

    ``b_i`` is the sum of an item's ratings over the mean, divided by their number and 5; ``b_u`` that of what is left of a user's.

    Attributes
    ----------
    mean : float
    user_bias, item_bias : float64 arrays of shape (n_users,) and (n_items,)
    """

    mean: float
    user_bias: np.ndarray
    item_bias: np.ndarray

    @classmethod
    def of(cls, train: Ratings) -> DampedBiases:
        """The biases of a table, every user and item of it known."""
        mean = mean_of(train.rating)
        item_total, user_total = np.zeros(train.n_items), np.zeros(train.n_users)
        for item, rating in walk(train.item, train.rating):
            item_total += np.bincount(item, weights=rating - mean, minlength=train.n_items)
        item_bias = item_total / (counts_of(train.item, train.n_items) + DAMPING)
        for user, item, rating in walk(train.user, train.item, train.rating):
            user_total += np.bincount(user, weights=rating - mean - item_bias[item], minlength=train.n_users)
        return cls(mean, user_total / (counts_of(train.user, train.n_users) + DAMPING), item_bias)

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Unclipped predictions for indices, -1 where unknown, which has no bias: float64 array of shape (n,)."""
        of_user, of_item = (np.append(bias, 0.0) for bias in (self.user_bias, self.item_bias))  # -1 reads the last
        prediction: np.ndarray = self.mean + of_user[user] + of_item[item]
        return prediction
