"""Trained models as ONNX files, which run without MXNet: in onnxruntime and in most other inference engines.

A file has the inputs ``user_id`` and ``item_id`` (int64 or string ids, shape (batch,)) and the output ``rating`` (float32, shape
(batch,)), which is what `Model.predict` answers. Written without ids, its inputs are ``user`` and ``item``, int64 indices into the
tables, and the rating is not clipped; onnxruntime refuses indices beyond the tables, and counts negative ones from their ends.

MXNet's own ``mxnet.onnx`` does not serve: it needs ``onnx.mapping``, which onnx has dropped, and with that put back labels what
it writes with the newest versions the installed onnx knows, which onnxruntime refuses and which its operators do not follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmf import _mxnet
from nnmf.errors import ConfigError
from nnmf.networks import label_name

from ._graph import ExportedIds, OnnxGraph
from ._operators import BATCH, TRANSLATORS, Layer, refusal

if TYPE_CHECKING:
    from mxnet.symbol import Symbol


def export_onnx(
    symbol: Symbol,
    parameters: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    ids: ExportedIds | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network as an ONNX file, without its label and dropout.

    Parameters
    ----------
    symbol : Symbol
        The network, as `nnmf.networks` describes it.
    parameters : sequence of mappings
        Arguments and auxiliary states by name, as MXNet or NumPy arrays; of several the file answers the mean.
    path : path
        The file to write; it is whole or not there.
    ids : ExportedIds, default=None
        With them the file takes ids and answers for unknown ones too, clipped; without, it takes indices.
    metadata : Mapping[str, str], default=None
        Properties to put into the file.

    Raises
    ------
    ConfigError
        An operator or a form of it that has no translation here, parameters that do not fit the network or take
        over 2 GB, or an output that is not one number a row.
    BackendError
        The package onnx is not installed.
    DataError
        The file cannot be written.
    """
    graph = OnnxGraph(ids)
    predictions = [_add_network(graph, symbol, one) for one in parameters]
    if len(predictions) > 1:
        total = graph.emit("Sum", *predictions, name="sum_of_predictions")
        predictions = [graph.emit("Mul", total, graph.constant(1 / len(predictions), "share"), name="mean_prediction")]
    graph.save(predictions[0], path, metadata)


def _add_network(graph: OnnxGraph, symbol: Symbol, parameters: Mapping[str, Any]) -> str:
    """Add a network to a graph; the name of its output."""
    content = json.loads(symbol.tojson())
    nodes, (head, *_) = content["nodes"], content["heads"][0]
    label, names = label_name(symbol), dict[int, str]()
    for index, node in enumerate(nodes):
        name = node["name"]
        if node["op"] != "null":
            if node["op"] not in TRANSLATORS:
                raise refusal(node, f"; networks of the operators {sorted(TRANSLATORS)} can")
            if any(output for _, output, *_ in node["inputs"]):
                raise refusal(node, " with any but the first output of another")
        elif name in ("user", "item", label):
            names[index] = name
        elif name in parameters:
            value = parameters[name]
            names[index] = graph.constant(value.asnumpy() if hasattr(value, "asnumpy") else value, name)
        else:
            raise ConfigError(f"network: parameter {name!r} has no value, so it cannot be exported to ONNX.")
    shapes = _shapes(symbol, parameters)
    if shapes[head] not in ((BATCH,), (BATCH, 1)):
        raise ConfigError("network: its output must be one number a row to be exported to ONNX.")
    for index, node in enumerate(nodes):
        if node["op"] != "null":
            inputs = [entry[0] for entry in node["inputs"]]
            layer = Layer(graph, node, [names[i] for i in inputs], [shapes[i] for i in inputs], shapes[index])
            names[index] = TRANSLATORS[node["op"]](layer)
    return names[head]


def export_factors_onnx(
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    user_bias: np.ndarray,
    item_bias: np.ndarray,
    global_mean: float,
    path: str | Path,
    *,
    ids: ExportedIds | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a factor model as an ONNX file: ``prediction = mu + b_u + b_i + p_u . q_i``.

    Parameters
    ----------
    user_factors, item_factors : array
        Arrays of shape (n_users, n_factors) and (n_items, n_factors).
    user_bias, item_bias : array
        Arrays of shape (n_users,) and (n_items,); zeros where a model has none.
    global_mean : float
        What every prediction starts from.
    path, ids, metadata
        As for `export_onnx`.

    Raises
    ------
    ConfigError
        The parameters take over 2 GB.
    BackendError
        The package onnx is not installed.
    DataError
        The file cannot be written.
    """
    graph = OnnxGraph(ids)

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
            shapes[node] = tuple(m if m == n else BATCH for m, n in zip(*pair, strict=True))
    return shapes
