"""`Recommending`: the part of a `Model` that ranks, finds neighbours, judges itself and hands its vectors out."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError, one_of
from nnmf.metrics import mae, rmse, rmse_per_user
from nnmf.ranking import UserItems, ranking_metrics, top_n, top_n_of_scores
from nnmf.tables import UNKNOWN, IdMap, Ratings

from ._predicting import Predicting

if TYPE_CHECKING:
    import pandas

_RATING_METRICS = ("rmse", "mae", "rmse_per_user")
_RANKING_METRICS = ("precision", "recall", "hit_rate", "ndcg", "mrr", "map", "coverage")
# Scores of a network without towers are found for this many (user, item) pairs at a time.
_BLOCK_PAIRS = 1 << 20


class Recommending(Predicting):
    """Top-N lists, neighbours, metrics and vectors, from what a `Model` knows."""

    #: what training saw of each user
    seen: UserItems

    @abstractmethod
    def _towers(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(n_users, width) and (n_items, width) float32 whose dot product is the unclipped prediction, or None without such."""

    @abstractmethod
    def _vectors(self) -> dict[str, np.ndarray]:
        """The learned vectors and biases by their names in this package's vocabulary."""

    # -- lists -------------------------------------------------------------------------------------------------------
    def recommend(
        self,
        user_ids: npt.ArrayLike,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        items: npt.ArrayLike | None = None,
        exclude: npt.ArrayLike | None = None,
        unknown: str = "mean",
    ) -> tuple[np.ndarray, np.ndarray]:
        """The n items with the highest scores for each user, the highest first.

        Of items with equal scores the one whose id comes first stands first, so the answer depends on nothing but the model.

        Args:
            user_ids: ids, shape (n_users_asked,), or a single one.
            n: length of the lists.
            exclude_seen: leave out what the user rated in training.
            items: ids of the only items to list; default: all.
            exclude: ids of items not to list; ids the model does not know are ignored, as among ``items``.
            unknown: what answers for users that training never saw: "mean" (the items' means, or biases), or "error".

        Returns:
            item ids and scores (float32, unclipped), of shape (n_users_asked, n), or (n,) for a single id. Where fewer than n
            items can be listed the rest has NaN as its score, and -1 or "" as its id.

        Raises:
            ConfigError: n below 1, or another value of ``unknown``; DataError: an unknown user with ``unknown="error"``.
        """
        self.check_trained()
        allowed, excluded = (None if ids is None else _known(self.items.index(ids)) for ids in (items, exclude))
        user = self._index("user", user_ids, unknown)
        item, score = self._lists(user, n, exclude_seen, allowed, excluded)
        ids = _ids_of(self.items, item)
        return (ids[0], score[0]) if np.ndim(user_ids) == 0 else (ids, score)

    def _lists(
        self,
        user: np.ndarray,
        n: int,
        exclude_seen: bool = True,
        allowed: np.ndarray | None = None,
        excluded: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`recommend` by indices, -1 where a user is unknown or a list has no more items."""
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ConfigError(f"n: got {n!r}; give a whole number of at least 1.")
        options: dict[str, Any] = {"allowed": allowed, "excluded": excluded, "item_order": _rank(self.items)}
        item, score = np.full((len(user), n), UNKNOWN, np.int32), np.full((len(user), n), np.nan, np.float32)
        known = user != UNKNOWN
        towers = self._towers()
        if towers is not None:
            seen = self.seen if exclude_seen else None
            item[known], score[known] = top_n(*towers, n, users=user[known], seen=seen, **options)
        else:
            n_blocks = max(1, -(-int(known.sum()) * len(self.items) // _BLOCK_PAIRS))
            for rows in np.array_split(np.flatnonzero(known), n_blocks):
                seen = self.seen.of_users(user[rows]) if exclude_seen else None
                item[rows], score[rows] = top_n_of_scores(self._all_scores(user[rows]), n, seen=seen, **options)
        if not known.all():
            one, means = np.ones((1, 1), np.float32), self._means()[1][:, None]
            item[~known], score[~known] = top_n(one, means, n, **options)
        return item, score

    def similar_items(self, item_id: Any, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The n items whose vectors point most nearly the way this item's does: ids (n,) and cosines float32 (n,).

        Raises:
            DataError: an unknown item, or a network without towers.
        """
        return self._neighbours("item", self.items, item_id, n)

    def similar_users(self, user_id: Any, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The n users whose vectors point most nearly the way this user's does; see `similar_items`."""
        return self._neighbours("user", self.users, user_id, n)

    def _neighbours(self, side: str, known: IdMap, wanted: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
        self.check_trained()
        index = self._index(side, [wanted], "error")
        tables = self._vectors()
        vectors = tables.get(f"{side}_vectors", tables.get(f"{side}_factors"))
        if vectors is None:
            raise DataError(f"this network has no node named {side}_tower, so its {side}s have no vectors to compare.")
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(length > 0, length, 1)
        found, cosine = top_n(unit[index], unit, n, excluded=index, item_order=_rank(known))
        return _ids_of(known, found[0]), cosine[0]

    def _all_scores(self, user: np.ndarray) -> np.ndarray:
        """Scores of every item for some users: float32 (n, n_items)."""
        n_items = len(self.items)
        every = np.tile(np.arange(n_items, dtype=np.int32), len(user))
        return self.predict_index(np.repeat(user, n_items), every).reshape(len(user), n_items)

    # -- judging -----------------------------------------------------------------------------------------------------
    def evaluate(
        self,
        test: Ratings,
        metrics: Iterable[str] = ("rmse", "mae"),
        *,
        clip: bool = True,
        relevant_from: float | None = None,
    ) -> dict[str, float]:
        """Metrics of this model on a table of ratings it was not trained on.

        Args:
            test: the ratings, under any id maps; unknown ids are answered as `Model.predict` does.
            metrics: "rmse", "mae", "rmse_per_user" (mean over the users of each one's RMSE), and, at any k,
                "precision@k", "recall@k", "hit_rate@k", "ndcg@k", "mrr@k", "map@k", "coverage@k" of the lists of all items not
                seen in training (`nnmf.ranking.ranking_metrics` has the formulas).
            clip: keep predictions within the rating scale.
            relevant_from: lowest test rating that makes an item relevant to a user; default: every test rating does.

        Raises:
            ConfigError: an unknown metric.
        """
        self.check_trained()
        wanted = [metrics] if isinstance(metrics, str) else list(metrics)
        cuts = {name: _cut(name) for name in wanted if name not in _RATING_METRICS}
        if test.users is not self.users or test.items is not self.items:
            test = test.under(self.users, self.items, self.scale)
        found: dict[str, float] = {}
        if set(wanted) & set(_RATING_METRICS):
            prediction = self.predict_index(test.user, test.item)
            if clip:
                prediction = np.clip(prediction, *self.scale)
            found["rmse"] = rmse(test.rating, prediction)
            found["mae"] = mae(test.rating, prediction)
            found["rmse_per_user"] = rmse_per_user(test.user, test.rating, prediction)
        if cuts:
            chosen = test.known if relevant_from is None else test.known & (test.rating >= relevant_from)
            relevant = UserItems.of(test.user[chosen], test.item[chosen], len(self.users))
            user = np.flatnonzero(relevant.n_items).astype(np.int32)
            lists, _ = self._lists(user, max(cuts.values()))
            for k in set(cuts.values()):
                found |= ranking_metrics(lists, relevant.of_users(user), len(self.items), k)
        return {name: found[name] for name in wanted}

    # -- vectors -----------------------------------------------------------------------------------------------------
    def to_numpy(self) -> dict[str, np.ndarray]:
        """Ids, vectors and biases as arrays, for nearest-neighbour indices and the like.

        Returns:
            ``user_ids`` (n_users,), ``item_ids`` (n_items,), ``user_factors`` (n_users, width), ``item_factors`` (n_items,
            width) and what else the model has: ``user_bias``, ``item_bias``, ``global_mean``, ``implicit_factors``, and
            SVD++'s ``user_vectors``, which stand for its users in a prediction. A network's factors are the outputs of its towers.
        """
        self.check_trained()
        return {"user_ids": self.users.ids, "item_ids": self.items.ids, **self._vectors()}

    def to_frame(self, side: str = "item") -> pandas.DataFrame:
        """The vectors (and bias) of one side, "user" or "item", as a pandas frame indexed by id.

        Raises:
            ConfigError: another side; DataError: pandas is not installed, or a network without towers.
        """
        if side not in ("user", "item"):
            raise ConfigError(one_of(side, ("user", "item"), "side"))
        try:
            import pandas
        except ImportError:
            raise DataError("frames need pandas: pip install pandas; to_numpy needs nothing.") from None
        vectors = self._vectors()
        if f"{side}_factors" not in vectors:
            raise DataError(f"this network has no node named {side}_tower, so its {side}s have no vectors.")
        ids = (self.users if side == "user" else self.items).ids
        table = vectors[f"{side}_factors"]
        frame = pandas.DataFrame(
            table, index=pandas.Index(ids, name=f"{side}_id"), columns=[f"factor_{n}" for n in range(table.shape[1])]
        )
        if f"{side}_bias" in vectors:
            frame.insert(0, "bias", vectors[f"{side}_bias"])
        return frame


def _known(index: np.ndarray) -> np.ndarray:
    return index[index != UNKNOWN]


def _rank(ids: IdMap) -> np.ndarray:
    """Which of two ids comes first: int32 rank of each."""
    rank = np.empty(len(ids), np.int32)
    rank[np.argsort(ids.ids, kind="stable")] = np.arange(len(ids), dtype=np.int32)
    return rank


def _ids_of(ids: IdMap, index: np.ndarray) -> np.ndarray:
    """Ids of indices; -1 or "" where there is none."""
    nobody = np.array(["" if ids.ids.dtype.kind == "U" else -1], ids.ids.dtype)
    return np.concatenate([ids.ids, nobody])[index]


def _cut(name: str) -> int:
    """The k of ``metric@k``."""
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
    if match is None or match[1] not in _RANKING_METRICS:
        raise ConfigError(one_of(name, [*_RATING_METRICS, *(f"{metric}@k" for metric in _RANKING_METRICS)], "metric"))
    return int(match[2])
