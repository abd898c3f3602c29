"""`RunFolder`: the folder a training run writes: settings, a line of metrics an epoch, the model, a summary."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import saving, store
from .callbacks import EpochResult
from .errors import ConfigError
from .model import Model

_OWN_FILES = ("config.json", "metrics.jsonl", "summary.json")


class RunFolder:
    """A run's folder; as a callback of training it adds the epoch's line and checkpoint.

    Files: ``config.json``; ``metrics.jsonl``, a line an epoch with ``epoch`` (from 1), ``train_rmse``, ``valid_rmse``,
    ``samples_per_second`` and ``seconds``; the model as `Model.save` writes it, the best epoch and the last; ``summary.json``.

    Args:
        path: the folder; made with its parents.
        overwrite: take a folder that is not empty, replacing a run's files in it.

    Raises:
        ConfigError: the folder is not empty and may not be overwritten.
        DataError: the folder cannot be written.
    """

    def __init__(self, path: Path, config: dict[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self.made = not path.exists()
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
        self._remove()
        path.mkdir(exist_ok=True)
        store.write_text(path / "config.json", json.dumps(config, indent=1) + "\n")

    def __call__(self, result: EpochResult, model: Model) -> None:
        """Add an epoch."""
        saving.checkpoint(model, self.path)
        line = asdict(result)
        line["samples_per_second"] = round(result.samples_per_second)
        line["seconds"] = round(result.seconds, 4)
        try:
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise store.cannot_write(self.path / "metrics.jsonl", error) from None

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary."""
        store.write_text(self.path / "summary.json", json.dumps(summary, indent=1) + "\n")

    def abandon(self) -> None:
        """Leave nothing of a run that finished no epoch."""
        self._remove()
        if self.made and not any(self.path.iterdir()):
            self.path.rmdir()

    def _remove(self) -> None:
        store.clear(self.path)
        for name in _OWN_FILES:
            (self.path / name).unlink(missing_ok=True)


def default_folder(name: str) -> Path:
    """``runs/NAME-DATE-TIME`` under the current folder, with a number behind it where that is taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"{name}-{stamp}"
    number = 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{stamp}-{number}"
    return path
