"""`AnswersContract`: predictions, lists, neighbours and metrics against slow ways to find them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.models import Model

from ._base import Contract
from ._compare import assert_same_list, brute_force, refused
from ._tables import low_rank


class AnswersContract(Contract):
    """What every kind of model answers; see `Contract` for what to set."""

    def test_predictions_stay_within_the_scale(self) -> None:
        model, (train, _) = self.trained(), self.tables()
        ids = train.users.ids[train.user], train.items.ids[train.item]
        raw = model.predict(*ids, clip=False)
        assert raw.dtype == np.float32 and raw.shape == (len(train),)
        assert np.array_equal(raw, model.predict_index(train.user, train.item))
        assert np.array_equal(model.predict(*ids), np.clip(raw, *train.scale))

    def test_unknown_ids_are_answered_or_refused(self) -> None:
        model, (train, _) = self.trained(), self.tables()
        user, item = train.users.ids[3], train.items.ids[4]
        found = model.predict([user, 999, 999], [999, item, 999])
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[2], train.rating.mean(), rtol=1e-5)
        with refused("item 999 is not among", DataError):
            model.predict([user], [999], unknown="error")
        with refused("user 999 is not among", DataError):
            model.recommend([999], unknown="error")

    def test_indices_beyond_the_tables_are_refused(self) -> None:
        model = self.trained()
        with refused(r"user: indices run from 400 to 400, the model has 60 users", DataError):
            model.predict_index(np.array([400], np.int32), np.array([3], np.int32))
        wide = low_rank(n_users=400, n_items=300, n_ratings=3000)
        np.testing.assert_allclose(model.rmse(wide), model.evaluate(wide, ["rmse"])["rmse"], rtol=1e-6)
        np.testing.assert_allclose(
            model.rmse(wide, clip=False), model.evaluate(wide, ["rmse"], clip=False)["rmse"], rtol=1e-6
        )

    def test_recommendations_agree_with_brute_force(self) -> None:
        model, (train, _) = self.trained(), self.tables()
        users = train.users.ids[[0, 7, 30]]
        every = train.items.ids
        options: dict[str, dict[str, object]] = {
            "unseen": {},
            "all": {"exclude_seen": False},
            "some": {"items": every[:9].tolist()},
            "but some": {"exclude": [*every[:30].tolist(), 12345]},
        }
        for chosen in options.values():
            ids, scores = model.recommend(users, 6, **chosen)  # type: ignore[arg-type]
            assert ids.shape == scores.shape == (3, 6)
            for at, user in enumerate(users.tolist()):
                expected = brute_force(model, train, user, 6, **chosen)  # type: ignore[arg-type]
                assert_same_list((ids[at], scores[at]), expected)
        assert np.array_equal(model.recommend(users[0], 6)[0], model.recommend(users, 6)[0][0])

    def test_users_never_seen_get_the_items_best_liked(self) -> None:
        model, (train, _) = self.trained(), self.tables()
        ids, scores = model.recommend([999, train.users.ids[0]], 5)
        assert_same_list((ids[0], scores[0]), brute_force(model, train, 999, 5))
        with refused("n: got 0", ConfigError):
            model.recommend([1], 0)

    def test_neighbours_are_those_of_the_largest_cosine(self) -> None:
        model, (train, _) = self.trained(), self.tables()
        arrays = model.to_numpy()
        if "item_factors" not in arrays:
            with refused("no node named item_tower", DataError):
                model.similar_items(train.items.ids[0])
            return
        for side, find in (("item", model.similar_items), ("user", model.similar_users)):
            vectors = arrays.get(f"{side}_vectors", arrays[f"{side}_factors"]).astype(np.float64)
            ids = arrays[f"{side}_ids"]
            cosine = vectors @ vectors[3] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[3])
            cosine[3] = -2
            found, score = find(ids[3], 5)
            np.testing.assert_allclose(score, np.sort(cosine)[::-1][:5], atol=1e-5)
            assert ids[3] not in found, f"a {side} is its own neighbour"
            with refused(f"{side} 999 is not among", DataError):
                find(999)
        beyond = model.similar_items(train.items.ids[0], 500)[0]
        assert beyond.tolist().count(-1) == 500 - train.n_items + 1

    def test_metrics_are_those_of_the_predictions_and_lists(self) -> None:
        model, (train, test) = self.trained(), self.tables()
        found = model.evaluate(test, ["rmse", "mae", "rmse_per_user", "recall@5", "hit_rate@5", "coverage@10"])
        prediction = np.clip(model.predict_index(test.user, test.item), *train.scale).astype(np.float64)
        error = test.rating.astype(np.float64) - prediction
        users = np.unique(test.user)
        np.testing.assert_allclose(found["rmse"], np.sqrt(np.mean(error**2)))
        np.testing.assert_allclose(found["mae"], np.mean(np.abs(error)))
        by_user = [np.sqrt(np.mean(error[test.user == user] ** 2)) for user in users]
        np.testing.assert_allclose(found["rmse_per_user"], np.mean(by_user))
        known = test.take(test.known)
        recalls, hits = [], []
        for user in np.unique(known.user):
            relevant = set(train.items.ids[known.item[known.user == user]].tolist())
            listed = set(model.recommend(train.users.ids[user], 5)[0].tolist())
            recalls.append(len(relevant & listed) / len(relevant))
            hits.append(bool(relevant & listed))
        np.testing.assert_allclose(found["recall@5"], np.mean(recalls))
        np.testing.assert_allclose(found["hit_rate@5"], np.mean(hits))
        assert 0 < found["coverage@10"] <= 1
        with refused("metric: got 'auc' instead of one of", ConfigError):
            model.evaluate(test, ["auc"])

    def test_threads_that_ask_at_once_get_the_same_answers(self) -> None:
        model, (train, _) = self.trained(), self.tables()

        def ask(model: Model) -> tuple[np.ndarray, ...]:
            return model.predict_index(train.user, train.item), *model.recommend(train.users.ids, 5)

        alone = ask(model)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(ask, [model] * 16):
                for one, other in zip(found, alone, strict=True):
                    assert np.array_equal(one, other)
