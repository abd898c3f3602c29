"""`Side`: the rows of one side of the ratings (users, items or days), the blocks of columns that describe them, and their weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _gibbs_kernels as kernels
from ._observed import Entries, Observed
from ._schedule import Workers

# Rows that are worth waking threads for.
_SHARED_ROWS = 1 << 14
_BITS = (1 << 64) - 1


@dataclass(eq=False)
class Group:
    """The weights of a block, and their prior: one mean and one precision for each factor, and for the columns' own weights.

    Attributes
    ----------
    weights : float32 array of shape (1 + n_factors, n_columns)
        First the columns' own weights, then each factor's.
    mean, precision : float64 arrays of shape (1 + n_factors,)
    entries : Entries or None
        None: one column a row, of weight 1.
    """

    weights: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    entries: Entries | None

    @classmethod
    def of(cls, entries: Entries | None, n_columns: int, n_factors: int) -> Group:
        """A group whose weights are not drawn yet."""
        n = 1 + n_factors
        return cls(np.zeros((n, n_columns), np.float32), np.zeros(n), np.ones(n), entries)

    def draw_prior(self, rng: np.random.Generator) -> None:
        """Draw precisions, from Gamma(1/2, 1/2) a priori, and means, from N(0, 1), given the weights."""
        weights = self.weights
        n = weights.shape[1]
        total = weights.sum(axis=1, dtype=np.float64)
        # Squares of float32 are added up in float64, without a copy of the weights in it.
        squares = np.array([np.einsum("i,i->", row, row, dtype=np.float64) for row in weights])
        spread = squares - 2 * self.mean * total + n * self.mean**2
        self.precision = rng.gamma((1 + n) / 2, size=len(weights)) / ((1 + spread) / 2)
        precision = 1 + self.precision * n
        self.mean = self.precision * total / precision + rng.standard_normal(len(weights)) / np.sqrt(precision)
        # What a saved model holds of it is float32: a run that was resumed draws what one that was not would.
        self.mean = self.mean.astype(np.float32).astype(np.float64)


class Side:
    """A side of the ratings.

    Parameters
    ----------
    name : str
        "user", "item" or "day".
    number : int
        Of the side, for the random numbers.
    observed : Observed
        The ratings, and what describes the side's rows beside their ids.
    n_factors : int
    """

    def __init__(self, name: str, number: int, observed: Observed, n_factors: int) -> None:
        self.name, self.number, self.n_factors = name, number, n_factors
        self.counts = observed.counts[name]
        n_rows, n_chunks = len(self.counts), observed.n_chunks
        self.groups = [Group.of(None, n_rows, n_factors)]
        self.groups += [Group.of(entries, entries.block.n_columns, n_factors) for entries in observed.blocks[name]]
        self.rows = np.zeros((n_rows, 8))
        self.terms = np.zeros((n_rows, 4), np.float32)
        self.q = np.zeros((n_factors, n_rows), np.float32)
        self.const = np.zeros(n_rows, np.float32)
        self._chunks = np.arange(n_chunks, dtype=np.int32)
        self._edges = np.linspace(0, n_rows, n_chunks + 1).astype(np.int64)

    def draw_initial(self, rng: np.random.Generator, init_std: float) -> None:
        """Draw every factor's weights about zero; the columns' own are zero."""
        for group in self.groups:
            factors = group.weights[1:]
            factors[:] = rng.standard_normal(factors.shape, np.float32)
            factors *= np.float32(init_std)

    def draw(self, factor: int, alpha: float, seed: int, number: int, workers: Workers) -> None:
        """Draw the weights of a factor, or of the columns alone (-1), given what `rows` holds."""
        linear = factor < 0
        for index, group in enumerate(self.groups):
            key = key_of(seed, number, self.number, index, factor + 1)
            prior = alpha, group.precision[factor + 1], group.mean[factor + 1], key
            value = group.weights[factor + 1]
            if group.entries is None:
                n_threads = workers.n_threads if len(value) >= _SHARED_ROWS else 1
                workers.walk(kernels.draw_ids, self._chunks, n_threads, self._edges, self.rows, value, linear, *prior)
            else:
                kernels.draw_columns(*group.entries.by_column, self.rows, value, linear, *prior)
        self.const += self.rows[:, kernels.A]
        if linear:
            self.rows[:, [kernels.Q, kernels.B]] = 0.0  # what moved was no q
        else:
            self.q[factor] = self.rows[:, kernels.Q]

    def by_row(self) -> np.ndarray:
        """A copy of q, row by row: float32 array of shape (n_rows, n_factors)."""
        return self.q.T.copy()  # of a single factor the transpose is contiguous as it is

    def refresh(self) -> None:
        """Work out of the weights anew what draws keep up to date: a row's q, and what it adds to predictions alone.

        A row's q is its sum of ``x v``; what it adds to predictions alone is its columns' own weights and those of the
        pairs among them, ``sum of w x + (|q|^2 - sum of |x v|^2) / 2``.
        """
        n_rows = len(self.counts)
        q, own, linear = np.zeros((n_rows, self.n_factors)), np.zeros(n_rows), np.zeros((n_rows, 1))
        for group in self.groups:
            if group.entries is None:
                q += group.weights[1:].T
                linear[:, 0] += group.weights[0]
                own += np.einsum("fn,fn->n", group.weights[1:], group.weights[1:], dtype=np.float64)
            else:
                block = group.entries.block
                entries = block.starts, block.column, block.weight
                kernels.sum_rows(*entries, np.ascontiguousarray(group.weights[1:].T), q, own)
                kernels.sum_rows(*entries, np.ascontiguousarray(group.weights[:1].T), linear, np.zeros(n_rows))
        self.q = np.ascontiguousarray(q.T, np.float32)
        self.const = (linear[:, 0] + (np.einsum("nf,nf->n", q, q) - own) / 2).astype(np.float32)


def key_of(*numbers: int) -> np.uint64:
    """What the random numbers of a draw follow from: the numbers, mixed one after another."""
    key = 0
    for number in numbers:
        key = _mixed(key + (number + 1) * 0x9E3779B97F4A7C15 & _BITS)
    return np.uint64(key)


def _mixed(number: int) -> int:
    """Splitmix64's finaliser."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _BITS
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _BITS
    return number ^ number >> 31
