"""`Catalogue`: which users and items a model knows, what they were rated, and what is answered where one is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnmf.errors import DataError
from nnmf.ranking import UserItems
from nnmf.tables import UNKNOWN, IdMap, Ratings, counts_of, mean_of, totals_of, within_scale

# Ratings of the overall mean that each user's and item's mean is damped by, so that a few ratings do not outrank many.
# Between the users of ML-100K the means spread by a variance of about .2, within them ratings by 1.
DAMPING = 5.0


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What a model knows of its training table apart from its parameters; it never changes.

    Attributes
    ----------
    users, items : IdMap
        An id may stand there that has no training rating; it is answered as an unknown one is.
    scale : (float, float)
        Lowest and highest rating there can be; predictions are clipped to it.
    global_mean : float
        Mean rating of the first training table: what biased predictions start from.
    user_total, item_total, user_count, item_count : arrays of shape (n_users,), (n_items,)
        Sum (float64) and number (int64) of the training ratings.
    seen : UserItems
        The items that each user rated in training.
    dataset, digest : str
        Name and SHA-256 of the table last trained on.
    negatives : int
        Unobserved items that were trained on as ratings of 0 for each rating; they count in the means.
    """

    users: IdMap
    items: IdMap
    scale: tuple[float, float]
    global_mean: float
    user_total: np.ndarray
    item_total: np.ndarray
    user_count: np.ndarray
    item_count: np.ndarray
    seen: UserItems
    dataset: str
    digest: str
    negatives: int = 0

    @classmethod
    def of(cls, train: Ratings, negatives: int = 0) -> Catalogue:
        """The catalogue of a training table.

        Raises
        ------
        DataError
            Ratings whose very mean the scale does not hold, as those of a table under another's scale may be.
        """
        mean = mean_of(train.rating)
        if not within_scale(mean, train.scale):
            raise DataError(
                f"{train.name}: its mean rating, {mean:g}, lies outside its scale, from {train.scale[0]:g} to "
                f"{train.scale[1]:g}; give the scale that its ratings are of."
            )
        return cls(
            users=train.users,
            items=train.items,
            scale=train.scale,
            global_mean=mean,
            user_total=totals_of(train.user, train.rating, train.n_users),
            item_total=totals_of(train.item, train.rating, train.n_items),
            user_count=counts_of(train.user, train.n_users),
            item_count=counts_of(train.item, train.n_items),
            seen=UserItems.of(train.user, train.item, train.n_users, train.home),
            dataset=train.name,
            digest=train.digest,
            negatives=negatives,
        )

    def extended(self, ratings: Ratings) -> tuple[Catalogue, Ratings]:
        """The catalogue that takes in another table, and that table under its ids.

        Ratings of pairs that are known already are in the totals, and do not count again.
        """
        ratings.say_in_memory("Training further")
        users, items = self.users.extend(ratings.users), self.items.extend(ratings.items)
        scale = min(self.scale[0], ratings.scale[0]), max(self.scale[1], ratings.scale[1])
        table = ratings.under(users, items, scale)
        n_users, n_items = len(users), len(items)
        old_user = np.repeat(np.arange(self.seen.n_users, dtype=np.int32), self.seen.n_items)
        pairs = old_user.astype(np.int64) * n_items + self.seen.item
        new = table.take(~np.isin(table.user.astype(np.int64) * n_items + table.item, pairs))
        catalogue = Catalogue(
            users=users,
            items=items,
            scale=scale,
            global_mean=self.global_mean,
            user_total=_grown(self.user_total, totals_of(new.user, new.rating, n_users)),
            item_total=_grown(self.item_total, totals_of(new.item, new.rating, n_items)),
            user_count=_grown(self.user_count, counts_of(new.user, n_users)),
            item_count=_grown(self.item_count, counts_of(new.item, n_items)),
            seen=UserItems.of(
                np.concatenate([old_user, new.user]), np.concatenate([self.seen.item, new.item]), n_users
            ),
            dataset=ratings.name,
            digest=table.digest,
            negatives=self.negatives,
        )
        return catalogue, table

    # -- who is known ------------------------------------------------------------------------------------------------
    def trained(self, side: str) -> np.ndarray:
        """Whether each user, or item, has a training rating: boolean array of shape (n,)."""
        count: np.ndarray = getattr(self, f"{side}_count")
        return count > 0

    @cached_property
    def _untrained(self) -> dict[str, np.ndarray | None]:
        """For each side, who is in the id map without a training rating; None where nobody is."""
        return {side: None if (known := self.trained(side)).all() else ~known for side in ("user", "item")}

    def known(self, side: str, index: np.ndarray) -> np.ndarray:
        """The indices, `UNKNOWN` in place of those without a training rating."""
        untrained = self._untrained[side]
        if untrained is None:
            return index
        # -1 reads the last cell, and stays -1 either way.
        return np.where(untrained[index], np.int32(UNKNOWN), index)

    def untrained(self, side: str) -> np.ndarray | None:
        """Boolean array (n,) of those in the id map without a training rating, or None where there are none."""
        return self._untrained[side]

    # -- means -------------------------------------------------------------------------------------------------------
    @cached_property
    def base(self) -> float:
        """What is predicted where both user and item are unknown: the mean of all that was trained on."""
        return float(self.user_total.sum() / (self.user_count.sum() * (1 + self.negatives)))

    @cached_property
    def user_mean(self) -> np.ndarray:
        """Mean of what each user was trained on, damped towards `base`: float32 array of shape (n_users,)."""
        return self._damped(self.user_total, self.user_count * (1.0 + self.negatives))

    @cached_property
    def item_mean(self) -> np.ndarray:
        """Mean of what each item was trained on, damped towards `base`: float32 array of shape (n_items,).

        With negatives an item is counted where it was rated and where it may be expected to have been drawn: what is
        rated by many then comes first.
        """
        count = self.item_count.astype(np.float64)
        if self.negatives:
            # Each rating of a user draws from the items he has not rated, each as likely as another.
            n_free = np.maximum(len(self.items) - self.seen.n_items, 1)
            drawn = self.negatives * self.user_count / n_free
            rated = np.repeat(drawn, self.seen.n_items)
            count += drawn.sum() - np.bincount(self.seen.item, weights=rated, minlength=len(self.items))
        return self._damped(self.item_total, count)

    def _damped(self, total: np.ndarray, count: np.ndarray) -> np.ndarray:
        """``(total + damping * base) / (count + damping)``."""
        means: np.ndarray = ((total + DAMPING * self.base) / (count + DAMPING)).astype(np.float32)
        return means


def _grown(before: np.ndarray, more: np.ndarray) -> np.ndarray:
    """``more``, with what was counted before for the first rows."""
    grown = more.copy()
    grown[: len(before)] += before
    return grown
