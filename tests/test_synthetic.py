"""The synthetic table: its shape, its sameness everywhere, and the noise level it claims."""

from __future__ import annotations

import hashlib
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmf.datasets._synthetic import MIN_PER_USER, SyntheticTable, synthetic
from nnmf.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def table() -> SyntheticTable:
    return synthetic()


def digest(table: SyntheticTable) -> str:
    columns = hashlib.sha256()
    for column in (table.user_ids, table.item_ids, table.rating, table.timestamp):
        columns.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
    return columns.hexdigest()


def rmse(prediction: np.ndarray, table: SyntheticTable) -> float:
    return math.sqrt(np.mean((prediction - table.rating) ** 2))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "26ccc602c24028aef20cc0610f6e9d3b769b2ec3ab331e49d6baa3f8c4dd60e7"),
        ({"seed": 1}, "bbe25c34762c95224a6e8211cff3e6f45cff72961b340399cac1d64ca1de914d"),
        (
            {"n_users": 50, "n_items": 40, "n_ratings": 600, "seed": 3},
            "197387ad300e6e7d08948ce5cdbe966338844eb21d83f554c63b14f6de5d69b9",
        ),
    ],
)
def test_the_same_bytes_on_every_machine(arguments: dict[str, int], expected: str) -> None:
    assert digest(synthetic(**arguments)) == expected


def test_the_shape_of_ml_100k(table: SyntheticTable) -> None:
    assert (table.n_users, table.n_items, table.n_ratings) == (943, 1682, 100_000)
    assert [column.dtype for column in (table.user_ids, table.item_ids, table.rating, table.timestamp)] == [
        np.int64,
        np.int64,
        np.float32,
        np.int64,
    ]
    per_user, per_item = np.bincount(table.user_ids)[1:], np.bincount(table.item_ids)[1:]
    # ML-100K: 20, 65 and 737 ratings per user; 1, 27 and 583 per item.
    assert per_user.min() >= MIN_PER_USER and 50 <= np.median(per_user) <= 80 and 500 <= per_user.max() <= 800
    assert per_item.min() >= 1 and 15 <= np.median(per_item) <= 40 and 350 <= per_item.max() <= 650
    assert len(np.unique(table.user_ids * 10_000 + table.item_ids)) == table.n_ratings
    assert set(np.unique(table.rating)) == {1, 2, 3, 4, 5}
    assert table.rating.mean(dtype=np.float64) == pytest.approx(3.53, abs=0.05)
    assert table.rating.std(dtype=np.float64) == pytest.approx(1.126, abs=0.05)
    assert 874_724_710 <= table.timestamp.min() <= table.timestamp.max() <= 893_286_638


def test_the_claimed_noise_is_the_noise_there_is(table: SyntheticTable) -> None:
    assert 0.85 < table.noise_rmse < 0.95
    best = rmse(table.expected(), table)
    assert best == pytest.approx(table.noise_rmse, rel=0.01)
    # Nothing near the conditional expectation is better, and the unrounded mean is worse.
    for shift in (-0.05, 0.05):
        assert rmse(table.expected() + shift, table) > best
    assert rmse(np.clip(table.expected() * 1.1 - 0.35, 1, 5), table) > best


def test_expected_agrees_with_drawing_many_ratings() -> None:
    table = synthetic(20, 15, 200, seed=5)
    user, item = 3, 4
    mean = (
        table.global_mean + table.user_bias[user] + table.item_bias[item]
        + float(table.user_factors[user] @ table.item_factors[item])
    )  # fmt: skip
    draws = np.random.default_rng(0).normal(mean, table.noise_std, 400_000)
    drawn = np.clip(np.floor(draws + 0.5), 1, 5).mean()
    assert table.expected(np.array([user + 1]), np.array([item + 1]))[0] == pytest.approx(drawn, abs=0.01)


def test_factors_are_needed(table: SyntheticTable) -> None:
    """Biases fitted to the very ratings they are judged on are still far behind the model that drew them."""
    user, item = table.user_ids - 1, table.item_ids - 1
    rating = table.rating.astype(np.float64)
    mean = rating.mean()
    user_bias, item_bias = np.zeros(table.n_users), np.zeros(table.n_items)
    for _ in range(15):
        item_bias = np.bincount(item, rating - mean - user_bias[user]) / (np.bincount(item) + 1)
        user_bias = np.bincount(user, rating - mean - item_bias[item]) / (np.bincount(user) + 1)
    biases_only = rmse(mean + user_bias[user] + item_bias[item], table)
    assert biases_only > table.noise_rmse + 0.05


def test_it_is_fast() -> None:
    start = time.perf_counter()
    synthetic()
    assert time.perf_counter() - start < 2.0


def test_it_is_immutable_and_leaves_numpys_global_generator_alone() -> None:
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    other = synthetic(10, 10, 50)
    assert np.random.random() == expected  # noqa: NPY002
    for array in (other.user_ids, other.rating, other.item_factors, other.user_bias):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**40))
def test_every_size_that_can_be_drawn_is(n_users: int, n_items: int, fill: float, seed: int) -> None:
    least, most = max(n_users, n_items), n_users * n_items
    n_ratings = least + int(fill * (most - least))
    table = synthetic(n_users, n_items, n_ratings, seed)
    per_user = np.bincount(table.user_ids, minlength=n_users + 1)[1:]
    assert len(table.rating) == n_ratings == len(set(zip(table.user_ids, table.item_ids, strict=True)))
    assert len(per_user) == n_users and per_user.min() >= min(MIN_PER_USER, n_ratings // n_users)
    assert np.array_equal(np.unique(table.item_ids), np.arange(1, n_items + 1))
    assert 0 < table.noise_rmse < 1.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_users": 0}, "n_users: got 0 instead of a whole number of at least 1"),
        ({"n_items": 2.0}, "n_items: got 2.0 instead"),
        ({"n_ratings": True}, "n_ratings: got True instead"),
        ({"seed": -1}, "seed: got -1 instead of a whole number of at least 0"),
        ({"n_ratings": 1681}, "n_ratings: got 1681 instead of a number from 1682 to 1586126"),
        ({"n_users": 3, "n_items": 3, "n_ratings": 10}, "n_ratings: got 10 instead of a number from 3 to 9"),
    ],
)
def test_sizes_that_cannot_be(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        synthetic(**arguments)


def test_expected_refuses_unknown_ids() -> None:
    table = synthetic(10, 10, 50)
    with pytest.raises(DataError, match="user ids 1 to 10, got 0 to 0"):
        table.expected(np.array([0]), np.array([1]))
    with pytest.raises(DataError, match="item ids 1 to 10, got 11 to 11"):
        table.expected(np.array([1]), np.array([11]))
