"""RMSE of every model on ML-100K's five folds, over several seeds: the README's accuracy table.

    NNMF_DATA=... python scripts/accuracy.py [--seeds 5] [--only NAME ...] [--folds u1 ...] [--json FILE] [--readme README.md]
    python scripts/accuracy.py --dataset ml-1m --split 0.9          # for whoever has the files: one random part, by seed

Protocol: a model is trained on a fold's training table with the settings of the row, which were chosen on parts of u1.base alone and
on drawn tables (`scripts/choose_presets.py`); its last epoch predicts the fold's test ratings, clipped to the scale; that RMSE is
read once and chooses nothing. Training is timed, on all cores; a fold is read before.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from compare_networks import put_between

from nnmf import fit
from nnmf.config import DataConfig
from nnmf.datasets import Tables, load_tables

FOLDS = ("u1", "u2", "u3", "u4", "u5")
HISTORIES = "ids,history,raters"
ACCURATE = {"preset": "accurate"}


@dataclass(frozen=True)
class Row:
    """A row of the table: a model, its settings, and what it is told beside ids and ratings."""

    model: str
    inputs: str = "ids"
    settings: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "Funk SVD": Row("funk_svd"),
    "SVD": Row("svd"),
    "SVD++": Row("svdpp"),
    "plain": Row("plain"),
    "one_layer_mlp": Row("one_layer_mlp"),
    "biased_mlp": Row("biased_mlp"),
    "histories, mean of draws": Row("histories", settings={"temperature": 1.0}),
    "bayes, ids alone": Row("bayes", settings={"features": "ids"}),
    "bayes": Row("bayes"),
    "bayes, ordinal": Row("bayes", settings={"likelihood": "ordinal"}),
    "bayes, accurate": Row("bayes", settings=ACCURATE),
    "..., days": Row("bayes", "ids, dates", {**ACCURATE, "features": f"{HISTORIES},day"}),
    "..., attributes": Row("bayes", "ids, dates, attributes", {**ACCURATE, "features": f"{HISTORIES},day,attributes"}),
}


def run(row: Row, tables: Tables, seed: int) -> tuple[float, float, float | None]:
    """Test RMSE, seconds of training, and the share of test ratings within 90 % intervals."""
    start = time.perf_counter()
    model = fit(row.model, tables.train, seed=seed, **row.settings)
    seconds = time.perf_counter() - start
    within = model.evaluate(tables.test, ["within@90"])["within@90"] if row.model == "bayes" else None
    return model.rmse(tables.test), seconds, within


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    parser.add_argument("--folds", nargs="+", default=list(FOLDS))
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--split", type=float, help="a random part to train on, in place of folds")
    parser.add_argument(
        "--json", type=Path, help="keep every figure in this file; those that it holds are not found again"
    )
    parser.add_argument("--readme", type=Path, help="write the table between this file's markers")
    arguments = parser.parse_args()
    if arguments.split:
        arguments.folds = [f"{arguments.split:g}"]
    found: dict[str, dict[str, list[Any]]] = {name: {fold: [] for fold in arguments.folds} for name in arguments.only}
    if arguments.json and arguments.json.exists():
        for name, by_fold in json.loads(arguments.json.read_text()).items():
            found.setdefault(name, {}).update(by_fold)
    for fold in arguments.folds:
        for seed in range(arguments.seeds):
            split = {"split": arguments.split, "split_seed": seed} if arguments.split else {"fold": fold}
            tables = load_tables(DataConfig(dataset=arguments.dataset, **split), features=True)
            for name in arguments.only:
                if len(found[name].setdefault(fold, [])) > seed:
                    continue
                found[name][fold].append(run(ROWS[name], tables, seed))
                print(f"{name}, {fold}, seed {seed}: {found[name][fold][-1][0]:.4f}", flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    rows = {name: found[name] for name in ROWS if name in found}
    lines = table(
        rows, [fold for fold in FOLDS if any(fold in by_fold for by_fold in rows.values())] or arguments.folds
    )
    print("\n".join(lines))
    if arguments.readme:
        put_between(arguments.readme, "accuracy", "\n".join(lines) + "\n")


def table(found: dict[str, dict[str, list[Any]]], folds: list[str]) -> list[str]:
    """The lines of the README's table."""
    lines = [
        f"| model | told | runs | {' | '.join(folds)} | mean | seconds | in 90 % intervals |",
        "|---" * (len(folds) + 6) + "|",
    ]
    for name, by_fold in found.items():
        cells = []
        for fold in folds:
            scores = [run[0] for run in by_fold.get(fold, [])]
            if not scores:
                cells.append("")
                continue
            cells.append(f"{mean(scores):.4f}" + (f" ± {stdev(scores):.4f}" if len(scores) > 1 else ""))
        runs = [run for fold in folds for run in by_fold.get(fold, [])]
        whole = all(by_fold.get(fold) for fold in folds)
        every = f"{mean(mean(run[0] for run in by_fold[fold]) for fold in folds):.4f}" if whole else ""
        within = "" if runs[0][2] is None else f"{mean(run[2] for run in runs):.1%}"
        seconds = f"{mean(run[1] for run in runs):.1f}"
        lines.append(
            f"| {name} | {ROWS[name].inputs} | {len(runs)} | {' | '.join(cells)} | {every} | {seconds} | {within} |"
        )
    return lines


if __name__ == "__main__":
    main()
