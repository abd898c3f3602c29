"""`compress`: the narrower tables whose products come nearest to those of wide ones."""

from __future__ import annotations

import numpy as np

# Rows that are turned into float64 at a time.
_ROWS = 1 << 14
# Directions shorter than this part of the longest are rounding.
_ROUNDING = 1e-10


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
