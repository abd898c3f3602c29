"""`Model`: a catalogue of ids, a scorer that predicts and, while it can go on, a learner that trains."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from nnmf import storage
from nnmf.storage import ModelState
from nnmf.tables import Ratings
from nnmf.training import Callback, Progress

from . import _evaluation, _export, _ids, _state, _training
from ._kind import Kind

if TYPE_CHECKING:
    import pandas

_Self = TypeVar("_Self", bound="Model")


class Model(Kind):
    """A model of ratings by user and item vectors.

    A kind of model supplies a `Learner` and a `Scorer`; training, cold start, clipping, lists, evaluation and files are the
    same for all.

    Cold start: an unknown item is answered with the user's mean training rating, an unknown user with the item's, both damped
    towards the mean of all by five ratings, and a pair that is unknown on both sides with the mean of all. Who stands in the
    id map without a training rating is unknown, too.
    """

    # -- training ----------------------------------------------------------------------------------------------------
    def fit(
        self: _Self,
        train: Ratings,
        valid: Ratings | None = None,
        *,
        test: Ratings | None = None,
        callbacks: Iterable[Callback] = (),
        progress: Progress | bool | None = None,
    ) -> _Self:
        """Train on a table, for ``config.n_epochs`` epochs; with a validation table the best epoch's parameters are kept.

        Training that fails or is interrupted leaves the model as it was; one that was not trained before keeps the epochs
        that were finished.

        Parameters
        ----------
        train : Ratings
            The training ratings, with every user and item known.
        valid : Ratings, default=None
            Ratings to choose the epoch by.
        test : Ratings, default=None
            Ratings to measure after each epoch, for the history and the log; they choose nothing.
        callbacks : iterable of callable
            Called after each epoch with its `EpochResult` and this model; one that answers True stops training.
        progress : Progress or bool, default=None
            Told how the running epoch goes. None: a bar in a notebook alone; True: a bar, or log lines; False: nobody.

        Returns
        -------
        The model itself.

        Raises
        ------
        TrainingError
            Training diverged; the sentence says which settings to lower.
        ConfigError, DataError
            Settings or tables that cannot be trained with.
        """
        _training.fit(self, train, valid, _training.Watched(callbacks, progress, test))
        return self

    def fit_more(
        self: _Self,
        ratings: Ratings,
        valid: Ratings | None = None,
        *,
        n_epochs: int | None = None,
        test: Ratings | None = None,
        callbacks: Iterable[Callback] = (),
        progress: Progress | bool | None = None,
    ) -> _Self:
        """Go on training on another table, whose new users and items grow the tables; what was learned is where it starts.

        Only the given ratings are trained on, so give the old ones too unless they may fade. Training starts from the
        parameters that are kept and the optimiser's state that belongs to them; the mean that predictions start from stays
        that of the first table, the means of users and items take in the new ratings, the schedule of the learning rate
        starts anew, and the best epoch is one of the new ones. (SVD++ takes a user's items from the given table: leave none
        of his ratings out.) Training that fails or is interrupted leaves the model as it was.

        Parameters
        ----------
        ratings : Ratings
            The table; its ids may be new.
        valid, test, callbacks, progress
            As for `fit`.
        n_epochs : int, default=None
            Epochs to train; None: as many as the last time.

        Raises
        ------
        ConfigError
            The model is not trained yet; and what `fit` raises.
        """
        self.check_trained()
        _training.fit_more(self, ratings, valid, n_epochs, _training.Watched(callbacks, progress, test))
        return self

    def resume(
        self: _Self,
        train: Ratings,
        valid: Ratings | None = None,
        *,
        test: Ratings | None = None,
        callbacks: Iterable[Callback] = (),
        progress: Progress | bool | None = None,
    ) -> _Self:
        """Go on with a model that `load_checkpoint` gave, up to ``config.n_epochs``, as if training had never stopped.

        Arguments and errors as `fit`; the tables must be those that training began with.
        """
        self.check_trained()
        _training.resume(self, train, valid, _training.Watched(callbacks, progress, test))
        return self

    # -- answers -----------------------------------------------------------------------------------------------------
    def predict(
        self, user_ids: npt.ArrayLike, item_ids: npt.ArrayLike, *, clip: bool = True, unknown: str = "mean"
    ) -> np.ndarray:
        """Predicted ratings of (user, item) pairs, in the file's own ids.

        Parameters
        ----------
        user_ids, item_ids : array_like of shape (n,)
            A single id on one side goes with all of the other.
        clip : bool, default=True
            Keep predictions within the rating scale.
        unknown : {"mean", "error"}, default="mean"
            What answers for ids that training never saw: the cold-start rule (see the class), or an error.

        Returns
        -------
        float32 array of shape (n,).

        Raises
        ------
        DataError
            Unequal lengths; with ``unknown="error"`` an unknown id, named.
        ConfigError
            Another value of ``unknown``, or a model that is not trained.
        """
        answers = self.answers
        prediction = answers.predict(*_ids.pairs_of(answers.catalogue, user_ids, item_ids, unknown))
        return np.clip(prediction, *answers.catalogue.scale, out=prediction) if clip else prediction

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

        Returns
        -------
        item ids and scores (float32, unclipped), of shape (n_users_asked, n), or (n,) for a single id. Where fewer than n
        items can be listed the rest has NaN as its score, and -1 or "" as its id.

        Raises
        ------
        ConfigError
            n below 1, or another value of ``unknown``.
        DataError
            An unknown user with ``unknown="error"``.
        """
        answers = self.answers
        allowed, excluded = (None if ids is None else _ids.only_known(answers, ids) for ids in (items, exclude))
        user = _ids.index_of(answers.catalogue, "user", user_ids, unknown)
        item, score = answers.lists(user, _ids.length(n, len(user), self.n_items), exclude_seen, allowed, excluded)
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
            ids and clipping included; False: take the indices ``user`` and ``item``, unclipped.

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
