"""Settings that suit any table, and those that `preset="accurate"` chooses for one."""

import json
import logging

import numpy as np
import pytest

from nnmf import SVD, Bayes, FunkSVD, Ratings, SVDpp, load
from nnmf.errors import TrainingError
from nnmf.metrics import rmse
from nnmf.models import DampedBiases
from nnmf.storage import RunFolder
from nnmf.testing import low_rank

MODELS = pytest.mark.parametrize("model_class", [FunkSVD, SVD, SVDpp])
NOISE = 0.8


def drawn(n_users, n_items, n_ratings, noise=NOISE, seed=0):
    """(train, held out) of ratings made of biases, vectors and noise."""
    rng = np.random.default_rng(seed)
    user_bias, item_bias = rng.normal(0, 0.4, n_users), rng.normal(0, 0.4, n_items)
    p, q = (rng.normal(0, 0.5, (n, 4)) for n in (n_users, n_items))
    cell = rng.permutation(n_users * n_items)[:n_ratings]
    user, item = cell // n_items, cell % n_items
    mean = 3 + user_bias[user] + item_bias[item] + (p[user] * q[item]).sum(1)
    return Ratings.from_arrays(user, item, mean + rng.normal(0, noise, n_ratings)).split(0.9, seed)


@pytest.fixture(scope="module")
def table():
    return drawn(150, 100, 3000)


# Users and items have 3 and 6 ratings, 30 and 40, 40 and 320. Penalties by the mean of the table came to 1.060, 1.001 and .881.
@pytest.mark.parametrize(
    ("size", "biases", "bands"),
    [
        ((3000, 1500, 9000), 1.015, {FunkSVD: (1.0, 1.09), SVD: (1.0, 1.03), SVDpp: (1.0, 1.03)}),
        ((400, 300, 12_000), 1.000, {FunkSVD: (0.97, 1.005), SVD: (0.97, 1.0), SVDpp: (0.97, 0.998)}),
        ((400, 50, 16_000), 0.969, {FunkSVD: (0.84, 0.875), SVD: (0.84, 0.875), SVDpp: (0.84, 0.875)}),
    ],
)
def test_the_defaults_suit_sparse_and_dense_tables(size, biases, bands):
    train, held_out = drawn(*size)
    assert rmse(held_out.rating, DampedBiases.of(train).predict(held_out.user, held_out.item)) == pytest.approx(
        biases, abs=0.001
    )
    for model_class, (low, high) in bands.items():
        assert NOISE < low < model_class().fit(train).rmse(held_out) < high, model_class


@pytest.mark.parametrize(
    ("size", "n_factors", "features"), [((60, 60, 1200), 4, ()), ((100, 60, 4000), 4, ("history", "raters"))]
)
@pytest.mark.parametrize("preset", ["fast", pytest.param("accurate", marks=pytest.mark.slow)])
def test_few_ratings_are_drawn_from_with_few_weights(preset, size, n_factors, features):
    """Of 1200 ten factors, or sixteen, with histories end 4 to 7 % above damped biases."""
    train, held_out = drawn(*size, noise=1.0)
    biases = rmse(held_out.rating, DampedBiases.of(train).predict(held_out.user, held_out.item))
    model = Bayes(preset=preset)
    assert not model.features
    model.fit(train)
    assert (model.n_factors, model.features) == (n_factors, features)
    assert 0.95 < model.rmse(held_out) / biases < 1.01
    given = Bayes(preset=preset, n_factors=3, features="ids,raters", n_epochs=1).fit(train)
    assert (given.n_factors, given.features) == (3, ("raters",))
    assert model.fit(low_rank(n_users=200, n_items=200, n_ratings=10_001)).n_factors == 6  # another table's own


@MODELS
@pytest.mark.parametrize("n_ratings", [5, 12, 30])
@pytest.mark.parametrize("preset", ["fast", "accurate"])
def test_tables_of_few_ratings_are_trained_alike(model_class, n_ratings, preset):
    rng = np.random.default_rng(n_ratings)
    cell = rng.permutation(48)[:n_ratings]
    table = Ratings.from_arrays(cell // 6, cell % 6, rng.integers(1, 6, n_ratings), scale=(1, 5))
    model, fast = (model_class(preset=name).fit(table) for name in (preset, "fast"))
    user, item = np.divmod(np.arange(table.n_users * table.n_items, dtype=np.int32), table.n_items)
    answers = model.predict_index(user, item)
    assert np.array_equal(answers, fast.predict_index(user, item))
    assert model.history[-1].train_rmse < table.rating.std()
    # No pair is driven off the scale; penalties by the mean of the table answered 0.4 to 6.8.
    assert 1 <= answers.min() < answers.max() <= 5


def test_the_settings_are_those_that_predict_held_out_tenths_best(table, caplog):
    train = table[0]
    squares = []
    for settings in SVD.tries:
        pairs = [(SVD(**settings).fit(part), judges) for part, judges in train.folds(10, seed=3)]
        squares.append(sum(len(judges) * model.rmse(judges) ** 2 for model, judges in pairs))
    best = SVD.tries[int(np.argmin(squares))]
    with caplog.at_level(logging.INFO, "nnmf"):
        model = SVD(preset="accurate", seed=3).fit(train)
    assert {name: getattr(model.config, name) for name in best} == best
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Settings")]
    assert f"n_epochs={best['n_epochs']}" in line and f"{len(train)} held-out ratings" in line
    plain = SVD(**best, seed=3).fit(train)
    assert np.array_equal(plain.user_factors, model.user_factors)
    assert len(model.history) == best["n_epochs"]


def test_one_tenth_of_a_large_table_is_enough(caplog):
    train = low_rank(n_users=700, n_items=300, n_ratings=60_000, noise=0.3)
    with caplog.at_level(logging.INFO, "nnmf"):
        SVD(preset="accurate", n_epochs=1, n_factors=2).fit(train)
    assert "of 5 tried the best on 6000 held-out ratings" in caplog.text and "n_epochs" not in caplog.text


@pytest.mark.parametrize("n_ratings", [3000, 60_000])
def test_settings_are_chosen_for_a_mapped_table_too(n_ratings, tmp_path, caplog):
    """By the same parts where they are small; else by one of its own."""
    table = low_rank(n_users=700, n_items=300, n_ratings=n_ratings, noise=0.3)
    table.store(tmp_path / "table")
    with caplog.at_level(logging.INFO, "nnmf"):
        found = [
            SVD(preset="accurate", n_epochs=1, n_factors=2).fit(one)
            for one in (table, Ratings.open(tmp_path / "table"))
        ]
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Settings")]
    assert len(lines) == 2 and all(f"on {min(n_ratings, 6000)} held-out ratings" in line for line in lines)
    assert n_ratings == 60_000 or lines[0] == lines[1]
    assert found[0].config == found[1].config


def test_little_noise_wants_a_small_penalty_and_much_a_large_one():
    quiet, loud = (SVD(preset="accurate").fit(drawn(150, 100, 3000, noise)[0]).config.l2 for noise in (0.02, 3.0))
    assert quiet < 0.05 < loud


@MODELS
def test_the_choice_is_the_same_for_any_threads_and_any_test_ratings(model_class, table):
    train, test = table
    one = model_class(preset="accurate", n_threads=1, n_factors=8).fit(train)
    two = model_class(preset="accurate", n_threads=2, n_factors=8).fit(train, test=test)
    assert (one.config.l2, one.config.n_epochs) == (two.config.l2, two.config.n_epochs)
    for name, array in one.parameters.items():
        assert np.array_equal(array, two.parameters[name]), name


def test_a_validation_table_chooses_in_place_of_a_part(table):
    train, valid = table
    found = []
    for settings in SVD.tries:
        model = SVD(**settings).fit(train, valid)
        found.append(model.history[model.best_epoch - 1].valid_rmse)
    best = SVD.tries[int(np.argmin(found))]
    model = SVD(preset="accurate").fit(train, valid)
    assert {name: getattr(model.config, name) for name in best} == best
    assert model.history[model.best_epoch - 1].valid_rmse == pytest.approx(min(found))


def test_what_is_given_is_not_chosen(table, caplog):
    with caplog.at_level(logging.INFO, "nnmf"):
        model = SVD(preset="accurate", l2=0.3, n_epochs=2).fit(table[0])
    assert (model.config.l2, model.config.n_epochs) == (0.3, 2) and "Settings:" not in caplog.text


def test_what_was_chosen_is_saved_and_kept_to(table, tmp_path):
    train, more = table
    model = SVD(preset="accurate", n_factors=4).fit(train)
    chosen = model.config
    model.save(tmp_path / "svd")
    loaded = load(tmp_path / "svd")
    assert loaded.config == chosen
    run = RunFolder.begin(tmp_path / "run", {"model": "svd", **SVD(preset="accurate", n_factors=4).config.to_dict()})
    SVD(preset="accurate", n_factors=4).fit(train, callbacks=[run])
    run.close()
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == {"model": "svd", **chosen.to_dict()}
    loaded.fit_more(more, n_epochs=1)
    assert (loaded.config.l2, loaded.config.preset) == (chosen.l2, "accurate")
    # Another table is chosen for anew.
    other = drawn(150, 100, 3000, 0.02)[0]
    assert model.fit(other).config.l2 < chosen.l2


def test_interrupts_and_failures_while_choosing_leave_the_model(table, monkeypatch):
    train = table[0]
    model = SVD(preset="accurate", n_factors=4).fit(train)
    before, config, heard = model.user_factors.copy(), model.config, []

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nnmf.factorization._learner.FunkLearner.epoch", interrupt)
        model.fit(train, callbacks=[lambda *_: heard.append(1)])
    assert np.array_equal(model.user_factors, before) and model.config == config and not heard
    with pytest.raises(TrainingError, match="diverged in epoch"):
        SVD(preset="accurate", learning_rate=5).fit(train)


def test_callbacks_hear_of_the_training_alone(table):
    heard = []
    model = SVD(preset="accurate", n_factors=4)
    model.fit(table[0], callbacks=[lambda result, told: heard.append((result.epoch, told))])
    assert [epoch for epoch, _ in heard] == list(range(1, model.config.n_epochs + 1))
    assert all(told is model for _, told in heard)
