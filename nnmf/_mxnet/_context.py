"""Which device a network is trained on, and why."""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING

from nnmf.errors import BackendError, ConfigError, one_of

from . import _cuda, _install, _load

if TYPE_CHECKING:
    import mxnet as mx

CONTEXTS = ("auto", "cpu", "gpu", "gpu(N)")
# mxnet-cu112 holds code for 5.0, 6.0, 7.0, 8.0 and 8.6, which later cards of the same major run too, and no PTX.
_CAPABILITY_MAJORS = range(5, 9)


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
    mxnet = _load.load()
    if device == "cpu":
        return mxnet.cpu(), "cpu, as asked"
    usable, why = _gpu_verdict(mxnet, index)
    if usable:
        return mxnet.gpu(index), f"gpu({index}): {why}"
    if device == "auto":
        return mxnet.cpu(), f"cpu: {why}"
    raise BackendError(f"ctx: {spec} cannot be used: {why}; take cpu or auto instead")


def why_no_gpu(index: int = 0) -> str | None:
    """Why a GPU cannot train, or None where it can. Imports MXNet.

    Parameters
    ----------
    index : int, default=0
        The GPU's number, as NVIDIA's driver and MXNet count.

    Raises
    ------
    BackendError
        MXNet cannot be imported.
    """
    usable, why = _gpu_verdict(_load.load(), index)
    return None if usable else why


def _gpu_verdict(mxnet: ModuleType, index: int) -> tuple[bool, str]:
    """Whether gpu(`index`) can train, and the card's description or the reason why not."""
    if not mxnet.runtime.Features().is_enabled("CUDA"):
        return False, f"the installed MXNet is built for CPU only ({_install.DOCTOR} names the command for the other)"
    try:
        gpus = _cuda.query_gpus()
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
