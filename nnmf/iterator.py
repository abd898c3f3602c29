"""`DataIter`: streams a table of ratings to MXNet in shuffled batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _mxnet
from .data import Ratings
from .errors import ConfigError, DataError, one_of

mx: Any = _mxnet.load()

_LAST_BATCH = ("pad", "discard")


class DataIter(mx.io.DataIter):
    """Shuffled batches of a table, for `mx.model.FeedForward` and `mx.mod.Module` as they are.

    Each epoch's ratings are put in order and uploaded once; a batch is three slices of them: ``user`` and ``item`` (int32) and
    the label (float32), each of shape (batch_size,). The order of epoch e depends on (seed, e) alone.

    Args:
        ratings: the table; every user and item known.
        batch_size: ratings a batch, at most the table's.
        shuffle: draw a new order each epoch; default True.
        seed: of the orders; default 0.
        last_batch: "pad" fills a short last batch with ratings from the epoch's start and says how many in its ``pad``;
            "discard" leaves its ratings out of the epoch.
        rank, n_workers: this worker's number and how many there are: each streams its own part of each epoch's order, all
            the same number of batches (a worker that hangs for want of one stops the others).
        label_name: the network's variable for the rating.
        ctx: where batches are put; default: the CPU.

    Attributes:
        epoch: number of the epoch being streamed, from 0; set it to go on from another. `reset` moves to the next epoch once
            a batch of this one was taken.
        n_batches: batches an epoch.
        n_streamed: ratings an epoch, padding excluded.

    Raises:
        ConfigError: a batch size, rank or way with the last batch that cannot be used.
        DataError: ratings of unknown users or items.
    """

    def __init__(
        self,
        ratings: Ratings,
        batch_size: int = 64,
        *,
        shuffle: bool = True,
        seed: int = 0,
        last_batch: str = "pad",
        rank: int = 0,
        n_workers: int = 1,
        label_name: str = "rating",
        ctx: Any = None,
    ) -> None:
        super().__init__(batch_size)
        n_unknown = int((~ratings.known).sum())
        if n_unknown:
            raise DataError(
                f"{ratings.name}: {n_unknown} ratings are of unknown users or items; drop them with take(known)."
            )
        if last_batch not in _LAST_BATCH:
            raise ConfigError(one_of(last_batch, _LAST_BATCH, "last_batch"))
        if not 0 <= rank < n_workers:
            raise ConfigError(f"rank: got {rank}; give a number from 0 to n_workers - 1 = {n_workers - 1}.")
        n_shared = len(ratings) // n_workers if last_batch == "discard" else -(-len(ratings) // n_workers)
        if not 1 <= batch_size <= n_shared:
            shared = f" / {n_workers} workers" if n_workers > 1 else ""
            raise ConfigError(
                f"batch_size: got {batch_size}; give one from 1 to the table's {len(ratings)} ratings{shared}."
            )
        self.ratings, self.shuffle, self.seed = ratings, shuffle, seed
        self.rank, self.n_workers = rank, n_workers
        self.ctx = mx.cpu() if ctx is None else ctx
        self.n_batches = n_shared // batch_size if last_batch == "discard" else -(-n_shared // batch_size)
        n_own = len(range(rank, len(ratings), n_workers))
        self.n_streamed = min(n_own, self.n_batches * batch_size)
        if n_own == 0:
            raise ConfigError(f"n_workers: {n_workers} workers are more than the table's {len(ratings)} ratings.")
        self.provide_data = [mx.io.DataDesc(name, (batch_size,), np.int32) for name in ("user", "item")]
        self.provide_label = [mx.io.DataDesc(label_name, (batch_size,), np.float32)]
        self.epoch = 0
        self._columns: tuple[Any, Any, Any] | None = None
        self._batch = -1

    def order(self) -> np.ndarray:
        """Rows of the table in the order this epoch streams them, padding included: int64 array (n_batches * batch_size,)."""
        n = len(self.ratings)
        rows = np.random.default_rng((self.seed, self.epoch)).permutation(n) if self.shuffle else np.arange(n)
        own = rows[self.rank :: self.n_workers]
        n_rows = self.n_batches * self.batch_size
        return own[:n_rows] if n_rows <= len(own) else np.resize(own, n_rows)

    def reset(self) -> None:
        """Go to the start of the next epoch, or of this one while no batch of it was taken."""
        if self._batch >= 0:
            self.epoch += 1
        self._columns, self._batch = None, -1

    def iter_next(self) -> bool:
        """Move to the next batch; False at the epoch's end."""
        if self._columns is None:
            rows, table = self.order(), self.ratings
            self._columns = (
                mx.nd.array(table.user[rows], self.ctx, np.int32),
                mx.nd.array(table.item[rows], self.ctx, np.int32),
                mx.nd.array(table.rating[rows], self.ctx, np.float32),
            )
        self._batch += 1
        return self._batch < self.n_batches

    def _slice(self, column: int) -> Any:
        assert self._columns is not None
        start = self._batch * self.batch_size
        return self._columns[column][start : start + self.batch_size]

    def getdata(self) -> list[Any]:
        """[user, item] of this batch."""
        return [self._slice(0), self._slice(1)]

    def getlabel(self) -> list[Any]:
        """[rating] of this batch."""
        return [self._slice(2)]

    def getindex(self) -> None:
        """No batch has an index of its own."""

    def getpad(self) -> int:
        """Rows of this batch, at its end, that repeat others to fill it."""
        return min(self.batch_size, max(0, (self._batch + 1) * self.batch_size - self.n_streamed))
