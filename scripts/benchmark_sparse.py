"""Steps over the rows of a batch against steps over whole tables, and against PyTorch, in alternating runs; medians.

    python scripts/benchmark_sparse.py [--torch-python PYTHON] [--torch-ways dense sparse compiled] [--runs 5] [--document docs/scaling.md]

By rows MXNet computes in the thread that asks, as in a command, and in its own, as in a notebook; over whole tables in its own.
Tables are drawn: users and items by how popular they are (a power law), ratings at random, for only the speed is looked at. Figures
are ratings a second of the mean of two epochs, after one that compiles; upload, metric and what an epoch's end costs included. PYTHON
is an interpreter that has torch (default: none); of it the best of dense gradients, ``sparse=True`` (plain SGD there: neither momentum
nor decay, which it has not for such gradients), and the dense step compiled, on one and on two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from compare_networks import medians, put_between

#: users and items; the last: what ten times the rows cost
SHAPES = {
    "ML-100K": (943, 1_682),
    "6,000 x 3,500": (6_000, 3_500),
    "ML-10M": (69_878, 10_677),
    "10 x ML-10M": (698_780, 106_770),
}
FACTORS = 64
WAYS = ("dense", "sparse", "compiled")

DRAWN = """
import numpy as np
rng = np.random.default_rng(0)
def column(n_rows, n):
    return (n_rows * rng.random(n) ** 2).astype(np.int32)  # half of the ratings are of a quarter of the rows
n = min(n_ratings, 30 * 64 * (n_users + n_items))
user, item, rating = column(n_users, n), column(n_items, n), rng.integers(1, 6, n).astype(np.float32)
"""

OURS = """
import json, sys
network, batch_size, n_users, n_items, n_ratings, sparse = sys.argv[1:]
batch_size, n_users, n_items, n_ratings = map(int, (batch_size, n_users, n_items, n_ratings))
{DRAWN}
from nnmf import Ratings, fit
from nnmf.tables import IdMap
ids = {side: IdMap(np.arange(n)) for side, n in (("users", n_users), ("items", n_items))}
train = Ratings(user, item, rating, **ids)
model = fit(network, train, preset="tutorial", n_factors={FACTORS}, n_epochs=3, batch_size=batch_size, sparse=sparse, ctx="cpu")
print(json.dumps(sum(result.samples_per_second for result in model.history[1:]) / 2))
"""

TORCH = """
import json, sys, time
import torch
network, batch_size, n_users, n_items, n_ratings, how, threads = sys.argv[1:]
batch_size, n_users, n_items, n_ratings = map(int, (batch_size, n_users, n_items, n_ratings))
torch.set_num_threads(int(threads))
{DRAWN}
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.user = torch.nn.Embedding(n_users, {FACTORS}, sparse=how == "sparse")
        self.item = torch.nn.Embedding(n_items, {FACTORS}, sparse=how == "sparse")
        self.layers = network != "plain"
        if self.layers:
            self.user_layer, self.item_layer = torch.nn.Linear({FACTORS}, 64), torch.nn.Linear({FACTORS}, 64)
    def forward(self, user, item):
        user, item = self.user(user), self.item(item)
        if self.layers:
            user, item = self.user_layer(torch.relu(user)), self.item_layer(torch.relu(item))
        return (user * item).sum(1)
net = Net()
settings = {"lr": 0.05} if how == "sparse" else {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
optimizer = torch.optim.SGD(net.parameters(), **settings)
user, item, rating = torch.from_numpy(user).long(), torch.from_numpy(item).long(), torch.from_numpy(rating)
def loss(user, item, rating):
    return (0.5 * (net(user, item) - rating) ** 2).mean()
if how == "compiled":
    loss = torch.compile(loss)
def run(n_steps):
    start = time.perf_counter()
    for _ in range(n_steps):
        rows = torch.randint(len(rating), (batch_size,))
        optimizer.zero_grad()
        loss(user[rows], item[rows], rating[rows]).backward()
        optimizer.step()
    return n_steps * batch_size / (time.perf_counter() - start)
run(5)
n_steps = max(20, n_ratings // batch_size)
print(json.dumps(run(n_steps)))
"""


def speed(python: str, program: str, *arguments: object, engine: str | None = None) -> float:
    """Ratings a second that a program prints; with an engine of MXNet other than its own."""
    program = program.replace("{DRAWN}", DRAWN).replace("{FACTORS}", str(FACTORS))
    variables = {**os.environ, **({"MXNET_ENGINE_TYPE": engine} if engine else {})}
    command = [python, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python")
    parser.add_argument(
        "--torch-ways", nargs="*", default=WAYS, choices=WAYS, help="compiling takes half a minute a run"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--document", type=Path, help="write the table between this file's markers")
    arguments = parser.parse_args()
    lines = [
        "| tables | network | batch | by rows | in a notebook | whole tables | times | PyTorch's best | times |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in arguments.shapes:
        shape = SHAPES[name]
        # What takes long a step is run for fewer of them.
        many, few = 1_000_000, 40_000 if sum(shape) < 20_000 else 6_400
        for network in ("plain", "one_layer_mlp"):
            for batch_size in (64, 1024):
                whole = max(few, 20 * batch_size)
                runs = {
                    "by rows": (sys.executable, OURS, network, batch_size, *shape, many, "on"),
                    "whole": (sys.executable, OURS, network, batch_size, *shape, whole, "off"),
                }
                if arguments.torch_python:
                    for how in arguments.torch_ways:
                        n = 200_000 if how == "sparse" else whole
                        for threads in (1, 2):
                            key = f"torch {how} {threads}"
                            runs[key] = (arguments.torch_python, TORCH, network, batch_size, *shape, n, how, threads)
                turns = {key: partial(speed, *run) for key, run in runs.items()}
                turns["as commands"] = partial(speed, *runs["by rows"], engine="NaiveEngine")
                middle = medians(f"{name} {network} {batch_size}", turns, arguments.runs)
                torch = max((value for key, value in middle.items() if key.startswith("torch")), default=float("nan"))
                rows = middle["as commands"]
                lines.append(
                    f"| {name} | `{network}` | {batch_size} | {rows:,.0f} | {middle['by rows']:,.0f} | {middle['whole']:,.0f} | {rows / middle['whole']:.1f} "
                    f"| {torch:,.0f} | {rows / torch:.1f} |"
                )
    print("\n".join(lines))
    if arguments.document:
        put_between(arguments.document, "rows", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
