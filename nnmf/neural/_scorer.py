"""`NetworkScorer`: predicts by a symbolic network and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.networks import prediction_of
from nnmf.onnx import ExportedIds, export_onnx
from nnmf.training import Scorer

mx: Any = _mxnet.load()

# Rows predicted at once: enough to keep the cores busy, few enough that a wide layer's outputs stay near 100 MB.
_PREDICT_ROWS = 16_384
#: what a parameter's name in MXNet's files begins with: arguments, and states that training moves without a gradient
ARGUMENT, AUXILIARY = "arg:", "aux:"


class NetworkScorer(Scorer):
    """A network with its parameters.

    Parameters
    ----------
    symbol : Symbol
        The network, with its output layer.
    parameters : dict of str to NDArray
        Arguments and auxiliary states by name.
    sizes : dict of str to int
        Rows of the "user" and "item" tables.
    ctx : Context
        Where to compute.
    """

    def __init__(self, symbol: Any, parameters: dict[str, Any], sizes: dict[str, int], ctx: Any) -> None:
        self.symbol, self._parameters, self.sizes, self.ctx = symbol, parameters, sizes, ctx
        self._found_towers: tuple[np.ndarray, np.ndarray] | None = None
        self._looked = False

    def copy(self) -> NetworkScorer:
        """The same with parameters of its own."""
        parameters = {name: array.copy() for name, array in self._parameters.items()}
        return NetworkScorer(self.symbol, parameters, self.sizes, self.ctx)

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self._parameters

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self._forward(prediction_of(self.symbol), {"user": user, "item": item}).reshape(len(user))

    def _forward(self, symbol: Any, columns: dict[str, np.ndarray]) -> np.ndarray:
        """What a part of the network answers, row by row, for columns of indices of one length."""
        wanted, states = set(symbol.list_arguments()), symbol.list_auxiliary_states()
        arguments = {name: array for name, array in self._parameters.items() if name in wanted}
        arguments = {name: array.as_in_context(self.ctx) for name, array in arguments.items()}
        auxiliary = {name: self._parameters[name].as_in_context(self.ctx) for name in states}
        n = len(next(iter(columns.values())))
        n_rows = min(_PREDICT_ROWS, n)
        inputs = {name: mx.nd.zeros((n_rows,), self.ctx, np.int32) for name in columns}
        executor = symbol.bind(self.ctx, {**arguments, **inputs}, grad_req="null", aux_states=auxiliary)
        answer: np.ndarray | None = None
        for start in range(0, n, n_rows):
            # The last block reaches back over rows already answered rather than be bound at a size of its own.
            rows = slice(min(start, n - n_rows), min(start, n - n_rows) + n_rows)
            for name, column in columns.items():
                inputs[name][:] = column[rows]
            block = executor.forward(is_train=False)[0].asnumpy()
            if answer is None:
                answer = np.empty((n, *block.shape[1:]), np.float32)
            answer[rows] = block
        assert answer is not None
        return answer

    def towers(self, side: str, rows: np.ndarray | None = None) -> np.ndarray | None:
        if not self._looked:
            self._found_towers, self._looked = self._find_towers(), True
        if self._found_towers is None:
            return None
        table = self._found_towers[0 if side == "user" else 1]
        return table if rows is None else table[rows]

    def _find_towers(self) -> tuple[np.ndarray, np.ndarray] | None:
        names = self.symbol.get_internals().list_outputs()
        if not {"user_tower_output", "item_tower_output"} <= set(names):
            return None
        user, item = self._tower("user"), self._tower("item")
        # A network of one's own may use the names for something else: its predictions must be the products.
        rng = np.random.default_rng(0)
        sample = [rng.integers(0, n, 64).astype(np.int32) for n in (self.sizes["user"], self.sizes["item"])]
        if user.shape[1:] != item.shape[1:]:
            return None
        products = (user[sample[0]] * item[sample[1]]).sum(1)
        return (user, item) if np.allclose(products, self.predict(*sample), rtol=1e-3, atol=1e-4) else None

    def _tower(self, side: str) -> np.ndarray:
        """Output of a side's tower for every index: float32 array of shape (n, width)."""
        tower = self.symbol.get_internals()[f"{side}_tower_output"]
        return self._forward(tower, {side: np.arange(self.sizes[side], dtype=np.int32)})

    def vectors(self) -> dict[str, np.ndarray]:
        user, item = self.towers("user"), self.towers("item")
        return {} if user is None or item is None else {"user_factors": user, "item_factors": item}

    def arrays(self) -> dict[str, np.ndarray]:
        auxiliary = set(self.symbol.list_auxiliary_states())
        return {
            f"{AUXILIARY if name in auxiliary else ARGUMENT}{name}": array.asnumpy()
            for name, array in self._parameters.items()
        }

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        export_onnx(self.symbol, self._parameters, path, ids=ids, metadata=metadata)
