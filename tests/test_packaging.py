"""What is installed and what is handed out: requirements, their lowest versions, the source distribution."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()
BASE = PROJECT.partition("\ndependencies = [")[2].partition("\n]")[0]


def test_numpy_has_no_upper_bound() -> None:
    assert re.findall(r'"(numpy.*?)"', BASE) == ["numpy>=1.23"]


def test_the_lowest_versions_are_the_bounds() -> None:
    """Each lower bound is the version that the lowest environment pins, to the places that the bound has."""
    pinned = dict(re.findall(r"^([a-z]+)==([0-9.]+)$", (ROOT / ".ci" / "lowest.txt").read_text(), re.M))
    bounds = dict(re.findall(r'"([a-z]+)>=([0-9.]+)"', PROJECT))
    assert {"numpy", "numba", "requests", "duckdb"} <= pinned.keys() <= bounds.keys()
    for name, version in pinned.items():
        places = bounds[name].split(".")
        assert version.split(".")[: len(places)] == places, name


def test_the_source_distribution_holds_all_that_its_tests_need(tmp_path: Path) -> None:
    setuptools = pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    source.mkdir()
    folders = ["nnmf", "tests", "scripts", "docs", ".ci"]
    for name in folders:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, source)
    code = f"from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (setuptools.__version__, done.stderr)
    with tarfile.open(tmp_path / done.stdout.split()[-1]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        str(path.relative_to(source)) for name in folders for path in (source / name).rglob("*") if path.is_file()
    }
    assert wanted | {"README.md", "pyproject.toml", ".pre-commit-config.yaml", "CONTRIBUTING.md"} <= held
