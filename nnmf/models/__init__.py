"""What every model is and answers, whatever computes its predictions."""

from __future__ import annotations

from ._model import Model, Tick

__all__ = ["Model", "Tick"]
