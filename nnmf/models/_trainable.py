"""`Trainable`: a kind of model that is trained on tables, from the start, further, or on from where it stopped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from nnmf.tables import Ratings
from nnmf.training import Callback, Progress

from . import _training
from ._kind import Kind

_Self = TypeVar("_Self", bound="Trainable")


class Trainable(Kind):
    """How every kind of model is trained."""

    def fit(
        self: _Self,
        train: Ratings,
        valid: Ratings | None = None,
        *,
        test: Ratings | None = None,
        callbacks: Iterable[Callback] = (),
        progress: Progress | bool | None = None,
        cluster: Any = None,
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
        cluster : str or distributed.Client, default=None
            Workers to train with, which change no bit of what is learned, or of a network nothing but rounding (see its ``kvstore``):
            a client of Dask, ``"local:4"`` for four processes on this machine, ``"tcp://HOST:8786"`` of a scheduler, or the path of
            its file. None: this process.

        Returns
        -------
        The model itself.

        Raises
        ------
        TrainingError
            Training diverged; the sentence says which settings to lower.
        ConfigError, DataError
            Settings or tables that cannot be trained with.
        BackendError
            Dask or the cluster cannot be used.
        """
        _training.fit(self, train, valid, _training.Watched(callbacks, progress, test, cluster=cluster))
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
        cluster: Any = None,
    ) -> _Self:
        """Go on training on another table, whose new users and items grow the tables; what was learned is where it starts.

        Only the given ratings are trained on, so give the old ones too unless they may fade. Training starts from the
        parameters that are kept and the optimiser's state that belongs to them; the mean that predictions start from stays
        that of the first table, the means of users and items take in the new ratings, the schedule of the learning rate
        starts anew, and the best epoch is one of the new ones. (SVD++ takes a user's items from the given table: leave none
        of his ratings out. `Bayes` draws anew from the given table alone, starting from its last draws, and forgets within an
        epoch what only other ratings told: give it all of them.) Training that fails or is interrupted leaves the model as it was.

        Parameters
        ----------
        ratings : Ratings
            The table; its ids may be new.
        valid, test, callbacks, progress, cluster
            As for `fit`.
        n_epochs : int, default=None
            Epochs to train; None: as many as the last time.

        Raises
        ------
        ConfigError
            The model is not trained yet; and what `fit` raises.
        """
        self.check_trained()
        _training.fit_more(
            self, ratings, valid, n_epochs, _training.Watched(callbacks, progress, test, cluster=cluster)
        )
        return self

    def resume(
        self: _Self,
        train: Ratings,
        valid: Ratings | None = None,
        *,
        test: Ratings | None = None,
        callbacks: Iterable[Callback] = (),
        progress: Progress | bool | None = None,
        cluster: Any = None,
    ) -> _Self:
        """Go on with a model that `load_checkpoint` gave, up to ``config.n_epochs``, as if training had never stopped.

        Arguments and errors as `fit`; the tables must be those that training began with.
        """
        self.check_trained()
        _training.resume(self, train, valid, _training.Watched(callbacks, progress, test, cluster=cluster))
        return self
