"""The house holds: imports run downwards only, rooms are entered by their doors, and what is heavy is imported where it is used."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys

import pytest

import nnmf

from .house import FLOORS, MODULES, UNTOLD, floor, imports, inner_imports, private_attributes, room

# A library, and who may import it. A name that is imported for a type alone loads nothing.
HOMES = {
    "mxnet": ("nnmf._mxnet",),
    "numba": ("nnmf._compiled", "nnmf.factorization._vectors", "nnmf.ranking._kernels"),
    "llvmlite": ("nnmf._compiled._fetch", "nnmf.factorization._vectors", "nnmf.ranking._kernels"),
    "duckdb": ("nnmf.tables",),
    "onnx": ("nnmf.onnx",),
    "onnxruntime": ("nnmf.testing",),
    "requests": ("nnmf.files",),
    "pandas": ("nnmf.tables", "nnmf.models"),
    "dask": ("nnmf.cluster",),
    "distributed": ("nnmf.cluster",),
    "pytest": (),
}
# What stands beside the packages, for this package alone: all that has no underscore may be imported.
SINGLE = ("nnmf._lazy", "nnmf._version", "nnmf._eval_metrics", "nnmf._drawing", "nnmf._symbols")
# Who imports what a name says that is known when it runs alone.
BY_NAME = (
    "nnmf._lazy",
    "nnmf.commands",
    "nnmf.commands._doctor",
    "nnmf.commands._main",
    "nnmf._registry",
    "nnmf.kinds",
)
# Private names of libraries that a room of ours has, too.
OF_LIBRARIES = ("dispatcher._cache",)
LONGEST = 320


def where(module: str, line: int) -> str:
    return f"{MODULES[module].relative_to(MODULES['nnmf'].parents[1])}, line {line}"


def test_every_room_stands_on_one_floor():
    named = [name for rooms in FLOORS for name in rooms]
    assert sorted(named) == sorted({room(module) for module in MODULES})


def test_imports_run_downwards():
    up = [
        f"{where(module, line)}: {room(module)} imports {target}"
        for module, target, _, line in inner_imports()
        if room(module) != room(target) and floor(room(module)) >= floor(room(target))
    ]
    assert not up


def test_no_module_imports_itself_by_way_of_others():
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, target, _, _ in inner_imports():
        # The doors beside the package itself hand its names on, and `import nnmf.x` runs nnmf/__init__.py, which imports lazily.
        if target != module:
            graph[module].add(target)
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_private_modules_and_names_stay_in_their_rooms():
    broken = []
    for module, target, name, line in inner_imports():
        if room(module) == room(target):
            continue
        inner = target.split(".")[2:]
        if inner or ((name or "").startswith("_") and name != "__version__"):
            broken.append(f"{where(module, line)}: imports {name or ''} of {target}; take it from the room's door")
    assert not broken


def test_private_names_are_not_taken_from_objects_of_other_rooms():
    broken = [
        f"{where(module, line)}: {name}"
        for module in MODULES
        for name, line in private_attributes(module)
        if name not in OF_LIBRARIES
    ]
    assert not broken


def test_few_import_by_a_name_that_is_made():
    assert {module for module in MODULES for target, *_ in imports(module) if target == UNTOLD} == set(BY_NAME)


@pytest.mark.parametrize(
    "line",
    [
        "from nnmf import models; X = models._model",
        "def f(model): return model._learned",
        "import importlib; mxnet = importlib.import_module('mxnet')",
        "from importlib import import_module; mxnet = import_module('mxnet')",
        "numba = __import__('numba')",
        "import importlib; models = importlib.import_module('nnmf' + '.models')",
        "import importlib; models = importlib.import_module('nnmf.models')",
    ],
)
def test_what_is_planted_is_found(line, tmp_path, monkeypatch):
    planted = tmp_path / "_planted.py"
    planted.write_text(line)
    monkeypatch.setitem(MODULES, "nnmf.tables._planted", planted)
    monkeypatch.setitem(globals(), "where", lambda module, line: f"{module}, line {line}")
    tests = [
        test_private_names_are_not_taken_from_objects_of_other_rooms,
        test_few_import_by_a_name_that_is_made,
        test_imports_run_downwards,
        *(
            lambda library=library: test_a_library_is_imported_where_it_belongs(library)
            for library in ("mxnet", "numba")
        ),
    ]
    n_found = 0
    for test in tests:
        try:
            test()
        except AssertionError:
            n_found += 1
    assert n_found


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_where_it_belongs(library):
    broken = [
        where(module, line)
        for module in MODULES
        for target, _, line, typed in imports(module)
        if target.split(".")[0] == library
        and not typed
        and not any(module == home or module.startswith(f"{home}.") for home in HOMES[library])
    ]
    assert not broken


def test_what_rooms_take_from_one_another_is_in_their_all():
    broken = []
    for module, target, name, line in inner_imports():
        if name is None or room(module) == room(target) or target in SINGLE:
            continue
        if name not in importlib.import_module(target).__all__:
            broken.append(f"{where(module, line)}: {name} is not in __all__ of {target}")
    assert not broken


PUBLIC = sorted(module for module in MODULES if not any(part.startswith("_") for part in module.split(".")[1:]))


@pytest.mark.parametrize("module", PUBLIC)
def test_all_is_complete(module):
    """Each name in ``__all__`` is there, is listed by dir, and no public name of the file is left out."""
    found = importlib.import_module(module)
    names = found.__all__
    assert len(names) == len(set(names))
    for name in names:
        assert getattr(found, name) is not None, name
    assert set(names) <= set(dir(found))
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    made = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            made |= {alias.asname or alias.name for alias in node.names}
    left_out = {name for name in made if not name.startswith("_")} - set(names)
    assert not left_out - {"TYPE_CHECKING", "lazily", "logger", "mx"}


def test_dir_lists_the_public_names():
    assert set(nnmf.__all__) <= set(dir(nnmf))


@pytest.mark.parametrize("module", ["nnmf", *(f"nnmf.{name}" for name in (
    "tables", "datasets", "metrics", "config", "ranking", "training", "onnx", "storage", "models", "factorization", "kinds",
    "testing", "commands", "data", "train", "predict", "kvstore",
))])  # fmt: skip
def test_importing_loads_nothing_heavy(module):
    heavy = ["mxnet", "duckdb", "requests", "onnx", "onnxruntime", "pandas", "dask", "distributed", "pytest"]
    if module in (
        "nnmf",
        *(f"nnmf.{name}" for name in ("tables", "datasets", "metrics", "config", "commands", "data")),
    ):
        heavy += ["numba", "llvmlite"]
    code = f"import sys, {module}; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_no_file_is_long():
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: length for module, length in lengths.items() if length > LONGEST}


def test_docstrings_are_numpy_style():
    google = re.compile(r"^\s*(Args|Arguments|Returns|Raises|Yields|Attributes|Examples?|Notes?|References):\s*$", re.M)
    broken = set()
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and google.search(
                ast.get_docstring(node) or ""
            ):
                broken.add(module)
    assert not broken


def test_a_command_is_on_its_guard_before_it_imports_much():
    """Until then Ctrl-C is a traceback."""
    code = "import sys; before = {*sys.modules}; import nnmf.commands; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"typing", "argparse", "logging", "dataclasses", "numpy"} & set(done.stdout.split())
