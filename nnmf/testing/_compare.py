"""What models are compared by: their parameters, their curves, and lists found the slow way."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.models import Model
from nnmf.tables import Ratings


class Killed(Exception):
    """What breaks a training off."""


def kill_after(epoch: int) -> Any:
    """A callback that breaks training off at the end of an epoch."""

    def callback(result: Any, model: Any) -> None:
        if result.epoch == epoch:
            raise Killed

    return callback


@contextmanager
def refused(pattern: str, expected: type[Exception]) -> Iterator[None]:
    """Assert that what happens within ends in this error, in words of this pattern."""
    try:
        yield
    except expected as error:
        assert re.search(pattern, str(error)), f"refused with {str(error)!r} instead of a sentence like {pattern!r}"
    else:
        raise AssertionError(f"was not refused; a sentence like {pattern!r} was expected")


def parameters(model: Model) -> dict[str, np.ndarray]:
    """A copy of the parameters by name, whatever arrays they are kept in."""
    return {
        name: np.array(array if isinstance(array, np.ndarray) else array.asnumpy())
        for name, array in model.parameters.items()
    }


def curve(model: Model) -> list[tuple[float, float | None, float]]:
    """Training RMSE, validation RMSE and learning rate of each epoch: what a seed settles."""
    return [(result.train_rmse, result.valid_rmse, result.learning_rate) for result in model.history]


def assert_same_model(one: Model, other: Model) -> None:
    """Assert that two models have the same history, kept epoch and parameters, bit for bit."""
    assert curve(one) == curve(other), "their histories differ"
    assert one.best_epoch == other.best_epoch, "they keep different epochs"
    first, second = parameters(one), parameters(other)
    assert first.keys() == second.keys(), "their parameters have different names"
    for name in first:
        assert np.array_equal(first[name], second[name]), f"their {name} differ"


def brute_force(
    model: Model,
    train: Ratings,
    user_id: Any,
    n: int,
    *,
    exclude_seen: bool = True,
    items: npt.ArrayLike | None = None,
    exclude: npt.ArrayLike = (),
) -> list[tuple[float, Any]]:
    """(score, item id) of a user's list, found by predicting every item and sorting; options as `Model.recommend`."""
    left_out = set(np.asarray(exclude).tolist())
    if exclude_seen and user_id in train.users.ids:
        row = train.users.index([user_id])[0]
        left_out |= set(train.items.ids[train.item[train.user == row]].tolist())
    only = None if items is None else set(np.asarray(items).tolist())
    candidates = [item for item in train.items.ids.tolist() if item not in left_out and (only is None or item in only)]
    if not candidates:
        return []
    score = model.predict([user_id] * len(candidates), candidates, clip=False).tolist()
    return sorted(zip(score, candidates, strict=True), key=lambda entry: (-entry[0], entry[1]))[:n]


def assert_same_list(found: tuple[np.ndarray, np.ndarray], expected: list[tuple[float, Any]]) -> None:
    """Assert that item ids (n,) and scores (n,) are the expected ones and nothing else.

    Ids may swap only where scores are equal to rounding. Places beyond the expected ones hold -1 or "", and NaN.
    """
    ids, scores = found
    n = len(expected)
    np.testing.assert_allclose(scores[:n], [score for score, _ in expected], rtol=0, atol=1e-4)
    assert np.isnan(scores[n:]).all() and set(ids[n:].tolist()) <= {-1, ""}, f"{ids[n:]} stand where no item is left"
    if all(abs(one[0] - other[0]) > 1e-4 for one, other in itertools.pairwise(expected)):
        assert ids[:n].tolist() == [item for _, item in expected]
