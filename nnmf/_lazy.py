"""Names that a module hands on from others, imported when they are first asked for."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # as in `nnmf`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def lazily(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a module that hands names on.

    Parameters
    ----------
    module : str
        The module's ``__name__``.
    homes : mapping of str to str
        The module that holds each name. A name that is its home's last part stands for the home itself.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home = importlib.import_module(homes[name])
        found = getattr(home, name)
        setattr(sys.modules[module], name, found)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return find, names
