"""Steps over the rows of a batch: the same training as over whole tables."""

import numpy as np
import pytest

from nnmf import NetworkModel, Ratings, fit, mx
from nnmf.errors import ConfigError, TrainingError
from nnmf.networks import histories_net, plain_net, why_not_by_row
from nnmf.neural import _rows, _sparse
from nnmf.testing import low_rank, parameters

FAST = {"n_epochs": 4, "batch_size": 32, "ctx": "cpu"}
#: of a table whose RMSE falls from 1 to .3
ROUNDING = 2e-6


@pytest.fixture(scope="module")
def tables():
    return low_rank(noise=0.2).split(0.8)


def normed(n_users, n_items, n_factors=4):
    """A network that has means and variances, which training moves without a gradient, and a bias of each side."""
    towers = []
    for side, n in (("user", n_users), ("item", n_items)):
        index = mx.sym.Variable(side)
        rows = mx.sym.Embedding(index, input_dim=n, output_dim=n_factors, name=f"{side}_factors")
        bias = mx.sym.Embedding(index, input_dim=n, output_dim=1, name=f"{side}_bias")
        layer = mx.sym.FullyConnected(rows, num_hidden=6, name=f"{side}_layer")
        towers.append((mx.sym.BatchNorm(layer, name=f"{side}_norm"), mx.sym.reshape(bias, (-1,))))
    (p, user), (q, item) = towers
    return mx.sym.LinearRegressionOutput(mx.sym.sum(p * q, axis=1) + user + item, mx.sym.Variable("rating"))


def twice(n_users, n_items, n_factors=4):
    """A network that looks users up twice, and whose items have two tables, of other lengths and widths."""
    user, item = mx.sym.Variable("user"), mx.sym.Variable("item")
    weight = mx.sym.Variable("user_factors_weight", shape=(n_users, n_factors))
    once, again = (mx.sym.Embedding(user, weight, input_dim=n_users, output_dim=n_factors) for _ in range(2))
    rows = mx.sym.Embedding(item, input_dim=n_items, output_dim=n_factors, name="item_factors")
    wide = mx.sym.Embedding(item, input_dim=n_items + 9, output_dim=2 * n_factors, name="item_wide")
    product = mx.sym.sum(once * rows, axis=1) + mx.sym.sum(
        again * mx.sym.tanh(mx.sym.slice_axis(wide, 1, 0, n_factors)), axis=1
    )
    return mx.sym.LinearRegressionOutput(product, mx.sym.Variable("rating"))


# -- the loops -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rate, decay, keep", [(0.1, 0.3, 0.9), (0.1, 0.0, 0.9), (0.2, 0.5, 0.0), (0.0, 0.5, 0.5), (0.1, 0, 0)]
)
def test_powers_are_as_many_steps(rate, decay, keep, monkeypatch):
    monkeypatch.setattr(_rows, "_NEAR", 8)
    rng = np.random.default_rng(0)
    start = rng.standard_normal((2, 30, 5)).astype(np.float32)
    weight, momentum = start.copy()
    steps, rows = np.arange(30, dtype=np.int32), np.array([3, 29, 0, 12], np.int32)
    near, far = _rows.powers(rate, decay, keep, 40)
    local, found = np.array([0, 1, 0, 2, 1, 1], np.int32), np.empty((6, 5), np.float32)
    _rows.gather(rows, 3, local, steps, 40, near, far, weight, momentum, 0, 1, found)
    for row in range(30):
        w, m = start[:, row].astype(float)
        for _ in range(40 - row if row in rows[:3] else 0):
            m = keep * m - rate * decay * w
            w = w + m
        assert weight[row] == pytest.approx(w, rel=1e-5, abs=1e-6)
        assert momentum[row] == pytest.approx(m, rel=1e-5, abs=1e-6)
    assert np.array_equal(found, weight[rows[local]])
    share = np.empty((3, 5), np.float32)
    _rows.gather(rows, 3, local, np.full(30, 40, np.int32), 40, near, far, weight, momentum, 1, 2, share)
    assert np.array_equal(share, found[1::2])
    other_weight, other_momentum = start.copy()
    _rows.catch_up(steps, 40, near, far, other_weight, other_momentum)
    assert np.array_equal(other_weight[rows[:3]], weight[rows[:3]])
    assert np.array_equal(other_weight[5], start[0, 5]) == (keep == decay == 0)


def test_rows_are_found_once_each():
    rng, place, rows = np.random.default_rng(1), np.zeros(50, np.int32), np.full(20, -1, np.int32)
    local = np.empty(20, np.int32)
    for _ in range(200):  # whatever earlier batches left behind
        index = rng.integers(0, rng.integers(1, 51), 20).astype(np.int32)
        n_rows = _rows.find_rows(index, place, rows, local)
        assert np.array_equal(rows[:n_rows][local], index)
        assert len(np.unique(rows[:n_rows])) == n_rows == len(np.unique(index))


def test_gradients_of_a_row_are_added_up():
    rng, local = np.random.default_rng(1), np.array([0, 1, 0, 2, 1, 1], np.int32)
    gradient, total = rng.standard_normal((6, 5)).astype(np.float32), np.full((4, 5), np.nan, np.float32)
    wanted = np.zeros((4, 5), np.float32)
    np.add.at(wanted, local, gradient)
    _rows.add_up(gradient, local, 3, 0, 1, total)
    assert np.array_equal(total[:3], wanted[:3])
    shares = np.full((2, 4, 5), np.nan, np.float32)
    for rank in range(2):
        _rows.add_up(gradient[rank::2].copy(), local, 3, rank, 2, shares[rank])
    assert shares.sum(axis=0) == pytest.approx(wanted, abs=1e-6)


def test_a_step_is_that_of_mxnet():
    rng = np.random.default_rng(2)
    weight, momentum, gradient = rng.standard_normal((3, 40)).astype(np.float32)
    gradient[0] = np.nan
    settings = {"lr": 0.1, "wd": 0.3, "momentum": 0.9, "rescale_grad": 0.5}
    for bound in (np.inf, 0.2):
        expected, kept = mx.nd.array(weight), mx.nd.array(momentum)
        clipped = {} if bound == np.inf else {"clip_gradient": bound}
        mx.nd.sgd_mom_update(expected, mx.nd.array(gradient), kept, out=expected, **settings, **clipped)
        w, m = weight.copy(), momentum.copy()
        _rows.descend(gradient, *map(np.float32, (0.1, 0.3, 0.9, 0.5, bound)), w, m)
        assert w == pytest.approx(expected.asnumpy(), rel=1e-6, nan_ok=True) and np.isnan(w[0])
        assert m == pytest.approx(kept.asnumpy(), rel=1e-6, abs=1e-7, nan_ok=True)


# -- the same training ---------------------------------------------------------------------------------------------------
def both(network, train, test, **settings):
    """The model trained by whole tables, and by rows."""
    return [
        NetworkModel(network, **{**FAST, **settings}, sparse=sparse).fit(train, test=test) for sparse in ("off", "on")
    ]


def assert_alike(whole, rows, tolerance=ROUNDING):
    for one, other in zip(whole.history, rows.history, strict=True):
        assert other.train_rmse == pytest.approx(one.train_rmse, abs=tolerance)
        assert other.test_rmse == pytest.approx(one.test_rmse, abs=tolerance)
    found, expected = parameters(rows), parameters(whole)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name] == pytest.approx(array, abs=1e-4, rel=1e-3), name


@pytest.mark.parametrize("preset", ["tutorial", "fast"])
@pytest.mark.parametrize("network", ["plain", "one_layer_mlp", "dropout_mlp", "biased", "biased_mlp", normed, twice])
def test_rows_are_trained_as_whole_tables_are(network, preset, tables):
    settings = {"n_factors": 4, "preset": preset, "schedule": "cosine", "learning_rate": 0.1, "l2": 0.02}
    if network == "dropout_mlp":
        settings |= {"hidden_units": 6, "dropout": 0.3}
    tolerance = ROUNDING
    if network is normed:  # a batch norm over numbers near zero makes much of rounding
        settings["learning_rate"], tolerance = 0.01, 1e-4
    assert_alike(*both(network, *tables, **settings), tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.0},
        {"batch_size": None},
        {"batch_size": 1},
        {"batch_size": 1200},
        {"last_batch": "discard"},
        {"negatives": 2},
        {"keep": "mean"},
        {"n_factors": 17},
    ],
)
def test_whatever_the_settings(settings, tables):
    assert_alike(*both("biased_mlp", *tables, **{"n_factors": 4, **settings}))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["plain", "one_layer_mlp", "biased_mlp"])
@pytest.mark.parametrize("preset", ["tutorial", "fast"])
def test_both_agree_on_ml_100k_at_every_epoch(network, preset, u1):
    train, test = u1
    settings = {"preset": preset, "schedule": "linear", "n_epochs": 10, "ctx": "cpu"}
    curves = [
        [result.test_rmse for result in fit(network, train, test=test, sparse=sparse, **settings).history]
        for sparse in ("off", "on")
    ]
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)
    assert curves[0][-1] < curves[0][0] - 1e-3


def test_a_table_in_a_folder(tables, tmp_path):
    train, test = tables
    train.store(tmp_path / "table")
    assert_alike(*both("biased", Ratings.open(tmp_path / "table"), test, n_factors=4))


def test_training_goes_on_by_rows_with_new_users(tables):
    train, test = tables
    found = []
    for sparse in ("off", "on"):
        model = NetworkModel("biased_mlp", **FAST, n_factors=4, sparse=sparse).fit(train.take(train.user < 40))
        found.append([result.test_rmse for result in model.fit_more(train, test=test).history[-4:]])
    assert found[1] == pytest.approx(found[0], abs=ROUNDING)


def test_where_mxnet_has_memory_of_its_own(tables, monkeypatch):
    """What a card needs, tried on a CPU: rows and gradients are copied, and nothing else changes."""
    train, test = tables
    settings = {**FAST, "n_factors": 4, "sparse": "on"}
    expected = NetworkModel(normed, **settings).fit(train, test=test)
    made = _sparse.SparseTrainer

    def apart(*arguments):
        return made(*arguments, shared=False)

    monkeypatch.setattr(_sparse, "SparseTrainer", apart)
    found = NetworkModel(normed, **settings).fit(train, test=test)
    assert [result.test_rmse for result in found.history] == [result.test_rmse for result in expected.history]
    for name, array in expected.parameters.items():
        assert np.array_equal(found.parameters[name].asnumpy(), array.asnumpy())


def test_an_epoch_s_snapshot_stays_as_it_was(tables):
    """Tables are trained in place: what is kept of an epoch must have been copied before the next one moves them."""
    train, valid = tables
    settings = {**FAST, "n_epochs": 30, "learning_rate": 0.3, "l2": 0.0, "n_factors": 16, "sparse": "on"}
    model = NetworkModel("biased", **settings).fit(train, valid)
    assert 1 < model.best_epoch < 30
    shorter = NetworkModel("biased", **settings).fit(
        train, callbacks=[lambda result, _: result.epoch == model.best_epoch]
    )
    assert np.array_equal(model.predict_index(train.user, train.item), shorter.predict_index(train.user, train.item))


# -- where it cannot be --------------------------------------------------------------------------------------------------
def one_table(n_users, n_items):
    n, weight = max(n_users, n_items), mx.sym.Variable("weight")
    user, item = (
        mx.sym.Embedding(mx.sym.Variable(side), weight, input_dim=n, output_dim=4) for side in ("user", "item")
    )
    return mx.sym.LinearRegressionOutput(mx.sym.sum(user * item, axis=1), mx.sym.Variable("rating"))


def one_hot(n_users, n_items):
    user = mx.sym.FullyConnected(mx.sym.one_hot(mx.sym.Variable("user"), depth=n_users), num_hidden=4, name="user")
    item = mx.sym.Embedding(mx.sym.Variable("item"), input_dim=n_items, output_dim=4, name="item")
    return mx.sym.LinearRegressionOutput(mx.sym.sum(user * item, axis=1), mx.sym.Variable("rating"))


def profiles(n_users, n_items):
    """A network that looks up what a user rated, and learns of it."""
    seen = mx.sym.Variable("seen", shape=(n_users, n_items))
    rated = mx.sym.Embedding(mx.sym.Variable("user"), seen, input_dim=n_users, output_dim=n_items)
    user = mx.sym.FullyConnected(rated, num_hidden=4, name="user")
    item = mx.sym.Embedding(mx.sym.Variable("item"), input_dim=n_items, output_dim=4, name="item")
    return mx.sym.LinearRegressionOutput(mx.sym.sum(user * item, axis=1), mx.sym.Variable("rating"))


@pytest.mark.parametrize(
    ("network", "settings", "why"),
    [
        (histories_net, {}, "in what it computes"),
        (one_table, {}, "users and items up in one table"),
        (one_hot, {}, "its one_hot takes 'user' itself, not the rows of a batch"),
        (profiles, {}, r"what was rated \('seen'\), which no step moves"),
        (plain_net, {"temperature": 1.0}, r"its steps carry noise \(temperature\)"),
    ],
)
def test_what_cannot_be_trained_by_rows_says_so(network, settings, why, tables):
    with pytest.raises(ConfigError, match=f"sparse: got 'on', but the network cannot be trained by rows: .*({why})"):
        NetworkModel(network, n_epochs=1, ctx="cpu", sparse="on", **settings).fit(tables[0])
    fitted, whole = (
        NetworkModel(network, n_epochs=1, ctx="cpu", sparse=sparse, **settings).fit(tables[0])
        for sparse in ("auto", "off")
    )
    assert fitted.history[0].train_rmse == whole.history[0].train_rmse
    for name, array in parameters(whole).items():
        assert np.array_equal(parameters(fitted)[name], array)


@pytest.mark.parametrize("sparse", ["off", "on"])
def test_what_mxnet_cannot_train_gets_a_sentence(sparse, tables):
    def one_pair(n_users, n_items):
        prediction = plain_net(n_users, n_items, n_factors=2).get_children()[0]
        return mx.sym.LinearRegressionOutput(mx.sym.reshape(prediction, shape=(1,)), mx.sym.Variable("rating"))

    with pytest.raises(TrainingError, match=r"^MXNet failed to train the network: .*Shape inconsistent.*\[32\].*$"):
        NetworkModel(one_pair, **FAST, sparse=sparse).fit(tables[0])


def test_a_network_without_tables_has_nothing_to_train_by_rows():
    data = mx.sym.Variable("user") + mx.sym.Variable("item")
    symbol = mx.sym.LinearRegressionOutput(data, mx.sym.Variable("rating"))
    assert why_not_by_row(symbol) == "its elemwise_add takes 'user' itself, not the rows of a batch"


def test_only_auto_on_or_off():
    with pytest.raises(ConfigError, match="sparse: got 'yes' instead of one of"):
        NetworkModel("plain", sparse="yes")
    with pytest.raises(ConfigError, match=r"sparse: .* has no such setting"):
        fit("svd", low_rank(), sparse="on")
