"""Unobserved items, drawn to be trained on as ratings of 0 by models that are to rank."""

from __future__ import annotations

import numpy as np

from nnmf._compiled import compiled
from nnmf.errors import ConfigError, DataError
from nnmf.ranking import UserItems
from nnmf.tables import Ratings

from ._checks import ratings_table, whole_number, worker

# Items drawn at a time: what a draw needs besides its answer stays at some ten megabytes.
_BLOCK = 1 << 19


class Negatives:
    """Draws items that a user has not rated, each of them as likely as any other.

    With m items rated by the user, ascending as s_0 .. s_{m-1}, a number k is drawn from 0 .. n_items - m - 1 and answered
    with the k-th unrated item: ``k + j`` for the j rated items that come before it, those with ``s_j - j <= k``. As
    ``s_j - j`` never falls, a binary search finds j; nothing is drawn in vain, however many items a user rated.

    Parameters
    ----------
    ratings : Ratings
        The table, every user and item known; an item of its item map is unobserved for a user without a rating of it here.
    n : int
        Items to draw for each rating.

    Attributes
    ----------
    rating : float
        What a drawn item is taken to be rated: 0.

    Raises
    ------
    ConfigError
        n is no whole number of at least 1.
    DataError
        No table; ratings of unknown users or items; a user who rated every item, for whom there is nothing to draw.
    """

    rating = 0.0

    def __init__(self, ratings: Ratings, n: int) -> None:
        self.n = whole_number(n, "n", 1)
        if not ratings_table(ratings).known.all():
            raise DataError(f"{ratings.name}: holds ratings of unknown users or items; drop them with take(known).")
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

        Parameters
        ----------
        user : array of whole numbers of shape (n_entries,)
            Users by index, who may stand there many times.
        rng : Generator
            What to draw from.
        rank, n_workers : int, default=0, 1
            Which entries to answer for.

        Returns
        -------
        int32 array of shape (n_answered, n).

        Raises
        ------
        ConfigError
            No random generator, or no worker of that number.
        DataError
            Something else than one column of the table's users.
        """
        rank, n_workers = worker(rank, n_workers)
        user = self._checked(user)
        if not callable(getattr(rng, "integers", None)):
            raise ConfigError(f"rng: got {rng!r}; give a numpy.random.Generator, as numpy.random.default_rng(0) is.")
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

    def _checked(self, user: np.ndarray) -> np.ndarray:
        """The column, if each entry of it has a row to read."""
        user, n_users = np.asarray(user), self._seen.n_users
        if user.ndim != 1 or (user.dtype.kind not in "iu" and user.size):
            raise DataError(f"user: expected one column of indices, got {user.dtype} of shape {user.shape}.")
        if len(user) and not 0 <= user.min() <= user.max() < n_users:
            raise DataError(
                f"user: indices run from {user.min()} to {user.max()}, the table's from 0 to {n_users - 1}."
            )
        return user.astype(np.int32, copy=False)


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
