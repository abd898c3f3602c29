"""The kinds of model by the name that `fit`, the command line and saved folders give them, imported when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .config import TrainConfig

if TYPE_CHECKING:
    from .model import Model

_HOMES = {
    "network": ("network_model", "NetworkModel"),
    "funk_svd": ("svd", "FunkSVD"),
    "svd": ("svd", "SVD"),
    "svdpp": ("svd", "SVDpp"),
}
KINDS = tuple(_HOMES)
#: kinds whose name alone says what is trained; a network has a name of its own
FACTORIZATIONS = tuple(kind for kind in KINDS if kind != "network")


def model_class(kind: str) -> type[Model]:
    """The class of a kind of model; KeyError for another name."""
    module, name = _HOMES[kind]
    found: type[Model] = getattr(importlib.import_module(f".{module}", __package__), name)
    return found


def make_model(name: str, config: TrainConfig) -> Model:
    """An untrained model: "funk_svd", "svd", "svdpp", or a network's name or ``module:function``.

    Raises:
        ConfigError: an unknown name, or a setting the model has not.
    """
    if name in FACTORIZATIONS:
        return model_class(name)(config)
    from .network_model import NetworkModel

    return NetworkModel(name, config)
