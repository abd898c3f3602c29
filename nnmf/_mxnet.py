"""The one place that imports MXNet: makes it importable, says in one sentence why it is not, picks the context.

Nothing here imports MXNet until `load` or `context` is called, because that takes about a second.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import re
import sys
import warnings
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from nnmf.errors import BackendError, ConfigError, one_of

if TYPE_CHECKING:
    import mxnet as mx

CONTEXTS = ("auto", "cpu", "gpu", "gpu(N)")

_EXTRAS = {"mxnet": "nnmf[cpu]", "mxnet-cu112": "nnmf[cu112]"}
_PYTHON = sys.version_info[:2]

_DRIVER = "libcuda.so.1"
# What mxnet-cu112's libmxnet.so links, and what those link in turn: a library stands below the ones it needs.
# (package on PyPI, its folder in site-packages/nvidia, soname)
_CUDA_LIBRARIES = (
    ("nvidia-cuda-runtime-cu11", "cuda_runtime", "libcudart.so.11.0"),
    ("nvidia-cuda-nvrtc-cu11", "cuda_nvrtc", "libnvrtc.so.11.2"),
    ("nvidia-nvtx-cu11", "nvtx", "libnvToolsExt.so.1"),
    ("nvidia-cublas-cu11", "cublas", "libcublasLt.so.11"),
    ("nvidia-cublas-cu11", "cublas", "libcublas.so.11"),
    ("nvidia-cudnn-cu11", "cudnn", "libcudnn.so.8"),
    ("nvidia-cusparse-cu11", "cusparse", "libcusparse.so.11"),
    ("nvidia-cusolver-cu11", "cusolver", "libcusolver.so.11"),
    ("nvidia-cufft-cu11", "cufft", "libcufft.so.10"),
    ("nvidia-curand-cu11", "curand", "libcurand.so.10"),
    ("nvidia-nccl-cu11", "nccl", "libnccl.so.2"),
)

# mxnet-cu112 holds code for 5.0, 6.0, 7.0, 8.0 and 8.6, which later cards of the same major run too, and no PTX.
_CAPABILITY_MAJORS = range(5, 9)
_CUDA_ERROR_NO_DEVICE = 100
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76


class Gpu(NamedTuple):
    """A GPU as NVIDIA's driver describes it."""

    name: str
    capability: tuple[int, int]


@functools.cache
def load() -> ModuleType:
    """The ``mxnet`` module, imported (about a second) by the first call.

    In a process whose ``DMLC_ROLE`` is ``server`` or ``scheduler`` the import does the whole work of that role:
    it returns only when the distributed job has ended.

    Raises
    ------
    BackendError
        MXNet cannot be imported; the text says what to install or do.
    """
    # Read by the C++ side at each bind, which otherwise prints "Subgraph backend MKLDNN is activated."
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    if "mxnet" in sys.modules:  # a notebook imported it first, so it works; loading CUDA again could add second copies
        _restore_numpy_names()
        return importlib.import_module("mxnet")
    build = _check_install()
    # MXNet 1.9.1 warns about its own use of distutils, of NumPy's financial functions and of escapes in docstrings.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _restore_numpy_names()
        _provide_distutils()
        if build == "mxnet-cu112":
            _load_cuda_libraries()
        try:
            return importlib.import_module("mxnet")
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise BackendError(_why_import_failed(error, build)) from error


def installed_build() -> str | None:
    """``'mxnet'``, ``'mxnet-cu112'`` or None (neither), from package metadata: nothing is imported.

    Raises
    ------
    BackendError
        Both are installed; they own the same folder, so neither is whole.
    """
    builds = [name for name in _EXTRAS if _has_distribution(name)]
    if len(builds) > 1:
        raise BackendError(
            "mxnet and mxnet-cu112 are installed on top of each other: run pip uninstall -y mxnet mxnet-cu112, "
            "then pip install 'nnmf[cpu]' or 'nnmf[cu112]'"
        )
    return builds[0] if builds else None


def parse_context(spec: str) -> tuple[str, int]:
    """``('auto', 0)``, ``('cpu', 0)`` or ``('gpu', N)``, without importing MXNet.

    Raises
    ------
    ConfigError
        `spec` is none of ``auto``, ``cpu``, ``gpu``, ``gpu(N)``.
    """
    match = re.fullmatch(r"(auto|cpu|gpu)|gpu\(([0-9]{1,4})\)", spec) if isinstance(spec, str) else None
    if match is None:
        raise ConfigError(one_of(spec, CONTEXTS, "ctx"))
    return match[1] or "gpu", int(match[2] or 0)


def context(spec: str = "auto") -> tuple[mx.Context, str]:
    """The MXNet context that `spec` asks for, and a sentence saying which it is and why.

    Parameters
    ----------
    spec : {'auto', 'cpu', 'gpu', 'gpu(N)'}, default='auto'
        ``auto`` is gpu(0) when the build, the driver and the card can run it, else cpu. ``gpu`` is gpu(0).

    Raises
    ------
    ConfigError
        `spec` is none of these.
    BackendError
        MXNet cannot be imported, or the GPU asked for cannot run it.
    """
    device, index = parse_context(spec)
    mxnet = load()
    if device == "cpu":
        return mxnet.cpu(), "cpu, as asked"
    usable, why = _gpu_verdict(mxnet, index)
    if usable:
        return mxnet.gpu(index), f"gpu({index}): {why}"
    if device == "auto":
        return mxnet.cpu(), f"cpu: {why}"
    raise BackendError(f"ctx: {spec} cannot be used: {why}; take cpu or auto instead")


def query_gpus() -> list[Gpu]:
    """The GPUs NVIDIA's driver shows this process, asked without MXNet, in the order MXNet numbers them.

    Raises
    ------
    OSError
        The driver is missing or answers with an error.
    """
    cuda = ctypes.CDLL(_DRIVER)

    def call(function: str, *arguments: object) -> None:
        code = getattr(cuda, function)(*arguments)
        if code:
            raise OSError(f"{function} answers with CUDA error {code}")

    if cuda.cuInit(0) == _CUDA_ERROR_NO_DEVICE:
        return []
    call("cuInit", 0)  # harmless a second time, and any other error is raised
    count, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(), ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    gpus = []
    for index in range(count.value):
        call("cuDeviceGet", ctypes.byref(device), index)
        call("cuDeviceGetName", name, len(name), device)
        call("cuDeviceGetAttribute", ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
        call("cuDeviceGetAttribute", ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
        gpus.append(Gpu(name.value.decode(errors="replace"), (major.value, minor.value)))
    return gpus


def _gpu_verdict(mxnet: ModuleType, index: int) -> tuple[bool, str]:
    """Whether gpu(`index`) can train, and the card's description or the reason why not."""
    if not mxnet.runtime.Features().is_enabled("CUDA"):
        return False, "the installed MXNet is built for CPU only (nnmf[cu112] has the build for GPUs)"
    try:
        gpus = query_gpus()
    except OSError as error:
        return False, f"NVIDIA's driver does not work ({error})"
    if index >= len(gpus):
        shown = ", ".join(f"gpu({number}) {gpu.name}" for number, gpu in enumerate(gpus)) or "no GPU"
        return False, f"there is no gpu({index}), NVIDIA's driver shows {shown}"
    name, (major, minor) = gpus[index]
    card = f"{name}, compute capability {major}.{minor}"
    if major not in _CAPABILITY_MAJORS:
        return False, f"MXNet 1.9.1 runs on compute capability 5.0 to 8.9 only, gpu({index}) is {card}"
    try:  # the CUDA runtime can refuse what the driver shows, for instance when the driver is older than CUDA 11
        seen = mxnet.context.num_gpus()
    except mxnet.MXNetError as error:
        # MXNet's errors put a stack trace above the line that tells what happened
        return False, f"CUDA does not start ({str(error).strip().splitlines()[-1]})"
    if index >= seen:
        return False, f"MXNet sees {seen} of the GPUs that NVIDIA's driver shows ({len(gpus)})"
    return True, card


def _has_distribution(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _check_install() -> str | None:
    """The installed build; a BackendError where it is already plain that its import cannot work."""
    if _PYTHON > (3, 12):
        version = ".".join(map(str, _PYTHON))
        raise BackendError(f"MXNet 1.9.1 does not run on Python {version}: make an environment with 3.10, 3.11 or 3.12")
    build = installed_build()
    spec = find_spec("mxnet")
    if spec is None and build is None:
        raise BackendError("MXNet is not installed: pip install 'nnmf[cpu]', or 'nnmf[cu112]' for an NVIDIA GPU")
    # Uninstalling one of two builds takes the other's files along: no folder is left, or one without __init__.py.
    if spec is None or spec.origin is None:
        build = build or "mxnet"
        raise BackendError(
            f"the files of {build} are incomplete: run pip uninstall -y {build}, then pip install '{_EXTRAS[build]}'"
        )
    numpy_version = importlib.import_module("numpy").__version__
    if int(numpy_version.split(".")[0]) > 1:
        raise BackendError(f"MXNet 1.9.1 does not work with NumPy {numpy_version}: pip install 'numpy<2'")
    return build


def _restore_numpy_names() -> None:
    # NumPy 1.24 dropped these aliases (1.20 to 1.23 warn at each use). MXNet reads them while it runs as well as while
    # it is imported, so they stay. They are the same objects NumPy had, and the only dropped names MXNet 1.9.1 reads.
    numpy = importlib.import_module("numpy")
    for name, alias in (("bool", bool), ("int", int)):
        if name not in vars(numpy):
            setattr(numpy, name, alias)


def _provide_distutils() -> None:
    if find_spec("distutils") is not None:
        return
    try:  # Python 3.12 has none; importing setuptools puts its own copy in place
        importlib.import_module("setuptools")
        importlib.import_module("distutils.version")
    except ImportError as error:
        raise BackendError(
            "MXNet 1.9.1 imports distutils, which Python 3.12 no longer has: pip install setuptools"
        ) from error


def _load_cuda_libraries() -> None:
    """Load what libmxnet.so links, so that the pip packages suffice without LD_LIBRARY_PATH.

    The dynamic linker does not search site-packages, but takes a library that is already loaded under the same soname.
    """
    try:
        ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise BackendError(_no_driver()) from error
    missing: dict[str, tuple[str, OSError]] = {}
    for package, folder, soname in _CUDA_LIBRARIES:
        # Every sys.path entry, for virtual environments that see a second site-packages; last the system's own CUDA 11.
        wheels = [Path(entry, "nvidia", folder, "lib", soname).absolute() for entry in sys.path]
        for candidate in [*map(str, filter(Path.is_file, wheels)), soname]:
            try:
                ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                missing.setdefault(soname, (package, error))
            else:
                missing.pop(soname, None)
                break
    if missing:
        packages = sorted({package for package, _ in missing.values()})
        _, cause = next(iter(missing.values()))
        raise BackendError(
            f"mxnet-cu112 lacks the CUDA libraries {', '.join(missing)}: pip install 'nnmf[cu112]' "
            f"(that is {', '.join(packages)})"
        ) from cause


def _no_driver() -> str:
    return (
        "mxnet-cu112 needs NVIDIA's driver (libcuda.so.1), which is not on this machine: install the driver, "
        "or take the CPU build with pip uninstall -y mxnet-cu112, then pip install 'nnmf[cpu]'"
    )


def _why_import_failed(error: Exception, build: str | None) -> str:
    text = " ".join(str(error).split())  # on one line
    if isinstance(error, OSError) and _DRIVER in text:
        return _no_driver()
    if isinstance(error, OSError) and any(soname in text for _, _, soname in _CUDA_LIBRARIES):
        return f"MXNet lacks a CUDA library ({text}): pip install 'nnmf[cu112]'"
    remedy = f"pip install --force-reinstall --no-deps {build}==1.9.1" if build else "pip install 'nnmf[cpu]'"
    return f"MXNet cannot be imported ({type(error).__name__}: {text}); {remedy} may repair it"
