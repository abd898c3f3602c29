"""The means of scorers: of dot products, kept as one, and of any others, of which some are kept; and which epochs are averaged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.onnx import ExportedIds, export_factors_onnx
from nnmf.training import Scorer

from ._low_rank import Product, kept_width
from ._mean import PAIRS, Count, MeanScorer

# Scorers that are averaged over a training, evenly spread.
_AVERAGED = 100


@dataclass(frozen=True, eq=False)
class Terms:
    """What a scorer predicts by: ``constant + b_u + b_i + p_u . q_i``; float32 arrays by side."""

    constant: float
    bias: dict[str, np.ndarray]
    factors: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of the parts of scorers: of constants, of biases (float64 arrays by side) and of products."""

    constant: float
    bias: dict[str, np.ndarray]
    product: Product

    @property
    def factors(self) -> dict[str, np.ndarray]:
        """Tables by side whose rows' dot products are the sums of products."""
        return dict(zip(("user", "item"), self.product.tables, strict=True))


def terms_of(scorer: Scorer) -> Terms | None:
    """The parts of a scorer; None where it predicts in another way."""
    found = scorer.vectors()
    if "user_factors" not in found:
        return None
    factors = {"user": found.get("user_vectors", found["user_factors"]), "item": found["item_factors"]}
    bias = {side: found.get(f"{side}_bias", np.zeros(len(table), np.float32)) for side, table in factors.items()}
    factors = {side: np.array(table, np.float32) for side, table in factors.items()}
    return Terms(float(found.get("global_mean", 0.0)), bias, factors)


class ProductMean(MeanScorer):
    """The mean of scorers that are biases and a dot product: a dot product of their vectors side by side, made narrower now and then.

    Parameters
    ----------
    own, count, draws
        As for `MeanScorer`.
    sums : Sums, default=None
        Over all the scorers; None: of none yet.
    """

    def __init__(self, own: Scorer, count: Count, draws: tuple[Terms, ...], sums: Sums | None = None) -> None:
        super().__init__(own, count, draws)
        self._sums = sums

    @property
    def sums(self) -> Sums:
        """The sums over all scorers."""
        assert self._sums is not None
        return self._sums

    def _with(self, scorer: Scorer, count: Count, draws: tuple[Terms, ...], add: bool) -> ProductMean:
        return ProductMean(scorer, count, draws, self._added(self._draw(scorer)) if add else self.sums)

    def _added(self, new: Terms) -> Sums:
        """The sums with a scorer's parts in them."""
        user, item = new.factors["user"], new.factors["item"]
        if self._sums is None:
            bias = {side: bias.astype(np.float64) for side, bias in new.bias.items()}
            return Sums(new.constant, bias, Product(user, item, user.shape[1]))
        old = self._sums
        bias = {side: old.bias[side] + bias for side, bias in new.bias.items()}
        return Sums(old.constant + new.constant, bias, old.product.joined(user, item, kept_width(user.shape[1])))

    def _draw(self, scorer: Scorer) -> Terms:
        parts = terms_of(scorer)
        assert parts is not None
        return parts

    def _predicted(self, draw: Terms | Sums, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        found: np.ndarray = draw.bias["user"][user] + draw.bias["item"][item] + np.float32(draw.constant)
        return found + np.einsum("nf,nf->n", draw.factors["user"][user], draw.factors["item"][item])

    def _predict(self, *columns: Any) -> np.ndarray:
        user, item = columns
        prediction = np.empty(len(user), np.float32)
        for start in range(0, len(user), PAIRS):
            rows = slice(start, start + PAIRS)
            prediction[rows] = self._predicted(self.sums, user[rows], item[rows]) / self.count.n
        return prediction

    def towers(self, side: str, rows: np.ndarray | None = None) -> np.ndarray:
        chosen = slice(None) if rows is None else rows
        table, bias = self.sums.factors[side][chosen], self.sums.bias[side][chosen] / self.count.n
        one = np.ones(len(table))
        if side == "user":
            return np.column_stack([table / self.count.n, bias + self._constant, one]).astype(np.float32)
        return np.column_stack([table, one, bias]).astype(np.float32)

    @property
    def _constant(self) -> float:
        return self.sums.constant / self.count.n

    def vectors(self) -> dict[str, np.ndarray]:
        n, by = self.count.n, np.float32(1 / math.sqrt(self.count.n))
        found = {f"{side}_factors": by * table for side, table in self.sums.factors.items()}
        found |= {f"{side}_bias": (bias / n).astype(np.float32) for side, bias in self.sums.bias.items()}
        return {**found, "global_mean": np.array(self._constant)}

    def alone(self, side: str) -> np.ndarray | None:
        if self.own.alone(side) is None:
            return None
        return (self._constant + self.sums.bias[side] / self.count.n).astype(np.float32)

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        found = self.vectors()
        biases = found["user_bias"], found["item_bias"]
        factors = found["user_factors"], found["item_factors"]
        export_factors_onnx(*factors, *biases, self._constant, path, ids=ids, metadata=metadata)

    def _mean_arrays(self) -> dict[str, np.ndarray]:
        found = {"constants": np.array([self.sums.constant, *(draw.constant for draw in self.draws)])}
        for side in ("user", "item"):
            found[f"{side}_bias"], found[f"{side}_factors"] = self.sums.bias[side], self.sums.factors[side]
            found[f"{side}_draw_bias"] = np.stack([draw.bias[side] for draw in self.draws])
            found[f"{side}_draws"] = np.stack([draw.factors[side] for draw in self.draws])
        return found


class SnapshotMean(MeanScorer):
    """The mean of any scorers: of `MOST` of them at most, evenly spread."""

    draws: tuple[Scorer, ...]

    def _with(self, scorer: Scorer, count: Count, draws: tuple[Scorer, ...], add: bool) -> SnapshotMean:
        return SnapshotMean(scorer, count, draws)

    def _draw(self, scorer: Scorer) -> Scorer:
        return scorer

    def _predicted(self, draw: Scorer, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return draw.predict(user, item)

    def _predict(self, *columns: Any) -> np.ndarray:
        user, item = columns
        total = np.zeros(len(user))
        for draw in self.draws:
            total += draw.predict(user, item)
        return (total / len(self.draws)).astype(np.float32)

    def towers(self, side: str, rows: np.ndarray | None = None) -> None:
        return None

    def vectors(self) -> dict[str, np.ndarray]:
        return {}

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        self.own.export_mean(self.draws, path, ids, metadata)

    def _mean_arrays(self) -> dict[str, np.ndarray]:
        each = [draw.arrays() for draw in self.draws]
        return {name: np.stack([arrays[name] for arrays in each]) for name in each[0]}


@dataclass(frozen=True)
class Averaging:
    """Which epochs are averaged: of the later half of a training all, or about `_AVERAGED` of them.

    A run that goes on for longer than it was to at first averages anew where its later half begins; where that lies behind it
    already, what was averaged stays in.

    Attributes
    ----------
    first, last : int
        The training's epochs.
    """

    first: int
    last: int

    def __call__(self, before: Scorer | None, scorer: Scorer, number: int, train_rmse: float) -> Scorer:
        """What predicts after an epoch; see `nnmf.training.Join`."""
        begin = self.first + (self.last - self.first + 1) // 2
        if number < begin:
            return scorer
        squared_error = train_rmse * train_rmse
        if number == begin or not isinstance(before, MeanScorer):
            parts = terms_of(scorer)
            made = SnapshotMean if parts is None else ProductMean
            return made(scorer, Count(), ()).joined(scorer, squared_error)
        every = -(-(self.last - begin + 1) // _AVERAGED)
        return before.joined(scorer, squared_error) if (number - begin) % every == 0 else before.moved_on(scorer)
