"""Model folders and run folders."""

from __future__ import annotations

from ._runs import RunFolder, default_folder
from ._saving import checkpoint, load, load_checkpoint, save

__all__ = ["RunFolder", "checkpoint", "default_folder", "load", "load_checkpoint", "save"]
