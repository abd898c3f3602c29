"""Training, whoever is trained: the loop over epochs, what is kept of it, what happens at an epoch's end, progress."""

from __future__ import annotations

from ._callbacks import Callback, EarlyStopping, EpochResult, log_epoch
from ._history import History
from ._keeper import Join, Keeper
from ._loop import Course, Progress, Sample, run, uninterrupted
from ._progress import TrainingProgress, chosen_progress, duration
from ._protocols import Learner, Scorer, Snapshot, Tick, check_level

__all__ = [
    "Callback",
    "Course",
    "EarlyStopping",
    "EpochResult",
    "History",
    "Join",
    "Keeper",
    "Learner",
    "Progress",
    "Sample",
    "Scorer",
    "Snapshot",
    "Tick",
    "TrainingProgress",
    "check_level",
    "chosen_progress",
    "duration",
    "log_epoch",
    "run",
    "uninterrupted",
]
