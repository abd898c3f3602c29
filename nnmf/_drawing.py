"""Pictures of networks as SVG, which take no other program; MXNet's own need Graphviz's ``dot``.

MXNet's `mx.viz.plot_network` writes a node's layer for some kinds of layer alone and the node's name for all others, dropout
among them; here each box says both.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from nnmf.errors import ConfigError
from nnmf.files import write_text

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

_BOX, _GAP = (168, 46), (28, 40)  # widths and heights
_FONT = 'font-family="Helvetica, Arial, sans-serif" text-anchor="middle"'
_COLOURS = {"null": "#d5e8d4", "Embedding": "#dae8fc", "FullyConnected": "#ffe6cc", "Activation": "#fff2cc"}
_COLOURS |= {"Dropout": "#f8cecc"}
_OTHER_COLOUR = "#eeeeee"
# What of a layer's attributes is told behind its kind, and how.
_TOLD = {
    "Embedding": "{input_dim} x {output_dim}",
    "FullyConnected": "to {num_hidden}",
    "Activation": "{act_type}",
    "Dropout": "p = {p}",
}


def draw(symbol: Symbol, path: str | os.PathLike[str], title: str | None = None) -> Path:
    """Draw a network, from its inputs at the top to its output layer, without its parameters.

    Parameters
    ----------
    symbol : Symbol
        The network, such as `build_network` returns it.
    path : path
        The ``.svg`` file to write.
    title : str, default=None
        What stands above it; None: the file's name.

    Returns
    -------
    The path.

    Raises
    ------
    ConfigError
        Another ending than ``.svg``, or something else than a network.
    DataError
        The file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".svg":
        raise ConfigError(
            f"picture: got {str(path)!r}; name a file that ends in .svg (other kinds are drawn by mx.viz.plot_network, which "
            "needs Graphviz's program dot)."
        )
    if not callable(getattr(symbol, "tojson", None)):
        raise ConfigError(f"picture: got a {type(symbol).__name__}; give a Symbol, as build_network returns it.")
    nodes = _visible(json.loads(symbol.tojson())["nodes"])
    places = _places(nodes)
    widths = _widths(symbol)
    x, y = (max(place[axis] for place in places.values()) + _BOX[axis] for axis in (0, 1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-20 -50 {x + 40:.0f} {y + 70:.0f}" width="{x + 40:.0f}">',
        f'<rect x="-20" y="-50" width="{x + 40:.0f}" height="{y + 70:.0f}" fill="#ffffff"/>',
        f'<text x="{x / 2:.0f}" y="-24" font-size="18" {_FONT}>{escape(path.stem if title is None else title)}</text>',
        *(_edge(places[source], places[at], widths.get(nodes[source]["name"], "")) for at, source in _edges(nodes)),
        *(_box(nodes[at], place) for at, place in places.items()),
        "</svg>",
    ]
    write_text(path, "\n".join(parts) + "\n")
    return path


def _visible(nodes: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The nodes to draw by their numbers: all but parameters, which are the variables that a layer names for itself."""
    hidden = ("_weight", "_bias", "_gamma", "_beta", "_moving_mean", "_moving_var")
    shown = {at for at, node in enumerate(nodes) if node["op"] != "null" or not node["name"].endswith(hidden)}
    return {
        at: {**nodes[at], "inputs": [entry[0] for entry in nodes[at]["inputs"] if entry[0] in shown]}
        for at in sorted(shown)
    }


def _edges(nodes: dict[int, dict[str, Any]]) -> list[tuple[int, int]]:
    return [(at, source) for at, node in nodes.items() for source in node["inputs"]]


def _places(nodes: dict[int, dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """Left and upper edge of each node's box: a row for each layer, a node below those that feed it."""
    depth: dict[int, int] = {}
    for at, node in nodes.items():  # a graph lists what feeds a node before it
        depth[at] = max((depth[source] + 1 for source in node["inputs"]), default=0)
    for at, node in nodes.items():
        # What is fed by nothing, such as the label, stands just above what it feeds.
        users = [depth[user] for user, source in _edges(nodes) if source == at]
        if not node["inputs"] and users:
            depth[at] = min(users) - 1
    places: dict[int, tuple[float, float]] = {}
    for line in sorted(set(depth.values())):
        x = 0.0
        row = [at for at in nodes if depth[at] == line]
        # Below the middle of what feeds it, as far as the row has room; what nothing feeds comes last.
        for at in sorted(row, key=lambda at: not nodes[at]["inputs"]):
            above = [places[source][0] for source in nodes[at]["inputs"]]
            x = max(x, sum(above) / len(above)) if above else x
            places[at] = x, line * (_BOX[1] + _GAP[1])
            x += _BOX[0] + _GAP[0]
    return places


def _widths(symbol: Symbol) -> dict[str, str]:
    """What a row of each node's output is as wide as, by the node's name; nothing where MXNet cannot tell."""
    inside = symbol.get_internals()
    _, shapes, _ = inside.infer_shape_partial(user=(1,), item=(1,))
    names = inside.list_outputs()
    return {
        name[: -len("_output")]: " x ".join(map(str, shape[1:]))
        for name, shape in zip(names, shapes, strict=True)
        if name.endswith("_output") and len(shape) > 1 and 0 not in shape
    }


def _edge(above: tuple[float, float], below: tuple[float, float], width: str) -> str:
    x1, y1 = above[0] + _BOX[0] / 2, above[1] + _BOX[1]
    x2, y2 = below[0] + _BOX[0] / 2, below[1]
    line = f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2 - 6:.0f}" stroke="#555555"/>'
    head = f'<path d="M {x2 - 4:.0f} {y2 - 8:.0f} L {x2:.0f} {y2:.0f} L {x2 + 4:.0f} {y2 - 8:.0f} Z" fill="#555555"/>'
    middle = f'<text x="{(x1 + x2) / 2 + 14:.0f}" y="{(y1 + y2) / 2 + 4:.0f}" font-size="11" {_FONT}>{width}</text>'
    return line + head + (middle if width else "")


def _box(node: dict[str, Any], place: tuple[float, float]) -> str:
    op, name = node["op"], node["name"]
    kind = "input" if op == "null" else op.lstrip("_")
    if op in _TOLD:
        kind += " " + _TOLD[op].format_map({"p": "0.5", **node.get("attrs", {})})
    x, y = place[0] + _BOX[0] / 2, place[1]
    return (
        f'<rect x="{place[0]:.0f}" y="{y:.0f}" width="{_BOX[0]}" height="{_BOX[1]}" rx="{22 if op == "null" else 4}" '
        f'fill="{_COLOURS.get(op, _OTHER_COLOUR)}" stroke="#555555"/>'
        f'<text x="{x:.0f}" y="{y + 20:.0f}" font-size="13" {_FONT}>{escape(kind)}</text>'
        f'<text x="{x:.0f}" y="{y + 36:.0f}" font-size="11" fill="#555555" {_FONT}>{escape(name)}</text>'
    )
