"""Damped biases: what a mean of all, of each item and of each user say of a rating, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnmf.tables import Ratings

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
        mean = float(train.rating.mean(dtype=np.float64))
        item_bias = _damped(train.item, train.rating - mean, train.n_items)
        user_bias = _damped(train.user, train.rating - mean - item_bias[train.item], train.n_users)
        return cls(mean, user_bias, item_bias)

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Unclipped predictions for indices, -1 where unknown, which has no bias: float64 array of shape (n,)."""
        of_user, of_item = (np.append(bias, 0.0) for bias in (self.user_bias, self.item_bias))  # -1 reads the last
        prediction: np.ndarray = self.mean + of_user[user] + of_item[item]
        return prediction


def _damped(index: np.ndarray, rest: np.ndarray, n: int) -> np.ndarray:
    found: np.ndarray = np.bincount(index, weights=rest, minlength=n) / (np.bincount(index, minlength=n) + DAMPING)
    return found
