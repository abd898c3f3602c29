"""Where files go that no folder was named for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nnmf.errors import DataError


def cache_dir() -> Path:
    """$NNMF_CACHE, or ``nnmf`` in the platform's folder for a user's caches. Nothing is created."""
    if chosen := os.environ.get("NNMF_CACHE"):
        return Path(chosen)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise DataError("no home folder to keep downloads in was found: set $NNMF_CACHE to a folder") from error
    return base / "nnmf"
