"""Fixtures the tests share: real data where NNMF_DATA names it, a cache of their own, and small tables with known answers."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from nnmf import Ratings


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Parsed tables and downloads go to a folder of the test's own."""
    monkeypatch.setenv("NNMF_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def own_logging():
    """A command run in a test leaves no handler or level behind."""
    logger = logging.getLogger("nnmf")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


@pytest.fixture(scope="session")
def ml_100k() -> Path:
    """Folder of the real ML-100K."""
    folder = Path(os.environ.get("NNMF_DATA", "")) / "ml-100k"
    if not (folder / "u.data").is_file():
        pytest.skip("needs the real ML-100K: set NNMF_DATA to the folder that holds ml-100k/")
    return folder


@pytest.fixture(scope="session")
def u1(ml_100k) -> tuple[Ratings, Ratings]:
    """The tutorial's split."""
    train = Ratings.from_file(ml_100k / "u1.base", scale=(1.0, 5.0), cache=False)
    return train, Ratings.from_file(ml_100k / "u1.test", like=train, cache=False)


def low_rank(n_users=60, n_items=40, n_factors=2, n_ratings=1500, seed=0, noise=0.0) -> Ratings:
    """Ratings drawn from known vectors: rating = 3 + p_u . q_i + noise."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(0, 0.7, (n_users, n_factors)), rng.normal(0, 0.7, (n_items, n_factors))
    cell = rng.permutation(n_users * n_items)[:n_ratings]
    user, item = cell // n_items, cell % n_items
    rating = 3 + (p[user] * q[item]).sum(1) + noise * rng.normal(size=n_ratings)
    return Ratings.from_arrays(user + 1, item + 1, rating, np.arange(n_ratings), name="low-rank")


@pytest.fixture
def small() -> Ratings:
    return low_rank()
