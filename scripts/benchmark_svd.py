"""Speed and memory of `FunkSVD`, `SVD` and `SVDpp` against the notebook's Cython loop, LIBMF and Surprise.

    NNMF_DATA=... python scripts/benchmark_svd.py --rows ROW... [--results FILE] [--readme README.md]

ROW: seed, libmf, surprise, scale, memory, first or all. Each one's figures go to FILE, from which --readme writes the table, so rows
can be run one after another (without --rows: only the table). Opponents take turns in one process; figures are medians of --runs.
Ours is timed around `fit`, checks of the table and its layout included, less the callback that measures the test RMSE, which LIBMF
is not asked for either. Compiling is done before, on a small table; `first` shows what it takes.

--table and --scale-tables are files of ml10m_like.py (for seed, libmf, memory; for scale, any number). The opponents:
seed      seed_funk.pyx, built with ``cythonize -i seed_funk.pyx``; --seed-folder is where the built module lies.
libmf     --libmf is a shared library of LIBMF's own source, built for this machine (PyPI's binary does without vectors):
              pip download libmf==0.9.2 --no-deps --no-binary :all: && tar xf libmf-0.9.2.tar.gz && cd libmf-0.9.2/src_cpp
              g++ -O3 -march=native -std=c++11 -pthread -fPIC -shared -DUSEAVX -DUSEOMP -fopenmp mf.cpp -o libmf.so
surprise  ``pip install scikit-surprise``; ml-100k is found as everywhere in nnmf.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import SimpleNamespace as Run
from typing import Any

import numpy as np
from compare_networks import put_between

from nnmf import Ratings
from nnmf._compiled import usable_cores
from nnmf.config import DataConfig
from nnmf.data import load_tables
from nnmf.factorization._kernels import train_funk
from nnmf.factorization._schedule import GridSchedule, Workers
from nnmf.factorization._vectors import zero_rows
from nnmf.kinds import FACTORIZATIONS, model_class
from nnmf.metrics import rmse

Lines = Iterator[tuple[str, str, str, str]]  # row, against, wanted, measured
THREADS = sorted({1, usable_cores()})
# The update rule without what our defaults add to it.
BARE: dict[str, Any] = {"l2_prior": 0.0, "bias_l2": 1.0}
PLAIN: dict[str, Any] = {"learning_rate": 0.01, "l2": 0.02}
# Factors: l2 and eta, by test RMSE after 20 epochs the best of a dozen tried (16 factors; eta above .2 gives NaN) and of eight (64).
LIBMF_EPOCHS = 20
LIBMF_SETTINGS = {16: (0.02, 0.2), 64: (0.05, 0.05)}
# Of some 20 to 30 tried, by the same figure. That table is synthetic and for timing: no default was chosen on it.
OUR_SETTINGS: dict[tuple[str, int], dict[str, Any]] = {
    ("funk_svd", 16): {"n_epochs": 8, "learning_rate": 0.05, "l2": 0.02, "init_std": 0.1, "l2_prior": 0.0},
    ("funk_svd", 64): {"n_epochs": 18, "learning_rate": 0.03, "l2": 0.045, "init_std": 0.03, "l2_prior": 0.0},
    ("svd", 16): {"n_epochs": 6, "learning_rate": 0.05, "l2": 0.02, "init_std": 0.05, **BARE},
    ("svd", 64): {"n_epochs": 8, "learning_rate": 0.05, "l2": 0.045, "init_std": 0.04, **BARE},
}
# Surprise's class, its default width and learning rate, and how many times faster is wanted. l2 .02 and 20 epochs for both.
SURPRISE = {"svd": ("SVD", 100, 0.005, 5), "svdpp": ("SVDpp", 20, 0.007, 50)}
FIRST = """
import sys, time
start = time.perf_counter()
import numpy as np
from nnmf import Ratings
from nnmf.kinds import model_class
pair = np.random.default_rng(0).choice(943 * 1682, 80_000, replace=False)
train = Ratings.from_arrays(pair // 1682, pair % 1682, pair % 5 + 1)
model_class(sys.argv[1])(n_factors=20, n_epochs=1).fit(train, callbacks=[lambda *_: print(time.perf_counter() - start)])
"""


def fit(kind: str, train: Ratings, test: Ratings | None = None, goal: float = -math.inf, **settings: Any) -> Run:
    """Trains until the test RMSE is down at the goal.

    Returns model, seconds (infinite if it never was), wall and cpu seconds of each epoch, rmse on test; what it takes to measure that
    is left out of all of them. The first epoch's CPU seconds have the layout's too.
    """
    run = Run(wall=[], cpu=[], rmse=math.inf, apart=0.0, busy=time.process_time())

    def watch(result: Any, model: Any) -> bool:
        start = time.perf_counter()
        run.wall.append(result.seconds)
        run.cpu.append(time.process_time() - run.busy)
        run.rmse = math.inf if test is None else model.rmse(test)
        run.apart += time.perf_counter() - start
        run.busy = time.process_time()
        return bool(run.rmse <= goal)

    start = time.perf_counter()
    run.model = model_class(kind)(**settings).fit(train, callbacks=[watch])
    run.seconds = time.perf_counter() - start - run.apart if test is None or run.rmse <= goal else math.inf
    return run


def read(path: Path) -> tuple[Ratings, np.ndarray]:
    """The table of a file of ml10m_like.py, and which of its ratings are to train on."""
    with np.load(path) as file:
        return Ratings.from_arrays(file["user"], file["item"], file["rating"], scale=(0.5, 5.0)), file["train"]


def warm_up() -> None:
    """Compiles every loop, or loads it from the cache."""
    pair = np.arange(60)
    table = Ratings.from_arrays(pair // 9, pair % 9, pair % 5 + 1)
    for kind in FACTORIZATIONS:
        fit(kind, table, table, n_epochs=1)


def label(kind: str, n_factors: int, n_threads: int | None = None) -> str:
    threads = f", {n_threads} thread{'s' if n_threads > 1 else ''}" if n_threads else ""
    return f"`{model_class(kind).__name__}`, {n_factors} factors{threads}"


def against_seed(args: argparse.Namespace) -> Lines:
    sys.path.insert(0, str(args.seed_folder))
    import seed_funk  # type: ignore[import-not-found]

    table, _ = read(args.table)
    n, columns = len(table), (table.user.copy(), table.item.copy(), table.rating.astype(np.float64))
    same, speeds = {"n_factors": 10, "n_epochs": 5, "schedule": "constant", **PLAIN}, defaultdict(list)
    for _ in range(args.runs):
        speeds[0] += seed_funk.train(*columns, table.n_users, table.n_items, *PLAIN.values(), 1)[2]
        for t in THREADS:
            speeds[t].append(n / median(fit("funk_svd", table, n_threads=t, **same).wall))
    middle = {who: median(found) / 1e6 for who, found in speeds.items()}
    for t in THREADS:
        what, wanted = f"{label('funk_svd', 10, t)}: an epoch of {n / 1e6:.1f} M ratings", f"{15 if t > 1 else 10} x"
        measured = f"{middle[t] / middle[0]:.1f} x: {middle[t]:.1f} M ratings/s against {middle[0]:.1f} M"
        yield what, "`seed_funk.pyx`", wanted, measured


def structure(*groups: tuple[Any, str]) -> type[ctypes.Structure]:
    """A C struct from types and the names of the fields that have them."""
    fields = [(name, kind) for kind, names in groups for name in names.split()]
    return type("Structure", (ctypes.Structure,), {"_fields_": fields})


NODE = np.dtype([("u", "i4"), ("v", "i4"), ("r", "f4")])
PROBLEM = structure((ctypes.c_int, "m n"), (ctypes.c_longlong, "nnz"), (ctypes.c_void_p, "R"))
PARAMETER = structure(
    (ctypes.c_int, "fun k nr_threads nr_bins nr_iters"),
    (ctypes.c_float, "lambda_p1 lambda_p2 lambda_q1 lambda_q2 eta"),
    (ctypes.c_bool, "do_nmf quiet copy_data"),
)
MODEL = structure((ctypes.c_int, "fun m n k"), (ctypes.c_float, "b"), (ctypes.POINTER(ctypes.c_float), "P Q"))


def fit_libmf(path: Path, train: Ratings, test: Ratings, n_factors: int, n_threads: int) -> tuple[float, float]:
    """(seconds, test RMSE) of `mf_train`; its nodes are made before, and it may shuffle them in place, which spares it a copy."""
    library = ctypes.CDLL(str(path.resolve()))
    library.mf_train.argtypes, library.mf_train.restype = [ctypes.c_void_p, PARAMETER], ctypes.POINTER(MODEL)
    nodes = np.empty(len(train), NODE)
    nodes["u"], nodes["v"], nodes["r"] = train.user, train.item, train.rating
    problem = PROBLEM(train.n_users, train.n_items, len(train), nodes.ctypes.data)
    l2, eta = LIBMF_SETTINGS[n_factors]
    options = PARAMETER(0, n_factors, n_threads, 20, LIBMF_EPOCHS, 0, l2, 0, l2, eta, False, True, False)
    start = time.perf_counter()
    model = library.mf_train(ctypes.byref(problem), options)
    seconds = time.perf_counter() - start
    user = np.ctypeslib.as_array(model.contents.P, (train.n_users, n_factors))
    item = np.ctypeslib.as_array(model.contents.Q, (train.n_items, n_factors))
    prediction = np.zeros(len(test), np.float32)
    for factor in range(n_factors):
        prediction += user[test.user, factor] * item[test.item, factor]
    library.mf_destroy_model(ctypes.byref(model))
    return seconds, rmse(test.rating, prediction)


def against_libmf(args: argparse.Namespace) -> Lines:
    table, in_train = read(args.table)
    train, test = table.take(in_train), table.take(~in_train)
    for width, t in itertools.product(LIBMF_SETTINGS, THREADS):
        seconds: dict[str, list[float]] = defaultdict(list)
        epochs = {}
        for _ in range(args.runs):
            theirs, goal = fit_libmf(args.libmf, train, test, width, t)
            seconds["libmf"].append(theirs)
            for kind in ("funk_svd", "svd"):
                run = fit(kind, train, test, goal, n_factors=width, n_threads=t, **OUR_SETTINGS[kind, width])
                seconds[kind].append(run.seconds)
                epochs[kind] = len(run.wall)
        slow, *fast = (median(found) for found in seconds.values())
        for (kind, n), ours in zip(epochs.items(), fast, strict=True):
            what = f"{label(kind, width, t)}: to the test RMSE of LIBMF's {LIBMF_EPOCHS} epochs, {goal:.4f}"
            yield what, "LIBMF", "1.2 x", f"{slow / ours:.1f} x: {ours:.2f} s ({n} epochs) against {slow:.2f} s"


def against_surprise(args: argparse.Namespace) -> Lines:
    import surprise  # type: ignore[import-not-found]

    train = load_tables(DataConfig(dataset="ml-100k", fold="u1")).train
    raw = zip(train.user.tolist(), train.item.tolist(), train.rating.tolist(), [None] * len(train), strict=True)
    trainset = surprise.Dataset(surprise.Reader(rating_scale=train.scale)).construct_trainset(list(raw))
    same = {"n_epochs": 20, "l2": 0.02, "init_std": 0.1, "schedule": "constant", "n_threads": 1, **BARE}
    for kind, (name, width, rate, wanted) in SURPRISE.items():
        theirs, ours = [], []
        for _ in range(args.runs):
            model = getattr(surprise, name)(n_factors=width, n_epochs=20, lr_all=rate, reg_all=0.02)
            start = time.perf_counter()
            model.fit(trainset)
            theirs.append(time.perf_counter() - start)
            ours.append(fit(kind, train, n_factors=width, learning_rate=rate, **same).seconds)
        slow, fast = median(theirs), median(ours)
        what = f"{label(kind, width, 1)}: ML-100K u1.base, 20 epochs"
        yield what, f"Surprise `{name}`", f"{wanted} x", f"{slow / fast:.1f} x: {fast:.3f} s against {slow:.3f} s"


def scale(args: argparse.Namespace) -> Lines:
    tables = [read(path)[0] for path in args.scale_tables]
    sizes = " / ".join(f"{len(table) / 1e6:.0f}" for table in tables)
    for (kind, width), t in itertools.product((("funk_svd", 16), ("svd", 16), ("svd", 64)), THREADS):
        costs: dict[str, list[list[float]]] = {"wall": [[] for _ in tables], "CPU": [[] for _ in tables]}
        for _, (at, table) in itertools.product(range(args.runs), enumerate(tables)):
            run = fit(kind, table, n_factors=width, n_epochs=6, n_threads=t, **PLAIN)
            for name, seconds in (("wall", run.wall), ("CPU", run.cpu)):
                costs[name][at].append(median(seconds[1:]) / len(table) * 1e9)
        middle = {name: [median(values) for values in by_table] for name, by_table in costs.items()}
        words = [
            f"{name} {max(m) / min(m):.2f} x ({' / '.join(f'{ns:.1f}' for ns in m)} ns)" for name, m in middle.items()
        ]
        what = f"{label(kind, width, t)}: cost of a rating in an epoch"
        yield what, f"itself, {sizes} M ratings", "within 1.5 x", ", ".join(words)


def users(args: argparse.Namespace) -> Lines:
    """5 M users x 500,000 items: blocks must not shrink with the number of users, nor threads cost more than they bring."""
    rng = np.random.default_rng(0)
    n_users, n_items, n_ratings = 5_000_000, 500_000, 40_000_000
    user = rng.integers(0, n_users, n_ratings, dtype=np.int32)
    item = (n_items * rng.random(n_ratings, np.float32) ** 3).astype(np.int32).clip(0, n_items - 1)
    rating = rng.integers(1, 6, n_ratings).astype(np.float32)
    schedule = GridSchedule(user, item, rating, n_users, n_items, 16, seed=0, n_threads=THREADS[-1])
    factors = [zero_rows(n_rows, 16) for n_rows in (n_users, n_items)]
    for table in factors:
        table[:] = 0.1 * rng.standard_normal(table.shape, np.float32)
    l2 = [np.full(n_rows, 0.02, np.float32) for n_rows in (n_users, n_items)]
    costs: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for epoch, t in itertools.product(range(args.runs), THREADS):
        with Workers(t) as workers:
            start, busy = time.perf_counter(), time.process_time()
            schedule.run(train_funk, *factors, 1, 0.01, 1.0, *l2, seed=0, epoch=epoch, workers=workers)
            costs[t].append((time.perf_counter() - start, time.process_time() - busy))
    wall, cpu = ({t: median(cost[at] for cost in costs[t]) for t in THREADS} for at in (0, 1))
    for t in THREADS:
        measured = f"{wall[t]:.2f} s, {cpu[t]:.2f} s of CPU; {wall[1] / wall[t]:.1f} x as fast, {cpu[t] / cpu[1]:.2f} x the CPU"
        yield (
            f"{label('funk_svd', 16, t)}: an epoch of 40 M ratings by 5 M users",
            "one thread",
            "1.1 x the CPU",
            measured,
        )


def memory(args: argparse.Namespace) -> Lines:
    """Each kind in a process of its own, for a peak of its own."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import benchmark_svd; benchmark_svd.print_peaks(*sys.argv[2:])"
    for kind in FACTORIZATIONS:
        found = subprocess.check_output([sys.executable, "-c", code, Path(__file__).parent, args.table, kind])
        columns, factors, made, fitted = (int(part) / 1e6 for part in found.split())
        against = f"columns {columns:.0f} MB, factors {factors:.0f} MB"
        measured = f"`fit` and its table: {(fitted - factors) / columns:.2f} x the columns, plus the factors; "
        measured += f"`Ratings.from_arrays` before, with the arrays it is given: {made / columns:.2f} x"
        yield f"{label(kind, 16)}: peak memory", against, "below 3 x the columns, plus the factors", measured


def print_peaks(path: str, kind: str) -> None:
    """Bytes of: the columns, the factors, the peaks of making the table and of a fit, less what the process held before."""

    def held(what: str) -> int:
        return int(re.findall(rf"{what}:\s*(\d+)", Path("/proc/self/status").read_text())[0]) * 1024

    warm_up()
    before = held("VmRSS")
    table, _ = read(Path(path))
    made = held("VmHWM") - before
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    model = fit(kind, table, n_factors=16, n_epochs=1).model
    print(12 * len(table), sum(table.nbytes for table in model.scorer.tables.values()), made, held("VmHWM") - before)


def first(args: argparse.Namespace) -> Lines:
    for kind in FACTORIZATIONS:
        with tempfile.TemporaryDirectory() as cache:
            environment, command = {**os.environ, "NUMBA_CACHE_DIR": cache}, [sys.executable, "-c", FIRST, kind]
            cold, *warm = (float(subprocess.check_output(command, env=environment)) for _ in range(args.runs + 1))
        what = f"{label(kind, 20)}, ML-100K's shape: from importing NumPy to the end of the first epoch"
        measured = f"{median(warm):.2f} s ({min(warm):.2f}-{max(warm):.2f}); {cold:.1f} s when it has to compile"
        yield what, "kernels in the cache", "1.5 s", measured


ROWS = dict(
    seed=against_seed,
    libmf=against_libmf,
    surprise=against_surprise,
    scale=scale,
    users=users,
    memory=memory,
    first=first,
)


def table_of(results: dict[str, Any]) -> str:
    """The README's table of the rows there are figures of."""
    lines = ["| row | against | wanted | measured |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for name in ROWS if name in results for cells in results[name]["lines"]]
    runs = ", ".join(f"{name} {results[name]['runs']}" for name in ROWS if name in results)
    return "\n".join(lines) + f"\n\n{os.cpu_count()} cores; medians over runs in turns: {runs}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "all"], default=[], metavar="ROW")
    parser.add_argument("--runs", type=int, default=5)
    for option in ("--table", "--libmf", "--seed-folder"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--scale-tables", type=Path, nargs="+")
    parser.add_argument("--results", type=Path, default=Path("svd_speed.json"), help="where the rows' figures are kept")
    parser.add_argument("--readme", type=Path, help="write the table between this file's markers <!-- svd-speed -->")
    args = parser.parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    warm_up()
    for name in ROWS if "all" in args.rows else args.rows:
        load = round(os.getloadavg()[0], 1)
        results[name] = {"runs": args.runs, "load before": load, "lines": list(ROWS[name](args))}
        args.results.write_text(json.dumps(results, indent=1))
        print(f"# {name}, load {load} before", *map("  ".join, results[name]["lines"]), sep="\n", flush=True)
    if args.readme:
        put_between(args.readme, "svd-speed", table_of(results))


if __name__ == "__main__":
    main()
