"""How the networks' presets were chosen: on tables drawn from known models and parts of ML-100K's u1.base; no test file is read.

    NNMF_DATA=... python scripts/choose_presets.py [--models biased_mlp svd ...] [--tables NAME ...] [--set NAME=VALUE ...]
                                                   [--readme README.md]

A drawn rating is ``mean + b_u + b_i + p_u . q_i + noise``, cut to the scale and rounded to its steps; users and items have long tails.
A tenth of each table is held out. Beside the models stand what answering the mean, and damped biases, come to, and the best that
can be reached: the RMSE of the ratings' expectation, of who knows the model but not the noise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import erf
from pathlib import Path

import numpy as np
from compare_networks import put_between

from nnmf import Ratings, fit
from nnmf.datasets import fetch
from nnmf.metrics import rmse
from nnmf.models import DampedBiases
from nnmf.networks import NETWORKS


@dataclass(frozen=True)
class Drawn:
    """A table to draw: its size, its scale, and what its ratings are made of, in shares of their variance before rounding."""

    n_users: int
    n_items: int
    n_ratings: int
    scale: tuple[float, float, float]  # lowest, highest, step
    biases: float = 0.25
    factors: float = 0.25
    rank: int = 5
    spread: float = 0.28  # standard deviation, as a share of the scale's width


STARS, HALVES, PERCENT, TENS, YES = (1, 5, 1), (0.5, 5, 0.5), (1, 100, 1), (-10, 10, 1), (0, 1, 1)
TABLES = {
    "stars 5k": Drawn(150, 250, 5_000, STARS),
    "1-100 5k": Drawn(600, 800, 5_000, PERCENT),
    "half stars 20k": Drawn(600, 1_500, 20_000, HALVES, rank=8),
    "stars 20k sparse": Drawn(8_000, 3_000, 20_000, STARS),
    "-10..10 60k dense": Drawn(1_000, 100, 60_000, TENS, biases=0.15, factors=0.35, spread=0.25),
    "stars 100k": Drawn(1_000, 1_700, 100_000, STARS, biases=0.3, factors=0.15, rank=10),
    "0/1 150k": Drawn(3_000, 2_000, 150_000, YES, spread=0.5),
    "1-100 200k": Drawn(2_000, 5_000, 200_000, PERCENT, rank=8),
    "half stars 400k sparse": Drawn(40_000, 8_000, 400_000, HALVES, biases=0.3, factors=0.2),
    "stars 1M": Drawn(6_000, 4_000, 1_000_000, STARS, rank=12),
}
PARTS = {"u1.base": 1.0, "u1.base, a quarter": 0.25, "u1.base, a twentieth": 0.05}


def pairs(drawn: Drawn, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (user, item) pairs, some users and items far more often than others."""
    weights = [rng.lognormal(0, 1, n) for n in (drawn.n_users, drawn.n_items)]
    cells = np.empty(0, np.int64)
    while len(cells) < drawn.n_ratings:
        user, item = (rng.choice(len(w), drawn.n_ratings, p=w / w.sum()) for w in weights)
        cells = np.unique(np.append(cells, user * drawn.n_items + item))
    cells = rng.permutation(cells)[: drawn.n_ratings]
    return cells // drawn.n_items, cells % drawn.n_items


def draw(name: str) -> tuple[Ratings, Ratings, float]:
    """(ratings to train on, those held out, the best RMSE on them)."""
    drawn = TABLES[name]
    rng = np.random.default_rng(list(TABLES).index(name))
    user, item = pairs(drawn, rng)
    low, high, step = drawn.scale
    std = drawn.spread * (high - low)
    side = std * np.sqrt(drawn.biases / 2)
    vector = np.sqrt(std * np.sqrt(drawn.factors / drawn.rank))
    mean = (
        low + 0.6 * (high - low) + rng.normal(0, side, drawn.n_users)[user] + rng.normal(0, side, drawn.n_items)[item]
    )
    p, q = (rng.normal(0, vector, (n, drawn.rank)) for n in (drawn.n_users, drawn.n_items))
    mean += np.einsum("rk,rk->r", p[user], q[item])
    noise = std * np.sqrt(1 - drawn.biases - drawn.factors)
    rating = np.clip(low + step * np.rint((mean + rng.normal(0, noise, len(mean)) - low) / step), low, high)
    table = Ratings.from_arrays(user, item, rating, scale=(low, high), name=name)
    held_out = rng.permutation(len(rating)) < len(rating) // 10
    # from_arrays keeps the order of its rows.
    best = rmse(rating[held_out], expected(mean[held_out], noise, np.arange(low, high + step / 2, step)))
    train = table.take(~held_out).compact()
    return train, table.take(held_out).mapped(train), best


def expected(mean: np.ndarray, noise: float, levels: np.ndarray) -> np.ndarray:
    """Expectation of each rating: that of the level that the mean and a normal noise are nearest to."""
    grid = np.linspace(mean.min(), mean.max(), 2000)
    bounds = (levels[1:] + levels[:-1]) / 2
    above = np.array([[0.5 - 0.5 * erf((bound - at) / noise / np.sqrt(2)) for bound in bounds] for at in grid])
    return np.interp(mean, grid, levels[0] + above @ np.diff(levels))


def tables(names: list[str]) -> Iterator[tuple[str, Ratings, Ratings, float | None]]:
    for name in names:
        if name in TABLES:
            yield name, *draw(name)
        else:
            base = Ratings.from_file(fetch("ml-100k", files=("u1.base",)) / "u1.base", scale=(1.0, 5.0))
            part = base.split(PARTS[name], seed=1)[0].compact() if PARTS[name] < 1 else base
            yield name, *part.split(0.9, seed=0), None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["svd", *NETWORKS])
    parser.add_argument("--tables", nargs="+", default=[*TABLES, *PARTS], choices=[*TABLES, *PARTS], metavar="NAME")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings in place of the preset's")
    parser.add_argument("--readme", type=Path, help="write the table between this file's markers")
    arguments = parser.parse_args()
    settings = {name: json.loads(value) for name, value in (text.split("=", 1) for text in arguments.set)}
    heads = ["table", "mean", "biases", *(f"`{name}`" for name in arguments.models), "best"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    print(lines[0], flush=True)
    for name, train, held_out, best in tables(arguments.tables):
        cells = [rmse(held_out.rating, np.full(len(held_out), train.rating.mean(dtype=np.float64)))]
        biases = DampedBiases.of(train).predict(held_out.user, held_out.item)
        cells.append(rmse(held_out.rating, np.clip(biases, *train.scale)))
        start = time.perf_counter()
        seconds = []
        for model in arguments.models:
            cells.append(fit(model, train, **settings).rmse(held_out))
            seconds.append(f"{time.perf_counter() - start:.0f}")
            start = time.perf_counter()
        end = "" if best is None else f"{best:.4f}"
        lines.append(f"| {name} | " + " | ".join(f"{cell:.4f}" for cell in cells) + f" | {end} |")
        print(lines[-1], "seconds", *seconds, flush=True)
    if arguments.readme:
        put_between(arguments.readme, "presets", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
