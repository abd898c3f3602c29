"""How each of MXNet's operators is written in ONNX."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmf.errors import ConfigError

from ._graph import OnnxGraph

#: stands for the batch in shapes: what differs between batches of two and of three rows
BATCH = -1


def refusal(node: dict[str, Any], why: str) -> ConfigError:
    """The sentence for a node that has no translation."""
    return ConfigError(f"network: operator {node['op']!r} (node {node['name']!r}) cannot be exported to ONNX{why}.")


@dataclass(frozen=True)
class Layer:
    """A node of a network with the ONNX names of its inputs."""

    graph: OnnxGraph
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
        """Refuse the node where the condition does not hold; ``form`` says which form of the operator it is."""
        if not condition:
            raise refusal(self.node, f" {form}")

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX node; the name of its output."""
        return self.graph.emit(op, *inputs, name=self.node["name"], **attributes)

    def constant(self, value: Any) -> str:
        """Name of a tensor of reals."""
        return self.graph.constant(value, f"{self.node['name']}_constant")

    def indices(self, *values: int) -> str:
        """Name of a tensor of axes, lengths or positions."""
        return self.graph.indices(values, f"{self.node['name']}_indices")


Translator = Callable[[Layer], str]


def _first(layer: Layer) -> str:
    return layer.inputs[0]


def _same(op: str) -> Translator:
    return lambda layer: layer.emit(op, *layer.inputs)


def _scalar(op: str, reverse: bool = False) -> Translator:
    def translate(layer: Layer) -> str:
        operands = [layer.inputs[0], layer.constant(layer.get("scalar", 0))]
        return layer.emit(op, *(reversed(operands) if reverse else operands))

    return translate


def _reduce(layer: Layer) -> str:
    axis, rank = layer.get("axis", None), len(layer.input_shapes[0])
    axes = {a % rank for a in ((axis,) if isinstance(axis, int) else axis or range(rank))}
    if layer.get("exclude", False):
        axes = set(range(rank)) - axes
    keep = int(layer.get("keepdims", False))
    if layer.node["op"] == "sum":  # the one that takes its axes as an input in this opset
        return layer.emit("ReduceSum", layer.inputs[0], layer.indices(*sorted(axes)), keepdims=keep)
    return layer.emit(f"Reduce{layer.node['op'].capitalize()}", layer.inputs[0], axes=sorted(axes), keepdims=keep)


def _activation(layer: Layer) -> str:
    kind = layer.get("act_type", "leaky")
    layer.need(kind in _ACTIVATIONS, f"with act_type={kind!r}")
    sloped = {"alpha": float(layer.get("slope", 0.25))} if kind in ("leaky", "elu") else {}
    return layer.emit(_ACTIVATIONS[kind], layer.inputs[0], **sloped)


def _fully_connected(layer: Layer) -> str:
    data, weight, *bias = layer.inputs
    rank = len(layer.input_shapes[0])
    if rank != 2 and layer.get("flatten", True):
        data, rank = layer.emit("Flatten", data), 2
    if rank == 2:
        return layer.emit("Gemm", data, weight, *bias, transB=1)
    product = layer.emit("MatMul", data, layer.emit("Transpose", weight, perm=[1, 0]))
    return layer.emit("Add", product, *bias) if bias else product


def _batch_norm(layer: Layer) -> str:
    layer.need(layer.get("axis", 1) % len(layer.shape) == 1, "over any axis but 1")
    data, gamma, *rest = layer.inputs
    if layer.get("fix_gamma", True):  # MXNet's default: whatever gamma holds, it counts as 1
        gamma = layer.constant(np.ones(layer.input_shapes[1]))
    return layer.emit("BatchNormalization", data, gamma, *rest, epsilon=float(layer.get("eps", 1e-3)))


def _product(layer: Layer) -> str:
    ranks = [len(shape) for shape in layer.input_shapes]
    most = 2 if layer.node["op"] == "dot" else 3  # above, MXNet's products are not MatMul
    layer.need(max(ranks) <= most, f"of more than {most} axes")
    operands = list(layer.inputs)
    for i, flag in enumerate(("transpose_a", "transpose_b")):
        if layer.get(flag, False) and ranks[i] > 1:
            operands[i] = layer.emit("Transpose", operands[i], perm=[*range(ranks[i] - 2), ranks[i] - 1, ranks[i] - 2])
    return layer.emit("MatMul", *operands)


def _reshape(layer: Layer) -> str:
    layer.need(layer.shape.count(BATCH) <= 1, "where two axes of its output depend on the batch")
    return layer.emit("Reshape", layer.inputs[0], layer.indices(*layer.shape))  # -1 is what is left, here the batch


def _broadcast(layer: Layer) -> str:
    # Expand keeps an axis it is to make 1 long.
    return layer.emit("Expand", layer.inputs[0], layer.indices(*(1 if n == BATCH else n for n in layer.shape)))


def _fill(value: float) -> Translator:
    def translate(layer: Layer) -> str:
        layer.need(BATCH not in layer.shape, "with a shape that depends on the batch")
        return layer.constant(np.full(layer.shape, layer.get("value", value)))

    return translate


def _slice_axis(layer: Layer) -> str:
    end = layer.get("end", None)
    bounds = (layer.get("begin", 0), np.iinfo(np.int64).max if end is None else end, layer.get("axis", 0))
    return layer.emit("Slice", layer.inputs[0], *(layer.indices(bound) for bound in bounds))


def _clip(layer: Layer) -> str:
    return layer.emit(
        "Clip", layer.inputs[0], *(layer.constant(float(layer.get(key, 0))) for key in ("a_min", "a_max"))
    )


def _dropout(layer: Layer) -> str:
    layer.need(layer.get("mode", "training") == "training", "with mode='always'")
    return layer.inputs[0]


_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}
_ACTIVATIONS |= {"leaky": "LeakyRelu", "elu": "Elu", "selu": "Selu"}
_SCALARS = {"plus": "Add", "minus": "Sub", "mul": "Mul", "div": "Div", "power": "Pow"}
_PAIRS = ("Add", "Sub", "Mul", "Div")
#: translator by MXNet operator: each adds ONNX nodes and answers with the name of their output
TRANSLATORS: dict[str, Translator] = {
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
