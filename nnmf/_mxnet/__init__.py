"""The one place that imports MXNet: makes it importable, says in one sentence why it is not, picks the contexts.

Nothing here imports MXNet until `load`, `contexts` or ``mx`` is asked for, because that takes about a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._context import CONTEXTS, contexts, parse_contexts, why_no_gpu
from ._cuda import Gpu, query_gpus
from ._engine import compute_in_caller
from ._install import install_command, installed_build, replace_command
from ._load import load, repair_command
from ._mend import mend_numpy

if TYPE_CHECKING:
    import mxnet as mx

__all__ = [
    "CONTEXTS",
    "Gpu",
    "compute_in_caller",
    "contexts",
    "install_command",
    "installed_build",
    "load",
    "mend_numpy",
    "mx",
    "parse_contexts",
    "query_gpus",
    "repair_command",
    "replace_command",
    "why_no_gpu",
]


def __getattr__(name: str) -> Any:
    if name == "mx":
        return load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
