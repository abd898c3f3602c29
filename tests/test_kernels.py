"""The compiled loops against slow ones in NumPy, and the layout that lets threads share them."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nnmf.errors import DataError
from nnmf.factorization import _kernels, _layout, _schedule
from nnmf.factorization._schedule import GridSchedule, UserSchedule, Workers
from nnmf.factorization._vectors import padded, zero_rows

from . import svd_reference as reference


class Problem:
    """A table laid out in blocks, with start values of every parameter."""

    def __init__(self, user, item, rating, n_users, n_items, n_factors=5, n_blocks=4, spread=0.1, l2=0.02, sign=1):
        rng = np.random.default_rng(0)
        self.sign = sign
        self.n_users, self.n_items = n_users, n_items
        shape = n_blocks if isinstance(n_blocks, tuple) else (n_blocks, n_blocks)
        self.columns = np.asarray(user, np.int32), np.asarray(item, np.int32), np.asarray(rating, np.float32)
        sizes = n_users, n_items
        self.by_block = GridSchedule(*self.columns, *sizes, padded(n_factors), seed=0, shape=shape)
        self.by_user = UserSchedule(*self.columns, *sizes, seed=0)

        def draw(n_rows):
            table = zero_rows(n_rows, n_factors)
            table[:, :n_factors] = rng.normal(0, spread, (n_rows, n_factors))
            return table

        self.factors = [draw(n_users), draw(n_items)]
        self.implicit_factors = draw(n_items)
        self.biases = [np.zeros(n_users, np.float32), np.zeros(n_items, np.float32)]
        self.global_mean = float(self.columns[2].mean())
        self.penalties = [np.full(n_users, l2, np.float32), np.full(n_items, l2 / 2, np.float32), 0.3]

    def parameters(self, kind):
        if kind == "funk":
            return self.factors
        return [*self.factors, *([self.implicit_factors] if kind == "svdpp" else []), *self.biases]

    def schedule(self, kind):
        return self.by_user if kind == "svdpp" else self.by_block

    def epoch(self, kind, learning_rate, n_threads=1, seed=0, unit=1.0, tick=None):
        kernel = getattr(_kernels, f"train_{kind}")
        mean = [self.sign if kind == "funk" else self.global_mean]
        penalties = self.penalties[: 2 if kind == "funk" else 3]
        arguments = *self.parameters(kind), *mean, learning_rate, unit, *penalties
        with Workers(n_threads) as workers:
            return self.schedule(kind).run(kernel, *arguments, seed=0, epoch=seed, workers=workers, tick=tick)

    def reference_epoch(self, kind, parameters, learning_rate, seed=0, unit=1.0):
        schedule = self.schedule(kind)
        mean = [self.sign if kind == "funk" else self.global_mean]
        penalties = self.penalties[: 2 if kind == "funk" else 3]
        arguments = *parameters, *mean, learning_rate, unit, *penalties
        blocks = np.concatenate(list(schedule.rounds(0, seed)))
        if kind == "svdpp":
            return reference.train_svdpp(blocks, schedule.starts, *schedule.columns, *arguments)
        ratings = reference.in_block_order(blocks, schedule.starts, *schedule.columns)
        return getattr(reference, f"train_{kind}")(ratings, *arguments)

    def predict(self, kind, user, item):
        user_factors, item_factors = self.factors
        if kind == "svdpp":
            user_factors = _kernels.implicit_user_factors(
                self.by_user.starts, self.by_user.columns[0], user_factors, self.implicit_factors
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


@pytest.mark.parametrize("unit", [1.0, 0.73])
@pytest.mark.parametrize("n_factors", [1, 5, 16, 40])
@pytest.mark.parametrize(("kind", "sign"), [*((kind, 1) for kind in KINDS), ("funk", -1)])
def test_agrees_with_reference(kind, sign, n_factors, unit):
    problem = random_problem(n_factors=n_factors, sign=sign)
    expected = [parameter.astype(np.float64) for parameter in problem.parameters(kind)]
    for seed in range(3):
        squared_error = problem.epoch(kind, 0.01, seed=seed, unit=unit)
        slow = problem.reference_epoch(kind, expected, 0.01, seed=seed, unit=unit)
        assert squared_error == pytest.approx(slow, rel=1e-5)
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
@pytest.mark.parametrize("n_blocks", [1, 4, 8, (10, 2), (2, 6)])
def test_same_bits_for_every_number_of_threads(kind, n_blocks, monkeypatch):
    monkeypatch.setattr(_schedule, "_SHARED_WORK", 0)
    results = []
    for n_threads in (1, 2, 3, 2):
        problem = random_problem(300, 200, 20_000, n_blocks=n_blocks)
        errors = [problem.epoch(kind, 0.02, n_threads, seed) for seed in range(3)]
        results.append((errors, b"".join(parameter.tobytes() for parameter in problem.parameters(kind))))
    assert all(result == results[0] for result in results)


def test_layout_is_a_shuffle_of_each_block():
    problem = random_problem(n_ratings=600, n_blocks=4)
    laid_out, starts = problem.by_block.columns, problem.by_block.starts
    assert sorted(zip(*laid_out, strict=True)) == sorted(zip(*problem.columns, strict=True))
    assert sorted(zip(*problem.by_user.columns, strict=True)) == sorted(zip(*problem.columns[1:], strict=True))
    edges = [_layout.block_edges(count, 4) for count in problem.by_block.counts]
    for block in range(16):
        part = slice(starts[block], starts[block + 1])
        for column, edge, b in zip(laid_out[:2], edges, (block // 4, block % 4), strict=True):
            assert ((column[part] >= edge[b]) & (column[part] < edge[b + 1])).all()
    assert laid_out[0][:50].tolist() != sorted(laid_out[0][:50])


@pytest.mark.parametrize("n_ratings", [1, 2, 600])
def test_layout_is_the_same_for_every_number_of_threads(n_ratings, monkeypatch):
    monkeypatch.setattr(_layout, "_PART_RATINGS", 1)
    problem = random_problem(n_ratings=n_ratings, n_blocks=4)
    edges = [_layout.block_edges(count, 4) for count in problem.by_block.counts]
    one, *more = (_layout.lay_out(*problem.columns, *edges, 3, n_threads) for n_threads in (1, 2, 3, 7))
    for several in more:
        for ours, theirs in zip(one, several, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(8, 8), (12, 4), (2, 6), (1, 1)])
def test_rounds_cover_the_grid_and_share_no_range(shape):
    schedule = random_problem(n_blocks=shape).by_block
    rounds = list(schedule.rounds(0, 1))
    assert sorted(np.concatenate(rounds)) == list(range(shape[0] * shape[1]))
    assert {len(blocks) for blocks in rounds} == {min(shape)}
    for blocks in rounds:
        assert len(set(blocks // shape[1])) == len(set(blocks % shape[1])) == len(blocks)
        sizes = np.diff(schedule.starts)[blocks]
        assert (np.diff(sizes) <= 0).all()
    if shape == (8, 8):
        again, later, other = (np.array(list(schedule.rounds(*key))) for key in ((0, 1), (0, 2), (1, 1)))
        assert np.array_equal(rounds, again)
        assert not np.array_equal(rounds, later) and not np.array_equal(rounds, other)


def test_empty_rounds_are_passed_over():
    """A table of one busy user among many: most rounds hold nothing, and nobody is told of an epoch without ratings."""
    problem, looks = Problem(np.zeros(90), np.arange(90), np.ones(90), 50, 90, n_blocks=(10, 2)), []
    problem.epoch("svd", 0.01, tick=lambda *look: looks.append(look))
    assert len(looks) == 2 and looks[0][0] > 0 and looks[-1][0] == 90


def test_rounds_of_users_hold_each_once_and_end_soon(monkeypatch):
    monkeypatch.setattr(_schedule, "_CHUNK_RATINGS", 50)
    schedule = random_problem(n_ratings=600).by_user
    rounds, most = list(schedule.rounds(0, 1)), np.diff(schedule.starts).max()
    assert sorted(np.concatenate(rounds)) == list(range(40))
    sizes = [np.diff(schedule.starts)[users].sum() for users in rounds]
    assert 6 <= len(rounds) <= 12 and max(sizes) < 50 + most


@pytest.mark.parametrize("kind", KINDS)
def test_ticks_tell_what_is_done_and_may_end_the_epoch(kind, monkeypatch):
    monkeypatch.setattr(_schedule, "_CHUNK_RATINGS", 100)
    problem, looks = random_problem(n_blocks=8), []
    total = problem.epoch(kind, 0.01, tick=lambda *look: looks.append(look))
    assert len(looks) >= 3 and looks[-1] == (400, pytest.approx(total))
    done, squared_error = zip(*looks, strict=True)
    assert (np.diff(done) > 0).all() and (np.diff(squared_error) > 0).all()

    def stop(done, squared_error):
        raise KeyboardInterrupt

    factors = problem.factors[0].copy()
    with pytest.raises(KeyboardInterrupt):
        problem.epoch(kind, 0.01, n_threads=2, tick=stop)
    changed = (problem.factors[0] != factors).any(axis=1)
    assert 0 < changed.sum() < len(changed)


@pytest.mark.parametrize(
    ("n_users", "n_items", "n_ratings"),
    [
        (943, 1682, 80_000),
        (71_567, 10_681, 8_500_000),
        (10_681, 71_567, 8_500_000),
        (5_000_000, 500_000, 45_000_000),
        (50_000_000, 20_000_000, 100_000_000),
        (1_000_000_000, 10, 1_000_000_000),
        (3, 2, 7),
        (1, 1, 1),
    ],
)
@pytest.mark.parametrize("width", [16, 64, 512])
def test_blocks_hold_thousands_of_ratings_however_many_rows_there_are(n_users, n_items, n_ratings, width):
    """On 0.1 down to 334 ratings, from 5 M users on, when two threads were slower than one."""
    user_blocks, item_blocks = _layout.grid(n_users, n_items, width, n_ratings)
    assert 1 <= min(user_blocks, item_blocks) <= (16 if n_ratings < 70_000_000 else 64)
    fewer, more = sorted((user_blocks, item_blocks))
    assert bin(fewer).count("1") == 1 and more % fewer == 0  # as turns go
    assert user_blocks * item_blocks == 1 or n_ratings / (user_blocks * item_blocks) >= 4096
    if n_ratings > 2_000_000:
        assert min(user_blocks, item_blocks) >= 16
        assert (user_blocks - item_blocks) * (n_users - n_items) > 0
    assert n_ratings / max(user_blocks, item_blocks) < 5_000_000  # a round is soon over


def test_rows_of_factors_start_where_lines_of_the_cache_do():
    for n_rows in (1, 1000, 100_000):
        table = zero_rows(n_rows, 17)
        assert (table.shape, table.dtype, table.any()) == ((n_rows, 32), np.float32, False)
        assert table.ctypes.data % 64 == 0 and table.flags.c_contiguous


def test_two_models_may_train_from_two_threads():
    def trained(_=None):
        problem = random_problem(300, 200, 20_000, n_blocks=8)
        problem.epoch("svd", 0.02, n_threads=2)
        return b"".join(parameter.tobytes() for parameter in problem.parameters("svd"))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(trained, range(8))) == {trained()}


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
    problem.by_block.columns[2][:] *= 20
    problem.by_user.columns[1][:] *= 20
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
        _layout.count_ratings(np.array(row, np.int32), 5)


def test_columns_that_no_loop_may_read_are_refused():
    good, rating = np.array([0, 1, 2], np.int32), np.ones(3, np.float32)
    for schedule in (
        lambda *columns: GridSchedule(*columns, 3, 3, 16, 0),
        lambda *columns: UserSchedule(*columns, 3, 3, 0),
    ):
        with pytest.raises(DataError, match="user: index 3 lies outside the table of 3"):
            schedule(good + 1, good, rating)
        with pytest.raises(DataError, match="item: index -1 lies outside the table of 3"):
            schedule(good, good - 1, rating)
        with pytest.raises(DataError, match="one length above 0, got 3, 2 and 3"):
            schedule(good, good[:2], rating)
        with pytest.raises(DataError, match="one length above 0, got 0, 0 and 0"):
            schedule(good[:0], good[:0], rating[:0])
        with pytest.raises(DataError, match="user: expected one column of int32, got float64"):
            schedule(good.astype(float), good, rating)
        # Read-only, strided and wider columns are read as what they hold.
        wide = np.repeat(good, 2).astype(np.int64)[::2]
        wide.flags.writeable = False
        assert schedule(wide, wide, rating.astype(float)).counts[0].tolist() == [1, 1, 1]


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
        "import numpy\nfrom nnmf.factorization._layout import count_ratings\n"
        "print(count_ratings(numpy.zeros(3, 'i4'), 1), type(count_ratings._cache).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[3]", "NullCache"]
