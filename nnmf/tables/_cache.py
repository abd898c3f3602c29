"""Parsed columns of a table, and the cache that keeps them as ``.npz``."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnmf.files import cache_dir, write_arrays, write_file

logger = logging.getLogger(__name__)

# Raised whenever parsing changes, so that columns parsed by an older version are not taken for today's.
_VERSION = 2


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


def place(path: Path, options: Sequence[object], state: Sequence[object]) -> Path | None:
    """Where the columns of a table are kept: the first half of the name tells file and options, the second its state.

    None where no place can be had: that costs the next read its time, as all that can go wrong with the cache does.

    Args:
        path: the table.
        options: what it is read with.
        state: what changes when the table does.
    """
    try:
        return cache_dir() / "tables" / f"{_digest(str(path.resolve()), *options)}-{_digest(_VERSION, *state)}.npz"
    except Exception as error:
        logger.info("The parsed table is not cached: %s.", error)
        return None


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


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
    except Exception as error:  # damage has many faces
        logger.info("The cached table %s is damaged (%s) and is built again.", path, error)
        return None


def write(path: Path, columns: Columns) -> None:
    """Keep the columns in place of those of an older state; a folder that cannot be written is no error."""
    arrays = {"user_id": columns.user_id, "item_id": columns.item_id, "rating": columns.rating}
    arrays["n_skipped"] = np.array(columns.n_skipped)
    if columns.timestamp is not None:
        arrays["timestamp"] = columns.timestamp
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, lambda file: write_arrays(file, arrays))
        for other in path.parent.glob(path.name.partition("-")[0] + "-*.npz"):
            if other != path:
                other.unlink(missing_ok=True)
    except Exception as error:
        logger.info("The parsed table is not cached: %s", error)
