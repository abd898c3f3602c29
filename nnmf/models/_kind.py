"""`Kind`: what a kind of model supplies, and what a model of it knows once it is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import ConfigError
from nnmf.ranking import UserItems
from nnmf.storage import ModelState
from nnmf.tables import IdMap, Ratings
from nnmf.training import History, Learner, Scorer, Snapshot

from ._answers import Answers
from ._catalogue import Catalogue
from ._learned import Learned

_Self = TypeVar("_Self", bound="Kind")


class Kind(ABC):
    """A kind of model, to be derived from by way of `Model`: it supplies a `Learner`, a `Scorer` and what folders hold of it.

    Attributes
    ----------
    config : TrainConfig
        The settings, all filled in.
    """

    #: what saved folders call this kind of model
    kind: ClassVar[str]

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._learned: Learned | None = None

    # -- what a kind of model supplies -------------------------------------------------------------------------------
    @abstractmethod
    def learner(self, catalogue: Catalogue, start: Snapshot | None) -> Learner:
        """What trains this kind of model, from drawn parameters or from those of a snapshot of no more users and items."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What a saved folder says of this kind of model, as JSON can hold it."""

    def texts(self) -> dict[str, str]:
        """Files of text that a saved folder holds for this kind of model, by name."""
        return {}

    @classmethod
    @abstractmethod
    def from_details(cls: type[_Self], config: TrainConfig, state: ModelState) -> _Self:
        """An untrained model of the settings and details of a state.

        Raises
        ------
        DataError
            Details that no model of this kind has.
        """

    @abstractmethod
    def scorer_of(self, catalogue: Catalogue, arrays: dict[str, np.ndarray], details: dict[str, Any]) -> Scorer:
        """What predicts by the arrays and details of a state, each of which is checked.

        Raises
        ------
        DataError
            Arrays that are missing, or of another shape or type.
        """

    @property
    def uses_features(self) -> bool:
        """Whether training looks at what its table knows of users and items; see `nnmf.Ratings.with_features`."""
        return False

    @property
    def knows_deviations(self) -> bool:
        """Whether what is trained is to know how sure its predictions are."""
        return self.config.keep == "mean"

    #: whether going on with training needs every array of `state_shapes`
    needs_whole_state: ClassVar[bool] = False

    def config_for(self, train: Ratings, valid: Ratings | None) -> TrainConfig:
        """The settings to train a table with from the start, for a kind that looks at the table first; see `best_of`.

        Parameters
        ----------
        train : Ratings
            The table.
        valid : Ratings or None
            The validation table; ratings to test on are never seen here.
        """
        return self.config

    #: whether this kind starts the N workers of the cluster "local:N" itself, without Dask
    own_workers: ClassVar[bool] = False

    def check_cluster(self) -> None:
        """Raise a ConfigError where no cluster can train this model: `Learner.cluster` says who does."""
        raise ConfigError(f"cluster: {self.kind} trains on one machine alone; leave it out.")

    def check_same(self, train: Ratings) -> None:
        """Refuse to go on as if training had never stopped with what else it looks at than the ratings, where that has changed.

        Raises
        ------
        DataError
            It has.
        """
        return

    def check_alone(self) -> None:
        """Raise a ConfigError where a setting is for a cluster, when there is none."""
        for name in ("kvstore", "restarts"):
            if (value := getattr(self.config, name)) is not None:
                raise ConfigError(
                    f"{name}: got {value!r}, which is for the workers of a cluster; give one (cluster, --cluster), or leave it out."
                )

    def state_shapes(self, scorer: Scorer) -> dict[str, tuple[int, ...]]:
        """Shapes of the float32 arrays that training may need besides the parameters, by name."""
        return {}

    def take_network(self, network: Any) -> None:
        """Take the function of a network of one's own, for a table with new users or items; see `nnmf.load`."""
        raise ConfigError(f"network: a model of kind {self.kind!r} is no network; leave it out.")

    # -- what it knows -----------------------------------------------------------------------------------------------
    def check_trained(self) -> None:
        """Raise a ConfigError unless the model is trained."""
        self._need()

    def _need(self) -> Learned:
        if self._learned is None:
            raise ConfigError("the model is not trained yet; fit it first.")
        return self._learned

    @property
    def answers(self) -> Answers:
        """What answers for indices."""
        return self._need().answers

    @property
    def scorer(self) -> Scorer:
        """What predicts."""
        return self._need().answers.scorer

    @property
    def catalogue(self) -> Catalogue:
        """Which users and items the model knows, and what they were rated."""
        return self._need().answers.catalogue

    @property
    def history(self) -> History:
        """One `EpochResult` an epoch; none before training. A list that a notebook shows as a table."""
        return History() if self._learned is None else History(self._learned.history)

    @property
    def best_epoch(self) -> int:
        """The epoch that is kept: the one with the lowest validation RMSE, without such ratings the last, as with a mean; 0 before."""
        return 0 if self._learned is None else self._learned.kept.epoch

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arrays that training changes, by name; none before training."""
        return {} if self._learned is None else self.scorer.parameters

    @property
    def users(self) -> IdMap:
        """Ids of the users."""
        return self.catalogue.users

    @property
    def items(self) -> IdMap:
        """Ids of the items."""
        return self.catalogue.items

    @property
    def n_users(self) -> int:
        """Users in the id map."""
        return len(self.catalogue.users)

    @property
    def n_items(self) -> int:
        """Items in the id map."""
        return len(self.catalogue.items)

    @property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest rating there can be; predictions are clipped to it."""
        return self.catalogue.scale

    @property
    def global_mean(self) -> float:
        """Mean rating of the first training table."""
        return self.catalogue.global_mean

    @property
    def user_mean(self) -> np.ndarray:
        """Mean training rating of each user, damped towards that of all: float32 array of shape (n_users,)."""
        return self.catalogue.user_mean

    @property
    def item_mean(self) -> np.ndarray:
        """Mean training rating of each item, damped towards that of all: float32 array of shape (n_items,)."""
        return self.catalogue.item_mean

    @property
    def seen(self) -> UserItems:
        """The items that each user rated in training."""
        return self.catalogue.seen

    @property
    def dataset(self) -> str:
        """Name of the training table."""
        return self.catalogue.dataset

    @property
    def train_digest(self) -> str:
        """SHA-256 of the training table."""
        return self.catalogue.digest

    def __repr__(self) -> str:
        if self._learned is None:
            return f"{type(self).__name__}(untrained)"
        last = self._learned.history[-1]
        valid = "" if last.valid_rmse is None else f", valid RMSE {last.valid_rmse:.4f}"
        return (
            f"{type(self).__name__}({self.dataset}: {self.n_users:,} users, {self.n_items:,} items; epoch {self.best_epoch} of "
            f"{last.epoch} kept; train RMSE {last.train_rmse:.4f}{valid})"
        )
