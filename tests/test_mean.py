"""Keeping the mean: what it predicts, how far its members lie apart, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

import nnmf
from nnmf import _mxnet
from nnmf.errors import ConfigError, DataError
from nnmf.kinds import load_checkpoint
from nnmf.models import from_state, own_scorer
from nnmf.storage import RunFolder
from nnmf.testing import assert_same_model, low_rank

from .test_models import PLAIN, concat

NETWORKS = {"product": "biased_mlp", "no product": concat}
LONG = {**PLAIN, "n_epochs": 12, "keep": "mean"}


@pytest.fixture(scope="module")
def table():
    return low_rank(noise=0.2)


def averaged(model, table, **settings):
    """A trained model, and what each epoch's own parameters predicted of the table."""
    each = []

    def collect(result, trained):
        each.append(own_scorer(trained.scorer).predict(table.user, table.item).astype(np.float64))

    return nnmf.fit(model, table, callbacks=[collect], **settings), np.stack(each)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_later_half_is_averaged(name, table):
    model, each = averaged(NETWORKS[name], table, **LONG)
    found = model.predict_index(table.user, table.item)
    assert found == pytest.approx(each[6:].mean(axis=0), abs=2e-4)
    assert abs(found - each[-1]).max() > 1e-3 and abs(found - each.mean(axis=0)).max() > 1e-3
    assert (model.best_epoch, len(model.history)) == (12, 12)


def test_a_longer_run_averages_its_own_later_half(table, tmp_path):
    """One of 12 epochs, and one of 6 that is resumed for 6 more."""
    settings = {"n_factors": 3, "schedule": "constant", "keep": "mean"}
    whole = nnmf.fit("svd", table, n_epochs=12, **settings)
    run = RunFolder.begin(tmp_path / "run", {"model": "svd", "data": {}})
    nnmf.fit("svd", table, n_epochs=6, **settings, callbacks=[run])
    run.close()
    resumed = load_checkpoint(tmp_path / "run")
    resumed.config = whole.config
    assert_same_model(resumed.resume(table), whole)
    assert resumed.scorer.count == whole.scorer.count


@pytest.mark.parametrize("name", NETWORKS)
def test_deviations_are_of_the_epochs_and_of_the_noise(name, table):
    model, each = averaged(NETWORKS[name], table, **LONG)
    ids = table.users.ids[table.user], table.items.ids[table.item]
    _, deviation = model.predict(*ids, clip=False, return_std=True)
    noise = np.mean([result.train_rmse**2 for result in model.history[6:]])
    assert deviation == pytest.approx(np.sqrt(each[6:].var(axis=0, ddof=1) + noise), rel=1e-3)
    low, high = model.interval(*ids, level=0.9)
    within = (low <= table.rating) & (table.rating <= high)
    assert 0.8 < within.mean() < 0.99
    safe, score = model.recommend(table.users.ids[0], 3, risk=-1.0)
    expected, spread = model.predict([table.users.ids[0]] * 3, safe, clip=False, return_std=True)
    assert score == pytest.approx(expected - spread, abs=1e-4)


def test_many_epochs_are_kept_narrow(table):
    model, each = averaged("biased", table, **{**LONG, "n_epochs": 160, "learning_rate": 0.05})
    arrays = model.scorer.arrays()
    assert arrays["mean:user_factors"].shape[1] <= 128 and len(arrays["mean:user_draws"]) <= 16
    assert model.predict_index(table.user, table.item) == pytest.approx(each[80:].mean(axis=0), abs=2e-3)


def test_what_cannot_be_kept_is_refused(table):
    with pytest.raises(ConfigError, match="keep: bayes averages its draws whatever is kept"):
        nnmf.fit("bayes", table, keep="mean")
    with pytest.raises(ConfigError, match="keep: got 'best', which validation ratings tell, and there are none"):
        nnmf.fit("svd", table, keep="best")
    with pytest.raises(ConfigError, match="patience: waits for a better epoch, which keep='mean' does not seek"):
        nnmf.fit("svd", table, table, keep="mean", patience=2)
    with pytest.raises(ConfigError, match="keep: 1 epochs are averaged, and deviations need two"):
        nnmf.fit("svd", table, keep="mean", n_epochs=1).predict([0], [0], return_std=True)


def test_the_last_epoch_is_kept_where_that_is_asked_for(table):
    train, valid = table.split(0.8)
    settings = {
        "n_factors": 20,
        "n_epochs": 80,
        "init_std": 0.1,
        "l2": 0.0,
        "learning_rate": 0.05,
        "schedule": "constant",
    }
    last, best = (nnmf.fit("svd", train, valid, keep=keep, **settings) for keep in ("last", None))
    assert last.best_epoch == 80 > best.best_epoch


def biases(n_users, n_items):
    """A network that is linear in its parameters, so that their posterior is known."""
    mx = _mxnet.load()
    sides = [
        mx.sym.Embedding(
            mx.sym.Variable(side), mx.sym.Variable(f"{side}_bias_weight"), input_dim=n, output_dim=1, name=f"{side}_b"
        )
        for side, n in (("user", n_users), ("item", n_items))
    ]
    return mx.sym.LinearRegressionOutput(mx.sym.reshape(mx.sym.add_n(*sides), (-1,)), mx.sym.Variable("rating"))


@pytest.mark.slow
def test_draws_are_of_the_posterior():
    """Mean and variance of the draws of a linear model against those that linear algebra finds."""
    table = low_rank(n_users=30, n_items=20, n_ratings=200, noise=0.5)
    table = nnmf.Ratings.from_arrays(table.user, table.item, 20 * table.rating)
    settings = {"n_epochs": 600, "sweeps": 10, "l2": 0.05, "bias_l2": 0.5, "temperature": 1.0, "ctx": "cpu"}
    _, each = averaged(biases, table, **settings)
    each = each[300:]
    design = np.zeros((len(table), table.n_users + table.n_items))
    design[np.arange(len(table)), table.user] = design[np.arange(len(table)), table.n_users + table.item] = 1.0
    mean = table.rating.mean(dtype=np.float64)
    covariance = np.linalg.inv(design.T @ design + 80 * 0.05 * 0.5 * np.eye(design.shape[1]))
    expected = mean + design @ covariance @ design.T @ (table.rating - mean)
    noise = np.mean((each - table.rating) ** 2)  # of the draws, which is what their variance is for
    variance = noise * np.einsum("rf,fg,rg->r", design, covariance, design)
    assert each.mean(axis=0) == pytest.approx(expected, abs=5 * np.sqrt(variance.max() / 100))
    assert np.corrcoef(each.mean(axis=0), expected)[0, 1] > 0.99
    assert 0.85 < each.var(axis=0).mean() / variance.mean() < 1.15
    assert (each.var(axis=0) / variance).min() > 0.7 and (each.var(axis=0) / variance).max() < 1.4


def test_noise_is_of_squared_errors(table):
    def by_absolute_errors(n_users, n_items):
        prediction, label = nnmf.networks.biased_net(n_users, n_items, 3).get_children()
        return _mxnet.load().sym.MAERegressionOutput(prediction, label)

    with pytest.raises(
        ConfigError, match="temperature: is of squared errors, and the network ends in MAERegressionOutput"
    ):
        nnmf.fit(by_absolute_errors, table, temperature=1.0, ctx="cpu")
    with pytest.raises(ConfigError, match="temperature: network 'plain' has no such setting"):
        nnmf.fit("plain", table, preset="tutorial", temperature=1.0)
    with pytest.raises(ConfigError, match="sweeps: network 'plain' has no such setting"):
        nnmf.fit("plain", table, sweeps=3)


def test_what_was_rated_follows_the_table(table):
    half = np.arange(len(table)) % 2 == 0
    model = nnmf.fit("histories", table.take(half), n_factors=3, n_epochs=2, temperature=1.0, ctx="cpu")
    for more in (False, True):
        if more:
            model.fit_more(table, n_epochs=1)
        seen = np.zeros((table.n_users, table.n_items))
        rows = slice(None) if more else half
        seen[table.user[rows], table.item[rows]] = 1
        assert np.array_equal(own_scorer(model.scorer).parameters[nnmf.networks.SEEN].asnumpy(), seen)


SPOILT = {
    "numbers": lambda numbers: numbers * [0, 1, 1],
    "constants": lambda constants: constants[:-1],
    "user_bias": lambda bias: bias.astype(np.float32),
    "item_factors": lambda table: table[:, :-1],
    "user_draws": lambda draws: draws[:-1],
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_mean_that_does_not_fit_is_refused(name, table):
    state = nnmf.fit("svd", table, keep="mean", n_factors=3, n_epochs=4).to_state()
    arrays = {**state.kept.arrays, f"mean:{name}": SPOILT[name](state.kept.arrays[f"mean:{name}"])}
    spoilt = replace(state, kept=replace(state.kept, arrays=arrays), last=None)
    with pytest.raises(DataError, match=f"mean:({name}|item_factors|user_factors)"):
        from_state(nnmf.SVD, nnmf.TrainConfig(**state.config), spoilt, False)
    less = {key: array for key, array in state.kept.arrays.items() if key != f"mean:{name}"}
    with pytest.raises(DataError, match="those of the mean are"):
        kept = replace(state.kept, arrays=less)
        from_state(nnmf.SVD, nnmf.TrainConfig(**state.config), replace(state, kept=kept, last=None), False)
    with pytest.raises(DataError, match="hold a mean, which keep=None makes none of"):
        from_state(nnmf.SVD, nnmf.TrainConfig(**{**state.config, "keep": None}), state, False)


@pytest.mark.parametrize(("name", "settings"), [("svd", {}), ("biased", {"ctx": "cpu"})])
def test_what_is_unknown_to_a_mean_is_as_uncertain_as_the_scale_is_wide(name, settings):
    train = low_rank()
    model = nnmf.fit(name, train, n_epochs=6, keep="mean", **settings)
    width = train.scale[1] - train.scale[0]
    prediction, deviation = model.predict([1, 999], [1, 1], return_std=True)
    assert deviation[0] < deviation[1] == pytest.approx(width / np.sqrt(12), rel=1e-6)
    low, high = model.interval([999], [1], 0.5)
    reach = 0.67449 * width / np.sqrt(12)
    assert (low, high) == (
        pytest.approx(prediction[1] - reach, rel=1e-4),
        pytest.approx(prediction[1] + reach, rel=1e-4),
    )
