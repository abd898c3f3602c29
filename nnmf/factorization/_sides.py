"""`Side`: the rows of one side of the ratings (users, items or days), the blocks of columns that describe them, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnmf.tables import Block

from . import _gibbs_kernels as kernels
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
    block : Block or None
        Entries by row; None: one column a row, of weight 1.
    by_column : tuple of arrays
        The entries by column: starts, rows, weights.
    """

    name: str
    weights: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    block: Block | None
    by_column: tuple[np.ndarray, ...]

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
    counts : int64 array of shape (n_rows,)
        Ratings of each row.
    blocks : sequence of Block
        What describes the rows beside their ids.
    n_factors : int
    n_chunks : int
        Parts that threads share; what is drawn does not depend on them.
    like : Side, default=None
        One of the same blocks, whose entries serve this one as well.
    """

    def __init__(
        self,
        name: str,
        number: int,
        counts: np.ndarray,
        blocks: Sequence[Block],
        n_factors: int,
        n_chunks: int,
        like: Side | None = None,
    ) -> None:
        self.name, self.number, self.counts, self.n_factors = name, number, counts, n_factors
        n_rows = len(counts)
        by_column = [group.by_column for group in like.groups[1:]] if like else [_by_column(block) for block in blocks]
        self.groups: list[Group] = [_group("ids", n_rows, n_factors, None, ())]
        for block, entries in zip(blocks, by_column, strict=True):
            self.groups.append(_group(block.name, block.n_columns, n_factors, block, entries))
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
            if group.block is None:
                n_threads = workers.n_threads if len(value) >= _SHARED_ROWS else 1
                workers.walk(kernels.draw_ids, self._chunks, n_threads, self._edges, self.rows, value, linear, *prior)
            else:
                kernels.draw_columns(*group.by_column, self.rows, value, linear, *prior)
        self.const += self.rows[:, kernels.A]
        if linear:
            self.rows[:, [kernels.Q, kernels.B]] = 0.0  # what moved was no q
        else:
            self.q[factor] = self.rows[:, kernels.Q]

    def by_row(self) -> np.ndarray:
        """A copy of q, row by row: float32 array of shape (n_rows, n_factors)."""
        return np.ascontiguousarray(self.q.T)

    def refresh(self) -> None:
        """Work out of the weights anew what draws keep up to date: a row's q, and what it adds to predictions alone.

        A row's q is its sum of ``x v``; what it adds to predictions alone is its columns' own weights and those of the
        pairs among them, ``sum of w x + (|q|^2 - sum of |x v|^2) / 2``.
        """
        n_rows = len(self.counts)
        q, own, linear = np.zeros((n_rows, self.n_factors)), np.zeros(n_rows), np.zeros((n_rows, 1))
        for group in self.groups:
            if group.block is None:
                q += group.weights[1:].T
                linear[:, 0] += group.weights[0]
                own += np.einsum("fn,fn->n", group.weights[1:], group.weights[1:], dtype=np.float64)
            else:
                block = group.block
                entries = block.starts, block.column, block.weight
                kernels.sum_rows(*entries, np.ascontiguousarray(group.weights[1:].T), q, own)
                kernels.sum_rows(*entries, np.ascontiguousarray(group.weights[:1].T), linear, np.zeros(n_rows))
        self.q = np.ascontiguousarray(q.T, np.float32)
        self.const = (linear[:, 0] + (np.einsum("nf,nf->n", q, q) - own) / 2).astype(np.float32)


def _group(name: str, n_columns: int, n_factors: int, block: Block | None, by_column: tuple[np.ndarray, ...]) -> Group:
    weights = np.zeros((1 + n_factors, n_columns), np.float32)
    return Group(name, weights, np.zeros(1 + n_factors), np.ones(1 + n_factors), block, by_column)


def _by_column(block: Block) -> tuple[np.ndarray, ...]:
    """A block's entries in the order of their columns: starts, rows, weights."""
    row = np.repeat(np.arange(len(block.starts) - 1, dtype=np.int32), np.diff(block.starts))
    order = np.argsort(block.column, kind="stable")
    starts = np.zeros(block.n_columns + 1, np.int64)
    np.cumsum(np.bincount(block.column, minlength=block.n_columns), out=starts[1:])
    return starts, row[order], block.weight[order]


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
