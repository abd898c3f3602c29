"""The one place that imports MXNet: makes it importable, says in one sentence why it is not, picks the context.

Nothing here imports MXNet until `load`, `context` or ``mx`` is asked for, because that takes about a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._context import CONTEXTS, context, parse_context, why_no_gpu
from ._cuda import Gpu, query_gpus
from ._install import install_command, installed_build, replace_command
from ._load import load, repair_command
from ._mend import mend_numpy

if TYPE_CHECKING:
    import mxnet as mx

__all__ = [
    "CONTEXTS",
    "Gpu",
    "context",
    "install_command",
    "installed_build",
    "load",
    "mend_numpy",
    "mx",
    "parse_context",
    "query_gpus",
    "repair_command",
    "replace_command",
    "why_no_gpu",
]


def __getattr__(name: str) -> Any:
    if name == "mx":
        return load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
