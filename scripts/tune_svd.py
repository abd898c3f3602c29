"""How the defaults of `FunkSVD`, `SVD` and `SVDpp` were chosen, on u1.base alone, and what they come to on the test ratings.

    NNMF_DATA=... python scripts/tune_svd.py --search KIND... [--trials 300]
    NNMF_DATA=... python scripts/tune_svd.py --test [--seeds 5] [--readme README.md]

The first reads no .test file: random search on 3 random 90/10 parts of u1.base, then the best and the classes' defaults on 8 others.
Those defaults are round numbers about the best. The second is for when they stand: they, and Surprise's own if it is installed, on
the test ratings of u1 to u5. All RMSE are of predictions clipped to the rating scale, as Surprise clips.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from compare_networks import put_between

from nnmf import Ratings
from nnmf.config import DataConfig
from nnmf.datasets import fetch, load_tables
from nnmf.kinds import FACTORIZATIONS, model_class
from nnmf.metrics import rmse

Part = tuple[Ratings, Ratings]  # train, held out
BIASED = {  # what a wide first search left of the settings
    "n_epochs": (15, 20, 30, 40),
    "learning_rate": (0.015, 0.02, 0.025, 0.03, 0.04, 0.06),
    "l2": (0.08, 0.1, 0.12, 0.15, 0.18, 0.21),
    "l2_power": (-1.0, -0.75, -0.5, -0.25),
    "bias_l2": (0.1, 0.2, 0.3, 1.0),
    "init_std": (0.01, 0.03, 0.1),
}
RATES = {"n_epochs": (30, 40), "learning_rate": (0.01, 0.0125, 0.015, 0.02, 0.025)}
UNBIASED = {**RATES, "l2": (0.06, 0.07, 0.08), "l2_power": (-0.25, 0.0, 0.25), "init_std": (0.01, 0.02, 0.03, 0.05)}
GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "funk_svd": {"n_factors": (48, 64, 96, 128), **UNBIASED},
    "svd": {"n_factors": (32, 48, 64, 96, 128), **BIASED},
    "svdpp": {"n_factors": (16, 32, 48, 64), **BIASED},
}


def score(kind: str, part: Part, seed: int, settings: dict[str, Any]) -> float:
    """RMSE of the clipped predictions for the held-out side of a part."""
    train, held_out = part
    prediction = model_class(kind)(**settings, seed=seed).fit(train).predict_index(held_out.user, held_out.item)
    return rmse(held_out.rating, np.clip(prediction, *train.scale))


def search(kind: str, trials: int) -> None:
    """Prints the finalists, the best first. The second half of the trials changes two settings of one of the best so far."""
    table = Ratings.from_file(fetch("ml-100k", files=("u1.base",)) / "u1.base", scale=(1.0, 5.0))
    seen, unseen = ([table.split(0.9, seed) for seed in seeds] for seeds in (range(3), range(10, 18)))
    rng, grid = np.random.default_rng(7), GRIDS[kind]
    found: list[tuple[float, dict[str, Any]]] = []
    for trial in range(trials):
        settings = {name: rng.choice(values).item() for name, values in grid.items()}
        if trial >= trials // 2 and found:
            fresh = {name: settings[name] for name in rng.choice(list(grid), 2, replace=False).tolist()}
            settings = {**found[int(rng.integers(min(12, len(found))))][1], **fresh}
        if settings not in [known for _, known in found]:
            found.append((mean(score(kind, part, seed, settings) for seed, part in enumerate(seen)), settings))
            found.sort(key=lambda entry: entry[0])
    final = []
    for settings in [{}, *(settings for _, settings in found[:8])]:
        values = [score(kind, part, seed, settings) for seed, part in enumerate(unseen)]
        final.append(f"{mean(values):.4f} +- {stdev(values):.4f} {settings or 'the defaults of the class'}")
    print(f"# {kind}", *sorted(final), sep="\n", flush=True)


def surprise_score(name: str, part: Part, seed: int) -> float:
    """RMSE of one of Surprise's models, which clip, with its defaults. Items unknown to our table are all -1, and so to its."""
    import surprise  # type: ignore[import-not-found]

    train, test = (zip(t.user.tolist(), t.item.tolist(), t.rating.tolist(), strict=True) for t in part)
    data = surprise.Dataset(surprise.Reader(rating_scale=part[0].scale))
    model = getattr(surprise, name)(random_state=seed).fit(data.construct_trainset([(*entry, None) for entry in train]))
    return float(surprise.accuracy.rmse(model.test(list(test)), verbose=False))


def test(n_seeds: int, n_surprise_seeds: int, readme: Path | None) -> None:
    """Prints the table of the five folds, a row a model."""
    folds = [load_tables(DataConfig(dataset="ml-100k", fold=f"u{n}")) for n in range(1, 6)]
    rows = [(f"`{model_class(kind).__name__}`", partial(score, kind, settings={}), n_seeds) for kind in FACTORIZATIONS]
    if importlib.util.find_spec("surprise"):
        rows += [(f"Surprise `{name}`", partial(surprise_score, name), n_surprise_seeds) for name in ("SVD", "SVDpp")]
    lines = ["| model | seeds | u1 | u2 | u3 | u4 | u5 | mean |", "|---|---|---|---|---|---|---|---|"]
    for name, scorer, seeds in rows:
        found = [[scorer(part=(t.train, t.test), seed=seed) for seed in range(seeds)] for t in folds]
        cells = [f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if seeds > 1 else "") for values in found]
        lines.append(f"| {name} | {seeds} | {' | '.join(cells)} | {mean(map(mean, found)):.4f} |")
        print(lines[-1], flush=True)
    if readme:
        put_between(readme, "svd-accuracy", "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", nargs="+", choices=GRIDS, default=[], help="whose settings to search")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--test", action="store_true", help="read the test ratings, once all is chosen")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--surprise-seeds", type=int, default=1)
    parser.add_argument("--readme", type=Path, help="write the tests' table between its <!-- svd-accuracy --> markers")
    args = parser.parse_args()
    for kind in args.search:
        search(kind, args.trials)
    if args.test:
        test(args.seeds, args.surprise_seeds, args.readme)


if __name__ == "__main__":
    main()
