"""Run folders: who may write them, what stays when a run is replaced, killed, terminated or goes on elsewhere."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import nnmf
from nnmf.commands._train import main as train_main
from nnmf.errors import ConfigError, DataError
from nnmf.storage import RunFolder
from nnmf.testing import low_rank

from .test_cli import file, run  # noqa: F401 # a fixture

SETTINGS = {"n_factors": 3, "n_epochs": 4, "init_std": 0.1}


class Killed(Exception):
    pass


def stop_at(epoch):
    def callback(result, model):
        if result.epoch == epoch:
            raise Killed

    return callback


@pytest.fixture
def tables():
    return low_rank(noise=0.2).split(0.8)


def test_a_replaced_run_stays_until_the_first_epoch_is_done(tables, tmp_path):
    old = RunFolder.begin(tmp_path / "run", {"model": "svd", "data": {}})
    before = nnmf.fit("svd", *tables, **SETTINGS, callbacks=[old])
    old.close()
    new = RunFolder.begin(tmp_path / "run", {"model": "svd", "data": {}}, overwrite=True)
    with pytest.raises(Killed):
        nnmf.fit("svd", *tables, **SETTINGS, seed=5, callbacks=[stop_at(1), new])
    new.close()
    assert nnmf.load(tmp_path / "run").history == before.history
    new = RunFolder.begin(tmp_path / "run", {"model": "svd", "data": {}}, overwrite=True)
    after = nnmf.fit("svd", *tables, **SETTINGS, seed=5, callbacks=[new])
    new.close()
    assert nnmf.load(tmp_path / "run").history == after.history != before.history
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4


def test_two_runs_into_one_folder(tables, tmp_path):
    first = RunFolder.begin(tmp_path / "run", {})
    with pytest.raises(DataError, match=f"run: is being written by process {os.getpid()} "):
        RunFolder.begin(tmp_path / "run", {}, overwrite=True)
    nnmf.fit("svd", *tables, **SETTINGS, callbacks=[first])
    with pytest.raises(DataError, match="is being written by"):
        nnmf.fit("svd", *tables, **SETTINGS).save(tmp_path / "other") or RunFolder.begin(tmp_path / "run", {}, True)
    first.close()
    assert len(nnmf.load(tmp_path / "run").history) == 4


def test_a_run_goes_on_in_another_folder(tables, tmp_path):
    """`resume` with a folder that the run did not begin in."""
    whole = nnmf.fit("svd", *tables, **SETTINGS)
    first = RunFolder.begin(tmp_path / "first", {})
    with pytest.raises(Killed):
        nnmf.fit("svd", *tables, **SETTINGS, callbacks=[first, stop_at(2)])
    first.close()
    second = RunFolder.begin(tmp_path / "second", {})
    model = nnmf.load_checkpoint(tmp_path / "first").resume(*tables, callbacks=[second])
    second.close()
    curve = [(result.train_rmse, result.valid_rmse) for result in whole.history]
    for found in (model, nnmf.load(tmp_path / "second"), nnmf.load_checkpoint(tmp_path / "second")):
        assert [(result.train_rmse, result.valid_rmse) for result in found.history] == curve


def test_more_training_into_a_run_and_a_full_disk_at_the_manifest(tables, tmp_path, monkeypatch):
    train, _ = tables
    run = RunFolder.begin(tmp_path / "run", {})
    model = nnmf.fit("svd", train.take(train.user < 40).compact(), **SETTINGS, callbacks=[run])
    before = nnmf.load(tmp_path / "run")

    def full(path, content):
        raise DataError(f"{path}: cannot be written (No space left on device).")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="No space left"):
        patch.setattr("nnmf.files._folders.write_text", full)
        model.fit_more(train, n_epochs=2, callbacks=[run])
    again = nnmf.load(tmp_path / "run")
    assert again.history == before.history and again.n_users == before.n_users
    assert model.history == before.history  # what was there stays in memory, too


def test_interrupted_saving_leaves_the_old_model_or_the_new(tables, tmp_path, monkeypatch):
    from pathlib import Path

    old, new = (nnmf.fit("svd", *tables, **SETTINGS, seed=seed) for seed in (1, 2))
    real = Path.replace
    for at in range(8):
        folder = tmp_path / f"m{at}"
        old.save(folder)
        left = [at]

        def interrupted(path, target, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt
            return real(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", interrupted)
            with contextlib.suppress(KeyboardInterrupt):
                new.save(folder, overwrite=True)
        assert nnmf.load(folder).history in (old.history, new.history)
        new.save(folder, overwrite=True)
        assert nnmf.load(folder).history == new.history
        assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".npz", ".npz"]


def test_left_overs_of_a_killed_run_are_in_nobody_s_way(file, capsys, tmp_path):  # noqa: F811
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".nnmf-part.0123.model-0001.npz").write_text("half")
    (tmp_path / "run" / ".nnmf-lock").write_text("process 1 on nowhere")
    code, _, err = run(capsys, train_main, "--resume", "run")
    assert code == 1 and "run: no saved model" in err
    command = ["--model", "svd", "--dataset", file, "--n-epochs", 2, "--output", "run"]
    assert run(capsys, train_main, *command)[0] == 0
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    for flag in ("--resume", "--output"):
        code, _, err = run(capsys, train_main, flag, "")
        assert code == 2 and f"{flag[2:]}: got an empty name" in err


def test_sigterm_ends_a_run_as_ctrl_c_does(file, tmp_path):  # noqa: F811
    command = [sys.executable, "-m", "nnmf.train", "--model", "svd", "--dataset", str(file), "--n-epochs", "100000"]
    process = subprocess.Popen([*command, "--output", "run"], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    while not (tmp_path / "run" / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "terminated; its " in err and "Traceback" not in err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["ended"] == "interrupted"
    assert len(nnmf.load_checkpoint(tmp_path / "run").history) == summary["epochs"]


def test_training_without_standard_error(file, tmp_path):  # noqa: F811
    command = f"{sys.executable} -m nnmf.train --model svd --dataset {file} --n-epochs 2 --output run 2>&-"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "Saved in run" in done.stdout
    assert len(nnmf.load(tmp_path / "run").history) == 2


@pytest.mark.parametrize("folder", [None, "", " ", "a\0b", b"bytes", 3])
def test_paths_that_are_none(tables, folder):
    model = nnmf.fit("svd", *tables, **SETTINGS)
    for call in (model.save, nnmf.load, nnmf.load_checkpoint, model.export_onnx):
        with pytest.raises((ConfigError, DataError), match="give the path"):
            call(folder)


def test_parameters_that_are_no_numbers_are_never_saved(tables, tmp_path):
    model = nnmf.fit("svd", *tables, **SETTINGS)
    model.scorer.tables["item_factors"][3, 1] = np.nan
    with pytest.raises(DataError, match="item_factors: holds values that are no finite numbers"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("folder", ["x" * 300, "a\ud800"])
def test_paths_that_no_disk_takes(tables, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    model = nnmf.fit("svd", *tables, **SETTINGS)
    for call in (model.save, nnmf.load, model.export_onnx):
        with pytest.raises((ConfigError, DataError)):
            call(folder)


def test_nothing_but_files_is_replaced(tables, tmp_path):
    pytest.importorskip("onnx")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: is there and is no file"):
        nnmf.fit("svd", *tables, **SETTINGS).export_onnx(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_threads_that_save_to_one_folder(tables, tmp_path):
    """Each saves the model, or is told who has the folder; nobody is told that it holds other things."""
    model = nnmf.fit("svd", *tables, **SETTINGS)
    errors = []

    def save():
        for _ in range(10):
            try:
                model.save(tmp_path / "model", overwrite=True)
            except DataError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("is being written by" in error for error in errors)
    assert nnmf.load(tmp_path / "model").history == model.history


def test_predicting_without_standard_output(tables, tmp_path):
    nnmf.fit("svd", *tables, **SETTINGS).save(tmp_path / "model")
    command = f"{sys.executable} -m nnmf.predict model --all-users >&-"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "standard output is closed; name a file with --output." in done.stderr


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8, 1.2])
def test_ctrl_c_while_a_command_starts(file, tmp_path, seconds):  # noqa: F811
    command = [sys.executable, "-m", "nnmf.train", "--network", "plain", "--dataset", str(file), "--n-epochs", "100000"]
    process = subprocess.Popen([*command, "--output", "run"], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err


def test_arguments_that_are_no_tables(tables):
    model = nnmf.fit("svd", *tables, **SETTINGS)
    for call in (model.rmse, model.evaluate, model.fit_more, nnmf.SVD().fit):
        with pytest.raises(DataError, match=r"give a nnmf\.Ratings"):
            call([1, 2])
    with pytest.raises(ConfigError, match="metrics: got None; give names"):
        model.evaluate(tables[1], None)
    for n in (10**9, 10**12, 2**63):
        with pytest.raises(ConfigError, match=r"there are \d+ items to list"):
            model.recommend(model.users.ids[:2], n)


def test_a_disk_that_is_full_when_a_folder_is_made_is_named(tmp_path, monkeypatch):
    def full(path):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nnmf.storage._runs.Claim", full)
    with pytest.raises(DataError, match=r"run: cannot be written \(No space left on device\)"):
        RunFolder.begin(tmp_path / "run", {})
