"""`Contract`: what a contract test is told of a model, and the tables and trained model that its tests share."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from nnmf.kinds import fit
from nnmf.metrics import rmse
from nnmf.models import Model
from nnmf.tables import Ratings

from ._tables import low_rank

#: the noise of the shared tables: no model can predict test ratings better
NOISE = 0.2


@functools.cache
def _tables() -> tuple[Ratings, Ratings]:
    return low_rank(noise=NOISE).split(0.8)


class Contract:
    """A class of tests for pytest. Derive a class whose name begins with ``Test`` and set what follows.

    Attributes
    ----------
    model : str or callable
        What `nnmf.fit` takes: a name, ``module:function``, or a network's function.
    settings : mapping
        Settings to train with; ``n_epochs``, at least 3, is needed. The model is trained some twenty times: keep it short.
    accurate : mapping, default={}
        Settings over those for the one test of accuracy.
    expected_rmse : (float, float), default=None
        Bounds of the RMSE on the shared test table; too good fails as well. None: from the noise of the table, .2, to what
        answering the mean comes to, .64.
    exports : bool, default=True
        Whether there is an ONNX file of such a model, or else a sentence that says why not.
    """

    model: ClassVar[Any]
    settings: ClassVar[Mapping[str, Any]] = {}
    accurate: ClassVar[Mapping[str, Any]] = {}
    expected_rmse: ClassVar[tuple[float, float] | None] = None
    exports: ClassVar[bool] = True
    _trained: ClassVar[Model | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._trained = None

    @classmethod
    def tables(cls) -> tuple[Ratings, Ratings]:
        """The tables that all tests share: `low_rank` with a noise of `NOISE`, four fifths to train on and one to test."""
        return _tables()

    @classmethod
    def fit(cls, train: Ratings, valid: Ratings | None = None, **options: Any) -> Model:
        """A newly trained model of the settings; ``options`` are settings over them, or arguments of `nnmf.fit`."""
        return fit(cls.model, train, valid, **{**cls.settings, **options})

    @classmethod
    def trained(cls) -> Model:
        """The one model that is trained on the shared tables, made when first asked for; not to be changed."""
        if cls._trained is None:
            cls._trained = cls.fit(*cls.tables())
        return cls._trained

    @classmethod
    def n_epochs(cls) -> int:
        """The setting."""
        return int(cls.settings["n_epochs"])

    def test_accuracy_lies_between_two_bounds(self) -> None:
        train, test = self.tables()
        found = self.fit(train, test, **self.accurate).rmse(test)
        low, high = self.expected_rmse or (NOISE, rmse(test.rating, np.full(len(test), train.rating.mean())))
        assert low <= found <= high, f"RMSE {found:.4f} is not within {low:.4f} and {high:.4f}"
