"""Lists of items, and how good they are; NumPy and Numba only.

seen = UserItems.of(train.user, train.item, train.n_users)
item, score = top_n(user_factors, item_factors, 10, seen=seen)
ranking_metrics(item, UserItems.of(test.user, test.item, train.n_users), train.n_items, 10)

index = ItemIndex(item_factors, item_bias)  # for more than one question
item, score = index.top(user_factors[[user]], 10, seen=seen.of_users([user]))
"""

from __future__ import annotations

from ._baselines import popularity_factors, random_lists
from ._index import ItemIndex, top_n
from ._metrics import ranking_metrics
from ._scores import top_n_of_scores
from ._user_items import UserItems

__all__ = [
    "ItemIndex",
    "UserItems",
    "popularity_factors",
    "random_lists",
    "ranking_metrics",
    "top_n",
    "top_n_of_scores",
]
