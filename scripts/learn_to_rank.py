"""What negatives do to top-10 lists: networks with and without them, random, popularity and SVD on ML-100K's ua and ub.

    NNMF_DATA=... python scripts/learn_to_rank.py [--seeds 3] [--readme README.md]
    NNMF_DATA=... python scripts/learn_to_rank.py --choose

Lists are of all items that the user has not rated in training; relevant are the user's 10 ratings of the test file, whatever
they are. Settings were chosen by NDCG@10 on five ratings a user held out of ua.base, which ``--choose`` does over; no test
file is looked at for that, though most of ub.test's ratings stand in ua.base, as the two folds overlap.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from compare_networks import put_between

from nnmf import Ratings, fit
from nnmf.config import DataConfig
from nnmf.datasets import load_tables
from nnmf.ranking import UserItems, popularity_factors, random_lists, ranking_metrics, top_n
from nnmf.tables import UNKNOWN

METRICS = ("ndcg@10", "recall@10", "coverage@10")
FOLDS = ("ua", "ub")
TUTORIAL = {"preset": "tutorial"}
# Steps as large as the tutorial's for a rating: 0.05 at 64 is 0.8 at 1,024.
LARGE = {"preset": "tutorial", "batch_size": 1024, "learning_rate": 0.8}
RANKING = {**LARGE, "n_factors": 32, "negatives": 8, "l2": 3e-5, "n_epochs": 24}
RANKING_MLP = {
    "preset": "tutorial",
    "batch_size": 1024,
    "learning_rate": 0.4,
    "negatives": 4,
    "l2": 1e-5,
    "n_epochs": 20,
}
# (row of the table, model, settings)
MODELS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("SVD, its defaults", "svd", {}),
    ("`plain`, the tutorial's settings", "plain", TUTORIAL),
    ("`plain`, the best settings without negatives", "plain", {"preset": "tutorial", "l2": 4e-3, "n_epochs": 6}),
    ("`plain` with 8 negatives", "plain", RANKING),
    ("the same settings, 0 negatives", "plain", {**RANKING, "negatives": 0}),
    ("`one_layer_mlp`, the tutorial's settings", "one_layer_mlp", TUTORIAL),
    ("`one_layer_mlp` with 4 negatives", "one_layer_mlp", RANKING_MLP),
)
# What --choose tries: (model, lists of settings).
GRIDS: tuple[tuple[str, dict[str, list[Any]]], ...] = (
    ("plain", {"l2": [1e-4, 5e-4, 1e-3, 2e-3, 4e-3], "n_epochs": [8, 20]}),
    (
        "plain",
        {
            **{name: [value] for name, value in LARGE.items()},
            "n_factors": [32, 64],
            "negatives": [4, 8],
            "l2": [1e-5, 3e-5, 5e-5, 1e-4],
            "n_epochs": [24],
        },
    ),
    ("one_layer_mlp", {"l2": [1e-4, 5e-4, 1e-3], "n_epochs": [20]}),
    (
        "one_layer_mlp",
        {
            "batch_size": [1024],
            "learning_rate": [0.1, 0.4],
            "negatives": [4],
            "l2": [1e-5, 5e-5],
            "n_epochs": [20],
        },
    ),
)


def hold_out(table: Ratings, n: int, seed: int = 0) -> tuple[Ratings, Ratings]:
    """(the rest, n random ratings of each user)."""
    order = np.random.default_rng(seed).permutation(len(table))
    order = order[np.argsort(table.user[order], kind="stable")]
    per_user = np.bincount(table.user, minlength=table.n_users)
    rank = np.arange(len(table)) - (np.cumsum(per_user) - per_user)[table.user[order]]
    held_out = np.zeros(len(table), bool)
    held_out[order[rank < n]] = True
    rest = table.take(~held_out).compact()
    return rest, table.take(held_out).mapped(rest)


def choose() -> None:
    """Print NDCG@10 on held-out ratings of ua.base at four moments of each training."""
    train, part = hold_out(load_tables(DataConfig(dataset="ml-100k", fold="ua")).train, 5)
    for name, grid in GRIDS:
        for values in product(*grid.values()):
            settings = dict(zip(grid, values, strict=True))
            found = []

            def look(result: Any, model: Any, settings: Any = settings, found: list[str] = found) -> None:
                if result.epoch % (settings["n_epochs"] // 4) == 0:
                    found.append(f"{model.evaluate(part, ['ndcg@10'])['ndcg@10']:.4f}")

            fit(name, train, callbacks=[look], **{"preset": "tutorial", **settings})
            print(name, settings, *found, flush=True)


def baselines(train: Ratings, test: Ratings, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of random lists and of the items with the most ratings."""
    seen = UserItems.of(train.user, train.item, train.n_users)
    relevant = UserItems.of(test.user, test.item, train.n_users)
    popular, _ = top_n(*popularity_factors(train.item, train.n_users, train.n_items), 10, seen=seen)
    lists = {"random": random_lists(train.n_users, train.n_items, 10, seed=seed, seen=seen), "popularity": popular}
    # Items that training does not know are misses here, as they are where a model is judged.
    unknown = np.bincount(test.user[test.item == UNKNOWN], minlength=train.n_users)
    return {
        name: ranking_metrics(items, relevant, train.n_items, 10, n_unknown=unknown) for name, items in lists.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--choose", action="store_true", help="try the settings on a part of ua.base instead")
    parser.add_argument("--readme", type=Path, help="write the table between the markers <!-- ranking --> of this file")
    arguments = parser.parse_args()
    if arguments.choose:
        choose()
        return
    tables = {fold: load_tables(DataConfig(dataset="ml-100k", fold=fold)) for fold in FOLDS}
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for fold, of_fold in tables.items():
        for seed in range(arguments.seeds):
            for name, values in baselines(of_fold.train, of_fold.test, seed).items():
                found.setdefault(name, {}).setdefault(fold, []).append(values)
    for name, model, settings in MODELS:
        for fold, of_fold in tables.items():
            for seed in range(arguments.seeds):
                # Without a validation table: the last epoch counts, nothing is chosen on the test ratings.
                trained = fit(model, of_fold.train, seed=seed, **settings)
                values = trained.evaluate(of_fold.test, [*METRICS, "rmse"])
                found.setdefault(name, {}).setdefault(fold, []).append(values)
        print(
            name, settings, {fold: mean(v["ndcg@10"] for v in runs) for fold, runs in found[name].items()}, flush=True
        )
    head = [
        "model",
        *(f"{fold}: {metric}" for fold in FOLDS for metric in ("NDCG@10", "recall@10", "coverage@10", "RMSE")),
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, folds in found.items():
        cells = []
        for fold in FOLDS:
            for metric in (*METRICS, "rmse"):
                runs = [values[metric] for values in folds[fold] if metric in values]
                spread = f" ({min(runs):.3f}-{max(runs):.3f})" if metric == "ndcg@10" and max(runs) > min(runs) else ""
                cells.append(f"{mean(runs):.3f}{spread}" if runs else "")
        lines.append(f"| {' | '.join([name, *cells])} |")
    table = "\n".join(lines) + "\n"
    print(table)
    if arguments.readme:
        put_between(arguments.readme, "ranking", table)


if __name__ == "__main__":
    main()
