"""The Gibbs sampler, draw for draw: against a naive one, for any number of threads and chunks, and when it goes on."""

import numpy as np
import pytest

from nnmf import Bayes, load_checkpoint
from nnmf.factorization import _gibbs, _gibbs_kernels, _observed, _sides
from nnmf.factorization._chains import Chains
from nnmf.factorization._schedule import Workers
from nnmf.storage import RunFolder
from nnmf.tables import Block, Codes
from nnmf.testing import Killed, assert_same_model, kill_after, low_rank

from .gibbs_reference import Case, Naive, case, random_block, user_side

BLOCKS = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 2)]


def run(sampler, first, last):
    """Sweeps up to the last; returns the sampler."""
    if first == 1:
        sampler.begin()
    for number in range(first, last + 1):
        sampler.sweep(number, lambda part: None)
    return sampler


def groups(sampler):
    return [group for side in sampler.sides for group in side.groups]


def everything(sampler):
    """All that the next sweep depends on, and more."""
    precisions = {f"{side.name} {n}": group.precision for side in sampler.sides for n, group in enumerate(side.groups)}
    own = {"alpha": sampler.alpha, "residual": sampler.residual, "rmse": sampler.rmse}
    return {**sampler.state(), **precisions, **own}


def assert_same_bits(one, other):
    found, expected = everything(one), everything(other)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def assert_agree(sampler, naive, table, tolerance):
    """Parameters, hyperparameters and residuals agree."""
    close = {"rtol": tolerance, "atol": tolerance}
    for (side, group), columns in naive.columns.items():
        found, name = sampler.sides[side].groups[group], (side, group)
        np.testing.assert_allclose(found.weights, naive.weights[:, columns], **close, err_msg=f"weights of {name}")
        np.testing.assert_allclose(found.mean, naive.mean[name], **close, err_msg=f"means of {name}")
        np.testing.assert_allclose(found.precision, naive.precision[name], **close, err_msg=f"precisions of {name}")
    assert (sampler.alpha, sampler.constant) == pytest.approx((naive.alpha, naive.constant), rel=tolerance)
    left = (naive.rating - naive.predictions())[np.argsort(table.user, kind="stable")]
    np.testing.assert_allclose(sampler.residual, left, **close)
    assert sampler.rmse == pytest.approx(np.sqrt(np.mean(left**2)), rel=tolerance)


# -- against a naive sampler -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_days", [0, 4], ids=["no days", "days"])
@pytest.mark.parametrize("n_blocks", BLOCKS, ids=str)
def test_draws_are_those_of_a_naive_sampler_on_the_flattened_matrix(n_blocks, n_days):
    table = case(n_blocks=n_blocks, n_days=n_days, seed=3)
    sampler = table.sampler()
    naive = Naive(table, sampler)
    start = [group.weights[1:].copy() for group in groups(sampler)]
    for number in range(1, 6):
        run(sampler, number, number)
        naive.sweep(number)
        if number in (1, 2, 5):
            assert_agree(sampler, naive, table, 1e-5)  # found: 1e-6
    moved = [np.abs(a - group.weights[1:]).min() for a, group in zip(start, groups(sampler), strict=True)]
    assert min(moved) > 1e-5, "some weights were never drawn"


@pytest.mark.parametrize("n_factors", [0, 1, 3])
def test_so_they_are_for_any_width_and_beyond_the_sweep_that_takes_rounding_away(n_factors):
    table = case(n_blocks=(1, 1), n_days=4, n_ratings=16, seed=4)
    sampler = table.sampler(n_factors)
    naive = Naive(table, sampler)
    for number in range(1, _gibbs._REFRESHED + 2):
        run(sampler, number, number)
        naive.sweep(number)
    assert_agree(sampler, naive, table, 1e-4)


def test_ratings_are_measured_from_their_centre_in_units_of_their_spread():
    table = case(n_blocks=(1, 0), seed=5)
    moved = case(n_blocks=(1, 0), seed=5)
    moved.rating = moved.rating * np.float32(16) + np.float32(3)
    one, other = run(table.sampler(), 1, 3), run(moved.sampler(centre=3, spread=16), 1, 3)
    for name, found in everything(other).items():
        np.testing.assert_allclose(found, everything(one)[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_other_seeds_and_other_sweeps_draw_other_numbers():
    """Normal, too, and unrelated between neighbouring columns, factors, groups, sides, sweeps and seeds."""
    table = {
        key: [_gibbs_kernels.normal(_sides.key_of(*key), column) for column in range(4000)]
        for key in [
            (0, 1, 0, 0, 0),
            (1, 1, 0, 0, 0),
            (0, 2, 0, 0, 0),
            (0, 1, 1, 0, 0),
            (0, 1, 0, 1, 0),
            (0, 1, 0, 0, 1),
        ]
    }
    numbers = np.array(list(table.values()))
    shifted = np.concatenate([numbers, np.roll(numbers, 1, axis=1)])
    correlations = np.corrcoef(shifted)[np.triu_indices(len(shifted), 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(4000)
    everyone = numbers.ravel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert np.mean(everyone**power) == pytest.approx(moment, abs=4 * np.sqrt(variance / everyone.size))


# -- threads and chunks ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("n_days", [0, 6], ids=["no days", "days"])
def test_the_number_of_threads_changes_no_bit(monkeypatch, n_threads, n_days):
    monkeypatch.setattr(_gibbs, "_SHARED_RATINGS", 0)
    monkeypatch.setattr(_sides, "_SHARED_ROWS", 0)
    table = case(300, 200, 20_000, (1, 1), n_days, seed=6)
    assert_same_bits(run(table.sampler(4, n_threads=n_threads), 1, 3), run(table.sampler(4), 1, 3))


def test_the_number_of_chunks_changes_nothing_but_rounding(monkeypatch):
    """Sums over the ratings of an item are added up chunk by chunk; what is drawn of rows alone has the same bits."""
    table = case(40, 30, 700, (1, 1), 6, seed=7)
    expected = everything(run(table.sampler(), 1, 3))
    for chunks, memory in ((1, 1 << 26), (3, 1 << 26), (64, 1 << 26), (8, 0)):
        monkeypatch.setattr(_observed, "_CHUNKS", chunks)
        monkeypatch.setattr(_observed, "_SUM_BYTES", memory)
        sampler = run(table.sampler(), 1, 3)
        assert len(sampler._chunks) == (chunks if memory else 1)
        for name, found in everything(sampler).items():
            np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("n_chunks", "n_threads"), [(3, 1), (8, 3), (50, 2)])
def test_draws_of_rows_have_the_same_bits_for_any_chunks(monkeypatch, n_chunks, n_threads):
    monkeypatch.setattr(_sides, "_SHARED_ROWS", 0)
    rng = np.random.default_rng(8)
    counts, block = rng.integers(0, 9, 40), random_block(rng, 40, "block")
    statistics = rng.normal(size=(40, 4))
    drawn = []
    for chunks, threads in ((1, 1), (n_chunks, n_threads)):
        side = user_side(block, counts, 2, chunks)
        side.draw_initial(np.random.default_rng(1), 0.3)
        side.refresh()
        side.rows[:, : _gibbs_kernels.Q] = np.column_stack([counts, statistics])
        side.rows[:, _gibbs_kernels.ZZ] = 1 + statistics[:, 1] ** 2
        side.rows[:, _gibbs_kernels.Q] = side.q[1]
        with Workers(threads) as workers:
            side.draw(1, 1.5, 0, 1, workers)
        drawn.append([side.rows, side.q, side.const, *(group.weights for group in side.groups)])
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, other)


# -- going on --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_days", [0, 4], ids=["no days", "days"])
@pytest.mark.parametrize("at", [1, 3, 31, 32, 33])
def test_a_sampler_that_goes_on_has_the_bits_of_one_that_never_stopped(at, n_days):
    table = case(n_blocks=(2, 1), n_days=n_days, seed=9)
    whole = run(table.sampler(), 1, 35)
    state = run(table.sampler(), 1, at).state()
    other = table.sampler(init_std=0.7)
    other.take_state(state, same=True)
    other.begin()
    assert_same_bits(run(other, at + 1, 35), whole)


def test_the_state_is_a_copy():
    table = case(n_blocks=(1, 1), n_days=4)
    sampler = run(table.sampler(), 1, 2)
    state = sampler.state()
    before = {name: array.copy() for name, array in state.items()}
    run(sampler, 3, 3)
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)
        assert array.dtype == np.float32 and not np.array_equal(array, sampler.state()[name])


def test_what_goes_on_with_more_users_starts_from_the_weights_that_there_are():
    """The new ones', and what no user had before, as they are drawn; the next sweep is that of a naive sampler from there."""
    before = case(n_blocks=(1, 1), n_days=4, seed=10)
    (users,), items = before.blocks
    more = Block(
        users.name,
        np.append(users.starts, users.starts[-1] + [0, 0, 2]),
        np.append(users.column, [1, 4]).astype(np.int32),
        np.append(users.weight, [1, 1]).astype(np.float32),
        5,
    )
    new = np.array([6, 8, 8], np.int32), np.array([1, 0, 2], np.int32), np.array([1, -1, 0.5], np.float32)
    columns = (np.append(*both) for both in zip((before.user, before.item, before.rating), new, strict=True))
    day = Codes("day", np.append(before.day.code, [0, 1, 2]).astype(np.int32), 4)
    table = Case(*columns, (9, 5), ((more,), items), day)
    old = run(before.sampler(), 1, 3)
    sampler = table.sampler(seed=1)
    drawn = [group.weights.copy() for group in groups(sampler)]
    sampler.take_state(old.state(), same=False)
    for group, first, known in zip(groups(sampler), drawn, groups(old), strict=True):
        n = known.weights.shape[1]
        np.testing.assert_array_equal(group.weights, np.hstack([known.weights, first[:, n:]]))
    naive = Naive(table, sampler)
    naive.constant = sampler.constant
    for (side, at), mean in naive.mean.items():
        mean[:] = sampler.sides[side].groups[at].mean
    run(sampler, 1, 1)
    naive.sweep(1)
    assert_agree(sampler, naive, table, 1e-5)


@pytest.mark.parametrize("at", [3, 9, 17])
def test_a_model_saved_loaded_and_resumed_has_the_bits_of_one_that_never_stopped(at, tmp_path):
    """At sweeps where the tables of the mean are part filled, full, and made narrower."""
    train, settings = low_rank(noise=0.2), {"n_factors": 10, "n_epochs": 21, "sweeps": 1, "n_draws": 4, "n_chains": 1}
    settings["features"] = "ids,history,raters"
    whole = Bayes(**settings).fit(train)
    folder = RunFolder.begin(tmp_path / "run", {})
    with pytest.raises(Killed):
        Bayes(**settings).fit(train, callbacks=[folder, kill_after(at)])
    folder.close()
    model = load_checkpoint(tmp_path / "run")
    assert len(model.history) == at
    assert_same_model(model.resume(train), whole)
    assert np.array_equal(model.predict_index(train.user, train.item), whole.predict_index(train.user, train.item))


# -- chains ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_chains_are_samplers_that_start_apart_and_keep_to_themselves(n_threads):
    """Bit for bit, though they share what does not change, and the order of their draws is always the same."""
    table = case(n_blocks=(1, 1), n_days=4, seed=11)
    with Workers(n_threads) as workers:
        chains = Chains(lambda seed, alone: table.sampler(seed=seed), 3, 5, workers)
        chains.begin()
        draws = list(chains.sweeps(1, 3, lambda part: None))
    seeds = [sampler.seed for sampler in chains.samplers]
    assert seeds[0] == 5 and len(set(seeds)) == 3
    alone = [table.sampler(seed=seed) for seed in seeds]
    for at in (1, 2, 3):
        for chain, sampler in enumerate(alone):
            draw, expected = draws[3 * (at - 1) + chain], run(sampler, at, at).draw()
            assert (draw.constant, draw.variance) == (expected.constant, expected.variance)
            for name, q in expected.q.items():
                np.testing.assert_array_equal(draw.q[name], q)
                np.testing.assert_array_equal(draw.consts[name], expected.consts[name])
    again = Chains(lambda seed, alone: table.sampler(seed=seed), 3, 5, Workers(1))
    again.take_state(chains.state(), same=True)
    again.begin()
    for one, other, whole in zip(chains.samplers, again.samplers, alone, strict=True):
        assert_same_bits(run(other, 4, 4), run(one, 4, 4))
        assert_same_bits(one, run(whole, 4, 4))
