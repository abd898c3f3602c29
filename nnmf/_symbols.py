"""What is read from a network's graph: its output layer, its label, what it predicts, the tables it looks up."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
#: the parameter that holds which pairs were rated in training, 1 or 0: (n_users, n_items)
SEEN = "seen"
# What a gradient is divided by for errors in units: the unit to this power.
_POWERS = {"LinearRegressionOutput": 2, "MAERegressionOutput": 1}
# Names of the nodes that `with_head` adds.
_MEAN, _UNIT = "rating_mean", "rating_unit"


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


@dataclass(frozen=True)
class Lookup:
    """An Embedding that a network looks ``user`` or ``item`` up in.

    Attributes
    ----------
    side : str
        "user" or "item".
    weight : str
        Name of the parameter that holds the table.
    n_rows, width : int
        Its shape.
    node : int
        Number of the Embedding among the graph's nodes.
    """

    side: str
    weight: str
    n_rows: int
    width: int
    node: int

    @property
    def holds_biases(self) -> bool:
        """Whether its rows are biases: it is named so, for a vector may be one number wide, too."""
        return self.weight.endswith("bias_weight")


def lookups(symbol: Symbol) -> list[Lookup]:
    """The tables that a network looks ``user`` and ``item`` up in at once."""
    nodes = json.loads(symbol.tojson())["nodes"]
    found = []
    for at, node in enumerate(nodes):
        if node["op"] == "Embedding":
            data, weight = (nodes[source] for source, *_ in node["inputs"])
            if data["op"] == "null" and data["name"] in ("user", "item"):
                shape = int(node["attrs"]["input_dim"]), int(node["attrs"]["output_dim"])
                found.append(Lookup(data["name"], weight["name"], *shape, at))
    return found


def why_not_by_row(symbol: Symbol) -> str | None:
    """What keeps a network from being trained on the rows alone that a batch looks up; None where nothing does."""
    nodes, tables = json.loads(symbol.tojson())["nodes"], lookups(symbol)
    weights, embeddings = {table.weight for table in tables}, {table.node for table in tables}
    if len({(table.side, table.weight) for table in tables}) > len(weights):
        return "it looks users and items up in one table"
    if computed := weights - set(symbol.list_arguments()):
        return f"it looks users or items up in what it computes ({min(computed)})"
    for at, node in enumerate(nodes):
        for source, *_ in node["inputs"]:
            name = nodes[source]["name"]
            if nodes[source]["op"] == "null" and name in ("user", "item", *weights) and at not in embeddings:
                return f"its {node['op']} takes {name!r} itself, not the rows of a batch"
    return f"it takes what was rated ({SEEN!r}), which no step moves" if SEEN in symbol.list_arguments() else None


def by_row(symbol: Symbol) -> Symbol:
    """The same network without its tables: what it looks up in each, (batch_size, width), is a variable of the table's name.

    For networks of which `why_not_by_row` finds nothing.
    """
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    first: dict[str, int] = {}
    instead: dict[int, int] = {}
    for table in lookups(symbol):
        instead[table.node] = first.setdefault(table.weight, table.node)
        weight = nodes[nodes[table.node]["inputs"][1][0]]
        attributes = {key: value for key, value in weight.get("attrs", {}).items() if key != "__shape__"}
        nodes[table.node] = {"op": "null", "name": table.weight, "attrs": attributes, "inputs": []}
    for edge in (edge for edges in (graph["heads"], *(node["inputs"] for node in nodes)) for edge in edges):
        edge[0] = instead.get(edge[0], edge[0])
    return _mxnet.load().sym.load_json(json.dumps(graph))


def n_rows(symbol: Symbol, side: str) -> int | None:
    """Fewest rows of the tables that ``user`` or ``item`` looks up at once; None where it looks up none."""
    return min((table.n_rows for table in lookups(symbol) if table.side == side), default=None)


def with_head(symbol: Symbol, mean: float, unit: float) -> Symbol:
    """A network that answers ``mean + unit * prediction`` and learns as its own would from ``(rating - mean) / unit``.

    Its squared error is measured in units: by ``grad_scale / unit ** 2`` the gradient that reaches the network, times the unit on
    its way, is that of the error in units; an absolute error takes ``grad_scale / unit``. A network under a sigmoid, and any with
    mean 0 and unit 1, is answered as it is.
    """
    layer = output_layer(symbol)
    if layer not in _POWERS or (mean, unit) == (0.0, 1.0):
        return symbol
    mx = _mxnet.load()
    prediction, label = symbol.get_children()
    prediction = mx.sym._internal._mul_scalar(prediction, scalar=unit, name=_UNIT)
    prediction = mx.sym._internal._plus_scalar(prediction, scalar=mean, name=_MEAN)
    scale = float(symbol.attr("grad_scale") or 1.0) / unit ** _POWERS[layer]
    return getattr(mx.sym, layer)(prediction, label, grad_scale=scale, name=symbol.name)


def head_of(symbol: Symbol) -> tuple[float, float]:
    """The mean and unit that `with_head` gave a network; 0 and 1 where it gave none."""
    mean = symbol.get_children()[0]
    if mean.name != _MEAN or mean.attr("scalar") is None:
        return 0.0, 1.0
    return float(mean.attr("scalar")), float(mean.get_children()[0].attr("scalar"))


def penalised(symbol: Symbol, l2: dict[str, float]) -> Symbol:
    """A network that also pays, at each rating of a batch, for the rows that it looks up: ``l2 / 2`` times their squared norm.

    Each Embedding of ``user`` or ``item`` gets an output of its own, a squared error against zeros, whose gradient is ``l2``
    times the row; the first output stays the network's.

    Parameters
    ----------
    symbol : Symbol
    l2 : dict of str to float
        The penalty of each table, by the name of its parameter.
    """
    mx = _mxnet.load()
    internals = symbol.get_internals()
    # By number, because names of nodes need not be unique.
    heads = [tuple(head[:2]) for head in json.loads(internals.tojson())["heads"]]
    parts = [symbol]
    for table in lookups(symbol):
        if penalty := l2.get(table.weight, 0.0):
            rows = internals[heads.index((table.node, 0))]
            # MXNet divides the gradient by the numbers a row has.
            scale = penalty * table.width
            parts.append(mx.sym.LinearRegressionOutput(rows, mx.sym.zeros_like(rows), grad_scale=scale))
    return mx.sym.Group(parts)
