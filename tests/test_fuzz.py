"""Folders that somebody edited and signed anew: each is refused in a sentence, or answers as a model does; none ends the process."""

import json
import shutil
import zipfile

import numpy as np
import pytest

import nnmf
from nnmf.errors import NnmfError
from nnmf.files import _folders
from nnmf.storage import read_params, write_params
from nnmf.storage._arrays import read_arrays
from nnmf.testing import low_rank

KINDS = ("funk_svd", "svd", "svdpp", "plain", "one_layer_mlp")
# Of bayes a few edits of each array: loading one takes long beside them.
BAYES = {
    "normal": {"features": "ids,history,raters"},
    "ordinal": {"likelihood": "ordinal"},
    "dated": {"features": "ids,day"},
}
HUGE = 2**40


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved run a kind: with the best epoch, the last one, and the state of training."""
    folders = {}
    train, valid = low_rank(noise=0.3).split(0.8)
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("saved") / kind
        options = {"batch_size": 50, "ctx": "cpu", "learning_rate": 0.1} if kind in ("plain", "one_layer_mlp") else {}
        run = nnmf.storage.RunFolder.begin(folder, {"model": kind, "data": {}})
        nnmf.fit(kind, train, valid, n_epochs=3, n_factors=3, callbacks=[run], **options)
        run.close()
        folders[kind] = folder
    return folders


def sign(folder, manifest):
    """Make the manifest the one of the folder as it stands."""
    for entry in manifest["files"].values():
        path = folder / entry["name"]
        if path.exists():
            entry.update(sha256=_folders._sha256(path), bytes=path.stat().st_size)
    manifest.pop("sha256", None)
    manifest["sha256"] = _folders._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit_arrays(folder, manifest, file, edit):
    """Rewrite a file of arrays with what an edit makes of them."""
    path = folder / manifest["files"][file]["name"]
    arrays = {name: array.copy() for name, array in read_arrays(path).items()}
    arrays = edit(arrays) or arrays
    with path.open("wb") as out:
        if path.suffix == ".params":
            write_params(out, arrays)
        else:
            np.savez(out, **arrays)


def put(name, value):
    def edit(arrays):
        arrays[name] = value(arrays[name]) if callable(value) else value

    return edit


def first(value):
    def edit(array):
        array = array.copy()
        array.flat[0] = value
        return array

    return edit


MANIFEST_EDITS = {
    **{
        f"no {name}": (name, ...)
        for name in ("kind", "config", "details", "history", "scale", "compared_from", "suffix", "texts")
    },
    **{f"no {name} ": (name, ...) for name in ("best_epoch", "last_epoch", "dataset", "global_mean", "train_digest")},
    "kind a list": ("kind", []),
    "config a list": ("config", []),
    "config unknown": ("config", {"n_layers": 3}),
    "config wild": ("config", {"n_factors": HUGE}),
    "config NaN": ("config", {"n_factors": float("nan")}),
    "details none": ("details", None),
    "details empty": ("details", {}),
    "unit -1": ("details", {"unit": -1, "network": 3, "settings": []}),
    "unit a text": ("details", {"unit": "x", "network": "plain", "settings": {"depth": 3}}),
    "scale reversed": ("scale", [5, 1]),
    "scale NaN": ("scale", [1, float("nan")]),
    "scale of three": ("scale", [1, 2, 3]),
    "scale of texts": ("scale", ["1", "5"]),
    "best_epoch 99": ("best_epoch", 99),
    "best_epoch 0": ("best_epoch", 0),
    "best_epoch -1": ("best_epoch", -1),
    "best_epoch a text": ("best_epoch", "../../3"),
    "best_epoch true": ("best_epoch", True),
    "last_epoch 2": ("last_epoch", 2),
    "last_epoch a text": ("last_epoch", "3"),
    "compared_from 99": ("compared_from", 99),
    "compared_from 0": ("compared_from", 0),
    "history empty": ("history", []),
    "history a number": ("history", 3),
    "history of numbers": ("history", [1, 2, 3]),
    "history with gaps": ("history", [{"epoch": 7}]),
    "global_mean NaN": ("global_mean", float("nan")),
    "global_mean a text": ("global_mean", "3"),
    "global_mean infinite": ("global_mean", float("inf")),
    **{f"global_mean {mean:g}": ("global_mean", mean) for mean in (100.0, -1.0, 1e30, 1e308)},
    "suffix exe": ("suffix", "exe"),
    "texts wild": ("texts", ["../../etc/passwd"]),
    "texts a number": ("texts", 5),
    "dataset a number": ("dataset", 5),
}
CATALOGUE_EDITS = {
    "seen_start huge": put("seen_start", first(HUGE)),
    "seen_start ends beyond": put("seen_start", lambda array: np.append(array[:-1], HUGE)),
    "seen_start falls": put("seen_start", lambda array: array[::-1].copy()),
    "seen_start negative": put("seen_start", lambda array: array - 1),
    "seen_start float": put("seen_start", lambda array: array + 0.5),
    "seen_start short": put("seen_start", lambda array: array[:-3]),
    "seen_start of two axes": put("seen_start", lambda array: array[:, None]),
    "seen_item beyond": put("seen_item", first(2**30)),
    "seen_item negative": put("seen_item", first(-5)),
    "seen_item empty": put("seen_item", lambda array: array[:0]),
    "seen_item int64": put("seen_item", lambda array: array.astype(np.int64) + HUGE),
    "totals short": put("user_total", lambda array: array[:3]),
    "totals NaN": put("item_total", first(np.nan)),
    "totals complex": put("item_total", lambda array: array.astype(complex)),
    "totals float32": put("item_total", lambda array: array.astype(np.float32)),
    "counts negative": put("user_count", first(-4)),
    "counts zero": put("user_count", lambda array: array * 0),
    "counts long": put("item_count", lambda array: np.append(array, 3)),
    "ids twice": put("users.id", lambda array: array * 0),
    "ids short": put("users.id", lambda array: array[:-3]),
    "ids long": put("items.id", lambda array: np.append(array, 10**6)),
    "ids float": put("items.id", lambda array: array / 2),
    "ids none": put("users.id", lambda array: array[:0]),
    "no ids": lambda arrays: {name: array for name, array in arrays.items() if not name.startswith("users")},
    "no seen": lambda arrays: {name: array for name, array in arrays.items() if name != "seen_item"},
    "nothing": lambda arrays: {"x": np.zeros(3)},
    "text ids that lie": lambda arrays: {
        **{name: array for name, array in arrays.items() if not name.startswith("users")},
        "users.text": np.full(4, 255, np.uint8),
        "users.start": np.array([0, HUGE, 3]),
    },
}
PARAMETER_EDITS = {
    "short": lambda array: array[:-1],
    "long": lambda array: np.concatenate([array, array[:1]]),
    "no rows": lambda array: array[:0],
    "other width": lambda array: array[:, :-1] if array.ndim == 2 else array[:, None],
    "float64": lambda array: array.astype(np.float64),
    "integers": lambda array: array.astype(np.int32),
    "NaN": first(np.nan),
    "infinite": first(np.inf),
    "a number": lambda array: np.float32(3),
    "three axes": lambda array: array[..., None],
}


def try_folder(folder, tables):
    """Load and use a folder in every way; answers whether it was refused."""
    for read in (nnmf.load, nnmf.load_checkpoint):
        try:
            model = read(folder)
        except NnmfError as error:
            assert "\n" not in str(error) and 20 < len(str(error)) < 800, error
            return True
        ids = model.users.ids[:5], model.items.ids[:5]
        assert np.isfinite(model.predict(*ids)).all()
        assert np.isfinite(model.predict(ids[0], [10**9] * len(ids[0]))).all()
        model.recommend(model.users.ids, 5)
        model.evaluate(tables[1], ["rmse", "ndcg@5"])
        model.similar_items(model.items.ids[0], 3)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_edited_folders_are_refused_or_work(saved, kind, tmp_path):
    tables = low_rank(noise=0.3).split(0.8)
    folder = tmp_path / "edited"
    worked, refused = [], []

    def attempt(name, edit):
        shutil.copytree(saved[kind], folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        edit(manifest)
        sign(folder, manifest)
        (refused if try_folder(folder, tables) else worked).append(name)
        shutil.rmtree(folder)

    attempt("nothing", lambda manifest: None)
    for name, (key, value) in MANIFEST_EDITS.items():

        def change(manifest, key=key, value=value):
            if value is ...:
                del manifest[key]
            else:
                manifest[key] = {**manifest["config"], **value} if key == "config" and value else value

        attempt(name, change)
    for name, edit in CATALOGUE_EDITS.items():
        attempt(name, lambda manifest, edit=edit: edit_arrays(folder, manifest, "catalogue.npz", edit))
    manifest = json.loads((saved[kind] / "manifest.json").read_text())
    for file in [name for name in manifest["files"] if name.startswith(("model-0", "state-0"))]:
        for array in read_arrays(saved[kind] / manifest["files"][file]["name"]):
            for name, edit in PARAMETER_EDITS.items():
                attempt(
                    f"{file}: {array} {name}",
                    lambda manifest, file=file, array=array, edit=edit: edit_arrays(
                        folder, manifest, file, put(array, edit)
                    ),
                )
        attempt(
            f"{file}: empty",
            lambda manifest, file=file: edit_arrays(folder, manifest, file, lambda _: {"x": np.zeros(2, np.float32)}),
        )
    # What is left as it was, and what no reader looks at, may be loaded; everything else is found out.
    assert "nothing" in worked and len(refused) > 60, (len(refused), worked)
    assert set(worked) <= {"nothing", "no dataset ", "config wild", "details empty", "texts a number"}, worked


@pytest.mark.parametrize("settings", BAYES.values(), ids=BAYES)
def test_edited_folders_of_bayes_are_refused_or_work(settings, tmp_path):
    whole = low_rank(noise=0.3)
    stamp = np.arange(len(whole)) * 9000
    train, valid = nnmf.Ratings.from_arrays(whole.user, whole.item, np.round(whole.rating), stamp).split(0.8)
    run = nnmf.storage.RunFolder.begin(tmp_path / "saved", {"model": "bayes", "data": {}})
    options = {"n_epochs": 2, "n_factors": 2, "sweeps": 2, "n_chains": 1, **settings}
    nnmf.fit("bayes", train, valid, callbacks=[run], **options)
    run.close()
    manifest = json.loads((tmp_path / "saved" / "manifest.json").read_text())
    n_refused = 0
    for file in [name for name in manifest["files"] if name.startswith(("model-0", "state-0"))]:
        for array, values in read_arrays(tmp_path / "saved" / manifest["files"][file]["name"]).items():
            for name in ("short", "three axes", *(["NaN"] if values.dtype.kind == "f" else [])):
                folder = tmp_path / "edited"
                shutil.copytree(tmp_path / "saved", folder)
                edited = json.loads((folder / "manifest.json").read_text())
                edit_arrays(folder, edited, file, put(array, PARAMETER_EDITS[name]))
                sign(folder, edited)
                assert try_folder(folder, (train, valid)), (file, array, name)
                n_refused += 1
                shutil.rmtree(folder)
    assert n_refused > 30


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100, b"\x12\x01" + b"\0" * 6 + b"\xff" * 40])
def test_files_that_are_no_arrays(saved, tmp_path, content):
    for kind in ("svd", "plain"):
        folder = tmp_path / f"{kind}{len(content)}"
        shutil.copytree(saved[kind], folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        for entry in manifest["files"].values():
            if entry["name"].startswith("model-0"):
                (folder / entry["name"]).write_bytes(content)
        sign(folder, manifest)
        assert try_folder(folder, low_rank().split(0.8))


def test_an_array_that_says_it_is_larger_than_it_is(saved, tmp_path):
    folder = tmp_path / "bomb"
    shutil.copytree(saved["svd"], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / manifest["files"]["catalogue.npz"]["name"]
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % HUGE
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("users.id.npy", header.ljust(127) + b"\n" + b"\0" * 80)
    sign(folder, manifest)
    assert try_folder(folder, low_rank().split(0.8))
    for kind in ("plain", "one_layer_mlp"):  # and MXNet's own files
        assert read_params(next(saved[kind].glob("model-0*.params")).open("rb"))


@pytest.mark.parametrize("kind", ["plain", "one_layer_mlp"])
@pytest.mark.parametrize("own", [False, True])
def test_graphs_that_would_lead_mxnet_astray(saved, kind, own, tmp_path):
    """``own``: as if the network were one that this package cannot build itself."""
    whole = json.loads((saved[kind] / "model-symbol.json").read_text())
    last = len(whole["nodes"]) - 1
    edits = [
        lambda graph: graph["nodes"][last]["inputs"][0].__setitem__(1, 9),
        lambda graph: graph["nodes"][last]["inputs"][0].__setitem__(0, 999),
        lambda graph: graph["nodes"][last]["inputs"][0].__setitem__(0, last),
        lambda graph: graph["nodes"][2]["inputs"][0].__setitem__(0, -1),
        lambda graph: graph.__setitem__("heads", [[last, 7, 0]]),
        lambda graph: graph.__setitem__("heads", []),
        lambda graph: graph.__setitem__("arg_nodes", [10**6]),
        lambda graph: graph.__setitem__("nodes", 5),
        lambda graph: graph["nodes"][2].__setitem__("op", "Reshape"),
        lambda graph: graph["nodes"][2]["inputs"].reverse(),
    ]
    for text in ["", "\0", "[]", "{", *(_edited(whole, edit) for edit in edits)]:
        folder = tmp_path / "graph"
        shutil.copytree(saved[kind], folder)
        (folder / "model-symbol.json").write_text(text)
        manifest = json.loads((folder / "manifest.json").read_text())
        if own:
            manifest["details"]["network"] = "somebody:net"
        sign(folder, manifest)
        assert try_folder(folder, low_rank().split(0.8)), text[:200]
        shutil.rmtree(folder)


def _edited(graph, edit):
    graph = json.loads(json.dumps(graph))
    edit(graph)
    return json.dumps(graph)
