"""Times `Bayes` against myFM on ML-100K's u1, in turns: the same model, width and number of draws; and its speed at ML-10M's shape.

    NNMF_DATA=... python scripts/benchmark_bayes.py [--myfm ENVIRONMENT/bin/python] [--rounds 3] [--large] [--readme README.md]

myFM needs NumPy 2, so it runs in an environment of its own: ``python -m venv E; E/bin/pip install myfm``. Both are timed from arrays in
memory to the end of training, compiled and imported before, on two threads where they have threads (myFM has one).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

N_FACTORS, CHAINS, DRAWS = 10, 4, 75
CASES = {"ids": "ids", "ids, history, raters": "ids,history,raters", "..., day": "ids,history,raters,day"}


def fit_myfm(path: str) -> None:
    """In myFM's environment: one training, by the arrays of a file; prints seconds and test RMSE."""
    import myfm  # type: ignore[import-not-found]
    from scipy import sparse  # type: ignore[import-untyped]

    data = np.load(path)
    sizes = data["sizes"]
    blocks, test_blocks, groups = [], [], []
    for side, n in zip(("user", "item"), sizes[:2], strict=True):
        parts = [sparse.identity(n, format="csr")]
        if f"{side}_starts" in data:
            entries = data[f"{side}_weight"], data[f"{side}_column"], data[f"{side}_starts"]
            parts.append(sparse.csr_matrix(entries, shape=(n, sizes[1] if side == "user" else sizes[0])))
        groups += [part.shape[1] for part in parts]
        matrix = sparse.hstack(parts, format="csr")
        blocks.append(myfm.RelationBlock(data[side], matrix))
        test_blocks.append(myfm.RelationBlock(data[f"test_{side}"], matrix))
    days, test_days = None, None
    if "day" in data:
        days, test_days = (
            sparse.csr_matrix((np.ones(len(code)), code, np.arange(len(code) + 1)), shape=(len(code), sizes[2]))
            for code in (data["day"], data["test_day"])
        )
        groups.insert(0, int(sizes[2]))
    n_draws = int(data["n_draws"])
    model = myfm.MyFMRegressor(rank=N_FACTORS, random_seed=0)
    start = time.perf_counter()
    model.fit(days, data["rating"], X_rel=blocks, n_iter=n_draws, n_kept_samples=n_draws, group_shapes=groups)
    seconds = time.perf_counter() - start
    prediction = np.clip(model.predict(test_days, X_rel=test_blocks), 1, 5)
    found = float(np.sqrt(np.mean((prediction - data["test_rating"]) ** 2)))
    print(json.dumps({"seconds": seconds, "rmse": found, "version": myfm.__version__}))


def arrays_of(train: Any, test: Any, features: str) -> dict[str, Any]:
    """What myFM is given: the known test pairs, and the very blocks that `Bayes` is."""
    from nnmf.tables import codes_of, encode

    design = encode(train, [name for name in features.split(",") if name != "ids"])
    known = test.take(test.known)
    arrays: dict[str, Any] = {"user": train.user, "item": train.item, "rating": train.rating.astype(np.float64)}
    arrays |= {"test_user": known.user, "test_item": known.item, "test_rating": known.rating, "n_draws": CHAINS * DRAWS}
    sizes = [train.n_users, train.n_items]
    for side, blocks in (("user", design.user), ("item", design.item)):
        for block in blocks:
            arrays |= {f"{side}_{part}": getattr(block, part) for part in ("starts", "column", "weight")}
    for codes in design.rating:
        arrays |= {"day": codes.code, "test_day": codes_of(design.vocabulary, known.timestamp, len(known))["day"]}
        sizes.append(codes.n_columns)
    return arrays | {"sizes": np.array(sizes)}


def compare(python: str | None, rounds: int) -> list[str]:
    """Both on u1, in turns."""
    from nnmf import fit
    from nnmf.config import DataConfig
    from nnmf.datasets import load_tables

    tables = load_tables(DataConfig(dataset="ml-100k", fold="u1"))
    train, test = tables.train, tables.test
    lines = [
        f"| {CHAINS * DRAWS} draws of {N_FACTORS} factors, u1 | nnmf: 4 chains, 2 threads | nnmf: 1 thread | myFM | times |",
        "|---|---|---|---|---|",
    ]
    settings = {"n_factors": N_FACTORS, "n_chains": CHAINS, "n_epochs": 5, "sweeps": DRAWS // 5}
    for name, features in CASES.items():
        fit("bayes", train, features=features, **{**settings, "n_epochs": 1, "sweeps": 1})  # compile
        ours: dict[int, list[float]] = {1: [], 2: []}
        theirs: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "u1.npz"
            np.savez(path, **arrays_of(train, test, features))
            for _ in range(rounds):
                for n_threads, seconds in ours.items():
                    start = time.perf_counter()
                    model = fit("bayes", train, features=features, n_threads=n_threads, **settings)
                    seconds.append(time.perf_counter() - start)
                if python:
                    command = [python, __file__, "--worker", str(path)]
                    theirs.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        mine = median(ours[2])
        cell, times = "", ""
        if theirs:
            their = median(run["seconds"] for run in theirs)
            cell, times = f"{their:.1f} s, {theirs[0]['rmse']:.4f} ({theirs[0]['version']})", f"{their / mine:.1f}"
        lines.append(f"| {name} | {mine:.1f} s, {model.rmse(test):.4f} | {median(ours[1]):.1f} s | {cell} | {times} |")
        print(lines[-1], flush=True)
    return lines


def memory(name: str) -> int:
    """A figure of this process's memory, in bytes, as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def large() -> list[str]:
    """A table of ML-10M's shape: seconds a sweep, memory, and predictions a second."""
    from nnmf import Ratings, fit
    from nnmf.testing import low_rank

    rng = np.random.default_rng(0)
    user = np.sort((69_878 * rng.random(10_000_054) ** 2).astype(np.int32))
    item = (10_677 * rng.random(len(user)) ** 3).astype(np.int32)
    rating = np.clip(np.rint(rng.normal(3.5, 1, len(user)) * 2) / 2, 0.5, 5).astype(np.float32)
    fit("bayes", low_rank(), n_factors=32, features="ids", n_epochs=1, sweeps=1)  # compile
    train = Ratings.from_arrays(user, item, rating, duplicates="last")
    del user, item, rating
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of building the table
    before = memory("VmRSS")
    ticks: list[float] = []
    model = fit(
        "bayes",
        train,
        n_factors=32,
        features="ids",
        n_epochs=6,
        sweeps=2,
        callbacks=[lambda result, _: ticks.append(result.seconds / 2) and None],
    )
    more = memory("VmHWM") - before
    rows = rng.integers(0, len(train), 1_000_000)
    start = time.perf_counter()
    model.predict_index(train.user[rows], train.item[rows])
    seconds = time.perf_counter() - start
    lines = [
        "| ML-10M's shape, 32 factors, ids, 2 threads | |",
        "|---|---|",
        f"| ratings | {len(train):,} |",
        f"| a sweep, median | {median(ticks):.1f} s |",
        f"| memory above the table, as a share of its columns (12 bytes a rating) | {more / (12 * len(train)):.1f} |",
        f"| predictions a second | {len(rows) / seconds:,.0f} |",
    ]
    print("\n".join(lines[2:]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--myfm", help="the Python of an environment with myFM")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--readme", type=Path, help="write the tables between this file's markers")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        fit_myfm(arguments.worker)
        return
    lines = [*compare(arguments.myfm, arguments.rounds), "", *(large() if arguments.large else [])]
    if arguments.readme:
        from compare_networks import put_between

        put_between(arguments.readme, "bayes-speed", "\n".join(lines).strip() + "\n")


if __name__ == "__main__":
    sys.exit(main())
