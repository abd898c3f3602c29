"""Factorizations on Dask: what an epoch takes on the workers of a cluster, and what it takes one thread without.

    python scripts/benchmark_dask.py [--ratings 10000000] [--factors 64] [--workers 1 2] [--epochs 6] [--kind svd]

The table is drawn: users and items by default as ML-25M has them for its number of ratings, uniformly. All trainings are of one run, each by
a cluster of its own on this machine; figures are medians of the epochs from the second on, which compile nothing. Bytes between workers
are those that Dask counted.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import numpy as np

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, help="default: a rating in 154 is of another")
    parser.add_argument("--items", type=int, default=60_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--kind", default="svd")
    arguments = parser.parse_args()
    n_users = arguments.users or arguments.ratings // 154
    train = drawn(arguments.ratings, n_users, arguments.items)
    settings = {"n_factors": arguments.factors, "n_epochs": arguments.epochs, "progress": False}
    print(
        f"{arguments.kind}, {len(train):,} ratings of {n_users:,} users and {arguments.items:,} items, {arguments.factors} factors"
    )

    def told(name: str, model: Any) -> float:
        seconds = median(len(train) / result.samples_per_second for result in model.history[1:])
        print(f"{name}: {seconds:.3f} s an epoch, {len(train) / seconds:,.0f} ratings/s", flush=True)
        return seconds

    model = fit(arguments.kind, train, n_threads=1, **settings)
    plain, of_workers = told("one thread", model), {}
    told("two threads", fit(arguments.kind, train, n_threads=2, **settings))
    for n in arguments.workers:
        with joined(f"local:{n}") as client:
            found = fit(arguments.kind, train, cluster=client, **settings)
            of_workers[n] = told(f"{n} workers", found)
            received = sum(client.run(_received).values()) / arguments.epochs
            print(f"  {received / 1e6:,.1f} MB an epoch between workers")
        same = all(np.array_equal(model.parameters[name], found.parameters[name]) for name in model.parameters)
        print(f"  {of_workers[n] / plain - 1:+.0%} against one thread; the same factors: {same}")
    first = of_workers[arguments.workers[0]]
    for n in arguments.workers[1:]:
        print(f"{n} workers: {first / of_workers[n]:.2f} times the speed of {arguments.workers[0]}")


if __name__ == "__main__":
    main()
