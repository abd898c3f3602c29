"""The commands as a user runs them: what they print, write and exit with."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nnmf import _mxnet
from nnmf.commands._data import main as data_main
from nnmf.commands._train import main as train_main
from nnmf.errors import DataError
from nnmf.kinds import load
from nnmf.testing import low_rank

mx = _mxnet.load()
FAST = ["--n-epochs", "2", "--batch-size", "50", "--n-factors", "3", "--ctx", "cpu"]


def run(capsys, main, *arguments):
    """(exit code, standard output, standard error) of a command."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of ratings, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    table = low_rank()
    rows = zip(table.user, table.item, table.rating, table.timestamp, strict=True)
    (tmp_path / "ratings.tsv").write_text("".join(f"{u}\t{i}\t{r:.2f}\t{t}\n" for u, i, r, t in rows))
    return tmp_path / "ratings.tsv"


def test_training_leaves_a_whole_run_folder(file, capsys, tmp_path):
    code, out, err = run(capsys, train_main, "--network", "plain", "--dataset", file, *FAST, "--output", "run")
    assert code == 0, err
    assert "Dataset ratings.tsv 0.8/0.2" in out and "Saved in run" in out
    assert "Epoch 2: train RMSE" in err
    folder = tmp_path / "run"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all({"train_rmse", "valid_rmse", "samples_per_second", "seconds"} <= line.keys() for line in lines)
    config = json.loads((folder / "config.json").read_text())
    assert (config["model"], config["n_factors"], config["data"]["dataset"]) == ("plain", 3, str(file))
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["dataset"], summary["ended"], summary["epochs"]) == ("ratings.tsv 0.8/0.2", "finished", 2)
    # No ratings were held out, so that the last epoch counts; what is measured on the test ratings is called so.
    assert (summary["chosen_on"], summary["best_epoch"], summary["valid_rmse"]) == ("last epoch", 2, None)
    assert summary["test_rmse"] == lines[-1]["test_rmse"] and lines[-1]["valid_rmse"] is None
    # The checkpoint is MXNet's own.
    symbol, arguments, _ = mx.model.load_checkpoint(str(folder / "model"), 2)
    assert arguments["user_factors_weight"].shape == (60, 3)
    assert symbol.list_arguments()[0] == "user"
    with np.load(folder / "catalogue.npz", allow_pickle=False) as catalogue:
        assert catalogue["users.id"].tolist() == list(range(60))


def test_all_networks_side_by_side(file, capsys, tmp_path):
    code, out, _ = run(
        capsys, train_main, "--network", "all", "--dataset", file, *FAST[:4], "--ctx", "cpu", "--output", "run"
    )
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[3:6]] == ["plain", "one_layer_mlp", "dropout_mlp"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["dropout_mlp", "one_layer_mlp", "plain"]
    assert load(tmp_path / "run" / "plain").config.preset == "tutorial"  # unless another is asked for


def test_the_epoch_may_be_chosen_on_training_ratings(file, capsys, tmp_path):
    code, out, _ = run(
        capsys,
        train_main,
        "--network",
        "plain",
        "--dataset",
        file,
        *FAST,
        "--valid-fraction",
        "0.25",
        "--output",
        "run",
    )
    assert code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["n_train"], summary["n_test"], summary["chosen_on"]) == (900, 300, "valid")
    assert summary["test_rmse"] != summary["valid_rmse"]
    assert "test RMSE" in out and "chosen on the test" not in out


@pytest.mark.parametrize(("keep", "chosen"), [("last", "last epoch"), ("mean", "mean"), ("best", "valid")])
def test_the_summary_says_what_chose_the_epoch(file, capsys, tmp_path, keep, chosen):
    flags = "--model", "svd", "--dataset", file, "--n-epochs", "4", "--valid-fraction", "0.25", "--keep", keep
    assert run(capsys, train_main, *flags, "--output", "run")[0] == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["chosen_on"] == chosen and summary["valid_rmse"] is not None


def test_metrics_of_intervals_are_for_models_that_have_some(file, capsys, tmp_path):
    """Refused before training, but where only the run shows that there are none."""
    svd = "--model", "svd", "--dataset", file, "--n-epochs", "1", "--metrics", "mae,within@50"
    code, _, err = run(capsys, train_main, *svd, "--output", "run")
    assert code == 2 and "metrics: within@50 is of intervals, and svd has none" in err
    assert not (tmp_path / "run").exists()
    code, out, err = run(capsys, train_main, *svd, "--keep", "mean", "--output", "run")
    assert code == 0 and "within@50: not measured, for the run is too short for intervals" in err and "mae" in out
    assert set(json.loads((tmp_path / "run" / "summary.json").read_text())["test_metrics"]) == {"mae"}
    resume = "--resume", "run", "--n-epochs", "4", "--metrics", "mae,within@50"
    code, out, err = run(capsys, train_main, *resume)
    assert code == 0 and "test within@50" in out, err


def test_folders_are_made_refused_and_overwritten(file, capsys, tmp_path):
    command = [train_main, "--network", "plain", "--dataset", file, *FAST]
    assert run(capsys, *command)[0] == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("plain-20")
    (made / "mine.txt").write_text("kept")
    code, _, err = run(capsys, *command, "--output", made)
    assert (
        code == 2 and f"output: {made} is not empty; give another folder, or replace its run with --overwrite." in err
    )
    assert run(capsys, *command, "--output", made, "--overwrite", "--n-epochs", 1)[0] == 0
    assert (made / "mine.txt").read_text() == "kept"
    assert len((made / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (made / "model-0002.params").exists()
    code, _, err = run(capsys, *command, "--overwrite")
    assert code == 2 and "overwrite: replaces the run in the folder that --output names; give both" in err
    code, _, err = run(capsys, *command, "--output", file)
    assert code == 2 and "is a file; give a folder" in err
    code, _, err = run(capsys, *command, "--output", file / "run")
    assert code == 1 and "cannot be written" in err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--batch-size", "0"], 2, "batch_size: got 0; give a value at least 1."),
        (["--batch-size", "9999"], 2, "batch_size: got 9999; give one from 1 to the table's 1200 ratings"),
        (["--learning-rate", "-1"], 2, "learning_rate: got -1"),
        (["--learning-rate", "fast"], 2, "learning_rate: got 'fast'; give a number."),
        (["--network", "dropout_mlp", "--dropout", "1.5"], 2, "dropout: got 1.5"),
        (["--network", "deep"], 2, "network: got 'deep' instead of one of"),
        (["--network", "plain", "--hidden-units", "3"], 2, "hidden_units: network 'plain' has no such setting"),
        (["--dataset", "ml-100m"], 2, "dataset: got 'ml-100m' instead of one of ['ml-100k'"),
        (["--fold", "u1"], 2, "fold: "),
        (["--data-dir", "."], 2, "ratings.tsv is not looked for in a folder; leave it out, and give whole paths."),
        (["--split-by", "time", "--split-seed", "0"], 2, "split_seed: a split by time draws nothing; leave it out"),
        (["--sql", "SELECT 1"], 2, "sql: names ratings, and so does dataset; give one of them."),
        (["--test-file", "x"], 2, "test_file: comes with train_file"),
        (["--user-features", "x"], 2, "user_features: plain learns from ratings alone; leave it out."),
        (["--columns", "user=u"], 2, "columns: got 'user=u', which names no item column; add item=NAME."),
        (["--schedule", "stairs"], 2, "schedule: got 'stairs' instead of one of"),
        (["--fold", "u9"], 2, "fold: "),
        (["--ctx", "gpu(x)"], 2, "ctx: got 'gpu(x)' instead of one of"),
        (["--ctx", "gpu"], 1, "gpu"),
        (["--no-such-flag"], 2, "unrecognized arguments: --no-such-flag"),
        (["--learning-rate", "1e6"], 1, "training diverged in epoch 1"),
    ],
)
def test_mistakes_get_one_sentence_and_leave_nothing(file, capsys, tmp_path, flags, code, message):
    base = ["--network", "plain", "--dataset", file, "--output", "run"]
    found, _out, err = run(capsys, train_main, *base, "--ctx", "cpu", *flags)
    assert found == code, err
    assert message in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if "error:" in line]) == 1
    assert not (tmp_path / "run").exists()


def test_bad_tables_get_one_sentence(file, capsys, tmp_path):
    with file.open("a") as lines:
        lines.write("7\t8\tnan\t9\n")
    code, _, err = run(capsys, train_main, "--dataset", file, *FAST)
    assert code == 1 and f"{file}, line 1501: cannot read '7\\t8\\tnan\\t9'" in err
    code, _, err = run(capsys, train_main, "--network", "plain", "--dataset", file, *FAST, "--on-error", "skip")
    assert code == 0 and "skipped 1 malformed lines" in err
    code, _, err = run(capsys, train_main, "--dataset", "ml-1m", "--data-dir", tmp_path)
    assert code == 1 and "ratings.dat" in err and "--dataset synthetic" in err


def test_without_a_reachable_dataset_the_synthetic_one_is_named_everywhere(capsys, monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise DataError("ml-100k: no network; use --dataset synthetic.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnmf.datasets._fetching.fetch", unreachable)
    code, out, err = run(
        capsys,
        train_main,
        "--network",
        "plain",
        "--n-epochs",
        1,
        "--batch-size",
        4096,
        "--ctx",
        "cpu",
        "--output",
        "run",
    )
    assert code == 0, err
    assert "no network" in err and "SYNTHETIC" in err
    assert "Dataset synthetic 0.8/0.2" in out and "the best reachable RMSE is 0.89" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["dataset"] == "synthetic"
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["dataset"] == "synthetic"
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["dataset"] == "synthetic"
    assert "(synthetic)" in err
    assert summary["dataset"] == "synthetic 0.8/0.2" and 0.85 < summary["best_possible_rmse"] < 0.95
    for named in (["--dataset", "ml-100k"], ["--fold", "u1"]):
        code, _, err = run(capsys, train_main, *named)
        assert code == 1 and "no network" in err


def test_the_real_data_beside_the_tutorial_s_figures(ml_100k, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NNMF_DATA", str(ml_100k.parent))
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, train_main, "--network", "plain", "--n-epochs", 1, "--batch-size", 1024, "--ctx", "cpu")
    assert code == 0
    assert out.startswith("Dataset ml-100k/u1\n") and "1.0172" in out
    code, out, _ = run(capsys, data_main, "ml-100k", "--json")
    assert (code, json.loads(out)["n_ratings"]) == (0, 100_000)


def test_statistics_of_a_file(file, capsys):
    code, out, _ = run(capsys, data_main, file)
    assert code == 0 and "ratings            1,500" in out and "Gini index" in out
    code, out, _ = run(capsys, data_main, file, "--json")
    found = json.loads(out)
    assert (found["n_users"], found["n_items"], found["per_user"]["min"]) == (
        60,
        40,
        int(np.bincount(low_rank().user).min()),
    )
    code, _, err = run(capsys, data_main, "no-such")
    assert code == 2 and "there is no such file" in err


def test_help_needs_neither_numpy_s_weight_nor_mxnet():
    code = (
        "import sys\nfrom nnmf.commands._train import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'mxnet', 'numba', 'requests'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--learning-rate" in done.stdout


@pytest.mark.slow
def test_ctrl_c_ends_at_once_and_keeps_what_was_finished(file, tmp_path):
    command = [sys.executable, "-m", "nnmf.train", "--network", "plain", "--dataset", str(file), "--n-epochs", "100000"]
    process = subprocess.Popen(
        [*command, "--ctx", "cpu", "--output", "run", "--learning-rate", "0.001"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ),
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    for _ in range(1200):
        if metrics.exists() and len(metrics.read_text().splitlines()) > 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished epochs are kept in run" in err and "Traceback" not in err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["ended"] == "interrupted"
    assert summary["epochs"] == len(metrics.read_text().splitlines()) >= 3


def test_a_factorization_by_the_same_command(file, capsys, tmp_path):
    code, out, err = run(capsys, train_main, "--model", "svd", "--dataset", file, "--n-epochs", 3, "--output", "run")
    assert code == 0, err
    assert out.splitlines()[3].split()[0] == "svd"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["n_factors"] == 64
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    for flags, message in (
        (["--model", "als"], "model: got 'als' instead of one of ['bayes', 'funk_svd', 'network', 'svd', 'svdpp']"),
        (["--model", "SVD", "--network", "plain"], "network: svd is no network"),
        (["--network", "Funk-SVD"], "network: funk_svd is no network; ask for it with --model funk_svd"),
        (["--model", "svd", "--batch-size", 9], "batch_size: svd has no such setting"),
    ):
        code, _, err = run(capsys, train_main, "--dataset", file, *flags)
        assert code == 2 and message in err


@pytest.mark.slow
@pytest.mark.parametrize("model", [["--network", "dropout_mlp", "--hidden-units", "4"], ["--model", "svdpp"]])
def test_a_run_killed_at_any_moment_goes_on_as_if_it_never_stopped(file, capsys, tmp_path, model):
    command = [*model, "--dataset", file, "--n-factors", 3, "--n-epochs", 30, "--seed", 7]
    if "--network" in model:
        command += ["--batch-size", 50, "--ctx", "cpu"]
    assert run(capsys, train_main, *command, "--output", "whole")[0] == 0
    process = None
    lengths = []
    rng = np.random.default_rng(0)
    for attempt in range(4):
        flags = ["--resume", "run"] if attempt else [*map(str, command), "--output", "run"]
        process = subprocess.Popen([sys.executable, "-m", "nnmf.train", *flags], cwd=tmp_path, stderr=subprocess.PIPE)
        wanted = (lengths[-1] if lengths else 0) + int(rng.integers(1, 4))
        while process.poll() is None:
            try:
                if len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) >= wanted:
                    time.sleep(rng.uniform(0, 0.01))
                    break
            except OSError:
                pass
            time.sleep(0.002)  # a core of its own would be taken from the process
        process.kill()
        process.communicate()
        # Whatever the moment, the last complete checkpoint can be used.
        from nnmf import load_checkpoint

        lengths.append(len(load_checkpoint(tmp_path / "run").history))
    assert lengths == sorted(lengths) and lengths[0] >= 1
    if lengths[-1] < 30:
        code, _, err = run(capsys, train_main, "--resume", "run")
        assert code == 0, err
        assert "Going on after epoch" in err

    def curve(folder):
        lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        return [(line["epoch"], line["train_rmse"], line["valid_rmse"]) for line in map(json.loads, lines)]

    assert curve("run") == curve("whole")
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    whole, resumed = (
        {name: entry for name, entry in json.loads((tmp_path / folder / "manifest.json").read_text())["files"].items()}
        for folder in ("whole", "run")
    )
    assert resumed == whole  # the same files with the same checksums: parameters and state bit for bit


def test_features_reach_a_model_that_uses_them(file, capsys, tmp_path, monkeypatch):
    from nnmf.factorization import SVD

    (tmp_path / "users.csv").write_text("user,job\n1,baker\n2,smith\n")
    flags = ["--model", "svd", "--dataset", file, "--user-features", "users.csv", "--n-epochs", 1, "--output", "run"]
    code, _, err = run(capsys, train_main, *flags)
    assert code == 2 and "user_features: svd learns from ratings alone; leave it out." in err
    monkeypatch.setattr(SVD, "uses_features", True)
    code, _, err = run(capsys, train_main, *flags)
    assert code == 0 and "users.csv: 0 of its 2 ids have no rating" in err, err
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["data"]["user_features"] == str(tmp_path / "users.csv")
    (tmp_path / "users.csv").rename(tmp_path / "new.csv")
    resume = ["--resume", "run", "--n-epochs", 2]
    code, _, err = run(capsys, train_main, *resume)
    assert code == 2 and "users.csv'; there is no such file" in err
    assert run(capsys, train_main, *resume, "--user-features", "new.csv")[0] == 0


def test_what_may_not_change_when_a_run_is_resumed(file, capsys, tmp_path):
    assert run(capsys, train_main, "--model", "svd", "--dataset", file, "--n-epochs", 2, "--output", "run")[0] == 0
    for flags, code, message in (
        (["--resume", "run", "--seed", 3], 2, "seed: cannot change when a run is resumed"),
        (["--resume", "run", "--output", "x"], 2, "output: cannot change"),
        (["--resume", "run"], 2, "its 2 epochs are all trained; ask for more with --n-epochs"),
        (["--resume", "nowhere"], 1, "nowhere: no such folder"),
    ):
        found, _, err = run(capsys, train_main, *flags)
        assert found == code and message in err, err
    assert run(capsys, train_main, "--resume", "run", "--n-epochs", 4)[0] == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4
    with file.open("a") as lines:
        lines.write("70\t80\t3\t9\n")
    code, _, err = run(capsys, train_main, "--resume", "run", "--n-epochs", 6)
    assert code == 1 and "is not the table that training began with" in err
    # What a run goes on from stands in its manifest, whose checksum is checked; config.json is written for people.
    (tmp_path / "run" / "config.json").write_text("{}")
    code, _, err = run(capsys, train_main, "--resume", "run", "--n-epochs", 6)
    assert code == 1 and "is not the table that training began with" in err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"] == "svd"
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    code, _, err = run(capsys, train_main, "--resume", "run", "--n-epochs", 6)
    assert code == 1 and "manifest.json: was edited or damaged" in err


def test_a_run_goes_on_where_its_files_are_now(file, capsys, tmp_path):
    """The parsed tables are compared with those of the run, so that no other ratings are taken for them."""
    base = [train_main, "--model", "svd", "--n-factors", 4]
    assert run(capsys, *base, "--dataset", file, "--n-epochs", 1, "--output", "run")[0] == 0
    lines = file.read_text().splitlines(keepends=True)
    for name, part in (("a.tsv", lines[:1000]), ("b.tsv", lines[1000:])):
        (tmp_path / name).write_text("".join(part))
    files = ["--train-file", "a.tsv", "--test-file", "b.tsv"]
    code, out, err = run(capsys, *base, *files, "--n-epochs", 1, "--output", "parts")
    assert code == 0 and out.startswith("Dataset a.tsv tested on b.tsv\n"), err
    (tmp_path / "new").mkdir()
    for name in (file.name, "a.tsv", "b.tsv"):
        (tmp_path / name).rename(tmp_path / "new" / name)
    moved = tmp_path / "new" / file.name
    code, _, err = run(capsys, train_main, "--resume", "run", "--n-epochs", 2)
    assert code == 2 and "there is no such file" in err
    assert run(capsys, train_main, "--resume", "run", "--n-epochs", 2, "--dataset", moved)[0] == 0
    assert run(capsys, train_main, "--resume", "run", "--n-epochs", 3, "--data-dir", "new")[0] == 0
    assert run(capsys, train_main, "--resume", "parts", "--n-epochs", 2, "--data-dir", "new")[0] == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    moved.write_text("".join(lines[1:]))
    code, _, err = run(capsys, train_main, "--resume", "run", "--n-epochs", 4, "--dataset", moved)
    assert code == 1 and "is not the table that training began with" in err
    code, _, err = run(capsys, train_main, "--resume", "run", "--n-epochs", 4, "--split", 0.5)
    assert code == 2 and "split: cannot change when a run is resumed" in err


def test_a_network_whose_module_imports_mxnet(file, tmp_path):
    (tmp_path / "my_net.py").write_text(
        "import mxnet as mx\n"
        "def net(n_users, n_items, n_factors=2):\n"
        "    user = mx.sym.Embedding(mx.sym.Variable('user'), input_dim=n_users, output_dim=n_factors)\n"
        "    item = mx.sym.Embedding(mx.sym.Variable('item'), input_dim=n_items, output_dim=n_factors)\n"
        "    return mx.sym.LinearRegressionOutput(mx.sym.sum_axis(user * item, axis=1), mx.sym.Variable('score'))\n"
    )
    command = [sys.executable, "-m", "nnmf.train", "--network", "my_net:net", "--dataset", str(file), "--n-epochs", "1"]
    done = subprocess.run([*command, "--output", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_old_run_stays_until_the_new_one_has_finished_an_epoch(file, capsys, tmp_path):
    base = [train_main, "--network", "plain", "--dataset", file, *FAST, "--output", "run"]
    assert run(capsys, *base)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for flags in (["--batch-size", "9999"], ["--learning-rate", "1e30"]):
        assert run(capsys, *base, "--overwrite", *flags)[0] in (1, 2)
        assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_all_folders_are_checked_before_anything_is_trained(file, capsys, tmp_path):
    (tmp_path / "run" / "dropout_mlp").mkdir(parents=True)
    (tmp_path / "run" / "dropout_mlp" / "mine.txt").write_text("")
    code, _, err = run(capsys, train_main, "--network", "all", "--dataset", file, "--n-epochs", 1, "--output", "run")
    assert code == 2 and "dropout_mlp is not empty" in err and "Epoch" not in err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["dropout_mlp"]


def test_runs_that_start_together_get_folders_of_their_own(tmp_path, monkeypatch):
    from nnmf.storage import default_folder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda pattern: "now")
    assert [str(default_folder("x")) for _ in range(3)] == ["runs/x-now", "runs/x-now-2", "runs/x-now-3"]


@pytest.mark.slow
def test_ctrl_c_at_any_moment_leaves_a_folder_that_agrees_with_itself(file, tmp_path):
    rng = np.random.default_rng(1)
    for attempt in range(4):
        folder = f"run{attempt}"
        command = [sys.executable, "-m", "nnmf.train", "--model", "svd", "--dataset", str(file), "--n-epochs", "100000"]
        process = subprocess.Popen(
            [*command, "--output", folder, "--learning-rate", "1e-6"], stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        while not (tmp_path / folder / "metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        n_lines = len((tmp_path / folder / "metrics.jsonl").read_text().splitlines())
        manifest = json.loads((tmp_path / folder / "manifest.json").read_text())
        assert process.returncode == 130, err
        assert f"interrupted; its {n_lines} finished epochs are kept in {folder}." in err
        assert (
            manifest["last_epoch"] == n_lines == json.loads((tmp_path / folder / "summary.json").read_text())["epochs"]
        )


@pytest.mark.slow
def test_a_full_disk_gets_one_sentence(file, tmp_path):
    """A limit on the size of files stands in for the disk."""
    base = f"{sys.executable} -m nnmf.train --dataset {file} --n-epochs 2 --output run"
    assert subprocess.run([sys.executable, "-m", "nnmf.data", str(file)]).returncode == 0  # the parsed table is cached
    for model in ("--model svd --n-factors 640", "--network plain --n-factors 640 --ctx cpu"):
        done = subprocess.run(
            ["bash", "-c", f"ulimit -f 20; trap '' XFSZ; {base} {model}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "cannot be written" in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert not (tmp_path / "run").exists()


def test_output_that_nobody_reads_is_no_traceback(file, tmp_path):
    base = f"{sys.executable} -m nnmf.data {file}"
    for command in (f"{base} > /dev/full", f"{base} | true", f"{base} >&-"):
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr


def test_an_interrupt_that_foreign_code_drops_is_not_lost(file, tmp_path):
    """What a destructor raises comes to nothing, and any may run when Ctrl-C is hit."""
    (tmp_path / "mine.py").write_text(
        "import os, signal\nfrom nnmf.networks import plain_net\n\nclass Dropping:\n    def __del__(self):\n"
        "        os.kill(os.getpid(), NUMBER)\n        sum(range(9))\n\nDropping()\nnetwork = lambda n_users, n_items: "
        "plain_net(n_users, n_items, 2)\n"
    )
    base = [sys.executable, "-m", "nnmf.train", "--dataset", str(file), "--n-epochs", "3", "--ctx", "cpu"]
    for name, code in (("SIGINT", 130), ("SIGTERM", 143)):
        text = (tmp_path / "mine.py").read_text().replace("NUMBER", f"signal.{name}")
        (tmp_path / f"{name.lower()}.py").write_text(text)
        command = [*base, "--network", f"{name.lower()}:network", "--output", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
        assert done.returncode == code, done.stderr
        assert done.stderr.splitlines()[-1].endswith("no epoch was finished.")
        assert "Traceback" not in done.stderr and not (tmp_path / name).exists()
