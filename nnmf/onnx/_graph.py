"""`OnnxGraph`: an ONNX file being put together, with the look-up of ids before a network and the cold start after it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import BackendError, ConfigError
from nnmf.files import content, write_file
from nnmf.tables import IdMap

# Of 2020, so that old engines read it too (onnxruntime from 1.7 on).
_OPSET, _IR_VERSION = 13, 7
# The operators that look up ids are in a set of their own.
_ML, _ML_OPSET = "ai.onnx.ml", 2
# One protobuf message holds less than 2 GiB; the last MiB is for what is not a parameter.
_MAX_BYTES = 2**31 - 2**20


@dataclass(frozen=True)
class ExportedIds:
    """What makes an ONNX file take the ids of the training table and answer as `Model.predict` does.

    Attributes
    ----------
    users, items : IdMap
    user_mean, item_mean : float32 arrays of shape (n_users,), (n_items,)
        What is predicted where the other side is unknown.
    global_mean : float
        What is predicted where both are.
    scale : (float, float)
        Lowest and highest rating.
    user_index, item_index : integer arrays of shape (n_users,), (n_items,), default=None
        Index of each id, -1 for one that is answered as unknown; None: none is.
    """

    users: IdMap
    items: IdMap
    user_mean: np.ndarray
    item_mean: np.ndarray
    global_mean: float
    scale: tuple[float, float]
    user_index: np.ndarray | None = None
    item_index: np.ndarray | None = None


class OnnxGraph:
    """An ONNX graph being put together, from the indices ``user`` and ``item`` to the rating.

    Parameters
    ----------
    ids : ExportedIds, default=None
        With them the file takes ids and answers as `Model.predict` does; without, indices.

    Raises
    ------
    BackendError
        The package onnx is not installed.
    """

    def __init__(self, ids: ExportedIds | None = None) -> None:
        try:
            self.onnx: Any = importlib.import_module("onnx")
        except ImportError as error:
            raise BackendError("exporting to ONNX needs the package onnx: pip install 'onnx>=1.16'.") from error
        self.ids = ids
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._names = {"user", "item", "rating", "user_id", "item_id"}
        if ids:
            self._look_up("user", ids.users, ids.user_index)
            self._look_up("item", ids.items, ids.item_index)

    def _look_up(self, side: str, known: IdMap, index: np.ndarray | None) -> None:
        """The index of an id, -1 where unknown; the rest of the graph reads row 0 for those, and `_answer` sets it aside."""
        kind, keys = ("strings", known.ids.tolist()) if known.is_text else ("int64s", known.ids)
        values = np.arange(len(known)) if index is None else index.astype(np.int64)
        attributes = {f"keys_{kind}": keys, "values_int64s": values, "default_int64": -1}
        encoder = self.onnx.helper.make_node(
            "LabelEncoder", [f"{side}_id"], [f"{side}_index"], name=f"{side}_index", domain=_ML, **attributes
        )
        self._names.add(f"{side}_index")
        row = self.onnx.helper.make_node("Max", [f"{side}_index", self.indices([0], "zero")], [side], name=side)
        self._nodes += [encoder, row]

    def _answer(self, prediction: str, ids: ExportedIds) -> str:
        """The prediction where both ids are known, else the cold start's; clipped to the scale."""
        answer = self.constant(ids.global_mean, "global_mean")
        minus_one = self.indices([-1], "minus_one")
        for side, means in (("item", ids.item_mean), ("user", ids.user_mean)):
            known = self.emit("Greater", f"{side}_index", minus_one, name=f"{side}_known")
            mean = self.emit("Gather", self.constant(means, f"{side}_mean"), side, name=f"{side}_mean_rows")
            answer = self.emit("Where", known, mean, answer, name="cold_start")
        smallest = self.emit("Min", "user_index", "item_index", name="smallest_index")
        both = self.emit("Greater", smallest, minus_one, name="both_known")
        answer = self.emit("Where", both, prediction, answer, name="unclipped")
        low, high = (self.constant(bound, "bound") for bound in ids.scale)
        return self.emit("Clip", answer, low, high, name="clipped")

    def constant(self, values: Any, name: str, dtype: type = np.float32) -> str:
        """Name of a tensor with these values."""
        name = self._unique(name)
        self._constants[name] = np.asarray(values, dtype)
        return name

    def indices(self, values: Any, name: str) -> str:
        """Name of a tensor of axes, lengths or positions."""
        return self.constant(values, name, np.int64)

    def emit(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node; the name of its output."""
        name = self._unique(name)
        self._nodes.append(self.onnx.helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def save(self, prediction: str, path: str | Path, metadata: Mapping[str, str] | None) -> None:
        """Write the model whose rating is this tensor of shape (batch,) or (batch, 1)."""
        onnx, helper = self.onnx, self.onnx.helper
        prediction = self.emit("Reshape", prediction, self.indices([-1], "rating_shape"), name="prediction_column")
        if self.ids:
            prediction = self._answer(prediction, self.ids)
        self._nodes.append(helper.make_node("Identity", [prediction], ["rating"], name="rating"))
        used = {name for node in self._nodes for name in node.input}
        constants = {name: array for name, array in self._constants.items() if name in used}
        size = sum(array.nbytes for array in constants.values())
        if size > _MAX_BYTES:
            raise ConfigError(f"an ONNX file holds up to 2 GB, the parameters of this model take {size / 1e9:.1f} GB.")
        graph = helper.make_graph(
            self._nodes,
            "nnmf",
            [helper.make_tensor_value_info(*entry, ["batch"]) for entry in self._inputs()],
            [helper.make_tensor_value_info("rating", onnx.TensorProto.FLOAT, ["batch"])],
            [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_ML, _ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="nnmf")
        helper.set_model_props(model, dict(metadata or {}))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"network: its translation to ONNX is not valid ({reason}).") from error
        write_file(Path(path), content(model.SerializeToString()))

    def _inputs(self) -> list[tuple[str, int]]:
        kinds = self.onnx.TensorProto
        if self.ids is None:
            return [("user", kinds.INT64), ("item", kinds.INT64)]
        sides = (("user_id", self.ids.users), ("item_id", self.ids.items))
        return [(name, kinds.STRING if known.is_text else kinds.INT64) for name, known in sides]

    def _unique(self, name: str) -> str:
        chosen, n = name, 1
        while chosen in self._names:
            chosen, n = f"{name}_{n}", n + 1
        self._names.add(chosen)
        return chosen
