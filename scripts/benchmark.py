"""What using a model costs: top-N lists for every user against implicit's, predictions a second, and loading.

    python scripts/benchmark.py [--runs 5] [--implicit-python PYTHON] [--readme README.md]

Lists are those of the public calls, `Model.recommend` of a loaded model and implicit's `recommend`, on the same factors and biases, in
alternating runs. PYTHON is an interpreter that has implicit (default: this one). Each run is a process of its own, so that its peak of memory
is its own; what is timed is the second call, after a small one that compiles and starts threads. implicit runs with
OPENBLAS_NUM_THREADS=1, as it asks for; it is slower without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from compare_networks import put_between

MAKE = """
import sys
import numpy as np
from nnmf import SVD, Ratings
folder, (n_users, n_items, n_factors, n_ratings) = sys.argv[1], map(int, sys.argv[2:])
rng = np.random.default_rng(0)
pair = np.unique(rng.integers(0, n_users * n_items, n_ratings))
table = Ratings.from_arrays(pair // n_items, pair % n_items, rng.integers(1, 6, len(pair)))
# Factors as they are drawn, of the size of biases: lists that differ from user to user.
model = SVD(n_factors=n_factors, n_epochs=1, init_std=0.3, learning_rate=1e-6).fit(table)
model.save(folder + "/model")
for side in ("user", "item"):
    np.save(f"{folder}/{side}_factors.npy", model.scorer.towers(side))
np.save(folder + "/indptr.npy", model.seen.indptr)
np.save(folder + "/item.npy", model.seen.item)
"""
LOAD = """
import json, resource, sys, time
import numpy as np
folder, n, with_seen = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "seen"
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
"""
OURS = """
import nnmf
model = nnmf.load(folder + "/model")
users = model.users.ids
def lists(users):
    return model.recommend(users, n, exclude_seen=with_seen)[0]
"""
THEIRS = """
from scipy.sparse import csr_matrix
from implicit.cpu.als import AlternatingLeastSquares
user_factors, item_factors = np.load(folder + "/user_factors.npy"), np.load(folder + "/item_factors.npy")
indptr, item = np.load(folder + "/indptr.npy"), np.load(folder + "/item.npy")
users = np.arange(len(user_factors))
model = AlternatingLeastSquares(factors=user_factors.shape[1])
model.user_factors, model.item_factors = user_factors, item_factors
shape = len(user_factors), len(item_factors)
seen = csr_matrix((np.ones(len(item), np.float32), item, indptr), shape=shape) if with_seen else None
def lists(users):
    rows = None if seen is None else seen if len(users) == len(user_factors) else seen[users]
    return model.recommend(users, rows, N=n, filter_already_liked_items=with_seen)[0]
"""
USE = """
import json, sys, time
import numpy as np
import nnmf
folder, n_pairs = sys.argv[1], 5_000_000
start = time.perf_counter()
model = nnmf.load(folder + "/model")
load = time.perf_counter() - start
rng = np.random.default_rng(1)
users, items = (rng.choice(ids.ids, n_pairs) for ids in (model.users, model.items))
user, item = model.users.index(users), model.items.index(items)
model.predict(users[:10], items[:10])
model.recommend(users[0])
single = []
for user_id in users[1:50].tolist():
    start = time.perf_counter()
    model.recommend(user_id)
    single.append(1000 * (time.perf_counter() - start))
speeds = []
for predict, columns in ((model.predict, (users, items)), (model.predict_index, (user, item))):
    start = time.perf_counter()
    predict(*columns)
    speeds.append(n_pairs / (time.perf_counter() - start) / 1e6)
print(json.dumps({"load": load, "predict": speeds[0], "predict_index": speeds[1], "one": float(np.median(single))}))
"""
TIME = """
lists(users[:100])
before, start, busy = peak(), time.perf_counter(), time.process_time()
found = lists(users)
seconds, busy = time.perf_counter() - start, time.process_time() - busy
np.save(folder + "/" + sys.argv[4] + ".npy", found)
print(json.dumps({"seconds": seconds, "cpu_seconds": busy, "peak": peak(), "above": peak() - before}))
"""


def use_a_model(folder: str, runs: int) -> str:
    """Loading and predicting with an SVD model of these sizes, in processes of their own: median and range of each."""
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", USE, folder], capture_output=True, text=True, check=True)
        for name, value in json.loads(done.stdout).items():
            found.setdefault(name, []).append(value)
    said = {
        "load": "`nnmf.load` of that model, imports included: {} s",
        "predict": "`predict` of 5 M pairs of ids: {} M pairs/s",
        "one": "`recommend` of one user, after the first: {} ms",
        "predict_index": "`predict_index` of the same pairs as indices: {} M pairs/s",
    }
    return "\n".join(
        "- " + said[name].format(f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})")
        for name, values in found.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-users", type=int, default=70_000)
    parser.add_argument("--n-items", type=int, default=10_000)
    parser.add_argument("--n-factors", type=int, default=64)
    parser.add_argument("--n-seen", type=int, default=10_000_000, help="pairs left out of the lists")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--implicit-python", default=sys.executable)
    parser.add_argument(
        "--readme", type=Path, help="write the table between the markers <!-- model-speed --> of this file"
    )
    args = parser.parse_args()

    # A process of each: the interpreter, what it runs, and what is set around it.
    sides = {
        "nnmf": (sys.executable, LOAD + OURS + TIME, {}),
        "implicit": (args.implicit_python, LOAD + THEIRS + TIME, {"OPENBLAS_NUM_THREADS": "1"}),
    }
    lines = [
        "| lists | package | median s | all runs | CPU s | peak MB | MB above the model | equal places |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        # Elsewhere, for a process starts out with its parent's peak of memory.
        sizes = [str(size) for size in (args.n_users, args.n_items, args.n_factors, args.n_seen)]
        subprocess.run([sys.executable, "-c", MAKE, folder, *sizes], check=True)
        for kind in ("all", "seen"):
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            for _ in range(args.runs):
                for side, (python, code, environment) in sides.items():
                    command = [python, "-W", "ignore", "-c", code, folder, str(args.top), kind, side]
                    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
                    if done.returncode:
                        sys.exit(f"{side} failed:\n{done.stderr}")
                    runs[side].append(json.loads(done.stdout.splitlines()[-1]))
            ours, theirs = (np.load(f"{folder}/{side}.npy") for side in sides)
            for side in sides:
                of = {name: [run[name] for run in runs[side]] for name in runs[side][0]}
                seconds = ", ".join(f"{value:.2f}" for value in of["seconds"])
                lines.append(
                    f"| {'all items' if kind == 'all' else 'unseen items'} | {side} | {median(of['seconds']):.2f} | {seconds} "
                    f"| {median(of['cpu_seconds']):.2f} | {max(of['peak']):.0f} | {max(of['above']):.0f} "
                    f"| {(ours == theirs).mean():.4%} |"
                )
        use = use_a_model(folder, args.runs)
    head = f"Top {args.top} of {args.n_users} users x {args.n_items} items, {args.n_factors} factors, {args.n_seen} pairs seen, "
    text = head + f"{os.cpu_count()} cores, {args.runs} alternating runs.\n\n" + "\n".join(lines)
    text += f"\n\nThe same model:\n\n{use}\n"
    print(text)
    if args.readme:
        put_between(args.readme, "model-speed", text)


if __name__ == "__main__":
    main()
