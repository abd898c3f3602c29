"""The kinds of model by the name that `fit`, the command line and saved folders give them, imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nnmf.config import TrainConfig

if TYPE_CHECKING:
    from nnmf.models import Model
    from nnmf.tables import Ratings
    from nnmf.training import Callback, TrainingProgress

_HOMES = {
    "network": ("nnmf.neural", "NetworkModel"),
    "funk_svd": ("nnmf.factorization", "FunkSVD"),
    "svd": ("nnmf.factorization", "SVD"),
    "svdpp": ("nnmf.factorization", "SVDpp"),
}
KINDS = tuple(_HOMES)
#: kinds whose name alone says what is trained; a network has a name of its own
FACTORIZATIONS = tuple(kind for kind in KINDS if kind != "network")


def model_class(kind: str) -> type[Model]:
    """The class of a kind of model; KeyError for another name."""
    module, name = _HOMES[kind]
    found: type[Model] = getattr(importlib.import_module(module), name)
    return found


def make_model(name: str, config: TrainConfig) -> Model:
    """An untrained model: "funk_svd", "svd", "svdpp", or a network's name or ``module:function``.

    Raises:
        ConfigError: an unknown name, or a setting the model has not.
    """
    if name in FACTORIZATIONS:
        return model_class(name)(config)
    from nnmf.neural import NetworkModel

    return NetworkModel(name, config)


def fit(
    model: str,
    train: Ratings,
    valid: Ratings | None = None,
    config: TrainConfig | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    progress: TrainingProgress | None = None,
    **settings: Any,
) -> Model:
    """Train a model on a table of ratings.

    Args:
        model: a network ("plain", "one_layer_mlp", "dropout_mlp", or ``module:function``) or a factorization ("funk_svd",
            "svd", "svdpp").
        train: the training ratings.
        valid: ratings to watch; with them the model of the epoch with the lowest validation RMSE is returned.
        config: settings; default: the model's own.
        callbacks: called after each epoch with its `EpochResult` and the model; one that answers True stops training.
        progress: told how the running epoch goes; for a bar, ``TrainingProgress()``.
        settings: single settings over ``config``, such as ``n_epochs=5``.

    Returns:
        The trained model.

    Raises:
        ConfigError: a setting or model that cannot be used.
        DataError: a table that cannot be trained on.
        TrainingError: training diverged.
        BackendError: MXNet or the device cannot be used.
    """
    values = {**(config.to_dict() if config else {}), **settings}
    made = make_model(model, TrainConfig.from_dict(values))
    return made.fit(train, valid, callbacks=callbacks, progress=progress)


def load(folder: Any, *, ctx: str | None = None) -> Model:
    from nnmf import storage

    return storage.load(folder, ctx=ctx)


def load_checkpoint(folder: Any, *, ctx: str | None = None) -> Model:
    from nnmf import storage

    return storage.load_checkpoint(folder, ctx=ctx)
