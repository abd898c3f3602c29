"""What a user types. Each takes its arguments as a list of texts (default: the command line's) and exits.

Each is imported when it is first asked for, so that `doctor` runs where the others cannot be imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._data import main as data
    from ._doctor import main as doctor
    from ._main import main
    from ._predict import main as predict
    from ._train import main as train

__all__ = ["data", "doctor", "main", "predict", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}._{name}").main
