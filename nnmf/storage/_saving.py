"""Saving and loading models: parameters, id maps, settings and history; nothing is pickled.

A training run keeps two states in one folder, the best epoch's parameters and the last's with what going on needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmf import __version__
from nnmf import files as store
from nnmf.config import TrainConfig
from nnmf.errors import BackendError, ConfigError, DataError
from nnmf.ranking import UserItems
from nnmf.tables import IdMap
from nnmf.training import EpochResult

if TYPE_CHECKING:
    from nnmf.models import Model

_TABLES = "tables.npz"


def checkpoint(model: Model, folder: Path) -> None:
    """Make ``folder`` hold the model as training stands: the parameters of the best epoch, and the last with its state.

    Raises:
        DataError: the folder cannot be written.
    """
    last, best = len(model.history), model.best_epoch
    before = store.peek(folder) or {}
    # These stay the same through training on one table.
    same = last > 1 and before.get("train_digest") == model.train_digest and before.get("kind") == model.kind
    files: dict[str, store.Writer] = {}
    keep = []
    for name, write in {_TABLES: lambda path: _write_tables(model, path), **model._files()}.items():
        if same and name in before["files"]:
            keep.append(name)
        else:
            files[name] = write
    files[_name(model, last)] = lambda path: model._write_arrays(model.parameters, path)
    if state := model._state():
        files[_name(model, last, "state")] = lambda path: model._write_arrays(state, path)
    if best != last:
        keep.append(_name(model, best))
    store.commit(folder, files, keep, _content(model, last))


def save(model: Model, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a trained model to a new folder, aside and then renamed; see `Model.save`."""
    folder = Path(folder).resolve()
    model.check_trained()
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise ConfigError(f"{folder}: is not an empty folder; give another, or replace it with overwrite=True.")
    if folder.exists() and (there := {entry.name for entry in folder.iterdir()}):
        manifest = store.peek(folder)
        if manifest is None or there - manifest["files"].keys() - {store.MANIFEST}:
            raise ConfigError(
                f"{folder}: holds other things than a saved model, so it is not replaced; give another folder."
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise store.cannot_write(folder, error) from None
    try:
        files: dict[str, store.Writer] = {
            _TABLES: lambda path: _write_tables(model, path),
            _name(model, model.best_epoch): lambda path: model._write_arrays(model.parameters, path),
            **model._files(),
        }
        store.commit(aside / "new", files, [], _content(model, None))
        if folder.exists():
            folder.rename(aside / "old")
        try:
            (aside / "new").rename(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                (aside / "old").rename(folder)
            raise store.cannot_write(folder, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load(folder: str | os.PathLike[str], *, ctx: str | None = None) -> Model:
    """The model that a training run or `Model.save` wrote: the best epoch's.

    Args:
        folder: the folder.
        ctx: device of a network; default: the one it was trained with.

    Raises:
        DataError: no saved model there, or a file of it is missing, truncated, edited or foreign: found by checksums,
            before anything is parsed.
    """
    return _load(Path(folder), ctx, resume=False)


def load_checkpoint(folder: str | os.PathLike[str], *, ctx: str | None = None) -> Model:
    """The model of a training run as its last epoch left it: `Model.resume` goes on as if training had never stopped.

    Raises:
        DataError: as `load`; a folder that `Model.save` wrote, which keeps the best epoch alone.
    """
    return _load(Path(folder), ctx, resume=True)


def _load(folder: Path, ctx: str | None, resume: bool) -> Model:
    from nnmf.kinds import KINDS, model_class

    manifest = store.read_manifest(folder)
    try:
        if manifest["kind"] not in KINDS:
            raise DataError(
                f"{folder}: holds a model of kind {manifest['kind']!r}, which nnmf {__version__} does not know; load it with "
                f"the version that wrote it ({manifest['nnmf']})."
            )
        if resume and manifest["last_epoch"] is None:
            raise DataError(f"{folder}: keeps no state to go on from; give a training run's folder, or use fit_more.")
        config = TrainConfig.from_dict(manifest["config"])
        if ctx is not None and manifest["kind"] == "network":
            config = dataclasses.replace(config, ctx=ctx)
        model = model_class(manifest["kind"])._from_content(manifest, config, folder)
        model.history = [EpochResult(**result) for result in manifest["history"]]
        model.best_epoch, model.compared_from = manifest["best_epoch"], manifest["compared_from"]
        model.global_mean, model.scale = manifest["global_mean"], tuple(manifest["scale"])
        model.train_digest, model.dataset = manifest["train_digest"], manifest["dataset"]
        with (folder / _TABLES).open("rb") as file, np.load(file, allow_pickle=False) as tables:
            model.users, model.items = IdMap(tables["user_id"]), IdMap(tables["item_id"])
            model.user_mean, model.item_mean = tables["user_mean"], tables["item_mean"]
            model.seen = UserItems(tables["seen_start"], tables["seen_item"])
        last = manifest["last_epoch"]
        model.parameters = model._read_arrays(folder / _name(model, last if resume else model.best_epoch))
        if resume and last != model.best_epoch:
            model._best = model._read_arrays(folder / _name(model, model.best_epoch))
        elif resume:
            model.keep_best()
        state = folder / _name(model, last or 0, "state")
        if state.name in manifest["files"] and (resume or last == model.best_epoch):
            model._set_state(model._read_arrays(state))
        return model
    except (DataError, BackendError):
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder}: cannot be loaded by nnmf {__version__}, it was written by {manifest.get('nnmf')} ({error!r})."
        ) from error


def _name(model: Model, epoch: int, what: str = "model") -> str:
    # The parameters as mx.model.load_checkpoint("FOLDER/model", epoch) looks for them.
    return f"{what}-{epoch:04d}.{model.suffix}"


def _content(model: Model, last_epoch: int | None) -> dict[str, Any]:
    return {
        "nnmf": __version__,
        "kind": model.kind,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "config": model.config.to_dict(),
        "best_epoch": model.best_epoch,
        "last_epoch": last_epoch,
        "compared_from": model.compared_from,
        "scale": list(model.scale),
        "global_mean": model.global_mean,
        "dataset": model.dataset,
        "train_digest": model.train_digest,
        "history": [asdict(result) for result in model.history],
        **model._content(),
    }


def _write_tables(model: Model, path: Path) -> None:
    arrays = {
        "user_id": model.users.ids,
        "item_id": model.items.ids,
        "user_mean": model.user_mean,
        "item_mean": model.item_mean,
        "seen_start": model.seen.indptr,
        "seen_item": model.seen.item,
    }
    store.write_arrays(path, arrays)
