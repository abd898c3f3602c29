"""The import of MXNet and the choice of a context; what needs a GPU is tested with stand-ins, up to the driver."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnmf import _mxnet
from nnmf._mxnet import Gpu, _cuda, _install, _load, _mend
from nnmf.errors import BackendError, ConfigError

ROOT = Path(__file__).parents[1]
CC = shutil.which("cc")
needs_cc = pytest.mark.skipif(
    CC is None or sys.platform != "linux", reason="compiles stand-in libraries: needs cc, Linux"
)
needs_mxnet = pytest.mark.skipif(find_spec("mxnet") is None, reason="needs MXNet")
GOOD_CARD = Gpu("Test GPU", (8, 6))


def run(code: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python of its own, with this checkout on its path."""
    path = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(ROOT)]))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MXNET_", "DMLC_"))}
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(autouse=True)
def fresh_load() -> Iterator[None]:
    """`load` caches; no test sees another's module, real or not."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "mxnet"}
    _mxnet.load.cache_clear()
    yield
    _mxnet.load.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mxnet"]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Put a stand-in `mxnet` package of this source, and the metadata of these builds, in place of the real ones."""

    def stand_in(*builds: str, source: str | None = "") -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "mxnet"]:
            del sys.modules[name]
        real_version = _install.version_of
        there = dict.fromkeys(builds, "1.9.1")
        monkeypatch.setattr(
            _install, "version_of", lambda name: there.get(name) if "mxnet" in name else real_version(name)
        )
        if source is None:
            real = _install.find_spec
            monkeypatch.setattr(_install, "find_spec", lambda name: None if name == "mxnet" else real(name))
        else:
            package = tmp_path / "site" / "mxnet"
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(source)
            monkeypatch.syspath_prepend(package.parent)

    return stand_in


# --- the import, for real


@needs_mxnet
def test_import_is_quiet_and_late() -> None:
    answer = run(
        "import sys\n"
        "from nnmf import _mxnet\n"
        "assert 'mxnet' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert _mxnet.installed_build() in ('mxnet', 'mxnet-cu112') and 'mxnet' not in sys.modules\n"
        "mx = _mxnet.load()\n"
        "assert mx is _mxnet.load() is sys.modules['mxnet']\n"
        "import numpy\n"
        "assert numpy.bool(1) == True and numpy.int is int\n"
        "dense = mx.sym.FullyConnected(mx.sym.Variable('data'), num_hidden=1)\n"
        "net = mx.sym.LinearRegressionOutput(dense, name='out')\n"
        "bound = net.simple_bind(mx.cpu(), data=(4, 3))\n"
        "bound.forward()\n"
        "print(bound.outputs[0].shape)\n",
        "-W",
        "error",
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "(4, 1)\n", "")


@needs_mxnet
def test_import_keeps_the_users_verbosity() -> None:
    answer = run("from nnmf import _mxnet; import os; _mxnet.load(); print(os.environ['MXNET_SUBGRAPH_VERBOSE'])")
    assert answer.stdout == "0\n"
    code = "from nnmf import _mxnet; import os; _mxnet.load(); print(os.environ['MXNET_SUBGRAPH_VERBOSE'])"
    assert run(code, MXNET_SUBGRAPH_VERBOSE="1").stdout == "1\n"


@needs_mxnet
def test_context_of_the_real_build() -> None:
    code = "from nnmf._mxnet import contexts\nprint(contexts('cpu'), contexts()[1][:4], contexts()[0][0].device_type)"
    answer = run(code)
    assert re.match(r"\(\[cpu\(0\)\], 'cpu, as asked'\) (cpu: cpu|gpu\( gpu)\n", answer.stdout), answer


@needs_mxnet
@pytest.mark.skipif(sys.version_info < (3, 12), reason="distutils is in the standard library before Python 3.12")
def test_python_312_without_setuptools() -> None:
    # The variable makes setuptools offer no distutils; a module that is None cannot be imported.
    code = "import sys; sys.modules['setuptools'] = None\nfrom nnmf import _mxnet; _mxnet.load()"
    answer = run(code, SETUPTOOLS_USE_DISTUTILS="stdlib")
    assert (
        "BackendError: MXNet 1.9.1 imports distutils, which Python 3.12 and newer no longer have: pip install setup"
        in answer.stderr
    )


# --- NumPy, mended


@needs_mxnet
@pytest.mark.parametrize(
    "first", ["from nnmf import mx", "import nnmf.networks\nimport mxnet as mx", "import nnmf.neural, mxnet as mx"]
)
def test_each_way_to_a_mended_mxnet(first: str) -> None:
    answer = run(first + "\nprint(mx.sym.Variable('a').simple_bind(mx.cpu(), a=(1, 2)).forward()[0].shape)", "-Wignore")
    assert (answer.stdout, answer.returncode) == ("(1, 2)\n", 0), answer.stderr


@needs_mxnet
def test_mending_after_a_bare_import_failed() -> None:
    answer = run(
        "import sys, types\n"
        "sys.modules['mxnet.context'] = types.ModuleType('mxnet.context')\n"  # a half that the failure left behind
        "from nnmf import mx\n"
        "print(mx.nd.ones(2).asnumpy().tolist())\n"
    )
    assert (answer.stdout, answer.returncode) == ("[1.0, 1.0]\n", 0), answer.stderr


def test_networks_mend_numpy_without_importing_mxnet() -> None:
    answer = run(
        "import nnmf.networks, numpy, sys\nprint('mxnet' in sys.modules, numpy.int is int, numpy.PZERO)", "-Werror"
    )
    assert (answer.stdout, answer.stderr) == ("False True 0.0\n", "")


def test_mending_leaves_what_numpy_has_alone() -> None:
    """Nothing changes but the names that are missing, and those are what NumPy 1 had."""
    answer = run(
        "import numpy, warnings\n"
        "from nnmf import _mxnet\n"
        "warnings.simplefilter('error')\n"
        "before = dict(vars(numpy)), numpy.geterr(), numpy.get_printoptions(), list(warnings.filters)\n"
        "_mxnet.mend_numpy()\n"
        "after = dict(vars(numpy)), numpy.geterr(), numpy.get_printoptions(), list(warnings.filters)\n"
        "added = after[0].keys() - before[0].keys()\n"
        "assert all(after[0][name] is before[0][name] for name in before[0])\n"
        "assert before[1:] == after[1:] and not added & set(numpy.__all__ or ())\n"
        "print(*sorted(added - {'__warningregistry__'}))\n"
    )
    assert answer.stderr == ""
    if int(np.__version__.split(".")[0]) > 1:
        names = (
            "Inf NAN NINF NZERO NaN PINF PZERO alltrue in1d int mirr msort npv pmt ppmt product pv rate round_ sometrue"
        )
        assert set(names.split()) <= set(answer.stdout.split()) <= {*names.split(), "trapz"}
    else:
        assert set(answer.stdout.split()) <= {"bool", "int", "mirr", "npv", "pmt", "ppmt", "pv", "rate"}


def test_dropped_names_are_what_they_were() -> None:
    """Against NumPy 1's documentation, on whichever NumPy runs this."""
    names = _mend._dropped(np)
    a, b = np.array([[3, 1], [2, 4]]), np.array([2, 3])
    assert names["msort"](a).tolist() == [[2, 1], [3, 4]]
    assert names["in1d"](a, b).tolist() == [True, False, True, False]
    assert (names["product"](a), names["alltrue"](a > 1), names["sometrue"](a > 3)) == (24, False, True)
    assert (names["PZERO"], np.signbit(names["NZERO"]), names["PINF"], names["NINF"]) == (0, True, np.inf, -np.inf)
    assert names["Inf"] == np.inf and np.isnan(names["NaN"]) and np.isnan(names["NAN"])
    assert names["round_"](1.26, 1) == 1.3
    with pytest.raises(
        RuntimeError, match=r"numpy\.pmt was removed from NumPy 1\.20: the package numpy-financial has it"
    ):
        names["pmt"](1, 2, 3)


# --- the ways an import can fail, one sentence each


def test_a_module_already_imported_is_taken_as_it_is(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("mxnet", "mxnet-cu112")
    module = SimpleNamespace()
    with monkeypatch.context() as patch:  # undone before the real modules are put back
        patch.setitem(sys.modules, "mxnet", module)
        assert _mxnet.load() is module


def test_not_installed(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(source=None)
    assert _mxnet.installed_build() is None
    monkeypatch.setattr(_install, "install_command", lambda build="mxnet": f"COMMAND {build}")
    text = "MXNet is not installed: COMMAND mxnet (for an NVIDIA GPU, python -m nnmf doctor names the command)"
    with pytest.raises(BackendError, match=f"^{re.escape(text)}$"):
        _mxnet.load()


def test_both_builds_installed(install) -> None:
    install("mxnet", "mxnet-cu112")
    for call in (_mxnet.installed_build, _mxnet.load):
        with pytest.raises(
            BackendError, match="so neither is whole: pip uninstall -y mxnet mxnet-cu112 && pip install"
        ):
            call()


def test_metadata_alone_names_the_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert _mxnet.installed_build() is None
    info = tmp_path / "mxnet_cu112-1.9.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mxnet-cu112\nVersion: 1.9.1\n")
    assert _mxnet.installed_build() == "mxnet-cu112"


@pytest.mark.parametrize("build", ["mxnet", "mxnet-cu112"])
@pytest.mark.parametrize("left", ["nothing", "a folder without __init__.py"])
def test_files_lost_to_the_other_builds_uninstall(
    install, monkeypatch: pytest.MonkeyPatch, build: str, left: str
) -> None:
    install(build, source=None)
    if left != "nothing":
        monkeypatch.setattr(_install, "find_spec", lambda name: SimpleNamespace(origin=None))
    text = (
        f"the files of {build} are incomplete: pip uninstall -y mxnet mxnet-cu112 && {_install.install_command(build)}"
    )
    with pytest.raises(BackendError, match=f"^{re.escape(text)}$"):
        _mxnet.load()


def test_no_distutils(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("mxnet")
    real = _mend.find_spec
    monkeypatch.setattr(_mend, "find_spec", lambda name: None if name == "distutils" else real(name))
    monkeypatch.setitem(sys.modules, "setuptools", None)
    with pytest.raises(BackendError, match=r"imports distutils, .*: pip install setuptools$"):
        _mxnet.load()


@pytest.mark.parametrize(
    "source, sentence",
    [
        (
            "raise OSError('libcuda.so.1: cannot open shared object file')",
            "mxnet-cu112 needs NVIDIA's driver (libcuda.so.1), which is not on this machine: install the driver, or",
        ),
        (
            "raise OSError('libcudnn.so.8: cannot open shared object file')",
            "MXNet lacks a CUDA library (libcudnn.so.8: cannot open shared object file): "
            "pip install 'nvidia-cudnn-cu11>=8.9,<9'",
        ),
        (
            "raise OSError('libgomp.so.1: cannot open shared object file')",
            "MXNet cannot be imported (OSError: libgomp.so.1: cannot open shared object file); pip uninstall -y",
        ),
        (
            "import a_module_nobody_has",
            "MXNet cannot be imported (ModuleNotFoundError: No module named 'a_module_nobody_has'); pip uninstall",
        ),
        (
            "raise RuntimeError('Cannot find the MXNet library.\\nCandidates:\\n/a/libmxnet.so')",
            "MXNet cannot be imported (RuntimeError: Cannot find the MXNet library. Candidates: /a/libmxnet.so); ",
        ),
    ],
)
def test_import_that_fails(install, source: str, sentence: str) -> None:
    install("mxnet", source=source)
    with pytest.raises(BackendError, match=f"^{re.escape(sentence)}") as caught:
        _mxnet.load()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


# --- the CUDA libraries


def compile_library(path: Path, source: str, *links: Path) -> None:
    """A shared library with its file name as soname, linked to `links` by their sonames, not their places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [CC, "-shared", "-fPIC", "-x", "c", "-", "-o", path, f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed"]
    folders = [f"-L{link.parent}" for link in links]
    subprocess.run([*command, *folders, *(f"-l:{link.name}" for link in links)], input=source, text=True, check=True)


@pytest.fixture
def cuda_machine(tmp_path: Path) -> tuple[Path, Path]:
    """A site folder with the wheels' libraries and an mxnet that links them, and a folder with the driver."""
    site, driver = tmp_path / "site", tmp_path / "driver"
    libraries: dict[str, Path] = {}
    needs = {
        "libcublas.so.11": ["libcublasLt.so.11"],
        "libcudnn.so.8": ["libcublas.so.11"],
        "libcusolver.so.11": ["libcublas.so.11", "libcusparse.so.11"],
    }
    for _, folder, soname in _cuda.CUDA_LIBRARIES:
        libraries[soname] = site / "nvidia" / folder / "lib" / soname
        compile_library(libraries[soname], "", *(libraries[need] for need in needs.get(soname, [])))
    compile_library(
        driver / "libcuda.so.1",
        """
        #include <string.h>
        int cuInit(unsigned flags) { return 0; }
        int cuDeviceGetCount(int *count) { *count = 2; return 0; }
        int cuDeviceGet(int *device, int index) { *device = index + 40; return 0; }
        int cuDeviceGetName(char *name, int size, int device) { strcpy(name, device == 40 ? "A" : "B"); return 0; }
        int cuDeviceGetAttribute(int *value, int what, int device) {
            *value = what == 75 ? 7 + device - 40 : what == 76 ? 5 : -1;
            return 0;
        }
        """,
    )
    links = [path for name, path in libraries.items() if name not in ("libcublasLt.so.11", "libcusparse.so.11")]
    compile_library(site / "mxnet" / "libmxnet.so", "int answer(void) { return 42; }", *links, driver / "libcuda.so.1")
    (site / "mxnet" / "__init__.py").write_text(
        "import ctypes, pathlib\nanswer = ctypes.CDLL(str(pathlib.Path(__file__).with_name('libmxnet.so'))).answer()\n"
    )
    return site, driver


LOAD_CU112 = (
    "from nnmf import _mxnet\n"
    "from nnmf._mxnet import _install\n"
    "_install.version_of = lambda name: '1.9.1' if name == 'mxnet-cu112' else None\n"
    "print(_mxnet.load().answer, _mxnet.query_gpus())\n"
)


@needs_cc
def test_cuda_libraries_of_the_wheels_suffice(cuda_machine: tuple[Path, Path]) -> None:
    site, driver = cuda_machine
    without = run("import mxnet", PYTHONPATH=str(site), LD_LIBRARY_PATH=str(driver))
    assert "OSError" in without.stderr  # the stand-in does need the loader
    answer = run(LOAD_CU112, PYTHONPATH=str(site), LD_LIBRARY_PATH=str(driver))
    assert answer.stderr == ""
    assert answer.stdout == "42 [Gpu(name='A', capability=(7, 5)), Gpu(name='B', capability=(8, 5))]\n"


@needs_cc
def test_cuda_library_from_the_system(cuda_machine: tuple[Path, Path]) -> None:
    site, driver = cuda_machine
    (site / "nvidia/cufft/lib/libcufft.so.10").rename(driver / "libcufft.so.10")
    answer = run(LOAD_CU112, PYTHONPATH=str(site), LD_LIBRARY_PATH=str(driver))
    assert (answer.stderr, answer.stdout[:2]) == ("", "42")


@needs_cc
def test_cuda_libraries_missing(cuda_machine: tuple[Path, Path]) -> None:
    site, driver = cuda_machine
    shutil.rmtree(site / "nvidia/cufft")
    shutil.rmtree(site / "nvidia/nccl")
    answer = run(LOAD_CU112, PYTHONPATH=str(site), LD_LIBRARY_PATH=str(driver))
    assert answer.stderr.endswith(
        "BackendError: mxnet-cu112 lacks the CUDA libraries libcufft.so.10, libnccl.so.2: "
        "pip install nvidia-cufft-cu11==10.9.0.58 nvidia-nccl-cu11==2.21.5\n"
    )


def test_cu112_without_a_driver(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("mxnet-cu112")
    monkeypatch.setattr(_cuda, "DRIVER", "libcuda_of_no_machine.so.1")
    with pytest.raises(
        BackendError,
        match=r"needs NVIDIA's driver .* take the CPU build with pip uninstall -y mxnet mxnet-cu112 && pip install",
    ):
        _mxnet.load()


def test_load_order_and_places(install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wheels by absolute path, global, each after what it links; a soname alone only where no wheel has the file."""
    install("mxnet-cu112")
    loaded: list[tuple[str, int | None]] = []
    monkeypatch.setattr(_cuda.ctypes, "CDLL", lambda name, mode=None: loaded.append((name, mode)))
    for _, folder, soname in _cuda.CUDA_LIBRARIES[:-1]:
        path = tmp_path / "site" / "nvidia" / folder / "lib" / soname
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    _mxnet.load()
    assert loaded.pop(0) == ("libcuda.so.1", None)
    assert loaded.pop() == ("libnccl.so.2", _cuda.ctypes.RTLD_GLOBAL)
    assert all(Path(name).is_absolute() and mode == _cuda.ctypes.RTLD_GLOBAL for name, mode in loaded)
    order = [Path(name).name for name, _ in loaded]
    assert order.index("libcublasLt.so.11") < order.index("libcublas.so.11") < order.index("libcudnn.so.8")
    assert max(order.index("libcublas.so.11"), order.index("libcusparse.so.11")) < order.index("libcusolver.so.11")


def test_the_cpu_build_loads_no_cuda(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("mxnet")
    monkeypatch.setattr(_cuda, "load_cuda_libraries", lambda: pytest.fail("not for the CPU build"))
    _mxnet.load()


def test_the_extra_names_every_wheel() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    extra = project.partition("cu112 = [")[2].partition("\n]")[0]
    assert tuple(re.findall(r'"(nvidia-.*)"', extra)) == _install.CUDA_REQUIREMENTS
    assert {re.split("[=>]", text)[0] for text in _install.CUDA_REQUIREMENTS} == {
        package for package, _, _ in _cuda.CUDA_LIBRARIES
    }


@pytest.mark.parametrize(
    "python, numpy, setuptools, command",
    [
        ((3, 10), "1.23.0", None, "pip install mxnet==1.9.1"),
        ((3, 11), "2.5.5", None, "pip install --no-deps mxnet==1.9.1"),
        ((3, 12), "1.26.4", None, "pip install mxnet==1.9.1 setuptools"),
        ((3, 12), "2.0.0", "84.2", "pip install --no-deps mxnet==1.9.1"),
        ((3, 13), "2.5.5", None, "pip install --no-deps mxnet==1.9.1 setuptools"),
    ],
)
def test_the_command_fits_this_python_and_numpy(
    monkeypatch: pytest.MonkeyPatch, python: tuple[int, int], numpy: str, setuptools: str | None, command: str
) -> None:
    monkeypatch.setattr(_install.sys, "version_info", python)
    monkeypatch.setattr(_install, "version_of", {"numpy": numpy, "setuptools": setuptools}.get)
    assert _mxnet.install_command() == command


def test_the_command_for_gpus_names_every_library() -> None:
    words = shlex.split(_mxnet.install_command("mxnet-cu112"))
    assert "mxnet-cu112==1.9.1" in words and set(_install.CUDA_REQUIREMENTS) < set(words)


# --- the driver


@needs_cc
@pytest.mark.parametrize("code, answer", [(100, "[]\n"), (999, "cuInit answers with CUDA error 999\n")])
def test_driver_that_refuses(tmp_path: Path, code: int, answer: str) -> None:
    compile_library(tmp_path / "libcuda.so.1", f"int cuInit(unsigned flags) {{ return {code}; }}")
    script = (
        "from nnmf import _mxnet\ntry:\n    print(_mxnet.query_gpus())\nexcept OSError as error:\n    print(error)\n"
    )
    assert run(script, LD_LIBRARY_PATH=str(tmp_path)).stdout == answer


def test_no_driver_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cuda, "DRIVER", "libcuda_of_no_machine.so.1")
    with pytest.raises(OSError, match="libcuda_of_no_machine"):
        _mxnet.query_gpus()


# --- contexts


class FakeMXNetError(RuntimeError):
    pass


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Stand-ins for MXNet (`cuda`: is it the GPU build; `seen`: GPUs it counts) and for the driver's answer."""

    def stand_in(gpus: list[Gpu] | OSError, cuda: bool = True, seen: int | Exception | None = None) -> None:
        def query_gpus() -> list[Gpu]:
            if isinstance(gpus, OSError):
                raise gpus
            return gpus

        def num_gpus() -> int:
            if isinstance(seen, Exception):
                raise seen
            return len(query_gpus()) if seen is None else seen

        module = SimpleNamespace(
            cpu=lambda index=0: f"cpu({index})",
            gpu=lambda index: f"gpu({index})",
            runtime=SimpleNamespace(Features=lambda: SimpleNamespace(is_enabled=lambda name: cuda and name == "CUDA")),
            context=SimpleNamespace(num_gpus=num_gpus),
            MXNetError=FakeMXNetError,
        )
        monkeypatch.setattr(_cuda, "query_gpus", query_gpus)
        monkeypatch.setattr(_load, "load", lambda: module)

    return stand_in


@pytest.mark.parametrize(
    "spec, parsed",
    [
        ("auto", [("auto", 0)]),
        ("cpu", [("cpu", 0)]),
        ("gpu", [("gpu", 0)]),
        ("gpu(0)", [("gpu", 0)]),
        ("gpu(12)", [("gpu", 12)]),
        ("cpu(0),cpu(1)", [("cpu", 0), ("cpu", 1)]),
        ("gpu(2), gpu", [("gpu", 2), ("gpu", 0)]),
    ],
)
def test_parse_contexts(spec: str, parsed: list[tuple[str, int]]) -> None:
    assert _mxnet.parse_contexts(spec) == parsed


@pytest.mark.parametrize("spec", ["x", "", "GPU", "gpu()", "gpu(-1)", "gpu(1", "gpu 1", "gpu(٣)", "cpu\n", None, 0])
def test_parse_contexts_refuses(spec: object) -> None:
    text = f"ctx: got {spec!r} instead of one of ['auto', 'cpu', 'cpu(N)', 'gpu', 'gpu(N)']"
    for call in (_mxnet.parse_contexts, _mxnet.contexts):
        with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
            call(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["gpu(0),gpu(0)", "gpu,gpu(0)", "cpu(0),gpu(0)", "auto,auto", "auto,gpu(1)"])
def test_several_devices_are_of_one_kind_and_each_another(spec: str) -> None:
    text = f"ctx: got {spec!r}; give several devices of one kind, each once, such as gpu(0),gpu(1)."
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        _mxnet.parse_contexts(spec)
    with pytest.raises(ConfigError, match="ctx: got '' instead of one of"):
        _mxnet.parse_contexts(f"{spec},")


def test_cpu_asks_no_driver(machine) -> None:
    machine(OSError("not to be asked"))
    assert _mxnet.contexts("cpu") == (["cpu(0)"], "cpu, as asked")


@pytest.mark.parametrize("capability", [(5, 0), (5, 2), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9)])
def test_cards_that_work(machine, capability: tuple[int, int]) -> None:
    machine([Gpu("Card", capability)])
    described = f"gpu(0): Card, compute capability {capability[0]}.{capability[1]}"
    assert _mxnet.contexts() == _mxnet.contexts("auto") == _mxnet.contexts("gpu") == (["gpu(0)"], described)


def test_second_gpu(machine) -> None:
    machine([Gpu("New", (9, 0)), GOOD_CARD])
    assert _mxnet.contexts("gpu(1)") == (["gpu(1)"], "gpu(1): Test GPU, compute capability 8.6")
    assert _mxnet.contexts("auto")[0] == ["cpu(0)"]  # auto means gpu(0), never another


CARD_RANGE = "MXNet 1.9.1 runs on compute capability 5.0 to 8.9 only, gpu(0) is "
REFUSALS = [
    (
        ([GOOD_CARD], False),
        "the installed MXNet is built for CPU only (python -m nnmf doctor names the command for the other)",
    ),
    ((OSError("libcuda.so.1: cannot open"),), "NVIDIA's driver does not work (libcuda.so.1: cannot open)"),
    (([],), "there is no gpu(0), NVIDIA's driver shows no GPU"),
    (([Gpu("Tesla K80", (3, 7))],), CARD_RANGE + "Tesla K80, compute capability 3.7"),
    (([Gpu("H100", (9, 0))],), CARD_RANGE + "H100, compute capability 9.0"),
    (([Gpu("B200", (10, 0))],), CARD_RANGE + "B200, compute capability 10.0"),
    (
        ([GOOD_CARD], True, FakeMXNetError("Traceback\n  File x\nMXNetError: driver version is insufficient")),
        "CUDA does not start (MXNetError: driver version is insufficient)",
    ),
    (([GOOD_CARD], True, 0), "MXNet sees 0 of the GPUs that NVIDIA's driver shows (1)"),
]


@pytest.mark.parametrize("setting, reason", REFUSALS)
def test_gpu_that_cannot_work(machine, setting: tuple, reason: str) -> None:
    machine(*setting)
    assert _mxnet.contexts("auto") == (["cpu(0)"], f"cpu: {reason}")
    text = f"ctx: gpu cannot be used: {reason}; take cpu or auto instead"
    with pytest.raises(BackendError, match=f"^{re.escape(text)}$"):
        _mxnet.contexts("gpu")


def test_several_gpus(machine) -> None:
    machine([GOOD_CARD, GOOD_CARD])
    card = "Test GPU, compute capability 8.6"
    assert _mxnet.contexts("gpu(1),gpu(0)") == (["gpu(1)", "gpu(0)"], f"gpu(1): {card}, gpu(0): {card}")
    with pytest.raises(BackendError, match=r"ctx: gpu\(0\),gpu\(2\) cannot be used: there is no gpu\(2\)"):
        _mxnet.contexts("gpu(0),gpu(2)")


def test_no_such_gpu(machine) -> None:
    machine([GOOD_CARD])
    with pytest.raises(BackendError, match=r"there is no gpu\(1\), NVIDIA's driver shows gpu\(0\) Test GPU; take cpu"):
        _mxnet.contexts("gpu(1)")


_THREADS = """
import os
from nnmf import _mxnet
if os.environ.get("OURS"):
    _mxnet.compute_in_caller()
mx = _mxnet.load()
assert (mx.nd.ones((2, 3)) + 1).asnumpy().sum() == 12
print(len(os.listdir("/proc/self/task")), os.environ.get("MXNET_ENGINE_TYPE"))
"""


@needs_mxnet
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_command_has_mxnet_compute_in_its_own_thread():
    ours, mxnets = run(_THREADS, OURS="1"), run(_THREADS)
    n_threads, engine = ours.stdout.split()
    assert (engine, ours.stderr) == ("None", "")  # neither children nor the screen hear of it
    assert int(n_threads) < int(mxnets.stdout.split()[0])
    chosen = run(_THREADS, OURS="1", MXNET_ENGINE_TYPE="ThreadedEnginePerDevice")
    assert chosen.stdout.split() == [mxnets.stdout.split()[0], "ThreadedEnginePerDevice"]


_BROKEN = """
from nnmf import _mxnet
_mxnet.compute_in_caller()
mx = _mxnet.load()

class Broken(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        raise ValueError("no such thing")

@mx.operator.register("broken")
class BrokenProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx, shapes, dtypes):
        return Broken()

try:
    print("answered", mx.nd.Custom(mx.nd.ones((3,)), op_type="broken").asnumpy())
except mx.MXNetError:
    print("heard")
"""


@needs_mxnet
def test_a_command_hears_of_errors_in_operators_written_in_python():
    assert run(_BROKEN).stdout.splitlines()[-1] == "heard"  # after MXNet's traceback
