"""`Keeper`: which epoch of a training is kept."""

from __future__ import annotations

import math

import numpy as np

from nnmf.errors import TrainingError

from ._callbacks import EpochResult
from ._protocols import Learner, Snapshot


class Keeper:
    """Keeps a copy of the last epoch, or of the one with the lowest validation RMSE.

    A copy, since parameters change while an epoch runs: whatever ends it, the one that is kept is whole.

    Parameters
    ----------
    best : bool
        Keep the best epoch; else the last.
    before : Snapshot, default=None
        What is kept already, of a run that goes on.
    lowest : float, default=inf
        Its validation RMSE.
    """

    def __init__(self, best: bool, before: Snapshot | None = None, lowest: float = math.inf) -> None:
        self.best, self.kept, self._lowest = best, before, lowest

    def offer(self, result: EpochResult, learner: Learner) -> None:
        """Take note of an epoch that is done.

        Raises
        ------
        TrainingError
            A parameter is no finite number.
        """
        if self.best:
            assert result.valid_rmse is not None
            if result.valid_rmse >= self._lowest:
                return
            self._lowest = result.valid_rmse
        scorer = learner.snapshot()
        for name, array in scorer.newest().items():
            # A sum is finite where all its terms are, unless they are as large as only diverging ones get.
            if not np.isfinite(np.sum(array, dtype=np.float64)):
                raise TrainingError(
                    f"training diverged in epoch {result.epoch}: {name} holds values that are no finite numbers; "
                    "lower learning_rate."
                )
        self.kept = Snapshot(result.epoch, scorer, learner.state())
