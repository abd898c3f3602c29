"""Tables drawn from a known model."""

from __future__ import annotations

import numpy as np

from nnmf.tables import Ratings


def low_rank(
    n_users: int = 60,
    n_items: int = 40,
    n_factors: int = 2,
    n_ratings: int = 1500,
    seed: int = 0,
    noise: float = 0.0,
) -> Ratings:
    """Ratings drawn from known vectors: ``rating = 3 + p_u . q_i + noise * standard normal``.

    Parameters
    ----------
    n_users, n_items : int
        Ids run from 1 to these; not every one of them need be drawn.
    n_factors : int, default=2
        Width of the vectors, which are normal with a standard deviation of .7.
    n_ratings : int, default=1500
        At most ``n_users * n_items``: no pair is drawn twice.
    seed : int, default=0
    noise : float, default=0.0
        The RMSE of who knows the vectors.

    Returns
    -------
    Ratings
        With a timestamp a rating, 0, 1, 2, ...
    """
    rng = np.random.default_rng(seed)
    p, q = rng.normal(0, 0.7, (n_users, n_factors)), rng.normal(0, 0.7, (n_items, n_factors))
    cell = rng.permutation(n_users * n_items)[:n_ratings]
    user, item = cell // n_items, cell % n_items
    rating = 3 + (p[user] * q[item]).sum(1) + noise * rng.normal(size=n_ratings)
    return Ratings.from_arrays(user + 1, item + 1, rating, np.arange(n_ratings), name="low-rank")
