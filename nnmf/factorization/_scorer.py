"""`FactorScorer`: predicts by vectors and biases; what every factorization comes to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnmf.errors import DataError
from nnmf.onnx import ExportedIds, export_factors_onnx
from nnmf.storage import check_array
from nnmf.training import Scorer

from . import _kernels
from ._vectors import zero_rows


class FactorScorer(Scorer):
    """Prediction: ``mean + b_u + b_i + x_u . q_i``.

    Parameters
    ----------
    tables : dict of str to float32 array
        ``item_factors`` and ``user_factors`` (or ``user_vectors``, which then stand for the users), of shape (n, width),
        width = ``padded(n_factors)``; ``user_bias`` and ``item_bias`` of shape (n,) or none; others are kept beside them.
    n_factors : int
        Columns of the tables that are no padding.
    mean : float
        What predictions start from.
    unit : float
        The spread that training measured its steps in; what goes on from here needs it.
    """

    def __init__(self, tables: dict[str, np.ndarray], n_factors: int, mean: float, unit: float) -> None:
        self.tables, self.n_factors, self.mean, self.unit = tables, n_factors, mean, unit
        users = tables.get("user_vectors", tables["user_factors"])
        self._factors = {"user": users, "item": tables["item_factors"]}
        self.sizes = {side: len(table) for side, table in self._factors.items()}
        self._biases = {
            side: tables[f"{side}_bias"] if f"{side}_bias" in tables else np.zeros(len(table), np.float32)
            for side, table in self._factors.items()
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
            tables[name] = copied(check_array(array, shape, np.float32, name), n)
        return cls(tables, n_factors, mean, unit)

    def copy(self) -> FactorScorer:
        """The same with tables of its own."""
        tables = {name: copied(table, len(table)) for name, table in self.tables.items()}
        return FactorScorer(tables, self.n_factors, self.mean, self.unit)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        prediction = np.empty(len(user), np.float32)
        tables = *self._factors.values(), *self._biases.values()
        _kernels.predict(read_only(user), read_only(item), *tables, self.mean, prediction)
        return prediction

    def towers(self, side: str, rows: np.ndarray | None = None) -> np.ndarray:
        chosen = slice(None) if rows is None else rows
        table, bias = self._factors[side][chosen, : self.n_factors], self._biases[side][chosen]
        one = np.ones(len(table), np.float32)
        extra = [bias + np.float32(self.mean), one] if side == "user" else [one, bias]
        return np.column_stack([table, *extra])

    def alone(self, side: str) -> np.ndarray | None:
        return np.float32(self.mean) + self._biases[side] if f"{side}_bias" in self.tables else None

    def vectors(self) -> dict[str, np.ndarray]:
        found = self.arrays()
        if "user_bias" in self.tables:
            found["global_mean"] = np.array(self.mean)
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: table[:, : self.n_factors] if table.ndim == 2 else table for name, table in self.tables.items()}

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        users, items = (table[:, : self.n_factors] for table in self._factors.values())
        biases = self._biases["user"], self._biases["item"]
        export_factors_onnx(users, items, *biases, self.mean, path, ids=ids, metadata=metadata)


def copied(table: np.ndarray, n_rows: int) -> np.ndarray:
    """A copy of a table with room for so many rows, those that are new all zero, laid out as the kernels like it."""
    if table.ndim == 1:
        return np.concatenate([table, np.zeros(n_rows - len(table), np.float32)])
    copy = zero_rows(n_rows, table.shape[1])
    copy[: len(table), : table.shape[1]] = table
    return copy


def read_only(index: np.ndarray) -> np.ndarray:
    """The array as tables hand theirs over: Numba would compile a loop anew for one that may be written."""
    view = np.ascontiguousarray(index).view()
    view.flags.writeable = False
    return view
