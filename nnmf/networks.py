"""The networks: functions that return an MXNet `Symbol` ending in ``LinearRegressionOutput``.

Each has the inputs ``user`` and ``item`` (index arrays of shape (batch_size,)) and the label ``rating`` (batch_size,), and
outputs predictions of shape (batch_size,). A network is the dot product of two towers, the nodes named ``user_tower`` and
``item_tower``; what looks for the nearest items or ranks them all needs just those.

A network of your own is one function with the arguments ``n_users`` and ``n_items`` first and its settings as keywords with
defaults, registered with `network` or named ``module:function``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nnmf import _mxnet
from nnmf._drawing import draw
from nnmf._layers import biased, embedding, indices, layer, product, relu, squared_loss
from nnmf._symbols import (
    OUTPUT_LAYERS,
    check_graph,
    check_symbol,
    head_of,
    label_name,
    lookups,
    n_rows,
    output_layer,
    penalised,
    prediction_of,
    with_head,
)
from nnmf.errors import ConfigError, NnmfError, one_of

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

__all__ = [
    "NETWORKS",
    "OUTPUT_LAYERS",
    "TUTORIAL",
    "Network",
    "biased_mlp",
    "biased_net",
    "build_network",
    "check_graph",
    "check_symbol",
    "draw",
    "dropout_mlp",
    "find_network",
    "head_of",
    "label_name",
    "lookups",
    "n_rows",
    "name_of",
    "network",
    "network_settings",
    "one_layer_mlp",
    "output_layer",
    "penalised",
    "plain_net",
    "prediction_of",
    "with_head",
]

Network = Callable[..., "Symbol"]

_mxnet.mend_numpy()  # so that ``import mxnet as mx``, as the tutorial begins, works from here on

#: the registered networks by name
NETWORKS: dict[str, Network] = {}
#: those of MXNet's tutorial
TUTORIAL = ("plain", "one_layer_mlp", "dropout_mlp")


def network(name: str) -> Callable[[Network], Network]:
    """Decorator that registers a network under a name, for `fit` and the command line."""

    def register(function: Network) -> Network:
        NETWORKS[name] = function
        return function

    return register


@network("plain")
def plain_net(n_users: int, n_items: int, n_factors: int = 64) -> Symbol:
    """Dot product of a user and an item embedding: ``prediction = p_u . q_i``.

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=64
        Width of the embeddings.

    References
    ----------
    Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", 2009, equation 1; MXNet's tutorial
    "Matrix Factorization", ``plain_net``.
    """
    index = indices()
    return _dot(
        embedding(index["user"], n_users, n_factors, name="user_tower"),
        embedding(index["item"], n_items, n_factors, name="item_tower"),
        n_factors,
    )


@network("one_layer_mlp")
def one_layer_mlp(n_users: int, n_items: int, n_factors: int = 64, hidden_units: int = 64) -> Symbol:
    """Dot product of two towers, each an embedding, a ReLU and a fully connected layer.

    ``prediction = (A relu(p_u) + a) . (B relu(q_i) + b)``

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=64
        Width of the embeddings.
    hidden_units : int, default=64
        Width of the layer above them.

    References
    ----------
    MXNet's tutorial "Matrix Factorization", ``get_one_layer_mlp``.
    """
    index = indices()
    return _dot(
        layer(index["user"], n_users, n_factors, hidden_units, name="user_tower"),
        layer(index["item"], n_items, n_factors, hidden_units, name="item_tower"),
        hidden_units,
    )


@network("dropout_mlp")
def dropout_mlp(
    n_users: int, n_items: int, n_factors: int = 512, hidden_units: int = 256, dropout: float = 0.5
) -> Symbol:
    """`one_layer_mlp` whose towers' outputs are dropped with probability ``dropout`` in training.

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=512
        Width of the embeddings.
    hidden_units : int, default=256
        Width of the layer above them.
    dropout : float, default=0.5
        Probability with which an output is dropped, in [0, 1); what is kept is scaled by 1 / (1 - dropout).

    References
    ----------
    MXNet's tutorial "Matrix Factorization", ``get_one_layer_dropout_mlp`` (which its run never trains).
    """
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout: got {dropout}; give a probability of at least 0 and below 1.")
    mx = _mxnet.load()
    index = indices()
    user = layer(index["user"], n_users, n_factors, hidden_units, name="user_layer")
    item = layer(index["item"], n_items, n_factors, hidden_units, name="item_layer")
    index = indices()
    return _dot(
        mx.sym.Dropout(user, p=dropout, name="user_tower"),
        mx.sym.Dropout(item, p=dropout, name="item_tower"),
        hidden_units,
    )


@network("biased")
def biased_net(n_users: int, n_items: int, n_factors: int = 32) -> Symbol:
    """`plain_net` with a bias of each user and of each item: ``prediction = b_u + b_i + p_u . q_i``.

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=32
        Width of the embeddings.

    References
    ----------
    Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", 2009, equation 4.
    """
    index = indices()
    user, item = (
        embedding(index[side], n, n_factors, f"{side}_tower") for side, n in (("user", n_users), ("item", n_items))
    )
    return squared_loss(biased(index, product(user, item, n_factors, "dot"), n_users, n_items))


@network("biased_mlp")
def biased_mlp(n_users: int, n_items: int, n_factors: int = 32) -> Symbol:
    """`biased_net` whose towers are an embedding and what a ReLU and a fully connected layer add to it.

    ``prediction = b_u + b_i + (p_u + A relu(p_u)) . (q_i + B relu(q_i))``

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=32
        Width of the embeddings, and of the layers.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016: what is added to its own input begins as little.
    """
    mx, index = _mxnet.load(), indices()
    towers = []
    for side, n in (("user", n_users), ("item", n_items)):
        rows = embedding(index[side], n, n_factors, f"{side}_embedding")
        more = mx.sym.FullyConnected(relu(rows, side), num_hidden=n_factors, no_bias=True, name=f"{side}_layer")
        towers.append(mx.sym.elemwise_add(rows, more, name=f"{side}_tower"))
    return squared_loss(biased(index, product(towers[0], towers[1], n_factors, "dot"), n_users, n_items))


def _dot(user: Symbol, item: Symbol, width: int) -> Symbol:
    return squared_loss(product(user, item, width))


def find_network(name: str | Network) -> Network:
    """The network of a registered name or of ``module:function`` (a module on the path or in the current folder).

    A function is a network as it is.

    Raises
    ------
    ConfigError
        A name that is not registered, a module that cannot be imported or lacks the function.
    """
    if not isinstance(name, str):
        if not callable(name):
            raise ConfigError(f"network: got a {type(name).__name__}; give a name or a function that returns a Symbol.")
        return name
    if ":" not in name:
        if name not in NETWORKS:
            raise ConfigError(one_of(name, NETWORKS, "network") + ", or 'module:function' for a network of your own.")
        return NETWORKS[name]
    module_name, _, attribute = name.partition(":")
    # A network's module imports mxnet itself, which takes what `load` does first.
    _mxnet.load()
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"network: importing {module_name!r} for {name!r} failed: {type(error).__name__}: {reason}"
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ConfigError(f"network: module {module_name!r} has no function {attribute!r}.")
    return cast(Network, found)


def name_of(network: str | Network) -> str:
    """A network's name: its own, or its function's ``module:function``."""
    if isinstance(network, str):
        return network
    of = network if hasattr(network, "__qualname__") else type(network)
    return f"{of.__module__}:{of.__qualname__}"


def network_settings(function: Network) -> dict[str, Any]:
    """The keyword settings a network takes, with their defaults."""
    parameters = list(inspect.signature(function).parameters.values())
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def build_network(name: str | Network, n_users: int, n_items: int, **settings: Any) -> Symbol:
    """The symbol of a network.

    Parameters
    ----------
    name : str or callable
        As `find_network` takes it.
    n_users, n_items : int
        Sizes of the embedding tables.
    **settings
        What else its function is called with.

    Raises
    ------
    ConfigError
        An unknown network, a setting it does not take, or a result that cannot be trained here.
    """
    function, name = find_network(name), name_of(name)
    known = network_settings(function)
    for setting in settings:
        if setting not in known:
            raise ConfigError(f"{setting}: network {name!r} has no such setting; it has {sorted(known)}.")
    mx = _mxnet.load()
    try:
        with mx.name.NameManager():  # layers without a name are numbered from 0 at each build
            symbol = function(n_users, n_items, **settings)
    except NnmfError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(f"network: {name!r} failed with {type(error).__name__}: {reason}") from error
    if not isinstance(symbol, mx.sym.Symbol):
        raise ConfigError(f"network: {name!r} returned {type(symbol).__name__}, not an MXNet Symbol.")
    check_symbol(symbol, name)
    return symbol
