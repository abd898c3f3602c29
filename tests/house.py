"""The house as its imports show it, read without running anything: who stands on which floor, and who imports whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "nnmf"

#: the floors, top first; what stands beside another on one floor does not import it
FLOORS = (
    ("nnmf", "data", "train", "predict", "synthetic", "__main__"),
    ("commands",),
    ("testing",),
    ("kinds",),
    ("neural", "factorization"),
    ("models",),
    ("storage",),
    ("training",),
    ("onnx",),
    ("ranking",),
    ("datasets",),
    ("tables",),
    ("kvstore",),
    ("networks", "metrics", "config"),
    ("_registry",),
    ("_columns", "_eval_metrics", "_drawing", "_symbols", "_layers"),
    ("cluster",),
    ("files",),
    ("_mxnet", "_compiled"),
    ("errors", "_lazy", "_version"),
)


#: an imported module whose name stands in no text
UNTOLD = "?"


def modules() -> dict[str, Path]:
    """Every module's dotted name and file."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """The package, or the module beside packages, that a module belongs to: ``nnmf.tables._ids`` to ``tables``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def floor(name: str) -> int:
    """The floor of a room, 0 at the top."""
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def imports(module: str) -> tuple[tuple[str, str | None, int, bool], ...]:
    """What a module imports: module, name taken from it or None, line, and whether for its types alone.

    A text that is the name of a module of this package counts: so `nnmf._lazy` is told where a name is.
    """
    return _imports(module, MODULES[module])


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(module: str, path: Path) -> tuple[tuple[str, str | None, int, bool], ...]:
    return tuple(_found_imports(module, path))


def _found_imports(module: str, path: Path) -> Iterator[tuple[str, str | None, int, bool]]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = _tree(path)
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, node.lineno, id(node) in typed
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            home = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{home}.{alias.name}"
                target = (inner, None) if inner in MODULES else (home, alias.name)
                yield *target, node.lineno, id(node) in typed
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            # What is no text alone is not known until it runs; no module needs it.
            name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else UNTOLD
            if name not in MODULES:  # those of this package are found as texts
                yield str(name), None, node.lineno, id(node) in typed
        elif isinstance(node, ast.Constant) and node.value in MODULES and node.value != "nnmf":  # a logger's name
            yield node.value, None, node.lineno, False


def private_attributes(module: str) -> Iterator[tuple[str, int]]:
    """Private names of other rooms that a module takes from an object: what is asked, and the line.

    Whose an object is is told by the name alone: it is another room's where only other rooms define it, or have a module of it.
    """
    own: set[str] = set()
    others: set[str] = set()
    for other in MODULES:
        (own if room(other) == room(module) else others).update(_private_names(other, MODULES[other]))
    for node in ast.walk(_tree(MODULES[module])):
        if isinstance(node, ast.Attribute) and node.attr in others - own:
            whose = ast.unparse(node.value)
            if whose not in ("self", "cls", "super()"):
                yield f"{whose}.{node.attr}", node.lineno


@cache
def _private_names(module: str, path: Path) -> frozenset[str]:
    """Private names that a module defines, or sets on `self`, and its own."""
    names = {module.rpartition(".")[2]}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "cls")
        ):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(filter(_is_private, names))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def inner_imports() -> Iterator[tuple[str, str, str | None, int]]:
    """Every import of this package by itself: importer, imported module, name taken from it or None, line."""
    for module in MODULES:
        for target, name, line, _ in imports(module):
            if target.split(".")[0] == "nnmf":
                yield module, target, name, line
