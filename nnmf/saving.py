"""Saving models: the best epoch and the last, with all that predicting and going on with training need. Nothing is pickled."""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__, store

if TYPE_CHECKING:
    from .model import Model

_TABLES = "tables.npz"


def checkpoint(model: Model, folder: Path) -> None:
    """Make ``folder`` hold the model as training stands: the parameters of the best epoch and of the last.

    Raises:
        DataError: the folder cannot be written.
    """
    last, best = len(model.history), model.best_epoch
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    files: dict[str, store.Writer] = {}
    keep = []
    constant = {_TABLES: lambda path: _write_tables(model, path), **model._files()}
    for name, write in constant.items():
        if last > 1 and name in there:
            keep.append(name)
        else:
            files[name] = write
    files[_name(model, last)] = lambda path: model._write_arrays(model.parameters, path)
    if best != last:
        keep.append(_name(model, best))
    store.commit(folder, files, keep, _content(model))


def _name(model: Model, epoch: int) -> str:
    # As mx.model.load_checkpoint("FOLDER/model", epoch) looks for it.
    return f"model-{epoch:04d}.{model.suffix}"


def _content(model: Model) -> dict[str, Any]:
    return {
        "nnmf": __version__,
        "kind": model.kind,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "config": model.config.to_dict(),
        "best_epoch": model.best_epoch,
        "last_epoch": len(model.history),
        "scale": list(model.scale),
        "global_mean": model.global_mean,
        "history": [asdict(result) for result in model.history],
        **model._content(),
    }


def _write_tables(model: Model, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file, user_id=model.users.ids, item_id=model.items.ids, user_mean=model.user_mean, item_mean=model.item_mean
        )
