"""Workers of a parameter server on this machine against one process, and the bytes that a step moves; medians of alternating runs.

    python scripts/benchmark_kvstore.py [--ratings 2000000] [--batch 8192] [--runs 3] [--markdown FILE]

Users, items and ratings are drawn, popular ones more often, for only the speed is looked at. Each worker has batches of ``--batch``
rows, so that a step of two has twice as many. Figures are ratings a second of an epoch, all that its end costs included: of one
process on all cores and on one, of one worker, and of each of two. Bytes are those that the loopback device counts, of all
processes of the machine: run nothing else that uses it. The formula is for what one worker sends and gets in a step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

FACTORS = 64
TRAIN = """
import json, sys
from pathlib import Path
import numpy as np
network, sparse, cluster, batch_size, n_users, n_items, n, factors = sys.argv[1:]
batch_size, n_users, n_items, n, factors = map(int, (batch_size, n_users, n_items, n, factors))
rng = np.random.default_rng(0)
def column(n_rows):
    return (n_rows * rng.random(n) ** 2).astype(np.int32)
from nnmf import Ratings, fit
from nnmf.tables import IdMap
ids = {side: IdMap(np.arange(size)) for side, size in (("users", n_users), ("items", n_items))}
train = Ratings(column(n_users), column(n_items), rng.integers(1, 6, n).astype(np.float32), **ids)
def loopback():
    (line,) = [line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")]
    return int(line.split(":")[1].split()[0])
moved = []
model = fit(network, train, preset="tutorial", n_factors=factors, n_epochs=4, batch_size=batch_size, sparse=sparse, ctx="cpu",
            learning_rate=1e-4, cluster=cluster or None, callbacks=[lambda *_: moved.append(loopback())])
n_steps = -(-n // batch_size)
shapes = {name: array.shape for name, array in model.parameters.items()}
if sparse == "on":
    shapes = {name: (min(shape[0], batch_size), *shape[1:]) if "factors_weight" in name else shape for name, shape in shapes.items()}
print(json.dumps({
    "speed": max(result.samples_per_second for result in model.history[1:]),
    "bytes": (moved[-1] - moved[0]) / (len(moved) - 1) / n_steps,
    "formula": 8 * sum(int(np.prod(shape)) for shape in shapes.values()),
}))
"""


def run(n_threads: int | None, *arguments: object) -> dict[str, float]:
    """What a training prints."""
    variables = {**os.environ, **({"OMP_NUM_THREADS": str(n_threads)} if n_threads else {})}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *map(str, arguments)], capture_output=True, text=True, check=False, env=variables
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=int, default=2_000_000)
    parser.add_argument("--users", type=int, default=69_878)
    parser.add_argument("--items", type=int, default=10_677)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--networks", nargs="*", default=["plain", "one_layer_mlp"])
    parser.add_argument("--sparse", nargs="*", default=["on", "off"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--markdown", type=Path, help="append the table to this file")
    arguments = parser.parse_args()
    table = arguments.users, arguments.items, arguments.ratings, FACTORS
    lines = [
        "| network | steps | one process | on one core | one worker | each of two | of one worker | of one core | bytes a step, worker | by the formula |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for network in arguments.networks:
        for sparse in arguments.sparse:
            runs = {
                "process": (None, network, sparse, "", arguments.batch, *table),
                "core": (1, network, sparse, "", arguments.batch, *table),
                "worker": (None, network, sparse, "local:1", arguments.batch, *table),
                "two": (None, network, sparse, "local:2", 2 * arguments.batch, *table),
            }
            found: dict[str, list[dict[str, float]]] = {key: [] for key in runs}
            for _ in range(arguments.runs):
                for key, settings in runs.items():
                    found[key].append(run(*settings))
            speed = {key: median(one["speed"] for one in values) for key, values in found.items()}
            for key, values in found.items():
                speeds = [one["speed"] for one in values]
                print(
                    f"{network} sparse={sparse} {key}: {speed[key]:,.0f} ({min(speeds):,.0f}-{max(speeds):,.0f})",
                    flush=True,
                )
            each, moved = speed["two"] / 2, median(one["bytes"] for one in found["two"]) / 2
            lines.append(
                f"| `{network}` | {'by rows' if sparse == 'on' else 'whole tables'} | {speed['process']:,.0f} | {speed['core']:,.0f} "
                f"| {speed['worker']:,.0f} | {each:,.0f} | {each / speed['worker']:.0%} | {each / speed['core']:.0%} "
                f"| {moved:,.0f} | {found['two'][0]['formula']:,.0f} |"
            )
    print("\n".join(lines))
    if arguments.markdown:
        with arguments.markdown.open("a") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
