"""`Bayes`: a factorization machine over ids, histories, dates and attributes, sampled by Gibbs; needs no MXNet."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, DataError
from nnmf.models import Catalogue, Model, pairs_of
from nnmf.storage import ModelState, check_array
from nnmf.tables import Ratings, check_vocabulary, encode, n_columns_of
from nnmf.training import Scorer, Snapshot

from ._bayes_learner import GibbsLearner
from ._bayes_scorer import PosteriorScorer, read_totals
from ._grid_scorer import GridScorer
from ._presets import settled
from ._start import starting_std

# What follows the number of ratings, up to so many. Each chain takes time and 4 bytes a rating, and gains less on large tables. What
# few ratings do not tell of, the prior does, and each factor more, and what weighs who rated what, adds to how far it lets predictions
# stray: on parts of u1.base and drawn tables of 800 to 16,000 ratings ten factors are worse than four, up to 2,000 ids alone are best.
_FEATURES = [(2e3, "ids"), (math.inf, "ids,history,raters")]
_BY_SIZE: dict[str, dict[str, list[tuple[float, Any]]]] = {
    "fast": {
        "features": _FEATURES,
        "n_factors": [(1e4, 4), (3e4, 6), (math.inf, 10)],
        "n_chains": [(2e6, 4), (math.inf, 1)],
    },
    "accurate": {
        "features": _FEATURES,
        "n_factors": [(1e4, 4), (3e4, 6), (math.inf, 16)],
        "n_chains": [(2e5, 16), (1e6, 8), (5e6, 4), (math.inf, 2)],
    },
}


class Bayes(Model):
    """Bayesian factorization: not one set of factors but draws from all that explain the ratings, averaged.

    Prediction, of one draw::

        r_ui = w_0 + sum of w_f x_f + sum over pairs f < g of <v_f, v_g> x_f x_g

    over the features of a rating: the user, the item, and those of `features`. Each weight is normal about a mean of its feature
    and factor with a precision of its feature and factor; means are N(0, 1), precisions Gamma(1/2, 1/2), the noise is normal
    with a precision that is Gamma(1/2, 1/2), all for ratings measured from their mean in units of their standard deviation.
    Everything is drawn in turn given all else; a sweep over all leaves a draw, an epoch is ``sweeps`` of them; predictions are
    the mean over the draws of all chains, samplers that start apart; those of the first epoch, which is still on its way, go when
    others come. There is no step size and no penalty to choose.

    Cold start: an unknown item is answered by what is predicted of the user with the mean of all items, an unknown user
    likewise, both by the mean rating.

    Parameters
    ----------
    config : TrainConfig, default=None
        Settings; those at None take `defaults`.
    **settings
        Single settings over ``config``: n_epochs=8, sweeps=10, likelihood="normal", n_draws=32 (whole draws kept, for intervals),
        seed=0, n_threads=all cores (the draws are the same for any number), patience; by the table n_factors (4 up to 10,000 ratings, 6
        up to 30,000, then 10), n_chains (4 up to 2 M ratings, then 1), features ("ids" up to 2,000 ratings, then "ids,history,raters")
        and init_std. ``preset="accurate"``: up to 16 factors and 16 chains.

    Raises
    ------
    ConfigError
        A setting that cannot be used, or that this model has not.

    References
    ----------
    C. Freudenthaler, L. Schmidt-Thieme, S. Rendle, "Bayesian factorization machines", 2011.
    S. Rendle, L. Zhang, Y. Koren, "On the difficulty of evaluating baselines", 2019.
    """

    kind = "bayes"
    needs_whole_state = True
    knows_deviations = True
    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": None,  # the first four follow the table
        "n_chains": None,
        "features": None,
        "init_std": None,
        "n_epochs": 8,
        "sweeps": 10,
        "likelihood": "normal",
        "n_draws": 32,
    }
    #: what the presets make of these: they differ in what follows the table
    presets: ClassVar[dict[str, dict[str, Any]]] = {"fast": defaults, "accurate": defaults}

    def __init__(self, config: TrainConfig | None = None, **settings: Any) -> None:
        super().__init__(settled(config, settings, self.kind, self.presets))
        self._open = {
            name for name in ("n_factors", "n_chains", "features", "init_std") if getattr(self.config, name) is None
        }
        if self.config.keep == "mean":
            raise ConfigError("keep: bayes averages its draws whatever is kept; leave 'mean' out.")
        names = self._names()
        if "ids" not in names or "" in names or len(set(names)) < len(names):
            raise ConfigError(
                f"features: got {self.config.features!r}; give 'ids' and what else there is to be, each once, such as "
                "'ids,history,raters'."
            )

    def _names(self) -> list[str]:
        return ["ids"] if self.config.features is None else [name.strip() for name in self.config.features.split(",")]

    @property
    def features(self) -> tuple[str, ...]:
        """What describes a rating beside its user and item; untrained, nothing where the table is to say."""
        return tuple(name for name in self._names() if name != "ids")

    @property
    def uses_features(self) -> bool:
        """Whether what is known of users and items describes them here."""
        return bool(set(self.features) - {"history", "raters", "day"})

    @property
    def n_factors(self) -> int:
        """Width of a draw's vectors."""
        return int(self.config.n_factors or 0)

    def distribution(
        self, user_ids: npt.ArrayLike, item_ids: npt.ArrayLike, *, timestamps: npt.ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What each rating on the grid is predicted to be with which probability; for ``likelihood="ordinal"``.

        Parameters
        ----------
        user_ids, item_ids, timestamps
            As for `predict`; each of them known to training.

        Returns
        -------
        The grid's values, float64 (n_values,), and their probabilities, float64 (n, n_values).

        Raises
        ------
        ConfigError
            A model of another likelihood, or that is not trained.
        DataError
            An unknown user or item, and as `predict`.
        """
        scorer = self.scorer
        if not isinstance(scorer, GridScorer):
            raise ConfigError("likelihood: 'normal' knows no grid of ratings; train with likelihood='ordinal'.")
        columns = pairs_of(self.answers, user_ids, item_ids, "error", timestamps)
        return scorer.values.copy(), scorer.probabilities(*columns)

    def config_for(self, train: Ratings, valid: Ratings | None) -> TrainConfig:
        """The settings, those that follow the table as it asks for."""
        changes: dict[str, Any] = {}
        for name, by_size in _BY_SIZE[str(self.config.preset)].items():
            if name in self._open:
                changes[name] = next(value for most, value in by_size if len(train) <= most)
        if "init_std" in self._open:
            changes["init_std"] = starting_std(train)
        return replace(self.config, **changes)

    def check_same(self, train: Ratings) -> None:
        scorer = self.scorer
        assert isinstance(scorer, PosteriorScorer)
        if encode(train, self.features, scorer.vocabulary).digest(train) != scorer.digest:
            raise DataError(
                f"{train.name}: its dates, or what is known of its users and items, are not those that training began with, "
                "so it cannot go on as if it never stopped; give those, or learn from new ones with fit_more."
            )

    def check_cluster(self) -> None:
        pass  # whole chains are trained on one

    def learner(self, catalogue: Catalogue, start: Snapshot | None) -> GibbsLearner:
        return GibbsLearner(self.config, self.features, catalogue, start)

    def details(self) -> dict[str, Any]:
        scorer = self.scorer
        assert isinstance(scorer, PosteriorScorer)
        values = scorer.values.tolist() if isinstance(scorer, GridScorer) else None
        return {
            "centre": scorer.centre,
            "spread": scorer.spread,
            "values": values,
            "vocabulary": scorer.vocabulary,
            "digest": scorer.digest,
        }

    @classmethod
    def from_details(cls, config: TrainConfig, state: ModelState) -> Bayes:
        vocabulary = state.details.get("vocabulary")
        check_vocabulary(vocabulary)
        model = cls(config)
        assert isinstance(vocabulary, dict)
        if list(model.features) != vocabulary["features"]:
            raise DataError(
                f"vocabulary: is of the features {vocabulary['features']}, the settings name {model.features}."
            )
        return model

    def scorer_of(
        self, catalogue: Catalogue, arrays: dict[str, np.ndarray], details: dict[str, Any]
    ) -> PosteriorScorer:
        centre, spread, vocabulary = details.get("centre"), details.get("spread"), details["vocabulary"]
        for name, number in (("centre", centre), ("spread", spread)):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                raise DataError(f"{name}: got {number!r}; a number is needed.")
        assert isinstance(centre, (int, float)) and isinstance(spread, (int, float))
        if spread <= 0:
            raise DataError(f"spread: got {spread!r}; a number above zero is needed.")
        sizes = {"user": len(catalogue.users), "item": len(catalogue.items)}
        sizes |= {name: n_columns_of(part) for name, part in vocabulary["rating"].items()}
        digest = details.get("digest")
        if not isinstance(digest, str):
            raise DataError(f"digest: got {digest!r}; a text is needed.")
        values = _grid_of(details.get("values"), self.config.likelihood == "ordinal")
        totals = read_totals(arrays, sizes, self.n_factors, 0 if values is None else len(values) - 1)
        what = totals, float(centre), float(spread), vocabulary, digest
        return PosteriorScorer(*what) if values is None else GridScorer(*what, values)

    def state_shapes(self, scorer: Scorer) -> dict[str, tuple[int, ...]]:
        assert isinstance(scorer, PosteriorScorer)
        shapes: dict[str, tuple[int, ...]] = {"constant": (1,)}
        if isinstance(scorer, GridScorer):
            shapes["cuts"] = (len(scorer.values) - 1,)
        for side, const in scorer.totals.consts.items():
            shapes |= {f"{side}_q": (self.n_factors, len(const)), f"{side}_const": (len(const),)}
            parts = scorer.vocabulary[side].values() if side != "day" else ()
            for index, n_columns in enumerate([len(const), *(n_columns_of(part) for part in parts)]):
                shapes[f"{side}_{index}_weights"] = (1 + self.n_factors, n_columns)
                shapes[f"{side}_{index}_means"] = (1 + self.n_factors,)
        chains = range(self.config.n_chains or 1)
        return {f"{chain}_{name}": shape for chain in chains for name, shape in shapes.items()}


def _grid_of(values: Any, ordinal: bool) -> np.ndarray | None:
    """The grid that a folder tells of; None where the likelihood has none."""
    if not ordinal:
        if values is not None:
            raise DataError("values: belong to an ordinal likelihood.")
        return None
    if not isinstance(values, list) or len(values) < 2:
        raise DataError(f"values: got {values!r}; a grid of ratings is needed.")
    grid = check_array(np.asarray(values, np.float64), (len(values),), np.float64, "values")
    if not (np.diff(grid) > 0).all():
        raise DataError("values: do not rise.")
    return grid
