"""``nnmf doctor``: what is installed, what can be used and why not, and the one command that mends what is missing."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from nnmf import _mxnet
from nnmf._version import __version__
from nnmf.errors import BackendError

from ._flags import Parser, run_command

_NEEDED = ("numpy", "numba", "duckdb", "requests")
_OPTIONAL = {
    "onnx": "to check what export_onnx writes",
    "onnxruntime": "to run what export_onnx writes",
    "pandas": "for Ratings.from_frame",
    "distributed": "for --cluster: pip install 'nnmf[dask]'",
}


def main(argv: list[str] | None = None) -> None:
    """The command ``nnmf doctor``; exits with 0 unless nothing at all can be trained."""
    parser = Parser(
        prog="nnmf doctor", description="Say what is installed, what can be used and why not, and what mends the rest."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)

    def command() -> None:
        found = _examine()
        print(json.dumps(found, indent=2) if arguments.json else _as_text(found))
        if not any(why is None for why in found["trains"].values()):
            sys.exit(1)

    run_command(parser.prog, command)


def _examine() -> dict[str, Any]:
    """What there is, as JSON can hold it. Where a value says why something cannot be used, None says that it can."""
    packages = {name: _package(name) for name in (*_NEEDED, *_OPTIONAL)}
    mxnet, build = _why_not(_mxnet.load), _build()
    return {
        "nnmf": {"version": __version__, "folder": str(Path(__file__).parents[1])},
        "python": {"version": platform.python_version(), "executable": sys.executable, "platform": platform.platform()},
        "packages": packages,
        "mxnet": {"build": build, "why_not": mxnet},
        "trains": {
            "factorizations": _why_not(lambda: importlib.import_module("nnmf.factorization")),
            "networks": mxnet or _why_not(lambda: importlib.import_module("nnmf.neural")),
        },
        "devices": _devices(mxnet),
        "gpu_command": None if build == "mxnet-cu112" else _mxnet.replace_command("mxnet-cu112"),
        "places": _places(),
        "command": _mending_command(packages, mxnet),
    }


def _as_text(found: dict[str, Any]) -> str:
    """The same for a reader."""
    python, mxnet, places = found["python"], found["mxnet"], found["places"]
    lines = [f"nnmf {found['nnmf']['version']} in {found['nnmf']['folder']}"]
    lines.append(f"Python {python['version']} ({python['executable']}) on {python['platform']}")
    rows = [(name, _state(package, _OPTIONAL.get(name))) for name, package in found["packages"].items()]
    rows.append(("mxnet", mxnet["why_not"] or f"1.9.1, build {mxnet['build'] or 'unknown'}"))
    lines += _section("Packages", rows)
    lines += _section("Trains", [(what, why or "yes") for what, why in found["trains"].items()])
    devices = [(name, device["why_not"] or device["what"]) for name, device in found["devices"].items()]
    if found["gpu_command"]:
        devices.append(("the build for GPUs", found["gpu_command"]))
    lines += _section("Devices", devices)
    loops = places["compiled_loops"]
    lines += _section(
        "Places",
        [
            ("cache", _place(places["cache"])),
            ("$NNMF_DATA", places["nnmf_data"] or "not set"),
            ("ml-100k", places["ml-100k"]["path"] or places["ml-100k"]["why_not"]),
            ("compiled loops", loops["path"] if loops["why_not"] is None else loops["why_not"]),
        ],
    )
    lines += ["", f"To mend what is missing: {found['command']}" if found["command"] else "Nothing is missing."]
    return "\n".join(lines)


def _section(title: str, rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return ["", title, *(f"  {name:{width}}  {text}" for name, text in rows)]


def _state(package: dict[str, str | None], purpose: str | None) -> str:
    if package["version"] is None:
        return f"not installed ({purpose})" if purpose else "missing"
    return f"{package['version']}, but {package['why_not']}" if package["why_not"] else package["version"]


def _place(place: dict[str, str | None]) -> str:
    return f"{place['path']} ({place['why_not'] or 'can be written'})" if place["path"] else str(place["why_not"])


def _why_not(attempt: Callable[[], object]) -> str | None:
    """What hinders an attempt, in one line, or None where it works."""
    try:
        attempt()
    except BackendError as error:
        return str(error)
    except Exception as error:  # what a broken package raises when it is imported can be anything
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _package(name: str) -> dict[str, str | None]:
    """Its version from its metadata, and why it cannot be imported."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return {"version": None, "why_not": "not installed"}
    return {"version": version, "why_not": _why_not(lambda: importlib.import_module(name))}


def _build() -> str | None:
    try:
        return _mxnet.installed_build()
    except BackendError:
        return "mxnet and mxnet-cu112"


def _devices(mxnet: str | None) -> dict[str, dict[str, str | None]]:
    """The processor and each GPU: what it is, and why it cannot be used."""
    from nnmf._compiled import usable_cores

    usable, cores = usable_cores(), os.cpu_count() or 1
    devices: dict[str, dict[str, str | None]] = {
        "cpu": {"what": f"{usable} of {cores} cores may be used", "why_not": None}
    }
    try:
        gpus = [
            f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}" for gpu in _mxnet.query_gpus()
        ]
    except OSError as error:
        return devices | {"gpu(0)": {"what": None, "why_not": f"NVIDIA's driver does not work ({error})"}}
    if not gpus:
        return devices | {"gpu(0)": {"what": None, "why_not": "NVIDIA's driver shows no GPU"}}
    for index, what in enumerate(gpus):
        why = "MXNet cannot be imported" if mxnet else _mxnet.why_no_gpu(index)
        devices[f"gpu({index})"] = {"what": what, "why_not": why and f"{what}: {why}"}
    return devices


def _places() -> dict[str, Any]:
    """Where data and caches are."""
    cache: dict[str, str | None] = {"path": None}
    try:
        from nnmf.files import cache_dir

        cache["path"] = str(cache_dir())
        cache["why_not"] = _why_not_writable(cache_dir())
    except Exception as error:  # NumPy is missing, or there is no home folder
        cache["why_not"] = str(error)
    data: dict[str, str | None] = {"path": None, "why_not": None}
    try:
        from nnmf.datasets import find

        folder = find("ml-100k")
        data["path"] = str(folder) if folder else None
        data["why_not"] = None if folder else "not found here; python -m nnmf.train downloads it"
    except Exception as error:
        data["why_not"] = f"not looked for ({error})"
    loops: dict[str, str | None] = {"path": None}
    try:
        from nnmf._compiled import loop_cache

        loops |= {"path": str(loop_cache()), "why_not": None}
    except Exception as error:  # Numba is missing, or finds no folder
        loops["why_not"] = str(error)
    return {"cache": cache, "nnmf_data": os.environ.get("NNMF_DATA"), "ml-100k": data, "compiled_loops": loops}


def _why_not_writable(folder: Path) -> str | None:
    """Asked of the nearest folder that is there: nothing is created."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    return None if there.is_dir() and os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written"


def _mending_command(packages: dict[str, dict[str, str | None]], mxnet: str | None) -> str | None:
    """The one command that installs what is missing and puts what is broken anew."""
    missing = [name for name in _NEEDED if name in packages and packages[name]["why_not"]]
    anew = ["--force-reinstall"] if any(packages[name]["version"] for name in missing) else []
    commands = [" ".join(["pip", "install", *anew, *missing])] if missing else []
    if mxnet:
        commands.append(_mxnet.repair_command())
    return " && ".join(commands) or None
