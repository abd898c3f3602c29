"""What is read from a network's graph: its output layer, its label, what it predicts, the tables it looks up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nnmf import _mxnet
from nnmf.errors import ConfigError

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

#: the layers a network may end in, and what each makes of its first input
OUTPUT_LAYERS = {
    "LinearRegressionOutput": "identity",
    "MAERegressionOutput": "identity",
    "LogisticRegressionOutput": "sigmoid",
}


def check_graph(text: str) -> None:
    """Refuse the JSON of a graph that MXNet's own reader would follow out of its memory.

    Raises
    ------
    ConfigError
        It is no graph of layers each of which takes its inputs from those before it.
    """
    try:
        graph = json.loads(text)
        nodes = graph["nodes"]
        edges = [(at, edge) for at, node in enumerate(nodes) for edge in node["inputs"]]
        edges += [(len(nodes), head) for head in graph["heads"]]
        sound = all(isinstance(node["op"], str) and isinstance(node["name"], str) for node in nodes)
        sound = sound and all(
            0 <= source < at and 0 <= output < _n_outputs(nodes[source]) for at, (source, output, *_) in edges
        )
        sound = sound and all(0 <= at < len(nodes) and nodes[at]["op"] == "null" for at in graph["arg_nodes"])
        sound = sound and "\0" not in text and len(graph["heads"]) == 1
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        sound = False
    if not sound:
        raise ConfigError("network: is no graph of layers that take their inputs from those before them.")


def _n_outputs(node: dict[str, Any]) -> int:
    """How many outputs of a layer others may take."""
    return int(node.get("attrs", {}).get("num_outputs", 1)) if node["op"] in ("SliceChannel", "split") else 1


def check_symbol(symbol: Symbol, name: str) -> None:
    """Refuse a network that cannot be trained and answered here.

    Raises
    ------
    ConfigError
        It lacks the variable ``user`` or ``item``, has several outputs, or ends in another layer than those of
        `OUTPUT_LAYERS` with a Variable as its label.
    """
    missing = {"user", "item"} - set(symbol.list_arguments())
    if missing or len(symbol.list_outputs()) != 1:
        raise ConfigError(
            f"network: {name!r} must have the variables 'user' and 'item' and one output; it has the arguments "
            f"{symbol.list_arguments()} and outputs {symbol.list_outputs()}."
        )
    names = symbol.list_arguments()
    if twice := sorted({argument for argument in names if names.count(argument) > 1}):
        raise ConfigError(
            f"network: {name!r} makes a Variable {twice[0]!r} more than once; make it once and use it in each place."
        )
    label = label_name(symbol, name)
    if label in symbol.get_children()[0].list_arguments():
        raise ConfigError(f"network: {name!r} predicts from its label, {label!r}; let the output layer alone take it.")


def label_name(symbol: Symbol, name: str | None = None) -> str:
    """Name of the variable that an output layer takes the rating by (``rating`` here, ``score`` in MXNet's tutorial).

    Raises
    ------
    ConfigError
        A symbol that does not end in an output layer with a label.
    """
    layer, inputs = output_layer(symbol), symbol.get_children()
    if (
        layer not in OUTPUT_LAYERS
        or len(inputs) != 2
        or len(inputs[1].list_arguments()) != 1
        or inputs[1].get_children() is not None
    ):
        raise ConfigError(
            f"network: {name or symbol.name!r} ends in {layer}; it must end in one of {sorted(OUTPUT_LAYERS)}, such as "
            "LinearRegressionOutput(prediction, label), with a Variable as its label."
        )
    return str(inputs[1].name)


def prediction_of(symbol: Symbol) -> Symbol:
    """What a network predicts, without its label: what its output layer answers when it is not trained."""
    label_name(symbol)
    prediction = symbol.get_children()[0]
    if OUTPUT_LAYERS[output_layer(symbol)] == "sigmoid":
        return _mxnet.load().sym.Activation(prediction, act_type="sigmoid", name="prediction_sigmoid")
    return prediction


def output_layer(symbol: Symbol) -> str:
    """Kind of the layer that a symbol ends in."""
    graph = json.loads(symbol.tojson())
    return str(graph["nodes"][graph["heads"][0][0]]["op"])


def n_rows(symbol: Symbol, side: str) -> int | None:
    """Fewest rows of the tables that ``user`` or ``item`` looks up at once; None where it looks up none."""
    nodes = json.loads(symbol.tojson())["nodes"]
    variables = [at for at, node in enumerate(nodes) if node["op"] == "null" and node["name"] == side]
    sizes = [
        int(node["attrs"]["input_dim"])
        for node in nodes
        if node["op"] == "Embedding" and node["inputs"][0][0] in variables
    ]
    return min(sizes, default=None)
