"""`NetworkModel`: a symbolic network trained by `mx.model.FeedForward`."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nnmf import _mxnet
from nnmf._eval_metrics import RMSE
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, NnmfError, TrainingError
from nnmf.files import Writer
from nnmf.models import Model, Tick
from nnmf.networks import Network, build_network, find_network, label_name, network_settings
from nnmf.onnx import ExportedIds, export_onnx
from nnmf.tables import Ratings

from ._iterator import DataIter

mx: Any = _mxnet.load()
logger = logging.getLogger("nnmf")

# Rows predicted at once: enough to keep the cores busy, few enough that a wide layer's outputs stay near 100 MB.
_PREDICT_ROWS = 16_384
# Seconds between two looks at a running epoch; each makes training wait for the batches it has queued.
_TICK_SECONDS = 0.5
_quiet = logging.getLogger("nnmf.feedforward")
_quiet.propagate = False


@contextlib.contextmanager
def _in_one_sentence(kind: type[NnmfError], what: str) -> Iterator[None]:
    """Turn MXNet's error of many lines into one of ours, or into MemoryError where that is what it says."""
    try:
        yield
    except mx.MXNetError as error:
        text = str(error)
        if "llocate" in text or "bad_alloc" in text:
            raise MemoryError from None
        lines = [line for line in text.splitlines() if "rror" in line] or text.splitlines()
        raise kind(f"{what}: {lines[-1].strip()}") from error


class _SGD(mx.optimizer.SGD):
    """SGD whose momentum outlives a `fit`: FeedForward asks for new state each time, this answers with what it has."""

    def __init__(self, kept: dict[str, Any], **settings: Any) -> None:
        super().__init__(**settings)
        self.kept = kept
        # One update a parameter: on a CPU the fused update of several runs on one core, two of them run on two.
        self.aggregate_num = 1

    def create_state(self, index: int, weight: Any) -> Any:
        name = self.idx2name[index]
        if name not in self.kept:
            self.kept[name] = super().create_state(index, weight)
        return self.kept[name]


class NetworkModel(Model):
    """A network of `nnmf.networks`, or one's own, trained by minibatch SGD with momentum.

    Objective: half the squared error, summed over a batch and divided by its size, plus ``l2 / 2`` times the squared norm of
    each parameter named ``*_weight``. Update: ``m = momentum * m - learning_rate * gradient``, ``w = w + m``. Initial
    values are drawn uniformly from +-0.01, biases zero.

    Args:
        network: a registered name, ``module:function``, or the function itself.
        config: settings; those at None take the network's own defaults, else `defaults`.

    Attributes:
        symbol: the network, once there is a table to train on.

    Raises:
        ConfigError: an unknown network, or a setting it does not take.
    """

    kind = "network"
    suffix = "params"
    #: settings of the tutorial's training
    defaults: ClassVar[dict[str, Any]] = {
        "n_epochs": 10,
        "batch_size": 64,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "l2": 1e-4,
        "schedule": "constant",
        "last_batch": "pad",
        "negatives": 0,
        "ctx": "auto",
    }

    def __init__(self, network: str | Network, config: TrainConfig | None = None) -> None:
        function = find_network(network)
        settings = network_settings(function)
        if not isinstance(network, str):
            network = f"{network.__module__}:{network.__qualname__}"
        config = (config or TrainConfig()).with_defaults(f"network {network!r}", {**self.defaults, **settings})
        self._function: Network | None = function
        self._setup(network, {name: getattr(config, name, default) for name, default in settings.items()}, config)

    def _setup(self, network: str, settings: dict[str, Any], config: TrainConfig) -> None:
        super().__init__(config)
        self.network, self.settings = network, settings
        self._towers_of: tuple[Any, Any] | None = None
        self.symbol: Any = None
        self._momentum: dict[str, Any] = {}
        self.ctx, self.device = _mxnet.context(config.ctx or "auto")

    def _begin(self, train: Ratings) -> None:
        config = self.config
        logger.info("Device: %s", self.device)
        if not self.history:
            self.symbol = build_network(self._function or self.network, train.n_users, train.n_items, **self.settings)
        self._iter = DataIter(
            train,
            config.batch_size or 0,
            seed=config.seed,
            last_batch=config.last_batch or "pad",
            negatives=config.negatives or 0,
            label_name=label_name(self.symbol),
            ctx=self.ctx,
        )
        self.n_streamed = self._iter.n_streamed
        self._metric = RMSE(self.n_streamed)
        if not self.parameters:
            self.parameters = self._initial_values(config.seed)
        names = [name for name in self.symbol.list_arguments() if name in self.parameters]
        self._optimizer = _SGD(
            self._momentum,
            momentum=config.momentum,
            wd=config.l2,
            rescale_grad=1 / (config.batch_size or 1),
            param_idx2name=dict(enumerate(names)),
            sym=self.symbol,
        )

    def _initial_values(self, seed: int) -> dict[str, Any]:
        """Drawn values of every parameter and auxiliary state of the network, by name."""
        mx.random.seed(seed)
        inputs = ("user", "item", label_name(self.symbol))
        with _in_one_sentence(ConfigError, f"network: the shapes of {self.network!r} do not fit together"):
            shapes, _, aux_shapes = self.symbol.infer_shape(**dict.fromkeys(inputs, (1,)))
        attributes = self.symbol.attr_dict()
        named = [*zip(self.symbol.list_arguments(), shapes, strict=True)]
        named += zip(self.symbol.list_auxiliary_states(), aux_shapes, strict=True)
        initializer = mx.init.Uniform(0.01)
        values = {name: mx.nd.zeros(shape) for name, shape in named if name not in inputs}
        for name, value in values.items():
            try:
                initializer(mx.init.InitDesc(name, attributes.get(name)), value)
            except ValueError:
                raise ConfigError(
                    f"network: MXNet does not know how to initialise the parameter {name!r}; end its name in _weight or _bias, "
                    "or give its Variable an init."
                ) from None
        return values

    def _arguments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters as (arguments, auxiliary states)."""
        auxiliary = set(self.symbol.list_auxiliary_states())
        arguments = {name: array for name, array in self.parameters.items() if name not in auxiliary}
        return arguments, {name: self.parameters[name] for name in auxiliary}

    def _epoch(self, epoch: int, learning_rate: float, tick: Tick) -> float:
        # Order and dropout depend on (seed, epoch) alone, so that a resumed run needs no random state.
        mx.random.seed((self.config.seed + epoch * 1_000_003) % (2**31 - 1))
        self._iter.reset()
        self._iter.epoch = epoch - 1
        self._optimizer.set_learning_rate(learning_rate)
        arguments, auxiliary = self._arguments()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*FeedForward has been deprecated", DeprecationWarning)
            forward = mx.model.FeedForward(
                self.symbol,
                ctx=self.ctx,
                begin_epoch=epoch - 1,
                num_epoch=epoch,
                optimizer=self._optimizer,
                arg_params=arguments,
                aux_params=auxiliary,
            )
        self._looked = time.perf_counter()

        def batch_end(batch: Any) -> None:
            if time.perf_counter() - self._looked > _TICK_SECONDS:
                done = min(batch.nbatch * self._iter.batch_size, self._iter.n_streamed)
                tick(done, lambda: self._metric.get()[1])
                self._looked = time.perf_counter()

        with _in_one_sentence(TrainingError, "MXNet failed to train the network"):
            forward.fit(self._iter, eval_metric=self._metric, batch_end_callback=batch_end, logger=_quiet)
        self.parameters = {**forward.arg_params, **forward.aux_params}
        return self._metric.get()[1]

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        # The output layer's first input is the prediction; without the layer no label need be bound.
        return self._forward(self.symbol.get_children()[0], {"user": user, "item": item}).reshape(len(user))

    def _forward(self, symbol: Any, columns: dict[str, np.ndarray]) -> np.ndarray:
        """What a part of the network answers, row by row, for columns of indices of one length."""
        wanted = set(symbol.list_arguments())
        arguments, auxiliary = self._arguments()
        arguments = {name: array.as_in_context(self.ctx) for name, array in arguments.items() if name in wanted}
        states = {name: auxiliary[name].as_in_context(self.ctx) for name in symbol.list_auxiliary_states()}
        n = len(next(iter(columns.values())))
        n_rows = min(_PREDICT_ROWS, n)
        inputs = {name: mx.nd.zeros((n_rows,), self.ctx, np.int32) for name in columns}
        executor = symbol.bind(self.ctx, {**arguments, **inputs}, grad_req="null", aux_states=states)
        answer: np.ndarray | None = None
        for start in range(0, n, n_rows):
            # The last block reaches back over rows already answered rather than be bound at a size of its own.
            rows = slice(min(start, n - n_rows), min(start, n - n_rows) + n_rows)
            for name, column in columns.items():
                inputs[name][:] = column[rows]
            block = executor.forward(is_train=False)[0].asnumpy()
            if answer is None:
                answer = np.empty((n, *block.shape[1:]), np.float32)
            answer[rows] = block
        assert answer is not None
        return answer

    def _towers(self) -> tuple[np.ndarray, np.ndarray] | None:
        # Found once for the parameters as they are; each epoch brings others.
        if self._towers_of is None or self._towers_of[0] is not self.parameters:
            self._towers_of = (self.parameters, self._find_towers())
        found: tuple[np.ndarray, np.ndarray] | None = self._towers_of[1]
        return found

    def _find_towers(self) -> tuple[np.ndarray, np.ndarray] | None:
        names = self.symbol.get_internals().list_outputs()
        if not {"user_tower_output", "item_tower_output"} <= set(names):
            return None
        user, item = self._tower("user", self.n_users), self._tower("item", self.n_items)
        # A network of one's own may use the names for something else: its predictions must be the products.
        rng = np.random.default_rng(0)
        sample = [rng.integers(0, n, 64).astype(np.int32) for n in (self.n_users, self.n_items)]
        if user.shape[1:] != item.shape[1:]:
            return None
        products = (user[sample[0]] * item[sample[1]]).sum(1)
        return (user, item) if np.allclose(products, self._predict(*sample), rtol=1e-3, atol=1e-4) else None

    def _tower(self, side: str, n: int) -> np.ndarray:
        """Output of a side's tower for every index: float32 array of shape (n, width)."""
        tower = self.symbol.get_internals()[f"{side}_tower_output"]
        return self._forward(tower, {side: np.arange(n, dtype=np.int32)})

    def _vectors(self) -> dict[str, np.ndarray]:
        towers = self._towers()
        return {} if towers is None else {"user_factors": towers[0], "item_factors": towers[1]}

    def _grow(self, n_users: int, n_items: int) -> None:
        old_parameters, old_momentum = self.parameters, self._momentum
        self.symbol = build_network(self._function or self.network, n_users, n_items, **self.settings)
        self.parameters = self._initial_values(seed=self.config.seed + len(self.history))
        self._momentum = {name: mx.nd.zeros(self.parameters[name].shape, self.ctx) for name in old_momentum}
        for new, old in ((self.parameters, old_parameters), (self._momentum, old_momentum)):
            for name, array in old.items():
                if new[name].shape == array.shape:
                    new[name] = array
                else:
                    new[name][: len(array)] = array.as_in_context(new[name].context)

    def _export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        export_onnx(self.symbol, self.parameters, path, ids=ids, metadata=metadata)

    def _state(self) -> dict[str, Any]:
        return {name: momentum for name, momentum in self._momentum.items() if momentum is not None}

    def _set_state(self, arrays: dict[str, Any]) -> None:
        self._momentum = {name: array.as_in_context(self.ctx) for name, array in arrays.items()}

    def _files(self) -> dict[str, Writer]:
        return {"model-symbol.json": lambda path: self.symbol.save(str(path))}

    def _content(self) -> dict[str, Any]:
        return {"network": self.network, "settings": self.settings, "mxnet": mx.__version__}

    @classmethod
    def _from_content(cls, content: dict[str, Any], config: TrainConfig, folder: Path) -> NetworkModel:
        model = cls.__new__(cls)
        model._function = None
        # The saved symbol serves; a network of one's own need not be importable where its model is used.
        model._setup(content["network"], content["settings"], config)
        model.symbol = mx.sym.load(str(folder / "model-symbol.json"))
        return model

    def _read_arrays(self, path: Path) -> dict[str, Any]:
        return {name.partition(":")[2]: array for name, array in mx.nd.load(str(path)).items()}

    def _write_arrays(self, arrays: dict[str, Any], path: Path) -> None:
        auxiliary = set(self.symbol.list_auxiliary_states())
        named = {f"{'aux' if name in auxiliary else 'arg'}:{name}": array for name, array in arrays.items()}
        try:
            mx.nd.save(str(path), named)
        except mx.MXNetError:
            raise OSError(errno.EIO, "MXNet could not write it, the disk may be full") from None
