"""`DenseTrainer`: epochs by `mx.model.FeedForward`, each of whose steps goes over all parameters."""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

from nnmf import _mxnet
from nnmf._eval_metrics import RMSE
from nnmf.training import Tick

from ._iterator import DataIter
from ._shares import Share

mx: Any = _mxnet.load()

# Seconds between two looks at a running epoch; each makes training wait for the batches it has queued.
TICK_SECONDS = 0.5
_quiet = logging.getLogger("nnmf.feedforward")
_quiet.propagate = False


class _FirstOutput(RMSE):
    """The RMSE of a network's prediction, whatever outputs come after it."""

    def update(self, labels: list[Any], preds: list[Any]) -> None:
        super().update(labels, preds[:1])


class DenseTrainer:
    """Trains any network.

    Parameters
    ----------
    symbol : Symbol
        The network as it is trained.
    parameters : dict of str to NDArray
        Arguments and auxiliary states; `epoch` puts new ones there.
    data : DataIter
    optimizer : Optimizer
    contexts : list of Context
        Which share each batch.
    passes : int
        Passes over the ratings an epoch.
    share : Share
    """

    def __init__(
        self,
        symbol: Any,
        parameters: dict[str, Any],
        data: DataIter,
        optimizer: Any,
        contexts: list[Any],
        passes: int,
        share: Share,
    ) -> None:
        self.parameters, self._contexts, self._share = parameters, contexts, share
        self._symbol, self._data, self._optimizer, self._passes = symbol, data, optimizer, passes
        self._metric = _FirstOutput(data.n_streamed)

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        """Train epoch `number`, from 1; the RMSE of its ratings, each predicted before its batch was learned."""
        self._optimizer.set_learning_rate(learning_rate)
        auxiliary = self._symbol.list_auxiliary_states()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*FeedForward has been deprecated", DeprecationWarning)
            forward = mx.model.FeedForward(
                self._symbol,
                ctx=self._contexts,
                begin_epoch=number - 1,
                num_epoch=number - 1 + self._passes,
                optimizer=self._optimizer,
                arg_params={name: array for name, array in self.parameters.items() if name not in auxiliary},
                aux_params={name: self.parameters[name] for name in auxiliary},
            )
        looked = time.perf_counter()

        def batch_end(batch: Any) -> None:
            nonlocal looked
            # MXNet's own variables, these very words among them: in a circle, all arrays of an epoch would stay for many epochs.
            batch.locals.clear()
            if time.perf_counter() - looked > TICK_SECONDS:
                done = min(batch.nbatch * self._data.batch_size, self._data.n_streamed)
                tick(done, lambda: self._metric.get()[1])
                looked = time.perf_counter()
            if batch.nbatch == self._data.n_batches:
                # What is copied at an epoch's end waits for writers, and MXNet knows none of auxiliary states (a BatchNorm's
                # means): its backward passes write them unannounced.
                mx.nd.waitall()

        forward.fit(
            self._data,
            eval_metric=self._metric,
            batch_end_callback=batch_end,
            kvstore=self._share.kvstore(self._contexts),
            logger=_quiet,
        )
        self.parameters.update(forward.arg_params)
        self.parameters.update(forward.aux_params)
        return self._metric.get()[1]
