"""Lists and their judgement against slow references that sort everything, and against answers worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmf.errors import ConfigError, DataError
from nnmf.ranking import _lists as ranking
from nnmf.ranking._lists import UserItems, popularity_factors, random_lists, ranking_metrics, top_n


def listed(user_factors, item_factors, n, users=None, seen=None, allowed=None, excluded=None, item_order=None):
    """The reference: every candidate's score, sorted by (-score, rank of the id)."""
    n_users, n_items = len(user_factors), len(item_factors)
    rank = range(n_items) if item_order is None else item_order
    item, score = [], []
    for user in range(n_users) if users is None else users:
        candidates = set(range(n_items) if allowed is None else allowed) - set(() if excluded is None else excluded)
        if seen is not None:
            candidates -= set(seen[user])
        scores = {
            i: np.float32(np.dot(user_factors[user].astype(float), item_factors[i].astype(float))) for i in candidates
        }
        best = sorted(candidates, key=lambda i: (-scores[i], rank[i]))[:n]
        padding = n - len(best)
        item.append(best + [-1] * padding)
        score.append([scores[i] for i in best] + [math.nan] * padding)
    return np.array(item, np.int32).reshape(-1, n), np.array(score, np.float32).reshape(-1, n)


@st.composite
def questions(draw):
    n_users, n_items, n_factors = draw(st.integers(1, 40)), draw(st.integers(1, 200)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width = draw(st.sampled_from([1, 2, 1000]))  # of whole numbers: narrow ones tie all the time
    user_factors = rng.integers(-width, width + 1, (n_users, n_factors)).astype(np.float32)
    item_factors = rng.integers(-width, width + 1, (n_items, n_factors)).astype(np.float32)
    options = {"n": draw(st.sampled_from([1, 2, 10, n_items, n_items + 3]))}
    if draw(st.booleans()):
        options["users"] = rng.integers(0, n_users, draw(st.integers(0, 50)))
    if draw(st.booleans()):
        share = draw(st.sampled_from([0.05, 0.5, 1.0]))
        options["seen"] = [np.flatnonzero(rng.random(n_items) < share) for _ in range(n_users)]
    for name in ("allowed", "excluded"):
        if draw(st.booleans()):
            options[name] = rng.integers(0, n_items, draw(st.integers(0, n_items)))
    if draw(st.booleans()):
        options["item_order"] = rng.permutation(n_items)
    return user_factors, item_factors, options


def grouped(rows):
    """UserItems of a list of rows."""
    return UserItems.of(
        np.repeat(np.arange(len(rows)), [len(row) for row in rows]),
        np.concatenate([*rows, np.empty(0, int)]).astype(int),
        len(rows),
    )


@settings(deadline=None, max_examples=150)
@given(questions(), st.sampled_from([1, 16, 17, 512]), st.sampled_from([1, 2, 3]))
def test_lists_are_those_of_a_full_sort(question, block_users, n_threads):
    user_factors, item_factors, options = question
    expected = listed(user_factors, item_factors, **options)
    if "seen" in options:
        options["seen"] = grouped(options["seen"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_USERS", block_users)
        item, score = top_n(user_factors, item_factors, n_threads=n_threads, **options)
    assert (item.dtype, score.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(item, expected[0])
    np.testing.assert_array_equal(score, expected[1])


@pytest.mark.parametrize("order", ["random", "worst first", "best first"])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e15])
def test_lists_of_random_factors_with_close_scores(order, scale):
    """Scores so close that single precision cannot tell them apart, in every order of items and of magnitude."""
    rng = np.random.default_rng(0)
    user_factors = (rng.normal(size=(70, 33)) * scale).astype(np.float32)
    item_factors = (rng.normal(size=33) + 1e-6 * rng.normal(size=(700, 33))).astype(np.float32)
    by_score = np.argsort(item_factors.astype(float) @ user_factors[0].astype(float))
    item_factors = item_factors[{"random": slice(None), "worst first": by_score, "best first": by_score[::-1]}[order]]
    item, score = top_n(user_factors, item_factors, 10)
    expected = listed(user_factors, item_factors, 10)
    np.testing.assert_array_equal(score, expected[1])
    np.testing.assert_array_equal(item, expected[0])


def test_equal_rows_tie_whatever_their_place():
    """Every item stands there three times, in places that fall to different parts of any blocked product."""
    rng = np.random.default_rng(1)
    one = rng.normal(size=(61, 50)).astype(np.float32)
    users = rng.normal(size=(100, 50)).astype(np.float32)
    item, score = top_n(users, np.concatenate([one, one, one]), 183)
    np.testing.assert_array_equal(score[:, 0::3], score[:, 2::3])
    np.testing.assert_array_equal(item[:, 0::3] + 61, item[:, 1::3])
    np.testing.assert_array_equal(item[:, 0::3] + 122, item[:, 2::3])


def test_a_user_s_list_does_not_depend_on_company_or_threads():
    rng = np.random.default_rng(2)
    user_factors, item_factors = rng.normal(size=(1500, 20)), rng.normal(size=(900, 20))  # float64 is taken as float32
    item, score = top_n(user_factors, item_factors, 7, n_threads=1)
    for n_threads in (2, 5):
        again = top_n(user_factors, item_factors, 7, n_threads=n_threads)
        np.testing.assert_array_equal(again[0], item)
        np.testing.assert_array_equal(again[1], score)
    for user in (0, 15, 16, 700, 1499):
        alone = top_n(user_factors, item_factors, 7, users=[user])
        np.testing.assert_array_equal(alone[0][0], item[user])
        np.testing.assert_array_equal(alone[1][0], score[user])
    # Candidates left out change nothing among those left in.
    few = top_n(user_factors, item_factors, 3, allowed=item[5, :3], users=[5])
    np.testing.assert_array_equal(few[1][0], score[5, :3])


def test_biases_are_columns():
    rng = np.random.default_rng(3)
    p, q, b_u, b_i = (
        rng.normal(size=(5, 4)),
        rng.normal(size=(30, 4)),
        rng.normal(size=(5, 1)),
        rng.normal(size=(30, 1)),
    )
    item, score = top_n(np.hstack([p, b_u, np.ones((5, 1))]), np.hstack([q, np.ones((30, 1)), b_i]), 30)
    expected = p @ q.T + b_u + b_i.T
    np.testing.assert_allclose(score, np.take_along_axis(expected, item.astype(int), axis=1), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_ranked_is_an_error():
    one, seen = np.ones((3, 2), np.float32), grouped([[0]])
    with pytest.raises(ConfigError, match="n: got 0"):
        top_n(one, one, 0)
    with pytest.raises(ConfigError, match="n_threads: got 0"):
        top_n(one, one, 1, n_threads=0)
    with pytest.raises(DataError, match=r"shapes \(3, 2\) and \(3, 1\)"):
        top_n(one, one[:, :1], 1)
    for bad in (np.nan, np.inf, 1e39):
        wrong = one.astype(float)
        wrong[1, 1] = bad
        with pytest.raises(DataError, match="the item factors hold a value that is no finite"):
            top_n(one, wrong, 1)
        with pytest.raises(DataError, match="the user factors hold a value that is no finite"):
            top_n(wrong, one, 1)
    with pytest.raises(DataError, match="overflow"):
        top_n(one * np.float32(1e20), one * np.float32(1e20), 1)
    with pytest.raises(DataError, match="seen holds 1 users, the factors 3"):
        top_n(one, one, 1, seen=seen)
    with pytest.raises(DataError, match="item_order: expected each of 0"):
        top_n(one, one, 1, item_order=[0, 0, 1])
    for name in ("users", "allowed", "excluded"):
        with pytest.raises(DataError, match=r"index (3|-1) lies outside"):
            top_n(one, one, 1, **{name: [0, 3]})
        with pytest.raises(DataError, match=r"index (3|-1) lies outside"):
            top_n(one, one, 1, **{name: [-1]})


# -- UserItems -------------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 20))), st.lists(st.integers(0, 6), max_size=20))
def test_user_items_are_the_sorted_distinct_pairs(pairs, users):
    table = UserItems.of([user for user, _ in pairs], [item for _, item in pairs], 7)
    rows = [sorted({item for user, item in pairs if user == row and item >= 0}) for row in range(7)]
    assert [table.item[table.indptr[row] : table.indptr[row + 1]].tolist() for row in range(7)] == rows
    assert (table.indptr.dtype, table.item.dtype, table.n_users) == (np.int64, np.int32, 7)
    chosen = table.of_users(users)
    assert chosen.item.tolist() == [item for user in users for item in rows[user]]
    assert chosen.n_items.tolist() == [len(rows[user]) for user in users]
    with pytest.raises(ValueError, match="read-only"):
        table.indptr[0] = 1


def test_user_items_of_wrong_columns_are_errors():
    with pytest.raises(DataError, match="got 2 and 1"):
        UserItems.of([0, 1], [0], 2)
    with pytest.raises(DataError, match="user: index 2 lies outside"):
        UserItems.of([0, 2], [0, 1], 2)
    with pytest.raises(DataError, match="item: index -2 lies outside"):
        UserItems.of([0, 1], [0, -2], 2)
    with pytest.raises(DataError, match="one column of indices, got float64"):
        UserItems.of([0.5], [0], 2)


# -- metrics ---------------------------------------------------------------------------------------------------------
def judged(recommended, relevant, n_items, k):
    """The reference: the definitions, one user and one place at a time."""
    users, catalogue = [], set()
    for items, wanted in zip(recommended, relevant, strict=True):
        if not wanted:
            continue
        hits = [item in wanted for item in items[:k]]
        catalogue |= {item for item in items[:k] if item != -1}
        places = [place for place, hit in enumerate(hits, 1) if hit]
        users.append(
            {
                "precision": len(places) / k,
                "recall": len(places) / len(wanted),
                "hit_rate": float(bool(places)),
                "ndcg": sum(1 / math.log2(place + 1) for place in places)
                / sum(1 / math.log2(place + 1) for place in range(1, min(k, len(wanted)) + 1)),
                "mrr": 1 / places[0] if places else 0.0,
                "map": sum(sum(hits[:place]) / place for place in places) / min(k, len(wanted)),
            }
        )
    means = {f"{name}@{k}": sum(user[name] for user in users) / len(users) for name in users[0]}
    return {**means, f"coverage@{k}": len(catalogue) / n_items}


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 15), st.integers(1, 12))
def test_metrics_are_those_of_their_definitions(seed, n_users, n_items, n):
    rng = np.random.default_rng(seed)
    relevant = [set(np.flatnonzero(rng.random(n_items) < 0.3).tolist()) for _ in range(n_users)]
    relevant[0].add(0)
    recommended = np.full((n_users, n), -1)
    for row in recommended:
        length = rng.integers(0, min(n, n_items) + 1)
        row[:length] = rng.permutation(n_items)[:length]
    k = int(rng.integers(1, n + 1))
    found = ranking_metrics(recommended, grouped([sorted(row) for row in relevant]), n_items, k)
    assert found == pytest.approx(judged(recommended.tolist(), relevant, n_items, k), abs=1e-12)
    assert all(0 <= value <= 1 for value in found.values())


def test_popularity_on_a_table_worked_out_by_hand():
    """Counts: item 0 three, items 1 and 2 two, item 3 one, item 4 none; so everyone's order is 0 1 2 3 4 less what they saw."""
    user = [0, 0, 1, 1, 1, 2, 2, 2]
    item = [0, 1, 0, 1, 2, 0, 2, 3]
    seen = UserItems.of(user, item, 4)  # user 3 has seen nothing
    lists, score = top_n(*popularity_factors(item, 4, 5), 3, seen=seen)
    assert lists.tolist() == [[2, 3, 4], [3, 4, -1], [1, 4, -1], [0, 1, 2]]
    assert score[3].tolist() == [3, 2, 2]
    # User 0 wants 3 (place 2); user 1 nothing; user 2 wants 1 and 4 (places 1, 2); user 3 wants 2 and 4 (place 3, missed).
    relevant = UserItems.of([0, 2, 2, 3, 3], [3, 1, 4, 2, 4], 4)
    second, ideal = 1 / math.log2(3), 1 + 1 / math.log2(3)
    assert ranking_metrics(lists, relevant, 5, 3) == pytest.approx(
        {
            "precision@3": (1 + 2 + 1) / 9,
            "recall@3": (1 + 1 + 1 / 2) / 3,
            "hit_rate@3": 1.0,
            "ndcg@3": (second + 1 + 0.5 / ideal) / 3,
            "mrr@3": (1 / 2 + 1 + 1 / 3) / 3,
            "map@3": (1 / 2 + 1 + 1 / 6) / 3,
            "coverage@3": 1.0,
        }
    )
    assert ranking_metrics(lists, relevant, 5, 1)["coverage@1"] == pytest.approx(3 / 5)  # 2, 1 and 0; 3 is user 1's


def test_best_and_worst_lists():
    relevant = grouped([[1, 4], [0, 2, 3, 5]])
    best = ranking_metrics(np.array([[4, 1, -1], [0, 5, 3]]), relevant, 6, 3)
    assert (best["ndcg@3"], best["map@3"], best["mrr@3"], best["hit_rate@3"]) == (1, 1, 1, 1)
    assert (best["precision@3"], best["recall@3"]) == (pytest.approx(5 / 6), pytest.approx((1 + 3 / 4) / 2))
    worst = ranking_metrics(np.array([[0, 2, 3], [1, 4, -1]]), relevant, 6, 3)
    assert {name for name, value in worst.items() if value} == {"coverage@3"}


def test_lists_that_cannot_be_judged_are_errors():
    relevant = grouped([[1], [0]])
    with pytest.raises(ConfigError, match="k: got 3"):
        ranking_metrics(np.array([[0, 1], [1, 0]]), relevant, 2, 3)
    with pytest.raises(DataError, match="1 lists and 2 users"):
        ranking_metrics(np.array([[0, 1]]), relevant, 2, 1)
    with pytest.raises(DataError, match="no user has a relevant item"):
        ranking_metrics(np.array([[0, 1]]), grouped([[]]), 2, 1)
    with pytest.raises(DataError, match="holds an item twice"):
        ranking_metrics(np.array([[0, 1], [1, 1]]), relevant, 2, 2)
    with pytest.raises(DataError, match="recommended: index 2 lies outside"):
        ranking_metrics(np.array([[0, 1], [1, 2]]), relevant, 2, 2)


# -- baselines -------------------------------------------------------------------------------------------------------
def test_random_lists_hold_unseen_items_evenly_and_repeat_by_seed():
    rows = [[0, 1, 2] if row % 2 else [9] for row in range(4000)]
    lists = random_lists(4000, 10, 4, seed=1, seen=grouped(rows))
    np.testing.assert_array_equal(lists, random_lists(4000, 10, 4, seed=1, seen=grouped(rows)))
    np.testing.assert_array_equal(lists[:700], random_lists(700, 10, 4, seed=1, seen=grouped(rows[:700])))
    assert (lists != random_lists(4000, 10, 4, seed=2, seen=grouped(rows))).any()
    assert all(len(set(row)) == 4 for row in lists.tolist())
    for parity, unseen in ((0, range(9)), (1, range(3, 10))):
        for place in range(4):
            count = np.bincount(lists[parity::2, place], minlength=10)
            assert set(np.flatnonzero(count)) == set(unseen)
            even = 2000 / len(unseen)
            assert (
                0.1 < ((count[list(unseen)] - even) ** 2 / even).sum() / len(unseen) < 4
            )  # neither skewed nor too even
    assert random_lists(2, 3, 5, seen=grouped([[0], [0, 1, 2]]))[:, 2:].tolist() == [[-1] * 3] * 2
    assert random_lists(1, 3, 5, seen=grouped([[0, 1, 2]])).tolist() == [[-1] * 5]
    assert random_lists(2, 0, 2).tolist() == [[-1, -1]] * 2


def test_importing_ranking_imports_neither_mxnet_nor_numba():
    code = "import nnmf.ranking, sys; print([name for name in ('mxnet', 'numba') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
