"""Clusters of Dask: what a text names, what is refused in a sentence, and what is left when training is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import nnmf
from nnmf.cluster import check_cluster, check_workers, joined, workers_of
from nnmf.errors import BackendError, ConfigError
from nnmf.testing import low_rank


@pytest.fixture(scope="module")
def distributed():
    return pytest.importorskip("distributed")


def listening(*pids: int) -> list[str]:
    """Addresses at which processes listen."""
    import psutil

    return [
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def children() -> set[int]:
    """Processes that this one started, but for Python's own tracker of what they share."""
    import psutil

    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            if "resource_tracker" not in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_without_dask_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendError, match=r"^cluster: needs Dask, .*pip install 'nnmf\[dask\]'\.$"):
        check_cluster("local:2")


@pytest.mark.parametrize(
    "text",
    ["", "local", "local:", "local:0", "local:-1", "local:two", "http://a:1", "tcp://host", "nowhere.json", "a\0b"],
)
def test_a_text_that_names_no_cluster_is_refused(distributed, text):
    with pytest.raises(ConfigError, match=r"^cluster: got .*give local:N .*tcp://HOST:PORT.*scheduler file"):
        check_cluster(text)


@pytest.mark.parametrize(
    "text", ["local:1", "local:16", "tcp://10.0.0.7:8786", "tls://dask.example.org:8786", "tcp://[::1]:8786"]
)
def test_a_text_that_names_one_is_taken(distributed, text):
    check_cluster(text)


@pytest.mark.parametrize("content", ["", "[]", "{}", "no json", '{"address"}', '{"address": null}'])
def test_a_file_that_no_scheduler_wrote(distributed, content, tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="no file that a Dask scheduler wrote"):
        check_cluster(str(path))


@pytest.mark.parametrize("cluster", [3, ["local:2"], object()])
def test_what_is_neither_text_nor_client_is_refused(distributed, cluster):
    with pytest.raises(ConfigError, match=r"^cluster: got .*or a distributed\.Client\.$"):
        check_cluster(cluster)


def test_kinds_that_no_cluster_trains_say_so_before_anything_starts(distributed):
    with pytest.raises(ConfigError, match=r"^cluster: .*leave it out"):
        nnmf.fit("svdpp", low_rank(), cluster="tcp://127.0.0.1:1")


def test_a_scheduler_that_does_not_answer(distributed, monkeypatch):
    monkeypatch.setattr("nnmf.cluster._joining._ANSWER_SECONDS", 0.5)
    with pytest.raises(
        BackendError, match=r"^cluster: no Dask scheduler answers at tcp://127\.0\.0\.1:1 within 0\.5 s"
    ):
        joined("tcp://127.0.0.1:1").__enter__()


@pytest.mark.parametrize(
    "address, needs_tls, why",
    [
        ("tls://127.0.0.1:1", False, "TLS expects"),
        ("tcp://127.0.0.1:1", True, "encryption required by Dask configuration"),
    ],
)
def test_a_scheduler_that_cannot_be_asked_leaves_no_client(distributed, address, needs_tls, why):
    """The program would wait at its end for one that is half made, and tell of it in a traceback."""
    import dask

    before = set(distributed.Client._instances)
    with (
        dask.config.set({"distributed.comm.require-encryption": needs_tls}),
        pytest.raises(BackendError, match=rf"^cluster: no Dask scheduler answers at {address} within 10 s \({why}"),
    ):
        joined(address).__enter__()
    assert set(distributed.Client._instances) <= before


def test_what_is_started_here_is_on_loopback_and_ends(distributed):
    before = children()
    with joined("local:2") as client:
        workers = workers_of(client)
        assert [worker.n_threads for worker in workers] == [1, 1]
        assert len({worker.address for worker in workers}) == 2
        assert len(children() - before) == 2
        addresses = listening(os.getpid(), *children())
        assert len(addresses) >= 4 and set(addresses) == {"127.0.0.1"}
        masked = client.run(lambda: signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        assert list(masked.values()) == [True, True]
        folders = list(client.run(lambda dask_worker: dask_worker.local_directory).values())
    assert not children() - before
    assert not any(Path(folder).exists() for folder in folders)
    assert client.status == "closed"


def test_what_fails_ends_the_cluster_too(distributed):
    before = children()
    with pytest.raises(ZeroDivisionError), joined("local:1"):
        raise ZeroDivisionError
    assert not children() - before


def test_the_client_of_the_user_is_not_closed(distributed, tmp_path):
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        with joined(client) as same:
            assert same is client
        assert client.status == "running"
        # And the same cluster by its address, or its file, is not ended.
        path = tmp_path / "scheduler.json"
        path.write_text(json.dumps(client.scheduler_info()))
        for name in (client.scheduler.address, str(path)):
            with joined(name) as other:
                assert other is not client
        assert client.status == "running"
    with pytest.raises(ConfigError, match=r"^cluster: got a client that is closed"):
        check_cluster(client)


def test_a_scheduler_without_workers(distributed, monkeypatch):
    monkeypatch.setattr("nnmf.cluster._workers._WORKER_SECONDS", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(BackendError, match=r"^cluster: the scheduler at .* has no workers"),
    ):
        joined(cluster.scheduler_address).__enter__()


def test_a_worker_that_came_and_went_is_waited_for_again():
    there: list[dict[str, int]] = [{}, {}, {"tcp://10.0.0.7:1": 2}]

    class Client:
        def ncores(self) -> dict[str, int]:
            return there.pop(0)

        def submit(self, function, pure):
            return types.SimpleNamespace(release=lambda: None)

        def wait_for_workers(self, n, timeout):
            pass

    assert workers_of(Client()) == [("tcp://10.0.0.7:1", 2)]


class Answering:
    """A client whose workers, or else whose scheduler, answer what they are given."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def run_on_scheduler(self, function: Callable[[], object]) -> object:
        if self.answer == "gone":
            raise ModuleNotFoundError("No module named 'nnmf'")
        return function()

    def run(self, function: object, on_error: str) -> dict[str, object]:
        return {"tcp://10.0.0.7:1": self.answer}

    def ncores(self) -> dict[str, int]:
        return {"tcp://10.0.0.7:1": 1}


@pytest.mark.parametrize(
    "answer, sentence",
    [
        (
            ModuleNotFoundError("No module named 'nnmf'"),
            "the worker tcp://10.0.0.7:1 cannot import nnmf .*install nnmf",
        ),
        ("gone", "the scheduler cannot import nnmf .*install nnmf"),
        ("0.0.7", "the worker tcp://10.0.0.7:1 has nnmf 0.0.7 and this process"),
    ],
)
def test_workers_without_this_package(answer, sentence):
    with pytest.raises(BackendError, match=sentence):
        check_workers(Answering(answer))


def test_an_interrupt_while_a_cluster_starts_leaves_nothing(distributed):
    """At several moments of the start, in a process of its own, and sent as a terminal does it: to all that it started, too."""
    code = (
        "import signal, sys, threading, time, os\n"
        "from nnmf.cluster import joined\n"
        "def main():\n"
        "    import distributed\n"
        "    threading.Timer(float(sys.argv[1]), os.killpg, (0, signal.SIGINT)).start()\n"
        "    try:\n"
        "        with joined('local:1'):\n"
        "            time.sleep(20)\n"
        "    except KeyboardInterrupt:\n"
        "        import psutil\n"
        "        left = [c for c in psutil.Process().children() if 'resource_tracker' not in ' '.join(c.cmdline())]\n"
        "        print('left', len(left), threading.active_count() < 20)\n"
        "main()\n"
    )
    for seconds in (0.05, 0.4):
        command = [sys.executable, "-c", code, str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True)
        assert "Traceback" not in done.stderr
        assert (done.returncode, done.stdout.split()) == (0, ["left", "0", "True"]), done.stderr
