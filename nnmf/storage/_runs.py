"""`RunFolder`: the folder a training run writes: settings, a line of metrics an epoch, the model, a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnmf.models import Model

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnmf import files as store
from nnmf.errors import ConfigError, DataError
from nnmf.training import EpochResult

from . import _saving as saving

_CONFIG, _METRICS, _SUMMARY = "config.json", "metrics.jsonl", "summary.json"


class RunFolder:
    """A run's folder; as a callback of training it adds the epoch's line and checkpoint.

    Files: ``config.json``; ``metrics.jsonl``, a line an epoch with ``epoch`` (from 1), ``train_rmse``, ``valid_rmse``,
    ``samples_per_second``, ``seconds`` and ``dataset``; the model as `nnmf.saving` writes it, the best epoch and the last;
    ``summary.json``. Nothing is written, and a run that is replaced stays, until the first epoch is finished.

    Attributes:
        path: the folder.
        n_saved: epochs that it holds.
    """

    def __init__(self, path: Path, settings: dict[str, Any], n_saved: int) -> None:
        self.path, self.settings, self.n_saved = path, settings, n_saved

    @classmethod
    def begin(cls, path: Path, settings: dict[str, Any], overwrite: bool = False) -> RunFolder:
        """The folder of a new run.

        Args:
            path: the folder; made with its parents.
            settings: what ``config.json`` says.
            overwrite: take a folder that is not empty, replacing the run in it; files that are no run's stay.

        Raises:
            ConfigError: the folder is not empty and may not be overwritten.
            DataError: the folder cannot be written.
        """
        try:
            if path.exists() and not path.is_dir():
                raise ConfigError(f"output: {path} is a file; give a folder.")
            if path.is_dir() and any(path.iterdir()) and not overwrite:
                raise ConfigError(
                    f"output: {path} is not empty; give another folder, or replace its run with --overwrite."
                )
            if path.is_dir() and any(path.iterdir()) and store.peek(path) is None:
                raise ConfigError(
                    f"output: {path} holds other things than a run, so it is not replaced; give another folder."
                )
            _check_writable(path)
        except OSError as error:
            raise store.cannot_write(path, error) from None
        return cls(path, settings, n_saved=0)

    @classmethod
    def reopen(cls, path: Path, model: Model) -> RunFolder:
        """The folder of a run that ``model`` was loaded from; its metrics become those of the model's epochs.

        Raises:
            DataError: no readable ``config.json``.
        """
        try:
            settings = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
            if not isinstance(settings["model"], str) or not isinstance(settings["data"], dict):
                raise TypeError
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(f"{path / _CONFIG}: is missing or damaged, so the run cannot be resumed.") from None
        run = cls(path, {**settings, **model.config.to_dict()}, len(model.history))
        store.sweep(path)
        # A crash can fall between an epoch's checkpoint and its line.
        run._write_json(_CONFIG, run.settings)
        store.write_text(path / _METRICS, "".join(_line(result, model) for result in model.history))
        return run

    def __call__(self, result: EpochResult, model: Model) -> None:
        """Add an epoch."""
        if self.n_saved == 0:
            self._remove()
            self._write_json(_CONFIG, self.settings)
        saving.checkpoint(model, self.path)
        self.n_saved = result.epoch
        try:
            with (self.path / _METRICS).open("a", encoding="utf-8") as file:
                file.write(_line(result, model))
        except OSError as error:
            raise store.cannot_write(self.path / _METRICS, error) from None

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary."""
        self._write_json(_SUMMARY, summary)

    def abandon(self) -> None:
        """Leave nothing of a run that saved no epoch: neither half a file nor an empty folder."""
        store.sweep(self.path)
        if not (self.path / store.MANIFEST).exists():
            self._remove()
            if self.path.is_dir() and not any(self.path.iterdir()):
                self.path.rmdir()

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        store.write_text(self.path / name, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def _remove(self) -> None:
        """Remove the files of a run and of what it left half-written, and nothing else."""
        store.clear(self.path)
        for name in (_CONFIG, _METRICS, _SUMMARY):
            (self.path / name).unlink(missing_ok=True)


def _check_writable(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f"{store.ASIDE}probe.{os.getpid()}"
    try:
        probe.touch()
    finally:
        probe.unlink(missing_ok=True)


def _line(result: EpochResult, model: Model) -> str:
    values = {**asdict(result), "dataset": model.dataset}
    values["samples_per_second"] = round(result.samples_per_second)
    values["seconds"] = round(result.seconds, 4)
    return json.dumps(values, allow_nan=False) + "\n"


def default_folder(name: str) -> Path:
    """A new folder ``runs/NAME-DATE-TIME`` under the current one, with a number behind it where that is taken.

    Raises:
        DataError: it cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        path = Path("runs") / f"{name}-{stamp}{f'-{number}' if number > 1 else ''}"
        try:
            path.mkdir(parents=True)  # whoever makes it has it
            return path
        except FileExistsError:
            number += 1
        except OSError as error:
            raise store.cannot_write(path, error) from None
