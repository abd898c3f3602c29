"""`Sampler`: Gibbs sweeps over a factorization machine whose features describe users, items and days."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nnmf.tables import Block, Codes

from . import _gibbs_kernels as kernels
from ._layout import checked_columns
from ._ordinal import Grid
from ._posterior import Draw
from ._schedule import Workers
from ._sides import Side, key_of

# Parts that threads share, and the memory that their sums may take.
_CHUNKS, _SUM_BYTES = 8, 1 << 26
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

    Parameters
    ----------
    user, item, rating : arrays of shape (n_ratings,)
    n_users, n_items : int
    blocks : (sequence of Block, sequence of Block)
        What describes the users, and the items, beside their ids.
    day : Codes or None
        A column of each rating.
    n_factors, seed, init_std
    workers : Workers
    centre, spread : float
        Mean and standard deviation of the ratings.
    ordinal : bool
        Ratings are values of a grid, behind which lie latent numbers (see `Grid`); these take the ratings' place, the noise has
        precision 1 and w0 is 0, for cut points are free to move instead.
    values : array, default=None
        The grid; None: the values that the ratings take.
    like : Sampler, default=None
        One of the same ratings and blocks, whose columns serve this one as well.

    References
    ----------
    S. Rendle, "Factorization machines with libFM", TIST 2012; "Scaling factorization machines to relational data", PVLDB 2013.
    T. Freudenthaler, L. Schmidt-Thieme, S. Rendle, "Bayesian factorization machines", 2011.
    """

    def __init__(
        self,
        user: np.ndarray,
        item: np.ndarray,
        rating: np.ndarray,
        sizes: tuple[int, int],
        blocks: tuple[Sequence[Block], Sequence[Block]],
        day: Codes | None,
        *,
        n_factors: int,
        seed: int,
        init_std: float,
        workers: Workers,
        centre: float,
        spread: float,
        ordinal: bool = False,
        values: np.ndarray | None = None,
        like: Sampler | None = None,
    ) -> None:
        columns, counts = checked_columns(user, item, rating, *sizes)
        n_users, n_items = sizes
        self.n_factors, self.seed, self._workers = n_factors, seed, workers
        n_rows = max(n_items, day.n_columns if day else 1)
        n_chunks = max(1, min(_CHUNKS, _SUM_BYTES // (32 * n_rows)))
        self._starts: np.ndarray
        self._item: np.ndarray
        self._day: np.ndarray | None
        self._rating: np.ndarray
        self.grid: Grid | None = None
        if like is not None:
            self._starts, self._item, self._day, self._rating = like._starts, like._item, like._day, like._rating
            self.grid = like.grid.copy(workers) if like.grid else None
        else:
            order = np.argsort(columns[0], kind="stable")
            self._starts = np.zeros(n_users + 1, np.int64)
            np.cumsum(counts[0], out=self._starts[1:])
            self._item, self._rating = columns[1][order], columns[2][order]
            self._day = None if day is None else day.code[order]
            if ordinal:
                self.grid = Grid(self._rating, values, n_chunks, workers)
                self._rating[:] = 0.0  # residuals are then minus the predictions, which the grid draws from
            else:
                self._rating -= np.float32(centre)
                self._rating /= np.float32(spread)
        self._chunks = np.arange(n_chunks, dtype=np.int32)
        self._edges = np.searchsorted(self._starts, np.linspace(0, len(rating), n_chunks + 1)).astype(np.int64)
        self._edges[[0, -1]] = 0, n_users
        self._errors = np.zeros(n_chunks)
        self.residual = np.empty_like(self._rating)
        self.users: Side = Side(
            "user", 0, counts[0].astype(np.int64), blocks[0], n_factors, n_chunks, like.users if like else None
        )
        self.items: Side = Side(
            "item", 1, counts[1].astype(np.int64), blocks[1], n_factors, n_chunks, like.items if like else None
        )
        self.days: Side | None = None
        if day is not None:
            of_day = np.bincount(day.code, minlength=day.n_columns)
            self.days = Side("day", 2, of_day, (), n_factors, n_chunks)
        self.sides = [self.users, self.items, *([self.days] if self.days else [])]
        self._sums = {side.name: np.zeros((n_chunks, len(side.counts), 4)) for side in self.sides[1:]}
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
            self.grid.draw(self.residual, rng, key_of(self.seed, number, len(self.sides)))
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
        columns = self._starts, self._item, self._day, self.residual
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
        columns = self._starts, self._item, self._day, self._rating
        self._walk(kernels.residuals, *columns, self.constant, consts, q, self.residual, self._errors)
        self._squared_error = float(self._errors.sum())

    def _walk(self, kernel: Callable[..., None], *arguments: object) -> None:
        n_threads = self._workers.n_threads if len(self.residual) >= _SHARED_RATINGS else 1
        self._workers.walk(kernel, self._chunks, n_threads, self._edges, *arguments)

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
