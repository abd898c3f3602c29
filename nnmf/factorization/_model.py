"""`Factorization`: what Funk SVD, SVD and SVD++ have in common as models; no MXNet."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, DataError
from nnmf.models import Catalogue, Model, best_of, own_scorer
from nnmf.storage import ModelState
from nnmf.tables import Ratings
from nnmf.training import Snapshot

from ._learner import FunkLearner
from ._presets import settled
from ._scorer import FactorScorer

_Self = TypeVar("_Self", bound="Factorization")


class Factorization(Model):
    """What the three have in common; see `SVD`."""

    #: on any table: `scripts/tune_svd.py` says how they were chosen
    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 64,
        "n_epochs": 40,
        "learning_rate": 0.025,
        "l2": 0.05,
        "l2_prior": 80.0,
        "init_std": 0.01,
        "schedule": "linear",
    }
    #: what ``preset="accurate"`` tries on a table, the defaults first
    tries: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"l2": l2, "n_epochs": n_epochs}
        for n_epochs, penalties in ((40, (0.05, 0.04, 0.065, 0.085)), (30, (0.04,)), (80, (0.05, 0.065, 0.015)))
        for l2 in penalties
    )
    #: what trains it
    learner_class: ClassVar[type[FunkLearner]]
    #: arrays that a saved model has beside those its learner trains
    derived: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: TrainConfig | None = None, **settings: Any) -> None:
        presets = dict.fromkeys(("fast", "accurate"), self.defaults)
        super().__init__(settled(config, settings, self.kind, presets))
        accurate = self.config.preset == "accurate"
        given = {**(config.to_dict() if config else {}), **settings}
        #: settings that are chosen for each table
        self._open = [name for name in self.tries[0] if accurate and given.get(name) is None]

    def config_for(self, train: Ratings, valid: Ratings | None) -> TrainConfig:
        if not self._open:
            return self.config
        changes = [{name: tried[name] for name in self._open} for tried in self.tries]
        # Those that differ in a setting that was given alone are one.
        configs = dict.fromkeys(dataclasses.replace(self.config, **change) for change in changes)
        return best_of(self, list(configs), train, valid)

    def check_cluster(self) -> None:
        if not self.learner_class.on_clusters:
            raise ConfigError(
                f"cluster: {self.kind} trains on one machine alone, for each user's step changes all items that it has rated; "
                "leave it out, or take svd, funk_svd or bayes."
            )

    @property
    def n_factors(self) -> int:
        """Width of the vectors."""
        return int(self.config.n_factors or 0)

    @property
    def user_factors(self) -> np.ndarray:
        """p_u of each user: float32 array of shape (n_users, n_factors)."""
        return self._table("user_factors")

    @property
    def item_factors(self) -> np.ndarray:
        """q_i of each item: float32 array of shape (n_items, n_factors)."""
        return self._table("item_factors")

    def _table(self, name: str) -> np.ndarray:
        found = self.scorer.vectors()  # of a mean those that predict, and what stands beside them of its newest epoch
        return found[name] if name in found else own_scorer(self.scorer).arrays()[name]

    def learner(self, catalogue: Catalogue, start: Snapshot | None) -> FunkLearner:
        return self.learner_class(self.config, catalogue, start)

    def details(self) -> dict[str, Any]:
        return {"unit": cast(FactorScorer, own_scorer(self.scorer)).unit}

    @classmethod
    def from_details(cls: type[_Self], config: TrainConfig, state: ModelState) -> _Self:
        return cls(config)

    def scorer_of(self, catalogue: Catalogue, arrays: dict[str, np.ndarray], details: dict[str, Any]) -> FactorScorer:
        unit = details.get("unit")
        if isinstance(unit, bool) or not isinstance(unit, (int, float)) or not 0 < unit < math.inf:
            raise DataError(f"unit: got {unit!r}; a number above zero is needed.")
        names = (*self.learner_class.names, *self.derived)
        sizes = {"user": len(catalogue.users), "item": len(catalogue.items)}
        mean = catalogue.global_mean if "user_bias" in names else 0.0
        return FactorScorer.read(arrays, names, sizes, self.n_factors, mean, float(unit))
