"""The CUDA libraries that mxnet-cu112 links, and the GPUs that NVIDIA's driver shows."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import NamedTuple

from nnmf.errors import BackendError

from . import _install

DRIVER = "libcuda.so.1"
# What mxnet-cu112's libmxnet.so links, and what those link in turn: a library stands below the ones it needs.
# (package on PyPI, its folder in site-packages/nvidia, soname)
CUDA_LIBRARIES = (
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
_CUDA_ERROR_NO_DEVICE = 100
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76


class Gpu(NamedTuple):
    """A GPU as NVIDIA's driver describes it."""

    name: str
    capability: tuple[int, int]


def query_gpus() -> list[Gpu]:
    """The GPUs NVIDIA's driver shows this process, asked without MXNet, in the order MXNet numbers them.

    Raises
    ------
    OSError
        The driver is missing or answers with an error.
    """
    cuda = ctypes.CDLL(DRIVER)

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


def load_cuda_libraries() -> None:
    """Load what libmxnet.so links, so that the pip packages suffice without LD_LIBRARY_PATH.

    The dynamic linker does not search site-packages, but takes a library that is already loaded under the same soname.
    """
    try:
        ctypes.CDLL(DRIVER)
    except OSError as error:
        raise BackendError(no_driver()) from error
    missing: dict[str, tuple[str, OSError]] = {}
    for package, folder, soname in CUDA_LIBRARIES:
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
        packages = {package for package, _ in missing.values()}
        _, cause = next(iter(missing.values()))
        raise BackendError(
            f"mxnet-cu112 lacks the CUDA libraries {', '.join(missing)}: {_install.cuda_command(packages)}"
        ) from cause


def no_driver() -> str:
    """The sentence for a build for GPUs on a machine without NVIDIA's driver."""
    return (
        f"mxnet-cu112 needs NVIDIA's driver ({DRIVER}), which is not on this machine: install the driver, "
        f"or take the CPU build with {_install.replace_command('mxnet')}"
    )
