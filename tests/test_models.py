"""The contract that every kind of model keeps: each test here runs for all networks and all factorizations."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnmf
from nnmf.errors import ConfigError, DataError
from nnmf.kinds import FACTORIZATIONS
from nnmf.networks import NETWORKS
from nnmf.storage._runs import RunFolder

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


def test_a_run_without_validation_is_resumed_to_its_last_epoch(name, tables, tmp_path):
    train, _ = tables
    whole = nnmf.fit(name, train, **SETTINGS[name])
    run = RunFolder.begin(tmp_path / "run", {})
    with pytest.raises(Killed):
        nnmf.fit(name, train, **SETTINGS[name], callbacks=[run, kill_after(2)])
    assert_same(nnmf.load_checkpoint(tmp_path / "run").resume(train), whole)


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


def brute_force(model, train, user_id, n, exclude_seen=True, items=None, exclude=()):
    """Top-n by predicting every item and sorting by (-score, id)."""
    candidates = [item for item in train.items.ids.tolist() if (items is None or item in items) and item not in exclude]
    if exclude_seen and user_id in train.users.ids:
        rated = set(train.items.ids[train.item[train.user == train.users.index([user_id])[0]]].tolist())
        candidates = [item for item in candidates if item not in rated]
    score = model.predict([user_id] * len(candidates), candidates, clip=False) if candidates else []
    ranked = sorted(zip((-score).tolist() if len(candidates) else [], candidates, strict=True))
    return ranked[:n]


def assert_list(found, expected):
    """The same scores in the same order; ids may swap only where scores are equal to rounding."""
    ids, scores = found
    assert scores[: len(expected)] == pytest.approx([-score for score, _ in expected], abs=1e-4)
    assert np.isnan(scores[len(expected) :]).all() and (ids[len(expected) :] == -1).all()
    gaps = [abs(a[0] - b[0]) for a, b in itertools.pairwise(expected)]
    if all(gap > 1e-4 for gap in gaps):
        assert ids[: len(expected)].tolist() == [item for _, item in expected]


def test_recommendations_agree_with_brute_force(name, trained, tables):
    model, (train, _) = trained(name), tables
    users = train.users.ids[[0, 7, 30]]
    for options in (
        {},
        {"exclude_seen": False},
        {"items": train.items.ids[:9].tolist()},
        {"exclude": [*train.items.ids[:30].tolist(), 12345]},
    ):
        ids, scores = model.recommend(users, 6, **options)
        assert ids.shape == scores.shape == (3, 6)
        for at, user in enumerate(users.tolist()):
            assert_list((ids[at], scores[at]), brute_force(model, train, user, 6, **options))
    single = model.recommend(users[0], 6)
    assert np.array_equal(single[0], model.recommend(users, 6)[0][0])


def test_users_never_seen_get_the_items_best_liked(name, trained, tables):
    model, (train, _) = trained(name), tables
    ids, scores = model.recommend([999, train.users.ids[0]], 5)
    assert_list((ids[0], scores[0]), brute_force(model, train, 999, 5))
    with pytest.raises(DataError, match="user 999 is not among"):
        model.recommend([999], unknown="error")
    with pytest.raises(ConfigError, match="n: got 0"):
        model.recommend([1], 0)


def test_neighbours_are_those_of_the_largest_cosine(name, trained, tables):
    model, (train, _) = trained(name), tables
    arrays = model.to_numpy()
    for side, find in (("item", model.similar_items), ("user", model.similar_users)):
        vectors = arrays.get(f"{side}_vectors", arrays[f"{side}_factors"]).astype(float)
        ids = arrays[f"{side}_ids"]
        cosine = vectors @ vectors[3] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[3])
        cosine[3] = -2
        found, score = find(ids[3], 5)
        assert score == pytest.approx(np.sort(cosine)[::-1][:5], abs=1e-5)
        assert ids[3] not in found
        with pytest.raises(DataError, match=f"{side} 999 is not among"):
            find(999)
    assert model.similar_items(train.items.ids[0], 500)[0].tolist().count(-1) == 500 - train.n_items + 1


def test_metrics_are_those_of_the_predictions_and_lists(name, trained, tables):
    model, (train, test) = trained(name), tables
    found = model.evaluate(test, ["rmse", "mae", "rmse_per_user", "recall@5", "hit_rate@5", "coverage@10"])
    columns = zip(test.user.tolist(), test.item.tolist(), test.rating.tolist(), strict=True)
    prediction = np.clip(model.predict_index(test.user, test.item), *train.scale).astype(float)
    error = np.array([rating for _, _, rating in columns]) - prediction
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found["mae"] == pytest.approx(np.mean(np.abs(error)))
    by_user = [np.sqrt(np.mean(error[test.user == user] ** 2)) for user in np.unique(test.user)]
    assert found["rmse_per_user"] == pytest.approx(np.mean(by_user))
    known = test.take(test.known)
    recalls, hits = [], []
    for user in np.unique(known.user):
        relevant = set(train.items.ids[known.item[known.user == user]].tolist())
        listed = set(model.recommend(train.users.ids[user], 5)[0].tolist())
        recalls.append(len(relevant & listed) / len(relevant))
        hits.append(bool(relevant & listed))
    assert found["recall@5"] == pytest.approx(np.mean(recalls))
    assert found["hit_rate@5"] == pytest.approx(np.mean(hits))
    assert 0 < found["coverage@10"] <= 1
    with pytest.raises(ConfigError, match="metric: got 'auc' instead of one of"):
        model.evaluate(test, ["auc"])


def test_what_a_loaded_model_recommends(name, trained, tables, tmp_path):
    model, (train, _) = trained(name), tables
    model.save(tmp_path / "model")
    loaded = nnmf.load(tmp_path / "model")
    for mine, theirs in zip(model.recommend(train.users.ids, 7), loaded.recommend(train.users.ids, 7), strict=True):
        assert np.array_equal(mine, theirs)


def test_training_goes_on_with_new_users_and_items(name, tables):
    train, test = tables
    old = train.take(train.user < 40).compact()
    model = nnmf.fit(name, old, **SETTINGS[name])
    before = arrays(model)
    users, items = model.users.ids.copy(), model.items.ids.copy()
    new = nnmf.Ratings.from_arrays([1000, 1000, users[0]], [items[0], 2000, 2000], [1.0, 5.0, 5.0])
    both = nnmf.Ratings.from_arrays(
        np.concatenate([old.users.ids[old.user], new.users.ids[new.user]]),
        np.concatenate([old.items.ids[old.item], new.items.ids[new.item]]),
        np.concatenate([old.rating, new.rating]),
    )
    model.fit_more(both, test, n_epochs=2)
    assert [result.epoch for result in model.history] == [1, 2, 3, 4, 5, 6, 7]
    assert model.best_epoch in (6, 7)
    assert np.array_equal(model.users.ids[: len(users)], users) and 1000 in model.users.ids
    assert np.array_equal(model.items.ids[: len(items)], items) and 2000 in model.items.ids
    for key, array in arrays(model).items():
        assert np.isfinite(array).all()
        if array.shape != before[key].shape:
            assert not np.array_equal(array[: len(before[key])], before[key])
    assert np.isfinite(model.predict([1000], [2000])).all()
    row = model.users.index([1000])[0]
    assert model.items.ids[model.seen.of_users([row]).item].tolist() == sorted([items[0], 2000])
    base = (both.rating.sum(dtype=float) + 0.0) / len(both)
    assert model.user_mean[row] == pytest.approx(
        (1.0 + 5.0 + 5 * base) / 7, rel=1e-5
    )  # damped by five ratings of the mean
    with pytest.raises(ConfigError, match="not trained yet"):
        nnmf.SVD().fit_more(new)


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
        assert_list((ids[at], scores[at]), brute_force(model, train, user, 5))
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
    before, users, config = arrays(model), model.n_users, model.config
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
    for key, array in arrays(model).items():
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


def test_a_run_that_goes_on_with_more_users_is_saved_whole(name, tables, tmp_path):
    train, _ = tables
    run = RunFolder.begin(tmp_path / "run", {})
    model = nnmf.fit(name, train.take(train.user < 40).compact(), **SETTINGS[name], callbacks=[run])
    model.fit_more(train, n_epochs=2, callbacks=[run])
    loaded = nnmf.load(tmp_path / "run")
    ids = train.users.ids[train.user], train.items.ids[train.item]
    assert np.array_equal(loaded.predict(*ids), model.predict(*ids))


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


def test_indices_beyond_the_tables_are_refused(name, trained):
    model = trained(name)
    with pytest.raises(DataError, match=r"user: indices run from 400 to 400, the model has 60 users"):
        model.predict_index(np.array([400], np.int32), np.array([3], np.int32))
    wide = low_rank(n_users=400, n_items=300, n_ratings=3000)
    assert model.rmse(wide) == pytest.approx(model.evaluate(wide, "rmse", clip=False)["rmse"])


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
    model = nnmf.NetworkModel("plain", nnmf.TrainConfig(**SETTINGS["plain"]))
    errors = iter([3.0, 1.0, 2.0, 4.0])
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("nnmf.models._answers.Answers.rmse", lambda answers, table, clip=True: next(errors))
        model.fit(*tables, callbacks=[kill_after(4)])
    assert model.best_epoch == 2
    again = nnmf.NetworkModel("plain", nnmf.TrainConfig(**{**SETTINGS["plain"], "n_epochs": 2})).fit(tables[0])
    for key, array in arrays(model).items():
        assert np.array_equal(array, again.parameters[key].asnumpy())
