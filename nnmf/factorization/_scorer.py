"""`FactorScorer`: predicts by vectors and biases; what every factorization comes to."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from nnmf.errors import DataError
from nnmf.onnx import ExportedIds, export_factors_onnx
from nnmf.storage import check_array
from nnmf.training import Scorer

from . import _kernels


class FactorScorer(Scorer):
    """Prediction: ``unit * (mean + b_u + b_i + x_u . q_i)``.

    Parameters
    ----------
    tables : dict of str to float32 array
        ``item_factors`` and ``user_factors`` (or ``user_vectors``, which then stand for the users), of shape (n, width),
        width = ``padded(n_factors)``; ``user_bias`` and ``item_bias`` of shape (n,) or none; others are kept beside them.
    n_factors : int
        Columns of the tables that are no padding.
    mean : float
        What predictions start from, in units of rating.
    unit : float
        What parameters are measured in.
    """

    def __init__(self, tables: dict[str, np.ndarray], n_factors: int, mean: float, unit: float) -> None:
        self.tables, self.n_factors, self.mean, self.unit = tables, n_factors, mean, unit
        users = tables.get("user_vectors", tables["user_factors"])
        self._factors = {"user": users, "item": tables["item_factors"]}
        self._biases = {
            side: tables.get(f"{side}_bias", np.zeros(len(table), np.float32)) for side, table in self._factors.items()
        }

    @classmethod
    def read(
        cls,
        arrays: dict[str, np.ndarray],
        names: tuple[str, ...],
        sizes: dict[str, int],
        n_factors: int,
        mean: float,
        unit: float,
    ) -> FactorScorer:
        """The scorer of the arrays that `arrays` gave, for the tables of these names.

        Raises
        ------
        DataError
            A table that is missing, too many, or of another shape or type.
        """
        if set(arrays) != set(names):
            raise DataError(f"parameters: are {sorted(arrays)} instead of {sorted(names)}.")
        tables = {}
        for name, array in arrays.items():
            n = sizes["user" if name.startswith("user") else "item"]
            shape = (n,) if name.endswith("bias") else (n, n_factors)
            tables[name] = _widened(check_array(array, shape, np.float32, name))
        return cls(tables, n_factors, mean, unit)

    def copy(self) -> FactorScorer:
        """The same with tables of its own."""
        tables = {name: table.copy() for name, table in self.tables.items()}
        return FactorScorer(tables, self.n_factors, self.mean, self.unit)

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        prediction = np.empty(len(user), np.float32)
        tables = *self._factors.values(), *self._biases.values()
        _kernels.predict(_read_only(user), _read_only(item), *tables, self.mean, prediction)
        if self.unit != 1:
            prediction *= np.float32(self.unit)
        return prediction

    def towers(self, side: str, rows: np.ndarray | None = None) -> np.ndarray:
        chosen = slice(None) if rows is None else rows
        table = self._factors[side][chosen, : self.n_factors] * np.float32(math.sqrt(self.unit))
        bias = self._biases[side][chosen] * np.float32(self.unit)
        one = np.ones(len(table), np.float32)
        extra = [bias + np.float32(self.mean * self.unit), one] if side == "user" else [one, bias]
        return np.column_stack([table, *extra])

    def alone(self, side: str) -> np.ndarray | None:
        if f"{side}_bias" not in self.tables:
            return None
        return np.float32(self.mean * self.unit) + self._biases[side] * np.float32(self.unit)

    def vectors(self) -> dict[str, np.ndarray]:
        found = {name: self.in_ratings(name) for name in self.tables}
        if "user_bias" in self.tables:
            found["global_mean"] = np.array(self.mean * self.unit)
        return found

    def in_ratings(self, name: str) -> np.ndarray:
        """A table without its padding, measured such that biases and products of vectors are ratings."""
        table = self.tables[name]
        if table.ndim == 1:
            return table * np.float32(self.unit)
        scaled: np.ndarray = table[:, : self.n_factors] * np.float32(math.sqrt(self.unit))
        return scaled

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: table[:, : self.n_factors] if table.ndim == 2 else table for name, table in self.tables.items()}

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        root, unit = np.float32(math.sqrt(self.unit)), np.float32(self.unit)
        export_factors_onnx(
            self._factors["user"][:, : self.n_factors] * root,
            self._factors["item"][:, : self.n_factors] * root,
            self._biases["user"] * unit,
            self._biases["item"] * unit,
            self.mean * self.unit,
            path,
            ids=ids,
            metadata=metadata,
        )


def _widened(array: np.ndarray) -> np.ndarray:
    """A table of vectors with the padding that the kernels want; each array one that may be written."""
    if array.ndim == 1:
        return array.copy()
    table = np.zeros((len(array), _kernels.padded(array.shape[1])), np.float32)
    table[:, : array.shape[1]] = array
    return table


def _read_only(index: np.ndarray) -> np.ndarray:
    """The array as tables hand theirs over: Numba would compile a loop anew for one that may be written."""
    view = np.ascontiguousarray(index).view()
    view.flags.writeable = False
    return view
