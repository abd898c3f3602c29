"""The compiled loops against slow ones in NumPy, and the layout that lets threads share them."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nnmf.factorization import _blocks, _kernels

from . import svd_reference as reference


class Problem:
    """A table laid out in blocks, with start values of every parameter."""

    def __init__(self, user, item, rating, n_users, n_items, n_factors=5, n_blocks=3, spread=0.1, l2=0.02):
        rng = np.random.default_rng(0)
        self.n_users, self.n_items, self.grid = (
            n_users,
            n_items,
            n_blocks if isinstance(n_blocks, tuple) else (n_blocks, n_blocks),
        )
        self.columns = np.asarray(user, np.int32), np.asarray(item, np.int32), np.asarray(rating, np.float32)
        user, item, rating = self.columns
        user_edges = _blocks.block_edges(_blocks.count_ratings(user, n_users), self.grid[0])
        item_edges = _blocks.block_edges(_blocks.count_ratings(item, n_items), self.grid[1])
        *self.laid_out, self.starts = _blocks.lay_out(user, item, rating, user_edges, item_edges, seed=0)
        _, *self.by_user, self.user_starts = _blocks.lay_out(
            user, item, rating, np.arange(n_users + 1, dtype=np.int32), np.array([0, n_items], np.int32), seed=0
        )

        def draw(n_rows):
            table = np.zeros((n_rows, _kernels.padded(n_factors)), np.float32)
            table[:, :n_factors] = rng.normal(0, spread, (n_rows, n_factors))
            return table

        self.factors = [draw(n_users), draw(n_items)]
        self.implicit_factors = draw(n_items)
        self.biases = [np.zeros(n_users, np.float32), np.zeros(n_items, np.float32)]
        self.global_mean = float(rating.mean())
        self.penalties = [np.full(n_users, l2, np.float32), np.full(n_items, l2 / 2, np.float32), 0.3]

    def parameters(self, kind):
        if kind == "funk":
            return self.factors
        return [*self.factors, *([self.implicit_factors] if kind == "svdpp" else []), *self.biases]

    def epoch(self, kind, learning_rate, n_threads=1, seed=0):
        rng = np.random.default_rng(seed)
        mean = [] if kind == "funk" else [self.global_mean]
        if kind == "svdpp":
            errors = np.zeros(self.n_users)
            users = rng.permutation(self.n_users).astype(np.int32)
            _kernels.train_svdpp(
                users,
                self.user_starts,
                errors,
                *self.by_user,
                *self.parameters(kind),
                *mean,
                learning_rate,
                *self.penalties,
            )
            return errors.sum()
        order = _blocks.draw_order(*self.grid, rng)
        train = {"funk": _kernels.train_funk, "svd": _kernels.train_svd}[kind]
        with ThreadPoolExecutor(n_threads) as pool:
            return _blocks.run_blocks(
                train,
                order,
                self.grid[1],
                self.starts,
                pool,
                n_threads,
                *self.laid_out,
                *self.parameters(kind),
                *mean,
                learning_rate,
                *self.penalties[: 2 if kind == "funk" else 3],
            )

    def reference_epoch(self, kind, parameters, learning_rate, seed=0):
        rng = np.random.default_rng(seed)
        mean = [] if kind == "funk" else [self.global_mean]
        if kind == "svdpp":
            return reference.train_svdpp(
                rng.permutation(self.n_users),
                self.user_starts,
                *self.by_user,
                *parameters,
                *mean,
                learning_rate,
                *self.penalties,
            )
        ratings = reference.in_block_order(_blocks.draw_order(*self.grid, rng), self.starts, *self.laid_out)
        return getattr(reference, f"train_{kind}")(
            ratings, *parameters, *mean, learning_rate, *self.penalties[: 2 if kind == "funk" else 3]
        )

    def predict(self, kind, user, item):
        user_factors, item_factors = self.factors
        if kind == "svdpp":
            user_factors = _kernels.implicit_user_factors(
                self.user_starts, self.by_user[0], user_factors, self.implicit_factors
            )
        prediction = np.empty(len(user), np.float32)
        mean = 0.0 if kind == "funk" else self.global_mean
        _kernels.predict(user, item, user_factors, item_factors, *self.biases, mean, prediction)
        return prediction


def random_problem(n_users=40, n_items=30, n_ratings=400, **options):
    rng = np.random.default_rng(1)
    pair = rng.choice(n_users * n_items, n_ratings, replace=False)
    return Problem(pair // n_items, pair % n_items, rng.integers(1, 6, n_ratings), n_users, n_items, **options)


KINDS = ["funk", "svd", "svdpp"]


@pytest.mark.parametrize("n_factors", [1, 5, 16, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_reference(kind, n_factors):
    problem = random_problem(n_factors=n_factors)
    expected = [parameter.astype(np.float64) for parameter in problem.parameters(kind)]
    for seed in range(3):
        squared_error = problem.epoch(kind, 0.01, seed=seed)
        assert squared_error == pytest.approx(problem.reference_epoch(kind, expected, 0.01, seed=seed), rel=1e-5)
    for ours, theirs in zip(problem.parameters(kind), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    for table in problem.parameters(kind)[:2]:
        assert not table[:, n_factors:].any()  # the padding stays zero
    user, item, _ = problem.columns
    effective = expected[0].copy()
    if kind == "svdpp":
        for u in range(problem.n_users):
            rated = item[user == u]
            effective[u] += expected[2][rated].sum(axis=0) / np.sqrt(max(len(rated), 1))
    prediction = (effective[user] * expected[1][item]).sum(axis=1)
    if kind != "funk":
        prediction += problem.global_mean + expected[-2][user] + expected[-1][item]
    np.testing.assert_allclose(problem.predict(kind, user, item), prediction, atol=1e-4)


def test_first_error_is_measured_before_the_update():
    problem = Problem([0], [0], [4.0], 1, 1, n_blocks=1)
    first = (4.0 - problem.factors[0][0] @ problem.factors[1][0]) ** 2
    assert problem.epoch("funk", 0.1) == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("kind", ["funk", "svd"])  # SVD++ runs on one thread
@pytest.mark.parametrize("n_blocks", [1, 4, 7, (9, 2), (2, 5)])
def test_same_bits_for_every_number_of_threads(kind, n_blocks):
    results = []
    for n_threads in (1, 2, 3, 2):
        problem = random_problem(300, 200, 20_000, n_blocks=n_blocks)
        errors = [problem.epoch(kind, 0.02, n_threads, seed) for seed in range(3)]
        results.append((errors, b"".join(parameter.tobytes() for parameter in problem.parameters(kind))))
    assert all(result == results[0] for result in results)


def test_layout_is_a_shuffle_of_each_block():
    problem = random_problem(n_ratings=600, n_blocks=4)
    assert sorted(zip(*problem.laid_out, strict=True)) == sorted(zip(*problem.columns, strict=False))
    assert sorted(zip(*problem.by_user, strict=True)) == sorted(zip(*problem.columns[1:], strict=False))
    user, item, _rating = problem.columns
    edges = [_blocks.block_edges(_blocks.count_ratings(column, n), 4) for column, n in ((user, 40), (item, 30))]
    for block in range(16):
        part = slice(problem.starts[block], problem.starts[block + 1])
        for column, edge, b in zip(problem.laid_out[:2], edges, (block // 4, block % 4), strict=True):
            assert ((column[part] >= edge[b]) & (column[part] < edge[b + 1])).all()
    twice = [_blocks.lay_out(*problem.columns, *edges, seed=3, n_threads=n_threads) for n_threads in (1, 2)]
    for one, two in zip(*twice, strict=True):
        np.testing.assert_array_equal(one, two)
    assert problem.laid_out[0][:50].tolist() != sorted(problem.laid_out[0][:50])


@pytest.mark.parametrize("n_user_blocks, n_item_blocks", [(6, 6), (9, 2), (2, 5), (1, 1)])
def test_order_covers_the_grid_in_rounds_that_share_no_range(n_user_blocks, n_item_blocks):
    order = _blocks.draw_order(n_user_blocks, n_item_blocks, np.random.default_rng(0))
    rounds = order.reshape(-1, min(n_user_blocks, n_item_blocks))
    assert sorted(rounds.ravel()) == list(range(n_user_blocks * n_item_blocks))
    for blocks in rounds:
        assert len(set(blocks // n_item_blocks)) == len(set(blocks % n_item_blocks)) == len(blocks)
    if n_user_blocks == 6:
        assert not np.array_equal(order, _blocks.draw_order(6, 6, np.random.default_rng(1)))


@pytest.mark.parametrize("kind", KINDS)
def test_recovers_a_noise_free_table(kind):
    rng = np.random.default_rng(2)
    n_users, n_items = 120, 80
    truth = rng.normal(0, 0.6, (n_users, 3)) @ rng.normal(0, 0.6, (n_items, 3)).T + 3
    if kind != "funk":
        truth += rng.normal(0, 0.3, (n_users, 1)) + rng.normal(0, 0.3, n_items)
    user, item = np.divmod(rng.permutation(n_users * n_items), n_items)
    held_out = slice(0, 1500)
    problem = Problem(user[1500:], item[1500:], truth[user, item][1500:], n_users, n_items, n_factors=6, l2=0.0)
    for epoch in range(400):
        squared_error = problem.epoch(kind, 0.03 if kind != "svdpp" else 0.01, seed=epoch)
    assert np.sqrt(squared_error / len(user[1500:])) < 0.01
    error = (
        problem.predict(kind, user[held_out].astype(np.int32), item[held_out].astype(np.int32))
        - truth[user, item][held_out]
    )
    assert np.sqrt(np.mean(error**2)) < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["one user", "one item", "one rating", "unused rows"])
def test_odd_shapes(kind, shape):
    n_users, n_items, user, item = {
        "one user": (1, 9, np.zeros(9), np.arange(9)),
        "one item": (9, 1, np.arange(9), np.zeros(9)),
        "one rating": (1, 1, [0], [0]),
        "unused rows": (20, 30, [3, 3, 17], [5, 28, 5]),
    }[shape]
    rating = np.linspace(1, 5, len(user))
    problem = Problem(user, item, rating, n_users, n_items, n_blocks=4, spread=0.3, l2=0.0)
    before = [parameter.copy() for parameter in problem.parameters(kind)]
    for epoch in range(500):
        squared_error = problem.epoch(kind, 0.05, n_threads=2, seed=epoch)
    assert squared_error < 1e-3
    unused = np.setdiff1d(np.arange(n_users), problem.columns[0])
    np.testing.assert_array_equal(problem.factors[0][unused], before[0][unused])


@pytest.mark.parametrize("kind", KINDS)
def test_scale_of_0_to_100(kind):
    problem = random_problem(n_ratings=800)
    problem.laid_out[2] *= 20
    problem.by_user[1] *= 20
    problem.global_mean *= 20
    for epoch in range(200):
        squared_error = problem.epoch(kind, 0.0005, seed=epoch)
    assert np.isfinite(squared_error) and np.sqrt(squared_error / 800) < 27  # the deviation of the ratings is 28


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_shows_in_the_squared_error(kind):
    problem = random_problem(spread=1.0)
    for epoch in range(20):
        squared_error = problem.epoch(kind, 5.0, seed=epoch)
    assert not np.isfinite(squared_error)


@pytest.mark.parametrize("row", [[0, 5], [-1, 0]])
def test_an_index_outside_the_table_is_refused(row):
    with pytest.raises(IndexError, match="outside the table"):
        _blocks.count_ratings(np.array(row, np.int32), 5)


def test_works_where_no_cache_can_be_written(tmp_path):
    """Numba refuses ``cache=True`` when it finds no folder to write: files in the place of its folders, since root ignores modes."""
    shutil.copytree(Path(_kernels.__file__).parents[1], tmp_path / "nnmf", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "nnmf" / "factorization" / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    home = str(tmp_path / "home")
    environment = {
        **os.environ,
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(tmp_path),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    code = (
        "import numpy\nfrom nnmf.factorization._blocks import count_ratings\n"
        "print(count_ratings(numpy.zeros(3, 'i4'), 1), type(count_ratings._cache).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[3]", "NullCache"]
