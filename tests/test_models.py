"""The contract that every kind of model keeps, and what belongs to one kind or to none."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnmf
from nnmf import _mxnet
from nnmf.errors import ConfigError, DataError
from nnmf.storage import RunFolder
from nnmf.testing import Killed, ModelContract, assert_same_list, brute_force, kill_after, low_rank, parameters

FACTORS = {"n_factors": 5, "n_epochs": 5, "init_std": 0.1}
DRAWS = {"n_factors": 5, "n_epochs": 5, "sweeps": 5, "n_chains": 2, "features": "ids"}
PLAIN = {"n_factors": 5, "n_epochs": 5, "batch_size": 50, "learning_rate": 0.2, "ctx": "cpu"}
LONGER = {"n_epochs": 40, "learning_rate": 0.4, "l2": 0.003}
DRAWN = {"n_factors": 5, "n_epochs": 6, "temperature": 1.0, "ctx": "cpu"}
MLP = {"n_factors": 5, "hidden_units": 4, "n_epochs": 5, "batch_size": 50, "ctx": "cpu"}


# A table with so little noise wants a smaller penalty than ratings that people give.
QUIET = {"n_epochs": 80, "preset": "accurate"}


class TestFunkSVD(ModelContract):
    model, settings, accurate, expected_rmse = "funk_svd", FACTORS, QUIET, (0.215, 0.25)


class TestSVD(ModelContract):
    model, settings, accurate, expected_rmse = "svd", FACTORS, QUIET, (0.215, 0.25)


class TestSVDpp(ModelContract):
    model, settings, accurate, expected_rmse = "svdpp", FACTORS, QUIET, (0.215, 0.25)


class TestBayes(ModelContract):
    model, settings, expected_rmse = "bayes", DRAWS, (0.21, 0.26)


class TestBayesOnAGrid(ModelContract):
    """Ratings of seven values or so, whose expectations are no dot products: no towers, no ONNX file."""

    model, settings, expected_rmse, exports = "bayes", {**DRAWS, "likelihood": "ordinal"}, (0.39, 0.45), False

    @classmethod
    @functools.cache
    def tables(cls):
        train, test = super().tables()
        rounded = (
            nnmf.Ratings.from_arrays(table.users.ids[table.user], table.items.ids[table.item], np.rint(table.rating))
            for table in (train, test)
        )
        train, test = rounded
        return train, test.mapped(train)


class TestPlain(ModelContract):
    """By `mx.model.FeedForward`, over whole tables; the other networks' steps go over the rows of a batch, where they can."""

    model, settings, accurate, expected_rmse = "plain", {**PLAIN, "sparse": "off"}, LONGER, (0.21, 0.26)


class TestOneLayerMLP(ModelContract):
    # On so few ratings, from weights so near zero, the MLPs come to answer the mean; test_training has their figures on ML-100K.
    model, settings, expected_rmse = "one_layer_mlp", MLP, (0.6, 0.68)


class TestDropoutMLP(ModelContract):
    model, settings, expected_rmse = "dropout_mlp", {**MLP, "dropout": 0.2}, (0.6, 0.7)


class TestBiased(ModelContract):
    model, settings, accurate, expected_rmse = "biased", PLAIN, LONGER, (0.21, 0.26)


class TestBiasedMLP(ModelContract):
    model, settings, accurate, expected_rmse = "biased_mlp", PLAIN, LONGER, (0.21, 0.26)


class TestMeanOfBiasedMLP(ModelContract):
    model, settings, accurate = "biased_mlp", {**PLAIN, "keep": "mean"}, LONGER
    expected_rmse = (0.21, 0.26)


class TestHistories(ModelContract):
    model, settings, accurate, expected_rmse = "histories", PLAIN, LONGER, (0.21, 0.32)


class TestDrawsOfBiased(ModelContract):
    model, settings, accurate = "biased", DRAWN, {"n_epochs": 60, "l2": 0.01}
    expected_rmse = (0.21, 0.26)


class TestDrawsOfHistories(ModelContract):
    model, settings, accurate = "histories", DRAWN, {"n_epochs": 60, "l2": 0.01}
    expected_rmse = (0.21, 0.26)


class TestMeanOfSVD(ModelContract):
    model, settings, accurate = "svd", {**FACTORS, "keep": "mean"}, QUIET
    expected_rmse = (0.215, 0.26)


class TestMeanOfSVDpp(ModelContract):
    model, settings, accurate = "svdpp", {**FACTORS, "keep": "mean"}, QUIET
    expected_rmse = (0.215, 0.26)


def concat(n_users, n_items, n_factors=5):
    """A network whose prediction is no product of towers."""
    mx = _mxnet.load()
    sides = [
        mx.sym.Embedding(mx.sym.Variable(side), input_dim=n, output_dim=n_factors, name=f"{side}_factors")
        for side, n in (("user", n_users), ("item", n_items))
    ]
    hidden = mx.sym.Activation(mx.sym.FullyConnected(mx.sym.Concat(*sides, dim=1), num_hidden=8), act_type="tanh")
    return mx.sym.LinearRegressionOutput(mx.sym.FullyConnected(hidden, num_hidden=1), mx.sym.Variable("score"))


class TestMeanOfConcat(ModelContract):
    model, settings = staticmethod(concat), {**PLAIN, "keep": "mean"}
    accurate, expected_rmse = {**LONGER, "n_epochs": 60, "learning_rate": 0.6}, (0.25, 0.6)


SETTINGS = {
    kind.model: kind.settings
    for kind in (
        TestPlain,
        TestOneLayerMLP,
        TestDropoutMLP,
        TestBiased,
        TestBiasedMLP,
        TestFunkSVD,
        TestSVD,
        TestSVDpp,
        TestBayes,
    )
}
NAMES = list(SETTINGS)


@pytest.fixture(scope="module")
def tables():
    return low_rank(noise=0.2).split(0.8)


@pytest.fixture(scope="module")
def trained(tables):
    """One trained model a name, made when first asked for; not to be changed."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = nnmf.fit(name, *tables, **SETTINGS[name])
        return made[name]

    return get


def test_nothing_of_another_s_folder_is_replaced(trained, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other things than a saved model"):
        trained("svd").save(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="not trained yet"):
        nnmf.SVD().save(tmp_path / "model")


def test_a_run_is_not_resumed_on_other_ratings(tables, tmp_path):
    run = RunFolder.begin(tmp_path / "run", {})
    nnmf.fit("svd", *tables, **SETTINGS["svd"], callbacks=[run])
    model = nnmf.load_checkpoint(tmp_path / "run")
    with pytest.raises(DataError, match="is not the table that training began with"):
        model.resume(low_rank(noise=0.2, seed=5))


def test_a_kind_from_another_version(trained, tmp_path):
    from nnmf.files import _folders as store

    trained("svd").save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    for change, message in (
        (
            {"kind": "transformer", "nnmf": "9.9"},
            r"kind 'transformer', which nnmf .* does not know; load it with .*\(9.9\)",
        ),
        ({"config": {"n_layers": 3}, "nnmf": "9.9"}, "written by 9.9"),
    ):
        changed = {**manifest, **change}
        changed.pop("sha256")
        changed["sha256"] = store._digest(changed)
        (tmp_path / "model" / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(DataError, match=message):
            nnmf.load(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")


def test_means_take_in_new_ratings(tables):
    train, _ = tables
    half = np.arange(len(train)) < len(train) // 2
    model = nnmf.fit("svd", train.take(half).compact(), n_epochs=1)
    model.fit_more(train.take(~half), n_epochs=1)
    whole = nnmf.fit("svd", train, n_epochs=1)
    order = model.users.index(train.users.ids)
    assert model.user_mean[order] == pytest.approx(whole.user_mean, rel=1e-5)
    assert len(model.seen.item) == len(train)


def test_vectors_as_a_frame(trained, tables):
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
    model = trained("svd")
    frame = model.to_frame("item")
    assert isinstance(frame, pandas.DataFrame) and frame.shape == (tables[0].n_items, 6)
    assert np.array_equal(frame["bias"].to_numpy(), model.item_bias)


def test_a_network_without_towers_recommends_too(tables, tmp_path, monkeypatch):
    (tmp_path / "concat_nets.py").write_text(
        "from nnmf import _mxnet\nmx = _mxnet.load()\n"
        "def concat(n_users, n_items, n_factors=3):\n"
        "    sides = [mx.sym.Embedding(mx.sym.Variable(s), input_dim=n, output_dim=n_factors, name=s + '_factors')\n"
        "             for s, n in (('user', n_users), ('item', n_items))]\n"
        "    hidden = mx.sym.Activation(mx.sym.FullyConnected(mx.sym.Concat(*sides, dim=1), num_hidden=4), act_type='tanh')\n"
        "    one = mx.sym.FullyConnected(hidden, num_hidden=1)\n"
        "    return mx.sym.LinearRegressionOutput(one, mx.sym.Variable('score'))\n"
    )
    monkeypatch.chdir(tmp_path)
    train, test = tables
    model = nnmf.fit("concat_nets:concat", train, test, n_epochs=3, batch_size=50, ctx="cpu")
    ids, scores = model.recommend(train.users.ids[:4], 5)
    for at, user in enumerate(train.users.ids[:4].tolist()):
        assert_same_list((ids[at], scores[at]), brute_force(model, train, user, 5))
    with pytest.raises(DataError, match="no node named item_tower"):
        model.similar_items(train.items.ids[0])
    model.save(tmp_path / "model")
    monkeypatch.chdir("/")
    (tmp_path / "concat_nets.py").unlink()
    assert np.array_equal(nnmf.load(tmp_path / "model").recommend(train.users.ids[:4], 5)[0], ids)


@pytest.mark.slow
def test_damaged_folders_are_refused_in_one_sentence():
    """A part of what scripts/damage_models.py tries."""
    script = Path(__file__).parent.parent / "scripts" / "damage_models.py"
    done = subprocess.run([sys.executable, str(script), "--tries", "120"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 60


def test_a_model_that_cannot_go_on_stays_as_it_was(tables):
    train, test = tables
    model = nnmf.fit("svd", train, test, n_epochs=3, patience=2)
    before, users, config = parameters(model), model.n_users, model.config
    new = nnmf.Ratings.from_arrays([1000], [2000], [3.0])
    unknown = nnmf.Ratings.from_arrays([5000], [6000], [3.0], like=train)
    for ratings, valid, options, message in (
        (new, None, {}, "patience: needs validation"),
        (new, test, {"n_epochs": 0}, "n_epochs: got 0"),
        (unknown, test, {}, "unknown users or items"),
        (nnmf.Ratings.from_arrays(["a"], ["b"], [3.0]), test, {}, "new ids are strings, those known are whole numbers"),
        (new.take(np.zeros(1, bool)), test, {}, "holds no ratings to train on"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            model.fit_more(ratings, valid, **options)
    assert (model.n_users, model.config, len(model.user_mean)) == (users, config, users)
    for key, array in parameters(model).items():
        assert np.array_equal(array, before[key])


def test_each_training_has_a_schedule_and_a_number_of_epochs_of_its_own(tables):
    train, _ = tables
    model = nnmf.fit("svd", train, n_epochs=4, learning_rate=0.04, schedule="linear")
    for _ in range(2):
        model.fit_more(train)
    assert [result.learning_rate for result in model.history] == pytest.approx([0.04, 0.03, 0.02, 0.01] * 3)


def test_ratings_given_again_count_once_in_the_means(tables):
    train, _ = tables
    model = nnmf.fit("svd", train, n_epochs=1)
    means = model.user_mean.copy()
    model.fit_more(train, n_epochs=1)
    assert model.user_mean == pytest.approx(means)


def test_saving_replaces_saved_models_alone(trained, tmp_path):
    model = trained("svd")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "my web app"}')
    model.save(tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for folder in ("web", "mine"):
        before = sorted(path.name for path in (tmp_path / folder).iterdir())
        with pytest.raises(ConfigError, match="holds other things than a saved model"):
            model.save(tmp_path / folder, overwrite=True)
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == before
    with pytest.raises(ConfigError, match="holds other things than a run"):
        RunFolder.begin(tmp_path / "web", {}, overwrite=True)
    assert type(nnmf.load(tmp_path / "mine", ctx="cpu")) is nnmf.SVD


def test_an_item_whose_id_is_that_of_no_item(tables):
    items = np.array([-1, 0, 5])
    table = nnmf.Ratings.from_arrays([1, 1, 2, 3], items[[0, 1, 2, 0]], [3, 4, 5, 4])
    model = nnmf.fit("svd", table, n_epochs=2)
    test = nnmf.Ratings.from_arrays([2, 3], [-1, 0], [4, 5])
    assert model.evaluate(test, ["hit_rate@3"]) == {"hit_rate@3": 1.0, "judged_users": 2, "judged_ratings": 2}


def test_svdpp_s_users_are_compared_by_the_vectors_that_predict(trained, tables):
    model, (train, _) = trained("svdpp"), tables
    found = model.to_numpy()
    products = (found["user_vectors"][train.user] * found["item_factors"][train.item]).sum(1)
    biases = found["global_mean"] + found["user_bias"][train.user] + found["item_bias"][train.item]
    assert biases + products == pytest.approx(model.predict_index(train.user, train.item), abs=1e-4)


def test_an_interrupted_fit_leaves_the_best_epoch(tables, monkeypatch):
    settings = {**SETTINGS["plain"], "schedule": "constant"}
    model = nnmf.NetworkModel("plain", nnmf.TrainConfig(**settings))
    errors = iter([3.0, 1.0, 2.0, 4.0])
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("nnmf.models._answers.Answers.rmse", lambda answers, table, clip=True: next(errors))
        model.fit(*tables, callbacks=[kill_after(4)])
    assert model.best_epoch == 2
    again = nnmf.NetworkModel("plain", nnmf.TrainConfig(**{**settings, "n_epochs": 2})).fit(tables[0])
    for key, array in parameters(model).items():
        assert np.array_equal(array, again.parameters[key].asnumpy())
