"""Draws the house, floor above floor, from the imports of nnmf/: an SVG for the README.

python scripts/draw_house.py [FILE, default docs/house.svg]
"""

from __future__ import annotations

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.house import FLOORS, MODULES, floor, inner_imports, room  # noqa: E402

#: what a floor is drawn as
TITLES = {
    "nnmf": "doors",
    "commands": "what is typed",
    "testing": "contracts",
    "kinds": "models by name",
    "neural": "how they learn",
    "models": "what all answer",
    "storage": "folders",
    "training": "an epoch",
    "onnx": "the way out",
    "ranking": "lists",
    "datasets": "known data",
    "tables": "ratings, ids",
    "kvstore": "processes",
    "networks": "what is set",
    "_registry": "networks by name",
    "_columns": "their parts",
    "cluster": "machines",
    "files": "whole or not there",
    "_mxnet": "engines",
    "errors": "ground",
}
WIDTH, HEIGHT, GAP, LEFT, BOX = 1000, 34, 22, 150, 132
COLOURS = ("#dbe9f6", "#fdebd0", "#e3f1df", "#f6dfe3", "#e8e2f3", "#fbf6d5")


def places() -> dict[str, tuple[float, float]]:
    """The middle of each room's box."""
    found = {}
    for number, rooms in enumerate(FLOORS):
        step = (WIDTH - LEFT) / len(rooms)
        for at, name in enumerate(rooms):
            # Floors of one room wander to and fro, so that arrows past them are seen.
            aside = 0 if len(rooms) > 1 else (-260, 0, 260, 130, -130)[number % 5]
            found[name] = LEFT + step * (at + 0.5) + aside, 24 + number * (HEIGHT + GAP) + HEIGHT / 2
    return found


def arrows() -> list[tuple[str, str]]:
    """Which room imports which: without what every room uses, and without arrows that others on the way imply."""
    below: dict[str, set[str]] = {name: set() for rooms in FLOORS for name in rooms}
    for module, target, _, _ in inner_imports():
        if room(module) != room(target) and room(target) not in FLOORS[-1]:
            below[room(module)].add(room(target))
    reached: dict[str, set[str]] = {}
    for rooms in reversed(FLOORS):
        for name in rooms:
            reached[name] = below[name].union(*(reached[lower] for lower in below[name]))
    return [
        (upper, lower)
        for upper, lowers in below.items()
        for lower in sorted(lowers)
        if not any(lower in reached[other] for other in lowers)
    ]


def title(name: str) -> str:
    """The first line of a room's docstring."""
    module = "nnmf" if name == "nnmf" else f"nnmf.{name}"
    return (ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8"))) or name).splitlines()[0]


def label(name: str) -> str:
    """A room as its box calls it."""
    module = "nnmf" if name == "nnmf" else f"nnmf.{name}"
    if name == "nnmf":
        return "__init__.py"
    return f"{name}/" if MODULES[module].name == "__init__.py" else f"{name}.py"


def drawing() -> str:
    """The SVG."""
    at, height = places(), 24 + len(FLOORS) * (HEIGHT + GAP) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#7a8794"/></marker></defs>',
    ]
    for number, rooms in enumerate(FLOORS):
        y = 24 + number * (HEIGHT + GAP) - GAP / 2
        parts.append(
            f'<rect x="0" y="{y:g}" width="{WIDTH}" height="{HEIGHT + GAP}" fill="{COLOURS[number % 6]}" opacity=".45"/>'
        )
        parts.append(f'<text x="12" y="{y + (HEIGHT + GAP) / 2 + 5:g}" fill="#555">{escape(TITLES[rooms[0]])}</text>')
    for upper, lower in arrows():
        (x, y), (u, v) = at[upper], at[lower]
        y, v = y + HEIGHT / 2, v - HEIGHT / 2
        bend = (v - y) / 2
        parts.append(
            f'<path d="M{x:g},{y:g} C{x:g},{y + bend:g} {u:g},{v - bend:g} {u:g},{v:g}" fill="none" stroke="#7a8794" '
            f'stroke-width="1.3" marker-end="url(#head)"/>'
        )
    for name, (x, y) in at.items():
        width = min(BOX, (WIDTH - LEFT) / len(FLOORS[floor(name)]) - 10)
        parts.append(
            f'<g><title>{escape(title(name))}</title><rect x="{x - width / 2:g}" y="{y - HEIGHT / 2:g}" width="{width:g}" '
            f'height="{HEIGHT}" rx="6" fill="white" stroke="#34495e"/>'
            f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle">{escape(label(name))}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "house.svg"
    path.write_text(drawing(), encoding="utf-8")
    print(path)
