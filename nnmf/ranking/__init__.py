"""Lists of items, and how good they are; NumPy and Numba only.

seen = UserItems.of(train.user, train.item, train.n_users)
item, score = top_n(user_factors, item_factors, 10, seen=seen)
ranking_metrics(item, UserItems.of(test.user, test.item, train.n_users), train.n_items, 10)
"""

from __future__ import annotations

from ._lists import UserItems, popularity_factors, random_lists, ranking_metrics, top_n, top_n_of_scores

__all__ = ["UserItems", "popularity_factors", "random_lists", "ranking_metrics", "top_n", "top_n_of_scores"]
