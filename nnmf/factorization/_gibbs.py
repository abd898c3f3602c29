"""`Sampler`: Gibbs sweeps over a factorization machine whose features describe users, items and days."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from . import _gibbs_kernels as kernels
from ._observed import Observed
from ._posterior import Draw
from ._schedule import Workers
from ._sides import Side, key_of

# Sweeps after which rounding that has added up is taken away.
_REFRESHED = 32
# Multiply-adds in a pass over the ratings that are worth waking threads for.
_SHARED_RATINGS = 1 << 18

_NO_DAY = np.zeros(1, np.float32)


class Sampler:
    """Draws of the parameters of ``r = w0 + sum of w_f x_f + sum over pairs of <v_f, v_g> x_f x_g + noise``.

    Each weight is normal about a mean of its block and factor, with a precision of its block and factor; these, w0 and the
    noise's precision are drawn too. Ratings are measured from `centre` in units of `spread`, so that the priors suit any scale.
    All that is drawn follows from (seed, number of the sweep, block, factor, column), whatever number of threads draws.

    Of ratings on a grid (see `Grid`) the latent numbers behind them take their place; the noise has then precision 1, and w0 is 0,
    for cut points are free to move instead.

    Parameters
    ----------
    observed : Observed
        The ratings, and what describes them.
    n_factors, seed : int
    init_std : float
        Standard deviation of the factors to start with.
    workers : Workers

    References
    ----------
    S. Rendle, "Factorization machines with libFM", TIST 2012; "Scaling factorization machines to relational data", PVLDB 2013.
    T. Freudenthaler, L. Schmidt-Thieme, S. Rendle, "Bayesian factorization machines", 2011.
    """

    def __init__(self, observed: Observed, *, n_factors: int, seed: int, init_std: float, workers: Workers) -> None:
        self.n_factors, self.seed, self._observed, self._workers = n_factors, seed, observed, workers
        self.grid = observed.grid.copy() if observed.grid else None
        names = [side for side in ("user", "item", "day") if side in observed.counts]
        self.sides = [Side(name, number, observed, n_factors) for number, name in enumerate(names)]
        self.users, self.items = self.sides[:2]
        self.days = self.sides[2] if len(self.sides) > 2 else None
        n_chunks = observed.n_chunks
        self._chunks, self._errors = np.arange(n_chunks, dtype=np.int32), np.zeros(n_chunks)
        self._sums = {side.name: np.zeros((n_chunks, len(side.counts), 4)) for side in self.sides[1:]}
        self.residual = np.empty_like(observed.rating)
        self.alpha, self.constant, self._went_on = 1.0, 0.0, False
        rng = np.random.default_rng(seed)
        for side in self.sides:
            side.draw_initial(rng, init_std)

    def begin(self) -> None:
        """Work out of the weights what the first sweep starts from, unless it is there already."""
        if not self._went_on:
            self._refresh()
        self._find_residuals()

    def sweep(self, number: int, tick: Callable[[float], None]) -> None:
        """Draw everything once.

        Parameters
        ----------
        number : int
            Of the sweep, from 1; no other has its random numbers.
        tick : callable
            Told after each factor what part of the sweep is done.
        """
        rng = np.random.default_rng((self.seed, number))
        if self.grid is not None:
            self.grid.draw(self.residual, rng, key_of(self.seed, number, len(self.sides)), self._workers)
        else:
            self._draw_noise(rng)
            self._draw_constant(rng)
        for side in self.sides:
            for group in side.groups:
                group.draw_prior(rng)
            side.terms[:] = 0.0
        for factor in range(-1, self.n_factors):
            self._draw_factor(factor, number)
            tick((factor + 2) / (self.n_factors + 1))
        if number % _REFRESHED == 0:
            self._refresh()
        self._find_residuals()

    def _draw_noise(self, rng: np.random.Generator) -> None:
        """The noise's precision, Gamma(1/2, 1/2) a priori."""
        self.alpha = float(rng.gamma((1 + len(self.residual)) / 2) / ((1 + self._squared_error) / 2))

    def _draw_constant(self, rng: np.random.Generator) -> None:
        """w0, N(0, 1) a priori."""
        n, precision = len(self.residual), 1 + self.alpha * len(self.residual)
        total = float(self.residual.sum(dtype=np.float64)) + n * self.constant
        drawn = float(np.float32(self.alpha * total / precision + rng.standard_normal() / math.sqrt(precision)))
        self.residual -= np.float32(drawn - self.constant)
        self.constant = drawn

    def _draw_factor(self, factor: int, number: int) -> None:
        """The weights of a factor on every side, one side after another; factor -1: the columns' own weights."""
        users, items, days = self.users, self.items, self.days
        before = {side.name: _q(side, factor - 1) for side in self.sides}
        q = {side.name: _q(side, factor) for side in self.sides}
        no_terms = np.zeros((1, 4), np.float32)
        seen = self._observed
        columns = seen.starts, seen.item, seen.day, self.residual
        items.terms[:, 3] = q["item"]
        if days is not None:
            days.terms[:, 3] = q["day"]
        day_terms = no_terms if days is None else days.terms
        self._walk(kernels.user_pass, *columns, users.rows, items.terms, day_terms, before["user"], q["user"])
        users.draw(factor, self.alpha, self.seed, number, self._workers)
        self._walk(kernels.item_pass, *columns, users.rows, q["item"], q.get("day", _NO_DAY), self._sums["item"])
        kernels.gather(self._sums["item"], items.counts, q["item"], items.rows)
        items.draw(factor, self.alpha, self.seed, number, self._workers)
        _set_terms(items, factor)
        if days is not None:
            self._walk(kernels.day_pass, *columns, users.rows, items.terms, q["day"], self._sums["day"])
            kernels.gather(self._sums["day"], days.counts, q["day"], days.rows)
            days.draw(factor, self.alpha, self.seed, number, self._workers)
            items.terms[:, :2] = 0.0  # the pass over the days took them off
            _set_terms(days, factor)

    @property
    def rmse(self) -> float:
        """RMSE of the ratings by the last draw, in units of the spread."""
        if self.grid is not None:
            return self.grid.rmse(self.residual)
        return math.sqrt(self._squared_error / len(self.residual))

    def _refresh(self) -> None:
        for side in self.sides:
            side.refresh()

    def _find_residuals(self) -> None:
        """Work the residuals out anew, lest rounding add up."""
        consts = self.users.const, self.items.const, self.days.const if self.days else _NO_DAY
        q = self.users.by_row(), self.items.by_row(), self.days.by_row() if self.days else _NO_DAY.reshape(1, 1)
        seen = self._observed
        columns = seen.starts, seen.item, seen.day, seen.rating
        self._walk(kernels.residuals, *columns, self.constant, consts, q, self.residual, self._errors)
        self._squared_error = float(self._errors.sum())

    def _walk(self, kernel: Callable[..., None], *arguments: object) -> None:
        n_threads = self._workers.n_threads if len(self.residual) >= _SHARED_RATINGS else 1
        self._workers.walk(kernel, self._chunks, n_threads, self._observed.edges, *arguments)

    def draw(self) -> Draw:
        """A copy of the draw that the last sweep left."""
        return Draw(
            constant=self.constant,
            variance=1 / self.alpha,
            consts={side.name: side.const.copy() for side in self.sides},
            q={side.name: side.by_row() for side in self.sides},
            cuts=np.zeros(0) if self.grid is None else self.grid.cuts[1:-1].copy(),
        )

    # -- what a run that goes on needs -------------------------------------------------------------------------------
    def state(self) -> dict[str, np.ndarray]:
        """A copy of what the next sweep starts from, float32."""
        found = {"constant": np.array([self.constant], np.float32)}
        if self.grid is not None:
            found["cuts"] = self.grid.cuts[1:-1].astype(np.float32)
        for side in self.sides:
            found[f"{side.name}_q"], found[f"{side.name}_const"] = side.q.copy(), side.const.copy()
            for index, group in enumerate(side.groups):
                found[f"{side.name}_{index}_weights"] = group.weights.copy()
                found[f"{side.name}_{index}_means"] = group.mean.astype(np.float32)
        return found

    def take_state(self, state: dict[str, np.ndarray], same: bool) -> None:
        """Go on from what `state` gave; columns that are new since keep what they were drawn as.

        ``same``: the ratings are those that the state was reached with; the next sweep is then the one that would have come.
        """
        self.constant, self._went_on = float(state["constant"][0]), same
        if self.grid is not None:
            self.grid.cuts[1:-1] = state["cuts"]
        for side in self.sides:
            if same:
                side.q[:], side.const[:] = state[f"{side.name}_q"], state[f"{side.name}_const"]
            for index, group in enumerate(side.groups):
                weights = state[f"{side.name}_{index}_weights"]
                group.weights[:, : weights.shape[1]] = weights
                group.mean[:] = state[f"{side.name}_{index}_means"]


def _q(side: Side, factor: int) -> np.ndarray:
    """The rows' q of a factor; zeros for the columns' own weights, which have none."""
    return side.q[factor] if factor >= 0 else np.zeros(len(side.counts), np.float32)


def _set_terms(side: Side, factor: int) -> None:
    """What the draws just made change in the residuals of the rows' ratings."""
    side.terms[:, 0], side.terms[:, 1] = side.rows[:, kernels.A], side.rows[:, kernels.B]
    side.terms[:, 2] = _q(side, factor)
