import logging
import math
import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from nnmf import DataIter, FunkSVD, NetworkModel, Ratings, TrainConfig, fit
from nnmf.errors import ConfigError, DataError, TrainingError
from nnmf.factorization._learner import FunkLearner
from nnmf.kinds import make_model
from nnmf.models import Catalogue
from nnmf.testing import low_rank
from nnmf.training._progress import TrainingProgress, duration

FAST = {"n_epochs": 4, "batch_size": 50, "n_factors": 4, "learning_rate": 0.1, "ctx": "cpu", "preset": "tutorial"}


@pytest.fixture
def tables(small):
    return small.split(0.8)


@pytest.mark.parametrize("callbacks", [3, [3], print, None, "log_epoch"])
def test_what_is_no_list_of_callbacks_is_refused_before_training(callbacks, small):
    model = FunkSVD(n_epochs=1)
    with pytest.raises(ConfigError, match=re.escape(f"callbacks: got {callbacks!r}; give a list of functions")):
        model.fit(small, callbacks=callbacks)
    assert not model.history


@pytest.mark.parametrize("given", ["funksvd", "Funk-SVD", "FunkSVD", "FUNK_SVD", FunkSVD])
def test_a_factorization_by_names_alike_and_by_its_class(given, small):
    model = fit(given, small, n_epochs=2, n_factors=3)
    assert type(model) is FunkSVD and model.n_factors == 3
    assert make_model("SVD++").kind == "svdpp" and make_model("Plain", ctx="cpu").network == "plain"


def test_what_is_no_name_of_a_model_says_what_to_give(small):
    for given, message in (
        (FunkSVD(), "model: got FunkSVD(untrained); a model has its own fit: model.fit(train, valid)"),
        (NetworkModel("plain", ctx="cpu"), "model: got NetworkModel(untrained); a model has its own fit"),
        (NetworkModel, "model: got the class of all networks; give a network's name or function"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            fit(given, small)


def test_an_unknown_setting_is_told_those_of_the_model_each_once():
    for name, has, lacks in (("svd", "bias_l2", "batch_size"), ("plain", "batch_size", "hidden_units")):
        with pytest.raises(ConfigError, match="foo: no such setting; there are ") as caught:
            make_model(name, foo=1)
        names = re.findall("'(.*?)'", str(caught.value))
        assert len(names) == len(set(names)) and {"n_factors", "seed", has} <= set(names) and lacks not in names


def test_training_reaches_the_noise_of_a_table_with_a_known_answer():
    train, valid = low_rank(n_ratings=2000, noise=0.1).split(0.8)
    settings = {**FAST, "n_epochs": 60, "learning_rate": 0.2, "l2": 1e-3}
    model = fit("plain", train, valid, **settings)
    assert len(model.history) == 60
    best = model.history[model.best_epoch - 1]
    # Knowing the vectors would give .1; not having learned them .65, the spread of the ratings.
    assert model.history[0].valid_rmse > 2.5
    assert 0.1 < best.valid_rmse < 0.25
    assert model.rmse(valid) == pytest.approx(best.valid_rmse, rel=1e-6)
    assert min(result.valid_rmse for result in model.history) == best.valid_rmse


def test_the_same_seed_gives_the_same_curve_bit_for_bit(tables):
    def curve(seed):
        settings = {**FAST, "hidden_units": 6, "dropout": 0.3, "n_epochs": 3}
        return [(r.train_rmse, r.valid_rmse) for r in fit("dropout_mlp", *tables, seed=seed, **settings).history]

    assert curve(1) == curve(1) != curve(2)


def test_the_training_rmse_is_over_all_ratings_each_before_its_step(small):
    """With one batch an epoch, the first epoch's figure is the error of the initial parameters."""
    model = NetworkModel("plain", TrainConfig(**{**FAST, "batch_size": len(small), "n_epochs": 1, "seed": 3}))
    start = {name: array.asnumpy() for name, array in model.learner(Catalogue.of(small), None).parameters.items()}
    model.fit(small)
    dot = (start["user_factors_weight"][small.user] * start["item_factors_weight"][small.item]).sum(1)
    assert model.history[0].train_rmse == pytest.approx(math.sqrt(np.mean((small.rating - dot) ** 2)), rel=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_agree_with_a_slow_loop(small, momentum):
    """SGD with momentum and weight decay on the plain network, written out in NumPy."""
    settings = {**FAST, "n_epochs": 2, "batch_size": 64, "momentum": momentum, "l2": 0.01, "schedule": "exponential"}
    learner = NetworkModel("plain", TrainConfig(**settings)).learner(Catalogue.of(small), None)
    weights = {name: array.asnumpy().astype(float) for name, array in learner.parameters.items()}
    moments = {name: np.zeros_like(value) for name, value in weights.items()}
    batches = DataIter(small, 64, seed=learner.config.seed)
    for epoch in (0, 1):
        batches.epoch = epoch
        rate = 0.1 * 0.9**epoch
        for rows in batches.order().reshape(-1, 64):
            user, item = small.user[rows], small.item[rows]
            p, q = weights["user_factors_weight"][user], weights["item_factors_weight"][item]
            error = (p * q).sum(1) - small.rating[rows]
            for name, index, other in (("user_factors_weight", user, q), ("item_factors_weight", item, p)):
                gradient = np.zeros_like(weights[name])
                np.add.at(gradient, index, error[:, None] * other / 64)
                moments[name] = momentum * moments[name] - rate * (gradient + 0.01 * weights[name])
            for name in weights:
                weights[name] += moments[name]
    model = NetworkModel("plain", TrainConfig(**settings)).fit(small)
    for name, value in weights.items():
        assert model.parameters[name].asnumpy() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_row_pays_for_its_ratings_and_eighty_more(small, momentum):
    """Steps of `biased` outside the tutorial's preset, written out in NumPy: in units, from the mean, whatever the scale."""
    table = Ratings.from_arrays(small.user, small.item, 20 * small.rating + 100)
    settings = {
        "n_epochs": 2,
        "batch_size": 64,
        "n_factors": 4,
        "learning_rate": 0.1,
        "momentum": momentum,
        "ctx": "cpu",
    }
    settings |= {"l2": 0.02, "bias_l2": 0.5, "schedule": "exponential"}
    learner = NetworkModel("biased", TrainConfig(**settings)).learner(Catalogue.of(table), None)
    weights = {name: array.asnumpy().astype(float) for name, array in learner.parameters.items()}
    moments = {name: np.zeros_like(value) for name, value in weights.items()}
    mean, unit = table.rating.mean(dtype=float), table.rating.std(dtype=float) / 1.125
    batches = DataIter(table, 64, seed=learner.config.seed)
    for epoch in (0, 1):
        batches.epoch = epoch
        for rows in batches.order().reshape(-1, 64):
            index = {"user": table.user[rows], "item": table.item[rows]}
            part = {name: value[index[name[:4]]] for name, value in weights.items()}
            p, q = part["user_factors_weight"], part["item_factors_weight"]
            biases = part["user_bias_weight"][:, 0] + part["item_bias_weight"][:, 0]
            error = ((p * q).sum(1) + biases - (table.rating[rows] - mean) / unit)[:, None]
            slopes = {"user_factors_weight": q, "item_factors_weight": p}
            for name, value in weights.items():
                own = part[name] * (0.02 if "factors" in name else 0.01)
                gradient = np.zeros_like(value)
                np.add.at(gradient, index[name[:4]], (error * slopes.get(name, 1.0) + own) / 64)
                gradient += 0.02 * 80 / len(table) * value
                moments[name] = momentum * moments[name] - 0.1 * 0.9**epoch * gradient
            for name in weights:
                weights[name] += moments[name]
    model = NetworkModel("biased", TrainConfig(**settings)).fit(table)
    for name, value in weights.items():
        assert model.parameters[name].asnumpy() == pytest.approx(value, abs=2e-5)
    user, item = table.user[:50], table.item[:50]
    biases = weights["user_bias_weight"][user, 0] + weights["item_bias_weight"][item, 0]
    product = (weights["user_factors_weight"][user] * weights["item_factors_weight"][item]).sum(1)
    assert model.predict_index(user, item) == pytest.approx(mean + unit * (biases + product), abs=1e-3 * unit)


def validate_to(monkeypatch, *errors):
    """Let the validation RMSE be these, epoch after epoch."""
    left = iter(errors)
    monkeypatch.setattr("nnmf.models._answers.Answers.rmse", lambda answers, table, clip=True: next(left))


def test_early_stopping_keeps_the_best_epoch(tables, monkeypatch):
    model = NetworkModel("plain", TrainConfig(**{**FAST, "n_epochs": 50, "patience": 2, "learning_rate": 1e-9}))
    validate_to(monkeypatch, 3.0, 2.0, 1.0, 2.0, 3.0)  # best in epoch 3
    model.fit(*tables)
    assert (len(model.history), model.best_epoch) == (5, 3)


def test_the_best_epoch_s_parameters_are_returned(tables, monkeypatch):
    kept = {}
    model = NetworkModel("plain", TrainConfig(**FAST))
    validate_to(monkeypatch, 4.0, 1.0, 3.0, 2.0)
    model.fit(
        *tables,
        callbacks=[
            lambda result, model: kept.update({result.epoch: model.parameters["user_factors_weight"].asnumpy()})
        ],
    )
    assert model.best_epoch == 2
    assert np.array_equal(model.parameters["user_factors_weight"].asnumpy(), kept[2])
    assert not np.array_equal(kept[2], kept[4])


@pytest.mark.parametrize(
    ("kind", "settings"), [("svd", {"n_epochs": 4}), ("plain", FAST), ("plain", {**FAST, "sparse": "off"})]
)
def test_what_answered_after_an_epoch_answers_the_same_while_the_next_one_is_trained(
    kind, settings, tables, monkeypatch
):
    """Another thread may be asking the model; the best epoch, of which there is a copy anyway, is the first."""
    validate_to(monkeypatch, 1.0, 2.0, 3.0, 4.0)
    train, asked = tables[0], []

    def ask(_, model):
        asked.append((model.scorer, model.scorer.predict(train.user, train.item)))

    assert fit(kind, *tables, **settings, callbacks=[ask]).best_epoch == 1
    for scorer, answer in asked:
        assert np.array_equal(scorer.predict(train.user, train.item), answer)
    assert not np.array_equal(asked[1][1], asked[2][1])


def test_a_callback_stops_training_and_all_hear_of_the_epoch(tables):
    heard = []
    model = fit("plain", *tables, **FAST, callbacks=[lambda r, m: r.epoch == 2, lambda r, m: heard.append(r.epoch)])
    assert heard == [1, 2]
    assert len(model.history) == 2


@pytest.mark.parametrize("batch_size", [20, 1200])
def test_diverging_training_stops_with_a_sentence(tables, batch_size):
    with pytest.raises(
        TrainingError, match=r"diverged in epoch \d+: .*lower learning_rate \(500\) or momentum \(0.9\) or raise batch"
    ):
        fit("plain", *tables, **{**FAST, "learning_rate": 500, "batch_size": batch_size, "n_epochs": 30})


def test_tables_and_settings_that_cannot_be_trained_with(tables):
    train, valid = tables
    with pytest.raises(ConfigError, match="batch_size: got 5000; give one from 1 to the table's 1200"):
        fit("plain", train, valid, batch_size=5000, ctx="cpu")
    with pytest.raises(DataError, match="unknown users or items"):
        fit("plain", Ratings.from_arrays([1], [99], [3], like=train), ctx="cpu")
    with pytest.raises(ConfigError, match="network: got 'deep' instead of one of"):
        fit("deep", train)
    with pytest.raises(ConfigError, match="dropout: network 'plain' has no such setting"):
        fit("plain", train, dropout=0.5)


def test_predictions_for_known_and_unknown_ids(tables):
    train, _ = tables
    model = fit("plain", train, **FAST)
    users, items = train.users.ids, train.items.ids
    p, q = (model.parameters[f"{side}_factors_weight"].asnumpy() for side in ("user", "item"))
    raw = model.predict(users[:3], items[:3], clip=False)
    assert raw == pytest.approx((p[:3] * q[:3]).sum(1), abs=1e-6)
    assert np.array_equal(model.predict(users[:3], items[:3]), np.clip(raw, *train.scale))
    mean = train.rating.mean(dtype=float)
    # Damped: five ratings of the mean of all stand beside each one's own.
    mine = np.append(train.rating[train.user == 1], [mean] * 5).mean()
    its = np.append(train.rating[train.item == 2], [mean] * 5).mean()
    found = model.predict([users[1], 999, 999], [999, items[2], 999])
    assert found == pytest.approx([mine, its, train.rating.mean()], rel=1e-6)
    assert model.predict(users[0], items[:4]).shape == (4,)
    assert model.predict([], []).shape == (0,)
    with pytest.raises(DataError, match="user 999 is not among the 60 users"):
        model.predict([users[0], 999], [items[0], 999], unknown="error")
    with pytest.raises(DataError, match="2 user ids and 3 item ids"):
        model.predict([1, 2], [1, 2, 3])
    with pytest.raises(ConfigError, match="unknown: got 'zero'"):
        model.predict([1], [1], unknown="zero")


def test_long_predictions_agree_with_short_ones(tables, monkeypatch):
    train, _ = tables
    model = fit("one_layer_mlp", train, **FAST)
    whole = model.predict_index(train.user, train.item)
    monkeypatch.setattr("nnmf.neural._scorer._PREDICT_ROWS", 77)
    assert model.predict_index(train.user, train.item) == pytest.approx(whole, abs=1e-6)


class Terminal:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_progress_on_a_terminal_and_elsewhere(caplog):
    terminal = Terminal()
    progress = TrainingProgress(terminal)
    with caplog.at_level(logging.INFO):
        progress.begin(3, 1000, 0)
        progress.tick(1, 250, 1.5, 0.1)  # what comes before the first step counts here: no time is told of it
        assert caplog.messages == [] and terminal.text == "\rEpoch 1/3 [######                  ]  25%  RMSE 1.5000"
        progress.tick(1, 250, 1.5, 0.1)
        assert caplog.messages == []
        progress.tick(1, 500, 1.25, 10.0)
        progress.end()
    assert "Expected time: 4 min 10 s for 3 epochs of 1,000 ratings at 10 samples/s." in caplog.text
    assert "Epoch 1/3 [############            ]  50%  RMSE 1.2500  10/s  4 min 10 s left" in terminal.text
    assert terminal.text.endswith("\r")
    caplog.clear()
    progress = TrainingProgress(Terminal(), bar=False)
    with caplog.at_level(logging.INFO):
        progress.begin(1, 1000, 0)
        progress._logged -= 60
        progress.tick(1, 500, 1.25, 1000.0)
    assert caplog.messages == ["Epoch 1: 500 of 1,000 ratings  train RMSE 1.2500  1,000 samples/s  0 s left"]


class Watch:
    """A clock that only training on ratings, and what precedes it, moves."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


@pytest.mark.parametrize(("step", "left"), [(300, "2 min 24 s"), (1500, "2 min 00 s")])
def test_the_expected_time_leaves_out_what_comes_before_the_first_step(small, monkeypatch, caplog, step, left):
    """Ten seconds of ordering, uploading and compiling, then 100 ratings a second: 150 s for the ten epochs, not 250.

    It is told at the second look, and no look stands still: an epoch's end is not one more where a tick fell on it.
    """
    watch = Watch(monkeypatch)

    class Slow(FunkLearner):
        def epoch(self, number, learning_rate, tick):
            watch.now += 10.0 if number == 1 else 0.0
            for done in range(0, len(small), step):
                watch.now += step / 100
                tick(done + step, lambda: 1.0)
            return 1.0

    learner = Slow(FunkSVD().config, Catalogue.of(small), None)
    monkeypatch.setattr("nnmf.FunkSVD.learner", lambda model, catalogue, start: learner)
    with caplog.at_level(logging.INFO):
        FunkSVD(n_epochs=10).fit(small, progress=TrainingProgress(bar=False))
    told = [message for message in caplog.messages if message.startswith("Expected time")]
    assert told == [f"Expected time: {left} for 10 epochs of 1,500 ratings at 100 samples/s."]


def notebook(monkeypatch):
    """IPython as a kernel of Jupyter has it."""
    shell = type("Shell", (type("ZMQInteractiveShell", (), {}),), {})()  # Colab's is derived from Jupyter's
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_notebook_shows_a_bar_by_itself(small, monkeypatch, capsys):
    fit("funk_svd", small, n_epochs=3)
    assert capsys.readouterr() == ("", "")
    notebook(monkeypatch)
    fit("funk_svd", small, n_epochs=3)
    out, err = capsys.readouterr()
    assert err == "" and out.startswith("\rEpoch 1/3 [") and out.count("\n") == 1
    assert out.splitlines()[-1].startswith("Epoch 3/3 [########################] 100%  RMSE ")
    fit("funk_svd", small, n_epochs=3, progress=False)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ConfigError, match="progress: got 'bar'; give True, False, or an object with begin"):
        fit("funk_svd", small, progress="bar")


def test_a_notebook_shows_the_history_as_a_table(tables):
    model = fit("plain", *tables, **FAST)
    page = ElementTree.fromstring(model.history._repr_html_())
    heads = [cell.text for cell in page.iter("th")]
    assert heads == ["epoch", "train_rmse", "valid_rmse", "learning_rate", "samples_per_second", "seconds"]
    rows = [[cell.text for cell in row.iter("td")] for row in page.find("tbody")]
    assert len(rows) == 4
    last = model.history[-1]
    assert rows[-1][:4] == ["4", f"{last.train_rmse:.4f}", f"{last.valid_rmse:.4f}", "0.1"]
    assert model.history.to_dicts()[0]["train_rmse"] == model.history[0].train_rmse
    assert NetworkModel("plain").history._repr_html_() == "no epochs" and NetworkModel("plain").history == []


def test_durations():
    assert [duration(s) for s in (0.4, 59, 125, 3 * 3600 + 7 * 60)] == ["0 s", "59 s", "2 min 05 s", "3 h 07 min"]


# The tutorial's own curve from the third epoch on, and 3 % about it.
TUTORIAL = [1.4336, 1.2023, 1.1165, 1.0731, 1.0510, 1.0360, 1.0252, 1.0172]


@pytest.mark.slow
def test_the_tutorial_s_curve(u1):
    curve = []  # the tutorial does not clip
    fit(
        "plain",
        u1[0],
        preset="tutorial",
        ctx="cpu",
        seed=1,
        callbacks=[lambda _, model: curve.append(model.rmse(u1[1], clip=False))],
    )
    assert len(curve) == 10 and 3.5 < curve[0] < 3.9
    assert curve[2:] == pytest.approx(TUTORIAL, rel=0.03)


@pytest.mark.slow
def test_the_mlp_s_figure(u1):
    model = fit("one_layer_mlp", *u1, preset="tutorial", ctx="cpu", seed=1, n_epochs=3)
    assert 0.94 < model.history[-1].valid_rmse < 1.02


@pytest.mark.parametrize(("sparse", "trainer"), [("off", "_dense"), ("on", "_sparse")])
def test_looking_at_an_epoch_changes_no_figure(sparse, trainer, tables, monkeypatch):
    def curve(seconds):
        monkeypatch.setattr(f"nnmf.neural.{trainer}.TICK_SECONDS", seconds)
        return [result.train_rmse for result in fit("plain", *tables, **FAST, sparse=sparse).history]

    assert curve(0.0) == curve(1e9)


def test_validation_that_explodes_stops_training_before_the_epoch_counts(tables):
    model = NetworkModel("plain", TrainConfig(**{**FAST, "learning_rate": 1e30, "batch_size": 1200}))
    with pytest.raises(TrainingError, match=r"diverged in epoch 1: the RMSE reached"):
        model.fit(*tables)
    assert model.history == []


def test_ratings_that_are_all_zero_are_no_divergence():
    table = low_rank()
    zero = Ratings.from_arrays(table.user, table.item, np.zeros(len(table)))
    assert fit("plain", zero, **FAST).history[-1].train_rmse < 0.01


def test_a_function_is_a_network(tables):
    from nnmf.networks import plain_net

    def narrow(n_users, n_items, n_factors=2):
        return plain_net(n_users, n_items, n_factors)

    model = NetworkModel(narrow, TrainConfig(n_epochs=1, ctx="cpu")).fit(*tables)
    assert model.parameters["user_factors_weight"].shape == (60, 2)
    assert model.network.endswith("narrow")
    with pytest.raises(ConfigError, match="network: got a int; give a name or a function"):
        NetworkModel(3)


def test_networks_that_fail_do_so_in_one_sentence(tables):
    from nnmf import _mxnet

    mx = _mxnet.load()

    def wrong_signature(n_users):
        return None

    def no_shapes_that_fit(n_users, n_items):
        user, item = (
            mx.sym.Embedding(mx.sym.Variable(s), input_dim=9, output_dim=w) for s, w in (("user", 3), ("item", 4))
        )
        return mx.sym.LinearRegressionOutput(mx.sym.sum(user * item, axis=1), mx.sym.Variable("rating"))

    def odd_name(n_users, n_items):
        user = mx.sym.Embedding(mx.sym.Variable("user"), mx.sym.Variable("p"), input_dim=n_users, output_dim=3)
        item = mx.sym.Embedding(mx.sym.Variable("item"), mx.sym.Variable("q"), input_dim=n_items, output_dim=3)
        return mx.sym.LinearRegressionOutput(mx.sym.sum(user * item, axis=1), mx.sym.Variable("rating"))

    def normalised(n_users, n_items):
        user = mx.sym.Embedding(mx.sym.Variable("user"), input_dim=n_users, output_dim=3)
        item = mx.sym.Embedding(mx.sym.Variable("item"), input_dim=n_items, output_dim=3)
        return mx.sym.LinearRegressionOutput(
            mx.sym.sum(mx.sym.BatchNorm(user, fix_gamma=False) * item, axis=1), mx.sym.Variable("rating")
        )

    for network, message in (
        (wrong_signature, "failed with TypeError"),
        (no_shapes_that_fit, "the shapes of .* do not fit together"),
        (odd_name, "does not know how to initialise the parameter 'p'"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            NetworkModel(network, TrainConfig(n_epochs=1, ctx="cpu")).fit(*tables)
        assert "\n" not in str(error.value)
    assert len(NetworkModel(normalised, TrainConfig(n_epochs=2, ctx="cpu")).fit(*tables).history) == 2


def test_what_training_needs_is_asked_for(tables):
    train, valid = tables
    with pytest.raises(ConfigError, match="patience: needs validation ratings"):
        fit("plain", train, **FAST, patience=2)
    with pytest.raises(ConfigError, match=r"patience: needs .* no negatives"):
        fit("plain", train, valid, **FAST, patience=2, negatives=1)
    assert fit("plain", train, valid, **FAST, negatives=1).best_epoch == FAST["n_epochs"]
    with pytest.raises(DataError, match="holds no ratings to validate on"):
        fit("plain", train, valid.take(np.zeros(len(valid), bool)), **FAST)
    with pytest.raises(ConfigError, match="not trained yet"):
        NetworkModel("plain").predict([1], [1])


@pytest.mark.parametrize("kind", ["plain", "biased", "biased_mlp", "one_layer_mlp"])
def test_counts_with_a_heavy_tail_do_not_throw_a_network_off(kind, caplog):
    """Play counts, a few of them a thousand times the others; what cannot be foretold is said to be so of the test ratings."""
    rng = np.random.default_rng(4)
    user, item = np.divmod(rng.choice(1000 * 1500, 20_000, replace=False), 1500)
    counts = np.minimum(rng.zipf(2.0, 20_000), 20_000)
    train, test = Ratings.from_arrays(user, item, counts.astype(float)).split(0.8)
    with caplog.at_level(logging.WARNING, logger="nnmf"):
        model = fit(kind, train, test=test, ctx="cpu")
    assert model.history[-1].train_rmse <= 1.001 * train.rating.std()
    assert model.rmse(test) < 2 * test.rating.std()
    mean = np.sqrt(np.mean((test.rating.astype(float) - train.rating.mean(dtype=float)) ** 2))
    assert ("test RMSE" in caplog.text) == (model.history[-1].test_rmse >= mean)
