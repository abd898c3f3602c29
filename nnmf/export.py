"""Trained models as ONNX files, which run without MXNet: in onnxruntime and in most other inference engines.

A file has the inputs ``user`` and ``item`` (int64 indices into the tables, shape (batch,)) and the output ``rating`` (float32,
shape (batch,)), not clipped. In it all integers are int64 and all real numbers float32.

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
from .store import write_file

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

# Of 2020, so that old engines read it too (onnxruntime from 1.7 on); it has all the operators below.
_OPSET, _IR_VERSION = 13, 7
# One protobuf message holds less than 2 GiB; the last MiB is for what is not a parameter.
_MAX_BYTES = 2**31 - 2**20

#: length of each axis, None for the batch
Shape = tuple["int | None", ...]


def export_onnx(
    symbol: Symbol, parameters: Mapping[str, Any], path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a network as an ONNX file, without its output layer and dropout.

    Args:
        symbol: the network, with the variables ``user`` and ``item`` and one output.
        parameters: arguments and auxiliary states by name, as MXNet or NumPy arrays.
        path: the file to write; it is whole or not there.
        metadata: properties to put into the file.

    Raises:
        ConfigError: an operator or a form of it that has no translation here, a parameter without a value, an output that is
            not one number a row, or more than 2 GB of parameters.
        BackendError: onnx is not installed.
        DataError: the file cannot be written.
    """
    graph = _Graph()
    content = json.loads(symbol.tojson())
    nodes = content["nodes"]
    for node in nodes:
        if node["op"] not in _TRANSLATORS and node["op"] != "null":
            raise _refusal(node, f"; networks of the operators {sorted(_TRANSLATORS)} can")
        if any(output for source, output, *_ in node["inputs"] if nodes[source]["op"] != "null"):
            raise _refusal(node, " with any but the first output of another")
    head, *more_heads = [(node, output) for node, output, _ in content["heads"]]
    shapes, integers = _infer(symbol, parameters)
    if more_heads or shapes[head] not in ((None,), (None, 1)):
        raise ConfigError("network: needs one output, of one number a row, to be exported to ONNX.")
    made: dict[int, str] = {}

    def tensor(index: int) -> str:
        # Parameters enter when a translator asks for them, so the label of the output layer never does.
        if index not in made:
            name = nodes[index]["name"]
            if name not in parameters:
                raise ConfigError(f"network: parameter {name!r} has no value, so it cannot be exported to ONNX.")
            value = parameters[name]
            made[index] = graph.constant(value.asnumpy() if hasattr(value, "asnumpy") else value, name)
        return made[index]

    for index, node in enumerate(nodes):
        if node["op"] != "null":
            made[index] = _TRANSLATORS[node["op"]](_Layer(graph, index, node, tensor, shapes, integers))
        elif node["name"] in ("user", "item"):
            made[index] = node["name"]
    graph.save(tensor(head[0]), path, metadata)


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
        path: the file to write; it is whole or not there.
        metadata: properties to put into the file.

    Raises:
        ConfigError: more than 2 GB of parameters.
        BackendError: onnx is not installed.
        DataError: the file cannot be written.
    """
    graph = _Graph()
    rows = {
        name: graph.emit("Gather", graph.constant(np.asarray(table, np.float32), name), name[:4], name=f"{name}_rows")
        for name, table in {
            "user_factors": user_factors,
            "item_factors": item_factors,
            "user_bias": user_bias,
            "item_bias": item_bias,
        }.items()
    }
    products = graph.emit("Mul", rows["user_factors"], rows["item_factors"], name="products")
    prediction = graph.emit("ReduceSum", products, graph.constant([1], "axis"), name="dot", keepdims=0)
    for term in (rows["user_bias"], rows["item_bias"], graph.constant(float(global_mean), "global_mean")):
        prediction = graph.emit("Add", prediction, term, name="prediction")
    graph.save(prediction, path, metadata)


def _infer(symbol: Symbol, parameters: Mapping[str, Any]) -> tuple[dict[Any, Shape], dict[Any, bool]]:
    """The shape of each (node, output) of a network, and whether it holds integers."""
    internals = symbol.get_internals()
    # By number, because names of nodes need not be unique.
    entries = [(node, output) for node, output, _ in json.loads(internals.tojson())["heads"]]
    known = {name: parameters[name].shape for name in internals.list_arguments() if name in parameters}
    try:
        # What differs between batches of two and of three rows is the batch.
        two, three = (internals.infer_shape(**{**known, "user": (n,), "item": (n,)})[1] for n in (2, 3))
        types = internals.infer_type(user=np.int32, item=np.int32)[1]
    except _mxnet.load().MXNetError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(f"network: does not fit its parameters or batches of any length ({reason}).") from error
    if two is None or three is None or types is None:
        raise ConfigError("network: a parameter has neither value nor shape, so it cannot be exported to ONNX.")
    shapes = [tuple(m if m == n else None for m, n in zip(*pair, strict=True)) for pair in zip(two, three, strict=True)]
    integers = [np.issubdtype(dtype, np.integer) for dtype in types]
    return dict(zip(entries, shapes, strict=True)), dict(zip(entries, integers, strict=True))


class _Graph:
    """An ONNX graph being put together."""

    def __init__(self) -> None:
        try:
            self.onnx: Any = importlib.import_module("onnx")
        except ImportError as error:
            raise BackendError("Exporting to ONNX needs the package onnx: pip install 'nnmf[onnx]'") from error
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._names = {"user", "item", "rating"}

    def constant(self, values: Any, name: str) -> str:
        """Name of a tensor with these values: int64 if they are integers, else float32."""
        name, array = self._unique(name), np.asarray(values)
        dtype = np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32
        self._constants[name] = np.asarray(array, dtype)
        return name

    def emit(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node; the name of its output."""
        name = self._unique(name)
        self._nodes.append(self.onnx.helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def save(self, prediction: str, path: str | Path, metadata: Mapping[str, str] | None) -> None:
        """Write the model whose rating is this tensor of shape (batch,) or (batch, 1)."""
        size = sum(array.nbytes for array in self._constants.values())
        if size > _MAX_BYTES:
            raise ConfigError(
                f"An ONNX file holds 2 GB at most, the parameters of this model take {size / 1e9:.1f} GB."
            )
        onnx, helper = self.onnx, self.onnx.helper
        flat = self.constant([-1], "rating_shape")
        self._nodes.append(helper.make_node("Reshape", [prediction, flat], ["rating"], name="rating"))
        graph = helper.make_graph(
            self._nodes,
            "nnmf",
            [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch"]) for name in ("user", "item")],
            [helper.make_tensor_value_info("rating", onnx.TensorProto.FLOAT, ["batch"])],
            [onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="nnmf")
        helper.set_model_props(model, dict(metadata or {}))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"network: its translation to ONNX is not valid ({reason}).") from error
        content = model.SerializeToString()

        def write(aside: Path) -> None:
            aside.write_bytes(content)

        write_file(Path(path), write)

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
    """A node of a network, as its translator sees it."""

    graph: _Graph
    index: int
    node: dict[str, Any]
    tensor: Callable[[int], str]
    all_shapes: dict[Any, Shape]
    all_integers: dict[Any, bool]

    def __getitem__(self, i: int) -> str:
        """Name of input ``i``."""
        return self.tensor(self.node["inputs"][i][0])

    @property
    def inputs(self) -> list[str]:
        return [self[i] for i in range(len(self.node["inputs"]))]

    @property
    def shape(self) -> Shape:
        return self.all_shapes[self.index, 0]

    def input_shape(self, i: int) -> Shape:
        return self.all_shapes[tuple(self.node["inputs"][i][:2])]

    def get(self, key: str, default: Any) -> Any:
        """An attribute; the JSON holds them as text, and only those that were given."""
        text = self.node.get("attrs", {}).get(key, repr(default))
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):  # a bare word
            return text

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.emit(op, *inputs, name=self.node["name"], **attributes)

    def constant(self, values: Any) -> str:
        return self.graph.constant(values, f"{self.node['name']}_constant")

    def scalar(self, value: float) -> str:
        """A number of the type this node computes in."""
        return self.constant(int(value) if self.all_integers[self.index, 0] else float(value))

    def need(self, condition: bool, form: str) -> None:
        if not condition:
            raise _refusal(self.node, f" {form}")


Translator = Callable[[_Layer], str]


def _same(op: str, **attributes: Any) -> Translator:
    return lambda layer: layer.emit(op, *layer.inputs, **attributes)


def _scalar(op: str, reverse: bool = False) -> Translator:
    def translate(layer: _Layer) -> str:
        operands = [layer[0], layer.scalar(layer.get("scalar", 0))]
        return layer.emit(op, *reversed(operands) if reverse else operands)

    return translate


def _reduce(op: str) -> Translator:
    def translate(layer: _Layer) -> str:
        axis, rank = layer.get("axis", ()), len(layer.input_shape(0))
        axes = {a % rank for a in ((axis,) if isinstance(axis, int) else axis or range(rank))}
        if layer.get("exclude", False):
            axes = set(range(rank)) - axes
        keep = int(layer.get("keepdims", False))
        # The sum alone takes its axes as an input in this opset.
        if op == "ReduceSum":
            return layer.emit(op, layer[0], layer.constant(sorted(axes)), keepdims=keep)
        return layer.emit(op, layer[0], axes=sorted(axes), keepdims=keep)

    return translate


def _activation(layer: _Layer) -> str:
    kinds = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}
    kind = layer.get("act_type", "")
    layer.need(kind in kinds, f"with act_type={kind!r}")
    return layer.emit(kinds[kind], layer[0])


def _leaky_relu(layer: _Layer) -> str:
    kind, slope = layer.get("act_type", "leaky"), layer.get("slope", 0.25)
    layer.need(kind in ("leaky", "rrelu", "elu", "selu", "prelu"), f"with act_type={kind!r}")
    if kind == "prelu":
        layer.need(len(layer.shape) == 2, "on anything but (batch, n) with act_type='prelu'")
        return layer.emit("PRelu", layer[0], layer[1])
    if kind == "selu":
        return layer.emit("Selu", layer[0])
    if kind == "rrelu":  # a random slope in training, its mean otherwise
        slope = (layer.get("lower_bound", 0.125) + layer.get("upper_bound", 0.334)) / 2
    return layer.emit("Elu" if kind == "elu" else "LeakyRelu", layer[0], alpha=float(slope))


def _embedding(layer: _Layer) -> str:
    # ids are real numbers where a network computes them
    return layer.emit("Gather", layer[1], layer.emit("Cast", layer[0], to=layer.graph.onnx.TensorProto.INT64))


def _fully_connected(layer: _Layer) -> str:
    bias = [] if layer.get("no_bias", False) else [layer[2]]
    data, rank = layer[0], len(layer.input_shape(0))
    if rank != 2 and layer.get("flatten", True):
        data, rank = layer.emit("Flatten", data), 2
    if rank == 2:
        return layer.emit("Gemm", data, layer[1], *bias, transB=1)
    product = layer.emit("MatMul", data, layer.emit("Transpose", layer[1], perm=[1, 0]))
    return layer.emit("Add", product, *bias) if bias else product


def _batch_norm(layer: _Layer) -> str:
    layer.need(layer.get("axis", 1) % len(layer.shape) == 1, "over any axis but 1")
    # MXNet takes gamma as 1 by default, whatever it holds.
    gamma = layer.constant(np.ones(layer.input_shape(1))) if layer.get("fix_gamma", True) else layer[1]
    rest = [layer[i] for i in (2, 3, 4)]
    return layer.emit("BatchNormalization", layer[0], gamma, *rest, epsilon=float(layer.get("eps", 1e-3)))


def _product(layer: _Layer) -> str:
    """`dot` and `batch_dot`, which differ from each other and from ``MatMul`` in more than three axes or two."""
    ranks = [len(layer.input_shape(i)) for i in (0, 1)]
    most = 2 if layer.node["op"] == "dot" else 3
    layer.need(max(ranks) <= most, f"on more than {most} axes")
    operands = []
    for i, flag in enumerate(("transpose_a", "transpose_b")):
        perm = [*range(ranks[i])]
        perm[-2:] = perm[:-3:-1]
        operands.append(layer.emit("Transpose", layer[i], perm=perm) if layer.get(flag, False) else layer[i])
    return layer.emit("MatMul", *operands)


def _reshape(layer: _Layer) -> str:
    layer.need(layer.shape.count(None) <= 1, "where two axes of the result depend on the batch")
    return layer.emit("Reshape", layer[0], layer.constant([-1 if n is None else n for n in layer.shape]))


def _broadcast(layer: _Layer) -> str:
    return layer.emit("Expand", layer[0], layer.constant([n or 1 for n in layer.shape]))


def _broadcast_like(layer: _Layer) -> str:
    layer.need(layer.get("lhs_axes", None) is None, "with lhs_axes")
    return layer.emit("Expand", layer[0], layer.emit("Shape", layer[1]))


def _fill(value: float | None) -> Translator:
    def translate(layer: _Layer) -> str:
        layer.need(None not in layer.shape, "with a shape that depends on the batch")
        return layer.constant(np.full(layer.shape, layer.get("value", 0) if value is None else value, np.float32))

    return translate


def _slice_axis(layer: _Layer) -> str:
    end = layer.get("end", None)
    bounds = (layer.get("begin", 0), np.iinfo(np.int64).max if end is None else end, layer.get("axis", 0))
    return layer.emit("Slice", layer[0], *(layer.constant([bound]) for bound in bounds))


def _clip(layer: _Layer) -> str:
    return layer.emit("Clip", layer[0], *(layer.scalar(float(layer.get(key, 0))) for key in ("a_min", "a_max")))


def _cast(layer: _Layer) -> str:
    kind = layer.get("dtype", "float32")
    layer.need(kind in ("float32", "float64", "int32", "int64"), f"with dtype={kind!r}")
    types = layer.graph.onnx.TensorProto
    return layer.emit("Cast", layer[0], to=types.INT64 if kind.startswith("int") else types.FLOAT)


def _dropout(layer: _Layer) -> str:
    layer.need(layer.get("mode", "training") == "training", "with mode='always'")
    return layer[0]


def _first(layer: _Layer) -> str:
    return layer[0]


_TRANSLATORS: dict[str, Translator] = {
    "Activation": _activation,
    "BatchNorm": _batch_norm,
    "BlockGrad": _first,
    "Cast": _cast,
    "Concat": lambda layer: layer.emit("Concat", *layer.inputs, axis=layer.get("dim", 1)),
    "Dropout": _dropout,
    "Embedding": _embedding,
    "FullyConnected": _fully_connected,
    "LeakyReLU": _leaky_relu,
    "LinearRegressionOutput": _first,
    "LogisticRegressionOutput": lambda layer: layer.emit("Sigmoid", layer[0]),
    "MAERegressionOutput": _first,
    "_contrib_SparseEmbedding": _embedding,
    "_copy": _first,
    "_full": _fill(None),
    "_ones": _fill(1),
    "_zeros": _fill(0),
    "add_n": _same("Sum"),
    "broadcast_like": _broadcast_like,
    "clip": _clip,
    "slice_axis": _slice_axis,
    "square": lambda layer: layer.emit("Mul", layer[0], layer[0]),
    **dict.fromkeys(("dot", "batch_dot"), _product),
    **dict.fromkeys(("Flatten", "Reshape", "expand_dims", "squeeze"), _reshape),
    **dict.fromkeys(("broadcast_axis", "broadcast_to"), _broadcast),
    **{name: _same(name.capitalize()) for name in "abs erf exp log reciprocal relu sigmoid softsign sqrt tanh".split()},
    "negative": _same("Neg"),
    **{
        f"{kind}_{name}": _same(name.capitalize())
        for name in ("add", "sub", "mul", "div")
        for kind in ("elemwise", "broadcast")
    },
    "_power": _same("Pow"),
    "broadcast_power": _same("Pow"),
    **{f"{kind}_{name}": _same(name.capitalize()[:3]) for name in ("maximum", "minimum") for kind in ("", "broadcast")},
    **{
        f"_{name}_scalar": _scalar(op)
        for name, op in {
            "plus": "Add",
            "minus": "Sub",
            "mul": "Mul",
            "div": "Div",
            "power": "Pow",
            "maximum": "Max",
            "minimum": "Min",
        }.items()
    },
    **{
        f"_{name}_scalar": _scalar(op, reverse=True)
        for name, op in {"rminus": "Sub", "rdiv": "Div", "rpower": "Pow"}.items()
    },
    **{name: _reduce(f"Reduce{name.capitalize()}") for name in ("sum", "mean", "max", "min", "prod")},
}
