"""`NetworkModel`: a symbolic network as a model."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import math
import sys
import warnings
from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.config import TrainConfig
from nnmf.errors import BackendError, ConfigError, DataError
from nnmf.models import Catalogue, Model, from_state, own_scorer
from nnmf.networks import (
    NETWORKS,
    Network,
    build_network,
    check_graph,
    check_symbol,
    find_network,
    head_of,
    label_name,
    n_rows,
    name_of,
    network_settings,
    with_head,
)
from nnmf.storage import ModelState
from nnmf.training import Scorer, Snapshot

from ._checks import in_one_sentence
from ._distributed import DistributedLearner
from ._presets import PRESETS, defaults_of
from ._scorer import ARGUMENT, AUXILIARY, NetworkScorer

mx: Any = _mxnet.load()
logger = logging.getLogger("nnmf")

_SYMBOL = "model-symbol.json"
_LARGEST_INT = 2**31 - 1


class NetworkModel(Model):
    """A network of `nnmf.networks`, or one's own, trained by minibatch SGD with momentum.

    Objective: half the squared error ``e = (rating - mean) / unit - prediction``, averaged over the ratings, mean and spread of which
    (1.125 units) are those of the training table; `predict`, the saved symbol and the ONNX file answer ``mean + unit * prediction``.
    A row of n ratings of a table of users or items adds ``l2 / 2 * (n + 80)`` times its squared norm to the sum over the ratings, a bias
    ``l2 / 2 * (bias_l2 * n + 80)``; any other parameter, ``l2 / 2`` times its squared norm to their mean.

    Update, by batches of B rows, which follow the table unless ``batch_size`` is given:
    ``m = momentum * m - learning_rate * gradient``, ``w = w + m``; the learning rate of a batch that follows the table is for 64 rows, and
    tables of users and items take ``B / 64`` of it. Initial tables are normal with standard deviation ``init_std``, biases (tables whose
    parameter is named ``*bias_weight``) zero, layers drawn by Xavier's rule. Elements of the gradients of the ratings are cut off far
    beyond what 1 to 5 stars come to: of a layer at 0.5, of a table, all of whose batch is summed, at ``(32 + 4 m) / B``, m the ratings
    that its busiest user or item has in a batch.

    With ``temperature`` above 0 the steps carry noise and take all ratings at once (up to 262,144 of them), ``sweeps`` times an epoch,
    which leaves a draw of the parameters given the ratings; what the draws predict is averaged. A row pays ``l2 / 2 * 80`` times its squared norm, of which a bias pays
    the part ``bias_l2``, however many ratings it has.

    With ``preset="tutorial"``: no mean and no unit; ``l2 / 2`` times the squared norm of each parameter named ``*_weight`` at every step;
    initial values uniform from +-0.01, biases zero. A network that ends in LogisticRegressionOutput has no mean and unit either.

    Parameters
    ----------
    network : str or callable
        A registered name, ``module:function``, or the function itself.
    config : TrainConfig, default=None
        Settings; those at None take the preset's.
    **settings
        Single settings over ``config``, those that the network's function takes included.

    Attributes
    ----------
    network : str
        Its name.
    settings : dict
        What its function is called with.
    contexts, device
        The MXNet contexts that train, and a sentence that says which they are and why.
    ctx
        The first of them, which predicts.

    Raises
    ------
    ConfigError
        An unknown network, or a setting that neither training nor the network takes.
    """

    kind = "network"

    def __init__(self, network: str | Network, config: TrainConfig | None = None, **settings: Any) -> None:
        function = find_network(network)
        network = name_of(network)
        taken, names = network_settings(function), {entry.name for entry in dataclasses.fields(TrainConfig)}
        own = {name: settings.pop(name) for name in list(settings) if name in taken and name not in names}
        every = dict.fromkeys(
            [*TrainConfig.names_for({**taken, **defaults_of("fast", network, None, 1.0)}), *sorted(taken)]
        )
        given = TrainConfig.from_dict({**(config.to_dict() if config else {}), **settings}, every)
        defaults = {**taken, **defaults_of(given.preset or "fast", network, given.batch_size, given.temperature)}
        filled = given.with_defaults(f"network {network!r}", defaults)
        chosen = {name: getattr(filled, name, default) for name, default in taken.items()} | own
        self._check_settings(chosen)
        self._setup(network, chosen, filled)
        self._function: Network | None = function
        self._whole_batches = given.batch_size is not None

    @staticmethod
    def _check_settings(settings: dict[str, Any]) -> None:
        for name, value in settings.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise ConfigError(
                    f"{name}: got {value!r}, which a saved model could not hold; give numbers, texts, or lists of them."
                ) from None
            if isinstance(value, int) and abs(value) > _LARGEST_INT:
                raise ConfigError(f"{name}: got {value}; MXNet's layers count to {_LARGEST_INT:,}, give less.")

    def _setup(self, network: str, settings: dict[str, Any], config: TrainConfig) -> None:
        super().__init__(config)
        self.network, self.settings = network, settings
        self.contexts, self.device = _mxnet.contexts(config.ctx or "auto")
        self.ctx = self.contexts[0]

    def _setup_anywhere(self, network: str, settings: dict[str, Any], config: TrainConfig) -> None:
        """Set up on the device that the model was trained on, or on the CPU where that cannot be used."""
        try:
            self._setup(network, settings, config)
        except BackendError as error:
            if config.ctx in (None, "auto", "cpu"):
                raise
            self._setup(network, settings, dataclasses.replace(config, ctx="cpu"))
            logger.warning("%s. The model was trained on %s and is used on the cpu here.", error, config.ctx)

    @property
    def symbol(self) -> Any:
        """The network, once it is trained; None before."""
        return own_scorer(self.scorer).symbol if self._learned else None  # type: ignore[attr-defined]

    own_workers = True

    def check_cluster(self) -> None:
        if self.config.kvstore == "dist_async" and self.config.temperature:
            raise ConfigError(
                "kvstore: got 'dist_async' and a temperature, whose noise every worker would add; take dist_sync."
            )

    def learner(self, catalogue: Catalogue, start: Snapshot | None) -> DistributedLearner:
        logger.info("Device: %s", self.device)
        return DistributedLearner(
            self._build, self.config, catalogue, start, self.contexts, self._whole_batches and start is None
        )

    def _build(self, n_users: int, n_items: int) -> Any:
        if self._function is None and ":" in self.network:
            raise ConfigError(
                f"network: fit, and fit_more with new users or items, need {self.network!r} to be built anew, and what a folder "
                "or a pickle names is not imported unasked; give the function, as in nnmf.load(folder, network=function), or by "
                "model.take_network(function)."
            )
        return build_network(self._function or self.network, n_users, n_items, **self.settings)

    def state_shapes(self, scorer: Scorer) -> dict[str, tuple[int, ...]]:
        return {name: tuple(array.shape) for name, array in scorer.parameters.items()}

    def take_network(self, network: Any) -> None:
        self._function = find_network(network)

    def details(self) -> dict[str, Any]:
        mean, unit = head_of(self.symbol)
        return {"network": self.network, "settings": self.settings, "mxnet": mx.__version__, "mean": mean, "unit": unit}

    def texts(self) -> dict[str, str]:
        return {_SYMBOL: self.symbol.tojson()}

    # -- copies and pickles: the plain data of a saved model, so that what a GPU holds arrives on a machine without one --
    def __getstate__(self) -> dict[str, Any]:
        learned = self._learned
        return {
            "plain": {"network": self.network, "settings": self.settings, "config": self.config},
            "whole_batches": self._whole_batches,
            "function": self._function if _is_importable(self._function) else None,
            "state": None if learned is None else self.to_state(),
            "resumed": learned is not None and learned.answers.scorer is not learned.kept.scorer,
        }

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        if pickled["state"] is None:
            self._setup_anywhere(**pickled["plain"])
            self._learned = None
        else:
            made = from_state(type(self), pickled["plain"]["config"], pickled["state"], pickled["resumed"])
            self.__dict__.update(made.__dict__)
        self._function, self._whole_batches = pickled["function"], pickled["whole_batches"]

    def __copy__(self) -> NetworkModel:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkModel:
        made = type(self).__new__(type(self))
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        made._function = self._function
        return made

    @classmethod
    def from_details(cls, config: TrainConfig, state: ModelState) -> NetworkModel:
        network, settings = state.details.get("network"), state.details.get("settings")
        if not isinstance(network, str) or not isinstance(settings, dict):
            raise DataError("details: name no network and its settings.")
        if network in NETWORKS and set(settings) != set(network_settings(NETWORKS[network])):
            raise DataError(f"details: {sorted(settings)} are not the settings of the network {network!r}.")
        if config.preset is None:
            raise DataError("config: lacks preset.")
        # A setting that there was none of when the model was saved is the preset's.
        preset = PRESETS[config.preset]
        missing = {name: value for name, value in preset.items() if getattr(config, name) is None}
        config = dataclasses.replace(config, **missing)
        model = cls.__new__(cls)
        model._function, model._whole_batches = None, False
        model._setup_anywhere(network, settings, config)
        # The saved symbol serves; a network of one's own need not be importable where its model is used.
        model._saved_symbol = cls._read_symbol(state)
        return model

    _saved_symbol: Any = None

    @staticmethod
    def _read_symbol(state: ModelState) -> Any:
        if set(state.texts) != {_SYMBOL}:
            raise DataError(f"files: are {sorted(state.texts)} instead of {_SYMBOL}.")
        name, text = str(state.details["network"]), state.texts[_SYMBOL]
        head = _head(state.details)
        try:
            check_graph(text)
            if name in NETWORKS:
                # What this package can build itself, nobody's file need tell it.
                sizes = len(state.users), len(state.items)
                symbol = build_network(name, *sizes, **state.details["settings"])
                symbol = with_head(symbol, *head)
                if json.loads(symbol.tojson())["nodes"] != json.loads(text)["nodes"]:
                    raise DataError(f"{_SYMBOL}: is not the network {name!r} of {sizes[0]} users and {sizes[1]} items.")
                return symbol
            with in_one_sentence(DataError, f"{_SYMBOL}: is no network that MXNet can read"):
                symbol = mx.sym.load_json(text)
            check_symbol(symbol, name)
            if head_of(symbol) != head:
                raise DataError(
                    f"{_SYMBOL}: starts from {head_of(symbol)} instead of the details' mean and unit, {head}."
                )
        except (ConfigError, UnicodeError) as error:
            raise DataError(f"{_SYMBOL}: {error}") from None
        return symbol

    def scorer_of(self, catalogue: Catalogue, arrays: dict[str, np.ndarray], details: dict[str, Any]) -> NetworkScorer:
        symbol, sizes = self._saved_symbol, {"user": len(catalogue.users), "item": len(catalogue.items)}
        for side, n in sizes.items():
            # An index beyond its table would be answered by another row, without a word.
            if (rows := n_rows(symbol, side)) is not None and rows < n:
                raise DataError(f"{_SYMBOL}: has a table of {rows} {side}s where there are {n}.")
        states = set(symbol.list_auxiliary_states())
        with in_one_sentence(DataError, f"{_SYMBOL}: its shapes do not fit together"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MXNet's words for what the next sentence says
            found, _, found_states = symbol.infer_shape(user=(1,), item=(1,))
        if found is None:
            raise DataError(f"{_SYMBOL}: leaves the shape of a parameter open.")
        named = [*zip(symbol.list_arguments(), found, strict=True)]
        named += zip(symbol.list_auxiliary_states(), found_states, strict=True)
        shapes = {
            f"{AUXILIARY if name in states else ARGUMENT}{name}": tuple(shape)
            for name, shape in named
            if name not in ("user", "item", label_name(symbol))
        }
        if shapes.keys() != arrays.keys():
            raise DataError(f"parameters: are {sorted(arrays)} instead of {sorted(shapes)}.")
        for name, array in arrays.items():
            if array.shape != shapes[name] or array.dtype != np.float32:
                raise DataError(f"{name}: is {array.dtype} of shape {array.shape} instead of float32 {shapes[name]}.")
        parameters = {name[len(ARGUMENT) :]: mx.nd.array(array) for name, array in arrays.items()}
        scorer = NetworkScorer(symbol, parameters, sizes, self.ctx)
        with in_one_sentence(DataError, f"{_SYMBOL}: is no network that answers for a user and an item"):
            first = np.zeros(1, np.int32)
            scorer.predict(first, first)
        return scorer


def _head(details: dict[str, Any]) -> tuple[float, float]:
    """The mean and unit that the details of a state tell."""
    mean, unit = details.get("mean"), details.get("unit")
    sound = isinstance(mean, float) and isinstance(unit, float) and math.isfinite(mean) and 0 < unit < math.inf
    if not sound:
        raise DataError(f"details: got mean {mean!r} and unit {unit!r}; give finite numbers, the unit above zero.")
    return float(mean or 0.0), float(unit or 1.0)


def _is_importable(function: Any) -> bool:
    """Whether a pickle can name a function instead of holding it."""
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for name in getattr(function, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is not None and found is function
