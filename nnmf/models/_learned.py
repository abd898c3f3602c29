"""`Learned`: all that training makes of a model, replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from nnmf.training import EpochResult, Snapshot

from ._answers import Answers


@dataclass(frozen=True, eq=False)
class Learned:
    """What a model has learned; replaced as a whole, never changed.

    Attributes
    ----------
    answers : Answers
    history : list of EpochResult
    kept : Snapshot
        The parameters that predict, and the state of training that belongs to them.
    last : Snapshot, default=None
        Those of the last epoch, where they can be told.
    compared_from : int
        The epoch at which the last training began.
    """

    answers: Answers
    history: list[EpochResult]
    kept: Snapshot
    last: Snapshot | None
    compared_from: int
