"""Training, whoever is trained: the loop over epochs, what happens at an epoch's end, how a run shows itself."""

from __future__ import annotations

from ._callbacks import Callback, EarlyStopping, EpochResult, log_epoch
from ._loop import Progress, run
from ._progress import TrainingProgress, duration

__all__ = ["Callback", "EarlyStopping", "EpochResult", "Progress", "TrainingProgress", "duration", "log_epoch", "run"]
