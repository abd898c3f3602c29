"""`Model`: a catalogue of ids, a scorer that predicts and, while it can go on, a learner that trains."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nnmf import storage
from nnmf.storage import ModelState
from nnmf.tables import Ratings

from . import _evaluation, _export, _ids, _state
from ._trainable import Trainable

if TYPE_CHECKING:
    import pandas


class Model(Trainable):
    """A model of ratings by user and item vectors.

    A kind of model supplies a `Learner` and a `Scorer`; training, cold start, clipping, lists, evaluation and files are the
    same for all.

    Cold start: an unknown item is answered with the user's mean training rating, an unknown user with the item's, both damped
    towards the mean of all by five ratings, and a pair that is unknown on both sides with the mean of all. Who stands in the
    id map without a training rating is unknown, too.
    """

    # -- answers -----------------------------------------------------------------------------------------------------
    def predict(
        self,
        user_ids: npt.ArrayLike,
        item_ids: npt.ArrayLike,
        *,
        timestamps: npt.ArrayLike | None = None,
        clip: bool = True,
        unknown: str = "mean",
        return_std: bool = False,
    ) -> Any:
        """Predicted ratings of (user, item) pairs, in the file's own ids.

        Parameters
        ----------
        user_ids, item_ids : array_like of shape (n,)
            A single id on one side goes with all of the other.
        timestamps : array_like of shape (n,), default=None
            When each pair is rated: whole seconds since 1970, or dates; for models that use dates alone. None: unknown.
        clip : bool, default=True
            Keep predictions within the rating scale.
        unknown : {"mean", "error"}, default="mean"
            What answers for ids that training never saw: the cold-start rule (see the class), or an error.
        return_std : bool, default=False
            Answer standard deviations, too; for models that know them, such as `Bayes`.

        Returns
        -------
        float32 array of shape (n,); with ``return_std`` two of them: predictions, and the standard deviations of the
        ratings about the unclipped ones: of the pairs of unknown ids that of all ratings, or, of a mean of epochs, that of
        ratings spread evenly over the scale.

        Raises
        ------
        DataError
            Unequal lengths; with ``unknown="error"`` an unknown id, named.
        ConfigError
            Another value of ``unknown``, a model that is not trained, timestamps or deviations of a model without.
        """
        answers = self.answers
        pairs = _ids.pairs_of(answers, user_ids, item_ids, unknown, timestamps)
        prediction = answers.predict(*pairs)
        if clip:
            prediction = np.clip(prediction, *answers.catalogue.scale, out=prediction)
        return (prediction, answers.deviation(*pairs)) if return_std else prediction

    def interval(
        self,
        user_ids: npt.ArrayLike,
        item_ids: npt.ArrayLike,
        level: float = 0.9,
        *,
        timestamps: npt.ArrayLike | None = None,
        unknown: str = "mean",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Intervals that hold the rating of a pair with a given probability, for models that know, such as `Bayes`.

        Parameters
        ----------
        user_ids, item_ids, timestamps, unknown
            As for `predict`.
        level : float, default=0.9
            The probability, between 0 and 1.

        Returns
        -------
        Lowest and highest ratings, float32 (n,) each, within the rating scale.

        Raises
        ------
        ConfigError
            A level outside of (0, 1), a model without deviations, or one that keeps fewer draws than tell how far they lie apart.
        DataError
            As `predict`.
        """
        answers = self.answers
        return answers.interval(*_ids.pairs_of(answers, user_ids, item_ids, unknown, timestamps), level=level)

    def predict_index(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Unclipped predictions, float32 (n,), for columns of indices, whole numbers of shape (n,), -1 where unknown.

        Raises
        ------
        DataError
            Columns of unequal length, or an index beyond the tables.
        """
        return self.answers.predict(user, item)

    def rmse(self, ratings: Ratings, *, clip: bool = True) -> float:
        """RMSE over all ratings of a table, under any id maps: root of (total squared error / number of ratings).

        Predictions are clipped to the scale as `predict` clips; ``clip=False`` judges them as they are.
        """
        answers = self.answers
        return answers.rmse(_ids.under(answers.catalogue, ratings), clip)

    def recommend(
        self,
        user_ids: npt.ArrayLike,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        items: npt.ArrayLike | None = None,
        exclude: npt.ArrayLike | None = None,
        unknown: str = "mean",
        risk: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The n items with the highest scores for each user, the highest first.

        Of items with equal scores the one whose id comes first stands first, so the answer depends on nothing but the model.

        Parameters
        ----------
        user_ids : array_like of shape (n_users_asked,)
            Or a single id.
        n : int, default=10
            Length of the lists.
        exclude_seen : bool, default=True
            Leave out what the user rated in training.
        items : array_like, default=None
            Ids of the only items to list; None: all.
        exclude : array_like, default=None
            Ids of items not to list; ids the model does not know are ignored, as among ``items``.
        unknown : {"mean", "error"}, default="mean"
            What answers for users that training never saw: the items' means, or biases; or an error.
        risk : float, default=0
            Rank by the prediction plus so many standard deviations: below 0 what is surely liked comes first, above 0 what
            may be liked much. For models that know deviations, such as `Bayes`; users that training never saw get the list
            of means.

        Returns
        -------
        item ids and scores (float32, unclipped), of shape (n_users_asked, n), or (n,) for a single id. Where fewer than n
        items can be listed the rest has NaN as its score, and -1 or "" as its id.

        Raises
        ------
        ConfigError
            n below 1, another value of ``unknown``, or a risk that is no number, or not 0 where deviations are not known.
        DataError
            An unknown user with ``unknown="error"``.
        """
        answers = self.answers
        allowed, excluded = (None if ids is None else _ids.only_known(answers, ids) for ids in (items, exclude))
        user = _ids.index_of(answers.catalogue, "user", user_ids, unknown)
        item, score = answers.lists(
            user, _ids.length(n, len(user), self.n_items), exclude_seen, allowed, excluded, _ids.risk_of(risk)
        )
        ids = answers.catalogue.items.at(item)
        return (ids[0], score[0]) if np.ndim(user_ids) == 0 else (ids, score)

    def similar_items(self, item_id: Any, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The n items whose vectors point most nearly the way this item's does: ids (n,) and cosines float32 (n,).

        Raises
        ------
        DataError
            An unknown item, or a network without towers.
        """
        return _ids.similar(self.answers, "item", item_id, n)

    def similar_users(self, user_id: Any, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The n users whose vectors point most nearly the way this user's does; see `similar_items`."""
        return _ids.similar(self.answers, "user", user_id, n)

    def evaluate(
        self,
        test: Ratings,
        metrics: Iterable[str] = ("rmse", "mae"),
        *,
        clip: bool = True,
        relevant_from: float | None = None,
    ) -> dict[str, float]:
        """Metrics of this model on a table of ratings it was not trained on; see `nnmf.models.evaluate`."""
        return _evaluation.evaluate(self.answers, test, metrics, clip=clip, relevant_from=relevant_from)

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Ids, vectors and biases as arrays, for nearest-neighbour indices and the like.

        Returns
        -------
        ``user_ids`` (n_users,), ``item_ids`` (n_items,), ``user_factors`` (n_users, width), ``item_factors`` (n_items,
        width) and what else the model has: ``user_bias``, ``item_bias``, ``global_mean``, ``implicit_factors``, and
        SVD++'s ``user_vectors``, which stand for its users in a prediction. A network's factors are the outputs of its towers.
        """
        return {"user_ids": self.users.ids, "item_ids": self.items.ids, **self.scorer.vectors()}

    def to_frame(self, side: str = "item") -> pandas.DataFrame:
        """The vectors (and bias) of one side, "user" or "item", as a pandas frame indexed by id.

        Raises
        ------
        ConfigError
            Another side.
        DataError
            pandas is not installed, or a network without towers.
        """
        return _ids.frame(self.answers, side)

    # -- files -------------------------------------------------------------------------------------------------------
    def to_state(self) -> ModelState:
        """The model as plain data; while it trains, with what going on from its last epoch needs."""
        return _state.to_state(self, self._need())

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the model to a folder: whole, or not at all. `nnmf.load` reads it.

        Parameters
        ----------
        folder : path
            A new or empty folder.
        overwrite : bool, default=False
            Replace the saved model that the folder holds; it stays until the new one is on the disk.

        Raises
        ------
        ConfigError
            The model is not trained, or the folder is not to be replaced.
        DataError
            The folder cannot be written, or a parameter is no finite number.
        """
        storage.save(folder, self.to_state(), overwrite)

    def export_onnx(self, path: str | os.PathLike[str], *, ids: bool = True) -> None:
        """Write the model as an ONNX file, which runs without MXNet; needs the package onnx.

        Parameters
        ----------
        path : path
            The file to write; it is whole or not there.
        ids : bool, default=True
            Take ``user_id`` and ``item_id`` as they stand in the table and answer ``rating`` as `predict` does, unknown
            ids and clipping included; False: take the indices ``user`` and ``item``, unclipped. Dates are unknown to the file.

        Raises
        ------
        ConfigError
            An operator of a network of one's own that has no translation, or over 2 GB of parameters.
        BackendError
            onnx is not installed.
        DataError
            The file cannot be written.
        """
        _export.export_onnx(self, path, ids)
