"""`GibbsLearner`: trains `Bayes`, some sweeps of the Gibbs sampler an epoch."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import DataError, TrainingError
from nnmf.models import Catalogue, kept_width
from nnmf.tables import Design, Ratings, deviation_of, encode, mean_of
from nnmf.training import Learner, Snapshot, Tick

from ._bayes_scorer import PosteriorScorer
from ._chains import Chains
from ._cluster_chains import ClusterChains
from ._gibbs import Sampler
from ._grid_scorer import GridScorer
from ._observed import Observed
from ._posterior import Posterior, Totals
from ._schedule import Workers
from ._vectors import room_for

# RMSE in units of the ratings' spread that no sampler comes to.
_ABSURD = 1e6

logger = logging.getLogger("nnmf")


class GibbsLearner(Learner):
    """Draws parameters given the ratings, and adds the draws up; see `Bayes`.

    Parameters
    ----------
    config : TrainConfig
    features : tuple of str
        What describes users, items and ratings beside the ids.
    catalogue : Catalogue
    start : Snapshot or None
        What to go on from: its draws count where the table is the same, else only the last of them, as where the sampler starts.
    """

    def __init__(
        self, config: TrainConfig, features: tuple[str, ...], catalogue: Catalogue, start: Snapshot | None
    ) -> None:
        self.config, self.features, self._start = config, features, start
        self.sizes = len(catalogue.users), len(catalogue.items)
        self._n_seen = int(catalogue.user_count.sum())
        self._chains: Chains | ClusterChains | None = None

    def begin(self, train: Ratings) -> None:
        config, before = self.config, None
        if self._start is not None:
            assert isinstance(self._start.scorer, PosteriorScorer)
            before = self._start.scorer
        self.n_streamed = len(train)
        if before is not None and len(train) < self._n_seen:
            logger.warning(
                "%s holds %d of the %d ratings that the model was trained on, and bayes draws from these alone: what only the others "
                "told is forgotten; give them all.",
                train.name,
                len(train),
                self._n_seen,
            )
        if before is not None:
            _check_told(train, before.vocabulary)
        design = encode(train, self.features, None if before is None else before.vocabulary)
        self._vocabulary, self._digest = design.vocabulary, design.digest(train)
        self.centre, self.spread = (before.centre, before.spread) if before else _standard(train.rating)
        self._values = before.values if isinstance(before, GridScorer) else None
        train.say_in_memory("bayes")
        same = before is not None and before.digest == self._digest
        self._workers = Workers(config.n_threads or 1)
        observed = self._observe(train, design)
        self._values = None if observed.grid is None else observed.grid.values
        chains = self._chains = self._start_chains(observed, train.home)
        if self._start is not None:
            chains.take_state(self._start.state, same)
        chains.begin()
        if not chains.rmse / (1.0 if observed.grid is None else self.spread) < _ABSURD:
            raise TrainingError(
                "training diverged before it began: "
                + (
                    "init_std is too large."
                    if before is None
                    else "the model's last draws are too large; train anew with fit."
                )
            )
        totals = before.totals if before is not None and same else None
        self._posterior = self._adding_to(totals)

    def _start_chains(self, observed: Observed, home: Path | None) -> Chains | ClusterChains:
        config = self.config
        settings: dict[str, Any] = {"n_factors": config.n_factors or 0, "init_std": config.init_std or 0.0}
        n_chains, seed = config.n_chains or 1, config.seed
        if self.cluster is not None:
            return ClusterChains(observed, n_chains=n_chains, seed=seed, client=self.cluster, home=home, **settings)
        with room_for(n_chains * sum(self.sizes), config.n_factors or 0):
            return Chains(
                lambda own, workers: Sampler(observed, seed=own, workers=workers, **settings),
                n_chains,
                seed,
                self._workers,
            )

    def _adding_to(self, totals: Totals | None) -> Posterior:
        return Posterior(kept_width(self.config.n_factors or 0), self.config.n_draws or 1, totals)

    def _observe(self, train: Ratings, design: Design) -> Observed:
        return Observed.of(
            train.user,
            train.item,
            train.rating,
            self.sizes,
            (design.user, design.item),
            design.rating[0] if design.rating else None,
            centre=self.centre,
            spread=self.spread,
            ordinal=self.config.likelihood == "ordinal",
            values=self._values,
        )

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        assert self._chains is not None
        sweeps, before = self.config.sweeps or 1, self._rmse()

        def look(part: float) -> None:
            tick(int(part * self.n_streamed), lambda: before)

        if number == 2:
            # Those of the first epoch, on its way from where the chains started, serve until there are others.
            self._posterior = self._adding_to(None)
        # Random numbers follow from the number of a sweep, so that a resumed run needs no random state.
        for draw in self._chains.sweeps((number - 1) * sweeps + 1, sweeps, look):
            self._posterior.add(draw)
        return self._rmse()

    def _rmse(self) -> float:
        assert self._chains is not None
        return self._chains.rmse * (self.spread if self._values is None else 1.0)

    def scorer(self) -> PosteriorScorer:
        assert self._posterior.totals is not None
        what = self._posterior.totals, self.centre, self.spread, self._vocabulary, self._digest
        return PosteriorScorer(*what) if self._values is None else GridScorer(*what, self._values)

    def snapshot(self) -> PosteriorScorer:
        return self.scorer()  # totals are made anew with each draw

    def state(self) -> dict[str, np.ndarray]:
        assert self._chains is not None
        return self._chains.state()

    def end(self) -> None:
        if self._chains is not None:
            if isinstance(self._chains, ClusterChains):
                self._chains.close()
            self._workers.__exit__()
            self._chains = None


def _check_told(train: Ratings, vocabulary: dict[str, Any]) -> None:
    """Refuse a table without what the model learned from before, which would be unlearned.

    Raises
    ------
    DataError
        It has no timestamps, or lacks a column of features.
    """
    if vocabulary["rating"] and train.timestamp is None:
        raise DataError(
            f"day: {train.name} has no timestamps, and the model learns from them; give ratings that have them."
        )
    for side, features in (("user", train.user_features), ("item", train.item_features)):
        for name in vocabulary[side].keys() - {"history", "raters"}:
            if features is None or name not in features.columns:
                raise DataError(
                    f"{name}: of the {side}s of {train.name} it is not known, and the model learns from it; add it with "
                    "with_features."
                )


def _standard(rating: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of ratings; 1 where they are all the same."""
    spread = deviation_of(rating)
    return mean_of(rating), spread if spread > 0 and math.isfinite(spread) else 1.0
