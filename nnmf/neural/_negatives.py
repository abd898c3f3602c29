"""Unobserved items, drawn to be trained on as ratings of 0 by models that are to rank."""

from __future__ import annotations

import numpy as np

from nnmf._compiled import compiled
from nnmf.errors import DataError
from nnmf.ranking import UserItems
from nnmf.tables import Ratings

# Items drawn at a time: what a draw needs besides its answer stays at some ten megabytes.
_BLOCK = 1 << 19


class Negatives:
    """Draws items that a user has not rated, each of them as likely as any other.

    With m items rated by the user, ascending as s_0 .. s_{m-1}, a number k is drawn from 0 .. n_items - m - 1 and answered
    with the k-th unrated item: ``k + j`` for the j rated items that come before it, those with ``s_j - j <= k``. As
    ``s_j - j`` never falls, a binary search finds j; nothing is drawn in vain, however many items a user rated.

    Args:
        ratings: the table; an item of its item map is unobserved for a user without a rating of it here.
        n: items to draw for each rating.

    Attributes:
        rating: what a drawn item is taken to be rated: 0.

    Raises:
        DataError: a user who rated every item, for whom there is nothing to draw.
    """

    rating = 0.0

    def __init__(self, ratings: Ratings, n: int) -> None:
        self.n = n
        self._seen = UserItems.of(ratings.user, ratings.item, ratings.n_users)
        self._n_free = ratings.n_items - self._seen.n_items
        if not self._n_free.all():
            user = ratings.users.at(np.argmin(self._n_free)).item()
            raise DataError(
                f"{ratings.name}: user {user!r} rated all of the {ratings.n_items} items, so no unobserved one can be drawn; "
                "leave the user out, or train without negatives."
            )

    def draw(self, user: np.ndarray, rng: np.random.Generator, rank: int = 0, n_workers: int = 1) -> np.ndarray:
        """Items for the entries ``rank``, ``rank + n_workers``, ... of a column of users.

        Random numbers are drawn for all the entries, a fraction of the work, so that an entry's items do not depend on how
        many workers there are.

        Args:
            user: int32 array of shape (n_entries,), users by index, who may stand there many times.
            rng: what to draw from.
            rank, n_workers: which entries to answer for.

        Returns:
            int32 array of shape (n_answered, n).
        """
        item = np.empty((len(range(rank, len(user), n_workers)), self.n), np.int32)
        block = max(1, _BLOCK // (self.n * n_workers)) * n_workers
        for start in range(0, len(user), block):
            users = user[start : start + block]
            number = rng.integers(0, self._n_free[users][:, None], (len(users), self.n))[rank::n_workers]
            first = start // n_workers
            _nth_unseen(
                users[rank::n_workers], number, self._seen.indptr, self._seen.item, item[first : first + len(number)]
            )
        return item


@compiled
def _nth_unseen(user, number, seen_start, seen, item) -> None:  # type: ignore[no-untyped-def]
    """item[r, c] = what stands at place number[r, c] among the items that user[r] has not seen."""
    for row in range(number.shape[0]):
        start, end = seen_start[user[row]], seen_start[user[row] + 1]
        for column in range(number.shape[1]):
            low, high = start, end
            while low < high:
                middle = (low + high) // 2
                if seen[middle] - (middle - start) <= number[row, column]:
                    low = middle + 1
                else:
                    high = middle
            item[row, column] = number[row, column] + (low - start)
