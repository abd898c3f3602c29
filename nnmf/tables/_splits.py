"""Which ratings train: the masks behind the ways to split a table."""

from __future__ import annotations

import numpy as np

from nnmf.errors import ConfigError


def shuffled(n: int, seed: int) -> np.ndarray:
    """The positions 0 .. n-1 in random order: int64 array of shape (n,)."""
    return generator(seed).permutation(n)


def generator(seed: int) -> np.random.Generator:
    """What draws by a seed; a ConfigError for what is none."""
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ConfigError(f"seed: got {seed!r}; give a whole number of at least 0.")
    return np.random.default_rng(seed)


def n_of_train(fraction: float, n: int) -> int:
    """How many of n ratings a fraction is."""
    n_train = round(fraction * n) if 0 < fraction < 1 else 0
    if not 0 < n_train < n:
        raise ConfigError(f"fraction: got {fraction}; give one between 0 and 1 that leaves both sides a rating of {n}.")
    return n_train


def first_of(order: np.ndarray, n_train: int) -> np.ndarray:
    """Boolean mask (n,) of the first ``n_train`` positions in an order."""
    mask = np.zeros(len(order), bool)
    mask[order[:n_train]] = True
    return mask


def share_of_each(user: np.ndarray, n_users: int, fraction: float, order: np.ndarray) -> np.ndarray:
    """Boolean mask (n_ratings,) of the first ``ceil(fraction * n)`` ratings of each user in an order."""
    order = order[np.argsort(user[order], kind="stable")]
    per_user = np.bincount(user, minlength=n_users)
    start = np.cumsum(per_user) - per_user
    by_user = user[order]
    rank = np.arange(len(user)) - start[by_user]
    mask = np.zeros(len(user), bool)
    mask[order] = rank < np.ceil(fraction * per_user - 1e-9)[by_user]
    return mask
