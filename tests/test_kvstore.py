"""Networks trained by several processes: the training of one, and what becomes of them when one ends, is interrupted or killed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import nnmf
from nnmf.errors import BackendError, ConfigError, DataError, TrainingError
from nnmf.testing import low_rank

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

MARK = str(os.getpid())

SETTINGS = {
    "tutorial": ("plain", {"preset": "tutorial", "batch_size": 64, "l2": 0.01, "schedule": "exponential"}),
    "layers": ("biased_mlp", {"seed": 4}),
    "noise": ("histories", {"temperature": 1.0, "n_factors": 4}),
    "negatives": ("biased", {"negatives": 1, "batch_size": 64}),
    "rows": ("biased_mlp", {"sparse": "on", "batch_size": 32}),
    "discarded": ("plain", {"batch_size": 32, "last_batch": "discard"}),
}


@pytest.fixture(scope="module", autouse=True)
def marked():
    """What is started here is told from the jobs of others, whose processes are none of these tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNMF_TESTS", MARK)
        yield


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    """A job leaves no process, and no file in the folder for temporary ones."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    yield
    assert nodes() == {}
    assert list((tmp_path / "temporary").glob("nnmf-*")) == []


def nodes() -> dict[str, int]:
    """The processes of these tests' jobs, by role, workers by number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = dict(
                text.split("=", 1)
                for text in (folder / "environ").read_text().split("\0")
                if text.startswith(("DMLC_", "NNMF_"))
            )
            if "DMLC_ROLE" in variables and variables.get("NNMF_TESTS") == MARK:
                found[variables["DMLC_ROLE"] + variables.get("NNMF_RANK", "")] = int(folder.name)
    return found


def listening(pids) -> set[str]:
    """Addresses, in the hexadecimal of /proc, at which processes listen."""
    sockets = {str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def fitted(case, table, callbacks=(), **settings):
    name, own = SETTINGS[case]
    train, valid = table.split(0.8, seed=1)
    own = {"n_epochs": 4, "keep": "last", "ctx": "cpu", **own}
    cluster = settings.pop("cluster", None)
    return nnmf.fit(name, train, valid, cluster=cluster, callbacks=callbacks, **{**own, **settings})


def curve(model):
    return np.array([(result.train_rmse, result.valid_rmse) for result in model.history])


def assert_same(one, other, tolerance):
    np.testing.assert_allclose(curve(other), curve(one), rtol=tolerance)
    found = other.scorer.arrays()
    for name, array in one.scorer.arrays().items():
        assert np.abs(found[name] - array).max() <= tolerance * np.abs(array).max(), name


def killing(role, number=signal.SIGKILL, epochs=(2,)):
    """A callback that ends a process after some epochs."""

    def callback(result, model):
        if result.epoch in epochs:
            os.kill(nodes()[role], number)

    return callback


@pytest.fixture(scope="module")
def of_two():
    """What two workers that are left in peace make of the table ``small``."""
    return fitted("layers", low_rank(), cluster="local:2")


# -- the training of one process ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "case", ["layers", *(pytest.param(case, marks=pytest.mark.slow) for case in SETTINGS if case != "layers")]
)
def test_one_worker_trains_as_one_process_bit_for_bit(case, small):
    assert_same(fitted(case, small), fitted(case, small, cluster="local:1"), 0)


@pytest.mark.parametrize(
    "case",
    [
        "tutorial",
        *(pytest.param(case, marks=pytest.mark.slow) for case in ("layers", "rows", "negatives", "noise", "discarded")),
    ],
)
def test_two_workers_of_half_the_batch_train_as_one_process(case):
    # A number that two cannot share; where all ratings are one step it is to be one that they can.
    table = low_rank(n_ratings=1500 if case == "noise" else 1501)
    one = fitted(case, table)
    assert len(np.unique(curve(one), axis=0)) == 4
    assert_same(one, fitted(case, table, cluster="local:2"), 2e-5)


@pytest.mark.slow
def test_workers_take_the_devices_in_turns(small):
    three = fitted("tutorial", small, cluster="local:3", ctx="cpu(0),cpu(1)", batch_size=66)
    assert_same(fitted("tutorial", small, batch_size=66), three, 2e-5)


@pytest.mark.slow
def test_batches_that_follow_the_table_are_such_as_workers_can_share(small, caplog):
    caplog.set_level("INFO", "nnmf")
    fitted("layers", small, cluster="local:3")
    assert "Batches of 33, which 3 workers share alike." in caplog.text


@pytest.mark.slow
def test_two_workers_keep_the_tutorial_s_curve(u1):
    train, test = u1
    settings = {"preset": "tutorial", "n_epochs": 3, "ctx": "cpu", "keep": "last", "schedule": "linear"}
    one = nnmf.fit("one_layer_mlp", train, test, **settings)
    two = nnmf.fit("one_layer_mlp", train, test, cluster="local:2", **settings)
    np.testing.assert_allclose(curve(two), curve(one), rtol=1e-4)


@pytest.mark.slow
def test_a_mapped_table_is_streamed_as_by_one_process(small, tmp_path):
    small.store(tmp_path / "table")
    mapped = nnmf.Ratings.open(tmp_path / "table")
    settings = {"n_epochs": 3, "ctx": "cpu", "batch_size": 64}
    one, two = (nnmf.fit("biased", mapped, cluster=cluster, **settings) for cluster in (None, "local:2"))
    np.testing.assert_allclose(
        two.predict_index(small.user, small.item), one.predict_index(small.user, small.item), 1e-4
    )
    assert {
        path.name.rstrip("0123456789") for path in (tmp_path / "table").iterdir() if path.name.startswith("nnmf-")
    } == set()


@pytest.mark.slow
def test_workers_that_wait_for_nobody_learn(u1):
    train, test = u1
    settings = {
        "preset": "tutorial",
        "n_epochs": 3,
        "batch_size": 256,
        "ctx": "cpu",
        "keep": "last",
        "learning_rate": 0.03,
    }
    model = nnmf.fit("one_layer_mlp", train, test, cluster="local:2", kvstore="dist_async", **settings)
    # The mean rating comes to 1.154, one process that learns a batch at a time as often to .98.
    assert 0.95 < model.history[-1].valid_rmse < 1.06 < model.history[0].valid_rmse


@pytest.mark.slow
def test_batches_of_workers_that_do_not_wait_are_what_each_has_at_most(caplog):
    caplog.set_level("INFO", "nnmf")
    fitted("tutorial", low_rank(n_ratings=110), cluster="local:2", kvstore="dist_async")
    assert "Batches of 44: all that each worker has of the ratings." in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("kvstore", "last_batch"), [("dist_sync", "discard"), ("dist_async", "pad")])
def test_a_few_ratings_need_be_no_multiple_of_the_workers(kvstore, last_batch):
    few = low_rank(n_ratings=7)
    settings = {"n_epochs": 2, "ctx": "cpu", "cluster": "local:2", "kvstore": kvstore, "last_batch": last_batch}
    model = nnmf.fit("biased_mlp", few, **settings)
    assert 0 < model.history[-1].train_rmse < 0.5
    model.fit_more(low_rank(n_ratings=9, seed=1), n_epochs=1, cluster="local:2")
    assert len(model.history) == 3
    with pytest.raises(ConfigError, match=r"^cluster: 2 workers are more than the 1 ratings of .*; take fewer\.$"):
        nnmf.fit("biased_mlp", few.take(np.arange(7) == 0), **settings)


@pytest.mark.slow
def test_a_run_is_resumed_with_any_number_of_workers(small, tmp_path):
    train, valid = small.split(0.8, seed=1)
    whole = fitted("layers", small)
    fitted("layers", small, cluster="local:2", n_epochs=2).save(tmp_path / "half")
    for cluster in (None, "local:2"):
        half = nnmf.load(tmp_path / "half")
        half.config = nnmf.TrainConfig(**{**half.config.to_dict(), "n_epochs": 4})
        assert curve(half.resume(train, valid, cluster=cluster)).shape == (4, 2)
        assert half.history[-1].valid_rmse == pytest.approx(whole.history[-1].valid_rmse, rel=0.01)


# -- on a cluster ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("sees", [True, False])
def test_workers_of_a_cluster_train_as_one_process(client, small, sees, monkeypatch):
    from nnmf.kvstore import _remote

    ask, opened = _remote.RemotePlace._ask, []

    def blind(self, function, *arguments):
        if function is _remote._open and not sees:  # as where the worker's machine has other disks
            opened.append(arguments[-1])
            if arguments[-1] is None:
                return False
        return ask(self, function, *arguments)

    monkeypatch.setattr(_remote.RemotePlace, "_ask", blind)
    assert_same(fitted("layers", small), fitted("layers", small, cluster=client), 2e-5)
    assert [content is not None for content in opened] == ([] if sees else [False, True] * 2)


def test_a_worker_with_an_address_that_mxnet_does_not_know_is_refused(tmp_path, monkeypatch):
    from nnmf.cluster import Worker
    from nnmf.kvstore import _job

    monkeypatch.setattr(_job, "workers_of", lambda _: [Worker("tcp://[::1]:40331", 1)])
    with pytest.raises(BackendError, match=r"^cluster: the worker tcp://\[::1\]:40331 has an IPv6 address"):
        _job.places_of(object(), tmp_path)


@pytest.mark.slow
def test_a_worker_of_the_cluster_that_is_killed_is_done_without(client, small):
    def kill(result, model):
        if result.epoch == 2:
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    start = time.monotonic()
    with pytest.raises(
        TrainingError, match=r"^KVStore's .* is lost with the Dask worker tcp://127.0.0.1:\d+ .* in epoch 3"
    ):
        fitted("layers", small, [kill], cluster=client)
    assert time.monotonic() - start < 30
    client.wait_for_workers(2, timeout=30)
    whole = fitted("layers", small)
    assert_same(whole, fitted("layers", small, [kill], cluster=client, restarts=1), 2e-5)


@pytest.mark.slow
def test_a_worker_computes_with_the_threads_of_the_cluster_s(small, monkeypatch):
    distributed = pytest.importorskip("distributed")
    seen = {}

    def look(result, model):
        for name, pid in nodes().items():
            seen[name] = Path(f"/proc/{pid}/environ").read_text().split("\0")

    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=3, host="127.0.0.1", dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        fitted("tutorial", small, [look], n_epochs=1, cluster=client)
    assert "OMP_NUM_THREADS=3" in seen["worker0"]  # where Dask sets 1
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    fitted("tutorial", small, [look], n_epochs=1, cluster="local:2")
    assert "OMP_NUM_THREADS=5" in seen["worker1"]


@pytest.mark.slow
def test_a_scheduler_that_is_killed_ends_a_command_in_one_sentence(client, tmp_path):
    dask, address = [sys.executable, "-m", "dask"], ["--host", "127.0.0.1", "--no-dashboard"]
    file, quiet = str(tmp_path / "scheduler.json"), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    train = [sys.executable, "-m", "nnmf.train", "--dataset", "synthetic", "--network", "plain", "--n-epochs", "10000"]
    train += ["--ctx", "cpu", "--cluster", file, "--output", str(tmp_path / "run")]
    with (
        subprocess.Popen([*dask, "scheduler", *address, "--port", "0", "--scheduler-file", file], **quiet) as scheduler,
        subprocess.Popen([*dask, "worker", *address, "--scheduler-file", file], **quiet) as worker,
    ):
        try:
            wait_until(Path(file).is_file)
            with subprocess.Popen(train, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as command:
                assert command.stderr is not None
                assert any(line.startswith("Epoch 2:") for line in command.stderr)
                scheduler.kill()
                _, said = command.communicate(timeout=60)
        finally:
            scheduler.kill()
            worker.terminate()
    assert command.returncode == 1
    lines = [line for line in said.splitlines() if not line.startswith(("Epoch", "Expected"))]
    assert len(lines) == 1
    assert re.match(
        r"python -m nnmf.train: error: KVStore's .* is lost with the Dask worker tcp://127.0.0.1:", lines[0]
    )
    wait_until(lambda: not nodes())


@pytest.mark.slow
def test_a_job_that_nobody_asks_for_is_ended(client, small, monkeypatch, tmp_path):
    from nnmf.cluster import workers_of
    from nnmf.kvstore import _remote

    monkeypatch.setattr(_remote.RemotePlace, "_listen", lambda *_: None)
    client.run(lambda: setattr(__import__("nnmf.kvstore._remote", fromlist=["_"]), "_LEASE_SECONDS", 1.0))
    place = _remote.RemotePlace(client, workers_of(client)[0].address, tmp_path, 1)
    place.start("server", "nnmf.kvstore._node", {"DMLC_ROLE": "scheduler"}, print)
    assert len(nodes()) == 1
    wait_until(lambda: not nodes())


# -- what is refused ---------------------------------------------------------------------------------------------------------
def test_what_cannot_be_done_is_refused_before_anything_is_started(small):
    with pytest.raises(
        ConfigError, match="batch_size: got 63, which 2 workers cannot share alike; give a multiple of 2"
    ):
        fitted("tutorial", small, cluster="local:2", batch_size=63)
    with pytest.raises(ConfigError, match=r"kvstore: got 'dist_sync', which is for the workers of a cluster; give one"):
        fitted("tutorial", small, kvstore="dist_sync")
    with pytest.raises(ConfigError, match=r"restarts: got 2, which is for the workers of a cluster"):
        fitted("tutorial", small, restarts=2)
    with pytest.raises(ConfigError, match="kvstore: got 'dist_async' and a temperature"):
        fitted("noise", small, cluster="local:2", kvstore="dist_async")
    with pytest.raises(ConfigError, match="kvstore: got 'nccl' instead of one of"):
        fitted("tutorial", small, cluster="local:2", kvstore="nccl")
    with pytest.raises(ConfigError, match="kvstore: svd has no such setting"):
        nnmf.fit("svd", small, kvstore="dist_sync")
    with pytest.raises(ConfigError, match=r"cluster: got 'local:0'; give local:N"):
        fitted("tutorial", small, cluster="local:0")


# -- ends --------------------------------------------------------------------------------------------------------------------
def test_only_this_machine_reaches_the_processes(small):
    seen = {}

    def look(result, model):
        seen.update(nodes=nodes(), listening=listening(nodes().values()))

    fitted("tutorial", small, [look], cluster="local:2", n_epochs=1)
    assert sorted(seen["nodes"]) == ["scheduler", "server", "worker0", "worker1"]
    assert seen["listening"] == {"0100007F"}


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("worker1", "worker 2"),
        pytest.param("worker0", "worker 1", marks=pytest.mark.slow),
        ("server", "server 1"),
        pytest.param("scheduler", "scheduler", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_is_killed_ends_the_training_in_a_sentence(role, name, small):
    train, _ = small.split(0.8, seed=1)
    model = nnmf.kinds.make_model("plain", preset="tutorial", n_epochs=50, batch_size=32, ctx="cpu")
    start = time.monotonic()
    with pytest.raises(
        TrainingError, match=rf"^KVStore's {name} was ended by signal 9 \(SIGKILL\) in epoch \d+, so training"
    ) as told:
        model.fit(train, cluster="local:2", callbacks=[killing(role)])
    assert time.monotonic() - start < 30
    epoch = int(re.findall(r"in epoch (\d+)", str(told.value))[0])
    # Steps do without the scheduler, so an epoch may end before its end is heard of.
    assert epoch >= 3 if role == "scheduler" else epoch == 3
    assert len(model.history) == epoch - 1  # what was finished is kept


@pytest.mark.slow
@pytest.mark.parametrize(("role", "number"), [("worker0", signal.SIGKILL), ("server", signal.SIGTERM)])
def test_restarts_go_on_from_the_last_epoch(role, number, small, of_two, caplog):
    again = fitted("layers", small, [killing(role, number)], cluster="local:2", restarts=1)
    assert_same(of_two, again, 0)
    assert (
        f"({number.name}) in epoch 3; all processes are started again, from the end of epoch 2 (0 restarts left)."
        in caplog.text
    )


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before it is written", "before it is read"])
def test_an_epoch_that_is_gone_with_the_folder_is_trained_again(when, small, of_two, tmp_path, monkeypatch, caplog):
    """As when a worker of a cluster, all of whose machines see one folder, is killed at an epoch's end."""
    from nnmf.neural import _workers

    read, n_read = _workers.take_back, []

    def remove_once(*_):
        n_read.append(1)
        if len(n_read) == 2:
            (folder,) = (tmp_path / "temporary").iterdir()
            shutil.rmtree(folder)

    if when == "before it is read":
        monkeypatch.setattr(_workers, "take_back", lambda folder: (remove_once(), read(folder))[1])
    callbacks = [remove_once] if when == "before it is written" else []
    again = fitted("layers", small, callbacks, cluster="local:2", restarts=1)
    assert_same(of_two, again, 0)
    assert "all processes are started again" in caplog.text


@pytest.mark.slow
def test_restarts_come_to_an_end(small):
    with pytest.raises(TrainingError, match="KVStore's worker 1 was ended by signal 9"):
        fitted("layers", small, [killing("worker0", epochs=(1, 2, 3))], cluster="local:2", restarts=2)


@pytest.mark.slow
def test_what_ends_at_the_start_is_started_again(small, of_two, caplog):
    def kill():
        wait_until(lambda: "server" in nodes())
        os.kill(nodes()["server"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    again = fitted("layers", small, cluster="local:2", restarts=1)
    killer.join()
    assert_same(of_two, again, 0)
    assert (
        "server 1 was ended by signal 9 (SIGKILL) at the start; all processes are started again (0 restarts left)."
        in caplog.text
    )


@pytest.mark.slow
def test_a_process_that_fails_says_why(small, monkeypatch):
    monkeypatch.setenv("MXNET_KVSTORE_BIGARRAY_BOUND", "no number")
    with pytest.raises(
        TrainingError,
        match=r"^KVStore's .* ended with exit code 1 \(.*MXNET_KVSTORE_BIGARRAY_BOUND.*\) at the start, so training",
    ):
        fitted("layers", small, cluster="local:2")


_FAILING = """
import os
from nnmf import _mxnet
from nnmf.kvstore import obey

mx = _mxnet.load()

def work(orders):
    store = mx.kv.create("dist_sync")
    orders.answer(ready=True)
    orders.next()
    if os.environ["NNMF_RANK"] == "0":
        raise ValueError("as an example")
    orders.next()

obey(work)
"""


def test_an_error_of_a_worker_ends_it_at_once_though_others_go_on(tmp_path, monkeypatch):
    from nnmf.kvstore import Job, ProcessEnded, places_of

    (tmp_path / "failing.py").write_text(_FAILING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    job = Job(places_of(2, tmp_path), "failing")
    try:
        job.tell()
        with pytest.raises(
            ProcessEnded, match=r"^KVStore's worker 1 ended with exit code 1 \(ValueError: as an example\)$"
        ):
            job.hear(30)
    finally:
        job.end()


def test_nobody_else_gets_the_port_that_a_scheduler_is_to_listen_at(tmp_path):
    from nnmf.kvstore import places_of

    (place,) = places_of(1, tmp_path)
    port = place.free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):  # which sets SO_REUSEADDR, as MXNet does
        pass
    place.end()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


@pytest.mark.slow
def test_a_port_that_was_taken_meanwhile_is_named_as_the_reason(small, monkeypatch):
    from nnmf.kvstore import _places

    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(_places.Place, "free_port", lambda _: taken.getsockname()[1])
        with pytest.raises(TrainingError, match=r"scheduler ended with exit code 1 \(.*MXNetError: .*bind failed\)"):
            fitted("layers", small, cluster="local:2")


@pytest.mark.slow
def test_what_an_epoch_left_that_cannot_be_written_ends_the_training_in_a_sentence(small, tmp_path):
    def obstruct(result, model):
        (folder,) = (tmp_path / "temporary").iterdir()
        (folder / "end.npz").mkdir()

    with pytest.raises(DataError, match=r"/end\.npz: cannot be written \(Is a directory\)"):
        fitted("layers", small, [obstruct], cluster="local:2", restarts=1)


@pytest.mark.slow
def test_training_that_diverges_says_so(small):
    with pytest.raises(TrainingError, match=r"training diverged in epoch .*; lower learning_rate"):
        fitted("tutorial", small, cluster="local:2", learning_rate=1e4)


_LONG = """
import nnmf
from nnmf.testing import low_rank
print("started", flush=True)
nnmf.fit("plain", low_rank(), n_epochs=100000, ctx="cpu", cluster="local:2", callbacks=[lambda result, model: print(result.epoch, flush=True)])
"""


def wait_until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_nothing_outlives_the_process_that_trains(number):
    with subprocess.Popen(
        [sys.executable, "-c", _LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        while parent.stdout.readline() != "2\n":
            assert parent.poll() is None, parent.stderr.read()
        assert len(nodes()) == 4
        parent.send_signal(number)
        parent.communicate(timeout=30)
        wait_until(lambda: not nodes())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_ended_keeps_its_epochs_and_is_resumed(number, code, tmp_path):
    command = [sys.executable, "-m", "nnmf.train", "--cluster", "local:2"]
    flags = [
        "--dataset",
        "synthetic",
        "--network",
        "plain",
        "--n-epochs",
        "1000",
        "--ctx",
        "cpu",
        "--output",
        str(tmp_path / "run"),
    ]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stderr is not None
        for line in parent.stderr:
            if line.startswith("Epoch 2:"):
                break
        parent.send_signal(number)
        _, err = parent.communicate(timeout=60)
    assert parent.returncode == code, err
    assert "finished epochs are kept in" in err
    done = len(nnmf.load(tmp_path / "run").history)
    again = subprocess.run(
        [*command, "--resume", str(tmp_path / "run"), "--n-epochs", str(done + 1)], capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert f"Going on after epoch {done}." in again.stderr
