"""Tables larger than memory: what converting and training take, the speed of SVD from files, and the order of windows.

    python scripts/benchmark_mapped.py memory [--sizes 10 100] [--folder DIR]    peak memory by millions of ratings
    python scripts/benchmark_mapped.py speed [--size 100] [--runs 3]             SVD, 64 factors, from files and in memory
    python scripts/benchmark_mapped.py threads [--size 200] [--runs 3]           SVD, 16 factors, 5 M users x .5 M items, 1 and 2 threads
    python scripts/benchmark_mapped.py shuffle [--size 8] [--runs 3]             RMSE after 3 epochs, windows and a full shuffle

The tables are drawn by SQL and converted: 200,000 users by 20,000 items, if nothing else is said, whatever the number of ratings, of
biases and two factors under noise of .8; they need 12 bytes a rating in the folder, and some 60 while they are converted. Every figure is of a
process of its own, medians of ``--runs``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

SHAPE, WIDE = (200_000, 20_000), (5_000_000, 500_000)
# Coprime to the number of pairs, so that each stands there once.
STRIDE = 2_654_435_761


def query(n_ratings: int, by_user: bool, shape: tuple[int, int]) -> str:
    """SQL of a table of so many ratings of so many users and items, in random order or sorted by user."""
    n_users, n_items = shape
    pairs = n_users * n_items
    pair = f"CAST(floor(range * ({pairs} / {n_ratings}.0)) AS BIGINT)" if by_user else f"(range * {STRIDE}) % {pairs}"

    def drawn(what: str, salt: int) -> str:
        return f"((hash({what} * 16 + {salt}) % 1000003) / 1000003.0 - .5) * sqrt(12)"

    signal = f".4 * {drawn('u', 1)} + .4 * {drawn('i', 2)}"
    signal += "".join(f" + .35 * {drawn('u', at)} * {drawn('i', at + 1)}" for at in (3, 5))
    return (
        f"SELECT u AS user, i AS item, CAST(3.5 + {signal} + .8 * {drawn('p', 7)} AS FLOAT) AS rating FROM "
        f"(SELECT p, p // {n_items} AS u, p % {n_items} AS i FROM (SELECT {pair} AS p FROM range({n_ratings})))"
    )


WORK = {
    "convert": """
from nnmf import Ratings
Ratings.convert(given["query"], given["folder"], sql=True, memory_limit="1GB")
""",
    "fit": """
import numpy as np
from nnmf import Ratings, fit
from nnmf.neural import _windows
_windows.WINDOW, _windows.CHUNK = given.get("window", _windows.WINDOW), given.get("chunk", _windows.CHUNK)
table = Ratings.open(given["folder"])
test = given.get("test") and Ratings.open(given["test"])
if given.get("in_memory"):
    table = table.take(np.arange(len(table)))
settings = {name: given[name] for name in ("n_epochs", "n_factors", "n_threads") if name in given}
model = fit(given["kind"], table, test=test or None, **settings)
found = {"speed": [r.samples_per_second for r in model.history], "test_rmse": model.history[-1].test_rmse}
""",
}


def run(what: str, **given: Any) -> dict[str, Any]:
    """What a piece of work finds, its seconds and its peak memory in MB, in a process of its own."""
    code = f"""
import json, sys, time
given, found, start = json.loads(sys.argv[1]), {{}}, time.perf_counter()
{WORK[what]}
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
print(json.dumps({{**found, "seconds": time.perf_counter() - start, "peak_mb": peak}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(given)], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def made(root: Path, millions: float, by_user: bool = False, shape: tuple[int, int] = SHAPE) -> str:
    """The folder of a table, converted unless it is there."""
    folder = root / f"{'sorted' if by_user else 'random'}{'-wide' if shape == WIDE else ''}-{millions:g}M"
    if not (folder / "manifest.json").exists():
        found = run("convert", query=query(int(millions * 1e6), by_user, shape), folder=str(folder))
        print(f"convert {folder.name}: {found['seconds']:.0f} s, peak {found['peak_mb']:,.0f} MB", flush=True)
    return str(folder)


def memory(root: Path, arguments: argparse.Namespace) -> None:
    for kind in arguments.kinds:
        peaks = []
        for size in arguments.sizes:
            found = run("fit", folder=made(root, size), kind=kind, n_epochs=2, n_factors=16)
            peaks.append(found["peak_mb"])
            print(f"{kind}, {size:g} M ratings: {found['seconds']:.0f} s, peak {found['peak_mb']:,.0f} MB", flush=True)
        print(f"{kind}: the largest needs {max(peaks) - min(peaks):,.0f} MB more than the smallest")


def speed(root: Path, arguments: argparse.Namespace) -> None:
    settings = {"folder": made(root, arguments.size), "kind": "svd", "n_epochs": 3, "n_factors": 64}
    runs: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(arguments.runs):
        for in_memory, speeds in runs.items():
            found = run("fit", in_memory=in_memory, **settings)
            # The first epoch may compile.
            speeds.append(median(found["speed"][1:]))
            where = "in memory" if in_memory else "from files"
            print(f"{where}: {speeds[-1]:,.0f}/s, {found['seconds']:.0f} s, {found['peak_mb']:,.0f} MB", flush=True)
    print(f"from files / in memory: {median(runs[False]) / median(runs[True]):.2f}")


def threads(root: Path, arguments: argparse.Namespace) -> None:
    folder = made(root, arguments.size, shape=WIDE)
    runs: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(arguments.runs):
        for n_threads, speeds in runs.items():
            found = run("fit", folder=folder, kind="svd", n_epochs=2, n_factors=16, n_threads=n_threads)
            speeds.append(found["speed"][-1])
            print(f"{n_threads} threads: {speeds[-1]:,.0f}/s, {found['peak_mb']:,.0f} MB", flush=True)
    print(f"2 threads / 1: {median(runs[2]) / median(runs[1]):.2f}")


def shuffle(root: Path, arguments: argparse.Namespace) -> None:
    """With windows of an eighth of the table, and chunks that hold as large a part of a window as those of large tables do."""
    window = int(arguments.size * 1e6) // 8
    for by_user in (False, True):
        whole = made(root, arguments.size, by_user)
        train, test = f"{whole}-train", f"{whole}-test"
        if not Path(train).exists():
            from nnmf import Ratings

            for table, folder in zip(Ratings.open(whole).split(0.9), (train, test), strict=True):
                table.take(table.known).store(folder)
        for kind in arguments.kinds:
            settings = {"folder": train, "test": test, "kind": kind, "n_epochs": 3, "n_factors": 16}
            full = run("fit", in_memory=True, **settings)["test_rmse"]
            windows = run("fit", window=window, chunk=max(1, window // 512), **settings)["test_rmse"]
            order = "sorted by user" if by_user else "in random order"
            print(f"{kind}, {order}: full {full:.4f}, windows {windows:.4f}, {windows / full - 1:+.2%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("memory", "speed", "threads", "shuffle"))
    parser.add_argument("--sizes", type=float, nargs="+", default=[10, 100], help="millions of ratings, of memory")
    parser.add_argument("--size", type=float, help="millions of ratings, of speed (100), threads (200) and shuffle (8)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", help="models (memory: svd biased, shuffle: biased biased_mlp)")
    parser.add_argument("--folder", type=Path, help="where the tables are made, and stay (default: a temporary folder)")
    arguments = parser.parse_args()
    arguments.size = arguments.size or {"speed": 100.0, "threads": 200.0}.get(arguments.what, 8.0)
    arguments.kinds = arguments.kinds or ["svd" if arguments.what == "memory" else "biased_mlp", "biased"]
    with tempfile.TemporaryDirectory(dir=arguments.folder and arguments.folder.parent) as folder:
        globals()[arguments.what](arguments.folder or Path(folder), arguments)


if __name__ == "__main__":
    main()
