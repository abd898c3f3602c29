"""Which devices a network is trained on, and why."""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING

from nnmf.errors import BackendError, ConfigError, one_of

from . import _cuda, _install, _load

if TYPE_CHECKING:
    import mxnet as mx

CONTEXTS = ("auto", "cpu", "cpu(N)", "gpu", "gpu(N)")
# mxnet-cu112 holds code for 5.0, 6.0, 7.0, 8.0 and 8.6, which later cards of the same major run too, and no PTX.
_CAPABILITY_MAJORS = range(5, 9)


def parse_contexts(spec: str) -> list[tuple[str, int]]:
    """The devices of a list such as ``gpu(0),gpu(1)``: ``('auto', 0)``, ``('cpu', N)`` or ``('gpu', N)``, without importing MXNet.

    Raises
    ------
    ConfigError
        A part of `spec` is none of `CONTEXTS`, or several are not of one kind, each another.
    """
    parts = spec.split(",") if isinstance(spec, str) else [spec]
    found = []
    for part in parts:
        match = (
            re.fullmatch(r"(auto|cpu|gpu)|(cpu|gpu)\(([0-9]{1,4})\)", part.strip(" "))
            if isinstance(part, str)
            else None
        )
        if match is None:
            raise ConfigError(one_of(part, CONTEXTS, "ctx"))
        found.append((match[1] or match[2], int(match[3] or 0)))
    if len(set(found)) < len(found) or len({device for device, _ in found}) > 1:
        raise ConfigError(f"ctx: got {spec!r}; give several devices of one kind, each once, such as gpu(0),gpu(1).")
    return found


def contexts(spec: str = "auto") -> tuple[list[mx.Context], str]:
    """The MXNet contexts that `spec` asks for, and a sentence saying which they are and why.

    Parameters
    ----------
    spec : str, default='auto'
        ``auto`` is gpu(0) when the build, the driver and the card can run it, else cpu. ``gpu`` is gpu(0). Several, such as
        ``gpu(0),gpu(1)``, share each batch.

    Raises
    ------
    ConfigError
        `spec` is none of these.
    BackendError
        MXNet cannot be imported, or a GPU asked for cannot run it.
    """
    devices = parse_contexts(spec)
    mxnet = _load.load()
    if devices[0][0] == "cpu":
        return [mxnet.cpu(index) for _, index in devices], f"{spec}, as asked"
    verdicts = [_gpu_verdict(mxnet, index) for _, index in devices]
    if all(usable for usable, _ in verdicts):
        named = [f"gpu({index}): {why}" for (_, index), (_, why) in zip(devices, verdicts, strict=True)]
        return [mxnet.gpu(index) for _, index in devices], ", ".join(named)
    why = next(why for usable, why in verdicts if not usable)
    if devices[0][0] == "auto":
        return [mxnet.cpu()], f"cpu: {why}"
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
