"""Sums that stay small: of products of tables, as one product of tables hardly wider than one of them; of many things, as some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

_Kept = TypeVar("_Kept")

# Columns of the tables that a sum of products is kept in: at least so many, and so many times those of one of the products.
_WIDTH, _TIMES = 64, 4
# Rows that are turned into float64 at a time.
_ROWS = 1 << 14
# Directions shorter than this part of the longest are rounding.
_ROUNDING = 1e-10


def kept_width(n_factors: int) -> int:
    """Columns to keep a sum of products of tables of ``n_factors`` columns in."""
    return max(_WIDTH, _TIMES * n_factors)


@dataclass(frozen=True, eq=False)
class Product:
    """A sum of products of two tables: two tables whose rows' dot products over the first ``width`` columns it is.

    Attributes
    ----------
    left, right : float32 arrays of shape (n_rows, at least width), C-ordered
    width : int
    written : list of int
        How many columns hold a sum by now, this one or one that goes on from it: behind those there is room.
    """

    left: np.ndarray
    right: np.ndarray
    width: int
    written: list[int] = field(default_factory=lambda: [-1])

    @property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """The columns that count."""
        return self.left[:, : self.width], self.right[:, : self.width]

    def joined(self, left: np.ndarray, right: np.ndarray, width: int) -> Product:
        """The sum with another product in it, of float32 tables of shape (n_rows, n_factors); this one stays as it is.

        The product's columns stand behind those that are there; beyond twice ``width`` of them, the narrower tables whose products
        come nearest take their place (see `compress`).
        """
        more = left.shape[1]
        old, product = self.tables, self
        if self.width + more > 2 * width:
            old = compress(*old, width)
        done = old[0].shape[1]
        if done != self.written[0] or done + more > self.left.shape[1]:
            tables = [np.empty((len(table), max(2 * width, done + more)), np.float32) for table in (left, right)]
            for table, kept in zip(tables, old, strict=True):
                table[:, :done] = kept
            product = Product(tables[0], tables[1], done, [done])
        for table, new in ((product.left, left), (product.right, right)):
            table[:, done : done + more] = new
        product.written[0] = done + more
        return Product(product.left, product.right, done + more, product.written)


def thinned(
    kept: tuple[_Kept, ...], every: int, number: int, new: Callable[[], _Kept], most: int
) -> tuple[tuple[_Kept, ...], int]:
    """Every so many of a row of things, evenly spread and at least half of ``most`` once there are so many, with the next in it.

    Parameters
    ----------
    kept : tuple
        Those that are kept.
    every, number : int
        Every how many is kept; how many there were before the next.
    new : callable
        Makes the next, where it is kept.
    most : int

    Returns
    -------
    Those that are kept, and every how many.
    """
    if number % every == 0:
        kept = (*kept, new())
        if len(kept) > most:
            return kept[::2], 2 * every
    return kept, every


def compress(left: np.ndarray, right: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables of ``width`` columns whose products ``left @ right.T`` are nearest, in the sum of squares, to those of these.

    By the singular value decomposition of the product, which is found from the tables' small Gram matrices: with L and R
    their square roots, ``L R = X s Y'``, the tables become ``left L^-1 X s^1/2`` and ``right R^-1 Y s^1/2``.

    Parameters
    ----------
    left, right : float32 arrays of shape (n_left, wide), (n_right, wide)
    width : int

    Returns
    -------
    Two float32 arrays of shape (n_left, width), (n_right, width); these themselves where they are no wider.

    References
    ----------
    C. Eckart, G. Young, "The approximation of one matrix by another of lower rank", Psychometrika, 1936.
    """
    if left.shape[1] <= width:
        return left, right
    left_gram, right_gram = _gram(left), _gram(right)
    # A column gets the same length in both tables, lest one that is short in one and long in the other be taken for rounding.
    lengths = np.stack([np.diag(left_gram), np.diag(right_gram)])
    lengths[:, (lengths == 0).any(axis=0)] = 1.0
    by = (lengths[1] / lengths[0]) ** 0.25
    left_root, left_inverse = _roots(left_gram * np.outer(by, by))
    right_root, right_inverse = _roots(right_gram / np.outer(by, by))
    x, s, y = np.linalg.svd(left_root @ right_root)
    left_inverse, right_inverse, scale = by[:, None] * left_inverse, right_inverse / by[:, None], np.sqrt(s[:width])
    return _product(left, left_inverse @ x[:, :width] * scale), _product(right, right_inverse @ y[:width].T * scale)


def _gram(table: np.ndarray) -> np.ndarray:
    gram = np.zeros((table.shape[1], table.shape[1]))
    for start in range(0, len(table), _ROWS):
        part = table[start : start + _ROWS].astype(np.float64)
        gram += part.T @ part
    return gram


def _roots(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric square root of a Gram matrix, and its inverse where it has one."""
    lengths, directions = np.linalg.eigh(gram)
    there = lengths > _ROUNDING * max(lengths[-1], np.finfo(np.float64).tiny)
    roots = np.sqrt(np.where(there, lengths, 0.0))
    inverse = np.where(there, 1 / np.where(there, roots, 1.0), 0.0)
    return directions * roots @ directions.T, directions * inverse @ directions.T


def _product(table: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    product = np.empty((len(table), matrix.shape[1]), np.float32)
    for start in range(0, len(table), _ROWS):
        product[start : start + _ROWS] = table[start : start + _ROWS].astype(np.float64) @ matrix
    return product
