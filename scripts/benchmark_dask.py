"""Factorizations on Dask: what an epoch takes on the workers of a cluster, and what it takes one thread without.

    python scripts/benchmark_dask.py [--ratings 10000000] [--factors 64] [--workers 1 2] [--epochs 6] [--runs 3] [--kind svd]

The table is drawn, uniformly; a user has 154 ratings unless ``--users`` says how many there are. Trainings without a cluster and on
clusters of processes of this machine take turns, ``--runs`` of each. Seconds are those of epochs from the second on, which compile
nothing: the median, and the least, which other work on the machine disturbs least. Processor seconds are of this process and its workers
together. Bytes between workers are those that Dask counted.
"""

from __future__ import annotations

import argparse
import contextlib
from statistics import median
from typing import Any

import numpy as np
import psutil

from nnmf import Ratings, fit
from nnmf.cluster import joined


def drawn(n_ratings: int, n_users: int, n_items: int) -> Ratings:
    """A table of so many ratings."""
    rng = np.random.default_rng(0)
    step = n_users * n_items // n_ratings
    pair = np.arange(n_ratings, dtype=np.int64) * step + rng.integers(0, step, n_ratings)
    rng.shuffle(pair)
    user, item = np.divmod(pair, n_items)
    rating = (
        rng.normal(0, 0.5, n_users)[user] + rng.normal(0, 0.5, n_items)[item] + 0.8 * rng.standard_normal(n_ratings)
    )
    return Ratings.from_arrays(user.astype(np.int32), item.astype(np.int32), (3.5 + rating).astype(np.float32))


def _received(dask_worker: Any) -> int:
    return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)


def _processor_seconds() -> float:
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, help="default: a rating in 154 is of another")
    parser.add_argument("--items", type=int, default=60_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kind", default="svd")
    arguments = parser.parse_args()
    n_users = arguments.users or arguments.ratings // 154
    train = drawn(arguments.ratings, n_users, arguments.items)
    settings = {"n_factors": arguments.factors, "n_epochs": arguments.epochs, "progress": False}
    print(
        f"{arguments.kind}, {len(train):,} ratings of {n_users:,} users and {arguments.items:,} items, {arguments.factors} factors"
    )
    seconds: dict[int, list[float]] = {0: []}  # by workers; none: one thread of this process
    busy: dict[int, list[float]] = {0: []}
    models = {}
    with contextlib.ExitStack() as stack:
        clients = {n: stack.enter_context(joined(f"local:{n}")) for n in arguments.workers}
        for _ in range(arguments.runs):
            for n in (0, *clients):
                marks: list[float] = []
                models[n] = fit(
                    arguments.kind,
                    train,
                    n_threads=1,
                    cluster=clients.get(n),
                    callbacks=[lambda *_, marks=marks: marks.append(_processor_seconds())],  # type: ignore[misc]
                    **settings,
                )
                of_epochs = [len(train) / result.samples_per_second for result in models[n].history[1:]]
                seconds.setdefault(n, []).extend(of_epochs)
                busy.setdefault(n, []).extend(np.diff(marks).tolist())
        for n in (0, *clients):
            same = all(
                np.array_equal(array, models[n].parameters[name]) for name, array in models[0].parameters.items()
            )
            print(
                f"{f'{n} workers' if n else 'one thread'}: {median(seconds[n]):.3f} s an epoch, at least {min(seconds[n]):.3f}; "
                f"{median(busy[n]):.3f} processor seconds, at least {min(busy[n]):.3f}; the same factors: {same}"
            )
        for n, client in clients.items():
            received = sum(client.run(_received).values()) / arguments.epochs / arguments.runs
            print(f"{n} workers: {received / 1e6:,.1f} MB an epoch between workers")
    first = arguments.workers[0]
    for of, figure in (("median", median), ("least", min)):
        over = figure(seconds[first]) / figure(seconds[0]) - 1
        speeds = [f"{n} workers {figure(seconds[first]) / figure(seconds[n]):.2f} x" for n in arguments.workers[1:]]
        print(f"{of}: {first} workers {over:+.0%} against one thread; against {first} workers: {', '.join(speeds)}")


if __name__ == "__main__":
    main()
