"""Models on MXNet symbols, and what feeds them. Importing this imports MXNet."""

from __future__ import annotations

from ._iterator import DataIter
from ._model import NetworkModel
from ._negatives import Negatives

__all__ = ["DataIter", "Negatives", "NetworkModel"]
