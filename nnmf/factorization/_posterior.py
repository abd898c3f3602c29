"""`Posterior`: what draws come to, added up as they come: the mean of their predictions, and a few dozen whole draws."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ._gibbs import Sampler
from ._low_rank import compress

#: the sides whose rows' products predictions hold
PAIRS = (("user", "item"), ("user", "day"), ("item", "day"))


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw: what each row adds to predictions alone, float32 (n,), and its q, float16 (n, n_factors), by side; cut points."""

    constant: float
    consts: dict[str, np.ndarray]
    q: dict[str, np.ndarray]
    cuts: np.ndarray


@dataclass(frozen=True, eq=False)
class Product:
    """Two tables whose rows' dot products over the first ``width`` columns are a sum of products.

    Attributes
    ----------
    left, right : float32 arrays of shape (n_rows, at least width), C-ordered
    width : int
    """

    left: np.ndarray
    right: np.ndarray
    width: int

    @property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """The columns that count."""
        return self.left[:, : self.width], self.right[:, : self.width]


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over draws, in units of the ratings' spread about their centre; never changed once made.

    Attributes
    ----------
    n_draws : int
        Draws that are added up.
    constant, variance : float
        Sums of w0 and of the noise's variance.
    consts : dict of str to float64 array of shape (n_rows,)
        By side: what each row adds to predictions alone.
    products : dict of (str, str) to Product
        By pair of sides: the sums of ``q_left . q_right``.
    draws : tuple of Draw
        Every `every`-th draw.
    every : int
    cuts : float64 array of shape (n_values - 1,)
        Of ratings on a grid: sums of the cut points between its values; else empty.
    """

    n_draws: int
    constant: float
    variance: float
    consts: dict[str, np.ndarray]
    products: dict[tuple[str, str], Product]
    draws: tuple[Draw, ...] = ()
    every: int = 1
    cuts: np.ndarray = field(default_factory=lambda: np.zeros(0))


class Posterior:
    """Adds draws up, in bounded memory.

    The dot products of a draw are added to a pair's sum as more columns of its two tables; where those grow too wide they are
    replaced by the narrower tables whose products come nearest (the singular vectors of the sum). So what predicts is one
    factorization, whatever the number of draws, and what it has lost against the average of them all is about a hundredth of
    a rating's spread.

    Parameters
    ----------
    width : int
        Columns that are kept where the tables are made narrower; they grow to twice as many.
    n_draws : int
        Whole draws to keep: evenly spread, at least half as many once there are so many.
    totals : Totals, default=None
        What to go on from.
    """

    def __init__(self, width: int, n_draws: int, totals: Totals | None = None) -> None:
        self._width, self._n_draws, self.totals = width, n_draws, totals
        # Room behind the columns of totals given is their maker's, who may go on, too.
        self._has_room = False

    def add(self, sampler: Sampler) -> None:
        """Add the sampler's draw."""
        sides = {side.name: side for side in sampler.sides}
        before = self.totals
        consts = {name: side.const.astype(np.float64) for name, side in sides.items()}
        pairs = [pair for pair in PAIRS if pair[1] in sides]
        if before is None:
            before = Totals(0, 0.0, 0.0, dict.fromkeys(sides, np.zeros(1)), {})
        for name, total in before.consts.items():
            consts[name] += total
        cuts = np.zeros(0) if sampler.grid is None else sampler.grid.cuts[1:-1].copy()
        q = {name: side.by_row() for name, side in sides.items()}
        self.totals = Totals(
            n_draws=before.n_draws + 1,
            constant=before.constant + sampler.constant,
            variance=before.variance + 1 / sampler.alpha,
            consts=consts,
            products={pair: self._joined(before.products.get(pair), q[pair[0]], q[pair[1]]) for pair in pairs},
            draws=before.draws,
            every=before.every,
            cuts=cuts + before.cuts if before.n_draws else cuts,
        )
        self._has_room = True
        if before.n_draws % before.every == 0:
            half = {name: table.astype(np.float16) for name, table in q.items()}
            draw = Draw(sampler.constant, {name: side.const.copy() for name, side in sides.items()}, half, cuts)
            draws, every = (*before.draws, draw), before.every
            if len(draws) > self._n_draws:
                draws, every = draws[::2], every * 2
            self.totals = replace(self.totals, draws=draws, every=every)

    def _joined(self, before: Product | None, left: np.ndarray, right: np.ndarray) -> Product:
        """A product's tables with a draw's columns behind theirs; what shows of the old ones is never written again."""
        more, room = left.shape[1], 2 * self._width
        old = before.tables if before else (left[:, :0], right[:, :0])
        if before and before.width + more > room:
            before, old = None, compress(*old, self._width)
        done = old[0].shape[1]
        if before is None or not self._has_room or done + more > before.left.shape[1]:
            tables = [np.empty((len(table), max(room, done + more)), np.float32) for table in (left, right)]
            for table, kept in zip(tables, old, strict=True):
                table[:, :done] = kept
            before = Product(tables[0], tables[1], done)
        for table, new in ((before.left, left), (before.right, right)):
            table[:, done : done + more] = new
        return Product(before.left, before.right, done + more)
