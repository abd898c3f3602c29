"""`DataIter`: streams a table of ratings to MXNet in shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmf import _mxnet
from nnmf.errors import ConfigError, DataError, one_of
from nnmf.files import release
from nnmf.tables import Ratings

from ._checks import ratings_table, whole_number, worker
from ._windows import pieces

if TYPE_CHECKING:
    from ._negatives import Negatives

mx: Any = _mxnet.load()

_LAST_BATCH = ("pad", "discard")
# Rows of an epoch that MXNet can number.
_MAX_ROWS = 2**31 - 1


class DataIter(mx.io.DataIter):
    """Shuffled batches of a table, for `mx.model.FeedForward` and `mx.mod.Module` as they are.

    Each epoch's ratings are put in order and uploaded once; a batch is three slices of them: ``user`` and ``item`` (int32) and
    the label (float32), each of shape (batch_size,). The order of epoch e, and what is drawn for it, depend on (seed, e) alone.

    A table that `Ratings.open` mapped is shuffled by windows of some million ratings, in chunks from random places, and these
    are uploaded one by one, so that memory does not grow with the table.

    With ``negatives=n`` an epoch also streams, for each rating, n items drawn anew from those its user has not rated
    (`nnmf.negatives`), labelled 0 and shuffled among the ratings: ``1 + n`` rows a rating, which an epoch takes 12 bytes
    each for, and some 30 while they are put in order; a mapped table is then held in memory.

    Parameters
    ----------
    ratings : Ratings
        The table; every user and item known.
    batch_size : int, default=64
        Rows a batch, at most an epoch's.
    shuffle : bool, default=True
        Draw a new order each epoch. Without, each rating's negatives follow it.
    seed : int, default=0
        Of the orders.
    last_batch : {"pad", "discard"}, default="pad"
        "pad" fills a short last batch with rows from the epoch's start and says how many in its ``pad``; "discard" leaves its
        rows out of the epoch.
    negatives : int, default=0
        Unobserved items streamed for each rating.
    rank, n_workers : int, default=0, 1
        This worker's number and how many there are: each streams its own part of each epoch's order, all the same number of
        batches (a worker that hangs for want of one stops the others).
    label_name : str, default="rating"
        The network's variable for the rating.
    ctx : Context, default=None
        Where batches are put; None: the CPU.

    Attributes
    ----------
    epoch : int
        Number of the epoch being streamed, from 0; set it to go on from another. `reset` moves to the next epoch once a batch
        of this one was taken.
    n_batches : int
        Batches an epoch.
    n_streamed : int
        Rows an epoch, padding excluded.

    Raises
    ------
    ConfigError
        An option that cannot be used; more rows an epoch than MXNet can number.
    DataError
        Something else than ratings, or ratings of unknown users or items; with negatives, a user who rated every item.
    """

    def __init__(
        self,
        ratings: Ratings,
        batch_size: int = 64,
        *,
        shuffle: bool = True,
        seed: int = 0,
        last_batch: str = "pad",
        negatives: int = 0,
        rank: int = 0,
        n_workers: int = 1,
        label_name: str = "rating",
        ctx: Any = None,
    ) -> None:
        batch_size = whole_number(batch_size, "batch_size")
        super().__init__(batch_size)
        _check_options(ratings, shuffle, last_batch, label_name, ctx)
        self.rank, self.n_workers = worker(rank, n_workers)
        self.ratings, self.shuffle, self.seed = ratings, bool(shuffle), whole_number(seed, "seed", 0)
        self.negatives = whole_number(negatives, "negatives")
        self.ctx = mx.cpu() if ctx is None else ctx
        n_shared = self._n_shared(last_batch)
        self.n_batches = n_shared // batch_size if last_batch == "discard" else -(-n_shared // batch_size)
        n_own = (1 + negatives) * len(range(rank, len(ratings), n_workers))
        self.n_streamed = min(n_own, self.n_batches * batch_size)
        if n_own == 0:
            raise ConfigError(f"n_workers: {n_workers} workers are more than the table's {len(ratings)} ratings.")
        self.provide_data = [mx.io.DataDesc(name, (batch_size,), np.int32) for name in ("user", "item")]
        self.provide_label = [mx.io.DataDesc(label_name, (batch_size,), np.float32)]
        self._unobserved: Negatives | None = None
        if negatives:
            from ._negatives import Negatives  # and with it Numba, which nothing else here needs

            ratings.say_in_memory("Training with negatives")
            self._unobserved = Negatives(ratings, negatives)
        self.epoch = 0
        # What is uploaded of the epoch, its first batch, and what comes after it.
        self._columns: tuple[Any, Any, Any] | None = None
        self._first = 0
        self._coming: Iterator[tuple[np.ndarray, np.ndarray]] | None = None
        self._batch = -1

    def _n_shared(self, last_batch: str) -> int:
        """Rows an epoch of each worker, those that fill a last batch apart."""
        n, n_workers, width = len(self.ratings), self.n_workers, 1 + self.negatives
        n_shared = width * (n // n_workers if last_batch == "discard" else -(-n // n_workers))
        if self.negatives < 0 or n_shared > _MAX_ROWS:
            raise ConfigError(
                f"negatives: got {self.negatives}; give a number from 0 to {_MAX_ROWS * n_workers // max(1, n) - 1}."
                if width != 1
                else f"{self.ratings.name}: {n:,} ratings over {n_workers} workers are more than the {_MAX_ROWS:,} rows that "
                "MXNet can number; give it a part of them, or take more workers."
            )
        if not 1 <= self.batch_size <= n_shared:
            more = f" * {width} with negatives" if self.negatives else ""
            shared = f" / {n_workers} workers" if n_workers > 1 else ""
            raise ConfigError(
                f"batch_size: got {self.batch_size}; give one from 1 to the table's {n} ratings{more}{shared}."
            )
        return n_shared

    def order(self) -> np.ndarray:
        """Rows of the table in the order this epoch streams them, padding included: int64 array (n_batches * batch_size,).

        A negative stands there as the row of the rating that it was drawn for.
        """
        return np.concatenate([rows for rows, _ in self._pieces()])

    def _pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What is uploaded together, in whole batches: rows as `order` answers them, and the item streamed for each."""
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.ratings.home is None or self._unobserved:
            yield self._draw(rng)
            return
        sizes = self.batch_size, self.n_batches, self.rank, self.n_workers
        for rows in pieces(len(self.ratings), rng if self.shuffle else None, *sizes):
            yield rows, self.ratings.item[rows]

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The whole epoch of a table in memory."""
        n, table = len(self.ratings), self.ratings
        rows = rng.permutation(n) if self.shuffle else np.arange(n)
        n_rows = self.n_batches * self.batch_size
        if not self._unobserved:
            # All workers' batches together are those of one, whatever fills the last.
            own = np.resize(rows, n_rows * self.n_workers)[self.rank :: self.n_workers]
            return own, table.item[own]
        own = rows[self.rank :: self.n_workers]
        drawn = self._unobserved.draw(table.user[rows], rng, self.rank, self.n_workers)
        own, item = np.repeat(own, 1 + self.negatives), np.column_stack([table.item[own], drawn]).ravel()
        if self.shuffle:
            order = rng.permutation(np.arange(len(own), dtype=np.int32))
            own, item = own[order], item[order]
        if n_rows <= len(own):
            return own[:n_rows], item[:n_rows]
        return np.resize(own, n_rows), np.resize(item, n_rows)

    def reset(self) -> None:
        """Go to the start of the next epoch, or of this one while no batch of it was taken."""
        if self._batch >= 0:
            self.epoch += 1
        self._columns, self._coming, self._batch = None, None, -1

    def iter_next(self) -> bool:
        """Move to the next batch; False at the epoch's end."""
        if self._coming is None:
            self._coming = self._pieces()
        self._batch += 1
        at = self._first + (0 if self._columns is None else len(self._columns[0]) // self.batch_size)
        if self._batch < self.n_batches and (self._columns is None or self._batch == at):
            self._columns = None  # before the next are there
            self._columns, self._first = self._uploaded(*next(self._coming)), self._batch
        return self._batch < self.n_batches

    def columns(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The epoch as it is streamed, padding included, in pieces of whole batches: users, items and ratings, (n,) each."""
        return (self._columns_of(rows, item) for rows, item in self._pieces())

    def _columns_of(self, rows: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        table = self.ratings
        user, rating = table.user[rows], table.rating[rows]
        if self._unobserved:
            # A negative is the one row whose item is not its rating's: its user has not rated it.
            rating[item != table.item[rows]] = self._unobserved.rating
        release(table.user, table.item, table.rating)
        return user, item, rating

    def _uploaded(self, rows: np.ndarray, item: np.ndarray) -> tuple[Any, Any, Any]:
        user, item, rating = self._columns_of(rows, item)
        return (
            mx.nd.array(user, self.ctx, np.int32),
            mx.nd.array(item, self.ctx, np.int32),
            mx.nd.array(rating, self.ctx, np.float32),
        )

    def _slice(self, column: int) -> Any:
        assert self._columns is not None
        start = (self._batch - self._first) * self.batch_size
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


def _check_options(ratings: Any, shuffle: Any, last_batch: Any, label_name: Any, ctx: Any) -> None:
    """Refuse what is of another type than `DataIter` takes, and ratings without a row in the network's tables."""
    n_unknown = ratings_table(ratings).n_unknown
    if n_unknown:
        raise DataError(
            f"{ratings.name}: {n_unknown} ratings are of unknown users or items; drop them with take(known)."
        )
    if last_batch not in _LAST_BATCH:
        raise ConfigError(one_of(last_batch, _LAST_BATCH, "last_batch"))
    if not isinstance(shuffle, (bool, np.bool_)):
        raise ConfigError(f"shuffle: got {shuffle!r}; give True or False.")
    if not isinstance(label_name, str) or not label_name:
        raise ConfigError(f"label_name: got {label_name!r}; give the name of the network's variable for the rating.")
    if ctx is not None and not isinstance(ctx, mx.Context):
        raise ConfigError(f"ctx: got {ctx!r}; give a context of MXNet, such as mx.cpu() or mx.gpu(0).")
