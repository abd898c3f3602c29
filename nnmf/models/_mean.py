"""`MeanScorer`: predicts by the mean of what many epochs' scorers do, kept in bounded memory, and tells how far they lie apart."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.onnx import ExportedIds, export_factors_onnx
from nnmf.storage import check_array
from nnmf.training import Scorer

from ._low_rank import compress

#: what the names of a mean's own arrays begin with
MEAN = "mean:"
# Scorers that are kept whole: at most so many.
_MOST = 16
# Columns of the tables that a sum of products is kept in: at least so many, and so many times a scorer's; they grow to twice that.
_WIDTH, _TIMES = 64, 4
# Pairs that are answered at a time.
_PAIRS = 1 << 14
# Scorers that are averaged over a training, evenly spread.
_AVERAGED = 100


def own_scorer(scorer: Scorer) -> Scorer:
    """The newest epoch's own scorer, from which training goes on, of a mean; any other itself."""
    return scorer.own if isinstance(scorer, MeanScorer) else scorer


@dataclass(frozen=True)
class Averaging:
    """Which epochs are averaged: of the later half of a training all, or about `_AVERAGED` of them.

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
        if not isinstance(before, MeanScorer):
            parts = _parts_of(scorer)
            made = SnapshotMean if parts is None else ProductMean
            return made(scorer, _Count(), ()).joined(scorer, squared_error)
        every = -(-(self.last - begin + 1) // _AVERAGED)
        return before.joined(scorer, squared_error) if (number - begin) % every == 0 else before.moved_on(scorer)


@dataclass(frozen=True)
class _Count:
    """How many scorers are averaged, the sum of their squared errors in training, and that every so many are kept whole."""

    n: int = 0
    squared_error: float = 0.0
    every: int = 1


class MeanScorer(Scorer):
    """The mean of what scorers predict; never changed once made.

    Parameters
    ----------
    own : Scorer
        The newest epoch's.
    count : _Count
    draws : tuple
        What is kept of every `every`-th scorer.
    """

    def __init__(self, own: Scorer, count: _Count, draws: tuple[Any, ...]) -> None:
        self.own, self.count, self.draws = own, count, draws

    def joined(self, scorer: Scorer, squared_error: float) -> MeanScorer:
        """The mean with one scorer more, whose epoch had this mean squared error."""
        n, every, draws = self.count.n, self.count.every, self.draws
        if n % every == 0:
            draws = (*draws, self._draw(scorer))
            if len(draws) > _MOST:
                draws, every = draws[::2], every * 2
        count = _Count(n + 1, self.count.squared_error + squared_error, every)
        return self._with(scorer, count, draws, add=True)

    def moved_on(self, scorer: Scorer) -> MeanScorer:
        """The same mean, with another scorer for training to go on from."""
        return self._with(scorer, self.count, self.draws, add=False)

    @abstractmethod
    def _with(self, scorer: Scorer, count: _Count, draws: tuple[Any, ...], add: bool) -> MeanScorer:
        """The mean of other counts and draws; ``add``: of this scorer, too."""

    @abstractmethod
    def _draw(self, scorer: Scorer) -> Any:
        """What is kept of a scorer."""

    @abstractmethod
    def _predicted(self, draw: Any, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """What a kept scorer predicts."""

    @abstractmethod
    def _mean_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the mean, without what begins their names."""

    def deviation(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """By the variance between the kept scorers, and that of the noise, which is taken to be their error in training."""
        if len(self.draws) < 2:
            raise ConfigError(
                f"keep: {self.count.n} epochs are averaged, and deviations need two at least; train more epochs."
            )
        deviation = np.empty(len(user), np.float32)
        noise = self.count.squared_error / self.count.n
        for start in range(0, len(user), _PAIRS):
            rows = slice(start, start + _PAIRS)
            predicted = np.stack([self._predicted(draw, user[rows], item[rows]) for draw in self.draws])
            deviation[rows] = np.sqrt(predicted.var(axis=0, ddof=1, dtype=np.float64) + noise)
        return deviation

    def arrays(self) -> dict[str, np.ndarray]:
        numbers = np.array([self.count.n, self.count.every, self.count.squared_error])
        mine = {"numbers": numbers, **self._mean_arrays()}
        return {**self.own.arrays(), **{f"{MEAN}{name}": array for name, array in mine.items()}}

    @property
    def parameters(self) -> Mapping[str, Any]:
        mine = {name: array for name, array in self.arrays().items() if name.startswith(MEAN)}
        return {**self.own.parameters, **mine}

    def newest(self) -> Mapping[str, np.ndarray]:
        return self.own.newest()


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a scorer predicts by: ``constant + b_u + b_i + p_u . q_i``; float32 arrays by side."""

    constant: float
    bias: dict[str, np.ndarray]
    factors: dict[str, np.ndarray]


def _parts_of(scorer: Scorer) -> _Parts | None:
    """The parts of a scorer; None where it predicts in another way."""
    found = scorer.vectors()
    if "user_factors" not in found:
        return None
    factors = {"user": found.get("user_vectors", found["user_factors"]), "item": found["item_factors"]}
    bias = {side: found.get(f"{side}_bias", np.zeros(len(table), np.float32)) for side, table in factors.items()}
    factors = {side: np.array(table, np.float32) for side, table in factors.items()}
    return _Parts(float(found.get("global_mean", 0.0)), bias, factors)


class ProductMean(MeanScorer):
    """The mean of scorers that are biases and a dot product: a dot product of their vectors side by side, made narrower now and then.

    Parameters
    ----------
    own, count, draws
        As for `MeanScorer`.
    sums : _Parts, default=None
        Sums of the constants and biases, and two tables whose rows' products are the sums of the products.
    """

    def __init__(self, own: Scorer, count: _Count, draws: tuple[_Parts, ...], sums: _Parts | None = None) -> None:
        super().__init__(own, count, draws)
        self._sums = sums

    @property
    def sums(self) -> _Parts:
        """The sums over all scorers."""
        assert self._sums is not None
        return self._sums

    def _with(self, scorer: Scorer, count: _Count, draws: tuple[_Parts, ...], add: bool) -> ProductMean:
        return ProductMean(scorer, count, draws, self._added(self._draw(scorer)) if add else self.sums)

    def _added(self, new: _Parts) -> _Parts:
        """The sums with a scorer's parts in them."""
        if self._sums is None:
            return _Parts(new.constant, {side: bias.astype(np.float64) for side, bias in new.bias.items()}, new.factors)
        old, width = self._sums, max(_WIDTH, _TIMES * new.factors["user"].shape[1])
        left, right = old.factors["user"], old.factors["item"]
        if left.shape[1] + new.factors["user"].shape[1] > 2 * width:
            left, right = compress(left, right, width)
        return _Parts(
            old.constant + new.constant,
            {side: old.bias[side] + bias for side, bias in new.bias.items()},
            {side: np.column_stack([table, new.factors[side]]) for side, table in (("user", left), ("item", right))},
        )

    def _draw(self, scorer: Scorer) -> _Parts:
        parts = _parts_of(scorer)
        assert parts is not None
        return parts

    def _predicted(self, draw: _Parts, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        found: np.ndarray = draw.bias["user"][user] + draw.bias["item"][item] + np.float32(draw.constant)
        return found + np.einsum("nf,nf->n", draw.factors["user"][user], draw.factors["item"][item])

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        prediction = np.empty(len(user), np.float32)
        for start in range(0, len(user), _PAIRS):
            rows = slice(start, start + _PAIRS)
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
    """The mean of any scorers: of `_MOST` of them at most, evenly spread."""

    draws: tuple[Scorer, ...]

    def _with(self, scorer: Scorer, count: _Count, draws: tuple[Scorer, ...], add: bool) -> SnapshotMean:
        return SnapshotMean(scorer, count, draws)

    def _draw(self, scorer: Scorer) -> Scorer:
        return scorer

    def _predicted(self, draw: Scorer, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return draw.predict(user, item)

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
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


def read_mean(
    own: Scorer, arrays: dict[str, np.ndarray], sizes: dict[str, int], make: Callable[[dict[str, np.ndarray]], Scorer]
) -> MeanScorer:
    """The mean of the arrays that `MeanScorer.arrays` gave, each checked.

    Parameters
    ----------
    own : Scorer
        The newest epoch's.
    arrays : dict of str to array
        Without what begins their names.
    sizes : dict of str to int
        Numbers of users and items.
    make : callable
        Makes, and checks, a scorer of its arrays.

    Raises
    ------
    DataError
        An array that is missing, too many, of another shape or type, or holds what no training leaves.
    """
    if "numbers" not in arrays:
        raise DataError(f"parameters: those of the mean are {sorted(arrays)}, without its numbers.")
    rest = {name: array for name, array in arrays.items() if name != "numbers"}
    n, every, squared_error = check_array(arrays["numbers"], (3,), np.float64, f"{MEAN}numbers").tolist()
    whole = n == int(n) and every == int(every) and n >= 1 and every >= 1 and squared_error >= 0
    if not whole or -(-n // every) > _MOST:
        raise DataError(
            f"{MEAN}numbers: {n:g} epochs, every {every:g} of them kept whole, are none that training leaves."
        )
    count = _Count(int(n), squared_error, int(every))
    n_kept = -(-count.n // count.every)
    if _parts_of(own) is None:
        for name, array in rest.items():
            if array.ndim == 0 or len(array) != n_kept:
                raise DataError(f"{MEAN}{name}: is of shape {array.shape} instead of {n_kept} epochs'.")
        draws = [make({name: np.ascontiguousarray(array[at]) for name, array in rest.items()}) for at in range(n_kept)]
        return SnapshotMean(own, count, tuple(draws))
    return _read_products(own, count, rest, sizes, n_kept)


def _read_products(
    own: Scorer, count: _Count, arrays: dict[str, np.ndarray], sizes: dict[str, int], n_kept: int
) -> ProductMean:
    names = {f"{side}_{what}" for side in sizes for what in ("bias", "factors", "draw_bias", "draws")} | {"constants"}
    if set(arrays) != names:
        raise DataError(f"parameters: those of the mean are {sorted(arrays)} instead of {sorted(names)}.")
    known = _parts_of(own)
    assert known is not None
    width, wide = known.factors["user"].shape[1], arrays["user_factors"].shape[-1:]
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {"constants": ((1 + n_kept,), np.float64)}
    for side, rows in sizes.items():
        shapes[f"{side}_bias"], shapes[f"{side}_factors"] = ((rows,), np.float64), ((rows, *wide), np.float32)
        shapes[f"{side}_draw_bias"] = (n_kept, rows), np.float32
        shapes[f"{side}_draws"] = (n_kept, rows, width), np.float32
    found = {name: check_array(arrays[name], *shapes[name], f"{MEAN}{name}") for name in names}
    constants = found["constants"].tolist()
    draws = [
        _Parts(
            constants[1 + at],
            {side: found[f"{side}_draw_bias"][at] for side in sizes},
            {side: found[f"{side}_draws"][at] for side in sizes},
        )
        for at in range(n_kept)
    ]
    sums = _Parts(
        constants[0],
        {side: found[f"{side}_bias"] for side in sizes},
        {side: np.ascontiguousarray(found[f"{side}_factors"]) for side in sizes},
    )
    return ProductMean(own, count, tuple(draws), sums)
