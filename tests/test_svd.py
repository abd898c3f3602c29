"""What is particular to the factorizations; what all models share is in test_models.py, the loops in test_kernels.py."""

import subprocess
import sys

import numpy as np
import pytest

from nnmf import SVD, FunkSVD, Ratings, SVDpp
from nnmf.errors import ConfigError, TrainingError
from nnmf.factorization._layout import grid
from nnmf.kinds import model_class
from nnmf.testing import low_rank

KINDS = ("funk_svd", "svd", "svdpp")
MODELS = pytest.mark.parametrize("model_class", [model_class(kind) for kind in KINDS], ids=KINDS)


@MODELS
def test_a_noise_free_table_of_low_rank_is_recovered(model_class):
    train, test = low_rank(n_users=80, n_items=60, n_ratings=4000).split(0.8)
    settings = {"n_factors": 4, "n_epochs": 400, "learning_rate": 0.03, "l2": 0.0, "init_std": 0.1}
    model = model_class(**settings).fit(train)
    assert model.rmse(test) < 0.05 < 10 * model.rmse(train) + 0.05
    assert np.std(test.rating) > 0.5


@MODELS
@pytest.mark.parametrize("n_factors", [10**12, 10**18])
def test_more_factors_than_memory_are_refused_with_their_size(model_class, n_factors, small):
    message = f"n_factors: 60 rows of {n_factors:,} factors take {240 * n_factors // 10**9:,}.0 GB, more memory"
    with pytest.raises(ConfigError, match=message):
        model_class(n_factors=n_factors).fit(small)


@MODELS
@pytest.mark.parametrize("offset", [100, -100, 1000])
def test_ratings_far_from_zero_are_learned(model_class, offset):
    rng = np.random.default_rng(0)
    user, item = np.divmod(rng.choice(300 * 100, 15_000, replace=False), 100)
    liked = 0.5 * rng.standard_normal(300)[user] + 0.5 * rng.standard_normal(100)[item]
    train, test = Ratings.from_arrays(user, item, offset + liked + 0.4 * rng.standard_normal(15_000)).split(0.8)
    model = model_class(n_factors=8).fit(train)
    assert 0.38 < model.rmse(test) < 0.425 < 0.55 * np.std(test.rating)


@MODELS
@pytest.mark.parametrize("n_threads", [2, 3])
def test_the_number_of_threads_changes_nothing(model_class, n_threads):
    train = low_rank(n_users=700, n_items=300, n_ratings=70_000, noise=0.3)
    assert grid(700, 300, 16, 70_000) == (4, 4)
    one, many = (model_class(n_epochs=3, n_factors=8, n_threads=n).fit(train) for n in (1, n_threads))
    for name, array in one.parameters.items():
        assert np.array_equal(array, many.parameters[name]), name
    assert [r.train_rmse for r in one.history] == [r.train_rmse for r in many.history]


def test_predictions_are_the_docstring_s_formulas(small):
    user, item = small.user[:50], small.item[:50]
    settings = {"n_factors": 3, "n_epochs": 5, "init_std": 0.3}
    funk = FunkSVD(**settings).fit(small)
    assert funk.user_factors.shape == (60, 3) and funk.item_factors.shape == (40, 3)
    assert funk.predict_index(user, item) == pytest.approx(
        (funk.user_factors[user] * funk.item_factors[item]).sum(1), abs=1e-5
    )
    svd = SVD(**settings).fit(small)
    biases = svd.global_mean + svd.user_bias[user] + svd.item_bias[item]
    expected = biases + (svd.user_factors[user] * svd.item_factors[item]).sum(1)
    assert svd.predict_index(user, item) == pytest.approx(expected, abs=1e-5)
    svdpp = SVDpp(**settings).fit(small)
    for n in range(5):
        rated = small.item[small.user == user[n]]
        vector = svdpp.user_factors[user[n]] + svdpp.implicit_factors[rated].sum(0) / np.sqrt(len(rated))
        bias = svdpp.global_mean + svdpp.user_bias[user[n]] + svdpp.item_bias[item[n]]
        assert svdpp.predict_index(user, item)[n] == pytest.approx(
            bias + vector @ svdpp.item_factors[item[n]], abs=1e-4
        )


def test_cold_start_is_answered_by_the_known_side_s_bias(small):
    model = SVD(n_epochs=3).fit(small)
    ids = small.users.ids[0], small.items.ids[1]
    found = model.predict([ids[0], 999, 999], [999, ids[1], 999], clip=False)
    mean = model.global_mean
    assert found == pytest.approx([mean + model.user_bias[0], mean + model.item_bias[1], mean], abs=1e-5)


@MODELS
def test_validation_ratings_may_be_of_unknown_items(model_class, small):
    valid = Ratings.from_arrays([1, 1], [999, 2], [3, 4])
    model = model_class(n_epochs=2, init_std=0.1).fit(small, valid)
    answers = model.predict([1, 1], [999, 2], clip=False)
    assert model.history[model.best_epoch - 1].valid_rmse == pytest.approx(np.sqrt(np.mean((answers - [3, 4]) ** 2)))


@MODELS
def test_zero_initial_factors_are_refused_with_the_reason(model_class, small):
    with pytest.raises(ConfigError, match=r"each step is zero too .* could never learn"):
        model_class(init_std=0).fit(small)


@MODELS
def test_diverging_training_stops_with_a_sentence(model_class, small):
    with pytest.raises(TrainingError, match=r"diverged in epoch \d+: .*lower learning_rate \(5\)\."):
        model_class(learning_rate=5, n_epochs=200).fit(small)


@MODELS
def test_tables_of_one(model_class):
    for users, items in (([1], [1]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [1, 1, 1])):
        ratings = np.arange(3.0, 3.0 + len(users))
        table = Ratings.from_arrays(users, items, ratings)
        model = model_class(n_epochs=50).fit(table)
        assert np.isfinite(model.predict_index(table.user, table.item)).all()
        assert model.history[-1].train_rmse < np.std(ratings) + 0.1


@MODELS
def test_ids_that_no_rating_uses(model_class, small):
    """A table whose maps hold more than its ratings do."""
    part = small.take(small.user < 30)
    model = model_class(n_epochs=3).fit(part)
    assert np.isfinite(model.predict_index(np.array([59], np.int32), np.array([3], np.int32))).all()


@MODELS
def test_any_scale_trains_with_the_defaults_and_to_the_same_vectors(model_class):
    """A table times a number gives the model times that number; by a power of two, which is exact, bit for bit."""
    table = low_rank(n_ratings=2000, noise=0.1)
    train, test = table.split(0.8)

    def trained(factor, shift=0.0):
        ratings = train.rating.astype(float) * factor + shift
        return model_class(n_epochs=20).fit(Ratings.from_arrays(train.user, train.item, ratings))

    one, many = trained(1), trained(16)
    pairs = test.user[test.known], test.item[test.known]
    assert np.array_equal(many.predict_index(*pairs), 16 * one.predict_index(*pairs))
    assert many.history[-1].train_rmse == pytest.approx(16 * one.history[-1].train_rmse)
    assert many.item_factors == pytest.approx(4 * one.item_factors)
    users, items = (many.scorer.towers(side) for side in ("user", "item"))
    assert (users[pairs[0]] * items[pairs[1]]).sum(1) == pytest.approx(many.predict_index(*pairs), rel=1e-4)
    for factor in (1.37, 1.39, 20, 0.01):
        many = trained(factor)
        assert many.history[-1].train_rmse / factor == pytest.approx(one.history[-1].train_rmse, rel=1e-4)
        error = (many.predict_index(*pairs) / factor - test.rating[test.known]).std()
        assert error == pytest.approx((one.predict_index(*pairs) - test.rating[test.known]).std(), rel=1e-4)
    shifted = trained(20, -15)
    assert shifted.rmse(Ratings.from_arrays(train.user, train.item, train.rating * 20 - 15)) < 0.9 * 20 * np.std(
        train.rating
    )
    negative = trained(-1)
    assert negative.history[0].train_rmse == pytest.approx(one.history[0].train_rmse, rel=0.05)


@MODELS
def test_ratings_that_are_all_the_same(model_class):
    for rating in (1e-3, 3, 50):
        table = Ratings.from_arrays(np.arange(90) // 9, np.arange(90) % 9, np.full(90, float(rating)))
        # Without a spread to go by, steps are those of stars, too long for dot products of about 50.
        model = model_class(n_epochs=40, learning_rate=0.002).fit(table)
        answers = model.predict_index(table.user, table.item)
        assert np.isfinite(answers).all() and np.allclose(answers, rating, atol=0.05 * max(rating, 1))


@MODELS
def test_an_epoch_is_looked_at_and_can_be_stopped(model_class, monkeypatch):
    """Between two rounds of blocks; on 0.1 nothing happened before an epoch was over."""
    monkeypatch.setattr("nnmf.factorization._learner._TICK_SECONDS", -1.0)
    monkeypatch.setattr("nnmf.factorization._schedule._CHUNK_RATINGS", 20_000)
    looks, table = [], low_rank(n_users=700, n_items=300, n_ratings=70_000, noise=0.3)

    class Stop(Exception):
        pass

    class Progress:
        def begin(self, n_epochs, n_ratings, done): ...

        def tick(self, epoch, done, rmse, samples_per_second):
            looks.append((epoch, done, rmse))
            if done > 35_000 and epoch == 2:
                raise Stop

        def end(self): ...

    with pytest.raises(Stop):
        model_class(n_epochs=3, n_factors=8, n_threads=2).fit(table, progress=Progress())
    first = [(done, rmse) for epoch, done, rmse in looks if epoch == 1]
    assert len(first) >= 4 and [done for done, _ in first] == sorted(done for done, _ in first)
    assert first[-1][0] == 70_000 == first[-2][0] and first[-1][1] == pytest.approx(first[-2][1])
    assert looks[-1][0] == 2 and looks[-1][1] < 70_000


def test_settings_of_networks_are_refused():
    with pytest.raises(ConfigError, match="batch_size: svd has no such setting"):
        SVD(batch_size=3)
    with pytest.raises(ConfigError, match="bias_l2: funk_svd has no such setting"):
        FunkSVD(bias_l2=3)


def test_factorizations_do_without_mxnet():
    code = "import sys; from nnmf import SVD, Ratings; assert 'mxnet' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("model_class", "low", "high"), [(FunkSVD, 0.905, 0.935), (SVD, 0.905, 0.930), (SVDpp, 0.900, 0.925)]
)
def test_accuracy_on_u1(u1, model_class, low, high):
    """Surprise's defaults: SVD .951, SVDpp .933."""
    assert low < model_class().fit(u1[0]).rmse(u1[1]) < high
