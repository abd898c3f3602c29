"""`TrainingContract`: one seed, one model; going on is as never having stopped; what fails changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from nnmf.errors import DataError
from nnmf.kinds import load, load_checkpoint
from nnmf.storage import RunFolder
from nnmf.tables import Ratings

from ._base import Contract
from ._compare import Killed, assert_same_model, curve, kill_after, parameters, refused


class TrainingContract(Contract):
    """How every kind of model trains; see `Contract` for what to set."""

    def test_history_has_an_entry_an_epoch(self) -> None:
        model, n_epochs = self.trained(), self.n_epochs()
        assert [result.epoch for result in model.history] == list(range(1, n_epochs + 1))
        assert model.history[-1].train_rmse < model.history[0].train_rmse, "training brought nothing"
        assert 1 <= model.best_epoch <= n_epochs

    def test_the_same_seed_gives_the_same_model(self) -> None:
        assert_same_model(self.trained(), self.fit(*self.tables()))
        assert curve(self.fit(*self.tables(), seed=1)) != curve(self.trained()), "the seed changes nothing"

    def test_fit_starts_over(self) -> None:
        train, test = self.tables()
        model = self.fit(test.take(test.known))
        assert_same_model(model.fit(train, test), self.trained())

    def test_a_resumed_run_is_the_one_that_never_stopped(self, tmp_path: Path) -> None:
        for epoch in sorted({1, self.n_epochs() // 2, self.n_epochs() - 1}):
            folder = tmp_path / f"run-{epoch}"
            run = RunFolder.begin(folder, {})
            with refused("", Killed):
                self.fit(*self.tables(), callbacks=[run, kill_after(epoch)])
            model = load_checkpoint(folder)
            assert len(model.history) == epoch
            model.resume(*self.tables(), callbacks=[run])
            run.close()
            assert_same_model(model, self.trained())
            assert_same_model(load(folder), self.trained())
            of_epochs = [result.valid_rmse for result in model.history if result.valid_rmse is not None]
            kept = of_epochs[model.best_epoch - 1]
            assert model.config.keep not in (None, "best") or kept == min(of_epochs), "a better epoch is not kept"
            assert math.isclose(load(folder).rmse(self.tables()[1]), kept, rel_tol=1e-6)

    def test_a_run_without_validation_is_resumed_to_its_last_epoch(self, tmp_path: Path) -> None:
        train, _ = self.tables()
        run = RunFolder.begin(tmp_path / "run", {})
        with refused("", Killed):
            self.fit(train, callbacks=[run, kill_after(2)])
        run.close()
        assert_same_model(load_checkpoint(tmp_path / "run").resume(train), self.fit(train))

    def test_training_goes_on_with_new_users_and_items(self) -> None:
        train, test = self.tables()
        old = train.take(train.user < 40).compact()
        model = self.fit(old)
        before, users, items = parameters(model), model.users.ids.copy(), model.items.ids.copy()
        both = self._with_news(old)
        model.fit_more(both, test, n_epochs=2)
        n_epochs = self.n_epochs()
        assert [result.epoch for result in model.history] == list(range(1, n_epochs + 3))
        assert model.best_epoch > n_epochs, "the kept epoch is not one of the new ones"
        assert np.array_equal(model.users.ids[: len(users)], users) and 1000 in model.users.ids
        assert np.array_equal(model.items.ids[: len(items)], items) and 2000 in model.items.ids
        for name, array in parameters(model).items():
            assert np.isfinite(array).all(), name
            if array.shape != before[name].shape:
                assert not np.array_equal(array[: len(before[name])], before[name]), f"{name} was not trained"
        assert np.isfinite(model.predict([1000], [2000])).all()
        row = int(model.users.index([1000])[0])
        seen = model.items.ids[model.seen.of_users(np.array([row])).item]
        assert seen.tolist() == sorted([items[0], 2000])
        # Damped by five ratings of the mean.
        mean = (1.0 + 5.0 + 5 * both.rating.mean(dtype=np.float64)) / 7
        assert math.isclose(model.user_mean[row], mean, rel_tol=1e-5)

    def test_more_training_that_fails_leaves_the_model(self) -> None:
        train, test = self.tables()
        model = self.fit(train.take(train.user < 40).compact())
        before, config, n_users = parameters(model), model.config, model.n_users
        history = list(model.history)
        news = self._with_news(train)
        with refused("", Killed):
            model.fit_more(news, callbacks=[kill_after(len(history) + 1)])
        with refused("holds no ratings to train on", DataError):
            model.fit_more(test.take(np.zeros(len(test), bool)))
        with refused("new ids are strings", DataError):
            model.fit_more(Ratings.from_arrays(["a"], ["b"], [3.0]))
        assert (model.config, model.n_users, model.history) == (config, n_users, history)
        assert 1000 not in model.users.ids
        for name, array in parameters(model).items():
            assert np.array_equal(array, before[name]), f"{name} was changed"

    @staticmethod
    def _with_news(old: Ratings) -> Ratings:
        """A table and three ratings more: of a new user 1000, and of a new item 2000."""
        user, item = old.users.ids[0], old.items.ids[0]
        return Ratings.from_arrays(
            np.concatenate([old.users.ids[old.user], [1000, 1000, user]]),
            np.concatenate([old.items.ids[old.item], [item, 2000, 2000]]),
            np.concatenate([old.rating, [1.0, 5.0, 5.0]]),
        )
