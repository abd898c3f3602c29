"""`NetworkScorer`: predicts by a symbolic network and its parameters."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.networks import head_of, prediction_of
from nnmf.onnx import ExportedIds, export_onnx
from nnmf.training import Scorer

mx: Any = _mxnet.load()

# Rows predicted at once: enough to keep the cores busy, few enough that a wide layer's outputs stay near 100 MB.
_PREDICT_ROWS = 16_384
#: what a parameter's name in MXNet's files begins with: arguments, and states that training moves without a gradient
ARGUMENT, AUXILIARY = "arg:", "aux:"
# Executors that share parameters must not run at once: MXNet 1.9.1 then crashes, or waits for ever for an operation that its engine
# has lost, within some hundred predictions of four threads. Its operators keep the cores busy for one caller.
_one_at_a_time = threading.Lock()


def _renew_lock() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):  # a child has no thread that would open what was locked at its birth
    os.register_at_fork(after_in_child=_renew_lock)


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

    def copy(self) -> NetworkScorer:
        """The same with parameters of its own."""
        parameters = {name: array.copy() for name, array in self._parameters.items()}
        return NetworkScorer(self.symbol, parameters, self.sizes, self.ctx)

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self._parameters

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self._forward(prediction_of(self.symbol), {"user": user, "item": item}).reshape(len(user))

    def _forward(self, symbol: Any, columns: dict[str, np.ndarray]) -> np.ndarray:
        """What a part of the network answers, row by row, for columns of indices of one length; threads wait for each other."""
        with _one_at_a_time:
            return self._forward_alone(symbol, columns)

    def _forward_alone(self, symbol: Any, columns: dict[str, np.ndarray]) -> np.ndarray:
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
        found = self._parts
        if found is None:
            return None
        chosen = slice(None) if rows is None else rows
        tower = found[f"{side}_factors"][chosen]
        if "user_bias" not in found:
            return tower
        bias, one = found[f"{side}_bias"][chosen], np.ones(len(tower), np.float32)
        extra = [bias + np.float32(found["global_mean"]), one] if side == "user" else [one, bias]
        return np.column_stack([tower, *extra])

    @cached_property
    def _parts(self) -> dict[str, np.ndarray] | None:
        """Both towers' outputs and, where predictions have more to them, the mean and the biases, in units of the ratings.

        None where the network has no such nodes, or its predictions are something else.
        """
        names = self.symbol.get_internals().list_outputs()
        if not {"user_tower_output", "item_tower_output"} <= set(names):
            return None
        (mean, unit), biased = head_of(self.symbol), {"user_offset_output", "item_offset_output"} <= set(names)
        found = {f"{side}_factors": self._node(f"{side}_tower", side) for side in self.sizes}
        found["user_factors"] = np.float32(unit) * found["user_factors"]
        for side, n in self.sizes.items():
            bias = self._node(f"{side}_offset", side).reshape(n, -1)[:, 0] if biased else np.zeros(n, np.float32)
            found[f"{side}_bias"] = np.float32(unit) * bias
        # A network of one's own may use the names for something else.
        rng = np.random.default_rng(0)
        user, item = (rng.integers(0, n, 64).astype(np.int32) for n in (self.sizes["user"], self.sizes["item"]))
        p, q = found["user_factors"][user], found["item_factors"][item]
        if p.shape != q.shape:
            return None
        expected = mean + (p * q).sum(1) + found["user_bias"][user] + found["item_bias"][item]
        if not np.allclose(expected, self.predict(user, item), rtol=1e-3, atol=1e-4 * unit):
            return None
        if not biased and (mean, unit) == (0.0, 1.0):
            return {name: table for name, table in found.items() if name.endswith("factors")}
        return {**found, "global_mean": np.array(mean)}

    def _node(self, name: str, side: str) -> np.ndarray:
        """Output of a node that depends on a side alone, for every index: float32 array of shape (n, width)."""
        node = self.symbol.get_internals()[f"{name}_output"]
        return self._forward(node, {side: np.arange(self.sizes[side], dtype=np.int32)})

    def vectors(self) -> dict[str, np.ndarray]:
        return dict(self._parts or {})

    def arrays(self) -> dict[str, np.ndarray]:
        auxiliary = set(self.symbol.list_auxiliary_states())
        return {
            f"{AUXILIARY if name in auxiliary else ARGUMENT}{name}": array.asnumpy()
            for name, array in self._parameters.items()
        }

    def export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        export_onnx(self.symbol, [self._parameters], path, ids=ids, metadata=metadata)

    def export_mean(
        self, members: Sequence[NetworkScorer], path: Path, ids: ExportedIds | None, metadata: dict[str, str]
    ) -> None:
        export_onnx(self.symbol, [member.parameters for member in members], path, ids=ids, metadata=metadata)
