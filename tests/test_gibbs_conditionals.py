"""What the Gibbs sampler draws given all else, against closed forms; and tables drawn from known weights."""

import numpy as np
import pytest

from nnmf import Bayes, Ratings
from nnmf.factorization import _gibbs_kernels as kernels
from nnmf.factorization._ordinal import Grid
from nnmf.factorization._schedule import Workers
from nnmf.factorization._sides import Group, key_of
from nnmf.tables import Block, encode

from .gibbs_reference import Case, case, dense, gamma_cdf, mean_error, normal_cdf, random_block, surprise, user_side

#: standard errors: of some 600 comparisons in this file the most is 3.2 to be expected, and 4.5 once in 200 such files
FAR = 4.5


def regression(x, y, alpha, precision, mean):
    """Mean and covariance of weights given y = x @ weights + noise: the posterior of a Bayesian linear regression."""
    covariance = np.linalg.inv(np.diag(np.full(x.shape[1], precision)) + alpha * x.T @ x)
    return covariance @ (precision * mean + alpha * x.T @ y), covariance


def assert_normal(draws, mean, covariance):
    """A chain's draws have a mean and a covariance, both within the error of as many draws, which is small."""
    draws = np.asarray(draws, np.float64)
    assert np.abs(mean_error(draws, mean)).max() < FAR
    left = draws - mean
    products = left[:, :, None] * left[:, None, :]
    assert np.abs(mean_error(products, covariance)).max() < FAR
    assert np.abs(products.mean(0) - covariance).max() < 0.2 * covariance.diagonal().max()


# -- weights ---------------------------------------------------------------------------------------------------------
def test_all_weights_of_the_columns_alone_are_those_of_a_linear_regression():
    """Users, items, two blocks and days together: their joint distribution is known where hyperparameters stand still."""
    table = case(4, 4, 25, (1, 1), n_days=3, seed=1)
    sampler = table.sampler(n_factors=0)
    sampler.begin()
    sampler.alpha = 2.0
    for side in sampler.sides:
        for group in side.groups:
            group.mean[:], group.precision[:] = 0.4, 1.5
    x, columns = table.design()
    mean, covariance = regression(x, table.rating, 2.0, 1.5, 0.4)
    draws = []
    for number in range(1, 6001):
        sampler._draw_factor(-1, number)
        draws.append(np.concatenate([sampler.sides[side].groups[group].weights[0] for side, group in columns]))
        for side in sampler.sides:
            side.terms[:] = 0.0
        sampler._find_residuals()
    assert_normal(draws[100:], mean, covariance)


def side_with(block, user, z, left, factor, free, own):
    """A side of ids and a block, one of them held at a weight, with the sums of what the others and the ratings are to it."""
    counts = np.bincount(user, minlength=8)
    side = user_side(block, counts, 1, 3)
    held = side.groups[1 - free]
    held.weights[factor + 1] = own
    held.mean[:], held.precision[:] = own, 1e13
    for at, values in ((kernels.Z, z), (kernels.ZZ, z * z), (kernels.E, left), (kernels.ZE, z * left)):
        side.rows[:, at] = np.bincount(user, values, minlength=8)
    side.rows[:, kernels.COUNT] = counts
    if factor == 0:
        side.rows[:, kernels.Q] = own * (dense(block).sum(1) if free == 0 else 1)
    return side


@pytest.mark.parametrize("free", [0, 1], ids=["ids", "block"])
@pytest.mark.parametrize("factor", [-1, 0])
def test_a_group_alone_is_a_linear_regression(factor, free):
    """The columns' own weights; and a factor's, of a block with an entry a row, lest it be none."""
    rng = np.random.default_rng(2)
    user, own, alpha, precision, mean = rng.integers(0, 7, 40), 0.3, 1.7, 0.8, -0.6
    z, y = np.zeros(40) if factor < 0 else rng.normal(size=40), rng.normal(size=40)
    if factor < 0:
        block = random_block(rng, 8, "block")
    else:
        entries = rng.integers(0, 4, 8).astype(np.int32), rng.uniform(0.3, 1.2, 8).astype(np.float32)
        block = Block("block", np.arange(9), *entries, 4)
    matrices = np.eye(8)[user], dense(block)[user]
    x = matrices[free] * (1 if factor < 0 else (own * matrices[1 - free].sum(1) + z)[:, None])
    side = side_with(block, user, z, y, factor, free, own)
    group, held = side.groups[free], side.groups[1 - free]
    group.mean[:], group.precision[:] = mean, precision
    draws = []
    with Workers(1) as workers:
        for number in range(1, 8001):
            side.draw(factor, alpha, 0, number, workers)
            draws.append(group.weights[factor + 1].copy())
    assert np.ptp(held.weights[factor + 1]) < 1e-4
    assert_normal(draws[100:], *regression(x, y, alpha, precision, mean))


def test_a_column_that_no_rating_has_is_drawn_from_its_prior():
    table = case(n_blocks=(0, 0), seed=3)
    sampler = table.sampler(1)
    sampler.begin()
    draws = []
    for number in range(1, 2001):
        for group in (sampler.users.groups[0], sampler.items.groups[0]):
            group.mean[:], group.precision[:] = 0.7, 4.0
        sampler._draw_factor(-1, number)
        sampler._draw_factor(0, number)
        draws.append([group.weights[:, -1].copy() for group in (sampler.users.groups[0], sampler.items.groups[0])])
    standard = (np.array(draws).reshape(2000, 4) - 0.7) * 2
    assert all(abs(surprise(normal_cdf(column))) < FAR for column in standard.T)
    assert np.abs(np.corrcoef(standard.T)[np.triu_indices(4, 1)]).max() < FAR / np.sqrt(2000)


# -- hyperparameters -------------------------------------------------------------------------------------------------
def test_the_prior_of_weights_is_drawn_from_its_conditional_densities():
    """Precision given mean and weights, Gamma(1/2 + n/2, 1/2 + squares/2); mean given both, between theirs and N(0, 1)."""
    weights = np.random.default_rng(4).normal(0.9, 0.5, 9).astype(np.float32)
    n, alike, before = 9, 20_000, -0.3
    group = Group(np.tile(weights, (alike, 1)), np.full(alike, before), np.ones(alike), None)
    group.draw_prior(np.random.default_rng(5))
    rate = (1 + ((weights.astype(np.float64) - before) ** 2).sum()) / 2
    assert abs(surprise(gamma_cdf(group.precision * rate, (1 + n) // 2), 100)) < FAR
    variance = 1 / (1 + n * group.precision)
    standard = (group.mean - variance * group.precision * weights.sum(dtype=np.float64)) / np.sqrt(variance)
    assert abs(surprise(normal_cdf(standard), 100)) < FAR
    assert abs(np.corrcoef(standard, group.precision)[0, 1]) < FAR / np.sqrt(alike)


def test_noise_and_constant_are_drawn_from_their_conditional_densities():
    table = case(n_ratings=21, seed=6)
    sampler = table.sampler(1)
    sampler.begin()
    users, items = (side.groups[0].weights[1].astype(np.float64) for side in (sampler.users, sampler.items))
    left = table.rating - users[table.user] * items[table.item]
    rng, drawn = np.random.default_rng(7), []
    for _ in range(6000):
        sampler._draw_noise(rng)
        sampler._draw_constant(rng)
        drawn.append((sampler.alpha, sampler.constant))
    alpha, constant = np.array(drawn).T
    assert abs(surprise(gamma_cdf(alpha * (1 + (left**2).sum()) / 2, 11), 50)) < FAR
    variance = 1 / (1 + 21 * alpha)
    assert abs(surprise(normal_cdf((constant - variance * alpha * left.sum()) / np.sqrt(variance)), 50)) < FAR
    np.testing.assert_allclose(np.sort(sampler.residual), np.sort(left - constant[-1]), atol=1e-4)


# -- ratings on a grid -----------------------------------------------------------------------------------------------
def test_cut_points_and_latent_numbers_are_drawn_from_their_conditional_densities():
    """Cut points given predictions alone, by their density summed up over a mesh; few ratings, so that it is far from normal."""
    predictions = np.array([-1.0, 0.2, 0.4, 1.5, 0.1, -0.3])
    level = np.array([0, 0, 1, 2, 2, 1])
    with Workers(1) as workers:
        grid, rng = Grid(level.astype(np.float32), None, 2), np.random.default_rng(12)
        cuts, latents = [], []
        for number in range(15_000):
            left = -predictions.astype(np.float32)
            grid.draw(left, rng, key_of(12, number), workers)
            if number % 5 == 0:  # those that follow one another are alike
                cuts.append(grid.cuts[1:-1])
                latents.append(left)
    mesh = np.linspace(-8, 9, 1701)
    below = normal_cdf(mesh[:, None] - predictions).reshape(1701, 6)
    first = np.log(below[:, level == 0]).sum(1) - mesh**2 / 200
    above = normal_cdf(predictions - mesh[:, None]).reshape(1701, 6)
    last = np.log(above[:, level == 2]).sum(1) - mesh**2 / 200
    density = np.exp(first[:, None] + last[None])
    for middle in np.flatnonzero(level == 1):
        density *= np.maximum(below[None, :, middle] - below[:, None, middle], 0)
    for at, values in enumerate(np.array(cuts).T):
        cumulative = np.cumsum(density.sum(1 - at))
        middles = (cumulative - np.diff(cumulative, prepend=0) / 2) / cumulative[-1]
        assert abs(surprise(np.interp(values, mesh, middles))) < FAR
    bounds = np.column_stack([np.full(3000, -np.inf), cuts, np.full(3000, np.inf)])
    for at, k in enumerate(level):
        below, upto = (normal_cdf(bounds[:, k + side] - predictions[at]) for side in (0, 1))
        assert abs(surprise((normal_cdf(np.array(latents)[:, at]) - below) / (upto - below))) < FAR


# -- known weights ---------------------------------------------------------------------------------------------------
def drawn_table(n_days):
    """A table of biases and two factors, perhaps of days too, of ratings about 60 with a noise of 4; and what they are without."""
    rng, n_ratings = np.random.default_rng(10), 9000
    user, item = np.divmod(rng.permutation(15_000)[:n_ratings], 100)
    day = rng.integers(0, max(n_days, 1), n_ratings)
    rows, truth, factors = (
        [(150, user), (100, item), *([(n_days, day)] if n_days else [])],
        np.full(n_ratings, 60.0),
        [],
    )
    for size, index in rows:
        truth += 4 * rng.normal(0, 0.6, size)[index]
        factors.append(rng.normal(0, 0.8, (size, 2))[index])
    for at in range(len(rows)):
        truth += 4 * sum((factors[at] * other).sum(1) for other in factors[at + 1 :])
    rating = truth + 4 * rng.normal(size=n_ratings)
    return Ratings.from_arrays(user, item, rating, day * 86_400, scale=(-100.0, 200.0)), truth.astype(np.float32)


@pytest.mark.parametrize(("features", "n_days"), [("ids", 0), ("ids,history,raters", 0), ("ids,day", 12)])
def test_predictions_and_deviations_of_a_table_drawn_from_known_weights(features, n_days):
    """Some 750 weights of 7,200 ratings: half of 750 / 7200, 5 in a hundred, is lost against who knows them; no less can be."""
    table, truth = drawn_table(n_days)
    held_out = np.arange(len(table)) % 5 == 0
    train, test = table.take(~held_out), table.take(held_out)
    model = Bayes(n_factors=2, n_epochs=30, sweeps=10, n_chains=1, n_draws=150, features=features).fit(train)
    known = np.sqrt(np.mean((test.rating - truth[held_out]) ** 2))
    assert 1.03 < model.rmse(test) / known < 1.07  # found: 1.044 to 1.062
    stamp = test.timestamp if n_days else None
    deviation = model.answers.deviation(test.user, test.item, stamp)
    error = np.abs(test.rating - model.answers.predict(test.user, test.item, stamp))
    for width, covered in ((0.6745, 0.5), (1.6449, 0.9), (2.5758, 0.99)):
        assert np.mean(error < width * deviation) == pytest.approx(
            covered, abs=3 * np.sqrt(covered * (1 - covered) / len(test))
        )


@pytest.mark.parametrize("n_days", [0, 12])
def test_noise_and_predictions_of_known_weights_are_recovered(n_days):
    """By the sampler alone, once it is where it goes: what it explains the ratings by is what they were drawn from."""
    table, truth = drawn_table(n_days)
    design = encode(table, ["history", *(["day"] if n_days else [])])
    centre, spread = float(table.rating.mean()), float(table.rating.std())
    day = design.rating[0] if n_days else None
    sizes, blocks = (table.n_users, table.n_items), (design.user, ())
    columns = Case(table.user, table.item, table.rating, sizes, blocks, day)
    sampler = columns.sampler(2, init_std=0.1, centre=centre, spread=spread)
    sampler.begin()
    order, variances, total = np.argsort(table.user, kind="stable"), [], np.zeros(len(table))
    for number in range(1, 151):
        sampler.sweep(number, lambda part: None)
        if number > 50:
            variances.append(spread**2 / sampler.alpha)
            total += table.rating[order] - spread * sampler.residual
    noise = np.std(table.rating - truth)
    assert np.sqrt(np.mean(variances)) == pytest.approx(noise, rel=0.015)  # found: 0.005
    off = np.sqrt(np.mean((total / 100 - truth[order]) ** 2)) / noise
    assert 0.9 < off / np.sqrt(750 / len(table)) < 1.1  # found: .95 and 1.02
