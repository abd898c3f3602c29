"""`RunFolder`: the folder a training run writes: settings, a line of metrics an epoch, the model, a summary."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from nnmf.errors import ConfigError, DataError
from nnmf.files import Claim, cannot_write, peek, sweep, write_text
from nnmf.training import EpochResult

from ._models import LOCK, as_folder, claim, is_free, write
from ._state import ModelState

_CONFIG, _METRICS, _SUMMARY = "config.json", "metrics.jsonl", "summary.json"
_PAGES = {_CONFIG, _METRICS, _SUMMARY}


class Saveable(Protocol):
    """What a run folder asks of a model."""

    def to_state(self) -> ModelState:
        """The model as plain data."""


class RunFolder:
    """A run's folder; as a callback of training it adds the epoch's line and checkpoint.

    Files: the model as `nnmf.storage` writes it, the best epoch and the last; ``config.json``; ``metrics.jsonl``, a line an
    epoch with ``epoch`` (from 1), ``train_rmse``, ``valid_rmse``, ``samples_per_second``, ``seconds`` and ``dataset``;
    ``summary.json``. Nothing is written, and a run that is replaced stays whole, until the first epoch is finished: then the
    model's manifest changes from the one to the other in one step. One process at a time has the folder.

    Attributes
    ----------
    path : Path
        The folder.
    settings : dict
        What ``config.json`` says.
    n_saved : int
        Epochs that it holds of this run.
    """

    def __init__(self, path: Path, settings: dict[str, Any], n_saved: int, claim: Claim) -> None:
        self.path, self.settings, self.n_saved = path, settings, n_saved
        self._claim = claim

    @classmethod
    def begin(cls, path: Path, settings: dict[str, Any], overwrite: bool = False) -> RunFolder:
        """The folder of a new run.

        Parameters
        ----------
        path : path
            The folder; made with its parents.
        settings : dict
            What ``config.json`` says.
        overwrite : bool, default=False
            Take a folder that is not empty, replacing the run in it; files that are no run's stay.

        Raises
        ------
        ConfigError
            The folder is not empty and may not be overwritten, or holds other things than a run.
        DataError
            The folder cannot be written, or another process is writing it.
        """
        path = cls.check(path, overwrite)
        made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            try:
                claim = Claim(path / LOCK)
            except BaseException:
                if made:
                    with contextlib.suppress(OSError):  # what the claim left of its file must not hide why it failed
                        path.rmdir()
                raise
            sweep(path)
        except OSError as error:
            raise cannot_write(path, error) from None
        return cls(path, settings, n_saved=0, claim=claim)

    @staticmethod
    def check(path: Path, overwrite: bool = False) -> Path:
        """The path, if a new run may have it; arguments and errors as `begin`. Nothing is written."""
        path = as_folder(path)
        try:
            if path.exists() and not path.is_dir():
                raise ConfigError(f"output: {path} is a file; give a folder.")
            if path.is_dir() and not is_free(path):
                if not overwrite:
                    raise ConfigError(
                        f"output: {path} is not empty; give another folder, or replace its run with --overwrite."
                    )
                if peek(path) is None:
                    raise ConfigError(
                        f"output: {path} holds other things than a run, so it is not replaced; give another folder."
                    )
        except OSError as error:
            raise cannot_write(path, error) from None
        return path

    @classmethod
    def reopen(cls, path: Path, state: ModelState, run: dict[str, Any] | None, held: Claim | None = None) -> RunFolder:
        """The folder of a run that goes on: what `nnmf.storage.read` answered. Its metrics become those of the model's epochs.

        Raises
        ------
        DataError
            The model was saved without a run, the folder cannot be written, or another process is writing it.
        """
        path = as_folder(path)
        if run is None or not isinstance(run.get("model"), str) or not isinstance(run.get("data"), dict):
            raise DataError(f"{path}: holds a model without the settings of a run, so it cannot be resumed.")
        held = held or claim(path)
        folder = cls(path, {**run, **state.config}, len(state.history), held)
        try:
            sweep(path)
            # A crash can fall between an epoch's checkpoint and its line.
            folder._write_pages(state)
        except BaseException:
            held.release()
            raise
        return folder

    def __call__(self, result: EpochResult, model: Saveable) -> None:
        """Add an epoch."""
        state = model.to_state()
        self.settings.update(state.config)  # which training may have chosen
        write(self.path, state, keep_last=True, run=self.settings)
        first, self.n_saved = self.n_saved == 0, result.epoch
        if first:
            with contextlib.suppress(OSError):
                (self.path / _SUMMARY).unlink(missing_ok=True)  # of the run that was replaced
            self._write_pages(state)
            return
        try:
            with (self.path / _METRICS).open("a", encoding="utf-8") as file:
                file.write(_line(result, state.dataset))
        except OSError as error:
            raise cannot_write(self.path / _METRICS, error) from None

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, and the settings as they are by then."""
        self._write_json(_CONFIG, self.settings)
        self._write_json(_SUMMARY, summary)

    def close(self) -> None:
        """Let the folder go. Of a run that saved no epoch nothing stays: neither half a file nor an empty folder."""
        if self.path.is_dir():
            sweep(self.path)
        self._claim.release()
        with contextlib.suppress(OSError):
            if self.n_saved == 0 and not any(self.path.iterdir()):
                self.path.rmdir()

    def _write_pages(self, state: ModelState) -> None:
        self._write_json(_CONFIG, self.settings)
        write_text(self.path / _METRICS, "".join(_line(result, state.dataset) for result in state.history))

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        write_text(self.path / name, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _line(result: EpochResult, dataset: str) -> str:
    values = {**asdict(result), "dataset": dataset}
    values["samples_per_second"] = round(result.samples_per_second)
    values["seconds"] = round(result.seconds, 4)
    return json.dumps(values, allow_nan=False) + "\n"


def default_folder(name: str) -> Path:
    """A new folder ``runs/NAME-DATE-TIME`` under the current one, with a number behind it where that is taken.

    Raises
    ------
    DataError
        It cannot be made.
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
            raise cannot_write(path, error) from None
