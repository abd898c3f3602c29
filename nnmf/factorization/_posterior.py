"""`Posterior`: what draws come to, added up as they come: the mean of their predictions, and a few dozen whole draws."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nnmf.models import Product, thinned

#: the sides whose rows' products predictions hold
PAIRS = (("user", "item"), ("user", "day"), ("item", "day"))


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw, in units of the ratings' spread about their centre.

    Attributes
    ----------
    constant, variance : float
        w0, and the noise's variance.
    consts : dict of str to float32 array of shape (n_rows,)
        By side: what each row adds to predictions alone.
    q : dict of str to array of shape (n_rows, n_factors)
        By side; float32, or float16 where it is kept.
    cuts : float64 array of shape (n_values - 1,)
        Of ratings on a grid: the cut points between its values; else empty.
    """

    constant: float
    variance: float
    consts: dict[str, np.ndarray]
    q: dict[str, np.ndarray]
    cuts: np.ndarray


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

    def add(self, draw: Draw) -> None:
        """Add a draw."""
        before = self.totals or _nothing(draw)
        draws, every = thinned(before.draws, before.every, before.n_draws, lambda: _halved(draw), self._n_draws)
        self.totals = Totals(
            n_draws=before.n_draws + 1,
            constant=before.constant + draw.constant,
            variance=before.variance + draw.variance,
            consts={side: before.consts[side] + const for side, const in draw.consts.items()},
            products={
                (left, right): before.products[left, right].joined(draw.q[left], draw.q[right], self._width)
                for left, right in before.products
            },
            draws=draws,
            every=every,
            cuts=before.cuts + draw.cuts,
        )


def _nothing(draw: Draw) -> Totals:
    """The sums over no draws like this one."""
    products = {
        (left, right): Product(draw.q[left][:, :0], draw.q[right][:, :0], 0)
        for left, right in PAIRS
        if right in draw.consts
    }
    return Totals(0, 0.0, 0.0, dict.fromkeys(draw.consts, np.zeros(1)), products, cuts=np.zeros_like(draw.cuts))


def _halved(draw: Draw) -> Draw:
    """The draw in half the memory."""
    return replace(draw, q={side: table.astype(np.float16) for side, table in draw.q.items()})
