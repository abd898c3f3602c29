"""Speed and memory of `FunkSVD`, `SVD` and `SVDpp` against the notebook's Cython loop, LIBMF and Surprise.

    NNMF_DATA=... python scripts/benchmark_svd.py ROW... [--results FILE] [--readme README.md]

ROW: seed, libmf, surprise, scale, memory, first or all. Each one's figures go to FILE, from which --readme writes the table, so rows
can be run one after another (none at all: only the table). Opponents take turns in one process; figures are medians of --runs.
Ours is timed through the public classes: around `fit`, table checks and layout included, without the callback that measures test
RMSE, as LIBMF is timed without it; compiling is done before, on a small table, and shown by `first` and `surprise`.

--table and --scale-tables are files of ml10m_like.py (seed, libmf, memory; and scale, smallest first). The opponents:
seed      seed_funk.pyx, built with ``cythonize -i seed_funk.pyx``; --seed-folder is where the built module lies.
libmf     --libmf is a shared library of LIBMF's own source, built for this machine (PyPI's binary is not):
              pip download libmf==0.9.2 --no-deps --no-binary :all: && tar xf libmf-0.9.2.tar.gz && cd libmf-0.9.2/src_cpp
              g++ -O3 -march=native -std=c++11 -pthread -fPIC -shared -DUSEAVX -DUSEOMP -fopenmp mf.cpp -o libmf.so
surprise  ``pip install scikit-surprise``; ml-100k is found as everywhere in nnmf.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from compare_networks import put_between

from nnmf.callbacks import EpochResult
from nnmf.config import DataConfig
from nnmf.data import Ratings
from nnmf.metrics import rmse
from nnmf.model import Model
from nnmf.svd import SVD_MODELS
from nnmf.tables import load_tables

Lines = list[tuple[str, str, str, str]]  # row, against, wanted, measured
PLAIN: dict[str, Any] = {"learning_rate": 0.01, "l2": 0.02}
# What the plain update rule is without our own defaults: one penalty for all.
NO_POWER: dict[str, Any] = {"l2_power": 0.0, "bias_l2": 1.0}
LIBMF_EPOCHS = 20
# l2 and eta, the best test RMSE after 20 epochs of 11 (16 factors) and 8 (64) pairs tried; ours of some 20 to 30 settings
# by the same figure. The table is synthetic: it serves for timing, and no default was chosen on it.
LIBMF_SETTINGS = {16: (0.02, 0.2), 64: (0.05, 0.05)}
OUR_SETTINGS: dict[tuple[str, int], dict[str, Any]] = {
    ("funk_svd", 16): {"n_epochs": 8, "learning_rate": 0.05, "l2": 0.02, "init_std": 0.1, "l2_power": 0.0},
    ("funk_svd", 64): {"n_epochs": 18, "learning_rate": 0.03, "l2": 0.045, "init_std": 0.03, "l2_power": 0.0},
    ("svd", 16): {"n_epochs": 6, "learning_rate": 0.05, "l2": 0.02, "init_std": 0.05, **NO_POWER},
    ("svd", 64): {"n_epochs": 8, "learning_rate": 0.05, "l2": 0.045, "init_std": 0.04, **NO_POWER},
}
# Surprise's defaults, which are ours here.
SURPRISE_SETTINGS = {
    "svd": ("SVD", {"n_factors": 100, "n_epochs": 20, "learning_rate": 0.005, "l2": 0.02}),
    "svdpp": ("SVDpp", {"n_factors": 20, "n_epochs": 20, "learning_rate": 0.007, "l2": 0.02}),
}
SCALE_KINDS = (("funk_svd", 16), ("svd", 16), ("svd", 64))
FIRST_SECONDS = 1.5
# Run in processes of their own: one to start anew, the other for a peak of memory that is its own. VmHWM is Linux's name for it.
FIRST = """
import sys, time
start = time.perf_counter()
import numpy as np
from nnmf.data import Ratings
from nnmf.svd import SVD_MODELS
pair = np.random.default_rng(0).choice(943 * 1682, 80_000, replace=False)
train = Ratings.from_arrays(pair // 1682, pair % 1682, pair % 5 + 1)
SVD_MODELS[sys.argv[1]](n_factors=20, n_epochs=1).fit(train, callbacks=[lambda *_: print(time.perf_counter() - start)])
"""
MEMORY = """
import json, re, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[3])
import benchmark_svd
from nnmf.svd import SVD_MODELS
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
benchmark_svd.warm_up()
before = peak()
train = benchmark_svd.read(Path(sys.argv[1]))[0]
read = peak()
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
model = SVD_MODELS[sys.argv[2]](n_factors=16, n_epochs=1).fit(train)
factors = sum(model.parameters[name].nbytes for name in model.tables)
print(json.dumps({"read": read - before, "fit": peak() - before, "factors": factors, "columns": 12 * len(train)}))
"""


class Epochs:
    """Callback that takes each epoch's wall and CPU seconds, and leaves out its own, in which it looks at the test ratings.

    Args:
        test: the ratings to predict after each epoch, or None.
        goal: the test RMSE that ends training.
    """

    def __init__(self, test: Ratings | None = None, goal: float = -math.inf) -> None:
        self.test, self.goal = test, goal
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.own, self.rmse, self._busy = 0.0, math.inf, time.process_time()

    def __call__(self, result: EpochResult, model: Model) -> bool:
        start = time.perf_counter()
        self.wall.append(result.seconds)
        self.cpu.append(time.process_time() - self._busy)
        if self.test is not None:
            self.rmse = model.rmse(self.test)
        self.own += time.perf_counter() - start
        self._busy = time.process_time()
        return self.rmse <= self.goal


def fit(kind: str, train: Ratings, epochs: Epochs, **settings: Any) -> float:
    """Seconds of a fit, less what the callback took."""
    start = time.perf_counter()
    SVD_MODELS[kind](**settings).fit(train, callbacks=[epochs])
    return time.perf_counter() - start - epochs.own


def read(path: Path) -> tuple[Ratings, np.ndarray]:
    """The table of a file of ml10m_like.py, and which of its ratings are to train on."""
    with np.load(path) as file:
        table = Ratings.from_arrays(file["user"], file["item"], file["rating"], name=path.stem, scale=(0.5, 5.0))
        return table, file["train"]


def warm_up() -> None:
    """Compiles every loop, or loads it from the cache."""
    pair = np.arange(60)
    table = Ratings.from_arrays(pair // 9, pair % 9, pair % 5 + 1)
    for kind, model in SVD_MODELS.items():
        for n_threads in (1, 2) if kind != "svdpp" else (1,):
            threads = {"n_threads": n_threads} if kind != "svdpp" else {}
            model(n_epochs=1, **threads).fit(table, callbacks=[Epochs(table)])


def spread(values: list[float], form: str) -> str:
    """Median, lowest and highest in words."""
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def plural(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def against_seed(args: argparse.Namespace) -> Lines:
    sys.path.insert(0, str(args.seed_folder))
    import seed_funk  # type: ignore[import-not-found]

    table, _ = read(args.table)
    ratings = table.rating.astype(np.float64)
    columns = table.user.copy(), table.item.copy(), ratings  # its loop wants to be able to write
    theirs: list[float] = []
    ours: dict[int, list[float]] = {n: [] for n in args.threads}
    whole: dict[int, list[float]] = {n: [] for n in args.threads}
    for _ in range(args.runs):
        speeds = seed_funk.train(*columns, table.n_users, table.n_items, PLAIN["learning_rate"], PLAIN["l2"], 1)[2]
        theirs.append(len(table) / speeds[0])
        for n in args.threads:
            epochs = Epochs()
            settings = {"n_factors": 10, "n_epochs": 10, "schedule": "constant", **PLAIN}
            whole[n].append(fit("funk_svd", table, epochs, n_threads=n, **settings) / 10)
            ours[n].append(median(epochs.wall))
    return [
        (
            f"`FunkSVD`, {len(table) / 1e6:.1f} M ratings, 10 factors, an epoch, {plural(n)}",
            "`seed_funk.pyx`",
            f"{10 if n == 1 else 15} x",
            f"{median(theirs) / median(ours[n]):.1f} x: {len(table) / median(ours[n]) / 1e6:.1f} M ratings/s against "
            f"{len(table) / median(theirs) / 1e6:.2f} M; {median(theirs) / median(whole[n]):.1f} x as a tenth of a whole fit",
        )
        for n in args.threads
    ]


class Libmf:
    """`mf_train` of a LIBMF shared library, called on a ready array of its nodes."""

    node = np.dtype([("u", "i4"), ("v", "i4"), ("r", "f4")])

    class Problem(ctypes.Structure):
        _fields_ = (("m", ctypes.c_int), ("n", ctypes.c_int), ("nnz", ctypes.c_longlong), ("R", ctypes.c_void_p))

    class Parameter(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_int) for name in ("fun", "k", "nr_threads", "nr_bins", "nr_iters")),
            *((name, ctypes.c_float) for name in ("lambda_p1", "lambda_p2", "lambda_q1", "lambda_q2", "eta")),
            *((name, ctypes.c_bool) for name in ("do_nmf", "quiet", "copy_data")),
        )

    class Factors(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_int) for name in ("fun", "m", "n", "k")),
            ("b", ctypes.c_float),
            *((name, ctypes.POINTER(ctypes.c_float)) for name in ("P", "Q")),
        )

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path.resolve()))
        self.library.mf_train.restype = ctypes.POINTER(self.Factors)
        self.library.mf_train.argtypes = [ctypes.POINTER(self.Problem), self.Parameter]

    def fit(self, train: Ratings, test: Ratings, n_factors: int, n_threads: int) -> tuple[float, float]:
        """(seconds, test RMSE); the nodes are made before, and LIBMF may shuffle them in place, which spares it a copy."""
        nodes = np.empty(len(train), self.node)
        nodes["u"], nodes["v"], nodes["r"] = train.user, train.item, train.rating
        problem = self.Problem(train.n_users, train.n_items, len(train), nodes.ctypes.data)
        l2, eta = LIBMF_SETTINGS[n_factors]
        options = self.Parameter(0, n_factors, n_threads, 20, LIBMF_EPOCHS, 0, l2, 0, l2, eta, False, True, False)
        start = time.perf_counter()
        found = self.library.mf_train(ctypes.byref(problem), options)
        seconds = time.perf_counter() - start
        user, item = (
            np.ctypeslib.as_array(pointer, (n, n_factors)).copy()
            for pointer, n in ((found.contents.P, train.n_users), (found.contents.Q, train.n_items))
        )
        self.library.mf_destroy_model(ctypes.byref(found))
        prediction = np.zeros(len(test), np.float32)
        for factor in range(n_factors):
            prediction += user[test.user, factor] * item[test.item, factor]
        return seconds, rmse(test.rating, prediction)


def against_libmf(args: argparse.Namespace) -> Lines:
    (table, in_train), libmf, lines = read(args.table), Libmf(args.libmf), []
    train, test = table.take(in_train), table.take(~in_train)
    for n_factors in LIBMF_SETTINGS:
        for n in args.threads:
            goals: list[float] = []
            seconds: dict[str, list[float]] = {"libmf": [], "funk_svd": [], "svd": []}
            used = {}
            for _ in range(args.runs):
                spent, goal = libmf.fit(train, test, n_factors, n)
                seconds["libmf"].append(spent)
                goals.append(goal)
                for kind in ("funk_svd", "svd"):
                    epochs = Epochs(test, goal)
                    spent = fit(kind, train, epochs, n_factors=n_factors, n_threads=n, **OUR_SETTINGS[kind, n_factors])
                    seconds[kind].append(spent if epochs.rmse <= goal else math.inf)
                    used[kind] = len(epochs.wall)
            lines += [
                (
                    f"`{SVD_MODELS[kind].__name__}`, {n_factors} factors, {plural(n)}, until LIBMF's test RMSE ({median(goals):.4f})",
                    f"LIBMF, {LIBMF_EPOCHS} epochs",
                    "1.2 x",
                    f"{median(seconds['libmf']) / median(seconds[kind]):.1f} x: {median(seconds[kind]):.2f} s, {used[kind]} epochs, "
                    f"against {median(seconds['libmf']):.2f} s",
                )
                for kind in ("funk_svd", "svd")
            ]
    return lines


def against_surprise(args: argparse.Namespace) -> Lines:
    import surprise  # type: ignore[import-not-found]

    train, lines = load_tables(DataConfig(dataset="ml-100k", fold="u1")).train, []
    raw = [
        (u, i, r, None) for u, i, r in zip(*(c.tolist() for c in (train.user, train.item, train.rating)), strict=True)
    ]
    theirs = surprise.Dataset(surprise.Reader(rating_scale=train.scale)).construct_trainset(raw)
    for kind, (name, settings) in SURPRISE_SETTINGS.items():
        slow: list[float] = []
        fast: list[float] = []
        for seed in range(args.runs if kind == "svd" else min(args.runs, 3)):  # SVDpp: half a minute a run
            model = getattr(surprise, name)(
                n_factors=settings["n_factors"],
                n_epochs=20,
                lr_all=settings["learning_rate"],
                reg_all=0.02,
                random_state=seed,
            )
            start = time.perf_counter()
            model.fit(theirs)
            slow.append(time.perf_counter() - start)
            threads = {"n_threads": 1} if kind == "svd" else {}
            same = {**settings, **NO_POWER, **threads, "init_std": 0.1, "schedule": "constant", "seed": seed}
            fast.append(fit(kind, train, Epochs(), **same))
        cold, warm = first_epoch(kind, 1)
        lines.append(
            (
                f"`{SVD_MODELS[kind].__name__}`, ML-100K u1.base, {settings['n_factors']} factors, 20 epochs, fit, 1 thread",
                f"Surprise `{name}`",
                "5 x" if kind == "svd" else "50 x",
                f"{median(slow) / median(fast):.1f} x: {median(fast):.3f} s against {median(slow):.3f} s; "
                f"once per machine {cold - warm[0]:.1f} s of compiling more",
            )
        )
    return lines


def scale(args: argparse.Namespace) -> Lines:
    tables, lines = [read(path)[0] for path in args.scale_tables], []
    for kind, n_factors in SCALE_KINDS:
        for n in args.threads:
            wall: list[list[float]] = [[] for _ in tables]
            cpu: list[list[float]] = [[] for _ in tables]
            for _ in range(args.runs):
                for at, table in enumerate(tables):
                    epochs = Epochs()
                    fit(kind, table, epochs, n_factors=n_factors, n_epochs=5, n_threads=n, **PLAIN)
                    # The first one's CPU time holds the layout too.
                    wall[at] += [seconds / len(table) * 1e9 for seconds in epochs.wall[1:]]
                    cpu[at] += [seconds / len(table) * 1e9 for seconds in epochs.cpu[1:]]
            words = []
            for what, costs in (("wall", wall), ("CPU", cpu)):
                middle = [median(values) for values in costs]
                each = " / ".join(f"{value:.1f}" for value in middle)
                words.append(f"{what} {max(middle) / min(middle):.2f} ({each} ns a rating)")
            sizes = " / ".join(f"{len(table) / 1e6:.0f}" for table in tables)
            what = f"`{SVD_MODELS[kind].__name__}`, {n_factors} factors, {plural(n)}: an epoch at {sizes} M ratings"
            lines.append((what, "itself: dearest over cheapest", "at most 1.5", "; ".join(words)))
    return lines


def memory(args: argparse.Namespace) -> Lines:
    lines = []
    for kind, model in SVD_MODELS.items():
        command = [sys.executable, "-c", MEMORY, str(args.table), kind, str(Path(__file__).parent)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        times = {name: (found[name] - found["factors"]) / found["columns"] for name in ("read", "fit")}
        lines.append(
            (
                f"`{model.__name__}`, {found['columns'] / 12e6:.1f} M ratings, 16 factors: peak memory",
                f"columns ({found['columns'] / 1e6:.0f} MB) plus factors ({found['factors'] / 1e6:.0f} MB)",
                "below 3 x the columns, plus the factors",
                f"{times['fit']:.2f} x in `fit`, the table included ({found['fit'] / 1e6:.0f} MB); "
                f"{found['read'] / found['columns']:.2f} x in `Ratings.from_arrays` before",
            )
        )
    return lines


def first_epoch(kind: str, runs: int) -> tuple[float, list[float]]:
    """Seconds from importing numpy to the end of the first epoch: with an empty cache, and those with a filled one."""
    with tempfile.TemporaryDirectory() as cache:
        command, environment = [sys.executable, "-c", FIRST, kind], {**os.environ, "NUMBA_CACHE_DIR": cache}
        done = [
            float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(runs + 1)
        ]
    return done[0], done[1:]


def first(args: argparse.Namespace) -> Lines:
    lines = []
    for kind, model in SVD_MODELS.items():
        cold, warm = first_epoch(kind, args.runs)
        what = f"`{model.__name__}`, ML-100K's shape: from the first import to the end of the first epoch"
        measured = f"{spread(warm, '.2f')} s; {cold:.1f} s with an empty cache"
        lines.append((what, "kernels cached", f"{FIRST_SECONDS} s", measured))
    return lines


ROWS: dict[str, Callable[[argparse.Namespace], Lines]] = {
    "seed": against_seed,
    "libmf": against_libmf,
    "surprise": against_surprise,
    "scale": scale,
    "memory": memory,
    "first": first,
}


def table_of(results: dict[str, dict[str, Any]]) -> str:
    """The README's table of the rows there are."""
    lines = ["| row | against | wanted | measured |", "|---|---|---|---|"]
    known = [name for name in ROWS if name in results]
    lines += ["| " + " | ".join(cells) + " |" for name in known for cells in results[name]["lines"]]
    runs = ", ".join(f"{name} {results[name]['runs']}" for name in known)
    cores = max(results[name]["cores"] for name in known)
    return "\n".join(lines) + f"\n\n{cores} cores; medians of alternating runs: {runs}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, "all"], metavar="ROW")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--scale-tables", type=Path, nargs="+")
    parser.add_argument("--libmf", type=Path, help="LIBMF's shared library")
    parser.add_argument("--seed-folder", type=Path, default=Path())
    parser.add_argument("--results", type=Path, default=Path("svd_speed.json"), help="where the rows' figures are kept")
    parser.add_argument("--readme", type=Path, help="write the table between this file's markers <!-- svd-speed -->")
    args = parser.parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    warm_up()
    for name in ROWS if "all" in args.rows else args.rows:
        load = os.getloadavg()[0]
        lines = ROWS[name](args)
        results[name] = {"runs": args.runs, "cores": os.cpu_count(), "load": round(load, 1), "lines": lines}
        args.results.write_text(json.dumps(results, indent=1))
        print(f"# {name}, load {load:.1f} before", *("  ".join(cells) for cells in lines), sep="\n", flush=True)
    if args.readme:
        put_between(args.readme, "svd-speed", table_of(results))


if __name__ == "__main__":
    main()
