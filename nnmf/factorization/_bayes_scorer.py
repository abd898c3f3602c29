"""`PosteriorScorer`: predicts by the mean over draws, and tells how far the draws are apart."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.models import Product
from nnmf.onnx import ExportedIds
from nnmf.storage import check_array
from nnmf.tables import codes_of
from nnmf.training import Scorer

from . import _gibbs_kernels as kernels
from ._posterior import PAIRS, Draw, Totals
from ._scorer import FactorScorer, read_only
from ._vectors import zero_rows

# Pairs whose deviation is found at a time.
_PAIRS = 1 << 14
_SIDES = ("user", "item", "day")


class PosteriorScorer(Scorer):
    """Prediction: the mean over draws of ``w0 + c_u + c_i + q_u . q_i``, and where days are known ``c_d + (q_u + q_i) . q_d``.

    Parameters
    ----------
    totals : Totals
    centre, spread : float
        What the draws' ratings are measured from, and in.
    vocabulary : dict
        Of the `Design`: what the days' columns stand for.
    digest : str
        Of the table that the draws were made with, and of what its features said of it; see `Design.digest`.
    """

    def __init__(self, totals: Totals, centre: float, spread: float, vocabulary: dict[str, Any], digest: str) -> None:
        self.totals, self.centre, self.spread = totals, centre, spread
        self.vocabulary, self.digest = vocabulary, digest
        self.dated = "day" in totals.consts
        self.sizes = {side: len(totals.consts[side]) for side in ("user", "item")}

    # -- predictions -------------------------------------------------------------------------------------------------
    def _predict(self, *columns: Any) -> np.ndarray:
        prediction = self.spread * self._mean(self._rows(*columns)) + self.centre
        return prediction.astype(np.float32)

    def _mean(self, index: dict[str, np.ndarray]) -> np.ndarray:
        """Mean over the draws of the predictions, float64 (n,), in units of the spread about the centre."""
        totals, user = self.totals, index["user"]
        total = np.full(len(user), totals.constant)
        for side, rows in index.items():
            total += totals.consts[side][rows]
        for (left, right), product in totals.products.items():
            tables = product.left, product.right, product.width
            kernels.add_products(read_only(index[left]), read_only(index[right]), *tables, total)
        total /= totals.n_draws
        return total

    def _deviation(self, *columns: Any) -> np.ndarray:
        variance = self._variance(self._rows(*columns))
        variance += np.mean([draw.variance for draw in self._settled])
        return (self.spread * np.sqrt(variance)).astype(np.float32)

    def _variance(self, index: dict[str, np.ndarray]) -> np.ndarray:
        """Variance between the draws of the predictions, float64 (n,), in units of the spread squared."""
        draws, n = self._check_draws(), len(index["user"])
        found = np.empty(n)
        for start in range(0, n, _PAIRS):
            part = {side: rows[start : start + _PAIRS] for side, rows in index.items()}
            predictions = np.stack([_predicted(draw, part) for draw in draws])
            found[start : start + _PAIRS] = predictions.var(axis=0, ddof=1, dtype=np.float64)
        return found

    def _check_draws(self) -> tuple[Draw, ...]:
        """The draws that deviations are found by, or a ConfigError where they are too few."""
        if len(self._settled) < 2:
            raise ConfigError(
                f"n_draws: {len(self.totals.draws)} whole draws are kept, of {self.totals.n_draws}, and deviations need three at "
                "least; train with n_draws=32 and more epochs."
            )
        return self._settled

    @property
    def _settled(self) -> tuple[Draw, ...]:
        """The later two thirds of the whole draws: the first ones are still on their way from where the chains started."""
        return self.totals.draws[-(-len(self.totals.draws) // 3) :]

    def _rows(self, user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None) -> dict[str, np.ndarray]:
        index = {"user": user, "item": item}
        if self.dated:
            index["day"] = codes_of(self.vocabulary, timestamp, len(user))["day"]
        return index

    # -- the same without days, as a factorization -------------------------------------------------------------------
    @cached_property
    def undated(self) -> FactorScorer:
        """What predicts alike where no day is known."""
        totals, unit = self.totals, self.spread / self.totals.n_draws
        user, item = totals.products["user", "item"].tables
        constant, consts = totals.constant, {side: totals.consts[side] for side in ("user", "item")}
        if self.dated:
            unknown = len(totals.consts["day"]) - 1
            constant += totals.consts["day"][unknown]
            for side in ("user", "item"):
                own, days = totals.products[side, "day"].tables
                consts[side] = consts[side] + own @ days[unknown]
        tables = {
            "user_factors": _scaled(user, math.sqrt(unit)),
            "item_factors": _scaled(item, math.sqrt(unit)),
            **{f"{side}_bias": (unit * const).astype(np.float32) for side, const in consts.items()},
        }
        return FactorScorer(tables, user.shape[1], self.centre + unit * constant, 1.0)

    def towers(self, side: str, rows: np.ndarray | None = None) -> np.ndarray | None:
        return self.undated.towers(side, rows)

    def vectors(self) -> dict[str, np.ndarray]:
        return self.undated.vectors()

    def alone(self, side: str) -> np.ndarray:
        """What is predicted of each with the other side's mean row."""
        known, other = self.undated, "item" if side == "user" else "user"
        tower, mean = known.towers(side), known.towers(other).mean(axis=0, dtype=np.float64)
        found: np.ndarray = (tower @ mean).astype(np.float32)
        return found

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        self.undated.export(path, ids, metadata)

    # -- as plain data -----------------------------------------------------------------------------------------------
    def arrays(self) -> dict[str, np.ndarray]:
        totals = self.totals
        found = {
            "n_draws": np.array([totals.n_draws], np.int64),
            "every": np.array([totals.every], np.int64),
            "sums": np.array([totals.constant, totals.variance]),
        }
        for side, const in totals.consts.items():
            found[f"{side}_sums"] = const
            found[f"{side}_draws"] = np.stack([draw.q[side] for draw in totals.draws])
            found[f"{side}_draw_consts"] = np.stack([draw.consts[side] for draw in totals.draws])
        for (left, right), product in totals.products.items():
            found[f"{left}_of_{right}"], found[f"{right}_of_{left}"] = product.tables
        if len(totals.cuts):
            found["cuts"], found["draw_cuts"] = totals.cuts, np.stack([draw.cuts for draw in totals.draws])
        found["draw_numbers"] = np.array([(draw.constant, draw.variance) for draw in totals.draws])
        return found

    def newest(self) -> dict[str, np.ndarray]:
        return {f"{side}_sums": const for side, const in self.totals.consts.items()}


def read_totals(arrays: dict[str, np.ndarray], sizes: dict[str, int], n_factors: int, n_cuts: int) -> Totals:
    """The totals of the arrays that `PosteriorScorer.arrays` gave, each checked.

    Parameters
    ----------
    sizes : dict of str to int
        Rows of each side.
    n_cuts : int
        Cut points between the values of a grid; 0 where there is none.

    Raises
    ------
    DataError
        An array that is missing, too many, of another shape or type, or holds what no sampler leaves.
    """
    pairs = [pair for pair in PAIRS if set(pair) <= set(sizes)]
    of_pairs = [f"{a}_of_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    of_sides = [f"{side}_{what}" for side in sizes for what in ("sums", "draws", "draw_consts")]
    names = {"n_draws", "every", "sums", "draw_numbers", *of_pairs, *of_sides}
    names |= {"cuts", "draw_cuts"} if n_cuts else set()
    if set(arrays) != names:
        raise DataError(f"parameters: are {sorted(arrays)} instead of {sorted(names)}.")
    n_draws, every = (int(check_array(arrays[name], (1,), np.int64, name)[0]) for name in ("n_draws", "every"))
    n_kept = len(np.atleast_1d(arrays["draw_numbers"]))
    if not (n_draws >= 1 and every >= 1 and 1 <= n_kept == -(-n_draws // every)):
        raise DataError(f"n_draws: {n_kept} draws are kept of {n_draws}, every {every} of them; they do not agree.")
    constant, variance = (float(number) for number in check_array(arrays["sums"], (2,), np.float64, "sums"))
    if variance <= 0:
        raise DataError(f"sums: the noise's variance is {variance}; it lies above zero.")
    cuts = check_array(arrays["cuts"], (n_cuts,), np.float64, "cuts") if n_cuts else np.zeros(0)
    if not (np.diff(cuts) > 0).all():
        raise DataError("cuts: do not rise from one value of the grid to the next.")
    consts = {side: check_array(arrays[f"{side}_sums"], (n,), np.float64, f"{side}_sums") for side, n in sizes.items()}
    products = {pair: _read_product(arrays, sizes, *pair) for pair in pairs}
    draws = _read_draws(arrays, sizes, n_factors, n_cuts, n_kept)
    return Totals(n_draws, constant, variance, consts, products, draws, every, cuts)


def _read_product(arrays: dict[str, np.ndarray], sizes: dict[str, int], left: str, right: str) -> Product:
    """The tables of a pair of sides."""
    tables = arrays[f"{left}_of_{right}"], arrays[f"{right}_of_{left}"]
    width = tables[0].shape[1] if tables[0].ndim == 2 else 0
    checked = [
        np.ascontiguousarray(check_array(table, (sizes[side], width), np.float32, f"{left}_of_{right}"))
        for table, side in zip(tables, (left, right), strict=True)
    ]
    return Product(checked[0], checked[1], width)


def _read_draws(
    arrays: dict[str, np.ndarray], sizes: dict[str, int], n_factors: int, n_cuts: int, n_kept: int
) -> tuple[Draw, ...]:
    """The whole draws."""
    numbers = check_array(arrays["draw_numbers"], (n_kept, 2), np.float64, "draw_numbers")
    if (numbers[:, 1] <= 0).any():
        raise DataError(f"draw_numbers: the noise's variance is {numbers[:, 1].min()}; it lies above zero.")
    cuts = np.zeros((n_kept, 0))
    if n_cuts:
        cuts = check_array(arrays["draw_cuts"], (n_kept, n_cuts), np.float64, "draw_cuts")
    q, consts = {}, {}
    for side, n in sizes.items():
        q[side] = check_array(arrays[f"{side}_draws"], (n_kept, n, n_factors), np.float16, f"{side}_draws")
        name = f"{side}_draw_consts"
        consts[side] = check_array(arrays[name], (n_kept, n), np.float32, name)
    return tuple(
        Draw(
            float(numbers[number, 0]),
            float(numbers[number, 1]),
            {side: consts[side][number] for side in sizes},
            {side: q[side][number] for side in sizes},
            cuts[number],
        )
        for number in range(n_kept)
    )


def _predicted(draw: Draw, index: dict[str, np.ndarray]) -> np.ndarray:
    """A draw's predictions, float32, in units of the spread about the centre."""
    found = np.full(len(index["user"]), np.float32(draw.constant))
    q = {side: draw.q[side][rows].astype(np.float32) for side, rows in index.items()}
    for side, rows in index.items():
        found += draw.consts[side][rows]
    others = q["item"]
    if "day" in q:
        found += np.einsum("nf,nf->n", q["item"], q["day"])
        others = others + q["day"]
    return found + np.einsum("nf,nf->n", q["user"], others)


def _scaled(table: np.ndarray, by: float) -> np.ndarray:
    """A table times a number, laid out as the kernels like it."""
    scaled = zero_rows(*table.shape)
    np.multiply(table, np.float32(by), out=scaled[:, : table.shape[1]])
    return scaled
