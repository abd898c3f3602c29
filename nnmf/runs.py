"""`RunFolder`: the folder a training run writes: settings, a line of metrics an epoch, the model, a summary."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import saving, store
from .callbacks import EpochResult
from .errors import ConfigError, DataError
from .model import Model

_CONFIG, _METRICS, _SUMMARY = "config.json", "metrics.jsonl", "summary.json"


class RunFolder:
    """A run's folder; as a callback of training it adds the epoch's line and checkpoint.

    Files: ``config.json``; ``metrics.jsonl``, a line an epoch with ``epoch`` (from 1), ``train_rmse``, ``valid_rmse``,
    ``samples_per_second`` and ``seconds``; the model as `Model.save` writes it, the best epoch and the last; ``summary.json``.

    """

    def __init__(self, path: Path, made: bool) -> None:
        self.path, self._made = path, made

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
        made = not path.exists()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"output: {path} is a file; give a folder.")
        try:
            if path.is_dir() and any(path.iterdir()) and not overwrite:
                raise ConfigError(
                    f"output: {path} is not empty; give another folder, or replace its run with --overwrite."
                )
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise store.cannot_write(path, error) from None
        run = cls(path, made)
        run._remove()
        store.write_text(path / _CONFIG, json.dumps(settings, indent=1) + "\n")
        return run

    @classmethod
    def reopen(cls, path: Path, model: Model) -> tuple[RunFolder, dict[str, Any]]:
        """The folder of a run that ``model`` was loaded from, and its settings; the metrics are those of the model's epochs.

        Raises:
            DataError: no readable ``config.json``.
        """
        try:
            settings = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
            if not isinstance(settings["model"], str) or not isinstance(settings["data"], dict):
                raise TypeError
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(f"{path / _CONFIG}: is missing or damaged, so the run cannot be resumed.") from None
        store.sweep(path)
        store.write_text(path / _CONFIG, json.dumps({**settings, **model.config.to_dict()}, indent=1) + "\n")
        # A crash can fall between an epoch's checkpoint and its line.
        store.write_text(path / _METRICS, "".join(_line(result) for result in model.history))
        return cls(path, made=False), settings

    def __call__(self, result: EpochResult, model: Model) -> None:
        """Add an epoch."""
        saving.checkpoint(model, self.path)
        try:
            with (self.path / _METRICS).open("a", encoding="utf-8") as file:
                file.write(_line(result))
        except OSError as error:
            raise store.cannot_write(self.path / _METRICS, error) from None

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary."""
        store.write_text(self.path / _SUMMARY, json.dumps(summary, indent=1) + "\n")

    def abandon(self) -> None:
        """Leave nothing of a run that finished no epoch."""
        self._remove()
        if self._made and not any(self.path.iterdir()):
            self.path.rmdir()

    def _remove(self) -> None:
        store.clear(self.path)
        for name in (_CONFIG, _METRICS, _SUMMARY):
            (self.path / name).unlink(missing_ok=True)


def _line(result: EpochResult) -> str:
    values = asdict(result)
    values["samples_per_second"] = round(result.samples_per_second)
    values["seconds"] = round(result.seconds, 4)
    return json.dumps(values) + "\n"


def default_folder(name: str) -> Path:
    """``runs/NAME-DATE-TIME`` under the current folder, with a number behind it where that is taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"{name}-{stamp}"
    number = 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{stamp}-{number}"
    return path
