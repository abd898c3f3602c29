"""How the workers of a training use MXNet's parameter server: as stores that `mx.model.FeedForward` takes.

In both ways each worker takes its steps itself, by the one optimiser of `NetworkLearner`: servers hold sums alone, the momentum stays
with the workers, and no code of this package is sent to anyone.
"""

from __future__ import annotations

from typing import Any

from nnmf import _mxnet
from nnmf.networks import SEEN

mx: Any = _mxnet.load()


class Store(mx.kvstore.KVStoreBase):
    """A parameter server.

    Unlike MXNet's own it may be given to one `fit` after another, and leaves alone what is no parameter.
    """

    #: MXNet's name for it
    kind: str

    def __init__(self) -> None:
        self._store = mx.kv.create(self.kind)
        self._known: dict[str, Any] = {}

    @property
    def type(self) -> str:
        """MXNet's name for it."""
        return self.kind

    def init(self, key: str, value: Any) -> None:
        """Make room for a parameter, whose values all workers have."""
        if key not in self._known and key != SEEN:
            self._store.init(key, value)
            self._known[key] = value.shape

    def finish(self, parameters: dict[str, Any]) -> None:
        """End an epoch: all workers then have the same parameters, which are written into these."""


class Summed(Store):
    """``dist_sync``: a step's gradients are summed over the workers, each of which then takes the same step."""

    kind = "dist_sync"

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Whether the servers take the steps: never."""
        return False

    def pushpull(self, key: str, value: list[Any], out: Any = None, priority: int = 0) -> None:
        """Sum a gradient over the workers, in its place."""
        if key != SEEN:
            self._store.pushpull(key, value, out=value if out is None else out, priority=priority)


class Added(Store):
    """``dist_async``: each worker takes its steps from where the parameters are, and adds them to what the servers hold."""

    kind = "dist_async"

    def __init__(self) -> None:
        super().__init__()
        self._updater: Any = None

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Whether steps are taken here instead of by FeedForward: they are."""
        return True

    def set_optimizer(self, optimizer: Any) -> None:
        """Take steps by this optimiser; the servers add what they are given."""
        self._updater = mx.optimizer.get_updater(optimizer)
        if not self._known:
            if self._store.rank == 0:
                # The one of MXNet's own optimisers that adds; MXNet pickles it for its servers.
                self._store.set_optimizer(mx.optimizer.Test(rescale_grad=1.0))
            self._store._barrier()

    def broadcast(self, key: str, value: Any, out: Any, priority: int = 0) -> None:
        """Make room for a parameter, whose values all workers have, in ``out`` too."""
        self.init(key, value)

    def pushpull(self, key: str, value: list[Any], out: Any = None, priority: int = 0) -> None:
        """Take a step by the gradient of a parameter; ``out`` then is what all workers' steps have made of it."""
        if key == SEEN:
            return
        (weight,), (gradient,) = out, value
        before = weight.copy()
        self._updater(key, gradient, weight)
        self._store.push(key, weight - before, priority=priority)
        self._store.pull(key, out=weight, priority=priority)

    def finish(self, parameters: dict[str, Any]) -> None:
        mx.nd.waitall()
        self._store._barrier()
        for key in self._known:
            self._store.pull(key, out=parameters[key])
        mx.nd.waitall()
        self._store._barrier()


STORES = {store.kind: store for store in (Summed, Added)}
