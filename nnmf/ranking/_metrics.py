"""`ranking_metrics`: how good lists are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError
from nnmf.tables import UNKNOWN

from ._checks import as_count, as_index
from ._user_items import UserItems


def ranking_metrics(
    recommended: np.ndarray,
    relevant: UserItems,
    n_items: int,
    k: int = 10,
    *,
    n_unknown: npt.ArrayLike | None = None,
    unknown_users: npt.ArrayLike = (),
) -> dict[str, float]:
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

    What training does not know, no list can hold: relevant items outside the catalogue are counted in R and are no hits, and users
    without a list have 0 in each metric. ``judged_users`` and ``judged_ratings`` say how many users the means are over, and how
    many relevant items these users have together, known or not.

    Parameters
    ----------
    recommended : int array of shape (n_users, at least min(k, n_items)), best first, padded with -1, as `top_n` returns it.
    relevant : items of the same users in the same order.
    n_items : items in the catalogue.
    k : places that count; those beyond the catalogue are empty in every list.
    n_unknown : array of shape (n_users,): relevant items of each user that the catalogue does not hold; default: none.
    unknown_users : relevant items of each user without a list: one number a user, of any shape; default: no such user.

    Raises
    ------
    ConfigError
        `k` below 1, or lists shorter than both it and the catalogue.
    DataError
        Unequal numbers of users, an item twice in a list or unknown, no user with relevant items.

    References
    ----------
    Manning et al., Introduction to Information Retrieval, 2008, 8.3-8.4 (precision, recall, MAP); Voorhees, TREC-8, 1999 (MRR);
    Burges et al., ICML 2005 (NDCG); Herlocker et al., TOIS 22, 2004 (coverage).
    """
    lists, n_columns, k = np.asarray(recommended), as_count(n_items, "n_items", 0), as_count(k, "k")
    places = min(k, n_columns)
    if lists.ndim != 2 or lists.dtype.kind not in "iu" or lists.shape[1] < places:
        raise ConfigError(
            f"k: got {k} for lists of {lists.dtype} of shape {lists.shape}; lists need at least k >= 1 places."
        )
    if len(lists) != relevant.n_users:
        raise DataError(
            f"there are {len(lists)} lists and {relevant.n_users} users with relevant items; give one each."
        )
    without_list = _as_numbers(unknown_users, None, "unknown_users")
    known = relevant.n_items
    wanted = known if n_unknown is None else known + _as_numbers(n_unknown, len(lists), "n_unknown")
    judged = wanted > 0
    n_judged = int(judged.sum()) + int((without_list > 0).sum())
    if not n_judged:
        raise DataError("no user has a relevant item, so there is nothing to judge the lists by.")
    item = _as_lists(lists[judged, :places], n_columns)
    hit = _hits(item, relevant, known[judged], max(n_columns, relevant.largest + 1))
    of_users = _of_users(hit, wanted[judged], k)
    found = {f"{name}@{k}": float(values.sum() / n_judged) for name, values in of_users.items()}
    found[f"coverage@{k}"] = len(np.unique(item[item != UNKNOWN])) / n_columns if n_columns else 0.0
    return {**found, "judged_users": n_judged, "judged_ratings": int(wanted.sum() + without_list.sum())}


def _as_numbers(values: npt.ArrayLike, length: int | None, what: str) -> np.ndarray:
    numbers = np.asarray(values)
    numbers = numbers.astype(np.int64) if numbers.size == 0 else numbers
    fits = length is None or numbers.shape == (length,)
    if not fits or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise DataError(
            f"{what}: expected a number of items for each user, got {numbers.dtype} of shape {numbers.shape}."
        )
    return numbers.astype(np.int64)


def _as_lists(lists: np.ndarray, n_items: int) -> np.ndarray:
    """Lists as int64, each of items of the catalogue, none twice."""
    item = as_index(lists.ravel(), n_items, "recommended", UNKNOWN).astype(np.int64).reshape(lists.shape)
    ascending = np.sort(item, axis=1)
    if ((ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] != UNKNOWN)).any():
        raise DataError("recommended: a list holds an item twice.")
    return item


def _hits(item: np.ndarray, relevant: UserItems, n_relevant: np.ndarray, width: int) -> np.ndarray:
    """1 where a place holds a relevant item, else 0: float64 of the lists' shape."""
    if not len(relevant.item):
        return np.zeros(item.shape)
    # (user, item) as one number; those of `relevant` ascend, so that a search finds which of the lists' are among them.
    wanted = np.repeat(np.arange(len(item)), n_relevant) * width + relevant.item
    found = np.where(item == UNKNOWN, UNKNOWN, np.arange(len(item))[:, None] * width + item)
    hit: np.ndarray = wanted[np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)] == found
    return hit.astype(np.float64)


def _of_users(hit: np.ndarray, n_relevant: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Each metric of each user, float64 (n_users,); `hit` has min(k, n_items) places, the others hold none."""
    reachable = np.minimum(n_relevant, k)
    place = np.arange(1, max(hit.shape[1], int(reachable.max(initial=1))) + 1)
    ideal, place = np.cumsum(1 / np.log2(place + 1)), place[: hit.shape[1]]
    n_hits = hit.cumsum(axis=1)
    return {
        "precision": hit.sum(axis=1) / k,
        "recall": hit.sum(axis=1) / n_relevant,
        "hit_rate": hit.max(axis=1, initial=0.0),
        "ndcg": hit @ (1 / np.log2(place + 1)) / ideal[reachable - 1],
        "mrr": (hit / place).max(axis=1, initial=0.0),
        "map": (hit * n_hits / place).sum(axis=1) / reachable,
    }
