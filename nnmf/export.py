"""Trained models as ONNX files, which run without MXNet: in onnxruntime and in most other inference engines.

A file has the inputs ``user`` and ``item`` (int64 indices into the tables, shape (batch,)) and the output ``rating`` (float32,
shape (batch,)), not clipped. onnxruntime refuses indices beyond the tables, and counts negative ones from their ends.

MXNet's own ``mxnet.onnx`` does not serve: it needs ``onnx.mapping``, which onnx has dropped, and with that put back labels what
it writes with the newest versions the installed onnx knows, which onnxruntime refuses and which its operators do not follow.
"""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _mxnet
from .errors import BackendError, ConfigError
from .networks import label_name
from .store import write_file

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

# Of 2020, so that old engines read it too (onnxruntime from 1.7 on).
_OPSET, _IR_VERSION = 13, 7
# One protobuf message holds less than 2 GiB; the last MiB is for what is not a parameter.
_MAX_BYTES = 2**31 - 2**20
# Stands for the batch in shapes: what differs between batches of two and of three rows.
_BATCH = -1


def export_onnx(
    symbol: Symbol, parameters: Mapping[str, Any], path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a network as an ONNX file, without its label and dropout.

    Args:
        symbol: the network, as `nnmf.networks` describes it.
        parameters: arguments and auxiliary states by name, as MXNet or NumPy arrays.
        path: the file to write; it is whole or not there.
        metadata: properties to put into the file.

    Raises:
        ConfigError: an operator or a form of it that has no translation here, parameters that do not fit the network or take
            over 2 GB, or an output that is not one number a row.
        BackendError: onnx is not installed.
        DataError: the file cannot be written.
    """
    graph = _Graph()
    content = json.loads(symbol.tojson())
    nodes, (head, *_) = content["nodes"], content["heads"][0]
    label, names = label_name(symbol), dict[int, str]()
    for index, node in enumerate(nodes):
        name = node["name"]
        if node["op"] != "null":
            if node["op"] not in _TRANSLATORS:
                raise _refusal(node, f"; networks of the operators {sorted(_TRANSLATORS)} can")
            if any(output for _, output, *_ in node["inputs"]):
                raise _refusal(node, " with any but the first output of another")
        elif name in ("user", "item", label):
            names[index] = name
        elif name in parameters:
            value = parameters[name]
            names[index] = graph.constant(value.asnumpy() if hasattr(value, "asnumpy") else value, name)
        else:
            raise ConfigError(f"network: parameter {name!r} has no value, so it cannot be exported to ONNX.")
    shapes = _shapes(symbol, parameters)
    if shapes[head] not in ((_BATCH,), (_BATCH, 1)):
        raise ConfigError("network: its output must be one number a row to be exported to ONNX.")
    for index, node in enumerate(nodes):
        if node["op"] != "null":
            inputs = [entry[0] for entry in node["inputs"]]
            layer = _Layer(graph, node, [names[i] for i in inputs], [shapes[i] for i in inputs], shapes[index])
            names[index] = _TRANSLATORS[node["op"]](layer)
    graph.save(names[head], path, metadata)


def export_factors_onnx(
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    user_bias: np.ndarray,
    item_bias: np.ndarray,
    global_mean: float,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a factor model as an ONNX file: ``prediction = mu + b_u + b_i + p_u . q_i``.

    Args:
        user_factors, item_factors: arrays of shape (n_users, n_factors) and (n_items, n_factors).
        user_bias, item_bias: arrays of shape (n_users,) and (n_items,); zeros where a model has none.
        global_mean: what every prediction starts from.
        path, metadata: as for `export_onnx`.

    Raises:
        ConfigError: the parameters take over 2 GB.
        BackendError: onnx is not installed.
        DataError: the file cannot be written.
    """
    graph = _Graph()

    def rows(table: np.ndarray, name: str, index: str) -> str:
        return graph.emit("Gather", graph.constant(table, name), index, name=f"{name}_rows")

    user, item = rows(user_factors, "user_factors", "user"), rows(item_factors, "item_factors", "item")
    products = graph.emit("Mul", user, item, name="products")
    prediction = graph.emit("ReduceSum", products, graph.indices([1], "axes"), name="dot", keepdims=0)
    biases = rows(user_bias, "user_bias", "user"), rows(item_bias, "item_bias", "item")
    for term in (*biases, graph.constant(global_mean, "global_mean")):
        prediction = graph.emit("Add", prediction, term, name="prediction")
    graph.save(prediction, path, metadata)


def _shapes(symbol: Symbol, parameters: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    """Shape of the first output of each node of a network."""
    internals = symbol.get_internals()
    known = {name: parameters[name].shape for name in internals.list_arguments() if name in parameters}
    try:
        two, three = (internals.infer_shape(**{**known, "user": (n,), "item": (n,)})[1] for n in (2, 3))
    except _mxnet.load().MXNetError as error:
        reason = next((line for line in str(error).splitlines() if "Error: " in line), "")
        raise ConfigError(f"network: does not fit its parameters or batches of any length ({reason}).") from error
    if two is None:
        raise ConfigError(
            "network: has a shape that its inputs and parameters leave open, so it cannot be exported to ONNX."
        )
    shapes = {}
    # By number, because names of nodes need not be unique.
    for (node, output, *_), *pair in zip(json.loads(internals.tojson())["heads"], two, three, strict=True):
        if output == 0:
            shapes[node] = tuple(m if m == n else _BATCH for m, n in zip(*pair, strict=True))
    return shapes


class _Graph:
    """An ONNX graph being put together."""

    def __init__(self) -> None:
        try:
            self.onnx: Any = importlib.import_module("onnx")
        except ImportError as error:
            raise BackendError("exporting to ONNX needs the package onnx: pip install 'nnmf[onnx]'") from error
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._names = {"user", "item", "rating"}

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
        inputs = [prediction, self.indices([-1], "rating_shape")]
        self._nodes.append(helper.make_node("Reshape", inputs, ["rating"], name="rating"))
        used = {name for node in self._nodes for name in node.input}
        constants = {name: array for name, array in self._constants.items() if name in used}
        size = sum(array.nbytes for array in constants.values())
        if size > _MAX_BYTES:
            raise ConfigError(f"an ONNX file holds up to 2 GB, the parameters of this model take {size / 1e9:.1f} GB.")
        graph = helper.make_graph(
            self._nodes,
            "nnmf",
            [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch"]) for name in ("user", "item")],
            [helper.make_tensor_value_info("rating", onnx.TensorProto.FLOAT, ["batch"])],
            [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="nnmf")
        helper.set_model_props(model, dict(metadata or {}))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"network: its translation to ONNX is not valid ({reason}).") from error
        write_file(Path(path), lambda aside: onnx.save(model, str(aside), format="protobuf"))

    def _unique(self, name: str) -> str:
        chosen, n = name, 1
        while chosen in self._names:
            chosen, n = f"{name}_{n}", n + 1
        self._names.add(chosen)
        return chosen


def _refusal(node: dict[str, Any], why: str) -> ConfigError:
    return ConfigError(f"network: operator {node['op']!r} (node {node['name']!r}) cannot be exported to ONNX{why}.")


@dataclass(frozen=True)
class _Layer:
    """A node of a network with the ONNX names of its inputs."""

    graph: _Graph
    node: dict[str, Any]
    inputs: list[str]
    input_shapes: list[tuple[int, ...]]
    shape: tuple[int, ...]

    def get(self, key: str, default: Any) -> Any:
        """An attribute. MXNet writes them as text, and only those that were given."""
        text = self.node.get("attrs", {}).get(key, repr(default))
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):  # a bare word
            return text

    def need(self, condition: bool, form: str) -> None:
        if not condition:
            raise _refusal(self.node, f" {form}")

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.emit(op, *inputs, name=self.node["name"], **attributes)

    def constant(self, value: Any) -> str:
        return self.graph.constant(value, f"{self.node['name']}_constant")

    def indices(self, *values: int) -> str:
        return self.graph.indices(values, f"{self.node['name']}_indices")


Translator = Callable[[_Layer], str]


def _first(layer: _Layer) -> str:
    return layer.inputs[0]


def _same(op: str) -> Translator:
    return lambda layer: layer.emit(op, *layer.inputs)


def _scalar(op: str, reverse: bool = False) -> Translator:
    def translate(layer: _Layer) -> str:
        operands = [layer.inputs[0], layer.constant(layer.get("scalar", 0))]
        return layer.emit(op, *(reversed(operands) if reverse else operands))

    return translate


def _reduce(layer: _Layer) -> str:
    axis, rank = layer.get("axis", None), len(layer.input_shapes[0])
    axes = {a % rank for a in ((axis,) if isinstance(axis, int) else axis or range(rank))}
    if layer.get("exclude", False):
        axes = set(range(rank)) - axes
    keep = int(layer.get("keepdims", False))
    if layer.node["op"] == "sum":  # the one that takes its axes as an input in this opset
        return layer.emit("ReduceSum", layer.inputs[0], layer.indices(*sorted(axes)), keepdims=keep)
    return layer.emit(f"Reduce{layer.node['op'].capitalize()}", layer.inputs[0], axes=sorted(axes), keepdims=keep)


def _activation(layer: _Layer) -> str:
    kind = layer.get("act_type", "leaky")
    layer.need(kind in _ACTIVATIONS, f"with act_type={kind!r}")
    sloped = {"alpha": float(layer.get("slope", 0.25))} if kind in ("leaky", "elu") else {}
    return layer.emit(_ACTIVATIONS[kind], layer.inputs[0], **sloped)


def _fully_connected(layer: _Layer) -> str:
    data, weight, *bias = layer.inputs
    rank = len(layer.input_shapes[0])
    if rank != 2 and layer.get("flatten", True):
        data, rank = layer.emit("Flatten", data), 2
    if rank == 2:
        return layer.emit("Gemm", data, weight, *bias, transB=1)
    product = layer.emit("MatMul", data, layer.emit("Transpose", weight, perm=[1, 0]))
    return layer.emit("Add", product, *bias) if bias else product


def _batch_norm(layer: _Layer) -> str:
    layer.need(layer.get("axis", 1) % len(layer.shape) == 1, "over any axis but 1")
    data, gamma, *rest = layer.inputs
    if layer.get("fix_gamma", True):  # MXNet's default: whatever gamma holds, it counts as 1
        gamma = layer.constant(np.ones(layer.input_shapes[1]))
    return layer.emit("BatchNormalization", data, gamma, *rest, epsilon=float(layer.get("eps", 1e-3)))


def _product(layer: _Layer) -> str:
    ranks = [len(shape) for shape in layer.input_shapes]
    most = 2 if layer.node["op"] == "dot" else 3  # above, MXNet's products are not MatMul
    layer.need(max(ranks) <= most, f"of more than {most} axes")
    operands = list(layer.inputs)
    for i, flag in enumerate(("transpose_a", "transpose_b")):
        if layer.get(flag, False) and ranks[i] > 1:
            operands[i] = layer.emit("Transpose", operands[i], perm=[*range(ranks[i] - 2), ranks[i] - 1, ranks[i] - 2])
    return layer.emit("MatMul", *operands)


def _reshape(layer: _Layer) -> str:
    layer.need(layer.shape.count(_BATCH) <= 1, "where two axes of its output depend on the batch")
    return layer.emit("Reshape", layer.inputs[0], layer.indices(*layer.shape))  # -1 is what is left, here the batch


def _broadcast(layer: _Layer) -> str:
    # Expand keeps an axis it is to make 1 long.
    return layer.emit("Expand", layer.inputs[0], layer.indices(*(1 if n == _BATCH else n for n in layer.shape)))


def _fill(value: float) -> Translator:
    def translate(layer: _Layer) -> str:
        layer.need(_BATCH not in layer.shape, "with a shape that depends on the batch")
        return layer.constant(np.full(layer.shape, layer.get("value", value)))

    return translate


def _slice_axis(layer: _Layer) -> str:
    end = layer.get("end", None)
    bounds = (layer.get("begin", 0), np.iinfo(np.int64).max if end is None else end, layer.get("axis", 0))
    return layer.emit("Slice", layer.inputs[0], *(layer.indices(bound) for bound in bounds))


def _clip(layer: _Layer) -> str:
    return layer.emit(
        "Clip", layer.inputs[0], *(layer.constant(float(layer.get(key, 0))) for key in ("a_min", "a_max"))
    )


def _dropout(layer: _Layer) -> str:
    layer.need(layer.get("mode", "training") == "training", "with mode='always'")
    return layer.inputs[0]


_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}
_ACTIVATIONS |= {"leaky": "LeakyRelu", "elu": "Elu", "selu": "Selu"}
_SCALARS = {"plus": "Add", "minus": "Sub", "mul": "Mul", "div": "Div", "power": "Pow"}
_PAIRS = ("Add", "Sub", "Mul", "Div")
_TRANSLATORS: dict[str, Translator] = {
    **{op.lower(): _same(op) for op in ("Abs", "Exp", "Log", "Relu", "Sigmoid", "Softsign", "Sqrt", "Tanh")},
    **{f"elemwise_{op.lower()}": _same(op) for op in _PAIRS},
    **{f"broadcast_{op.lower()}": _same(op) for op in _PAIRS},
    "add_n": _same("Sum"),
    "negative": _same("Neg"),
    "square": lambda layer: layer.emit("Mul", layer.inputs[0], layer.inputs[0]),
    **{f"_{name}_scalar": _scalar(op) for name, op in _SCALARS.items()},
    **{f"_r{name}_scalar": _scalar(op, reverse=True) for name, op in _SCALARS.items() if op in ("Sub", "Div", "Pow")},
    "Activation": _activation,
    "LeakyReLU": _activation,
    "BatchNorm": _batch_norm,
    "Concat": lambda layer: layer.emit("Concat", *layer.inputs, axis=layer.get("dim", 1)),
    "Dropout": _dropout,
    "Embedding": lambda layer: layer.emit("Gather", layer.inputs[1], layer.inputs[0]),
    "FullyConnected": _fully_connected,
    "clip": _clip,
    "slice_axis": _slice_axis,
    "_full": _fill(0),
    "_ones": _fill(1),
    "_zeros": _fill(0),
    **dict.fromkeys(("sum", "mean", "max", "min"), _reduce),
    **dict.fromkeys(("dot", "batch_dot"), _product),
    **dict.fromkeys(("Flatten", "Reshape", "expand_dims", "squeeze"), _reshape),
    **dict.fromkeys(("broadcast_axis", "broadcast_to"), _broadcast),
    **dict.fromkeys(("BlockGrad", "_copy", "LinearRegressionOutput", "MAERegressionOutput"), _first),
    "LogisticRegressionOutput": lambda layer: layer.emit("Sigmoid", layer.inputs[0]),
}
