"""``nnmf doctor`` and ``nnmf COMMAND``, on this machine and on broken ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import nnmf
from nnmf import _mxnet
from nnmf._mxnet import Gpu
from nnmf.commands import _doctor, _main

ROOT = Path(__file__).parents[1]
needs_mxnet = pytest.mark.skipif(find_spec("mxnet") is None, reason="needs MXNet")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=120)


def doctor(*arguments: str, blocked: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process where these packages cannot be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    return run(f"{block}from nnmf.commands._doctor import main as doctor; doctor({list(arguments)!r})", **environment)


@needs_mxnet
def test_nothing_is_missing(tmp_path: Path) -> None:
    done = doctor(NNMF_CACHE=str(tmp_path / "not there yet"), NNMF_DATA=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"nnmf {nnmf.__version__} in {ROOT / 'nnmf'}"
    assert lines[-1] == "Nothing is missing."
    assert {"Packages", "Trains", "Devices", "Places"} <= set(lines)
    assert "  networks        yes" in lines and "  factorizations  yes" in lines
    assert f"  cache           {tmp_path / 'not there yet'} (can be written)" in lines
    assert not (tmp_path / "not there yet").exists()
    assert f"  $NNMF_DATA      {tmp_path}" in lines


@needs_mxnet
def test_json_for_machines(ml_100k: Path) -> None:
    done = doctor("--json", NNMF_DATA=str(ml_100k.parent))
    found = json.loads(done.stdout)
    assert found["command"] is None and found["trains"] == {"factorizations": None, "networks": None}
    assert found["places"]["ml-100k"] == {"path": str(ml_100k), "why_not": None}
    assert found["devices"]["cpu"]["what"].endswith("cores may be used")
    assert found["packages"]["numpy"]["why_not"] is None


@pytest.mark.parametrize(
    "blocked, code, words",
    [
        (("mxnet",), 0, ["factorizations  yes", "To mend what is missing: pip"]),
        (("numba", "llvmlite"), 1, ["factorizations  ModuleNotFoundError: ", "pip install --force-reinstall numba"]),
        (("numba", "llvmlite", "mxnet"), 1, ["pip install --force-reinstall numba && pip "]),
        (("numpy",), 1, ["pip install --force-reinstall numpy"]),
        (
            ("numpy", "numba", "mxnet", "duckdb", "requests"),
            1,
            ["--force-reinstall numpy numba duckdb requests && pip "],
        ),
    ],
)
def test_what_cannot_be_imported_is_said(blocked: tuple[str, ...], code: int, words: list[str]) -> None:
    done = doctor(blocked=blocked)
    assert "Traceback" not in done.stderr  # DuckDB's own library writes a line there where NumPy is missing
    assert done.returncode == code, done.stdout
    for text in words:
        assert text in done.stdout
    assert "Nothing is missing" not in done.stdout and "Traceback" not in done.stdout


def test_the_command_that_mends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mxnet, "repair_command", lambda: "REPAIR")
    absent, broken = {"version": None, "why_not": "not installed"}, {"version": "1", "why_not": "OSError: no"}
    whole = {"version": "1", "why_not": None}
    for packages, mxnet, command in [
        ({"numpy": whole, "numba": absent}, None, "pip install numba"),
        (
            {"numpy": absent, "numba": broken, "dask": absent},
            "gone",
            "pip install --force-reinstall numpy numba && REPAIR",
        ),
        ({"numpy": whole, "numba": whole}, "gone", "REPAIR"),
        ({"numpy": whole, "numba": whole, "onnx": absent}, None, None),
    ]:
        assert _doctor._mending_command(packages, mxnet) == command


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    """Files in the place of folders, since root ignores modes."""
    (tmp_path / "file").write_text("")
    done = doctor(NNMF_CACHE=str(tmp_path / "file" / "cache"), NNMF_DATA=str(tmp_path / "gone"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"({tmp_path / 'file'} cannot be written)" in done.stdout
    assert "ml-100k         not found here; python -m nnmf.train downloads it" in done.stdout


def test_gpus_and_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [Gpu("Old", (3, 7)), Gpu("Good", (8, 6))]
    monkeypatch.setattr(_mxnet, "query_gpus", lambda: gpus)
    monkeypatch.setattr(_mxnet, "why_no_gpu", lambda index: None if index else "too old")
    found = _doctor._devices(None)
    assert found["gpu(0)"]["why_not"] == "Old, compute capability 3.7: too old"
    assert found["gpu(1)"] == {"what": "Good, compute capability 8.6", "why_not": None}
    assert _doctor._devices("no MXNet")["gpu(1)"]["why_not"].endswith("MXNet cannot be imported")
    gpus.clear()
    assert _doctor._devices(None)["gpu(0)"]["why_not"] == "NVIDIA's driver shows no GPU"


# --- one name for all commands


def nnmf_command(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as ended:
        _main.main(list(arguments))
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_commands_are_dispatched(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = nnmf_command("data", "synthetic", "--json", capsys=capsys)
    assert (code, json.loads(out)["n_users"]) == (0, 943)
    code, out, _ = nnmf_command("train", "--help", capsys=capsys)
    assert (code, "--n-epochs" in out) == (0, True)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = nnmf_command("--help", capsys=capsys)
    assert code == 0
    assert all(f"\n  {name} " in out for name in _main.COMMANDS)
    assert nnmf_command("--version", capsys=capsys) == (0, f"nnmf {nnmf.__version__}\n", "")


def test_commands_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    names = "['cache', 'data', 'doctor', 'predict', 'train']"
    text = f"nnmf: error: command: got 'tarin' instead of one of {names} (see nnmf --help)\n"
    assert nnmf_command("tarin", capsys=capsys) == (2, "", text)
    assert nnmf_command(capsys=capsys) == (
        2,
        "",
        f"nnmf: error: a command is missing; give one of {names} (see nnmf --help)\n",
    )
    assert nnmf_command("--verbose", capsys=capsys)[0] == 2


def test_the_module_and_the_script_are_that_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nnmf", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"nnmf {nnmf.__version__}\n"
    assert 'nnmf = "nnmf.commands:main"' in (ROOT / "pyproject.toml").read_text()


def test_commands_are_late() -> None:
    code = "import sys; from nnmf.commands._main import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    "
    done = run(code + "print(*({'numpy', 'numba', 'mxnet', 'duckdb'} & set(sys.modules)))")
    assert done.stdout == f"nnmf {nnmf.__version__}\n\n", done.stderr
