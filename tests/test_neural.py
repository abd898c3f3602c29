"""Networks as models: output layers, networks of one's own, devices, copies, and trainings that fail."""

import copy
import dataclasses
import gc
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

import nnmf
from nnmf import NetworkModel, Ratings, mx
from nnmf.errors import BackendError, ConfigError, DataError, TrainingError
from nnmf.files import _folders
from nnmf.networks import plain_net
from nnmf.neural._learner import in_one_sentence
from nnmf.storage import RunFolder
from nnmf.testing import Killed, assert_same_model, kill_after, low_rank, parameters

from .test_models import NAMES, SETTINGS

FAST = {"n_epochs": 3, "batch_size": 50, "n_factors": 4, "learning_rate": 0.1, "ctx": "cpu"}


@pytest.fixture(scope="module")
def tables():
    return low_rank(noise=0.2).split(0.8)


def under(layer, **options):
    """A network of two embeddings under an output layer."""

    def network(n_users, n_items, n_factors=4):
        prediction = plain_net(n_users, n_items, n_factors).get_children()[0]
        return getattr(mx.sym, layer)(prediction, mx.sym.Variable("rating"), **options)

    return network


def deep(n_users, n_items, depth=2, n_factors=3):
    """A network with a setting of its own: ``depth`` layers over each embedding."""
    towers = []
    for side, n in (("user", n_users), ("item", n_items)):
        tower = mx.sym.Embedding(mx.sym.Variable(side), input_dim=n, output_dim=n_factors, name=f"{side}_factors")
        for at in range(depth):
            tower = mx.sym.FullyConnected(tower, num_hidden=n_factors, name=f"{side}_{at}")
        towers.append(tower)
    return mx.sym.LinearRegressionOutput(mx.sym.sum(towers[0] * towers[1], axis=1), mx.sym.Variable("rating"))


# -- output layers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("preset", ["tutorial", "fast"])
@pytest.mark.parametrize("layer", ["LinearRegressionOutput", "MAERegressionOutput", "LogisticRegressionOutput"])
def test_a_network_is_answered_by_its_output_layer(layer, preset, tables, tmp_path):
    """Ratings of 0 and 1, from Python, from lists, and from ONNX."""
    runtime = pytest.importorskip("onnxruntime")
    train, test = (
        Ratings.from_arrays(t.users.ids[t.user], t.items.ids[t.item], (t.rating > 3).astype(float)) for t in tables
    )
    settings = {**FAST, "n_epochs": 30, "learning_rate": 1.0, "l2": 1e-4, "schedule": "constant"}
    model = nnmf.fit(under(layer), train, **settings, preset=preset)
    raw = model.predict_index(train.user, train.item)
    p, q = (model.parameters[f"{side}_factors_weight"].asnumpy() for side in ("user", "item"))
    product = (p[train.user] * q[train.item]).sum(1, dtype=float)
    if layer == "LogisticRegressionOutput":
        assert 0 < raw.min() < 0.1 and 0.9 < raw.max() <= 1 and (abs(product) > 2).any()
        product = 1 / (1 + np.exp(-product))
    elif preset == "fast":
        product = train.rating.mean() + train.rating.std() / 1.125 * product
    assert raw == pytest.approx(product, abs=1e-5)
    assert model.rmse(train) < 0.9 * np.std(train.rating)
    assert model.evaluate(test)["rmse"] == model.rmse(test)
    ids, scores = model.recommend(train.users.ids[5], 4)
    assert scores == pytest.approx(model.predict(train.users.ids[5], ids, clip=False), abs=1e-5)
    assert scores[0] == pytest.approx(
        model.predict([train.users.ids[5]] * 40, train.items.ids, clip=False)[~rated(train, 5)].max(), abs=1e-5
    )
    model.export_onnx(tmp_path / "model.onnx", ids=False)
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (answer,) = session.run(["rating"], {"user": train.user.astype(np.int64), "item": train.item.astype(np.int64)})
    assert answer == pytest.approx(raw, abs=1e-5)
    # The products of the towers are no predictions behind a sigmoid.
    assert (model.scorer.towers("user") is None) == (layer == "LogisticRegressionOutput")
    model.save(tmp_path / "model")
    assert np.array_equal(nnmf.load(tmp_path / "model").predict_index(train.user, train.item), raw)


def rated(table, user):
    return np.isin(np.arange(table.n_items), table.item[table.user == user])


def test_ratings_beyond_a_sigmoid_s_answers_are_refused(tables):
    with pytest.raises(
        ConfigError, match=r"ends in LogisticRegressionOutput, whose answers lie between 0 and 1, and the rat"
    ):
        nnmf.fit(under("LogisticRegressionOutput"), tables[0], **FAST)


def softmax(n_users, n_items):
    prediction = plain_net(n_users, n_items, 4).get_children()[0]
    return mx.sym.SoftmaxOutput(mx.sym.reshape(prediction, (-1, 1)), mx.sym.Variable("rating"))


def make_loss(n_users, n_items):
    prediction = plain_net(n_users, n_items, 4).get_children()[0]
    return mx.sym.MakeLoss(mx.sym.square(prediction - mx.sym.Variable("rating")))


def several(n_users, n_items):
    return mx.sym.Group([plain_net(n_users, n_items, 4)] * 2)


def two_numbers(n_users, n_items):
    user = mx.sym.Embedding(mx.sym.Variable("user"), input_dim=n_users, output_dim=2, name="user_factors")
    item = mx.sym.Embedding(mx.sym.Variable("item"), input_dim=n_items, output_dim=2, name="item_factors")
    return mx.sym.LinearRegressionOutput(user * item, mx.sym.Variable("rating"), name="pairs")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (softmax, r"network: 'tests.test_neural:softmax' ends in SoftmaxOutput; it must end in one of \['Lin"),
        (make_loss, "network: 'tests.test_neural:make_loss' ends in MakeLoss; it must end in one of"),
        (several, "network: 'tests.test_neural:several' must have .* one output; .* and outputs"),
        (two_numbers, "network: the shapes of 'pairs' do not fit together: .*inferred shape"),
    ],
)
def test_other_output_layers_are_refused_by_name_before_training(network, message, tables):
    heard = []
    for train in (NetworkModel(network).fit, lambda *tables, **rest: nnmf.fit(network, *tables, **rest)):
        with pytest.raises(ConfigError, match=message) as error:
            train(*tables, callbacks=[lambda *_: heard.append(1)])
        assert "\n" not in str(error.value) and not heard


def test_the_command_refuses_them_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    from nnmf.commands._train import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(f"{n % 7},{n},3\n" for n in range(90)))
    flags = ["--dataset", "ratings.csv", "--network", "tests.test_neural:softmax", "--output", "run", "--no-cache"]
    with pytest.raises(SystemExit) as end:
        main(flags)
    err = capsys.readouterr().err
    assert end.value.code == 2 and "error: network: 'tests.test_neural:softmax' ends in SoftmaxOutput" in err
    assert not (tmp_path / "run").exists()


# -- networks of one's own ------------------------------------------------------------------------------------------------
def test_settings_of_a_network_of_one_s_own(tables, tmp_path):
    train, test = tables
    assert NetworkModel(deep, depth=4).settings == {"depth": 4, "n_factors": 3}
    assert NetworkModel("plain", n_factors=3).config.n_factors == 3
    assert nnmf.fit("plain", train, n_factors=3, n_epochs=1).parameters["user_factors_weight"].shape == (60, 3)
    for model in (deep, "tests.test_neural:deep"):
        trained = nnmf.fit(model, train, test, depth=4, n_epochs=2, ctx="cpu")
        assert "user_3_weight" in trained.parameters and "user_4_weight" not in trained.parameters
    trained.save(tmp_path / "model")
    loaded = nnmf.load(tmp_path / "model", network=deep)
    assert loaded.settings == {"depth": 4, "n_factors": 3}
    new = Ratings.from_arrays([1000], [2000], [3.0])
    assert loaded.fit_more(new, n_epochs=1).settings["depth"] == 4
    assert "user_3_weight" in loaded.parameters and loaded.parameters["user_factors_weight"].shape == (61, 3)
    with pytest.raises(ConfigError, match="dept: no such setting; did you mean 'depth'"):
        nnmf.fit(deep, train, dept=4)


def test_a_default_that_json_cannot_hold_is_refused_when_the_model_is_made():
    def odd(n_users, n_items, activation=np.tanh):
        return plain_net(n_users, n_items)

    with pytest.raises(ConfigError, match="activation: got <ufunc 'tanh'>, which a saved model could not hold"):
        NetworkModel(odd)
    with pytest.raises(ConfigError, match="depth: got nan, which a saved model could not hold"):
        NetworkModel(deep, depth=float("nan"))


def test_settings_from_the_command_line(tmp_path, monkeypatch, capsys):
    from nnmf.commands._train import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(f"{n % 7},{n % 30},3\n" for n in range(90)))
    flags = ["--dataset", "ratings.csv", "--network", "tests.test_neural:deep", "--set", "depth=1", "--n-epochs", "1"]
    with pytest.raises(SystemExit) as end:
        main([*flags, "--output", "run", "--ctx", "cpu", "--no-cache"])
    assert end.value.code == 0, capsys.readouterr().err
    assert nnmf.load("run").settings == {"depth": 1, "n_factors": 3}


@pytest.fixture
def witness(tmp_path, monkeypatch):
    """A module with a network that writes a file when it is imported; it is not imported any more."""
    (tmp_path / "witness_nets.py").write_text(
        "import pathlib\n"
        f"pathlib.Path({str(tmp_path / 'imported')!r}).write_text('')\n"
        "from nnmf.networks import plain_net\n"
        "def narrow(n_users, n_items, n_factors=2):\n    return plain_net(n_users, n_items, n_factors)\n"
    )
    monkeypatch.chdir(tmp_path)

    def forget():
        sys.modules.pop("witness_nets", None)
        (tmp_path / "imported").unlink(missing_ok=True)

    yield forget
    forget()


def test_what_a_folder_names_is_not_imported(witness, tables, tmp_path):
    train, _ = tables
    nnmf.fit("witness_nets:narrow", train, n_epochs=1, ctx="cpu").save(tmp_path / "model")
    assert (tmp_path / "imported").exists()
    witness()
    model = nnmf.load(tmp_path / "model")
    model.fit_more(train, n_epochs=1)  # its symbol is in the folder
    new = Ratings.from_arrays([1000], [2000], [3.0])
    for train_it in (lambda: model.fit_more(new, n_epochs=1), lambda: model.fit(train)):
        with pytest.raises(
            ConfigError, match=r"'witness_nets:narrow' .*give the function, as in nnmf.load\(folder, netw"
        ):
            train_it()
    assert model.n_users == 60 and len(model.history) == 2
    assert not (tmp_path / "imported").exists()
    loaded = nnmf.load(tmp_path / "model", network="witness_nets:narrow")  # the caller's word
    assert (tmp_path / "imported").exists() and loaded.fit_more(new, n_epochs=1).n_users == 61


def test_a_run_goes_on_without_the_module_of_its_network(witness, tables, tmp_path):
    settings = {"n_epochs": 3, "ctx": "cpu"}
    whole = nnmf.fit("witness_nets:narrow", *tables, **settings)
    run = RunFolder.begin(tmp_path / "run", {})
    with pytest.raises(Killed):
        nnmf.fit("witness_nets:narrow", *tables, **settings, callbacks=[run, kill_after(2)])
    witness()
    assert_same_model(nnmf.load_checkpoint(tmp_path / "run").resume(*tables), whole)
    assert not (tmp_path / "imported").exists()


# -- trainings that go on, and that fail ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grows", [False, True])
def test_a_loaded_model_goes_on_as_the_unsaved_one(name, grows, tables, tmp_path):
    train, test = tables
    model = nnmf.fit(name, train.take(train.user < 50).compact() if grows else train, test, **SETTINGS[name])
    model.save(tmp_path / "model")
    loaded = nnmf.load(tmp_path / "model")
    for one in (model, loaded):
        one.fit_more(train, test, n_epochs=2)
    assert_same_model(model, loaded)


def test_fewer_ratings_than_a_batch_nobody_chose(tables, caplog):
    train, _ = tables
    few = train.take(np.arange(len(train)) < 33).compact()
    with caplog.at_level(logging.INFO):
        model = nnmf.fit("plain", few, preset="tutorial", n_epochs=1, ctx="cpu")
    assert f"Batches of 33: all that {few.name} has of ratings." in caplog.messages
    model = nnmf.fit("plain", train, **FAST)
    model.fit_more(Ratings.from_arrays([1000, 1000], [2000, 2001], [1.0, 5.0]), n_epochs=1)
    assert model.n_users == 61 and len(model.history) == 4
    with pytest.raises(ConfigError, match="batch_size: got 50; give one from 1 to the table's 33 ratings"):
        nnmf.fit("plain", few, **FAST)


def fail(error):
    def callback(result, model):
        raise error

    return callback


class Interrupting:
    """Progress that Ctrl-C meets in the midst of the second epoch."""

    def begin(self, n_epochs, n_ratings, done):
        pass

    def tick(self, epoch, done, rmse, samples_per_second):
        if epoch == 7:
            raise KeyboardInterrupt

    def end(self):
        pass


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("error", "options"),
    [
        (KeyboardInterrupt, {"callbacks": [fail(KeyboardInterrupt)]}),
        (MemoryError, {"callbacks": [fail(MemoryError)]}),
        (Killed, {"callbacks": [kill_after(7)]}),
        (ConfigError, {"n_epochs": 0}),
        (ConfigError, {"progress": 3}),
        (KeyboardInterrupt, {"progress": Interrupting()}),
    ],
)
def test_a_training_that_fails_changes_nothing(name, error, options, tables):
    train, test = tables
    model = nnmf.fit(name, train.take(train.user < 50).compact(), test, **SETTINGS[name])
    before, config, history, known = parameters(model), model.config, model.history, model.n_users
    answers = model.predict(train.users.ids, train.items.ids[0])
    with pytest.raises(error):
        model.fit_more(train, test, **{"n_epochs": 3, **options})
    assert (model.config, model.history, model.n_users) == (config, history, known)
    assert np.array_equal(model.predict(train.users.ids, train.items.ids[0]), answers)
    for key, array in parameters(model).items():
        assert np.array_equal(array, before[key])


@pytest.mark.parametrize("name", NAMES)
def test_tables_that_cannot_be_trained_on_change_nothing(name, tables):
    train, test = tables
    model = nnmf.fit(name, train, test, **SETTINGS[name])
    before, config = parameters(model), model.config
    unknown = Ratings.from_arrays([5000], [6000], [3.0], like=train)
    texts = Ratings.from_arrays(["a"], ["b"], [3.0])
    none = train.take(np.zeros(len(train), bool))
    for go, table in itertools.product((model.fit, model.fit_more), (unknown, none)):
        with pytest.raises(DataError):
            go(table, test)
    with pytest.raises(DataError, match="new ids are strings"):
        model.fit_more(texts)
    with pytest.raises(ConfigError):
        model.fit(train, test, progress="bar")
    assert (model.config, len(model.history), model.n_users) == (config, 5, 60)
    for key, array in parameters(model).items():
        assert np.array_equal(array, before[key])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bayes"])  # which takes no steps
def test_a_training_that_diverges_changes_nothing(name, tables):
    train, test = tables
    model = nnmf.fit(name, train, test, **SETTINGS[name])
    before, config, error = parameters(model), model.config, model.rmse(test)
    model.config = dataclasses.replace(config, learning_rate=1e12)
    with pytest.raises(TrainingError, match="diverged in epoch 6: "):
        model.fit_more(train, test)
    assert (model.config.learning_rate, model.rmse(test), len(model.history)) == (1e12, error, 5)
    for key, array in parameters(model).items():
        assert np.array_equal(array, before[key])
    model.config = config
    model.fit_more(train, test, n_epochs=1)
    assert np.isfinite(model.history[-1].valid_rmse)


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_model_lets_go_of_its_table(name):
    table = low_rank()
    model = nnmf.fit(name, table, **SETTINGS[name])
    gone = weakref.ref(table), weakref.ref(table.rating)
    del table
    gc.collect()
    assert [reference() for reference in gone] == [None, None] and len(model.history) == 5


# -- sizes and scales ------------------------------------------------------------------------------------------------------
def test_arrays_beyond_what_mxnet_holds_are_refused_in_a_sentence(tables):
    with pytest.raises(
        ConfigError, match=r"network: user_factors_weight of shape \(60, 67108864\) has 4,026,531,840 elements"
    ):
        nnmf.fit("plain", tables[0], n_factors=2**26, ctx="cpu")


def test_a_network_that_takes_more_memory_than_there_is_gets_a_sentence():
    text = "Traceback:\n  File storage.cc\nMXNetError: Failed to allocate CPU Memory"
    message = "failed: it takes more memory than can be had; take narrower vectors"
    with pytest.raises(TrainingError, match=message), in_one_sentence(TrainingError, "training failed"):
        raise mx.MXNetError(text)


def test_batches_small_against_the_parameters_are_said(caplog):
    wide = low_rank(n_users=2000, n_items=2000, n_ratings=20_000)
    settings = {"n_epochs": 1, "n_factors": 512, "ctx": "cpu", "preset": "tutorial", "sparse": "off"}
    few = wide.take(np.arange(len(wide)) < 640).compact()
    nnmf.fit("plain", few, **settings)
    assert "batch" not in caplog.text  # larger batches would be too few steps
    caplog.clear()
    learner = NetworkModel("plain", **settings).learner(nnmf.models.Catalogue.of(wide), None)
    learner.begin(wide)
    assert caplog.messages == [
        f"Each step goes over all {(wide.n_users + wide.n_items) * 512:,} parameters for 64 ratings; with batch_size=256 "
        "(--batch-size 256) an epoch takes a fraction of the time, in fewer steps, which may want a higher learning_rate."
    ]
    caplog.clear()
    NetworkModel("plain", **settings, batch_size=64).learner(nnmf.models.Catalogue.of(wide), None).begin(wide)
    assert not caplog.messages  # the user's word
    by_rows = {**settings, "sparse": "auto"}
    NetworkModel("plain", **by_rows).learner(nnmf.models.Catalogue.of(wide), None).begin(wide)
    assert not caplog.messages  # they do not


def test_large_ratings_are_said_and_told_of_when_they_diverge(tables, caplog):
    train, _ = tables
    percent = Ratings.from_arrays(train.user, train.item, 25 * (train.rating - 1))
    with pytest.raises(
        TrainingError, match=r"diverged in epoch 1: .*, or divide the ratings, whose root mean square is 52.\d, by 14"
    ):
        nnmf.fit("one_layer_mlp", percent, preset="tutorial", ctx="cpu")
    assert len(caplog.messages) == 1
    assert "Networks are tuned to ratings of 1 to 5 stars, and may diverge: divide the ratings" in caplog.text
    assert "by 14 (or take logarithms of counts), or lower learning_rate." in caplog.text
    caplog.clear()
    advised = Ratings.from_arrays(percent.user, percent.item, percent.rating / 14)
    assert nnmf.fit("one_layer_mlp", advised, preset="tutorial", ctx="cpu").history[-1].train_rmse < 1.3
    caplog.clear()
    nnmf.fit("svd", percent, n_epochs=3)  # which measures its steps in the ratings' spread
    assert "Networks are tuned" not in caplog.text


def rescaled(table, times, plus=0.0):
    return Ratings.from_arrays(table.user, table.item, table.rating.astype(float) * times + plus)


@pytest.mark.parametrize("name", ["plain", "biased_mlp", "one_layer_mlp", "dropout_mlp", "tests.test_neural:deep"])
def test_any_scale_is_trained_alike(name, tables, tmp_path):
    """Times 20, plus 100, times .01: the same history in units, and the same predictions, from Python, a folder and ONNX."""
    runtime = pytest.importorskip("onnxruntime")
    train, test = tables
    settings = {"n_epochs": 4, "n_factors": 4, "batch_size": 50, "learning_rate": 0.3, "ctx": "cpu"}
    whole = nnmf.fit(name, train, **settings)
    expected = whole.predict(test.users.ids[test.user], test.items.ids[test.item], clip=False)
    for times, plus in ((20.0, 0.0), (1.0, 100.0), (0.01, 0.0)):
        model = nnmf.fit(name, rescaled(train, times, plus), **settings)
        curve = [result.train_rmse / times for result in model.history]
        assert curve == pytest.approx([result.train_rmse for result in whole.history], rel=1e-3)
        found = (model.predict_index(test.user, test.item).astype(float) - plus) / times
        assert found == pytest.approx(expected, abs=0.01)
        model.save(tmp_path / f"{times}")
        loaded = nnmf.load(tmp_path / f"{times}")
        assert np.array_equal(loaded.predict_index(test.user, test.item), model.predict_index(test.user, test.item))
        loaded.export_onnx(tmp_path / "model.onnx", ids=False)
        session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
        (answer,) = session.run(["rating"], {"user": test.user.astype(np.int64), "item": test.item.astype(np.int64)})
        symbol, arguments, _ = mx.model.load_checkpoint(str(tmp_path / f"{times}" / "model"), 4)
        columns = {"user": test.user, "item": test.item, "rating": test.rating}
        arguments |= {side: mx.nd.array(column, dtype=column.dtype) for side, column in columns.items()}
        checkpoint = symbol.bind(mx.cpu(), arguments).forward(is_train=False)[0].asnumpy()
        for found in (answer, checkpoint.reshape(-1)):
            assert found == pytest.approx(model.predict_index(test.user, test.item), rel=1e-5, abs=1e-5 * times)


@pytest.mark.parametrize("name", nnmf.networks.NETWORKS)
@pytest.mark.parametrize("rating", [(0, 100), (0, 10_000), (0, 1), (-10, 10)])
def test_the_defaults_converge_on_any_scale(name, rating, tables):
    low, high = rating
    rng = np.random.default_rng(0)
    values = low + (high - low) * rng.beta(0.3, 0.8, len(tables[0]))
    table = Ratings.from_arrays(tables[0].user, tables[0].item, np.rint(values))
    model = nnmf.fit(name, table, n_epochs=5, ctx="cpu")
    assert model.history[-1].train_rmse < 1.2 * table.rating.std()


def test_fit_more_keeps_the_mean_and_the_unit(tables):
    model = nnmf.fit("plain", tables[0], **FAST)
    before = nnmf.networks.head_of(model.symbol)
    assert before == pytest.approx((tables[0].rating.mean(), tables[0].rating.std() / 1.125), rel=1e-6)
    model.fit_more(Ratings.from_arrays([1000, 1000], [2000, 2001], [1.0, 5.0]), n_epochs=1)
    assert model.n_users == 61 and nnmf.networks.head_of(model.symbol) == before


def test_with_negatives_the_mean_is_of_what_is_trained_on(tables):
    train, _ = tables
    model = nnmf.fit("plain", train, **FAST, negatives=3)
    streamed = np.concatenate([train.rating, np.zeros(3 * len(train))])
    expected = streamed.mean(), streamed.std() / 1.125
    assert nnmf.networks.head_of(model.symbol) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("change", [{"mean": 3.0}, {"unit": 0.0}, {"unit": "1"}, {"mean": None}])
@pytest.mark.parametrize("network", ["plain", deep])
def test_a_mean_or_unit_that_is_not_the_network_s_is_refused(network, change, tables, tmp_path):
    nnmf.fit(network, tables[0], n_epochs=1, n_factors=3, ctx="cpu").save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    manifest["details"] |= change
    manifest.pop("sha256")
    manifest["sha256"] = _folders._digest(manifest)
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"cannot be loaded .*(mean|is not the network)"):
        nnmf.load(tmp_path / "model")


def test_a_model_saved_before_there_was_a_setting_takes_the_preset_s(tables, tmp_path):
    model = nnmf.fit("plain", tables[0], n_epochs=1, n_factors=3, ctx="cpu")
    model.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["config"].pop("sparse") == "auto"
    manifest.pop("sha256")
    manifest["sha256"] = _folders._digest(manifest)
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    loaded = nnmf.load(tmp_path / "model")
    assert loaded.config == model.config
    user, item = tables[0].user, tables[0].item
    for one in (loaded, model):
        one.fit_more(tables[0], n_epochs=1)
    assert np.array_equal(loaded.predict_index(user, item), model.predict_index(user, item))


# -- presets -----------------------------------------------------------------------------------------------------------------
def test_a_setting_that_is_given_wins_over_the_preset_s(tables):
    assert NetworkModel("plain").config.preset == "fast" and NetworkModel("plain").config.batch_size is None
    tutorial = NetworkModel("plain", preset="tutorial", n_epochs=3).config
    assert (tutorial.n_epochs, tutorial.batch_size, tutorial.learning_rate, tutorial.n_factors) == (3, 64, 0.05, 64)
    assert NetworkModel("plain", batch_size=128).config.learning_rate == 2 * NetworkModel("plain").config.learning_rate
    assert nnmf.SVD(preset="accurate").config.preset == "accurate"
    with pytest.raises(
        ConfigError, match="preset: 'tutorial' is of networks and has no meaning for svd; give 'fast' or"
    ):
        nnmf.SVD(preset="tutorial")
    with pytest.raises(ConfigError, match="preset: got 'best' instead of one of"):
        nnmf.fit("plain", tables[0], preset="best")


# -- devices -----------------------------------------------------------------------------------------------------------------
def on_another_device(folder, ctx):
    """Edit a saved model's configuration, and sign it anew."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["ctx"] = ctx
    manifest.pop("sha256")
    manifest["sha256"] = _folders._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.skipif(nnmf._mxnet.why_no_gpu(7) is None, reason="there are eight GPUs here")
def test_a_model_of_a_gpu_is_used_where_there_is_none(tables, tmp_path, caplog, capsys):
    from nnmf.commands._predict import main

    train, _ = tables
    model = nnmf.fit("plain", train, **FAST)
    model.save(tmp_path / "model")
    on_another_device(tmp_path / "model", "gpu(7)")
    caplog.clear()
    loaded = nnmf.load(tmp_path / "model")
    (warning,) = caplog.messages
    assert warning.startswith("ctx: gpu(7) cannot be used: ")
    assert warning.endswith("The model was trained on gpu(7) and is used on the cpu here.")
    assert np.array_equal(loaded.predict_index(train.user, train.item), model.predict_index(train.user, train.item))
    assert loaded.fit_more(train, n_epochs=1).config.ctx == "cpu"
    with pytest.raises(BackendError, match=r"ctx: gpu\(7\) cannot be used"):  # asked for is asked for
        nnmf.load(tmp_path / "model", ctx="gpu(7)")
    with pytest.raises(BackendError, match=r"ctx: gpu\(7\) cannot be used"):
        nnmf.fit("plain", train, ctx="gpu(7)")
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / "model"), "--user", str(train.users.ids[0])])
    assert end.value.code == 0, capsys.readouterr().err
    assert capsys.readouterr().out


# -- copies, threads, processes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_copies_and_pickles_answer_and_go_on_as_the_model(name, tables):
    train, test = tables
    model = nnmf.fit(name, train, test, **SETTINGS[name])
    copies = [copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))]
    for other in copies:
        assert_same_model(model, other)
        assert np.array_equal(other.recommend(train.users.ids[:3])[0], model.recommend(train.users.ids[:3])[0])
    model.fit_more(train, test, n_epochs=1)
    for other in copies:
        assert len(other.history) == 5
        assert_same_model(other.fit_more(train, test, n_epochs=1), model)
    assert repr(pickle.loads(pickle.dumps(type(model)("plain") if name in nnmf.networks.NETWORKS else type(model)())))


def test_pickles_of_a_network_that_has_no_name_to_import(tables):
    train, _ = tables
    model = nnmf.fit(under("MAERegressionOutput"), train, **FAST)
    new = Ratings.from_arrays([1000], [2000], [3.0])
    assert copy.deepcopy(model).fit_more(new, n_epochs=1).n_users == 61
    pickled = pickle.loads(pickle.dumps(model))
    assert np.array_equal(pickled.predict_index(train.user, train.item), model.predict_index(train.user, train.item))
    with pytest.raises(ConfigError, match=r"or by model.take_network\(function\)"):
        pickled.fit_more(new, n_epochs=1)
    pickled.take_network(under("MAERegressionOutput"))
    assert pickled.fit_more(new, n_epochs=1).n_users == 61


def test_a_pickle_of_a_gpu_s_model_is_used_where_there_is_none(tables, caplog):
    if nnmf._mxnet.why_no_gpu(7) is None:
        pytest.skip("there are eight GPUs here")
    model = nnmf.fit("plain", tables[0], **FAST)
    model.config = dataclasses.replace(model.config, ctx="gpu(7)")
    assert pickle.loads(pickle.dumps(model)).config.ctx == "cpu"
    assert "is used on the cpu here" in caplog.text


def answers_of(model, user, item):
    return model.predict(user, item).tolist(), model.recommend(user[:4], 5)[0].tolist()


@pytest.mark.parametrize("name", ["one_layer_mlp", "svd", "svdpp"])
def test_threads_and_processes_answer_side_by_side(name, tables):
    train, _ = tables
    model = nnmf.fit(name, train, **SETTINGS[name])
    asked = train.users.ids[train.user], train.items.ids[train.item]
    found = [None] * 8

    def ask(at):
        found[at] = answers_of(model, *asked)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = answers_of(model, *asked)
    assert all(one == expected for one in found)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.starmap_async(answers_of, [(model, *asked)] * 4).get(60) == [expected] * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_layer_mlp", "svd"])
def test_spawned_processes_answer_too(name, tables):
    train, _ = tables
    model = nnmf.fit(name, train, **SETTINGS[name])
    asked = train.users.ids[train.user], train.items.ids[train.item]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        answers = [pool.apply_async(model.predict, asked) for _ in range(4)]
        assert all(np.array_equal(answer.get(60), model.predict(*asked)) for answer in answers)


def test_training_in_a_process_of_its_own(tables):
    """What a notebook that trains in the background does, MXNet's engine running already."""
    train, test = tables
    expected = nnmf.fit("plain", train, test, **FAST).history[-1].valid_rmse
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(nnmf.fit, ("plain", train, test), FAST).get(60).history[-1].valid_rmse == expected


# -- networks of one's own that are not what they seem -----------------------------------------------------------------------
def unnamed_layers(n_users, n_items, n_factors=3):

    sides = [
        mx.sym.Embedding(mx.sym.Variable(s), input_dim=n, output_dim=n_factors)
        for s, n in (("user", n_users), ("item", n_items))
    ]
    hidden = mx.sym.FullyConnected(mx.sym.Concat(*sides, dim=1), num_hidden=4)
    return mx.sym.LinearRegressionOutput(mx.sym.FullyConnected(hidden, num_hidden=1), mx.sym.Variable("rating"))


def test_layers_without_a_name_grow_with_new_users(tables, tmp_path):
    train, _ = tables
    old = train.take(train.user < 40).compact()
    model = nnmf.fit(unnamed_layers, old, **FAST)
    model.save(tmp_path / "model")
    model.fit_more(train, n_epochs=1)
    loaded = nnmf.load(tmp_path / "model", network=unnamed_layers).fit_more(train, n_epochs=1)
    ids = train.users.ids[train.user], train.items.ids[train.item]
    assert np.array_equal(model.predict(*ids), loaded.predict(*ids))
    with pytest.raises(ConfigError, match="give the function that the model was made with"):
        nnmf.load(tmp_path / "model", network=plain_net).fit_more(train, n_epochs=1)


def test_networks_that_would_fail_within_mxnet_are_refused_before(tables):

    def twice(n_users, n_items):
        user, item = (
            mx.sym.Embedding(mx.sym.Variable(s), input_dim=n, output_dim=2)
            for s, n in (("user", n_users), ("item", n_items))
        )
        bias = mx.sym.Embedding(mx.sym.Variable("item"), input_dim=n_items, output_dim=2)
        return mx.sym.LinearRegressionOutput(mx.sym.sum(user * item + bias, axis=1), mx.sym.Variable("rating"))

    def peeks(n_users, n_items):
        user, item = (
            mx.sym.Embedding(mx.sym.Variable(s), input_dim=n, output_dim=2)
            for s, n in (("user", n_users), ("item", n_items))
        )
        label = mx.sym.Variable("rating")
        return mx.sym.LinearRegressionOutput(mx.sym.sum(user * item, axis=1) + label * 0.1, label)

    def five(n_users, n_items):
        return plain_net(5, n_items, 2)

    for network, message in (
        (twice, "makes a Variable 'item' more than once"),
        (peeks, "predicts from its label, 'rating'"),
        (five, "its table of users has 5 rows where there are 60 users"),
    ):
        with pytest.raises(ConfigError, match=message):
            nnmf.fit(network, tables[0], n_epochs=1, ctx="cpu")
    assert len(nnmf.fit(partial(plain_net, n_factors=2), tables[0], n_epochs=1, ctx="cpu").history) == 1


def normed(n_users, n_items):
    """A network with auxiliary states, the means and variances of a BatchNorm."""
    sides = [
        mx.sym.Embedding(mx.sym.Variable(s), input_dim=n, output_dim=64)
        for s, n in (("user", n_users), ("item", n_items))
    ]
    hidden = mx.sym.Activation(mx.sym.BatchNorm(mx.sym.concat(*sides, dim=1), name="norm"), act_type="tanh")
    return mx.sym.LinearRegressionOutput(mx.sym.FullyConnected(hidden, num_hidden=1), mx.sym.Variable("rating"))


def test_auxiliary_states_are_those_after_the_last_batch():
    # MXNet hands them on while its last backward passes still write them: of twelve trainings some would differ.
    rng = np.random.default_rng(0)
    train = Ratings.from_arrays(*rng.integers(0, 300, (2, 20_000)), rng.integers(1, 6, 20_000), duplicates="last")
    options = {"n_epochs": 1, "batch_size": 512, "learning_rate": 0.1, "ctx": "cpu"}
    means = {parameters(nnmf.fit(normed, train, **options))["norm_moving_mean"].tobytes() for _ in range(12)}
    assert len(means) == 1


@pytest.mark.parametrize(("name", "setting"), [("plain", "n_factors"), ("dropout_mlp", "hidden_units")])
def test_sizes_beyond_those_of_mxnet_are_refused_by_name(name, setting):
    with pytest.raises(
        ConfigError, match=rf"{setting}: got 2147483648; MXNet's layers count to 2,147,483,647, give less\."
    ):
        NetworkModel(name, **{setting: 2**31})


@pytest.mark.parametrize("size", [1e30, 1e-30, "one of 3e38"])
def test_ratings_whose_squares_float32_does_not_hold_are_refused(size):
    table = low_rank()
    rating = table.rating * (1.0 if isinstance(size, str) else size)
    if isinstance(size, str):
        rating[0] = 3e38
    ratings = Ratings.from_arrays(table.user, table.item, rating)
    with pytest.raises(
        ConfigError, match=r"its ratings spread by .*, the square of which MXNet's float32 cannot hold; divide"
    ):
        nnmf.fit("plain", ratings, n_epochs=1, ctx="cpu")


@pytest.mark.parametrize("network", ["biased_mlp", "dropout_mlp"])
def test_executors_that_share_parameters_run_one_at_a_time(tables, network):
    """Four threads that did not wait for each other hung or crashed MXNet within some hundred predictions."""
    train = tables[0]
    model = NetworkModel(network, **{**FAST, "n_epochs": 1}).fit(train)
    alone = model.predict_index(train.user, train.item)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model.predict_index(train.user, train.item), range(1000)):
            assert np.array_equal(found, alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_threads_that_it_has_not():
    from nnmf.neural import _scorer

    with _scorer._one_at_a_time:
        child = multiprocessing.get_context("fork").Process(
            target=lambda: _scorer._one_at_a_time.acquire(timeout=5) or os._exit(3)
        )
        child.start()
        child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_epoch_leaves_no_arrays_behind(tables, temperature):
    """Not even until Python looks for what holds itself, which it seldom does."""
    alive = []

    def count(result, model):
        alive.append(sum(isinstance(found, mx.nd.NDArray) for found in gc.get_objects()))

    gc.collect()
    gc.disable()
    try:
        nnmf.fit("biased", tables[0], temperature=temperature, n_factors=4, n_epochs=6, ctx="cpu", callbacks=[count])
    finally:
        gc.enable()
    assert len(set(alive[1:])) == 1
