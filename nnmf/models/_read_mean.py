"""A mean of scorers, read from the arrays that a folder holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnmf.errors import DataError
from nnmf.storage import check_array
from nnmf.training import Scorer

from ._low_rank import Product
from ._mean import MEAN, MOST, Count, MeanScorer
from ._means import ProductMean, SnapshotMean, Sums, Terms, terms_of


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
    if not whole or -(-n // every) > MOST:
        raise DataError(
            f"{MEAN}numbers: {n:g} epochs, every {every:g} of them kept whole, are none that training leaves."
        )
    count = Count(int(n), squared_error, int(every))
    n_kept = -(-count.n // count.every)
    if terms_of(own) is None:
        for name, array in rest.items():
            if array.ndim == 0 or len(array) != n_kept:
                raise DataError(f"{MEAN}{name}: is of shape {array.shape} instead of {n_kept} epochs'.")
        draws = [make({name: np.ascontiguousarray(array[at]) for name, array in rest.items()}) for at in range(n_kept)]
        return SnapshotMean(own, count, tuple(draws))
    return _read_products(own, count, rest, sizes, n_kept)


def _read_products(
    own: Scorer, count: Count, arrays: dict[str, np.ndarray], sizes: dict[str, int], n_kept: int
) -> ProductMean:
    names = {f"{side}_{what}" for side in sizes for what in ("bias", "factors", "draw_bias", "draws")} | {"constants"}
    if set(arrays) != names:
        raise DataError(f"parameters: those of the mean are {sorted(arrays)} instead of {sorted(names)}.")
    known = terms_of(own)
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
        Terms(
            constants[1 + at],
            {side: found[f"{side}_draw_bias"][at] for side in sizes},
            {side: found[f"{side}_draws"][at] for side in sizes},
        )
        for at in range(n_kept)
    ]
    user, item = (np.ascontiguousarray(found[f"{side}_factors"]) for side in ("user", "item"))
    bias = {side: found[f"{side}_bias"] for side in sizes}
    sums = Sums(constants[0], bias, Product(user, item, user.shape[1]))
    return ProductMean(own, count, tuple(draws), sums)
