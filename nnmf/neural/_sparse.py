"""`SparseTrainer`: epochs whose steps go over the rows that a batch looks up, and come to the same as if over all."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.networks import by_row, lookups, n_rows
from nnmf.tables import as_index_pairs
from nnmf.training import Tick

from . import _rows
from ._dense import TICK_SECONDS
from ._iterator import DataIter
from ._memory import Mirror, memory_of
from ._shares import ALONE, Share
from ._steps import SGD

mx: Any = _mxnet.load()


class _Moved:
    """How a step moves a parameter: its momentum, and the settings for it. The optimizer knows it by its index."""

    def __init__(self, name: str, index: int, array: Any, optimizer: SGD) -> None:
        self.name, self.index, self._optimizer = name, index, optimizer
        kept = optimizer.create_state(index, array)
        if kept is not None:  # of a model that goes on it lies where it was trained
            kept = optimizer.kept[name] = kept.as_in_context(mx.cpu())
        self._momentum = mx.nd.zeros(array.shape) if kept is None else kept
        self.state = memory_of(self._momentum)

    def settings(self) -> tuple[np.float32, ...]:
        """rate, decay, keep, scale and bound of `_rows.descend`, at the learning rate that the optimizer has."""
        (rate,), (decay,) = self._optimizer._get_lrs([self.index]), self._optimizer._get_wds([self.index])
        bound = self._optimizer.bounds.get(self.name, math.inf)
        found = rate, decay, self._optimizer.momentum, self._optimizer.rescale_grad, bound
        return tuple(map(np.float32, found))


class _Layers:
    """The parameters that every step moves as a whole."""

    def __init__(self, layers: list[tuple[_Moved, Mirror, Mirror]]) -> None:
        self.layers = layers

    def begin(self) -> None:
        """Before an epoch."""
        self._settings = [moved.settings() for moved, *_ in self.layers]

    def move(self) -> None:
        """Take a step."""
        for (moved, weight, gradient), settings in zip(self.layers, self._settings, strict=True):
            gradient.pull()
            weight.pull()  # an operator may write what it takes: BatchNorm a gamma that is fixed
            _rows.descend(gradient.host.reshape(-1), *settings, weight.host.reshape(-1), moved.state.reshape(-1))
            weight.push()

    def parameters(self) -> dict[str, Any]:
        """Copies: MXNet lays a layer's numbers out anew when it predicts."""
        return {moved.name: mx.nd.array(weight.host) for moved, weight, _ in self.layers}


class _Table:
    """A table of users or items, and what a step has of it.

    Attributes
    ----------
    moved : how it moves
    table : float32 array of shape (n_rows, width): all of it
    found, gradient : of shape (n, width): what the ratings of a batch look up, and its gradient, where MXNet computes
    total : of shape (batch_size or, of a smaller table, n_rows, width): gradients of the rows that are looked up, on the CPU
    """

    def __init__(self, moved: _Moved, array: Any, found: Mirror, gradient: Mirror, batch_size: int) -> None:
        self.moved, self.table, self.found, self.gradient = moved, memory_of(array), found, gradient
        n_rows, width = self.table.shape
        self.total = Mirror(mx.nd.zeros((min(batch_size, n_rows), width)), shared=True)


class _Side:
    """What the tables of users, or those of items, have in common: which rows a batch looks up, and how far each has come."""

    def __init__(self, tables: list[_Table], batch_size: int, share: Share) -> None:
        n_rows = max((len(of.table) for of in tables), default=0)
        self.tables, self._share = tables, (share.rank, share.n_workers)
        self._place, self._steps = np.zeros(n_rows, np.int32), np.zeros(n_rows, np.int32)
        self._rows, self._n_rows, self._local = np.empty(batch_size, np.int32), 0, np.empty(batch_size, np.int32)

    def begin(self, n_steps: int) -> None:
        """Before an epoch of so many steps."""
        self._settings = [of.moved.settings() for of in self.tables]
        self._powers = [
            _rows.powers(float(rate), float(decay), float(keep), n_steps) for rate, decay, keep, *_ in self._settings
        ]

    def look_up(self, index: np.ndarray, step: int) -> None:
        """Hand MXNet what a batch looks up, as it is after so many steps."""
        self._n_rows = _rows.find_rows(index, self._place, self._rows, self._local)
        came = self._rows, self._n_rows, self._local, self._steps, step
        for of, powers in zip(self.tables, self._powers, strict=True):
            _rows.gather(*came, *powers, of.table, of.moved.state, *self._share, of.found.host)
            of.found.push()

    def add_up(self) -> None:
        """Add the gradients of each row looked up up, for `move` once workers have exchanged them."""
        for of in self.tables:
            of.gradient.pull()
            _rows.add_up(of.gradient.host, self._local, self._n_rows, *self._share, of.total.host)

    def move(self, step: int, exchanged: bool) -> None:
        """Take the step, the `step`-th, of the rows looked up."""
        for of, settings in zip(self.tables, self._settings, strict=True):
            if exchanged:
                of.total.pull()
                _rows.descend_rows(self._rows, self._n_rows, of.total.host, *settings, of.table, of.moved.state)
            else:
                of.gradient.pull()
                batch = of.gradient.host, self._local, of.total.host, self._rows, self._n_rows
                _rows.add_up_and_descend(*batch, *settings, of.table, of.moved.state)
        _rows.mark(self._rows, self._n_rows, self._steps, step)

    def end(self, step: int) -> None:
        """Bring all rows to where they are after so many steps, the epoch's."""
        for of, powers in zip(self.tables, self._powers, strict=True):
            _rows.catch_up(self._steps, step, *powers, of.table, of.moved.state)
        self._steps[:] = 0


class SparseTrainer:
    """Trains networks that look users and items up in tables, and use these for nothing else.

    MXNet runs the network over what a batch looks up, wherever the tables lie; only the rows of these are moved. A row
    of whom nothing was rated for n steps is first taken through them (`_rows`), and all are at an epoch's end: what comes out is
    what `DenseTrainer` makes, but for rounding.

    Parameters
    ----------
    symbol : Symbol
        The network as it is trained.
    parameters : dict of str to NDArray
        Arguments and auxiliary states, on the CPU; the tables are trained in place, `epoch` puts what else is trained there anew.
    data : DataIter
    optimizer : SGD
    ctx : Context
    share : Share, default=ALONE
        Of a step's rows; each worker moves all that the step looks up, by the sum of their gradients.
    shared : bool, default=None
        Whether MXNet computes in the memory that the loops see; None: on a CPU.
    """

    def __init__(
        self,
        symbol: Any,
        parameters: dict[str, Any],
        data: DataIter,
        optimizer: SGD,
        ctx: Any,
        share: Share = ALONE,
        shared: bool | None = None,
    ) -> None:
        self._share, self._store = share, share.kvstore([ctx])
        self.parameters, self._data, self._optimizer, self._ctx = parameters, data, optimizer, ctx
        self._shared = ctx.device_type == "cpu" if shared is None else shared
        # What a side's indices lie below: its shortest table, should a network of one's own have several.
        self._sizes = {side: n_rows(symbol, side) or 0 for side in ("user", "item")}
        sides = {table.weight: table.side for table in lookups(symbol)}
        self._bind(by_row(symbol), sides, data.provide_label[0].name)

    def _bind(self, symbol: Any, sides: dict[str, str], label: str) -> None:
        batch = self._share.n_of(self._data.batch_size)
        looked_up = {name: (batch, self.parameters[name].shape[1]) for name in sides}
        shapes, *_ = symbol.infer_shape(**looked_up, **{label: (batch,)})
        names, auxiliary = symbol.list_arguments(), symbol.list_auxiliary_states()
        bound = {name: mx.nd.zeros(shape, self._ctx) for name, shape in zip(names, shapes, strict=True)}
        gradients = {name: mx.nd.zeros(bound[name].shape, self._ctx) for name in names if name in self.parameters}
        mirror = {name: Mirror(array, self._shared) for name, array in bound.items()}
        tables: dict[str, list[_Table]] = {"user": [], "item": []}
        layers, exchanged = [], {}
        known = {name: index for index, name in self._optimizer.idx2name.items()}
        for name in gradients:
            array = self.parameters[name] = self.parameters[name].as_in_context(mx.cpu())
            gradient = Mirror(gradients[name], self._shared)
            moved = _Moved(name, known[name], array, self._optimizer)
            exchanged[name] = gradient
            if name in sides:
                tables[sides[name]].append(_Table(moved, array, mirror[name], gradient, self._data.batch_size))
                exchanged[name] = tables[sides[name]][-1].total
            else:
                mirror[name].host[...] = array.asnumpy()
                mirror[name].push()
                layers.append((moved, mirror[name], gradient))
        self._layers = _Layers(layers)
        self._sides = [_Side(of_side, self._data.batch_size, self._share) for of_side in tables.values()]
        self._exchanged = {name: of.array for name, of in exchanged.items()} if self._store else {}
        for name, array in self._exchanged.items():
            self._store.init(name, array)
        self._label, self._auxiliary = mirror[label], auxiliary
        self._executor = symbol.bind(
            self._ctx,
            bound,
            args_grad=gradients,
            grad_req={name: "write" if name in gradients else "null" for name in names},
            aux_states={name: self.parameters[name].as_in_context(self._ctx).copy() for name in auxiliary},
        )
        self._prediction = Mirror(self._executor.outputs[0], self._shared)

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        """As `DenseTrainer.epoch`."""
        self._optimizer.set_learning_rate(learning_rate)
        mx.nd.waitall()  # what was kept of the parameters is being copied
        data, looked = self._data, time.perf_counter()
        self._layers.begin()
        for side in self._sides:
            side.begin(data.n_batches)
        squared_error, done = 0.0, 0

        def rmse() -> float:
            return math.sqrt(squared_error / done) if squared_error >= 0 else math.nan

        for step, batch in enumerate(self._batches()):
            self._step(step, *batch)
            n = self._share.n_of(min(data.batch_size, data.n_streamed - step * data.batch_size))
            squared_error += _rows.squared_error(self._label.host, self._prediction.host.reshape(-1), n)
            done += n
            if time.perf_counter() - looked > TICK_SECONDS:
                tick(done, rmse)
                looked = time.perf_counter()
        for side in self._sides:
            side.end(data.n_batches)
        self.parameters.update(self._layers.parameters())
        for name in self._auxiliary:
            self.parameters[name] = self._executor.aux_dict[name].as_in_context(mx.cpu()).copy()
        return rmse()

    def _batches(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Users, items and ratings of each batch, within the tables."""
        size = self._data.batch_size
        for user, item, rating in self._data.columns():
            user, item = as_index_pairs(user, item, self._sizes, lowest=0)
            for start in range(0, len(rating), size):
                rows = slice(start, start + size)
                yield user[rows], item[rows], rating[rows]

    def _step(self, step: int, user: np.ndarray, item: np.ndarray, rating: np.ndarray) -> None:
        """Learn a batch, when so many were learned before."""
        for side, index in zip(self._sides, (user, item), strict=True):
            side.look_up(index, step)
        self._label.host[...] = rating[self._share.rank :: self._share.n_workers]
        self._label.push()
        self._compute()
        mx.nd.waitall()
        if self._exchanged:
            for side in self._sides:
                side.add_up()
            for name, array in self._exchanged.items():
                self._store.pushpull(name, [array])
            mx.nd.waitall()
        self._prediction.pull()
        for side in self._sides:
            side.move(step + 1, bool(self._exchanged))
        self._layers.move()

    def _compute(self) -> None:
        """Predictions and gradients. As ``forward`` and ``backward`` of the executor, which spend a tenth of a step on asking for
        outputs that are those they were.
        """
        mx.base.check_call(mx.base._LIB.MXExecutorForward(self._executor.handle, 1))
        mx.base.check_call(mx.base._LIB.MXExecutorBackwardEx(self._executor.handle, 0, None, 1))
