"""Train the tutorial's three networks on ML-100K's u1 over several seeds and write the README's results table.

    NNMF_DATA=... python scripts/compare_networks.py [--seeds 5] [--readme README.md]

Each run is the tutorial's: 10 epochs, batch 64, learning rate .05, momentum .9, weight decay 1e-4; nothing is chosen on the
test ratings, the last epoch's RMSE counts. The tutorial does not clip its predictions to the scale, and neither does this.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev

from nnmf import Ratings, fit
from nnmf.config import DataConfig
from nnmf.datasets import load_tables
from nnmf.networks import TUTORIAL as NETWORKS

TUTORIAL = {
    "plain": "1.017",
    "one_layer_mlp": ".963",
    "dropout_mlp": "none: its run trains the network without the dropout, .954-.972",
}
TUTORIAL_CURVE = [3.7147, 2.4613, 1.4336, 1.2023, 1.1165, 1.0731, 1.0510, 1.0360, 1.0252, 1.0172]


def put_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers ``<!-- name -->`` and ``<!-- /name -->`` of a file."""
    content = path.read_text(encoding="utf-8")
    before, rest = content.split(f"<!-- {name} -->\n")
    _, after = rest.split(f"<!-- /{name} -->")
    path.write_text(f"{before}<!-- {name} -->\n{text}<!-- /{name} -->{after}", encoding="utf-8")


def medians(title: str, runs: dict[str, Callable[[], float]], n: int) -> dict[str, float]:
    """The median of what each run answers, of `n` runs of each in turns; prints it with the least and the most."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(n):
        for name, run in runs.items():
            found[name].append(run())
    middle = {name: median(values) for name, values in found.items()}
    for name, values in found.items():
        print(f"{title} {name}: {middle[name]:,.0f} ({min(values):,.0f}-{max(values):,.0f})", flush=True)
    return middle


def curve(network: str, train: Ratings, test: Ratings, seed: int) -> list[float]:
    """The RMSE on the test ratings after each epoch, of predictions as they are."""
    found: list[float] = []
    fit(
        network,
        train,
        preset="tutorial",
        seed=seed,
        callbacks=[lambda _, model: found.append(model.rmse(test, clip=False))],
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--readme", type=Path, help="write the table between this file's markers")
    arguments = parser.parse_args()
    tables = load_tables(DataConfig(dataset="ml-100k", fold="u1"))
    lines = [
        "| network | RMSE on u1.test after 10 epochs, mean (range) | the tutorial's |",
        "|---|---|---|",
    ]
    for network in arguments.networks:
        runs = [curve(network, tables.train, tables.test, seed) for seed in range(arguments.seeds)]
        last = [run[-1] for run in runs]
        lines.append(
            f"| `{network}` | {mean(last):.4f} ({min(last):.4f}-{max(last):.4f}) | {TUTORIAL.get(network, '')} |"
        )
        print(lines[-1], f"standard deviation {stdev(last):.4f}" if len(last) > 1 else "", flush=True)
        if network == "plain":
            for epoch, reference in enumerate(TUTORIAL_CURVE):
                found = [run[epoch] for run in runs]
                worst = max(abs(value / reference - 1) for value in found)
                print(
                    f"  epoch {epoch + 1}: {min(found):.4f}-{max(found):.4f}, tutorial {reference:.4f}, off by {worst:.1%} at most"
                )
    if arguments.readme:
        put_between(arguments.readme, "networks", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
