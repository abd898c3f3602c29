"""The embedded table: ratings of ML-100K's shape drawn from a known model, for when no real data is at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnmf.errors import ConfigError, DataError

MIN_PER_USER = 20
N_FACTORS = 3
GLOBAL_MEAN = 3.40625  # on the grid below
NOISE_STD = 0.95
RATING_SCALE = (1, 5)

_USER_BIAS_STD = 0.4
_ITEM_BIAS_STD = 0.4
_POPULAR_IS_BETTER = 0.6  # the most popular item is rated this much above the least popular one, on average
_FACTOR_STD = 0.55  # three products of two such normals: interaction variance 3 * .55**4 = .27
_FIRST_TIMESTAMP, _LAST_TIMESTAMP = 874_724_710, 893_286_638  # the span of ML-100K
_SECONDS_PER_RATING = 60.0
_CELLS_PER_BLOCK = 1 << 22

# Every random real is put on this grid. Sums of products of such numbers are then exact in float64, so no order of
# summation, fused multiply-add or BLAS can move a rating across a rounding threshold.
_GRID = 2.0**-16


@dataclass(frozen=True, eq=False)
class SyntheticTable:
    """Ratings drawn from a known low-rank model, with that model.

    The mean of a cell is ``m = global_mean + user_bias + item_bias + user_factors . item_factors``; the observed
    rating is ``clip(floor(m + noise_std * z + 1/2), 1, 5)`` with z standard normal, independent for each rating.

    Attributes
    ----------
    user_ids, item_ids : int64 arrays of shape (n_ratings,)
        1-based ids; row ``id - 1`` of the parameters belongs to an id. No pair occurs twice; rows are shuffled.
    rating : float32 array of shape (n_ratings,)
        Whole numbers 1 to 5.
    timestamp : int64 array of shape (n_ratings,)
        Seconds since 1970, within ML-100K's span; they carry no signal.
    noise_rmse : float
        The best reachable RMSE: no predictor that knows the ratings' distribution but not their noise does better in
        expectation. It is ``sqrt(mean over the table of Var[rating | m])``, the expected RMSE of ``expected()``, where
        ``E[rating | m] = 1 + sum_k P(rating > k)``, ``E[rating**2 | m] = 1 + sum_k (2 k + 1) P(rating > k)`` and
        ``P(rating > k) = Phi((m - k - 1/2) / noise_std)``, k = 1 to 4. Rounding and clipping are thus included.
    user_factors, item_factors : float64 arrays of shape (n_users, n_factors) and (n_items, n_factors)
    user_bias, item_bias : float64 arrays of shape (n_users,) and (n_items,)
    global_mean, noise_std : float
        In rating units.
    """

    user_ids: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    noise_rmse: float
    user_factors: NDArray[np.float64]
    item_factors: NDArray[np.float64]
    user_bias: NDArray[np.float64]
    item_bias: NDArray[np.float64]
    global_mean: float
    noise_std: float

    @property
    def n_users(self) -> int:
        """Number of users, each of whom has ratings."""
        return len(self.user_bias)

    @property
    def n_items(self) -> int:
        """Number of items, each of which is rated at least once."""
        return len(self.item_bias)

    @property
    def n_ratings(self) -> int:
        """Number of rows."""
        return len(self.rating)

    def expected(
        self, user_ids: NDArray[np.int64] | None = None, item_ids: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """``E[rating | m]``, the best prediction there is, for pairs of known ids (default: the table's own rows).

        Returns a float64 array of the ids' shape, in rating units, exact to about 1e-6.
        """
        users = self.user_ids if user_ids is None else np.asarray(user_ids)
        items = self.item_ids if item_ids is None else np.asarray(item_ids)
        for ids, most, what in ((users, self.n_users, "user"), (items, self.n_items, "item")):
            if ids.size and not 1 <= ids.min() <= ids.max() <= most:
                raise DataError(f"the synthetic table has {what} ids 1 to {most}, got {ids.min()} to {ids.max()}")
        model = self.user_bias, self.item_bias, self.user_factors, self.item_factors
        return _moments(_cell_means(users - 1, items - 1, *model))[0]


def synthetic(n_users: int = 943, n_items: int = 1682, n_ratings: int = 100_000, seed: int = 0) -> SyntheticTable:
    """Draw a table of ratings from a known model; the same arguments give the same bytes on every machine.

    Every user has at least ``min(20, n_ratings // n_users)`` ratings and every item at least one; the numbers of
    ratings per user and per item have ML-100K's long tails. Time and memory grow with ``n_users * n_items`` (the
    default takes a fraction of a second; memory is bounded by blocks of 4 million cells).

    Parameters
    ----------
    n_users, n_items, n_ratings : int, default=943, 1682, 100_000
    seed : int, default=0
        Of NumPy's PCG64.

    Raises
    ------
    ConfigError
        A size below 1 or of a wrong type, or a number of ratings that leaves a user or an item without one or
        exceeds ``n_users * n_items``.
    """
    _check(n_users, n_items, n_ratings, seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    user_bias = _normal(rng, (n_users,), _USER_BIAS_STD)
    unpopularity = rng.random(n_items)
    item_bias = _on_grid((0.5 - unpopularity) * _POPULAR_IS_BETTER) + _normal(rng, (n_items,), _ITEM_BIAS_STD)
    user_factors = _normal(rng, (n_users, N_FACTORS), _FACTOR_STD)
    item_factors = _normal(rng, (n_items, N_FACTORS), _FACTOR_STD)

    counts = _ratings_per_user(rng, n_users, n_items, n_ratings)
    popularity = (1.0 - unpopularity) / (unpopularity * (unpopularity + 0.3) + 0.01)
    user, item = _draw_pairs(rng, counts, popularity)
    whole = float(_LAST_TIMESTAMP - _FIRST_TIMESTAMP)
    span = np.minimum(_SECONDS_PER_RATING * counts, whole)  # each user is active for one stretch of time
    first = _FIRST_TIMESTAMP + rng.random(n_users) * (whole - span)
    timestamp = np.floor(first[user] + rng.random(n_ratings) * span[user]).astype(np.int64)
    noise = _normal(rng, (n_ratings,), NOISE_STD)
    shuffled = np.argsort(rng.random(n_ratings), kind="stable")
    user, item, timestamp = user[shuffled], item[shuffled], timestamp[shuffled]

    mean = _cell_means(user, item, user_bias, item_bias, user_factors, item_factors)
    rating = np.clip(np.floor(mean + noise + 0.5), *RATING_SCALE).astype(np.float32)
    table = SyntheticTable(
        user_ids=user + 1,
        item_ids=item + 1,
        rating=rating,
        timestamp=timestamp,
        noise_rmse=math.sqrt(_moments(mean)[1].mean()),
        user_factors=user_factors,
        item_factors=item_factors,
        user_bias=user_bias,
        item_bias=item_bias,
        global_mean=GLOBAL_MEAN,
        noise_std=NOISE_STD,
    )
    for value in vars(table).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return table


def _check(n_users: int, n_items: int, n_ratings: int, seed: int) -> None:
    sizes = {"n_users": n_users, "n_items": n_items, "n_ratings": n_ratings}
    for what, value, least in [*((what, value, 1) for what, value in sizes.items()), ("seed", seed, 0)]:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ConfigError(f"{what}: got {value!r} instead of a whole number of at least {least}")
    least, most = max(n_users, n_items), n_users * n_items
    if not least <= n_ratings <= most:
        raise ConfigError(
            f"n_ratings: got {n_ratings} instead of a number from {least} to {most}, "
            f"which gives each of {n_users} users and {n_items} items a rating without repeating a pair"
        )


def _on_grid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(values / _GRID) * _GRID


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> NDArray[np.float64]:
    return _on_grid(rng.standard_normal(shape) * std)


def _ratings_per_user(rng: np.random.Generator, n_users: int, n_items: int, n_ratings: int) -> NDArray[np.int64]:
    """Long-tailed counts that sum to n_ratings, each between the minimum and n_items."""
    least = min(MIN_PER_USER, n_ratings // n_users)
    tail = rng.random(n_users)
    weights = np.floor((1.0 / (tail + 0.08) - 1.0 / 1.08) * 1024.0).astype(np.int64) + 1
    counts = np.full(n_users, least, np.int64)
    while (left := n_ratings - int(counts.sum())) > 0:
        # Whole-number weights: the cumulative sums are exact, so the shares are the same everywhere.
        cumulative = np.cumsum(np.where(counts < n_items, weights, 0))
        shares = np.floor(cumulative / float(cumulative[-1]) * left).astype(np.int64)
        counts = np.minimum(counts + np.diff(shares, prepend=0), n_items)
    return counts


def _draw_pairs(
    rng: np.random.Generator, counts: NDArray[np.int64], popularity: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct (user, item) pairs, ``counts[user]`` for each user, popular items more often, no item left out.

    Each cell gets the key ``odds of a uniform / popularity`` and a user takes the items of the smallest keys, so that
    an item is taken with probability ``t w / (1 + t w)``: a division, where the exponential keys of weighted sampling
    would need a logarithm, which differs in its last digit between machines.
    """
    n_users, n_items = len(counts), len(popularity)
    # One slot of the table for each item, so that it is rated at least once and no user gets more than his count.
    slots = np.argsort(rng.random(int(counts.sum())), kind="stable")[:n_items]
    sure_user = np.repeat(np.arange(n_users), counts)[slots]
    items = np.empty(int(counts.sum()), np.int64)
    block = max(1, _CELLS_PER_BLOCK // n_items)
    filled = 0
    for start in range(0, n_users, block):
        stop = min(start + block, n_users)
        uniform = rng.random((stop - start, n_items))
        keys = uniform / ((1.0 - uniform) * popularity)
        sure = np.flatnonzero((sure_user >= start) & (sure_user < stop))
        keys[sure_user[sure] - start, sure] = -1.0
        order = np.argsort(keys, axis=1, kind="stable")
        taken = order[np.arange(n_items) < counts[start:stop, None]]
        items[filled : filled + len(taken)] = taken
        filled += len(taken)
    return np.repeat(np.arange(n_users), counts), items


def _cell_means(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    user_bias: NDArray[np.float64],
    item_bias: NDArray[np.float64],
    user_factors: NDArray[np.float64],
    item_factors: NDArray[np.float64],
) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = GLOBAL_MEAN + user_bias[user] + item_bias[item]
    for factor in range(user_factors.shape[1]):
        mean += user_factors[user, factor] * item_factors[item, factor]
    return mean


def _moments(mean: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of the rounded, clipped rating of each cell mean, from a fine table (error about 1e-6)."""
    low, high = RATING_SCALE
    grid = np.linspace(low - 6.0, high + 6.0, 8193)
    first, second = np.full_like(grid, low), np.full_like(grid, low * low)
    for k in range(low, high):
        above = np.array([0.5 * math.erfc((k + 0.5 - m) / (NOISE_STD * math.sqrt(2.0))) for m in grid])
        first += above
        second += (2 * k + 1) * above
    return np.interp(mean, grid, first), np.interp(mean, grid, second - first**2)
