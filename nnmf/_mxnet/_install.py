"""Which build of MXNet is installed, and the command that installs one beside this Python and NumPy."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Collection
from importlib import metadata
from importlib.util import find_spec

from nnmf.errors import BackendError

BUILDS = ("mxnet", "mxnet-cu112")
# What has room for the long command that installs the build for GPUs.
DOCTOR = "python -m nnmf doctor"
# What the extra cu112 of pyproject.toml lists.
CUDA_REQUIREMENTS = (
    "nvidia-cuda-runtime-cu11==11.8.89",
    "nvidia-cuda-nvrtc-cu11==11.8.89",
    "nvidia-nvtx-cu11==11.8.86",
    "nvidia-cublas-cu11==11.11.3.6",
    "nvidia-cudnn-cu11>=8.9,<9",
    "nvidia-cusparse-cu11==11.7.5.86",
    "nvidia-cusolver-cu11==11.4.1.48",
    "nvidia-cufft-cu11==10.9.0.58",
    "nvidia-curand-cu11==10.3.0.86",
    "nvidia-nccl-cu11==2.21.5",
)


def installed_build() -> str | None:
    """``'mxnet'``, ``'mxnet-cu112'`` or None (neither), from package metadata: nothing is imported.

    Raises
    ------
    BackendError
        Both are installed; they own the same folder, so neither is whole.
    """
    builds = [name for name in BUILDS if version_of(name)]
    if len(builds) > 1:
        raise BackendError(
            "mxnet and mxnet-cu112 are installed on top of each other, so neither is whole: "
            f"{replace_command('mxnet')} leaves the build for CPUs, and {DOCTOR} names the command for the other"
        )
    return builds[0] if builds else None


def install_command(build: str = "mxnet") -> str:
    """The command that installs a build of MXNet beside the Python and the NumPy that run this.

    MXNet's metadata asks for ``numpy<2``, though it works with NumPy 2 once `mend_numpy` was called; the command then
    leaves dependencies aside and names what is needed.

    Parameters
    ----------
    build : {'mxnet', 'mxnet-cu112'}, default='mxnet'
        For CPUs alone, or for NVIDIA's GPUs with the CUDA libraries that it links.

    Returns
    -------
    str
        One line for a shell.
    """
    requirements = [f"{build}==1.9.1"]
    beside_numpy_2 = sys.version_info >= (3, 13) or int((version_of("numpy") or "1").split(".")[0]) > 1
    if beside_numpy_2:
        requirements.insert(0, "--no-deps")
    if build == "mxnet-cu112":
        requirements += CUDA_REQUIREMENTS
    if sys.version_info >= (3, 12) and not version_of("setuptools"):
        requirements.append("setuptools")
    return shlex.join(["pip", "install", *requirements])


def cuda_command(packages: Collection[str]) -> str:
    """The command that installs these of the packages that hold CUDA's libraries."""
    wanted = [text for text in CUDA_REQUIREMENTS if re.split("[=>]", text)[0] in packages]
    return shlex.join(["pip", "install", *wanted])


def replace_command(build: str) -> str:
    """The command that installs a build in the place of whatever is there."""
    return f"pip uninstall -y {' '.join(BUILDS)} && {install_command(build)}"


def check_install() -> str | None:
    """The installed build, or None where a copy without metadata can be imported.

    Raises
    ------
    BackendError
        It is already plain that importing MXNet cannot work.
    """
    build = installed_build()
    spec = find_spec("mxnet")
    if spec is None and build is None:
        raise BackendError(
            f"MXNet is not installed: {install_command()} (for an NVIDIA GPU, {DOCTOR} names the command)"
        )
    # Uninstalling one of two builds takes the other's files along: no folder is left, or one without __init__.py.
    if spec is None or spec.origin is None:
        build = build or "mxnet"
        raise BackendError(f"the files of {build} are incomplete: {replace_command(build)}")
    return build


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution, from its metadata, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
