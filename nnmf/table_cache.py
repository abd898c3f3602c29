"""Parsed columns of a table, and the cache that keeps them as ``.npz``."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .datasets import cache_dir

logger = logging.getLogger(__name__)

# Raised whenever parsing changes, so that columns parsed by an older version are not taken for today's.
_VERSION = 1


@dataclass(frozen=True)
class Columns:
    """Parsed columns of a table, each of shape (n_ratings,).

    Attributes:
        user_id, item_id: integer or `str` arrays, as the file has them.
        rating: float32.
        timestamp: int64 (whole seconds), or None where the table has no such column.
        n_skipped: lines left out under ``on_error="skip"``.
    """

    user_id: np.ndarray
    item_id: np.ndarray
    rating: np.ndarray
    timestamp: np.ndarray | None
    n_skipped: int = 0


def place(key: list[object]) -> Path:
    """Where the columns read under these options are kept."""
    digest = hashlib.sha256(json.dumps([_VERSION, *key]).encode()).hexdigest()[:32]
    return cache_dir() / "tables" / f"{digest}.npz"


def read(path: Path) -> Columns | None:
    """Cached columns, or None where there are none or the file is damaged (it is then written anew)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return Columns(
                data["user_id"],
                data["item_id"],
                data["rating"],
                data.get("timestamp"),
                int(data["n_skipped"]),
            )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        logger.info("The cached table %s is damaged (%s) and is built again.", path, error)
        return None


def write(path: Path, columns: Columns) -> None:
    """Keep the columns; a cache folder that cannot be written costs the next read its time, never an error."""
    arrays = {"user_id": columns.user_id, "item_id": columns.item_id, "rating": columns.rating}
    if columns.timestamp is not None:
        arrays["timestamp"] = columns.timestamp
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            aside = Path(file.name)
            np.savez(file, n_skipped=np.array(columns.n_skipped), **arrays)
        aside.replace(path)
    except OSError as error:
        logger.info("The parsed table is not cached: %s.", error)
        if aside is not None:
            aside.unlink(missing_ok=True)
