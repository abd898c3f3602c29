"""`NetworkLearner`: trains a symbolic network by minibatch SGD with momentum."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, TrainingError
from nnmf.models import Catalogue
from nnmf.networks import SEEN, head_of, label_name, n_rows, why_not_by_row, with_head
from nnmf.ranking import UserItems
from nnmf.tables import Ratings
from nnmf.training import Learner, Sample, Snapshot, Tick

from ._checks import advice_of, check_range, in_one_sentence
from ._dense import DenseTrainer
from ._iterator import DataIter
from ._langevin import draws, langevin, rows_a_draw
from ._scorer import NetworkScorer
from ._shares import ALONE, Share, check_devices
from ._steps import (
    busiest,
    initializers,
    is_tutorial,
    level,
    optimizer,
    other_initializer,
    rows_a_batch,
    with_penalties,
)

mx: Any = _mxnet.load()
logger = logging.getLogger("nnmf")

# Users and items for each rating of a batch from which on steps go over its rows alone. A card is sent rows at each step and
# sends their gradients back, which only large tables are worth (a guess: it was never run on one).
_ROWS_A_RATING = {"cpu": 1, "gpu": 256}
# Elements that an array of MXNet may have.
_MAX_ELEMENTS = 2**31 - 2
# Each step goes over all parameters: beyond so many for each rating of a batch, that is what a training's time goes to.
_MANY_PARAMETERS, _FEW_PARAMETERS = 30_000, 1_000
# Steps an epoch below which larger batches would learn too little.
_FEWEST_STEPS = 50
# Errors are measured in units of the ratings' spread, by the square of it.
_SMALLEST_UNIT = 1e-18
_FAILED = "MXNet failed to train the network"


class NetworkLearner(Learner):
    """Trains a network; see `NetworkModel`.

    Parameters
    ----------
    build : callable
        Makes the network's symbol for numbers of users and items.
    config : TrainConfig
    catalogue : Catalogue
        Whose sizes the tables get.
    start : Snapshot or None
        What to go on from.
    contexts : list of Context
        Which share each batch, and of which the first holds what is kept.
    whole_batches : bool
        Refuse a table of fewer ratings than a batch; else its batches are as many ratings as it has.
    share : Share
        This process's part of the training.

    Raises
    ------
    ConfigError
        A network that cannot be built, or has an array of more elements than MXNet can hold.
    """

    def __init__(
        self,
        build: Callable[[int, int], Any],
        config: TrainConfig,
        catalogue: Catalogue,
        start: Snapshot | None,
        contexts: list[Any],
        whole_batches: bool,
        share: Share = ALONE,
    ) -> None:
        self.config, self._whole_batches, self._anew = config, whole_batches, start is None
        self._contexts, self._share, self.ctx = contexts, share, contexts[0]
        self.sizes = {"user": len(catalogue.users), "item": len(catalogue.items)}
        self._seen = catalogue.seen
        self.parameters: dict[str, Any] = {}
        self._momentum: dict[str, Any] = {}
        if start is None:
            self.symbol = build(*self.sizes.values())
            self.parameters = self._initial_values(config.seed)
            return
        assert isinstance(start.scorer, NetworkScorer)
        momentum = {name: mx.nd.array(array, self.ctx) for name, array in start.state.items()}
        if start.scorer.sizes == self.sizes:
            own = start.scorer.copy()
            self.symbol, self.parameters, self._momentum = own.symbol, dict(own.parameters), momentum
            return
        self.symbol = with_head(build(*self.sizes.values()), *head_of(start.scorer.symbol))
        self.parameters = self._initial_values(config.seed + start.epoch)
        if self.parameters.keys() != start.scorer.parameters.keys():
            raise ConfigError(
                f"network: its parameters are {sorted(self.parameters)}, the model's are {sorted(start.scorer.parameters)}; give "
                "the function that the model was made with."
            )
        self._momentum = {name: mx.nd.zeros(self.parameters[name].shape, self.ctx) for name in momentum}
        for new, old in ((self.parameters, start.scorer.parameters), (self._momentum, momentum)):
            for name, array in old.items():
                if name == SEEN:
                    continue
                if new[name].shape[1:] != array.shape[1:] or len(new[name]) < len(array):
                    raise ConfigError(
                        f"network: its parameter {name!r} is of shape {array.shape} and would be {new[name].shape} for the new "
                        "users and items, so what was learned has no place there; train anew with fit."
                    )
                # Tables grow; what has no row for each user or item stays.
                new[name][: len(array)] = array.as_in_context(new[name].context)

    def _initial_values(self, seed: int) -> dict[str, Any]:
        """Drawn values of every parameter and auxiliary state of the network, by name."""
        mx.random.seed(seed)
        inputs = ("user", "item", label_name(self.symbol))
        with in_one_sentence(ConfigError, f"network: the shapes of {self.symbol.name!r} do not fit together"):
            shapes, _, aux_shapes = self.symbol.infer_shape(**dict.fromkeys(inputs, (1,)))
        for side, n in self.sizes.items():
            if (
                rows := n_rows(self.symbol, side)
            ) is not None and rows < n:  # MXNet answers for an index beyond by another row
                raise ConfigError(
                    f"network: its table of {side}s has {rows} rows where there are {n} {side}s; take its size from n_{side}s."
                )
        attributes = self.symbol.attr_dict()
        named = [*zip(self.symbol.list_arguments(), shapes, strict=True)]
        named += zip(self.symbol.list_auxiliary_states(), aux_shapes, strict=True)
        for name, shape in named:
            if math.prod(shape) > _MAX_ELEMENTS:
                raise ConfigError(
                    f"network: {name} of shape {tuple(shape)} has {math.prod(shape):,} elements, MXNet holds {_MAX_ELEMENTS:,} "
                    "in an array; take narrower vectors (n_factors), or a factorization, which has no such bound."
                )
        values = {name: mx.nd.zeros(shape) for name, shape in named if name not in inputs}
        drawn = initializers(self.symbol, self.config)
        for name, value in values.items():
            if name == SEEN:
                continue
            initializer = drawn.get(name) or other_initializer(self.config, value.shape)
            try:
                initializer(mx.init.InitDesc(name, attributes.get(name)), value)
            except ValueError:
                raise ConfigError(
                    f"network: MXNet does not know how to initialise the parameter {name!r}; end its name in _weight or _bias, "
                    "or give its Variable an init."
                ) from None
        return values

    def _fill_seen(self, seen: UserItems) -> None:
        """Tell the network which pairs were rated, where it asks."""
        if SEEN in self.parameters:
            table = np.zeros(self.parameters[SEEN].shape, np.float32)
            table[np.repeat(np.arange(seen.n_users), seen.n_items), seen.item] = 1.0
            self.parameters[SEEN] = mx.nd.array(table)

    def begin(self, train: Ratings) -> None:
        self._prepare(train)
        self.stream(train, self._batch_size(train))

    def _prepare(self, train: Ratings) -> None:
        """Make the network that of a table, whose mean and spread it starts from."""
        config = self.config
        self._fill_seen(self._seen)
        check_range(self.symbol, train)
        if is_tutorial(config):
            self.advice = advice_of(train)
        elif self._anew:
            mean, unit = level(train, config.negatives or 0)
            if not _SMALLEST_UNIT < unit < 1 / _SMALLEST_UNIT:
                raise ConfigError(
                    f"{train.name}: its ratings spread by {unit:.3g}, the square of which MXNet's float32 cannot hold; "
                    f"divide them by {unit:.0e}, or leave out what is no rating."
                )
            self.symbol = with_head(self.symbol, mean, unit)

    def stream(self, train: Ratings, batch_size: int) -> None:
        """Make what takes the steps of an epoch in this process, of so many rows each, its share of them among other workers."""
        config, share = self.config, self._share
        check_devices(batch_size, self._contexts)
        # Of rows that a batch looks up each worker moves all, so it sees the others' ratings, too. What workers fill up of a table of
        # few ratings, for all to have as many, goes over whole tables.
        fits = batch_size <= len(train) * (1 + (config.negatives or 0))
        by_rows = self._trains_rows(batch_size) and fits
        self._iter = DataIter(
            train,
            batch_size if by_rows else share.rows_of_worker(batch_size),
            seed=config.seed,
            last_batch=config.last_batch or "pad",
            negatives=config.negatives or 0,
            rank=0 if by_rows else share.rank,
            n_workers=1 if by_rows else share.n_workers,
            label_name=label_name(self.symbol),
            ctx=self.ctx,
        )
        n_rows = self._iter.n_streamed if by_rows else share.rows_of_all(self._iter)
        self.n_streamed = share.n_of(n_rows) if by_rows else self._iter.n_streamed
        trained = with_penalties(self.symbol, config)
        names = [name for name in trained.list_arguments() if name in self.parameters]
        if draws(config):
            shapes = {name: tuple(self.parameters[name].shape) for name in names}
            self._optimizer: Any = langevin(self.symbol, shapes, config, self._momentum, train, n_rows, batch_size)
            self._sample = Sample(train)
        else:
            self._optimizer = optimizer(self.symbol, names, config, self._momentum, n_rows, batch_size, busiest(train))
        settings = trained, self.parameters, self._iter, self._optimizer
        if by_rows:
            from ._sparse import SparseTrainer  # and with it Numba, which nothing else here needs

            with in_one_sentence(TrainingError, _FAILED):
                self._trainer: Any = SparseTrainer(*settings, self.ctx, share)
        else:
            self._trainer = DenseTrainer(*settings, self._contexts, config.sweeps or 1, share)

    def _trains_rows(self, batch_size: int) -> bool:
        """Whether steps go over the rows of a batch instead of over whole tables; refuses to where it cannot be."""
        why_not = why_not_by_row(self.symbol)
        if draws(self.config):
            why_not = "its steps carry noise (temperature)"
        elif len(self._contexts) > 1:
            why_not = "several devices share a batch"
        elif self.config.kvstore == "dist_async" and self._share is not ALONE:
            why_not = "its workers do not wait for one another (kvstore)"
        if self.config.sparse == "on" and why_not:
            raise ConfigError(f"sparse: got 'on', but the network cannot be trained by rows: {why_not}; leave it out.")
        few = sum(self.sizes.values()) < _ROWS_A_RATING[self.ctx.device_type] * batch_size
        return not why_not and (self.config.sparse == "on" or (self.config.sparse == "auto" and not few))

    def _batch_size(self, train: Ratings) -> int:
        """Rows a batch; says so where they are fewer than the settings', or few against the parameters."""
        n_rows, batch_size = len(train) * (1 + (self.config.negatives or 0)), self.config.batch_size
        n_elements = sum(array.size for array in self.parameters.values())
        if batch_size is None:
            return rows_a_draw(n_rows) if draws(self.config) else rows_a_batch(n_rows, n_elements)
        if self._whole_batches:
            return batch_size
        if batch_size > n_rows:
            logger.info("Batches of %d: all that %s has of ratings.", n_rows, train.name)
            return n_rows
        larger = 2 ** int(math.log2(max(1, min(n_elements / _FEW_PARAMETERS, n_rows / _FEWEST_STEPS))))
        many = n_elements > _MANY_PARAMETERS * batch_size and not self._trains_rows(batch_size)
        if self._anew and many and larger >= 2 * batch_size:
            logger.warning(
                "Each step goes over all %s parameters for %d ratings; with batch_size=%d (--batch-size %d) an epoch takes a "
                "fraction of the time, in fewer steps, which may want a higher learning_rate.",
                f"{n_elements:,}",
                batch_size,
                larger,
                larger,
            )
        return batch_size

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        # Order and dropout depend on (seed, epoch) alone, so that a resumed run needs no random state.
        mx.random.seed((self.config.seed + number * 1_000_003 + self._share.rank * 10_007) % (2**31 - 1))
        self._iter.reset()
        self._iter.epoch = number - 1
        if draws(self.config):
            # A draw's errors are as large as the noise; found anew, so that a resumed run needs no state of it.
            error = self._sample.rmse(self.scorer()) / head_of(self.symbol)[1]
            self._optimizer.begin_epoch(self.config.seed, number, (self.config.temperature or 0.0) * error * error)
        with in_one_sentence(TrainingError, _FAILED):
            return self._trainer.epoch(number, learning_rate, tick)

    def scorer(self) -> NetworkScorer:
        return NetworkScorer(self.symbol, self.parameters, self.sizes, self.ctx)

    def snapshot(self) -> NetworkScorer:
        return self.scorer().copy()

    def state(self) -> dict[str, np.ndarray]:
        return {name: momentum.asnumpy() for name, momentum in self._momentum.items() if momentum is not None}

    def end(self) -> None:
        # An interrupt leaves batches under way: nothing that they read or write may go before they are done.
        with contextlib.suppress(mx.MXNetError):
            mx.nd.waitall()
        for name in ("_iter", "_trainer", "_optimizer"):
            self.__dict__.pop(name, None)
