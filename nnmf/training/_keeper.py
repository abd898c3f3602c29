"""`Keeper`: what of a training is kept."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nnmf.errors import TrainingError

from ._callbacks import EpochResult
from ._protocols import Learner, Scorer, Snapshot

#: What predicts by an average: made of what did before it, a copy of an epoch's scorer, the epoch's number and its RMSE in training.
Join = Callable[["Scorer | None", Scorer, int, float], Scorer]


class Keeper:
    """Keeps a copy of the last epoch, of the one with the lowest validation RMSE, or the mean of the later ones.

    A copy, since parameters change while an epoch runs: whatever ends it, what is kept is whole.

    Parameters
    ----------
    keep : {"last", "best", "mean"}
    before : Snapshot, default=None
        What is kept already, of a run that goes on.
    lowest : float, default=inf
        Its validation RMSE.
    join : callable, default=None
        Makes the mean; for that alone.
    """

    def __init__(
        self, keep: str, before: Snapshot | None = None, lowest: float = math.inf, join: Join | None = None
    ) -> None:
        self.keep, self.kept, self._lowest, self._join = keep, before, lowest, join
        self._mean: Scorer | None = None

    def scorer(self, number: int, train_rmse: float, learner: Learner) -> Scorer:
        """What predicts once an epoch is done: by its own parameters, or the mean with them in it; good until the next one."""
        if self.keep != "mean":
            return learner.scorer()
        assert self._join is not None
        before = None if self.kept is None else self.kept.scorer
        self._mean = self._join(before, learner.snapshot(), number, train_rmse)
        return self._mean

    def offer(self, result: EpochResult, learner: Learner) -> None:
        """Take note of an epoch that is done.

        Raises
        ------
        TrainingError
            A parameter is no finite number.
        """
        if self.keep == "best":
            assert result.valid_rmse is not None
            if result.valid_rmse >= self._lowest:
                return
            self._lowest = result.valid_rmse
        scorer = self._mean if self.keep == "mean" else learner.snapshot()
        assert scorer is not None
        for name, array in scorer.newest().items():
            # A sum is finite where all its terms are, unless they are as large as only diverging ones get.
            if not np.isfinite(np.sum(array, dtype=np.float64)):
                raise TrainingError(
                    f"training diverged in epoch {result.epoch}: {name} holds values that are no finite numbers; "
                    "lower learning_rate."
                )
        self.kept = Snapshot(result.epoch, scorer, learner.state())
