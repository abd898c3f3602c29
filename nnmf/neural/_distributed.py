"""`DistributedLearner`: a `NetworkLearner` that hands its epochs to workers where it is given a cluster."""

from __future__ import annotations

from typing import Any

from nnmf import _mxnet
from nnmf.tables import Ratings
from nnmf.training import Tick

from ._handover import MOMENTUM
from ._learner import NetworkLearner
from ._workers import Workers

mx: Any = _mxnet.load()


class DistributedLearner(NetworkLearner):
    """Trains a network in this process, or by workers whose steps are those of this process; see `Workers`."""

    _workers: Workers | None = None

    def begin(self, train: Ratings) -> None:
        if self.cluster is None:
            super().begin(train)
            return
        self._contexts = self._contexts[:1]  # each worker takes one
        self._prepare(train)
        momentum = {f"{MOMENTUM}{name}": array for name, array in self.state().items()}
        arrays = {**self.scorer().arrays(), **momentum}
        batch_size = self._batch_size(train)
        self._workers = Workers(self.cluster, self.config, self.symbol, self.sizes, arrays, train, batch_size)
        self._workers.start()
        self.n_streamed = self._workers.n_streamed

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        if self._workers is None:
            return super().epoch(number, learning_rate, tick)
        rmse = self._workers.epoch(number, learning_rate, tick)
        for name, array in self._workers.arrays.items():
            kind, _, bare = name.partition(":")
            held = self._momentum if f"{kind}:" == MOMENTUM else self.parameters
            held[bare] = mx.nd.array(array)
        return rmse

    def end(self) -> None:
        if self._workers is not None:
            self._workers.end()
            self._workers = None
        super().end()
