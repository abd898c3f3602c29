"""Compiled loops of `nnmf.ranking` over arrays the caller owns, and the layout of factors they read.

No index is checked here. Importing this module imports Numba, so `nnmf.ranking` does it on first use. The loops hold no
lock: threads run them side by side.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import llvmlite.binding  # type: ignore[import-untyped, unused-ignore]
import numba  # type: ignore[import-untyped, unused-ignore]
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba.core import cgutils, types  # type: ignore[import-untyped, unused-ignore]
from numba.extending import intrinsic  # type: ignore[import-untyped, unused-ignore]

from nnmf._compiled import compiled, usable_cores
from nnmf.errors import DataError
from nnmf.tables import UNKNOWN

#: candidates in a tile, and users scored against it at a time: 16 rows of 32 scores stay in the first-level cache
TILE, GROUP = 32, 16
# The part of that whose sums are in registers at a time: 8 vectors hide the latency of a multiply-add. 16 floats wide they are
# a tenth faster with the registers of AVX-512; in those of AVX2 they find no room and take half as long again.
_ROWS, _VECTORS = 4, 2
_LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f", False) else 8

_NO_SCORE = np.float32(-np.inf)
# What an approximate score may be off by: every order of adding up k products stays within k roundings of |u| |v| (Higham,
# "Accuracy and Stability of Numerical Algorithms", 3.1); taken twice, with four more for the roundings of the bound itself.
_ROUNDING, _TINY = 2.0**-23, float(np.finfo(np.float32).tiny)
# Tiles laid out at a time bound what laying them out needs besides the tiles.
_BLOCK_TILES = 1024


def default_threads() -> int:
    """As many threads as there are cores for this process, and no more than NUMBA_NUM_THREADS says."""
    return min(usable_cores(), int(vars(numba.config)["NUMBA_NUM_THREADS"]))


def lay_out(
    rows: Callable[[np.ndarray], np.ndarray], width: int, item: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Tiles as `best` reads them of the given items, the item in each place of the tiles, and their largest norm.

    `rows` gives the float32 factors, `width` of them, of some items; it is asked for some tens of thousands at a time.
    """
    n_tiles = -(-len(item) // TILE)
    place = np.full(n_tiles * TILE, UNKNOWN, np.int32)
    place[: len(item)] = item
    tiles, norm = np.zeros((n_tiles, width, TILE), np.float32), 0.0
    for start in range(0, n_tiles, _BLOCK_TILES):
        inside = item[start * TILE : (start + _BLOCK_TILES) * TILE]
        factors = np.zeros((-(-len(inside) // TILE) * TILE, width), np.float32)
        factors[: len(inside)] = rows(inside)
        norm = max(norm, largest_norm(factors, "item"))
        tiles[start : start + _BLOCK_TILES] = factors.reshape(len(factors) // TILE, TILE, width).transpose(0, 2, 1)
    return tiles.reshape(n_tiles, width * TILE), place, norm


def largest_norm(factors: np.ndarray, what: str) -> float:
    """Largest Euclidean norm of the rows of a float32 table.

    Raises
    ------
    DataError
        A value that is not finite.
    """
    norm = float(np.sqrt(np.einsum("uf,uf->u", factors, factors, dtype=np.float64).max(initial=0.0)))
    if not np.isfinite(norm):
        raise DataError(f"the {what} factors hold a value that is no finite float32; has training diverged?")
    return norm


@intrinsic
def _patch(
    typing: Any, users: Any, user_at: Any, tile: Any, tile_at: Any, n_factors: Any, scores: Any, score_at: Any
) -> tuple[Any, Callable[..., Any]]:
    """Scores of _ROWS users and _VECTORS * _LANES items of a tile; the arrays are flat, read and written from the places given.

    Written as vector instructions so that the sums stay in registers until they are complete: the same loops in Python took
    LLVM 1.7 times as long, and the sgemm of NumPy's OpenBLAS twice as long for products of this shape.
    """
    vector, word = ir.VectorType(ir.FloatType(), _LANES), ir.IntType(64)
    zero, undefined = ir.Constant(vector, [0.0] * _LANES), ir.Constant(vector, ir.Undefined)
    first = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(at: int) -> Any:
            return context.make_array(signature.args[at])(context, builder, args[at]).data

        def at(pointer: Any, *steps: Any) -> Any:
            place = functools.reduce(
                builder.add, [step if isinstance(step, ir.Value) else word(step) for step in steps]
            )
            return builder.gep(pointer, [place])

        def vectors(pointer: Any) -> Any:
            return builder.bitcast(pointer, vector.as_pointer())

        user, item, out = data(0), data(2), data(5)
        totals = {
            place: cgutils.alloca_once(builder, vector) for place in itertools.product(range(_ROWS), range(_VECTORS))
        }
        for total in totals.values():
            builder.store(zero, total)
        with cgutils.for_range(builder, args[4]) as loop:
            of_users, of_items = builder.mul(loop.index, word(GROUP)), builder.mul(loop.index, word(TILE))
            values = [
                builder.load(vectors(at(item, args[3], of_items, number * _LANES)), align=4)
                for number in range(_VECTORS)
            ]
            for row in range(_ROWS):
                one = builder.insert_element(
                    undefined, builder.load(at(user, args[1], of_users, row)), ir.IntType(32)(0)
                )
                spread = builder.shuffle_vector(one, undefined, first)
                for number in range(_VECTORS):
                    product = builder.fmul(spread, values[number], flags=["contract"])
                    total = totals[row, number]
                    builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
        for (row, number), total in totals.items():
            builder.store(builder.load(total), vectors(at(out, args[6], row * TILE + number * _LANES)), align=4)
        return context.get_dummy_value()

    whole = types.int64
    return types.void(users, whole, tile, whole, whole, scores, whole), build


@compiled
def _tile_scores(users: np.ndarray, n_rows: int, tile: np.ndarray, scores: np.ndarray) -> None:
    """scores (GROUP * TILE,) of n_rows users (n_factors * GROUP,) and a tile (n_factors * TILE,), both factor by factor."""
    n_factors = len(tile) // TILE
    for row in range(0, n_rows, _ROWS):
        for item in range(0, TILE, _VECTORS * _LANES):
            _patch(users, row, tile, item, n_factors, scores, row * TILE + item)  # type: ignore[call-arg, unused-ignore]


@compiled(fastmath={"nnan", "nsz"})
def _highest(scores: np.ndarray, start: int) -> float:
    highest = scores[start]
    for at in range(start, start + TILE):  # the first one again: a whole number of vectors
        if scores[at] > highest:
            highest = scores[at]
    return highest


# reassoc lets LLVM make vectors of the sum. The order is then its own, but one and the same for every item.
@compiled(fastmath={"contract", "reassoc"})
def _score(user: np.ndarray, tile: np.ndarray, at: int) -> np.float32:
    """The score that is compared and returned: summed in double precision, rounded once."""
    total = np.float64(0.0)
    for factor in range(len(user)):
        total += np.float64(user[factor]) * np.float64(tile[factor * TILE + at])
    return np.float32(total)


@compiled
def _holds(ascending: np.ndarray, start: int, stop: int, item: int) -> bool:
    end = stop
    while start < stop:
        middle = (start + stop) // 2
        if ascending[middle] < item:
            start = middle + 1
        else:
            stop = middle
    return start < end and ascending[start] == item


@compiled
def _before(score: float, item: int, other_score: float, other: int, rank: np.ndarray) -> bool:
    """Whether an item stands before another in a list."""
    return score > other_score or (score == other_score and rank[item] < rank[other])


@compiled
def _sink(items: np.ndarray, scores: np.ndarray, size: int, item: int, score: float, rank: np.ndarray) -> None:
    """Put an item in place of the root of a heap whose root is its last in order."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(scores[child], items[child], scores[child + 1], items[child + 1], rank):
            child += 1
        if not _before(score, item, scores[child], items[child], rank):
            break
        items[at], scores[at] = items[child], scores[child]
        at = child
    items[at], scores[at] = item, score


@compiled
def _rise(items: np.ndarray, scores: np.ndarray, at: int, item: int, score: float, rank: np.ndarray) -> None:
    """Add an item at the end of such a heap."""
    while at > 0:
        parent = (at - 1) // 2
        if not _before(scores[parent], items[parent], score, item, rank):
            break
        items[at], scores[at] = items[parent], scores[parent]
        at = parent
    items[at], scores[at] = item, score


@compiled
def best(
    user_factors: np.ndarray,
    users: np.ndarray,
    tiles: np.ndarray,
    candidate: np.ndarray,
    rank: np.ndarray,
    item_norm: float,
    barred: np.ndarray,
    seen_start: np.ndarray,
    seen: np.ndarray,
    items: np.ndarray,
    scores: np.ndarray,
) -> None:
    """Fill items (n_users, n) and scores (n_users, n), which come in as -1 and NaN, with the best candidates in order.

    Parameters
    ----------
    user_factors : float32 array of shape (n_users, n_factors).
    users : int32 array of shape (n_users,): their rows in `seen_start`.
    tiles : float32 array of shape (n_tiles, n_factors * TILE), candidates' factors, factor by factor in a tile.
    candidate : int32 array of shape (n_tiles * TILE,): the item in each place of the tiles, -1 for padding.
    rank : int32 array of shape (n_items,): which of two items with equal scores comes first.
    item_norm : largest Euclidean norm of a candidate's factors.
    barred : bool array of shape (n_items,), which items never to list; empty where there are none.
    seen_start, seen : items never to list for a user; `seen_start` is empty where there are none.
    items, scores : int32 and float32 arrays of shape (n_users, n).
    """
    n_users, n_factors = user_factors.shape
    n = items.shape[1]
    packed = np.zeros(n_factors * GROUP, np.float32)
    approximate = np.empty(GROUP * TILE, np.float32)
    size, gate, slack = np.empty(GROUP, np.int64), np.empty(GROUP, np.float32), np.empty(GROUP, np.float64)
    for first in range(0, n_users, GROUP):
        n_rows = min(GROUP, n_users - first)
        for row in range(n_rows):
            norm = np.float64(0.0)
            for factor in range(n_factors):
                value = user_factors[first + row, factor]
                packed[factor * GROUP + row] = value
                norm += np.float64(value) * np.float64(value)
            size[row], gate[row] = 0, _NO_SCORE
            slack[row] = (n_factors + 4) * (_ROUNDING * np.sqrt(norm) * item_norm + _TINY)
        for number in range(len(tiles)):
            tile = tiles[number]
            _tile_scores(packed, n_rows, tile, approximate)
            for row in range(n_rows):
                if _highest(approximate, row * TILE) < gate[row]:
                    continue
                user = first + row
                heap, heap_scores = items[user], scores[user]
                for at in range(TILE):
                    if approximate[row * TILE + at] < gate[row]:
                        continue
                    item = candidate[number * TILE + at]
                    if item < 0 or (len(barred) and barred[item]):
                        continue
                    if len(seen_start) and _holds(seen, seen_start[users[user]], seen_start[users[user] + 1], item):
                        continue
                    score = _score(user_factors[user], tile, at)
                    if size[row] < n:
                        _rise(heap, heap_scores, size[row], item, score, rank)
                        size[row] += 1
                    elif _before(score, item, heap_scores[0], heap[0], rank):
                        _sink(heap, heap_scores, n, item, score, rank)
                    if size[row] == n:
                        gate[row] = np.float32(np.float64(heap_scores[0]) - slack[row])
        for row in range(n_rows):
            heap, heap_scores = items[first + row], scores[first + row]
            for last in range(size[row] - 1, 0, -1):
                item, score = heap[last], heap_scores[last]
                heap[last], heap_scores[last] = heap[0], heap_scores[0]
                _sink(heap, heap_scores, last, item, score, rank)
