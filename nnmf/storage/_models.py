"""Model folders: `ModelState` on the disk, whole or not there."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nnmf._version import __version__
from nnmf.errors import ConfigError, DataError
from nnmf.files import OWN, Claim, Writer, cannot_write, commit, content, peek, read_manifest, stored, strangers
from nnmf.ranking import UserItems
from nnmf.tables import IdMap
from nnmf.training import EpochResult

from ._arrays import SUFFIXES, read_arrays, writer
from ._state import ModelState, Parameters

LOCK = f"{OWN}lock"
_CATALOGUE = "catalogue.npz"
_TOTALS = ("user_total", "item_total", "user_count", "item_count")


def as_folder(folder: Any, what: str = "folder") -> Path:
    """The path that a folder or file was named by.

    Raises
    ------
    ConfigError
        It is no path.
    """
    try:
        text = os.fspath(folder)
    except TypeError:
        text = None
    if (
        not isinstance(text, str)
        or not text.strip()
        or "\0" in text
        or text != text.encode("utf-8", "replace").decode()
    ):
        raise ConfigError(f"{what}: got {folder!r}; give the path of a {what}.")
    return Path(text)


def claim(folder: Any) -> Claim:
    """Hold a folder that is there, until what is answered is released.

    Raises
    ------
    DataError
        There is no such folder, it cannot be written, or somebody else holds it, who is named.
    """
    folder = as_folder(folder)
    try:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; give the folder that a training run or save() wrote.")
        return Claim(folder / LOCK)
    except OSError as error:
        raise cannot_write(folder, error) from None


def save(folder: Any, state: ModelState, overwrite: bool = False) -> None:
    """Write a model to a folder; see `Model.save`."""
    folder = as_folder(folder)
    state.check()
    taken = ConfigError(f"{folder}: is not an empty folder; give another, or replace it with overwrite=True.")
    try:
        if folder.exists() and not folder.is_dir():
            raise taken
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    held = claim(folder)  # before looking into it: another thread may be half-way through saving there
    try:
        if not overwrite and not is_free(folder):
            raise taken
        if strangers(folder):
            raise ConfigError(
                f"{folder}: holds other things than a saved model, so it is not replaced; give another folder."
            )
        write(folder, state, keep_last=False)
    finally:
        held.release()
        if made and not any(folder.iterdir()):
            folder.rmdir()


def is_free(folder: Path) -> bool:
    """Whether a folder holds neither a model nor anything of somebody else's."""
    return not strangers(folder) and peek(folder) is None


def write(folder: Path, state: ModelState, keep_last: bool, run: dict[str, Any] | None = None) -> None:
    """Make a folder hold a model, in place of the one before.

    Parameters
    ----------
    folder : Path
    state : ModelState
    keep_last : bool
        Write what going on with the training needs, too.
    run : dict, default=None
        What is said of the run that trained the model.

    Raises
    ------
    DataError
        The folder cannot be written.
    """
    files: dict[str, Writer] = {}
    keep = []
    before = peek(folder) or {}
    content = _content(state, keep_last, run)
    # From the second epoch of a training on these stay the same; its first brings them all.
    same = len(state.history) > state.compared_from and all(
        before.get(name) == content[name] for name in ("kind", "train_digest", "compared_from", "details")
    )
    unchanging = {_CATALOGUE: writer("npz", _catalogue(state)), **{n: _text(t) for n, t in state.texts.items()}}
    for name, write_it in unchanging.items():
        if same and name in before["files"]:
            keep.append(name)
        else:
            files[name] = write_it
    parts = [state.kept, *([state.last] if keep_last and state.last not in (None, state.kept) else [])]
    for part in parts:
        assert part is not None
        for name, arrays in _names(part, content["suffix"]).items():
            if same and part.epoch < len(state.history) and name in before["files"]:
                keep.append(name)
            else:
                files[name] = writer(content["suffix"], arrays)
    commit(folder, files, keep, content)


def _names(part: Parameters, suffix: str) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by the names of their files: the parameters' as ``mx.model.load_checkpoint("FOLDER/model", epoch)`` looks for it."""
    named = {f"model-{part.epoch:04d}.{suffix}": part.arrays}
    return {**named, f"state-{part.epoch:04d}.{suffix}": part.state} if part.state else named


def _text(text: str) -> Writer:
    return content(text.encode())


def _catalogue(state: ModelState) -> dict[str, np.ndarray]:
    sides = {"users": state.users, "items": state.items}
    arrays = {f"{side}.{name}": array for side, ids in sides.items() for name, array in ids.to_arrays().items()}
    arrays |= {name: getattr(state, name) for name in _TOTALS}
    return {**arrays, "seen_start": state.seen.indptr, "seen_item": state.seen.item}


def _content(state: ModelState, keep_last: bool, run: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "nnmf": __version__,
        "kind": state.kind,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "config": state.config,
        "details": state.details,
        "texts": sorted(state.texts),
        "suffix": "params" if state.texts else "npz",
        "best_epoch": state.kept.epoch,
        "last_epoch": state.last.epoch if keep_last and state.last is not None else None,
        "compared_from": state.compared_from,
        "scale": list(state.scale),
        "global_mean": state.global_mean,
        "dataset": state.dataset,
        "train_digest": state.train_digest,
        "history": [asdict(result) for result in state.history],
        "run": run,
    }


def read(folder: Any) -> tuple[ModelState, dict[str, Any] | None]:
    """The model that a folder holds, every part of it checked, and what is said of the run that trained it.

    Raises
    ------
    DataError
        No saved model there, or something of it is missing, truncated, edited or foreign: found by checksums before
        anything is parsed, and by looking at every array after.
    """
    folder = as_folder(folder)
    manifest = read_manifest(folder)
    try:
        try:
            state = _read(folder, manifest)
        except (DataError, OSError):
            # A run that is being written brings a new state now and then, and takes the files of the old one away.
            manifest = read_manifest(folder)
            state = _read(folder, manifest)
        state.check()
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error}).") from None
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(str(folder)) else f"{folder}: {text}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{folder}: cannot be loaded by nnmf {__version__}, it was written by {manifest.get('nnmf')} ({error!r})."
        ) from None
    run = manifest.get("run")
    return state, run if isinstance(run, dict) else None


def _read(folder: Path, manifest: dict[str, Any]) -> ModelState:
    arrays = read_arrays(stored(folder, manifest, _CATALOGUE))
    users, items = (
        IdMap.from_arrays({name[6:]: array for name, array in arrays.items() if name.startswith(f"{side}.")})
        for side in ("users", "items")
    )
    suffix = manifest["suffix"]
    if suffix not in SUFFIXES:
        raise DataError(f"suffix: got {suffix!r} instead of one of {sorted(SUFFIXES)}.")
    low, high = manifest["scale"]
    if not isinstance(manifest["config"], dict) or not isinstance(manifest["details"], dict):
        raise DataError("config and details: are no settings by name.")
    kept = _parameters(folder, manifest, manifest["best_epoch"])
    last = manifest["last_epoch"]
    if last is not None:
        last = kept if last == kept.epoch else _parameters(folder, manifest, last)
    return ModelState(
        kind=_text_of(manifest, "kind"),
        config=manifest["config"],
        details=manifest["details"],
        texts={name: stored(folder, manifest, name).read_text(encoding="utf-8") for name in manifest["texts"]},
        history=[EpochResult(**result) for result in manifest["history"]],
        compared_from=manifest["compared_from"],
        dataset=_text_of(manifest, "dataset"),
        train_digest=_text_of(manifest, "train_digest"),
        users=users,
        items=items,
        scale=(_number(low), _number(high)),
        global_mean=_number(manifest["global_mean"]),
        seen=UserItems(arrays["seen_start"], arrays["seen_item"]),
        **{name: arrays[name] for name in _TOTALS},
        kept=kept,
        last=last,
        written_by=str(manifest.get("nnmf")),
    )


def _parameters(folder: Path, manifest: dict[str, Any], epoch: Any) -> Parameters:
    if isinstance(epoch, bool) or not isinstance(epoch, int):
        raise DataError(f"epoch: got {epoch!r}; give a whole number.")
    name = f"{epoch:04d}.{manifest['suffix']}"
    if f"model-{name}" not in manifest["files"]:
        raise DataError(f"epoch {epoch}: the folder holds no parameters of it.")
    state = read_arrays(stored(folder, manifest, f"state-{name}")) if f"state-{name}" in manifest["files"] else {}
    return Parameters(epoch, read_arrays(stored(folder, manifest, f"model-{name}")), state)


def _text_of(manifest: dict[str, Any], name: str) -> str:
    if not isinstance(manifest[name], str):
        raise DataError(f"{name}: got {manifest[name]!r}; a text is needed.")
    return str(manifest[name])


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(f"got {value!r} where a finite number is needed.")
    return float(value)
