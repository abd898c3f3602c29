"""What a worker of a training runs: a `NetworkLearner` that is told which epochs to train, and has a share of each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnmf import _mxnet
from nnmf.config import TrainConfig
from nnmf.errors import NnmfError
from nnmf.kvstore import Orders, obey
from nnmf.tables import IdMap
from nnmf.training import Snapshot

from ._handover import MOMENTUM, give_back, take_over
from ._iterator import DataIter
from ._learner import NetworkLearner
from ._scorer import ARGUMENT, AUXILIARY, NetworkScorer
from ._shares import Share
from ._stores import STORES

mx: Any = _mxnet.load()


@dataclass(frozen=True)
class _Ids:
    """What a learner that goes on needs of a catalogue."""

    users: IdMap
    items: IdMap
    seen: None = None


class _Part(Share):
    """A worker's share.

    Parameters
    ----------
    kind : str
        Of the store.
    rank, n_workers : int
    """

    def __init__(self, kind: str, rank: int, n_workers: int) -> None:
        self.store = STORES[kind]()
        self.rank, self.n_workers, self._is_shared = rank, n_workers, kind == "dist_sync"

    def kvstore(self, contexts: list[Any]) -> Any:
        return self.store

    def rows_of_worker(self, batch_size: int) -> int:
        return self.n_of(batch_size) if self._is_shared else batch_size

    def rows_of_all(self, batches: DataIter) -> int:
        n_rows = (1 + batches.negatives) * len(batches.ratings)
        return min(n_rows, batches.n_batches * batches.batch_size * self.n_workers)


class _Worker:
    """A worker, in the folder of its job."""

    def __init__(self) -> None:
        self.folder, self.rank = Path.cwd(), int(os.environ["NNMF_RANK"])
        setup, symbol, arrays, train = take_over(self.folder)
        config, sizes = TrainConfig(**setup.config), setup.sizes
        specs = (config.ctx or "auto").split(",")  # several devices are taken in turns
        contexts, _ = _mxnet.contexts(specs[self.rank % len(specs)])
        parameters = {
            _bare(name): mx.nd.array(array) for name, array in arrays.items() if not name.startswith(MOMENTUM)
        }
        state = {name[len(MOMENTUM) :]: array for name, array in arrays.items() if name.startswith(MOMENTUM)}
        start = Snapshot(0, NetworkScorer(symbol, parameters, sizes, contexts[0]), state)
        self.share = _Part(setup.kvstore, self.rank, setup.n_workers)
        ids: Any = _Ids(train.users, train.items)
        self.learner = NetworkLearner(lambda *_: None, config, ids, start, contexts, True, self.share)
        self.learner.stream(train, setup.batch_size)

    def epoch(self, orders: Orders, number: int, learning_rate: float) -> None:
        """Train an epoch; the first worker tells how it goes, and leaves what came of it in a file."""

        def tick(done: int, rmse: Any) -> None:
            if self.rank == 0:
                orders.answer(done=done, rmse=rmse())

        rmse = self.learner.epoch(number, learning_rate, tick)
        self.share.store.finish(self.learner.parameters)
        if self.rank == 0:
            state = {f"{MOMENTUM}{name}": array for name, array in self.learner.state().items()}
            give_back(self.folder, {**self.learner.scorer().arrays(), **state})
        orders.answer(epoch=number, rmse=rmse)


def _bare(name: str) -> str:
    return name.removeprefix(ARGUMENT).removeprefix(AUXILIARY)


def work(orders: Orders) -> None:
    """Work until the process is ended."""
    try:
        worker = _Worker()
        orders.answer(ready=True, n_streamed=worker.learner.n_streamed)
        while True:
            worker.epoch(orders, **orders.next())
    except NnmfError as error:
        orders.answer(error=type(error).__name__, text=str(error))
        raise


if __name__ == "__main__":
    obey(work)
