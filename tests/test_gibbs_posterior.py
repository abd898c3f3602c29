"""What the draws of the Gibbs sampler come to: their mean in few columns, whole draws, and answers for tables of any kind."""

import numpy as np
import pytest

from nnmf import Bayes, Ratings
from nnmf.factorization._bayes_scorer import PosteriorScorer, read_totals
from nnmf.factorization._posterior import Posterior
from nnmf.models import compress
from nnmf.tables import encode

from .gibbs_reference import Case, dense

DAY = 86_400


# -- compress --------------------------------------------------------------------------------------------------------
def tables(n_left, n_right, wide, decay=1.0, rank=None, seed=0):
    """Two tables whose columns fall off, or only span so many directions."""
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(n_left, wide)), rng.normal(size=(n_right, wide))
    if rank is not None:
        left = rng.normal(size=(n_left, rank)) @ rng.normal(size=(rank, wide))
    return (left * decay ** np.arange(wide)).astype(np.float32), right.astype(np.float32)


ZERO = np.zeros((30, 12), np.float32)
TABLES = {
    "random": tables(40, 30, 12),
    "falling": tables(40, 30, 12, decay=0.5),
    "falling fast": tables(40, 30, 12, decay=0.1),
    "more columns than rows": tables(7, 300, 20),
    "more columns than either's rows": tables(5, 6, 20),
    "few directions": tables(40, 30, 12, rank=3),
    "as few as are kept": tables(40, 30, 12, rank=4),
    "one row": tables(1, 30, 12),
    "large": tuple(1e12 * table for table in tables(40, 30, 12)),
    "small": tuple(np.float32(1e-12) * table for table in tables(40, 30, 12)),
    "one large, one small": (tables(40, 30, 12)[0] * np.float32(1e8), tables(40, 30, 12)[1] * np.float32(1e-8)),
    "columns of unlike lengths": tuple(
        (table * float(base) ** np.arange(12)).astype(np.float32)
        for table, base in zip(tables(40, 30, 12), (0.1, 10), strict=True)
    ),
    "beyond the rows turned into float64 at a time": tables((1 << 14) + 5, 9, 10),
    "zero": (ZERO, ZERO),
    "one zero": (ZERO, tables(30, 40, 12)[1]),
}


@pytest.mark.parametrize("width", [1, 4, 6])
@pytest.mark.parametrize("name", TABLES)
def test_nothing_of_so_few_columns_comes_nearer(name, width):
    left, right = TABLES[name]
    before = left.copy(), right.copy()
    product = left.astype(np.float64) @ right.T.astype(np.float64)
    narrow = compress(left, right, width)
    for table, (wide, was) in zip(narrow, zip((left, right), before, strict=True), strict=True):
        assert table.shape == (len(wide), width) and table.dtype == np.float32 and np.isfinite(table).all()
        np.testing.assert_array_equal(wide, was)
    found = np.linalg.norm(product - narrow[0].astype(np.float64) @ narrow[1].T.astype(np.float64))
    least = np.linalg.norm(np.linalg.svd(product, compute_uv=False)[width:])
    rounding = 2e-6 * np.linalg.norm(product)
    assert least - rounding <= found <= least + rounding


@pytest.mark.parametrize("width", [12, 13])
def test_tables_that_are_no_wider_stay_as_they_are(width):
    left, right = TABLES["random"]
    assert all(found is table for found, table in zip(compress(left, right, width), (left, right), strict=True))


# -- the mean of draws -----------------------------------------------------------------------------------------------
class Drawn:
    """Draws of a sampler added up, and by themselves worked out of the weights."""

    def __init__(self, width, n_draws, n=25, n_factors=3, seed=0):
        rng = np.random.default_rng(seed)
        cell = rng.permutation(20 * 15)[:160]
        stamp = rng.integers(0, 4, 160) * DAY
        rating = 3 + rng.normal(size=20)[cell // 15] * rng.normal(size=15)[cell % 15] + 0.3 * rng.normal(size=160)
        table = Ratings.from_arrays(cell // 15, cell % 15, rating, stamp)
        design = encode(table, ["history", "raters", "day"])
        blocks, (day,) = (design.user, design.item), design.rating
        case = Case(table.user, table.item, table.rating, (table.n_users, table.n_items), blocks, day)
        self.sampler = case.sampler(n_factors, centre=3.0, spread=2.0)
        self.sampler.begin()
        self.rest = 3.0, 2.0, design.vocabulary, table.digest
        self.posterior, self.draws, self.constants, self.noise = Posterior(width, n_draws), [], [], []
        self.user, self.item = (np.ravel(grid).astype(np.int32) for grid in np.mgrid[:20, :15])
        self.stamp = np.arange(300, dtype=np.int64) % 5 * DAY  # the last is a day that no rating has
        self.columns = {
            side.name: np.hstack(
                [np.eye(len(side.counts)), *(dense(g.entries.block) for g in side.groups if g.entries)]
            )
            for side in self.sampler.sides
        }
        self.go_on(self.posterior, 1, n)

    def go_on(self, posterior, first, last):
        for number in range(first, last + 1):
            self.sampler.sweep(number, lambda part: None)
            posterior.add(self.sampler.draw())
            self.draws.append(self.prediction())
            self.constants.append(self.sampler.constant)
            self.noise.append(1 / self.sampler.alpha)

    def prediction(self):
        """Of all pairs by the weights as they stand: the pairs of columns of each row, then those of rows."""
        index = {"user": self.user, "item": self.item, "day": (self.stamp // DAY).astype(int)}
        found, vectors = np.full(300, self.sampler.constant), {}
        for side in self.sampler.sides:
            x, weights = self.columns[side.name], np.hstack([group.weights for group in side.groups])
            weights = weights.astype(np.float64)
            upper = np.triu(weights[1:].T @ weights[1:], 1)
            found += (x @ weights[0] + np.einsum("ni,nj,ij->n", x, x, upper))[index[side.name]]
            vectors[side.name] = (x @ weights[1:].T)[index[side.name]]
        user, item, day = vectors["user"], vectors["item"], vectors["day"]
        return 3 + 2 * (found + (user * item + user * day + item * day).sum(1))

    def scorer(self, totals=None):
        return PosteriorScorer(totals or self.posterior.totals, *self.rest)

    def answers(self, totals=None):
        return self.scorer(totals).predict(self.user, self.item, self.stamp)


def copies(scorer):
    return {name: np.array(array) for name, array in scorer.arrays().items()}


def test_what_is_never_made_narrower_predicts_the_mean_of_the_draws():
    drawn = Drawn(width=1000, n_draws=4)
    assert drawn.posterior.totals.products["user", "item"].width == 75
    mean = np.mean(drawn.draws, axis=0)
    np.testing.assert_allclose(drawn.answers(), mean, rtol=1e-5, atol=1e-5)
    assert np.std(np.array(drawn.draws), axis=0).min() > 1e-3, "all draws are the same"
    undated = drawn.scorer()
    unknown = undated.predict(drawn.user, drawn.item, np.full(300, 77 * DAY))
    np.testing.assert_array_equal(undated.predict(drawn.user, drawn.item, None), unknown)
    np.testing.assert_allclose(
        (undated.towers("user")[drawn.user] * undated.towers("item")[drawn.item]).sum(1), unknown, atol=1e-4
    )
    for side, axis in (("user", 1), ("item", 0)):
        np.testing.assert_allclose(undated.alone(side), unknown.reshape(20, 15).mean(axis), atol=1e-4)


@pytest.mark.parametrize(("width", "low", "high"), [(12, 1e-3, 6e-3), (6, 5e-3, 0.03), (2, 0.03, 0.15)])
def test_what_is_made_narrower_predicts_nearly_that(width, low, high):
    """In units of the spread; the pairs' tables have ranks of up to 15, 5 and 5."""
    drawn = Drawn(width, n_draws=4)
    assert all(product.width < 75 for product in drawn.posterior.totals.products.values())
    lost = np.sqrt(np.mean((drawn.answers() - np.mean(drawn.draws, axis=0)) ** 2)) / 2
    assert low < lost < high


def test_totals_never_change_once_made():
    """Not even where two go on from the same."""
    drawn, kept = Drawn(width=8, n_draws=4, n=0), []
    for number in range(1, 12):
        drawn.go_on(drawn.posterior, number, number)
        kept.append((drawn.posterior.totals, drawn.answers(), copies(drawn.scorer())))
        if number == 4:
            other = Posterior(8, 4, drawn.posterior.totals)
    drawn.go_on(other, 12, 14)
    for totals, prediction, arrays in kept:
        np.testing.assert_array_equal(drawn.answers(totals), prediction)
        for name, array in drawn.scorer(totals).arrays().items():
            np.testing.assert_array_equal(array, arrays[name], err_msg=name)


@pytest.mark.parametrize("at", range(1, 8))
def test_what_goes_on_adds_up_to_the_same_bits(at):
    """Of totals that were written and read, and so have no room for more."""
    whole = Drawn(width=8, n_draws=4, n=9)
    part = Drawn(width=8, n_draws=4, n=at)
    sizes = {side.name: len(side.counts) for side in part.sampler.sides}
    again = Posterior(8, 4, read_totals(copies(part.scorer()), sizes, 3, 0))
    part.go_on(again, at + 1, 9)
    expected = whole.scorer().arrays()
    for name, array in part.scorer(again.totals).arrays().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


# -- whole draws -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_draws", [1, 2, 4, 5, 7, 100])
def test_draws_that_are_kept_are_evenly_spread(n_draws):
    drawn = Drawn(width=1000, n_draws=n_draws, n=0)
    for number in range(1, 41):
        drawn.go_on(drawn.posterior, number, number)
        totals = drawn.posterior.totals
        assert [draw.constant for draw in totals.draws] == drawn.constants[:: totals.every]
        assert len(totals.draws) <= n_draws and totals.n_draws == number
        assert 2 * len(totals.draws) >= min(n_draws, number)


def test_deviations_are_those_of_the_draws_and_the_noise():
    drawn = Drawn(width=1000, n_draws=100)
    settled = slice(-(-len(drawn.draws) // 3), None)  # the first third is on its way from where the chain started
    between = np.var(drawn.draws[settled], axis=0, ddof=1)
    expected = np.sqrt(between + 4 * np.mean(drawn.noise[settled]))
    found = drawn.scorer().deviation(drawn.user, drawn.item, drawn.stamp)
    np.testing.assert_allclose(found, expected, rtol=5e-3)  # what is kept of a draw is float16


# -- tables of any kind ----------------------------------------------------------------------------------------------
def any_table(name):
    rng = np.random.default_rng(1)
    cell = rng.permutation(120)[:80]
    user, item = cell // 10, cell % 10
    rating = {
        "zero or one": rng.integers(0, 2, 80),
        "0 to 100": rng.integers(0, 101, 80),
        "millions": 1e6 * rng.uniform(1, 5, 80),
        "millionths": 1e-6 * rng.uniform(1, 5, 80),
        "far from zero": 1e6 + rng.uniform(1, 5, 80),
        "below zero": -rng.uniform(1, 5, 80),
        "all the same": np.full(80, 3.7),
        "all zero": np.zeros(80),
        "all the same but one": np.where(np.arange(80) == 7, 5.0, 3.0),
    }.get(name, rng.integers(1, 6, 80))
    if name == "one user":
        user = np.zeros(80, int)
        item = np.arange(80)
    elif name == "one item":
        user, item = np.arange(80), np.zeros(80, int)
    n = {"ten ratings": 10, "two ratings": 2, "one rating": 1}.get(name, 80)
    return Ratings.from_arrays(user[:n], item[:n], rating[:n], np.arange(n) * DAY // 9)


KINDS = "zero or one, 0 to 100, millions, millionths, far from zero, below zero, all the same, all zero, all the same but one"


def trained(name, features):
    """A model of a table, and its predictions and deviations for pairs of known and unknown users, items and days."""
    table = any_table(name)
    model = Bayes(n_factors=3, n_epochs=20, sweeps=3, n_chains=2, features=features).fit(table)
    user, item = (np.ravel(grid).astype(np.int32) for grid in np.mgrid[-1 : table.n_users, -1 : table.n_items])
    stamp = np.where(np.arange(len(user)) % 3 == 0, 400 * DAY, 2 * DAY) if "day" in features else None
    prediction, deviation = model.answers.predict(user, item, stamp), model.answers.deviation(user, item, stamp)
    assert np.isfinite(prediction).all() and np.isfinite(deviation).all() and (deviation > 0).all()
    return table, model, prediction, deviation


@pytest.mark.parametrize("features", ["ids", "ids,history,raters,day"])
@pytest.mark.parametrize("name", [*KINDS.split(", "), "one user", "one item"])
def test_answers_stay_within_reason(name, features):
    """Not much further from the ratings than they are from one another, and as uncertain as that."""
    table, model, prediction, deviation = trained(name, features)
    mean = table.rating.mean(dtype=np.float64)
    reach = float(np.ptp(table.rating)) or 1.0
    assert np.abs(prediction - mean).max() < 2.5 * reach  # found: up to 1.6
    assert 0.02 * reach < deviation.min() < deviation.max() < 2.5 * reach  # found: .036 to 1.5
    error = model.answers.predict(table.user, table.item, table.timestamp if "day" in features else None) - table.rating
    assert np.sqrt(np.mean(error**2)) < 1.05 * table.rating.std(dtype=np.float64) + (0 if np.ptp(table.rating) else 0.2)


@pytest.mark.parametrize("features", ["ids", "ids,history,raters,day"])
@pytest.mark.parametrize("name", ["ten ratings", "two ratings", "one rating"])
def test_very_few_ratings_are_answered_within_the_scale(name, features):
    """What is drawn given so few is as far spread as the priors, whose tails have no variance: it is finite, no more."""
    table, model, prediction, _ = trained(name, features)
    assert np.abs(prediction - table.rating.mean()).max() < 1000
    found = model.predict(table.users.ids[table.user], table.items.ids[table.item])
    assert (found >= table.rating.min()).all() and (found <= table.rating.max()).all()


def test_a_user_and_an_item_without_ratings_are_answered_as_unknown_ones():
    table = any_table("")
    part = table.take((table.user > 0) & (table.item != 4))
    model = Bayes(n_factors=3, n_epochs=20, sweeps=2, n_chains=2).fit(part)
    pairs = np.array([0, 0, 5, -1], np.int32), np.array([2, 4, 4, -1], np.int32)
    unknown = np.array([-1, -1, 5, -1], np.int32), np.array([2, -1, -1, -1], np.int32)
    found = model.answers.predict(*pairs)
    np.testing.assert_array_equal(found, model.answers.predict(*unknown))
    assert found[1] == found[3] == pytest.approx(part.rating.mean(dtype=np.float64), rel=1e-6)
    np.testing.assert_array_equal(model.answers.deviation(*pairs), model.answers.deviation(*unknown))
