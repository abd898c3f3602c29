"""Top-N lists from factor matrices, and how good such lists are; NumPy and Numba only.

seen = UserItems.of(train.user, train.item, train.n_users)
item, score = top_n(user_factors, item_factors, 10, seen=seen)
ranking_metrics(item, UserItems.of(test.user, test.item, train.n_users), train.n_items, 10)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError
from nnmf.tables import UNKNOWN

# Users a thread takes at a time: handing them over costs nothing beside them, and no thread waits long for the last.
_BLOCK_USERS = 512


@dataclass(frozen=True, eq=False)
class UserItems:
    """The distinct items of each user: what a model was trained on, or what a test table holds.

    Attributes:
        indptr: int64 array of shape (n_users + 1,): where each user's items start in `item`.
        item: int32 array of shape (n_pairs,), ascending within a user.
    """

    indptr: np.ndarray
    item: np.ndarray

    def __post_init__(self) -> None:
        self.indptr.flags.writeable = False
        self.item.flags.writeable = False

    @classmethod
    def of(cls, user: npt.ArrayLike, item: npt.ArrayLike, n_users: int) -> UserItems:
        """Group the pairs of two columns by user.

        Args:
            user, item: integer arrays of shape (n_ratings,), indices; pairs with an `UNKNOWN` (-1) are left out, and
                pairs that stand there more than once count once.
            n_users: users there are, with or without items.

        Raises:
            DataError: unequal lengths, or an index outside the tables.
        """
        from ._kernels import group

        rows, columns = _as_index(user, n_users, "user", UNKNOWN), _as_index(item, None, "item", UNKNOWN)
        if len(rows) != len(columns):
            raise DataError(f"user and item must be columns of one length, got {len(rows)} and {len(columns)}.")
        return cls(*group(rows, columns, n_users, int(columns.max(initial=-1)) + 1))

    def __repr__(self) -> str:
        return f"UserItems({self.n_users} users, {len(self.item)} pairs)"

    @property
    def n_users(self) -> int:
        """Users there are, with or without items."""
        return len(self.indptr) - 1

    @property
    def n_items(self) -> np.ndarray:
        """Items of each user: int64 array of shape (n_users,)."""
        return np.diff(self.indptr)

    def of_users(self, users: npt.ArrayLike) -> UserItems:
        """The rows of the given users, in their order.

        Raises:
            DataError: a user outside the table.
        """
        rows = _as_index(users, self.n_users, "user")
        length = self.n_items[rows]
        indptr = np.concatenate([[0], np.cumsum(length)])
        # Each pair's place in the new table, moved by as far as its user's row moves.
        place = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], length)
        return UserItems(indptr, self.item[place])


def top_n(
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    n: int = 10,
    *,
    users: npt.ArrayLike | None = None,
    seen: UserItems | None = None,
    allowed: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
    item_order: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the highest scores for each user, the highest first.

    The score of an item is ``user_factors[user] . item_factors[item]`` of the factors as float32, added up in double
    precision and rounded to float32; of items with equal scores the one with the lower `item_order` comes first. So the
    answer depends on nothing else: neither on which users are asked together nor on the number of threads. Biases are
    columns: the user's ``[p_u, b_u, 1]`` against the item's ``[q_i, 1, b_i]``.

    Scores of all candidates are found in single precision, 32 items by 16 users at a time, and never stored; those that
    could be among the n best within that arithmetic's error are scored again as above. Needed besides the factors and
    the answer: one float32 copy of the candidates' factors, and under 1 MB for each thread.

    Args:
        user_factors: array of shape (n_users, n_factors).
        item_factors: array of shape (n_items, n_factors).
        n: length of the lists.
        users: indices of the users asked for, in the order of the answer; default: all.
        seen: items of each of the n_users that are not listed for them.
        allowed: indices of the only items to list; default: all.
        excluded: indices of items not to list, allowed or not.
        item_order: rank of each item's id, a permutation of 0 .. n_items-1; default: the index.
        n_threads: threads to use; default: as many as there are cores, or NUMBA_NUM_THREADS.

    Returns:
        item, score: int32 and float32 arrays of shape (n_users_asked, n); where there are fewer than n candidates, the
        rest of the list is -1 and NaN.

    Raises:
        ConfigError: `n` or `n_threads` below 1.
        DataError: factors that do not fit together, are not finite or overflow float32; an index outside the tables.
    """
    from ._kernels import best, default_threads, largest_norm, lay_out

    if n < 1:
        raise ConfigError(f"n: got {n} instead of at least 1")
    n_threads = default_threads() if n_threads is None else n_threads
    if n_threads < 1:
        raise ConfigError(f"n_threads: got {n_threads} instead of at least 1")
    if user_factors.ndim != 2 or item_factors.ndim != 2 or user_factors.shape[1] != item_factors.shape[1]:
        raise DataError(
            f"user and item factors must be tables of one width, got shapes {user_factors.shape} and {item_factors.shape}."
        )
    n_users, n_items = len(user_factors), len(item_factors)
    if seen is not None and seen.n_users != n_users:
        raise DataError(f"seen holds {seen.n_users} users, the factors {n_users}; give both for the same users.")
    rows = np.arange(n_users) if users is None else _as_index(users, n_users, "user").astype(np.int64)
    rank = _as_order(item_order, n_items)
    tiles, candidate, item_norm = lay_out(item_factors, _candidates(n_items, allowed, excluded))
    seen_start, seen_item = (np.empty(0, np.int64), np.empty(0, np.int32)) if seen is None else (seen.indptr, seen.item)
    item = np.full((len(rows), n), UNKNOWN, np.int32)
    score = np.full((len(rows), n), np.nan, np.float32)

    def fill(start: int) -> None:
        block = slice(start, start + _BLOCK_USERS)
        with np.errstate(over="ignore"):  # largest_norm says so
            factors = np.ascontiguousarray(user_factors[rows[block]], np.float32)
        user_norm = largest_norm(factors, "user")
        if user_norm * item_norm > float(np.finfo(np.float32).max) / 2:
            raise DataError(
                f"scores may overflow: the largest norms of factors are {user_norm:.3g} and {item_norm:.3g}."
            )
        arrays = tiles, candidate, rank, item_norm, seen_start, seen_item
        best(factors, rows[block], *arrays, item[block], score[block])

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(fill, range(0, len(rows), _BLOCK_USERS)))  # raises what a thread raised
    return item, score


def top_n_of_scores(
    scores: np.ndarray,
    n: int,
    *,
    seen: UserItems | None = None,
    allowed: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
    item_order: npt.ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`top_n` of scores that are there already, float32 (n_users, n_items), for models that have no factors."""
    n_users, n_items = scores.shape
    barred = np.ones((n_users, n_items), bool)
    barred[:, _candidates(n_items, allowed, excluded)] = False
    if seen is not None:
        barred[np.repeat(np.arange(n_users), seen.n_items), seen.item] = True
    ordered = np.where(barred, np.float32(np.inf), -scores)
    rank = np.broadcast_to(_as_order(item_order, n_items), scores.shape)
    best = np.lexsort((rank, ordered), axis=1)[:, :n]
    open_ = ~np.take_along_axis(barred, best, axis=1)
    item, score = np.full((n_users, n), UNKNOWN, np.int32), np.full((n_users, n), np.nan, np.float32)
    item[:, : best.shape[1]] = np.where(open_, best, UNKNOWN)
    score[:, : best.shape[1]] = np.where(open_, np.take_along_axis(scores, best, axis=1), np.nan)
    return item, score


def _as_index(values: npt.ArrayLike, length: int | None, what: str, lowest: int = 0) -> np.ndarray:
    """A column of indices, each at least `lowest` and below `length`."""
    index = np.asarray(values)
    if index.size == 0:
        index = index.astype(np.int32)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise DataError(f"{what}: expected one column of indices, got {index.dtype} of shape {index.shape}.")
    limit = np.iinfo(np.int32).max if length is None else length
    if len(index) and not (lowest <= index.min() and index.max() < limit):
        wrong = index[(index < lowest) | (index >= limit)][0]
        raise DataError(f"{what}: index {wrong} lies outside the table of {limit}.")
    return index


def _as_order(item_order: npt.ArrayLike | None, n_items: int) -> np.ndarray:
    if item_order is None:
        return np.arange(n_items, dtype=np.int32)
    rank = _as_index(item_order, n_items, "item_order")
    if len(rank) != n_items or (np.bincount(rank, minlength=n_items) != 1).any():
        raise DataError(f"item_order: expected each of 0 .. {n_items - 1} once, one for each item.")
    return rank.astype(np.int32)


def _candidates(n_items: int, allowed: npt.ArrayLike | None, excluded: npt.ArrayLike | None) -> np.ndarray:
    """The items that may be listed, in an order that has nothing to do with their scores.

    Were they to come from the worst to the best, every one of them would enter its list for a while.
    """
    listed = np.full(n_items, allowed is None)
    if allowed is not None:
        listed[_as_index(allowed, n_items, "allowed")] = True
    if excluded is not None:
        listed[_as_index(excluded, n_items, "excluded")] = False
    return np.random.default_rng(0).permutation(np.flatnonzero(listed).astype(np.int32))


# -- baselines -------------------------------------------------------------------------------------------------------
def popularity_factors(item: npt.ArrayLike, n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors of width 1 by which an item's score is its number of ratings, for every user.

    `item` holds the indices of the train table's items; `UNKNOWN` (-1) is not counted.
    """
    column = _as_index(item, n_items, "item", UNKNOWN)
    count = np.bincount(column[column != UNKNOWN], minlength=n_items)
    return np.ones((n_users, 1), np.float32), count[:, None].astype(np.float32)


def random_lists(
    n_users: int, n_items: int, n: int = 10, *, seed: int = 0, seen: UserItems | None = None
) -> np.ndarray:
    """n distinct items drawn at random for each user, every list of unseen items as likely as any other.

    Args:
        n_users, n_items, n, seen: sizes of the tables, the rest as of `top_n`; the answer, too, is padded with -1.
        seed: seed of the draw; a user's list does not depend on how many users come after.
    """
    rng, length = np.random.default_rng(seed), min(n, n_items)
    item = np.full((n_users, n), UNKNOWN, np.int32)
    for start in range(0, n_users, _BLOCK_USERS):
        rows = np.arange(start, min(start + _BLOCK_USERS, n_users))
        lot = rng.random((len(rows), n_items))  # a user's items in the order of their lots are a shuffle
        if seen is not None:
            of_rows = seen.of_users(rows)
            lot[np.repeat(np.arange(len(rows)), of_rows.n_items), of_rows.item] = 2.0
        drawn = (
            np.argpartition(lot, length - 1, axis=1)[:, :length] if 0 < length < n_items else np.argsort(lot, axis=1)
        )
        drawn = np.take_along_axis(drawn, np.take_along_axis(lot, drawn, axis=1).argsort(axis=1), axis=1)
        left = np.take_along_axis(lot, drawn, axis=1) < 1
        item[rows, :length] = np.where(left, drawn, UNKNOWN)
    return item


# -- judging ---------------------------------------------------------------------------------------------------------
def ranking_metrics(recommended: np.ndarray, relevant: UserItems, n_items: int, k: int = 10) -> dict[str, float]:
    """How well lists answer which items users went on to choose; an item is relevant or it is not.

    With hit(i) = 1 where the item at place i = 1 .. k of a user's list is one of the user's R relevant items, else 0:

    - ``precision@k`` = sum_i hit(i) / k, also where the list is shorter than k
    - ``recall@k`` = sum_i hit(i) / R
    - ``hit_rate@k`` = 1 where any hit(i) is 1, else 0
    - ``ndcg@k`` = sum_i hit(i) / log2(i + 1), divided by the best list's sum_{i <= min(k, R)} 1 / log2(i + 1)
    - ``mrr@k`` = 1 / i of the first hit, 0 without one
    - ``map@k`` = sum_i hit(i) * precision@i, divided by min(k, R)

    each the mean over the users with relevant items: the others are left out, for no list could please them. And
    ``coverage@k`` = distinct items in the first k places of the same users' lists / n_items.

    References:
        Manning et al., Introduction to Information Retrieval, 2008, 8.3-8.4 (precision, recall, MAP); Voorhees, TREC-8,
        1999 (MRR); Burges et al., ICML 2005 (NDCG); Herlocker et al., TOIS 22, 2004 (coverage).

    Args:
        recommended: int array of shape (n_users, at least k), best first, padded with -1, as `top_n` returns it.
        relevant: items of the same users in the same order.
        n_items: items in the catalogue.
        k: places that count.

    Raises:
        ConfigError: `k` below 1 or beyond the lists' length.
        DataError: unequal numbers of users, an item twice in a list or unknown, no user with relevant items.
    """
    if recommended.ndim != 2 or not 1 <= k <= recommended.shape[1]:
        raise ConfigError(f"k: got {k} for lists of shape {recommended.shape}; lists need at least k >= 1 places.")
    if len(recommended) != relevant.n_users:
        raise DataError(
            f"there are {len(recommended)} lists and {relevant.n_users} users with relevant items; give one each."
        )
    judged = relevant.n_items > 0
    if not judged.any():
        raise DataError("no user has a relevant item, so there is nothing to judge the lists by.")
    item = recommended[judged, :k].astype(np.int64)
    _as_index(item.ravel(), n_items, "recommended", UNKNOWN)
    ascending = np.sort(item, axis=1)
    if ((ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] != UNKNOWN)).any():
        raise DataError("recommended: a list holds an item twice.")

    # (user, item) as one number; those of `relevant` ascend, so that a search finds which of the lists' are among them.
    width, n_relevant = max(n_items, int(relevant.item.max()) + 1), relevant.n_items[judged]
    wanted = np.repeat(np.arange(len(item)), n_relevant) * width + relevant.item
    found = np.where(item == UNKNOWN, UNKNOWN, np.arange(len(item))[:, None] * width + item)
    hit = (wanted[np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)] == found).astype(np.float64)

    place, reachable = np.arange(1, k + 1), np.minimum(n_relevant, k)
    discount, n_hits = 1 / np.log2(place + 1), hit.cumsum(axis=1)
    of_users = {
        "precision": n_hits[:, -1] / k,
        "recall": n_hits[:, -1] / n_relevant,
        "hit_rate": n_hits[:, -1] > 0,
        "ndcg": hit @ discount / discount.cumsum()[reachable - 1],
        "mrr": (hit / place).max(axis=1),
        "map": (hit * n_hits / place).sum(axis=1) / reachable,
        "coverage": len(np.unique(item[item != UNKNOWN])) / n_items,
    }
    return {f"{name}@{k}": float(np.mean(values)) for name, values in of_users.items()}
