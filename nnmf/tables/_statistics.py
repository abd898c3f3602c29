"""What a table of ratings looks like: sizes, density, ratings per user and item, inequality of item popularity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._ratings import Ratings
from ._sums import counts_of, extent, mean_of


@dataclass(frozen=True)
class Spread:
    """Smallest, mean and largest number of ratings."""

    min: int
    mean: float
    max: int

    @classmethod
    def of(cls, counts: np.ndarray) -> Spread:
        return cls(int(counts.min()), float(counts.mean()), int(counts.max()))


@dataclass(frozen=True)
class Statistics:
    """Statistics of a table.

    Attributes
    ----------
    name : str
    n_users, n_items, n_ratings : int
    lowest, highest, mean : float
        Of the ratings.
    density : float
        n_ratings / (n_users * n_items), between 0 and 1.
    per_user, per_item : Spread
        Ratings of a user and of an item.
    gini : float
        Gini index of the items' numbers of ratings: 0 where all are equally popular, near 1 where one has them all.
    """

    name: str
    n_users: int
    n_items: int
    n_ratings: int
    lowest: float
    highest: float
    mean: float
    density: float
    per_user: Spread
    per_item: Spread
    gini: float

    def __str__(self) -> str:
        return "\n".join(
            (
                f"dataset            {self.name}",
                f"users              {self.n_users:,}",
                f"items              {self.n_items:,}",
                f"ratings            {self.n_ratings:,}",
                f"rating range       {self.lowest:g} to {self.highest:g}, mean {self.mean:.4f}",
                f"density            {self.density:.2e}",
                *(
                    f"ratings per {side}   min {spread.min:,}, mean {spread.mean:.1f}, max {spread.max:,}"
                    for side, spread in (("user", self.per_user), ("item", self.per_item))
                ),
                f"Gini index (items) {self.gini:.3f}",
            )
        )


def gini_index(counts: np.ndarray) -> float:
    """Gini index of non-negative counts of shape (n,): half the mean absolute difference of two, over the mean."""
    ordered = np.sort(counts).astype(np.float64)
    n, total = len(ordered), float(ordered.sum())
    if total == 0:
        return 0.0
    return float(2 * (np.arange(1, n + 1) * ordered).sum() / (n * total) - (n + 1) / n)


def statistics(ratings: Ratings) -> Statistics:
    """Statistics of a table; ratings of unknown users or items are left out."""
    if ratings.n_unknown:
        ratings = ratings.take(ratings.known)
    per_user = counts_of(ratings.user, ratings.n_users)
    per_item = counts_of(ratings.item, ratings.n_items)
    lowest, highest = extent(ratings.rating)
    return Statistics(
        name=ratings.name,
        n_users=ratings.n_users,
        n_items=ratings.n_items,
        n_ratings=len(ratings),
        lowest=float(lowest),
        highest=float(highest),
        mean=mean_of(ratings.rating),
        density=len(ratings) / (ratings.n_users * ratings.n_items),
        per_user=Spread.of(per_user),
        per_item=Spread.of(per_item),
        gini=gini_index(per_item),
    )
