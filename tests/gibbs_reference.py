"""A slow Gibbs sampler on the flattened design matrix, in double precision, sharing no code with the one that is tested; and small tables."""

import math
from dataclasses import dataclass

import numpy as np

from nnmf.factorization._gibbs import Sampler
from nnmf.factorization._observed import Entries, Observed, _by_column
from nnmf.factorization._schedule import Workers
from nnmf.factorization._sides import Side
from nnmf.tables import Block, Codes

MASK = (1 << 64) - 1


def mixed(number):
    """Splitmix64's finaliser (Steele, Lea, Flood, 2014), on Python's integers."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def key_of(*numbers):
    """The key of a draw's random numbers."""
    key = 0
    for number in numbers:
        key = mixed((key + (number + 1) * 0x9E3779B97F4A7C15) & MASK)
    return key


def normal(key, column):
    """A column's standard normal number, by Box and Muller."""
    first, second = (
        ((mixed((key + (2 * column + at) * 0x9E3779B97F4A7C15) & MASK) >> 11) + 1) * 2.0**-53 for at in (1, 2)
    )
    return np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)


def dense(block):
    matrix = np.zeros((len(block.starts) - 1, block.n_columns))
    for row in range(len(matrix)):
        for n in range(block.starts[row], block.starts[row + 1]):
            matrix[row, block.column[n]] += block.weight[n]
    return matrix


def user_side(block, counts, n_factors, n_chunks):
    """The users' side of ratings of which nothing is known but how many each user has, and a block."""
    none = np.zeros(0, np.int32)
    blocks = {"user": (Entries(block, _by_column(block)),)}
    observed = Observed(none, none, None, none, {"user": counts}, blocks, None, np.zeros(n_chunks + 1, np.int64))
    return Side("user", 0, observed, n_factors)


@dataclass
class Case:
    """A table and what describes its users, items and ratings."""

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    sizes: tuple
    blocks: tuple
    day: Codes | None

    def sampler(self, n_factors=2, seed=0, n_threads=1, init_std=0.3, centre=0.0, spread=1.0, ordinal=False, like=None):
        observed = like._observed if like else self.observed(centre, spread, ordinal)
        return Sampler(observed, n_factors=n_factors, seed=seed, init_std=init_std, workers=Workers(n_threads))

    def observed(self, centre=0.0, spread=1.0, ordinal=False):
        scale = {"centre": centre, "spread": spread, "ordinal": ordinal}
        return Observed.of(self.user, self.item, self.rating, self.sizes, self.blocks, self.day, **scale)

    def design(self):
        """The design matrix, a row a rating, and its columns by (side, group)."""
        parts = {}
        for side, (index, size, blocks) in enumerate(zip((self.user, self.item), self.sizes, self.blocks, strict=True)):
            parts[side, 0] = np.eye(size)[index]
            parts.update({(side, 1 + at): dense(block)[index] for at, block in enumerate(blocks)})
        if self.day is not None:
            parts[2, 0] = np.eye(self.day.n_columns)[self.day.code]
        edges = np.cumsum([0, *(part.shape[1] for part in parts.values())])
        return np.hstack(list(parts.values())), {name: np.arange(*edges[at : at + 2]) for at, name in enumerate(parts)}


def case(n_users=6, n_items=5, n_ratings=22, n_blocks=(0, 0), n_days=0, seed=0, noise=0.5):
    """A random table whose last user, last item and last day have no ratings, sorted by nothing."""
    rng = np.random.default_rng(seed)
    pair = rng.choice((n_users - 1) * (n_items - 1), n_ratings, replace=n_ratings > (n_users - 1) * (n_items - 1))
    user, item = (pair // (n_items - 1)).astype(np.int32), (pair % (n_items - 1)).astype(np.int32)
    rating = rng.normal(0, 1, n_users)[user] * rng.normal(0, 1, n_items)[item] + noise * rng.normal(size=n_ratings)
    blocks = tuple(
        tuple(random_block(rng, n_rows, f"{side}{at}") for at in range(n))
        for side, n_rows, n in zip("ui", (n_users, n_items), n_blocks, strict=True)
    )
    day = Codes("day", rng.integers(0, n_days - 1, n_ratings).astype(np.int32), n_days) if n_days else None
    return Case(user, item, rating.astype(np.float32), (n_users, n_items), blocks, day)


def random_block(rng, n_rows, name, n_columns=4):
    """A block some of whose rows are empty."""
    filled = rng.random((n_rows, n_columns)) < 0.5
    starts = np.concatenate(([0], np.cumsum(filled.sum(1)))).astype(np.int64)
    weight = rng.uniform(0.3, 1.2, starts[-1]).astype(np.float32)
    return Block(name, starts, np.nonzero(filled)[1].astype(np.int32), weight, n_columns)


class Naive:
    """Gibbs draws after Rendle (2012), equations 1, 27 to 30: whatever a draw needs is worked out of the whole matrix anew."""

    def __init__(self, case, sampler):
        self.x, self.columns = case.design()
        self.rating, self.seed = case.rating.astype(np.float64), sampler.seed
        self.x_pairs = [np.outer(row, row)[np.triu_indices(len(row), 1)] for row in self.x]
        sides = {side.number: side for side in sampler.sides}
        n_columns, n_weights = self.x.shape[1], 1 + sampler.n_factors
        self.weights = np.zeros((n_weights, n_columns))
        for (side, group), columns in self.columns.items():
            self.weights[:, columns] = sides[side].groups[group].weights
        self.constant, self.alpha = 0.0, 1.0
        self.mean = {name: np.zeros(n_weights) for name in self.columns}
        self.precision = {name: np.ones(n_weights) for name in self.columns}

    def predictions(self):
        """w0 + sum of w x + sum over all pairs of columns of <v, v'> x x'."""
        factors = self.weights[1:]
        pairs = (factors.T @ factors)[np.triu_indices(self.x.shape[1], 1)]
        return self.constant + self.x @ self.weights[0] + np.array(self.x_pairs) @ pairs

    def sweep(self, number):
        rng = np.random.default_rng((self.seed, number))
        error = self.rating - self.predictions()
        n = len(error)
        self.alpha = rng.standard_gamma((n + 1) / 2) * 2 / (error @ error + 1)
        variance = 1 / (self.alpha * n + 1)
        at = variance * self.alpha * (error + self.constant).sum()
        self.constant = at + np.sqrt(variance) * rng.standard_normal()
        for name, columns in self.columns.items():
            self.draw_prior(name, self.weights[:, columns], rng)
        for factor in range(len(self.weights)):
            for (side, group), columns in self.columns.items():
                key = key_of(self.seed, number, side, group, factor)
                for at, column in enumerate(columns):
                    self.draw(factor, column, (side, group), normal(key, at))

    def draw_prior(self, name, weights, rng):
        """Of each factor the precision, Gamma(1/2, 1/2) a priori, then the mean, N(0, 1)."""
        n = weights.shape[1]
        rate = (1 + ((weights - self.mean[name][:, None]) ** 2).sum(1)) / 2
        self.precision[name] = rng.standard_gamma((1 + n) / 2, len(weights)) / rate
        variance = 1 / (1 + n * self.precision[name])
        centre = variance * self.precision[name] * weights.sum(1)
        self.mean[name] = centre + np.sqrt(variance) * rng.standard_normal(len(weights))

    def draw(self, factor, column, name, noise):
        weights = self.weights[factor]
        slope = self.x[:, column].copy()  # of the prediction, which is linear in each weight alone
        if factor:
            slope *= self.x @ weights - self.x[:, column] * weights[column]
        left = self.rating - self.predictions() + slope * weights[column]
        mean, precision = self.mean[name][factor], self.precision[name][factor]
        variance = 1 / (precision + self.alpha * (slope @ slope))
        weights[column] = variance * (precision * mean + self.alpha * (slope @ left)) + np.sqrt(variance) * noise


# -- how numbers should be distributed -------------------------------------------------------------------------------
def normal_cdf(values):
    return np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in np.ravel(values)])


def gamma_cdf(values, shape):
    """Of Gamma(shape, rate 1), for a whole shape, or of a half, Gamma(1/2)."""
    values = np.ravel(values)
    if shape == 0.5:
        return np.array([math.erf(math.sqrt(value)) for value in values])
    terms = np.array([values**k / math.factorial(k) for k in range(int(shape))])
    return 1 - np.exp(-values) * terms.sum(0)


def surprise(uniform, n_bins=20):
    """How many standard deviations the chi-square of numbers that should be uniform on 0 .. 1 is above, or below, what it should be.

    By the cube root, which makes it nearly normal (Wilson, Hilferty, 1931).
    """
    uniform = np.ravel(uniform)
    expected, freedom = len(uniform) / n_bins, n_bins - 1
    found = np.bincount(np.minimum((uniform * n_bins).astype(int), n_bins - 1), minlength=n_bins)
    chi_square = ((found - expected) ** 2 / expected).sum()
    spread = 2 / (9 * freedom)
    return (np.cbrt(chi_square / freedom) - (1 - spread)) / np.sqrt(spread)


def mean_error(draws, expected, n_batches=40):
    """How many standard errors the mean of a chain's draws, along axis 0, is off what is expected.

    The error by the means of batches, which draws that follow from one another do not make too small.
    """
    batches = np.array([batch.mean(axis=0) for batch in np.array_split(np.asarray(draws) - expected, n_batches)])
    return batches.mean(axis=0) / (batches.std(axis=0, ddof=1) / np.sqrt(n_batches))
