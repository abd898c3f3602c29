"""How the defaults of `FunkSVD`, `SVD` and `SVDpp` were chosen, on drawn tables and u1.base, and what they come to on test ratings.

    NNMF_DATA=... python scripts/tune_svd.py --search KIND... [--tables NAME ...]
    NNMF_DATA=... python scripts/tune_svd.py --test [--seeds 5] [--readme README.md]

The first reads no .test file. On the tables of `choose_presets.py` (drawn ones, sparse and dense, of several scales, and parts of u1.base) it
tries the settings about the defaults, one or two changed at a time, and prints what each comes to on the tenth held out of each table,
as percent of the RMSE of damped biases, the best on average first. The defaults are round numbers about the best, the same for all
three; what a single table wants beside them is what ``preset="accurate"`` tries. The second is for when they stand: they, and
Surprise's own if it is installed, on the test ratings of u1 to u5. All RMSE are of predictions clipped to the rating scale, as
Surprise clips.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from choose_presets import PARTS, TABLES, tables
from compare_networks import put_between

from nnmf import Ratings
from nnmf.config import DataConfig
from nnmf.datasets import load_tables
from nnmf.kinds import FACTORIZATIONS, model_class
from nnmf.metrics import rmse
from nnmf.models import DampedBiases

Part = tuple[Ratings, Ratings]  # train, held out
# What was tried of each setting beside the default. Flat penalties (l2_prior=0) and such as follow the table's mean number of ratings
# did worse on sparse and on dense tables alike.
TRIED: dict[str, Sequence[Any]] = {
    "l2": (0.03, 0.04, 0.045, 0.06, 0.085),
    "l2_prior": (0, 30, 60, 100),
    "bias_l2": (0.5, 0.7, 1.4),
    "n_epochs": (20, 30, 80),
    "learning_rate": (0.02, 0.03, 0.05),
    "n_factors": (16, 32, 128),
    "init_std": (0.03, 0.1),
}
PAIRED = ("l2", "l2_prior", "n_epochs")  # of which two are changed at a time, too


def score(kind: str, part: Part, seed: int, settings: dict[str, Any]) -> float:
    """RMSE of the clipped predictions for the held-out side of a part."""
    train, held_out = part
    prediction = model_class(kind)(**settings, seed=seed).fit(train).predict_index(held_out.user, held_out.item)
    return rmse(held_out.rating, np.clip(prediction, *train.scale))


def changes(kind: str) -> Iterator[dict[str, Any]]:
    """The settings to try over the defaults, which come first."""
    tried = {name: values for name, values in TRIED.items() if (kind, name) != ("funk_svd", "bias_l2")}
    yield {}
    for name, values in tried.items():
        yield from ({name: value} for value in values)
    for one, other in itertools.combinations(PAIRED, 2):
        yield from ({one: a, other: b} for a, b in itertools.product(tried[one], tried[other]))


def search(kind: str, names: list[str]) -> None:
    """Prints what each change comes to, the best on average first."""
    parts = [(train, held_out) for _, train, held_out, _ in tables(names)]
    biases = [
        rmse(held_out.rating, DampedBiases.of(train).predict(held_out.user, held_out.item)) for train, held_out in parts
    ]
    found = []
    for settings in changes(kind):
        cells = [100 * score(kind, part, 0, settings) / base for part, base in zip(parts, biases, strict=True)]
        found.append((mean(cells), " ".join(f"{cell:7.2f}" for cell in cells), settings or "the defaults"))
    print(f"# {kind}: {', '.join(names)}")
    for average, text, what in sorted(found, key=lambda entry: entry[0]):
        print(f"{average:7.3f} | {text} | {what}", flush=True)


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
    parser.add_argument(
        "--search", nargs="+", choices=("funk_svd", "svd", "svdpp"), default=[], help="whose settings to search"
    )
    parser.add_argument("--tables", nargs="+", default=[*TABLES, *PARTS], choices=[*TABLES, *PARTS], metavar="NAME")
    parser.add_argument("--test", action="store_true", help="read the test ratings, once all is chosen")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--surprise-seeds", type=int, default=1)
    parser.add_argument("--readme", type=Path, help="write the tests' table between its <!-- svd-accuracy --> markers")
    args = parser.parse_args()
    for kind in args.search:
        search(kind, args.tables)
    if args.test:
        test(args.seeds, args.surprise_seeds, args.readme)


if __name__ == "__main__":
    main()
