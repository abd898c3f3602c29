"""Between a `Model` and `ModelState`, its plain data."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import DataError
from nnmf.storage import ModelState, Parameters, check_array
from nnmf.training import Snapshot

from ._answers import Answers
from ._catalogue import Catalogue
from ._kind import Kind
from ._learned import Learned
from ._mean import MEAN
from ._read_mean import read_mean

_Kind = TypeVar("_Kind", bound=Kind)


def to_state(model: Kind, learned: Learned) -> ModelState:
    """A trained model as plain data."""
    catalogue = learned.answers.catalogue
    kept = _parameters(learned.kept)
    last = None
    if learned.last is not None:
        last = kept if learned.last is learned.kept else _parameters(learned.last)
    return ModelState(
        kind=model.kind,
        config=model.config.to_dict(),
        details=model.details(),
        texts=model.texts(),
        history=list(learned.history),
        compared_from=learned.compared_from,
        dataset=catalogue.dataset,
        train_digest=catalogue.digest,
        users=catalogue.users,
        items=catalogue.items,
        scale=catalogue.scale,
        global_mean=catalogue.global_mean,
        user_total=catalogue.user_total,
        item_total=catalogue.item_total,
        user_count=catalogue.user_count.astype(np.int64, copy=False),
        item_count=catalogue.item_count.astype(np.int64, copy=False),
        seen=catalogue.seen,
        kept=kept,
        last=last,
    )


def _parameters(snapshot: Snapshot) -> Parameters:
    return Parameters(snapshot.epoch, snapshot.scorer.arrays(), snapshot.state)


def from_state(cls: type[_Kind], config: TrainConfig, state: ModelState, resumed: bool) -> _Kind:
    """The model that a state is of: as its kept epoch left it, or, ``resumed``, as its last one did.

    Raises
    ------
    DataError
        Details or arrays that no model of this kind has.
    """
    model = cls.from_details(config, state)
    catalogue = Catalogue(
        users=state.users,
        items=state.items,
        scale=state.scale,
        global_mean=state.global_mean,
        user_total=state.user_total,
        item_total=state.item_total,
        user_count=state.user_count,
        item_count=state.item_count,
        seen=state.seen,
        dataset=state.dataset,
        digest=state.train_digest,
        negatives=config.negatives or 0,
    )
    kept = _snapshot(model, catalogue, state, state.kept)
    last = kept if kept.epoch == len(state.history) else None
    if resumed and last is None and state.last is not None:
        last = _snapshot(model, catalogue, state, state.last)
    shown = last if resumed and last is not None else kept
    model._learned = Learned(Answers(catalogue, shown.scorer), list(state.history), kept, last, state.compared_from)
    return model


def _snapshot(model: Kind, catalogue: Catalogue, state: ModelState, parameters: Parameters) -> Snapshot:
    arrays = {name: array for name, array in parameters.arrays.items() if not name.startswith(MEAN)}
    scorer = model.scorer_of(catalogue, arrays, state.details)
    shapes = model.state_shapes(scorer)
    if model.needs_whole_state and (missing := sorted(shapes.keys() - parameters.state.keys())):
        raise DataError(f"state: lacks {missing[0]!r}, which training needs.")
    for name, array in parameters.state.items():
        if name not in shapes:
            raise DataError(f"state: holds {name!r}, which training does not need.")
        check_array(array, shapes[name], np.float32, f"state: {name}")
    mean = {name[len(MEAN) :]: array for name, array in parameters.arrays.items() if name.startswith(MEAN)}
    if mean:
        if model.config.keep != "mean":
            raise DataError(f"parameters: hold a mean, which keep={model.config.keep!r} makes none of.")
        sizes = {"user": len(catalogue.users), "item": len(catalogue.items)}
        scorer = read_mean(scorer, mean, sizes, lambda arrays: model.scorer_of(catalogue, arrays, state.details))
    return Snapshot(parameters.epoch, scorer, parameters.state)
