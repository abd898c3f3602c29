"""`Model`: what every kind of trained model can do, whatever computes its predictions."""

from __future__ import annotations

import dataclasses
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from nnmf import __version__
from nnmf import files as store
from nnmf import storage as saving
from nnmf import training as loop
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, DataError
from nnmf.onnx import ExportedIds
from nnmf.ranking import UserItems
from nnmf.tables import Ratings
from nnmf.training import Callback, EpochResult

from ._recommending import Recommending

_Self = TypeVar("_Self", bound="Model")
#: Called now and then within an epoch with the ratings done and a function that tells their RMSE so far.
Tick = Callable[[int, Callable[[], float]], None]


class Model(Recommending):
    """A model of ratings by user and item vectors.

    A kind of model supplies `_begin`, `_epoch` and `_predict` over indices; training, cold start, clipping and evaluation are
    the same for all.

    Cold start: an unknown item is answered with the user's mean training rating, an unknown user with the item's, and a pair
    that is unknown on both sides with the mean of all.

    Attributes:
        config: the settings, all filled in.
        history: one `EpochResult` an epoch.
        best_epoch: the epoch whose parameters these are: the one with the lowest validation RMSE, or the last one where
            there was no validation table; 0 before training.
        users, items: id maps of the training table.
        scale: lowest and highest rating there can be; predictions are clipped to it.
        global_mean: mean training rating.
        dataset: name of the training table.
        train_digest: SHA-256 of it.
        user_mean, item_mean: mean training rating of each user (n_users,) and item (n_items,), float32.
        parameters: the arrays that training changes, by name.
    """

    #: what saved folders call this kind of model
    kind: ClassVar[str]
    #: ending of the files that hold its arrays
    suffix: ClassVar[str]

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.history: list[EpochResult] = []
        self.best_epoch = 0
        self.parameters: dict[str, Any] = {}
        #: ratings an epoch trains on
        self.n_streamed = 0
        #: first epoch whose validation RMSE is compared for the best
        self.compared_from = 1
        self._best: dict[str, Any] = {}
        self._trained_on: Ratings | None = None
        self._seen: UserItems | None = None
        self._seen_before: UserItems | None = None

    # -- what a kind of model supplies -------------------------------------------------------------------------------
    @abstractmethod
    def _begin(self, train: Ratings) -> None:
        """Make parameters, where there are none yet, and whatever training on this table needs."""

    @abstractmethod
    def _epoch(self, epoch: int, learning_rate: float, tick: Tick) -> float:
        """Train one epoch, numbered from 1; returns the RMSE over its ratings, each predicted before its step."""

    @abstractmethod
    def _files(self) -> dict[str, store.Writer]:
        """Writers of the files that stay the same through training, by name."""

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """What a saved folder's manifest says of this kind of model, as JSON can hold it."""

    @classmethod
    @abstractmethod
    def _from_content(cls: type[_Self], content: dict[str, Any], config: TrainConfig, folder: Path) -> _Self:
        """An untrained model from what `_content` said and `_files` wrote."""

    @abstractmethod
    def _write_arrays(self, arrays: dict[str, Any], path: Path) -> None:
        """Write a dictionary of arrays such as `parameters`."""

    @abstractmethod
    def _read_arrays(self, path: Path) -> dict[str, Any]:
        """Read what `_write_arrays` wrote."""

    @abstractmethod
    def _grow(self, n_users: int, n_items: int) -> None:
        """Make the parameters, and the state of training, hold that many users and items; the new rows as at the start."""

    def _state(self) -> dict[str, Any]:
        """Arrays beyond the parameters that going on with training needs."""
        return {}

    def _set_state(self, arrays: dict[str, Any]) -> None:
        """Take what `_state` gave."""
        assert not arrays

    def _end(self) -> None:
        """Let go of what `_begin` made for training alone."""
        return

    @abstractmethod
    def _export(self, path: Path, ids: ExportedIds | None, metadata: dict[str, str]) -> None:
        """Write the ONNX file."""

    # -- training ----------------------------------------------------------------------------------------------------
    def fit(
        self: _Self,
        train: Ratings,
        valid: Ratings | None = None,
        *,
        callbacks: Iterable[Callback] = (),
        progress: loop.Progress | None = None,
    ) -> _Self:
        """Train on a table, for ``config.n_epochs`` epochs; with a validation table the best epoch's parameters are kept.

        Args:
            train: the training ratings, with every user and item known.
            valid: ratings to watch, mapped through the training table's ids (``Ratings.mapped``).
            callbacks: called after each epoch with its `EpochResult` and this model; one that answers True stops training.
            progress: told how the running epoch goes.

        Raises:
            TrainingError: training diverged; the sentence says which settings to lower.
            ConfigError, DataError: settings or tables that cannot be trained with.
        """
        self._check_tables(train, valid)
        self.history, self.best_epoch, self.compared_from, self.parameters, self._best = [], 0, 1, {}, {}
        self._set_state({})
        self.users, self.items, self.scale = train.users, train.items, train.scale
        self.global_mean = float(train.rating.mean(dtype=np.float64))
        self._learn_from(train)
        self._run(train, valid, callbacks, progress)
        return self

    def fit_more(
        self: _Self,
        ratings: Ratings,
        valid: Ratings | None = None,
        *,
        n_epochs: int | None = None,
        callbacks: Iterable[Callback] = (),
        progress: loop.Progress | None = None,
    ) -> _Self:
        """Go on training on another table, whose new users and items grow the tables; what was learned is where it starts.

        Only the given ratings are trained on, so give the old ones too unless they may fade. The optimiser's state is kept, the
        mean that predictions start from stays that of the first table, the means of users and items take in the new ratings, the
        schedule of the learning rate starts anew, and the best epoch is one of the new ones. (SVD++ takes a user's items from the
        given table: leave none of his ratings out.)

        Args:
            ratings: the table; its ids may be new.
            valid: as for `fit`.
            n_epochs: epochs to train; default: as many as the last time.
            callbacks, progress: as for `fit`.

        Raises:
            ConfigError: the model is not trained yet; and what `fit` raises.
        """
        self.check_trained()
        self._check_tables(ratings, valid)
        done = len(self.history)
        n_more = n_epochs if n_epochs is not None else (self.config.n_epochs or 0) - self.compared_from + 1
        if n_more < 1:
            raise ConfigError(f"n_epochs: got {n_epochs}; give at least 1.")
        config = dataclasses.replace(self.config, n_epochs=done + n_more)
        users, items = self.users.extend(ratings.users.ids), self.items.extend(ratings.items.ids)
        scale = min(self.scale[0], ratings.scale[0]), max(self.scale[1], ratings.scale[1])
        ratings = ratings.under(users, items, scale)
        before, means = self.seen, (self.user_mean, self.item_mean)
        self._grow(len(users), len(items))
        self.config, self.compared_from, self._best = config, done + 1, {}
        self.users, self.items, self.scale = users, items, scale
        self._learn_from(ratings, before, means)
        self._run(ratings, valid, callbacks, progress)
        return self

    def resume(
        self: _Self,
        train: Ratings,
        valid: Ratings | None = None,
        *,
        callbacks: Iterable[Callback] = (),
        progress: loop.Progress | None = None,
    ) -> _Self:
        """Go on with a model that `load_checkpoint` gave, up to ``config.n_epochs``, as if training had never stopped.

        Arguments and errors as `fit`; the tables must be those that training began with.
        """
        self.check_trained()
        self._check_tables(train, valid)
        if train.digest != self.train_digest:
            raise DataError(
                f"{train.name}: is not the table that training began with, so it cannot go on as if it never stopped; "
                "give that table, or learn from a new one with fit_more."
            )
        self._run(train, valid, callbacks, progress)
        return self

    def _learn_from(
        self, train: Ratings, seen: UserItems | None = None, means: tuple[np.ndarray, np.ndarray] | None = None
    ) -> None:
        """Take in what a table says of users and items apart from the parameters: which pairs, and mean ratings."""
        self._trained_on, self._seen_before, self._seen = train, seen, None
        self.train_digest, self.dataset = train.digest, train.name
        old, new = [np.empty(0, np.int64)] * 2, train
        if seen is not None:
            old = [seen.n_items, np.bincount(seen.item)]
            # Ratings that are given again are in the means already.
            pairs = np.repeat(np.arange(seen.n_users), seen.n_items) * train.n_items + seen.item
            new = train.take(~np.isin(train.user.astype(np.int64) * train.n_items + train.item, pairs))
        columns = zip((new.user, new.item), (train.n_users, train.n_items), old, means or (None, None), strict=True)
        self.user_mean, self.item_mean = (
            _means(index, new.rating, n, self.global_mean, count, mean) for index, n, count, mean in columns
        )

    @property
    def seen(self) -> UserItems:
        """The items that each user rated in training."""
        if self._seen is None:
            assert self._trained_on is not None
            user, item = self._trained_on.user, self._trained_on.item
            if self._seen_before is not None:
                user = np.concatenate(
                    [np.repeat(np.arange(self._seen_before.n_users), self._seen_before.n_items), user]
                )
                item = np.concatenate([self._seen_before.item, item])
            self._seen = UserItems.of(user, item, self.n_users)
        return self._seen

    @seen.setter
    def seen(self, seen: UserItems) -> None:
        self._seen = seen

    def _check_tables(self, train: Ratings, valid: Ratings | None) -> None:
        """Refuse what cannot be trained with, before anything of the model changes."""
        if len(train) == 0:
            raise DataError(f"{train.name}: holds no ratings to train on.")
        if not train.known.all():
            raise DataError(f"{train.name}: holds ratings of unknown users or items; drop them with take(known).")
        if self.config.patience and (valid is None or self.config.negatives):
            raise ConfigError(
                "patience: needs validation ratings to wait for, and no negatives, with which the RMSE is not what is sought; "
                "leave it out."
            )
        if valid is not None and len(valid) == 0:
            raise DataError(f"{valid.name}: holds no ratings to validate on.")

    def _run(
        self, train: Ratings, valid: Ratings | None, callbacks: Iterable[Callback], progress: loop.Progress | None
    ) -> None:
        if valid is not None and (valid.users is not train.users or valid.items is not train.items):
            valid = valid.mapped(train)
        loop.run(self, train, valid, callbacks, progress)

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the model to a folder, aside and then renamed: whole, or not at all. `nnmf.load` reads it.

        Args:
            folder: a new or empty folder.
            overwrite: replace the saved model that the folder holds.

        Raises:
            ConfigError: the model is not trained, or the folder is not to be replaced.
            DataError: the folder cannot be written.
        """
        saving.save(self, folder, overwrite)

    def keep_best(self) -> None:
        """Remember the parameters as they stand as those of the best epoch."""
        self._best = {name: array.copy() for name, array in self.parameters.items()}
        self.best_epoch = len(self.history)

    def restore_best(self) -> None:
        """Go back to the parameters of the best epoch."""
        if self._best:
            self.parameters, self._best = self._best, {}

    def export_onnx(self, path: str | os.PathLike[str], *, ids: bool = True) -> None:
        """Write the model as an ONNX file, which runs without MXNet; needs the package onnx.

        Args:
            path: the file to write; it is whole or not there.
            ids: take ``user_id`` and ``item_id`` as they stand in the table and answer ``rating`` as `predict` does, unknown
                ids and clipping included; False: take the indices ``user`` and ``item``, unclipped.

        Raises:
            ConfigError: an operator of a network of one's own that has no translation, or over 2 GB of parameters.
            BackendError: onnx is not installed.
            DataError: the file cannot be written.
        """
        self.check_trained()
        wrap = None
        if ids:
            wrap = ExportedIds(self.users, self.items, *self._means(), self.global_mean, self.scale)
        metadata = {"nnmf": __version__, "kind": self.kind, **{k: str(v) for k, v in self._content().items()}}
        self._export(Path(path), wrap, metadata)


def _means(
    index: np.ndarray,
    rating: np.ndarray,
    n: int,
    otherwise: float,
    old_count: np.ndarray,
    old_mean: np.ndarray | None,
) -> np.ndarray:
    """Mean rating by index, float32 (n,), those counted before included; ``otherwise`` where an index has none."""
    count = np.bincount(index, minlength=n)
    total = np.bincount(index, weights=rating, minlength=n).astype(np.float64)  # integers where there are no ratings
    if old_mean is not None:
        total[: len(old_count)] += old_count * old_mean[: len(old_count)]
        count[: len(old_count)] += old_count
    return np.where(count > 0, total / np.maximum(count, 1), otherwise).astype(np.float32)
