"""The contract that every kind of model keeps: each test here runs for all networks and all factorizations."""

import json
import shutil

import numpy as np
import pytest

import nnmf
from nnmf.errors import ConfigError, DataError
from nnmf.kinds import FACTORIZATIONS
from nnmf.networks import NETWORKS
from nnmf.runs import RunFolder

from .conftest import low_rank

NAMES = [*NETWORKS, *FACTORIZATIONS]
SETTINGS = {
    **{name: {"n_factors": 5, "n_epochs": 5, "init_std": 0.1} for name in FACTORIZATIONS},
    "plain": {"n_factors": 5, "n_epochs": 5, "batch_size": 50, "learning_rate": 0.2, "ctx": "cpu"},
    "one_layer_mlp": {"n_factors": 5, "hidden_units": 4, "n_epochs": 5, "batch_size": 50, "ctx": "cpu"},
    "dropout_mlp": {"n_factors": 5, "hidden_units": 4, "dropout": 0.2, "n_epochs": 5, "batch_size": 50, "ctx": "cpu"},
}


@pytest.fixture(scope="module")
def tables():
    return low_rank(noise=0.2).split(0.8)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def trained(tables):
    """One trained model a name, made when first asked for; not to be changed."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = nnmf.fit(name, *tables, **SETTINGS[name])
        return made[name]

    return get


def arrays(model):
    return {key: value if isinstance(value, np.ndarray) else value.asnumpy() for key, value in model.parameters.items()}


def curve(model):
    return [(result.train_rmse, result.valid_rmse, result.learning_rate) for result in model.history]


def assert_same(one, other):
    assert curve(one) == curve(other)
    assert one.best_epoch == other.best_epoch
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for key in first:
        assert np.array_equal(first[key], second[key]), key


class Killed(Exception):
    pass


def kill_after(epoch):
    def callback(result, model):
        if result.epoch == epoch:
            raise Killed

    return callback


def test_history_has_an_entry_an_epoch(name, trained):
    model = trained(name)
    assert [result.epoch for result in model.history] == [1, 2, 3, 4, 5]
    assert model.history[-1].train_rmse < model.history[0].train_rmse
    assert 1 <= model.best_epoch <= 5


def test_the_same_seed_gives_the_same_model(name, trained, tables):
    assert_same(trained(name), nnmf.fit(name, *tables, **SETTINGS[name]))
    other = nnmf.fit(name, *tables, **SETTINGS[name], seed=1)
    assert curve(other) != curve(trained(name))


def test_fit_starts_over(name, trained, tables):
    model = nnmf.fit(name, tables[1].take(tables[1].known), **SETTINGS[name])
    assert_same(model.fit(*tables), trained(name))


def test_predictions_stay_within_the_scale(name, trained, tables):
    model, (train, _) = trained(name), tables
    raw = model.predict(train.users.ids[train.user], train.items.ids[train.item], clip=False)
    assert raw.dtype == np.float32
    assert np.array_equal(raw, model.predict_index(train.user, train.item))
    clipped = model.predict(train.users.ids[train.user], train.items.ids[train.item])
    assert np.array_equal(clipped, np.clip(raw, *train.scale))


def test_unknown_ids_are_answered_or_refused(name, trained, tables):
    model, (train, _) = trained(name), tables
    known = train.users.ids[3], train.items.ids[4]
    found = model.predict([known[0], 999, 999], [999, known[1], 999])
    assert np.isfinite(found).all()
    assert found[2] == pytest.approx(train.rating.mean(), rel=1e-5)
    with pytest.raises(DataError, match="item 999 is not among"):
        model.predict([known[0]], [999], unknown="error")


def test_a_saved_model_predicts_as_before(name, trained, tables, tmp_path):
    model, (train, _) = trained(name), tables
    model.save(tmp_path / "model")
    loaded = nnmf.load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert_same(model, loaded)
    ids = [*train.users.ids[:20], 999], [*train.items.ids[:20], 999]
    assert np.array_equal(model.predict(*ids), loaded.predict(*ids))
    assert (loaded.config, loaded.scale) == (model.config, model.scale)
    with pytest.raises(ConfigError, match="not an empty folder"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    with pytest.raises(DataError, match="keeps no state to go on from"):
        nnmf.load_checkpoint(tmp_path / "model")


def test_nothing_of_another_s_folder_is_replaced(trained, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other things than a saved model"):
        trained("svd").save(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="not trained yet"):
        nnmf.SVD().save(tmp_path / "model")


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_a_resumed_run_is_the_one_that_never_stopped(name, trained, tables, tmp_path, epoch):
    run = RunFolder.begin(tmp_path / "run", {})
    with pytest.raises(Killed):
        nnmf.fit(name, *tables, **SETTINGS[name], callbacks=[run, kill_after(epoch)])
    model = nnmf.load_checkpoint(tmp_path / "run")
    assert len(model.history) == epoch
    model.resume(*tables, callbacks=[run])
    assert_same(model, trained(name))
    assert_same(nnmf.load(tmp_path / "run"), trained(name))
    best = nnmf.load(tmp_path / "run")
    assert best.rmse(tables[1]) == pytest.approx(min(result.valid_rmse for result in model.history), rel=1e-6)


def test_a_run_is_not_resumed_on_other_ratings(tables, tmp_path):
    run = RunFolder.begin(tmp_path / "run", {})
    nnmf.fit("svd", *tables, **SETTINGS["svd"], callbacks=[run])
    model = nnmf.load_checkpoint(tmp_path / "run")
    with pytest.raises(DataError, match="is not the table that training began with"):
        model.resume(low_rank(noise=0.2, seed=5))


def test_a_kind_from_another_version(trained, tmp_path):
    from nnmf import store

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


@pytest.mark.parametrize("kind", [int, str])
def test_the_onnx_file_answers_as_predict_does(name, tables, tmp_path, kind):
    runtime = pytest.importorskip("onnxruntime")
    train, _ = tables
    columns = [
        [f"id{value}" if kind is str else 7 * int(value) for value in ids.ids[index]]
        for ids, index in ((train.users, train.user), (train.items, train.item))
    ]
    model = nnmf.fit(name, nnmf.Ratings.from_arrays(*columns, train.rating), **SETTINGS[name])
    unknown = "nobody" if kind is str else -5
    users, items = (
        [*columns[0][:300], unknown, columns[0][0], unknown],
        [*columns[1][:300], columns[1][0], unknown, unknown],
    )
    dtype = object if kind is str else np.int64
    model.export_onnx(tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (answer,) = session.run(["rating"], {"user_id": np.array(users, dtype), "item_id": np.array(items, dtype)})
    assert answer == pytest.approx(model.predict(users, items), abs=1e-5)
    model.export_onnx(tmp_path / "raw.onnx", ids=False)
    session = runtime.InferenceSession(str(tmp_path / "raw.onnx"), providers=["CPUExecutionProvider"])
    (answer,) = session.run(["rating"], {"user": train.user.astype(np.int64), "item": train.item.astype(np.int64)})
    assert answer == pytest.approx(model.predict_index(train.user, train.item), abs=1e-5)
