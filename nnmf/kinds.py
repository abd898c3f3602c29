"""The kinds of model by the name that `fit`, the command line and saved folders give them, imported when asked for."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmf import _mxnet
from nnmf._version import __version__
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, DataError, one_of

if TYPE_CHECKING:
    from nnmf.models import Model
    from nnmf.storage import ModelState, RunFolder
    from nnmf.tables import Ratings
    from nnmf.training import Callback, Progress

__all__ = [
    "FACTORIZATIONS",
    "KINDS",
    "fit",
    "known_name",
    "load",
    "load_checkpoint",
    "load_run",
    "make_model",
    "model_class",
]

_HOMES = {
    "network": ("nnmf.neural", "NetworkModel"),
    "funk_svd": ("nnmf.factorization", "FunkSVD"),
    "svd": ("nnmf.factorization", "SVD"),
    "svdpp": ("nnmf.factorization", "SVDpp"),
    "bayes": ("nnmf.factorization", "Bayes"),
}
KINDS = tuple(_HOMES)
#: kinds whose name alone says what is trained; a network has a name of its own
FACTORIZATIONS = tuple(kind for kind in KINDS if kind != "network")


def model_class(kind: str) -> type[Model]:
    """The class of a kind of model; KeyError for another name."""
    module, name = _HOMES[kind]
    found: type[Model] = getattr(importlib.import_module(module), name)
    return found


def make_model(name: str | Callable[..., Any], config: TrainConfig | None = None, **settings: Any) -> Model:
    """An untrained model.

    Parameters
    ----------
    name : str or callable
        "funk_svd", "svd", "svdpp" or their classes, a network's name or ``module:function``, or its function; of names
        neither case nor "_" and "-" count.
    config : TrainConfig, default=None
        Settings; default: the model's own.
    **settings
        Single settings over ``config``.

    Raises
    ------
    ConfigError
        An unknown name, or a setting the model has not.
    """
    if isinstance(name, str):
        name = known_name(name, FACTORIZATIONS)
        if name in FACTORIZATIONS:
            return _of_class(model_class(name), config, settings)
        if ":" not in name:
            from nnmf.networks import NETWORKS

            name = known_name(name, NETWORKS)
            if name not in NETWORKS:
                raise ConfigError(
                    one_of(name, [*NETWORKS, *FACTORIZATIONS], "network")
                    + ", or 'module:function' for a network of your own."
                )
    elif getattr(name, "kind", None) in KINDS:
        return _of_class(name, config, settings)
    from nnmf.neural import NetworkModel

    return NetworkModel(name, config, **settings)


def _of_class(given: Any, config: TrainConfig | None, settings: dict[str, Any]) -> Model:
    """An untrained model of a factorization's class."""
    if not isinstance(given, type):
        raise ConfigError(f"model: got {given!r}; a model has its own fit: model.fit(train, valid).")
    if given.kind == "network":  # type: ignore[attr-defined] # only classes that have one come here
        raise ConfigError("model: got the class of all networks; give a network's name or function.")
    made: Model = given(config, **settings)
    return made


def known_name(name: str, names: Iterable[str]) -> str:
    """The one of ``names`` that is the same but for case, "_" and "-", and "++" for "pp"; else the name given."""
    return next((known for known in names if _bare(known) == _bare(name)), name)


def _bare(name: str) -> str:
    return re.sub("[_-]", "", name).replace("++", "pp").lower()


def fit(
    model: str | Callable[..., Any],
    train: Ratings,
    valid: Ratings | None = None,
    config: TrainConfig | None = None,
    *,
    test: Ratings | None = None,
    callbacks: Iterable[Callback] = (),
    progress: Progress | bool | None = None,
    cluster: Any = None,
    **settings: Any,
) -> Model:
    """Train a model on a table of ratings.

    Parameters
    ----------
    model : str or callable
        A network ("biased_mlp", "biased", "histories", "plain", "one_layer_mlp", "dropout_mlp", ``module:function``, or the
        function) or a factorization ("funk_svd", "svd", "svdpp", "bayes", or its class).
    train : Ratings
        The training ratings.
    valid : Ratings, default=None
        Ratings to choose the epoch by: with them the model of the epoch with the lowest validation RMSE is returned, else
        that of the last.
    test : Ratings, default=None
        Ratings to measure after each epoch; they choose nothing.
    config : TrainConfig, default=None
        Settings; default: the model's own.
    callbacks : iterable of callable
        Called after each epoch with its `EpochResult` and the model; one that answers True stops training.
    progress : Progress or bool, default=None
        Told how the running epoch goes. None: in a notebook a bar, else nobody; True: a bar, or log lines where there is no
        terminal; False: nobody.
    cluster : str or distributed.Client, default=None
        Workers to train with; see `Model.fit`.
    **settings
        Single settings over ``config``, such as ``n_epochs=5`` or ``preset="tutorial"``; those of the network's function too.

    Returns
    -------
    The trained model.

    Raises
    ------
    ConfigError
        A setting or model that cannot be used.
    DataError
        A table that cannot be trained on.
    TrainingError
        Training diverged.
    BackendError
        MXNet, the device or the cluster cannot be used.
    """
    made = make_model(model, config, **settings)
    return made.fit(train, valid, test=test, callbacks=callbacks, progress=progress, cluster=cluster)


def load(
    folder: str | os.PathLike[str], *, ctx: str | None = None, network: Callable[..., Any] | str | None = None
) -> Model:
    """The model that a training run or `Model.save` wrote, as its kept epoch left it.

    Parameters
    ----------
    folder : path
        The folder.
    ctx : str, default=None
        Device of a network; None: the one it was trained with, or the CPU where that is not there.
    network : callable or str, default=None
        The function of a network of one's own, or its ``module:function``, which `fit_more` needs for a table with new
        users or items: what a folder names is never imported unasked.

    Raises
    ------
    DataError
        No saved model there, or a file of it is missing, truncated, edited or foreign: found by checksums before anything
        is parsed, and by looking at every array after.
    """
    return _load(folder, ctx, network, resumed=False)[0]


def load_checkpoint(
    folder: str | os.PathLike[str], *, ctx: str | None = None, network: Callable[..., Any] | str | None = None
) -> Model:
    """The model of a training run as its last epoch left it: `Model.resume` goes on as if training had never stopped.

    Raises
    ------
    DataError
        As `load`; a folder that `Model.save` wrote, which keeps one epoch alone.
    """
    return _load(folder, ctx, network, resumed=True)[0]


def load_run(folder: str | os.PathLike[str], *, ctx: str | None = None) -> tuple[Model, RunFolder]:
    """`load_checkpoint`, and the folder for the run to go on in.

    Raises
    ------
    DataError
        As `load_checkpoint`; a folder that another process is writing.
    """
    from nnmf.storage import RunFolder, claim

    # Nobody else may go on with the run between its reading and its reopening.
    held = claim(folder)
    try:
        model, state, run = _load(folder, ctx, None, resumed=True)
        return model, RunFolder.reopen(Path(folder), state, run, held)
    except BaseException:
        held.release()
        raise


def _load(
    folder: str | os.PathLike[str], ctx: str | None, network: Callable[..., Any] | str | None, resumed: bool
) -> tuple[Model, ModelState, dict[str, Any] | None]:
    from nnmf import storage

    state, run = storage.read(folder)
    folder = storage.as_folder(folder)
    if state.kind not in KINDS:
        raise DataError(
            f"{folder}: holds a model of kind {state.kind!r}, which nnmf {__version__} does not know; load it with "
            f"the version that wrote it ({state.written_by})."
        )
    if resumed and state.last is None:
        raise DataError(f"{folder}: keeps no state to go on from; give a training run's folder, or use fit_more.")
    try:
        config = TrainConfig.from_dict(state.config)
        if ctx is not None and state.kind == "network":
            config = dataclasses.replace(config, ctx=ctx)
            _mxnet.contexts(
                ctx
            )  # what the caller asks for is there, or an error; what the folder asks for may fall back
        from nnmf.models import from_state

        model = from_state(model_class(state.kind), config, state, resumed)
    except (ConfigError, DataError) as error:
        if ctx is not None and str(error).startswith("ctx:"):
            raise
        raise DataError(
            f"{folder}: cannot be loaded by nnmf {__version__}, it was written by {state.written_by} ({error})"
        ) from None
    if network is not None:
        model.take_network(network)
    return model, state, run
