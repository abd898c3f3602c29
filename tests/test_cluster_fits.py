"""Factorizations on the workers of a cluster: bit for bit what one thread makes of them, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import random
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
from nnmf import Features, Ratings
from nnmf.cluster import Graph, LostWorker, joined, shared_folder, workers_of
from nnmf.cluster._workers import answers
from nnmf.errors import BackendError, DataError, TrainingError
from nnmf.factorization import _cluster_schedule, _kernels
from nnmf.factorization._cluster_chains import ClusterChains, draw_sweeps
from nnmf.factorization._cluster_schedule import ClusterSchedule
from nnmf.factorization._gibbs import Sampler
from nnmf.factorization._observed import Observed
from nnmf.factorization._schedule import GridSchedule, Workers
from nnmf.factorization._shares import Share, train_share
from nnmf.factorization._turns import Turns
from nnmf.testing import low_rank

distributed = pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

SETTINGS = {"n_factors": 5, "n_epochs": 3, "seed": 3}


@pytest.fixture(scope="module")
def table() -> Ratings:
    """Enough ratings for a grid of 4 by 8 blocks."""
    return low_rank(n_users=300, n_items=17_000, n_ratings=140_000, noise=0.3)


@pytest.fixture(scope="module")
def clusters():
    """Clients of clusters of 1, 2 and 3 processes, started when they are first asked for."""
    with contextlib.ExitStack() as stack:
        made: dict[int, distributed.Client] = {}

        def of(n_workers: int) -> distributed.Client:
            if n_workers not in made:
                made[n_workers] = stack.enter_context(joined(f"local:{n_workers}"))
            return made[n_workers]

        yield of


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """What is shared lies in a folder of the test's own, and is gone after it."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.glob("nnmf-shared-*"))


@contextlib.contextmanager
def own_cluster(**options):
    """A client of a cluster that its user started, of threads of this process."""
    with (
        distributed.LocalCluster(
            processes=False, protocol="tcp", host="127.0.0.1", dashboard_address="127.0.0.1:0", **options
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


class Here:
    """A client whose one worker is this process."""

    def run(self, function, *arguments, on_error):
        return {"here": function(*arguments)}

    def ncores(self):
        return {"here": 1}


def same(first, second) -> bool:
    """Whether two models have the same parameters, and came to the same figures on the way, bit for bit."""
    return (
        first.parameters.keys() == second.parameters.keys()
        and all(np.array_equal(array, second.parameters[name]) for name, array in first.parameters.items())
        and [result.train_rmse for result in first.history] == [result.train_rmse for result in second.history]
        and [result.valid_rmse for result in first.history] == [result.valid_rmse for result in second.history]
    )


# -- the same bits ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["svd", "funk_svd"])
def test_any_number_of_workers_and_one_thread_are_equal(kind, table, clusters, monkeypatch):
    train, valid = table.split(0.9)
    plain = nnmf.fit(kind, train, valid, n_threads=1, **SETTINGS)
    for n_workers in (1, 2, 3):
        assert same(nnmf.fit(kind, train, valid, cluster=clusters(n_workers), **SETTINGS), plain)
    # Several threads of a worker of the user's own cluster, and whatever the number of tasks.
    with own_cluster(n_workers=1, threads_per_worker=3) as client:
        assert same(nnmf.fit(kind, train, valid, cluster=client, **SETTINGS), plain)
    monkeypatch.setattr(_cluster_schedule, "_TASK_RATINGS", 1)
    assert same(nnmf.fit(kind, train, valid, cluster=clusters(2), **SETTINGS), plain)


@pytest.fixture(scope="module")
def told() -> Ratings:
    """Ratings on a grid, with dates, of users and items of whom something is known."""
    rng = np.random.default_rng(0)
    few = low_rank(n_users=80, n_items=50, n_ratings=2500, noise=0.4)
    stars = Ratings.from_arrays(few.user, few.item, np.clip(np.round(few.rating), 1, 5), 86_400 * np.arange(2500) // 50)
    known = [
        Features.from_arrays(np.arange(n), {"group": rng.choice(["a", "b", "c"], n), "size": rng.normal(size=n)})
        for n in (80, 50)
    ]
    return stars.with_features(*known)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_chains": 3},
        {"n_chains": 1, "features": "ids,group", "n_factors": 1},
        {"n_chains": 2, "features": "ids,history,raters,day,group,size", "likelihood": "ordinal"},
    ],
)
def test_chains_on_any_number_of_workers_and_one_thread_are_equal(settings, told, clusters):
    train, valid = told.split(0.9)
    settings = {"n_factors": 3, "n_epochs": 3, "sweeps": 4, "seed": 3, **settings}
    plain = nnmf.fit("bayes", train, valid, n_threads=1, **settings)
    for n_workers in (1, 2, 3) if settings["n_chains"] == 3 else (2,):
        found = nnmf.fit("bayes", train, valid, cluster=clusters(n_workers), **settings)
        assert same(found, plain)
        pairs = valid.users.ids[valid.user[:50]], valid.items.ids[valid.item[:50]]
        for ours, theirs in zip(found.interval(*pairs), plain.interval(*pairs), strict=True):
            assert np.array_equal(ours, theirs)
    more = train.take(np.arange(len(train) - 100))
    assert same(found.fit_more(more, n_epochs=2, cluster=clusters(2)), plain.fit_more(more, n_epochs=2))


def test_sweeps_change_nothing_that_they_were_given_and_can_be_drawn_again(small, tmp_path):
    observed = Observed.of(
        small.user, small.item, small.rating, (small.n_users, small.n_items), ((), ()), None, centre=3.0, spread=1.0
    )
    chains = ClusterChains(observed, n_factors=3, init_std=0.1, n_chains=2, seed=0, client=Here())
    with contextlib.closing(chains):
        work = dataclasses.replace(chains._chains[1], first=1, n=2)
        files = {path: path.read_bytes() for path in Path(work.folder).iterdir()}
        for path in files:
            path.chmod(0o444)
        first, again = draw_sweeps(work), draw_sweeps(work)
        assert {path: path.read_bytes() for path in Path(work.folder).iterdir()} == files
    assert first["rmse"] == again["rmse"] and len(first["draws"]) == 2
    for name, array in first["state"].items():
        assert np.array_equal(array, again["state"][name])
    with Workers(1) as workers:
        sampler = Sampler(observed, n_factors=3, seed=work.seed, init_std=0.1, workers=workers)
        sampler.begin()
        for number in (1, 2):
            sampler.sweep(number, lambda _: None)
    for name, array in sampler.state().items():
        assert np.array_equal(array, again["state"][name])


def test_tables_that_leave_most_blocks_empty(clusters, monkeypatch):
    """One user has rated nearly all: of a grid of 4 by 4 three quarters are empty."""
    rng = np.random.default_rng(0)
    user = np.where(np.arange(80_000) < 79_000, 0, rng.integers(1, 9, 80_000))
    table = Ratings.from_arrays(user, np.arange(80_000), rng.normal(3, 1, 80_000))
    monkeypatch.setattr(_cluster_schedule, "_TASK_RATINGS", 1)
    plain = nnmf.fit("svd", table, **SETTINGS)
    assert same(nnmf.fit("svd", table, cluster=clusters(2), **SETTINGS), plain)


def test_a_mapped_table(table, clusters, tmp_path):
    """Its ratings are put beside it, and are gone at the end."""
    table.store(tmp_path / "table")
    before = {path.name for path in (tmp_path / "table").iterdir()}
    mapped = Ratings.open(tmp_path / "table")
    seen = []
    found = nnmf.fit(
        "svd",
        mapped,
        cluster=clusters(2),
        callbacks=[lambda result, model: seen.extend((tmp_path / "table").glob("nnmf-shared-*/rating"))],
        **SETTINGS,
    )
    assert same(found, nnmf.fit("svd", table, **SETTINGS))
    assert seen and {path.name for path in (tmp_path / "table").iterdir()} == before


def test_training_goes_on_here_or_there(table, clusters):
    """From a cluster to one thread and back, by `resume` and by `fit_more`."""
    settings = {"n_factors": 5, "schedule": "constant"}
    found = nnmf.fit("svd", table, n_epochs=2, cluster=clusters(2), **settings)
    for n_epochs, cluster in ((3, None), (4, clusters(1))):
        found.config = dataclasses.replace(found.config, n_epochs=n_epochs)
        found.resume(table, cluster=cluster)
    plain = nnmf.fit("svd", table, n_epochs=4, **settings)
    assert same(found, plain)
    more = low_rank(n_users=350, n_items=17_000, n_ratings=20_000, seed=4)
    assert same(found.fit_more(more, n_epochs=2, cluster=clusters(2)), plain.fit_more(more, n_epochs=2))


def test_progress_and_ticks(table, clusters, monkeypatch):
    monkeypatch.setattr(_cluster_schedule, "_TASK_RATINGS", 1)
    monkeypatch.setattr("nnmf.factorization._learner._TICK_SECONDS", 0.0)
    told = []

    class Told:
        def begin(self, *what):
            told.append(what)

        def tick(self, epoch, done, rmse, speed):
            told.append((epoch, done))

        def end(self):
            told.append("end")

    nnmf.fit("svd", table, cluster=clusters(2), progress=Told(), n_factors=5, n_epochs=2)
    done = [what[1] for what in told[1:-1] if what[0] == 1]
    assert told[0] == (2, len(table), 0) and told[-1] == "end"
    assert len(done) > 10 and done == sorted(done) and done[-1] == len(table)


def test_training_that_diverges_ends_as_without(table, clusters):
    with pytest.raises(TrainingError, match=r"^training diverged in epoch 1: .*lower learning_rate"):
        nnmf.fit("svd", table, cluster=clusters(2), learning_rate=900.0, l2=0.0)


@pytest.mark.parametrize("n_workers, moves", [(1, 0), (2, 1), (3, 2)])
def test_what_goes_from_worker_to_worker(n_workers, moves, table, clusters):
    """The rows of all items, so many times an epoch, as `docs/scaling.md` says; of three workers one has two groups of four."""

    def received(dask_worker) -> int:
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    client = clusters(n_workers)
    before = sum(client.run(received).values())
    nnmf.fit("svd", table, cluster=client, n_factors=5, n_epochs=1)
    moved = sum(client.run(received).values()) - before
    expected = moves * 4 * (16 + 1) * table.n_items
    assert expected <= moved <= 1.02 * expected


# -- tasks -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def share(table, tmp_path):
    """A task as an epoch's, its files, and what it takes from others: read-only."""
    grid = GridSchedule(table.user, table.item, table.rating, table.n_users, table.n_items, 16, 0)
    assert grid.shape == (4, 8)
    schedule = ClusterSchedule(grid, Here(), tmp_path)
    rng = np.random.default_rng(1)
    tables = {
        "user_factors": rng.normal(0, 0.1, (table.n_users, 16)).astype(np.float32),
        "item_factors": rng.normal(0, 0.1, (table.n_items, 16)).astype(np.float32),
        "user_l2": np.full(table.n_users, 0.1, np.float32),
        "item_l2": np.full(table.n_items, 0.1, np.float32),
    }
    arguments = ("user_factors", "item_factors", 1.0, 0.02, 1.0, "user_l2", "item_l2")
    turns = Turns.of(grid.shape, 0, 1)
    visits = [(int(turns.users[p]), int(turns.items[p ^ t]), turns.blocks[t, p]) for t in (0, 1) for p in (0, 1)]
    users, items = ({visit[side]: schedule._spans[side][visit[side]] for visit in visits} for side in (0, 1))
    with schedule._written(tables, 1) as files, contextlib.closing(schedule):
        made = Share(str(schedule._folder), "train_funk", arguments, files, users, items, visits)
        given = [
            {n: {f"{side}_factors": tables[f"{side}_factors"][slice(*span)].copy()} for n, span in spans.items()}
            for side, spans in (("user", users), ("item", items))
        ]
        for rows in given:
            for arrays in rows.values():
                for array in arrays.values():
                    array.flags.writeable = False
        yield made, [{"users": given[0]}, {"items": given[1]}], tables, grid


def equal(first: dict, second: dict) -> bool:
    """Whether two tasks came to the same."""
    return all(np.array_equal(a, b) for a, b in zip(first["errors"], second["errors"], strict=True)) and all(
        np.array_equal(array, second[side][stripe][name])
        for side in ("users", "items")
        for stripe, rows in first[side].items()
        for name, array in rows.items()
    )


def test_a_task_changes_nothing_that_it_was_given_and_can_be_run_again(share):
    made, given, *_ = share
    before = [
        {n: rows[f"{side}_factors"].copy() for n, rows in given[at][f"{side}s"].items()}
        for at, side in enumerate(("user", "item"))
    ]
    files = {path: path.read_bytes() for path in Path(made.folder).iterdir()}
    for path in files:
        path.chmod(0o444)
    first, again = train_share(made, *given), train_share(made, *given)
    assert equal(first, again)
    assert equal(first, train_share(made, None, None))  # the rows as the epoch began are those that were given
    for at, side in enumerate(("user", "item")):
        for stripe, array in before[at].items():
            assert np.array_equal(given[at][f"{side}s"][stripe][f"{side}_factors"], array)
            assert not np.array_equal(first[f"{side}s"][stripe][f"{side}_factors"], array)
    assert {path: path.read_bytes() for path in Path(made.folder).iterdir()} == files


def test_a_task_is_the_loop_on_whole_tables(share):
    made, given, tables, grid = share
    found = train_share(made, *given)
    errors = np.zeros(len(grid.starts) - 1)
    for *_, blocks in made.visits:
        whole = tables["user_factors"], tables["item_factors"], 1.0, 0.02, 1.0, tables["user_l2"], tables["item_l2"]
        _kernels.train_funk(blocks, np.zeros(1, np.int64), grid.starts, errors, *grid.columns, *whole)
    for side, spans in (("user", made.users), ("item", made.items)):
        for stripe, span in spans.items():
            trained = found[f"{side}s"][stripe][f"{side}_factors"]
            assert np.array_equal(trained, tables[f"{side}_factors"][slice(*span)])
    assert np.array_equal(errors[found["errors"][0]], found["errors"][1])


def test_a_folder_that_a_worker_does_not_see(share, tmp_path):
    made = Share(str(tmp_path / "gone"), *[getattr(share[0], name) for name in list(vars(share[0]))[1:]])
    with pytest.raises(DataError, match=r"^cluster: a worker cannot read what is in .*gone .*all machines share"):
        train_share(made, *share[1])

    class Client:
        def run(self, function, *arguments, on_error):
            return {"tcp://10.0.0.7:1": FileNotFoundError(arguments[0])}

        def ncores(self):
            return {"tcp://10.0.0.7:1": 1}

    with pytest.raises(BackendError, match=r"^cluster: the worker tcp://10\.0\.0\.7:1 does not see .*set \$TMPDIR"):
        shared_folder(Client(), tmp_path).__enter__()


@pytest.mark.parametrize("kind", [nnmf.SVD, nnmf.Bayes])
def test_a_shared_folder_that_is_full(kind, small, clusters, monkeypatch):
    """From the first byte on, or after an epoch, which is kept."""

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(result, model) -> None:
        for name in ("save", "savez"):
            monkeypatch.setattr(np, name, full)

    model, said = kind(n_factors=2, n_epochs=3), r"shared.*: cannot be written \(No space left on device\)"
    with pytest.raises(DataError, match=said):
        model.fit(small, cluster=clusters(1), callbacks=[fill])
    assert len(model.history) == 1
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match=said):
        kind(n_factors=2, n_epochs=3).fit(small, cluster=clusters(1))


def test_turns_let_groups_of_stripes_share_an_epoch():
    """Every number of groups that is a power of two: in a part of the epoch the users of one meet the items of one other."""
    for shape in ((16, 16), (48, 16), (8, 40), (1, 1), (1, 7)):
        turns, n = Turns.of(shape, 5, 2), min(shape)
        assert sorted(turns.blocks.ravel()) == list(range(shape[0] * shape[1]))
        assert sorted(turns.users) == sorted(turns.items) == list(range(n))
        for n_groups in (2**k for k in range(n.bit_length())):
            held = n // n_groups
            for part in range(n_groups):
                partners: dict[int, set[int]] = {}
                for turn in range(part * held, (part + 1) * held):
                    for place in range(n):
                        blocks = turns.blocks[turn, place]
                        assert set(blocks // shape[1] // (shape[0] // n)) == {turns.users[place]}
                        items = set(blocks % shape[1] // (shape[1] // n))
                        partners.setdefault(place // held, set()).update(
                            int(np.flatnonzero(turns.items == item)[0]) // held for item in items
                        )
                assert partners == {group: {group ^ part} for group in range(n_groups)}


# -- graphs, and workers that die ------------------------------------------------------------------------------------
def test_tasks_run_where_they_are_told_to(clusters):
    def double(given: int | dict[str, int]) -> dict[str, object]:
        number = given if isinstance(given, int) else given["twice"]
        return {"twice": 2 * number, "where": distributed.get_worker().address}

    client = clusters(3)
    graph, places = Graph(client), [worker.address for worker in workers_of(client)]
    for at, place in enumerate(places * 3):
        key = graph.add(place, double, at)
        graph.want(graph.part(key, "where"), ("where", at))
        graph.want(graph.add(places[0], double, graph.part(key, "twice")), ("twice", at))
    found = dict(graph.results())
    assert [found["where", at]["where"] for at in range(9)] == places * 3
    assert [found["twice", at]["twice"] for at in range(9)] == [4 * at for at in range(9)]


def test_what_a_task_raises_is_raised_and_nothing_waits(clusters):
    def fail() -> None:
        raise DataError("x: y.")

    client = clusters(2)
    graph, places = Graph(client), [worker.address for worker in workers_of(client)]
    graph.want(graph.add(places[0], fail), "failed")
    with pytest.raises(DataError, match=r"^x: y"):
        list(graph.results())
    assert not client.run_on_scheduler(lambda dask_scheduler: [key for key in dask_scheduler.tasks if "fail" in key])


def test_a_worker_that_dies_is_noticed():
    def stop_the_process() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with joined("local:2") as client:
        graph, places = Graph(client), [worker.address for worker in workers_of(client)]
        graph.want(graph.add(places[0], stop_the_process), "never")
        with pytest.raises(LostWorker):
            list(graph.results())


def test_a_worker_that_dies_while_it_is_asked_is_not_at_fault():
    def stop_the_first(dask_worker) -> str:
        if dask_worker.name == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return "here"

    with joined("local:2") as client:
        assert list(answers(client, stop_the_first).values()) == ["here"]


@pytest.mark.parametrize("kind", [nnmf.SVD, nnmf.Bayes])
def test_a_client_that_is_closed_in_the_midst_of_training(kind, small):
    with own_cluster(n_workers=1) as client:
        model = kind(n_factors=2, n_epochs=3)
        with pytest.raises(BackendError, match=r"^cluster: .* no longer answers \(its client was closed\)"):
            model.fit(small, cluster=client, callbacks=[lambda result, model: client.close()])
    assert len(model.history) == 1


def test_a_worker_that_stays_paused_ends_training(small, monkeypatch):
    """As Dask pauses one whose memory is nearly full; one that goes on in time does no harm."""

    def pause(result, model) -> None:
        if result.epoch == 1:
            client.run(set_status, "paused")

    def set_status(name, dask_worker) -> None:
        dask_worker.status = distributed.Status[name]

    settings = {"n_factors": 2, "n_epochs": 2}
    with own_cluster(n_workers=1, memory_limit=0) as client:
        goes_on = threading.Timer(1.5, client.run, (set_status, "running"))
        goes_on.start()
        found = nnmf.fit("svd", small, cluster=client, callbacks=[pause], **settings)
        assert same(found, nnmf.fit("svd", small, **settings))
        monkeypatch.setattr("nnmf.cluster._graph._PAUSED_LOOKS", 1)
        with pytest.raises(BackendError, match=r"^cluster: the worker tcp://.* is paused, .*--memory-limit"):
            nnmf.fit("svd", small, cluster=client, callbacks=[pause], **settings)


def test_a_cluster_that_adapts_itself_has_no_worker_at_first(small):
    settings = {"n_factors": 2, "n_epochs": 2}
    with own_cluster(n_workers=0, threads_per_worker=1) as client:
        client.cluster.adapt(minimum=0, maximum=1, interval="100ms")
        assert same(nnmf.fit("svd", small, cluster=client, **settings), nnmf.fit("svd", small, **settings))


def test_a_cluster_all_of_whose_workers_are_gone(table, monkeypatch):
    monkeypatch.setattr("nnmf.cluster._workers._WORKER_SECONDS", 0.3)
    with own_cluster(n_workers=1) as client:

        def lose_all(result, model) -> None:
            client.cluster.scale(0)
            while client.ncores():
                time.sleep(0.01)

        with pytest.raises(BackendError, match=r"^cluster: the scheduler at .* has no workers"):
            nnmf.fit("svd", table, cluster=client, callbacks=[lose_all], **SETTINGS)
        assert client.status == "running"


class Killer:
    """Kills a worker of a cluster now and then, at random moments."""

    def __init__(self, client, n: int, longest: float, seed: int) -> None:
        self.n_killed, self._client, self._stop = 0, client, threading.Event()
        self._random = random.Random(seed)
        self._thread = threading.Thread(target=self._run, args=(n, longest))

    def _run(self, n: int, longest: float) -> None:
        while self.n_killed < n and not self._stop.wait(self._random.uniform(0, longest)):
            pids = list(self._client.run(os.getpid, on_error="ignore").values())
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._random.choice(pids), signal.SIGKILL)
                    self.n_killed += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def killed(kind: str, table: Ratings, n_workers: int, n_killed: int, longest: float, at: int = 0, **settings) -> None:
    """Train while workers are killed, and see that it comes to the same, and that nothing is left of it."""
    plain = nnmf.fit(kind, table, n_threads=1, **settings)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with joined(f"local:{n_workers}") as client:
        with Killer(client, n_killed, longest, at) as killer:

            def until_all_are_killed(result, model) -> None:
                # Epochs are short: the next one begins when there is something to survive.
                if result.epoch == 1:
                    deadline = time.monotonic() + 30
                    while not killer.n_killed and time.monotonic() < deadline:
                        time.sleep(0.01)

            found = nnmf.fit(kind, table, cluster=client, callbacks=[until_all_are_killed], **settings)
        assert killer.n_killed
        ports = [worker.address for worker in workers_of(client)] + [client.scheduler.address]
    assert same(found, plain)
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert not [pid for pid in left if "resource_tracker" not in " ".join(psutil.Process(pid).cmdline())]
    for address in ports:
        host, port = address.removeprefix("tcp://").split(":")
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0


def test_all_workers_are_killed_in_the_midst_of_an_epoch(table, monkeypatch, caplog):
    """After a first task; the epoch begins anew with those that take their place, and comes to the same."""
    monkeypatch.setattr(_cluster_schedule, "_TASK_RATINGS", 1)
    monkeypatch.setattr("nnmf.factorization._learner._TICK_SECONDS", 0.0)
    plain = nnmf.fit("svd", table, **SETTINGS)
    with joined("local:2") as client:

        class Killing:
            killed = False

            def begin(self, *what):
                pass

            def tick(self, epoch, done, rmse, speed):
                if epoch == 2 and done < len(table) and not self.killed:
                    self.killed = True
                    for pid in client.run(os.getpid).values():
                        os.kill(pid, signal.SIGKILL)

            def end(self):
                pass

        with caplog.at_level("WARNING", logger="nnmf"):
            assert same(nnmf.fit("svd", table, cluster=client, progress=Killing(), **SETTINGS), plain)
    assert "A worker was lost; epoch 2 begins anew with those that are left." in caplog.messages


@pytest.mark.slow
def test_a_worker_is_killed_between_epochs(table):
    killed("svd", table, 2, 1, 0.3, **{**SETTINGS, "n_epochs": 4})


@pytest.mark.slow
def test_workers_are_killed_while_chains_are_drawn(told):
    killed("bayes", told, 2, 3, 0.5, n_factors=3, n_epochs=15, sweeps=20, n_chains=3)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "at"), [("svd", 1), ("funk_svd", 2)])
def test_workers_are_killed_at_random_moments_of_a_fit(kind, at, monkeypatch):
    monkeypatch.setattr(_cluster_schedule, "_TASK_RATINGS", 1)
    large = low_rank(n_users=2000, n_items=900, n_ratings=300_000, noise=0.3)
    killed(kind, large, 3, 5, 1.5, at=at, n_factors=32, n_epochs=20, seed=3)


# -- the command -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_run_of_the_command_goes_on_with_and_without_a_cluster(table, tmp_path):
    run = tmp_path / "run"
    for name, part in (("train", slice(9000)), ("test", slice(9000, 10_000))):
        columns = zip(table.user[part], table.item[part], table.rating[part], strict=True)
        (tmp_path / f"{name}.csv").write_text("".join(f"{u},{i},{r}\n" for u, i, r in columns))
    files = ["--train-file", "train.csv", "--test-file", "test.csv"]
    flags = ["--model", "svd", "--n-factors", "5", *files, "--output", str(run)]

    def train(*flags: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "nnmf.train", *flags], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    train(*flags, "--n-epochs", "2", "--schedule", "constant", "--cluster", "local:2")
    train("--resume", str(run), "--n-epochs", "4")
    train("--resume", str(run), "--n-epochs", "5", "--cluster", "local:1")
    found = nnmf.load(run)
    plain = nnmf.fit("svd", Ratings.from_file(tmp_path / "train.csv"), n_factors=5, n_epochs=5, schedule="constant")
    assert all(np.array_equal(array, plain.parameters[name]) for name, array in found.parameters.items())


@pytest.mark.slow
def test_a_scheduler_that_dies_is_a_sentence_and_nothing_else(small, tmp_path):
    small.store(tmp_path / "table")
    file, metrics = tmp_path / "scheduler.json", tmp_path / "run" / "metrics.jsonl"
    own = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]
    flags = ["--model", "svd", "--dataset", "table", "--n-epochs", "100000", "--cluster", str(file), "--output", "run"]
    with contextlib.ExitStack() as stack:

        def wait_for(path: Path) -> None:
            deadline = time.monotonic() + 60
            while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
                time.sleep(0.05)

        def start(*command: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=tmp_path,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        scheduler = start("dask", "scheduler", "--port", "0", *own)
        wait_for(file)
        start("dask", "worker", "--nthreads", "1", "--no-nanny", *own)
        training = start("nnmf.train", *flags)
        wait_for(metrics)
        scheduler.kill()
        _, err = training.communicate(timeout=60)
    assert training.returncode == 1
    assert "Traceback" not in err and " error: cluster: the scheduler no longer answers (" in err.splitlines()[-1]
    assert not list((tmp_path / "table").glob("nnmf-*"))


@pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupt_leaves_nothing_running(number, code, small, tmp_path):
    """As a terminal sends it: to the command and to all that it started."""
    small.store(tmp_path / "table")
    flags = ["--model", "svd", "--dataset", "table", "--cluster", "local:2", "--n-epochs", "100000", "--output", "run"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "nnmf.train", *flags],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    for _ in range(1200):
        if metrics.exists() and len(metrics.read_text().splitlines()) > 3:
            break
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "finished epochs are kept in run." in err and "Traceback" not in err
    assert not psutil.wait_procs(started, timeout=10)[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "shared", "table"]
    assert not list((tmp_path / "table").glob("nnmf-*"))
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())
