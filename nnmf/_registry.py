"""The registry of the networks: a network by its name, its settings, its symbol."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nnmf import _mxnet
from nnmf._symbols import check_symbol
from nnmf.errors import ConfigError, NnmfError, one_of

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

__all__ = ["NETWORKS", "TUTORIAL", "Network", "build_network", "find_network", "name_of", "network", "network_settings"]

Network = Callable[..., "Symbol"]

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
