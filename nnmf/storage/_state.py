"""`ModelState`: a trained model as plain data, and the checks that every array of it passes on its way in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnmf._version import __version__
from nnmf.errors import DataError
from nnmf.ranking import UserItems
from nnmf.tables import IdMap, counts_of, within_scale
from nnmf.training import EpochResult

# The largest rating there can be.
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Parameters:
    """A model's arrays after an epoch.

    Attributes
    ----------
    epoch : int
        From 1.
    arrays : dict of str to array
        The parameters; float32, or another numeric type.
    state : dict of str to array
        What training needs besides to go on from here.
    """

    epoch: int
    arrays: dict[str, np.ndarray]
    state: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ModelState:
    """A trained model as plain data: what folders hold, whatever kind of model it is.

    Attributes
    ----------
    kind : str
        The kind of model, as `nnmf.kinds` names it.
    config : dict
        Its settings.
    details : dict
        What else the kind of model needs, as JSON can hold it.
    texts : dict of str to str
        Files of text that it needs, by name.
    history : list of EpochResult
        One an epoch.
    compared_from : int
        The epoch at which the last training began.
    dataset, train_digest : str
        Name and SHA-256 of the training table.
    users, items : IdMap
    scale : (float, float)
        Lowest and highest rating.
    global_mean : float
        Mean rating of the first training table.
    user_total, item_total : float64 arrays of shape (n_users,), (n_items,)
        Sum of the training ratings of each user and item.
    user_count, item_count : int64 arrays of shape (n_users,), (n_items,)
        Number of them.
    seen : UserItems
        The items that each user rated in training.
    kept : Parameters
        Those that predict.
    last : Parameters, default=None
        Those that training goes on from, where they can be told; the same object as ``kept`` where it is that epoch.
    written_by : str
        Version of this package that wrote it.
    """

    kind: str
    config: dict[str, Any]
    details: dict[str, Any]
    texts: dict[str, str]
    history: list[EpochResult]
    compared_from: int
    dataset: str
    train_digest: str
    users: IdMap
    items: IdMap
    scale: tuple[float, float]
    global_mean: float
    user_total: np.ndarray
    item_total: np.ndarray
    user_count: np.ndarray
    item_count: np.ndarray
    seen: UserItems
    kept: Parameters
    last: Parameters | None = None
    written_by: str = __version__

    def check(self) -> None:
        """Refuse what no model that was trained here can be.

        Raises
        ------
        DataError
            What is wrong, in one sentence.
        """
        n_users, n_items = len(self.users), len(self.items)
        low, high = (_number(bound, "scale") for bound in self.scale)
        if not -_LARGEST <= low <= high <= _LARGEST:
            raise DataError(f"scale: runs from {low:g} to {high:g}; the lowest rating comes first.")
        if not within_scale(_number(self.global_mean, "global_mean"), (low, high)):
            raise DataError(f"global_mean: got {self.global_mean:g}, outside the scale from {low:g} to {high:g}.")
        n_epochs = len(self.history)
        if [result.epoch for result in self.history] != list(range(1, n_epochs + 1)) or n_epochs == 0:
            raise DataError("history: its epochs are not numbered from 1 without a gap.")
        for result in self.history:
            for name in ("train_rmse", "learning_rate", "samples_per_second", "seconds"):
                _number(getattr(result, name), f"history: {name}")
            for name in ("valid_rmse", "test_rmse"):
                if getattr(result, name) is not None:
                    _number(getattr(result, name), f"history: {name}")
        for what, number in (("kept epoch", self.kept.epoch), ("compared_from", self.compared_from)):
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= n_epochs:
                raise DataError(f"{what}: got {number!r}; give an epoch from 1 to {n_epochs}.")
        if self.last is not None and self.last.epoch != n_epochs:
            raise DataError(f"last epoch: got {self.last.epoch!r} where the history has {n_epochs} epochs.")
        if self.seen.n_users != n_users or self.seen.largest >= n_items:
            raise DataError(f"seen: does not fit {n_users} users and {n_items} items.")
        for side, n in (("user", n_users), ("item", n_items)):
            check_array(getattr(self, f"{side}_total"), (n,), np.float64, f"{side}_total")
            count = check_array(getattr(self, f"{side}_count"), (n,), np.int64, f"{side}_count")
            if count.min(initial=0) < 0 or not count.any():
                raise DataError(f"{side}_count: holds a number of ratings below zero, or none at all.")
        # A pair counts once among the items seen, and at least once among the ratings.
        seen = {"user": self.seen.n_items, "item": counts_of(self.seen.item, n_items)}
        for side, pairs in seen.items():
            count = getattr(self, f"{side}_count")
            if (count < pairs).any() or ((count > 0) != (pairs > 0)).any() or count.sum() != self.user_count.sum():
                raise DataError(f"{side}_count: does not agree with the items that each user has seen.")
        for parameters in {id(part): part for part in (self.kept, self.last) if part is not None}.values():
            for name, array in {**parameters.arrays, **parameters.state}.items():
                check_finite(array, name)


def check_array(array: Any, shape: tuple[int, ...], dtype: Any, name: str) -> np.ndarray:
    """The array, if it has this shape and type and holds finite numbers alone.

    Raises
    ------
    DataError
        It has not.
    """
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.dtype(dtype):
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{name}: is {found} instead of {np.dtype(dtype)} of shape {shape}.")
    check_finite(array, name)
    return array


def check_finite(array: np.ndarray, name: str) -> None:
    """Refuse an array that holds something else than finite numbers."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name}: holds {array.dtype} instead of numbers.")
    # A sum is finite where all its terms are: one pass without a temporary array as long as the parameters.
    if array.dtype.kind == "f" and not math.isfinite(float(np.sum(array, dtype=np.float64))):
        raise DataError(f"{name}: holds values that are no finite numbers; has training diverged?")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(f"{name}: got {value!r}; a finite number is needed.")
    return float(value)
