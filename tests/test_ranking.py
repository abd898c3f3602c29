"""Lists and their judgement against slow references that sort everything, and against answers worked out by hand."""

import copy
import math
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmf.errors import ConfigError, DataError
from nnmf.ranking import (
    ItemIndex,
    UserItems,
    popularity_factors,
    random_lists,
    ranking_metrics,
    top_n,
    top_n_of_scores,
)
from nnmf.ranking import _index as ranking


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


# -- ItemIndex -------------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=100)
@given(questions(), st.sampled_from([1, 16, 512]), st.sampled_from([0, 64, 10**9]), st.booleans())
def test_an_index_answers_as_a_full_sort_again_and_again(question, block_users, laying_out, with_biases):
    """For every way of leaving items out, by a mask and by laying the others out, twice with one index."""
    user_factors, item_factors, options = question
    rng, n_users, n_items = np.random.default_rng(0), len(user_factors), len(item_factors)
    n, users = options.pop("n"), options.pop("users", np.arange(n_users))
    seen, order = options.pop("seen", None), options.pop("item_order", None)
    user_bias, item_bias = rng.integers(-3, 4, n_users), rng.integers(-3, 4, n_items)
    ours = theirs = (user_factors, item_factors)
    if with_biases:
        ones = [np.ones((n_rows, 1)) for n_rows in (n_users, n_items)]
        theirs = (
            np.hstack([user_factors, user_bias[:, None], ones[0]]),
            np.hstack([item_factors, ones[1], item_bias[:, None]]),
        )
    expected = listed(*theirs, n, users, seen, item_order=order, **options)
    index = ItemIndex(ours[1], item_bias if with_biases else None, item_order=order)
    asked = {"user_bias": user_bias[users] if with_biases else None}
    asked["seen"] = None if seen is None else grouped(seen).of_users(users)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_USERS", block_users)
        patch.setattr(ranking, "_LAYING_OUT", laying_out)
        for again in (index, index, pickle.loads(pickle.dumps(index))):
            item, score = again.top(ours[0][users], n, **asked, **options)
            assert (item.dtype, score.dtype) == (np.int32, np.float32)
            np.testing.assert_array_equal(item, expected[0])
            np.testing.assert_array_equal(score, expected[1])


def test_an_index_lays_its_items_out_once(monkeypatch):
    """On 0.1 each call did; left-out items do not make it do so again."""
    from nnmf.ranking import _kernels

    calls, lay_out = [], _kernels.lay_out
    monkeypatch.setattr(_kernels, "lay_out", lambda *arguments: calls.append(1) or lay_out(*arguments))
    rng = np.random.default_rng(0)
    index, user = ItemIndex(rng.normal(size=(500, 8))), rng.normal(size=(1, 8))
    assert not calls
    first = index.top(user, 5)
    for options in ({}, {"excluded": first[0][0]}, {"allowed": np.arange(400)}, {"seen": grouped([[3, 4]])}):
        index.top(user, 5, **options)
    assert len(calls) == 1
    index.top(user, 5, allowed=[7])  # one item to score is not worth looking through 500
    assert len(calls) == 2


def test_threads_may_ask_one_index_at_once():
    rng = np.random.default_rng(0)
    user_factors, item_factors = rng.normal(size=(64, 8)), rng.normal(size=(5000, 8))
    expected, _ = top_n(user_factors, item_factors, 10)
    index = ItemIndex(item_factors)
    with ThreadPoolExecutor(8) as pool:
        for user, (item, _) in enumerate(pool.map(lambda row: index.top(row[None], 10), user_factors)):
            np.testing.assert_array_equal(item[0], expected[user])


def test_cosines_are_those_of_the_angles():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(300, 7)) * rng.lognormal(0, 3, (300, 1))).astype(np.float32)
    vectors[5] = 0
    item, cosine = ItemIndex(vectors, cosine=True).top(vectors[[9, 5]], 300)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    expected = unit.astype(float) @ unit[9].astype(float)
    np.testing.assert_allclose(cosine[0], expected[item[0]], atol=1e-6)
    assert item[0, 0] == 9 and cosine[0, 0] == pytest.approx(1) and (np.diff(cosine[0]) <= 0).all()
    assert (cosine[1] == 0).all() and item[1].tolist() == list(range(300))
    with pytest.raises(DataError, match="a cosine knows no bias"):
        ItemIndex(vectors, np.zeros(300), cosine=True)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_tables_without_items_or_factors(shape):
    n_items, width = shape
    item, score = ItemIndex(np.zeros(shape)).top(np.zeros((2, width)), 6)
    expected = [*range(n_items), *[-1] * (6 - n_items)]
    assert item.tolist() == [expected] * 2 and np.isnan(score[:, n_items:]).all() and (score[:, :n_items] == 0).all()
    item, _ = top_n(np.zeros((0, width)), np.zeros(shape), 2)
    assert item.shape == (0, 2)


def test_arrays_of_any_kind_are_read_as_what_they_hold():
    rng = np.random.default_rng(0)
    user_factors, item_factors = rng.integers(-9, 9, (6, 4)), rng.integers(-9, 9, (50, 4))
    expected = listed(user_factors, item_factors, 5)[0]
    for change in (
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1].copy()[::-1],
        np.float16,
    ):
        users, items = change(user_factors), change(item_factors)
        users.flags.writeable = items.flags.writeable = False
        np.testing.assert_array_equal(top_n(users, items, 5)[0], expected)
        np.testing.assert_array_equal(ItemIndex(items).top(users, 5)[0], expected)


def test_what_no_index_can_answer_is_an_error():
    one = np.ones((3, 2), np.float32)
    for wrong in (1, one[0], one.astype(str), one.astype(complex), one.astype(object)):
        with pytest.raises(DataError, match="item factors: expected a table of numbers"):
            ItemIndex(wrong)
        with pytest.raises(DataError, match="user factors: expected a table of numbers"):
            ItemIndex(one).top(wrong)
    for wrong in (np.ones(2), np.ones((3, 1)), np.array(["a", "b", "c"])):
        with pytest.raises(DataError, match="item_bias: expected one number for each of 3"):
            ItemIndex(one, wrong)
        with pytest.raises(DataError, match="user_bias: expected one number for each of 3"):
            ItemIndex(one, np.ones(3)).top(one, user_bias=wrong)
    with pytest.raises(DataError, match="made without item_bias"):
        ItemIndex(one).top(one, user_bias=np.ones(3))
    with pytest.raises(DataError, match="the item factors hold a value that is no finite"):
        ItemIndex(one, np.array([0, np.nan, 0])).top(one)
    for n in (0, -1, 2.5, None, True, "3", np.nan):
        with pytest.raises(ConfigError, match=r"n: got .* instead of at least 1"):
            ItemIndex(one).top(one, n)
        with pytest.raises(ConfigError, match=r"n: got .* instead of at least 1"):
            top_n_of_scores(one, n)
    with pytest.raises(DataError, match="seen holds 1 users, the factors 3"):
        ItemIndex(one).top(one, seen=grouped([[0]]))
    with pytest.raises(DataError, match="excluded: index 3 lies outside the table of 3"):
        ItemIndex(one).top(one, excluded=[3])


@settings(deadline=None, max_examples=100)
@given(questions())
def test_lists_of_scores_are_those_of_a_full_sort(question):
    user_factors, item_factors, options = question
    options.pop("users", None)
    expected = listed(user_factors, item_factors, **options)
    if "seen" in options:
        options["seen"] = grouped(options["seen"])
    item, score = top_n_of_scores((user_factors @ item_factors.T).astype(np.float32), options.pop("n"), **options)
    np.testing.assert_array_equal(item, expected[0])
    np.testing.assert_array_equal(score, expected[1])


def test_scores_that_cannot_be_ranked_are_errors():
    one = np.ones((2, 3), np.float32)
    for wrong in (one[0], one * np.nan, one * np.inf, one.astype(str)):
        with pytest.raises(DataError, match="scores: expected a table of finite numbers"):
            top_n_of_scores(wrong, 1)
    with pytest.raises(DataError, match="seen holds 1 users, the scores 2"):
        top_n_of_scores(one, 1, seen=grouped([[0]]))
    with pytest.raises(DataError, match="seen: index 3 lies outside the table of 3"):
        top_n_of_scores(one, 1, seen=grouped([[0], [3]]))
    with pytest.raises(DataError, match="seen: index 3 lies outside the table of 3"):
        random_lists(2, 3, 1, seen=grouped([[0], [3]]))
    with pytest.raises(DataError, match="seen holds 1 users instead of 2"):
        random_lists(2, 3, 1, seen=grouped([[0]]))
    with pytest.raises(DataError, match="item: index 3 lies outside the table of 3"):
        popularity_factors([0, 3], 2, 3)
    with pytest.raises(ConfigError, match="n_items: got -1"):
        popularity_factors([], 2, -1)


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


@pytest.mark.parametrize(
    ("indptr", "item", "message"),
    [
        ([0, 2**40], [1, 2], "starts must ascend from 0 to the number of items, 2"),
        ([0, -5, 2], [1, 2], "starts must ascend from 0"),
        ([1, 2], [1, 2], "starts must ascend from 0"),
        ([0, 1], [1, 2], "starts must ascend from 0"),
        ([0, 2, 1, 2], [1, 2], "starts must ascend from 0"),
        ([], [], "indptr: expected one column of starts"),
        ([0.0, 2.0], [1, 2], "indptr: expected one column of starts, got float64"),
        ([[0, 2]], [1, 2], "indptr: expected one column of starts"),
        ([0, 2], [1, -2], "item: index -2 lies outside"),
        ([0, 2], [1, 2**40], "item: index 1099511627776 lies outside"),
        ([0, 2], [1.0, math.nan], "item: expected one column of indices, got float64"),
        ([0, 2], [[1, 2]], "the number of items, 1"),
        ([0, 0, 1, 3], [7, 2, 1], "the items of user 2 must ascend"),
        ([0, 2], [4, 4], "the items of user 0 must ascend"),
    ],
)
def test_user_items_that_would_lead_a_loop_astray_are_errors(indptr, item, message):
    """Each a segmentation fault on 0.1, or a wrong answer."""
    with pytest.raises(DataError, match=message):
        UserItems(np.array(indptr), np.array(item))


def test_user_items_from_other_arrays_are_what_they_hold():
    indptr, item = np.array([0, 0, 2, 2, 3], np.uint16), np.array([0, 9, 3, 7, 1, 7], np.int64)[::2]
    table = UserItems(indptr, item)
    assert (table.indptr.dtype, table.item.dtype, table.largest) == (np.int64, np.int32, 3)
    assert table.of_users([3, 1]).item.tolist() == [1, 0, 3]
    assert UserItems(np.zeros(1, np.int64), np.empty(0, np.int32)).n_users == 0
    for copied in (pickle.loads(pickle.dumps(table)), copy.deepcopy(table)):
        assert copied.item.tolist() == table.item.tolist()
        with pytest.raises(ValueError, match="read-only"):
            copied.item[0] = 10**6


def test_grouping_costs_no_memory_for_numbers_that_are_not_there():
    table = UserItems.of([0, 1, 0, -1], [2**31 - 2, 5, 7, 6], 2)
    assert table.item.tolist() == [7, 2**31 - 2, 5]
    table = UserItems.of([0, 1, 0], [2**31 - 2, -1, 7], 2)
    assert table.item.tolist() == [7, 2**31 - 2] and table.n_items.tolist() == [2, 0]
    for n_users in (-1, 1.5, None):
        with pytest.raises(ConfigError, match="n_users: got"):
            UserItems.of([0], [0], n_users)


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
    n_judged = {"judged_users": len(users), "judged_ratings": sum(len(wanted) for wanted in relevant)}
    return {**means, f"coverage@{k}": len(catalogue) / n_items, **n_judged}


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
    assert all(0 <= value <= 1 for name, value in found.items() if not name.startswith("judged"))


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
            "judged_users": 3,
            "judged_ratings": 5,
        }
    )
    assert ranking_metrics(lists, relevant, 5, 1)["coverage@1"] == pytest.approx(3 / 5)  # 2, 1 and 0; 3 is user 1's


def test_best_and_worst_lists():
    relevant = grouped([[1, 4], [0, 2, 3, 5]])
    best = ranking_metrics(np.array([[4, 1, -1], [0, 5, 3]]), relevant, 6, 3)
    assert (best["ndcg@3"], best["map@3"], best["mrr@3"], best["hit_rate@3"]) == (1, 1, 1, 1)
    assert (best["precision@3"], best["recall@3"]) == (pytest.approx(5 / 6), pytest.approx((1 + 3 / 4) / 2))
    worst = ranking_metrics(np.array([[0, 2, 3], [1, 4, -1]]), relevant, 6, 3)
    assert {name for name, value in worst.items() if value} == {"coverage@3", "judged_users", "judged_ratings"}


def test_lists_that_cannot_be_judged_are_errors():
    relevant = grouped([[1], [0]])
    with pytest.raises(ConfigError, match="k: got 3"):
        ranking_metrics(np.array([[0, 1], [1, 0]]), relevant, 3, 3)
    for k in (0, -1, 1.5, None, True):
        with pytest.raises(ConfigError, match="k: got"):
            ranking_metrics(np.array([[0, 1], [1, 0]]), relevant, 2, k)
    with pytest.raises(ConfigError, match="lists of float64"):
        ranking_metrics(np.array([[0, np.nan], [1, 0]]), relevant, 2, 2)
    for wrong in ([1], [1, -1], [0.5, 1]):
        with pytest.raises(DataError, match="n_unknown: expected a number of items"):
            ranking_metrics(np.array([[0], [1]]), relevant, 2, 1, n_unknown=wrong)
    with pytest.raises(DataError, match="1 lists and 2 users"):
        ranking_metrics(np.array([[0, 1]]), relevant, 2, 1)
    with pytest.raises(DataError, match="no user has a relevant item"):
        ranking_metrics(np.array([[0, 1]]), grouped([[]]), 2, 1)
    with pytest.raises(DataError, match="holds an item twice"):
        ranking_metrics(np.array([[0, 1], [1, 1]]), relevant, 2, 2)
    with pytest.raises(DataError, match="recommended: index 2 lies outside"):
        ranking_metrics(np.array([[0, 1], [1, 2]]), relevant, 2, 2)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 6), st.sampled_from([1, 3, 20, 10**9]))
def test_what_training_does_not_know_counts_as_missed(seed, n_users, n_items, k):
    """On 0.1 such ratings were left out without a word. The reference is told of items and users that no list can hold."""
    rng = np.random.default_rng(seed)
    relevant = [set(np.flatnonzero(rng.random(n_items) < 0.3).tolist()) for _ in range(n_users)]
    relevant[0].add(0)
    n_unknown, others = rng.integers(0, 4, n_users), rng.integers(0, 3, 5)
    lists = np.array([rng.permutation(n_items) for _ in range(n_users)])
    arguments = lists, grouped([sorted(row) for row in relevant]), n_items, k
    found = ranking_metrics(*arguments, n_unknown=n_unknown, unknown_users=others)
    outside = iter(range(n_items, 1000))
    every = [row | {next(outside) for _ in range(n)} for row, n in zip(relevant, n_unknown, strict=True)]
    every += [{next(outside) for _ in range(n)} for n in others]
    expected = judged([*lists.tolist(), *[[-1]] * 5], every, n_items, k)
    assert found == pytest.approx(expected, abs=1e-12)
    assert (found["judged_users"], found["judged_ratings"]) == (sum(map(bool, every)), sum(map(len, every)))


def test_lists_longer_than_the_catalogue_cost_no_memory():
    """3.4 TiB for ndcg@1000000000 on 0.1."""
    relevant = grouped([[1, 4], [0, 2, 3, 5]])
    lists = np.array([[4, 1, 0, 2, 3, 5], [0, 5, 3, 2, 1, 4]])
    found, six = ranking_metrics(lists, relevant, 6, 10**9), ranking_metrics(lists, relevant, 6, 6)
    for name in ("recall", "hit_rate", "ndcg", "mrr", "map", "coverage"):
        assert found[f"{name}@1000000000"] == six[f"{name}@6"]
    assert found["precision@1000000000"] == pytest.approx(3e-9)
    one = np.ones((1, 2), np.float32)
    for ask in (
        lambda: top_n(one, one, 10**9),
        lambda: ItemIndex(one).top(one, 10**9),
        lambda: top_n_of_scores(one, 10**9),
        lambda: random_lists(1, 1, 10**9),
    ):
        with pytest.raises(ConfigError, match=r"n: got 1000000000 for [12] items; .* ask for at most [12]"):
            ask()


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


def test_items_of_users_stay_as_they_were_checked():
    """What the caller goes on to write to his own arrays must not reach a compiled loop."""
    start, item = np.arange(0, 31, 3), np.tile(np.arange(3, dtype=np.int32), 10)
    seen = UserItems(start[:], item)
    start[1:-1], item[:] = 2**40, 2**30
    assert seen.indptr[1] == 3 and seen.item.max() == 2
    for table in (seen, UserItems.of([0, 1], [1, 2], 2)):
        for array in (table.indptr, table.item):
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True
