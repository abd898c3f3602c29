"""nnmf: neural matrix factorization on Apache MXNet. The public names, imported when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .config import DataConfig as DataConfig
    from .config import TrainConfig as TrainConfig
    from .data import Ratings as Ratings
    from .iterator import DataIter as DataIter
    from .network_model import NetworkModel as NetworkModel
    from .saving import load as load
    from .saving import load_checkpoint as load_checkpoint
    from .svd import SVD as SVD
    from .svd import FunkSVD as FunkSVD
    from .svd import SVDpp as SVDpp
    from .train import fit as fit

_HOMES = {
    "DataConfig": "config",
    "TrainConfig": "config",
    "Ratings": "data",
    "DataIter": "iterator",
    "NetworkModel": "network_model",
    "SVD": "svd",
    "FunkSVD": "svd",
    "SVDpp": "svd",
    "fit": "train",
    "load": "saving",
    "load_checkpoint": "saving",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
