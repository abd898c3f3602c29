"""Fixtures the tests share: real data where NNMF_DATA names it, a cache of their own, and small tables with known answers."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

pytest.register_assert_rewrite("nnmf.testing")  # so that a contract that breaks shows the values

from nnmf.tables import Ratings  # noqa: E402
from nnmf.testing import low_rank  # noqa: E402


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


@pytest.fixture
def small() -> Ratings:
    return low_rank()
