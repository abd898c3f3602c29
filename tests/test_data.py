import copy
import pickle
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmf import Ratings
from nnmf.errors import ConfigError, DataError
from nnmf.tables._ids import UNKNOWN
from nnmf.tables._statistics import gini_index, statistics
from nnmf.testing import low_rank


def tuples(table: Ratings) -> list[tuple]:
    """The table in its file's ids, sorted."""
    users, items = table.users.ids.tolist(), table.items.ids.tolist()
    pairs = zip(table.user.tolist(), table.item.tolist(), table.rating.tolist(), strict=True)
    rows = [(users[u] if u >= 0 else None, items[i] if i >= 0 else None, r) for u, i, r in pairs]
    return sorted(rows, key=str)


pair_tables = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=8, max_size=60, unique=True).map(
    lambda pairs: Ratings.from_arrays(
        [u for u, _ in pairs], [i for _, i in pairs], np.arange(len(pairs)), np.arange(len(pairs))[::-1]
    )
)


def test_from_arrays():
    table = Ratings.from_arrays([30, 10, 30], ["b", "a", "c"], [1, 2.5, 3], [7, 8, 9])
    assert (table.user.tolist(), table.item.tolist()) == ([1, 0, 1], [1, 0, 2])
    assert (table.user.dtype, table.item.dtype, table.rating.dtype) == (np.int32, np.int32, np.float32)
    assert (table.n_users, table.n_items, len(table), table.scale) == (2, 3, 3, (1.0, 3.0))
    assert table.timestamp.tolist() == [7, 8, 9]
    with pytest.raises(ValueError, match="read-only"):
        table.rating[0] = 9
    with pytest.raises(AttributeError):
        table.name = "other"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], [1, 2], [3, np.nan]), "ratings: entry 1 is nan"),
        (([1, 2], [1, 2], [3, np.inf]), "ratings: entry 1 is inf"),
        (([1, 2], [1, 2], [3, 1e39]), r"entry 1 is 1e\+39"),
        (([1, 2], [1, 2], ["a", "b"]), "expected numbers"),
        (([1, 2], [1, 2], [3]), r"unequal lengths \[1, 2\]"),
        (([], [], []), "holds no ratings"),
        (([1.5, 2], [1, 2], [3, 4]), "user ids: row 0 holds .*1.5"),
        (([[1, 2]], [1, 2], [3, 4]), r"shape \(1, 2\)"),
        (([1, 2, 1], [5, 5, 5], [3, 4, 5]), r"user 1 rated item 5 2 times \(ratings 1 and 3 of the table; 1 dup"),
    ],
)
def test_bad_columns_are_named(columns, message):
    with pytest.raises(DataError, match=message):
        Ratings.from_arrays(*columns)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5)), min_size=1))
def test_duplicates_agree_with_a_dictionary(rows):
    columns = tuple(zip(*rows, strict=True))
    groups: dict[tuple[int, int], list[int]] = {}
    for u, i, r in rows:
        groups.setdefault((u, i), []).append(r)
    last = Ratings.from_arrays(*columns, duplicates="last")
    assert tuples(last) == sorted([(u, i, float(rs[-1])) for (u, i), rs in groups.items()], key=str)
    mean = Ratings.from_arrays(*columns, duplicates="mean")
    assert tuples(mean) == sorted([(u, i, float(np.float32(np.mean(rs)))) for (u, i), rs in groups.items()], key=str)


def test_an_unknown_way_with_duplicates():
    with pytest.raises(ConfigError, match=r"duplicates: got 'first' instead of one of \['error', 'last', 'mean'\]"):
        Ratings.from_arrays([1], [1], [1], duplicates="first")


def test_frames_of_pandas_and_polars_are_taken_by_column_name():
    class Frame:  # what both answer to, without either
        columns = ("who", "what", "r", "t")

        def __getitem__(self, name):
            return {"who": ["a", "b"], "what": [1, 2], "r": [3, 4], "t": [5, 6]}[name]

    table = Ratings.from_frame(Frame(), user="who", item="what", rating="r", timestamp="t")
    assert tuples(table) == [("a", 1, 3.0), ("b", 2, 4.0)]
    with pytest.raises(DataError, match=r"no column known for users; it has \['who', 'what', 'r', 't'\]. Name the"):
        Ratings.from_frame(Frame())


@pytest.mark.parametrize(
    "names",
    [
        ("user", "item", "rating"),
        ("userId", "movieId", "Score"),
        ("Benutzer-ID", "ISBN", "Book-Rating"),
        ("user_id", "item_id", "rating"),
    ],
)
def test_a_frame_s_columns_are_found_by_their_known_names(names):
    expected = [("a", 1, 3.0), ("b", 2, 4.0)]
    columns = dict(zip(names, (["a", "b"], [1, 2], [3, 4]), strict=True))
    assert tuples(Ratings.from_frame({"title": ["x", "y"], **columns})) == expected
    assert tuples(Ratings.from_frame({"score": [5, 5], **columns}, rating=names[2])) == expected
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns)
    assert tuples(Ratings.from_frame(frame)) == tuples(Ratings.from_frame(frame.set_index(names[0]))) == expected
    assert tuples(Ratings.from_frame(frame.set_index([*names[:2]]))) == expected


def test_other_frames_are_taken_or_refused_in_a_sentence():
    columns = {"user_id": ["a", "b"], "item_id": [1, 2], "rating": [3, 4]}
    expected = [("a", 1, 3.0), ("b", 2, 4.0)]
    assert tuples(Ratings.from_frame(columns)) == expected
    assert tuples(Ratings.from_frame(dict(enumerate(columns.values())), user=0, item=1, rating=2)) == expected

    class Lazy:  # as polars has it: no column can be had before collect
        columns = ("user_id", "item_id", "rating")

        def collect(self):
            return columns

    assert tuples(Ratings.from_frame(Lazy())) == expected
    with pytest.raises(DataError, match="got a list, which has no columns"):
        Ratings.from_frame([1, 2])
    with pytest.raises(DataError, match=r"no column 0; it has \['user_id'"):
        Ratings.from_frame(columns, user=0)


@pytest.mark.parametrize(
    ("timestamps", "seconds"),
    [
        (np.array(["2020-01-01T00:00:01.9", "1970-01-01"], "datetime64[ns]"), [1577836801, 0]),
        (np.array(["2020-01-01", "1970-01-01"], "datetime64[D]"), [1577836800, 0]),
        ([datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(1970, 1, 2)], [0, 86400]),
        ([date(1970, 1, 2), date(1970, 1, 1)], [86400, 0]),
        ([1500000000123456789, -(2**63)], [1500000000123456789, -(2**63)]),
        (np.array([1500000000123456789, 1], object), [1500000000123456789, 1]),
        ([1.9, 2], [1, 2]),
    ],
)
def test_timestamps_are_whole_seconds(timestamps, seconds):
    assert Ratings.from_arrays([1, 2], [1, 2], [1, 2], timestamps).timestamp.tolist() == seconds


@pytest.mark.parametrize(
    ("timestamps", "message"),
    [
        (np.array(["2020-01-01", "NaT"], "datetime64[ns]"), "timestamps: entry 1 is NaT"),
        ([1e30, 1], r"timestamps: entry 0 is 1e\+30"),
        ([1, 2.0**63], "timestamps: entry 1 is 9.22"),
        (np.array([2**63, 1], np.uint64), "timestamps: entry 0 is 9223372036854775808"),
        ([1, np.nan], "timestamps: entry 1 is nan"),
        (["2020-01-01", "x"], "timestamps: expected numbers"),
        ([1j, 2], "timestamps: expected numbers"),
        ([[1, 2]], r"timestamps: expected one column, got an array of shape \(1, 2\)"),
    ],
)
def test_bad_timestamps_are_named(timestamps, message):
    with pytest.raises(DataError, match=message):
        Ratings.from_arrays([1, 2], [1, 2], [1, 2], timestamps)


def test_dates_are_no_ratings():
    with pytest.raises(DataError, match="ratings: expected numbers, got datetime64"):
        Ratings.from_arrays([1], [1], np.array(["2020-01-01"], "datetime64[ns]"))


@pytest.mark.parametrize(("dtype", "ids"), [(np.int8, [100, -100, 3]), (np.int16, [30000, -30000, 3])])
def test_narrow_ids_stay_what_they_are(dtype, ids):
    table = Ratings.from_arrays(np.array(ids, dtype), np.array(ids, dtype), [1, 2, 3])
    assert table.users.ids.tolist() == table.items.ids.tolist() == sorted(ids)
    assert table.users.ids[table.user].tolist() == ids


def test_a_table_leaves_the_arrays_it_is_given_writeable(small):
    columns = [np.array(column) for column in (small.user, small.item, small.rating)]
    table = Ratings(*columns, small.users, small.items)
    assert all(column.flags.writeable for column in columns)
    for same in (table, copy.copy(table), copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert not any(column.flags.writeable for column in (same.user, same.item, same.rating))


def test_tables_with_unknown_ids_are_not_split(small):
    test = Ratings.from_arrays([1, 999, 2], [1, 2, 999], [1, 2, 3], [1, 2, 3], like=small)
    ways = (test.split, test.split_by_user, test.split_by_time, lambda: next(test.folds(2)), test.compact)
    for way in ways:
        with pytest.raises(DataError, match="holds ratings of unknown users or items; drop them with"):
            way()


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_a_seed_is_a_whole_number(small, seed):
    for way in (small.split, small.split_by_user):
        with pytest.raises(ConfigError, match=r"seed: got .* give a whole number of at least 0"):
            way(0.5, seed)
    with pytest.raises(ConfigError, match="seed: got"):
        next(small.folds(2, seed))


def test_a_test_table_is_mapped_through_the_train_ids():
    train = Ratings.from_arrays([1, 2], [10, 20], [3, 4])
    test = Ratings.from_arrays([2, 3, 1], [20, 10, 99], [1, 2, 3], like=train)
    assert (test.user.tolist(), test.item.tolist()) == ([1, UNKNOWN, 0], [1, 0, UNKNOWN])
    assert test.known.tolist() == [True, False, False]
    assert (test.users, test.scale) == (train.users, (3.0, 4.0))
    with pytest.raises(DataError, match="unknown"):
        test.compact()


@given(
    pair_tables, st.floats(0.2, 0.8), st.integers(0, 5), st.sampled_from(["split", "split_by_user", "split_by_time"])
)
def test_splits_are_disjoint_and_complete(table, fraction, seed, how):
    arguments = (fraction,) if how == "split_by_time" else (fraction, seed)
    try:
        train, test = getattr(table, how)(*arguments)
    except ConfigError:
        assert how == "split_by_user"  # no user has a rating to spare
        return
    # Each rating is its own number here.
    assert sorted([*train.rating.tolist(), *test.rating.tolist()]) == list(range(len(table)))
    everything = {row[2]: row for row in tuples(table)}
    assert all(everything[row[2]] == row for row in tuples(train))
    for user, item, number in tuples(test):
        assert user in (None, everything[number][0]) and item in (None, everything[number][1])
    assert np.bincount(train.user, minlength=train.n_users).all()
    assert np.bincount(train.item, minlength=train.n_items).all()
    if how == "split":
        assert len(train) == round(fraction * len(table))
    if how == "split_by_time":
        assert train.timestamp.max() < test.timestamp.min()
    if how == "split_by_user":
        assert (test.user != UNKNOWN).all()
        kept = dict(zip(train.users.ids.tolist(), np.bincount(train.user).tolist(), strict=True))
        had = dict(zip(table.users.ids.tolist(), np.bincount(table.user).tolist(), strict=True))
        assert kept == {user: int(np.ceil(fraction * n - 1e-9)) for user, n in had.items()}


@given(pair_tables, st.integers(2, 8))
def test_folds_test_each_rating_once(table, n_folds):
    folds = list(table.folds(n_folds))
    assert len(folds) == n_folds
    assert sorted(number for _, test in folds for number in test.rating.tolist()) == list(range(len(table)))
    for train, test in folds:
        assert len(train) + len(test) == len(table)
        assert not set(train.rating.tolist()) & set(test.rating.tolist())


def test_splits_repeat_by_seed_and_refuse_empty_sides(small):
    first, again, other = (small.split(0.8, seed)[0].rating for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    for fraction in (0, 1, -1, 1e-9):
        with pytest.raises(ConfigError, match="fraction: got"):
            small.split(fraction)
    with pytest.raises(ConfigError, match="n_folds: got 1"):
        next(small.folds(1))
    with pytest.raises(DataError, match="no timestamps"):
        Ratings.from_arrays([1, 2], [1, 2], [1, 2]).split_by_time(0.5)


def test_statistics_agree_with_loops():
    table = low_rank(n_ratings=300)
    found = statistics(table)
    per_user = [sum(1 for u in table.user if u == user) for user in range(table.n_users)]
    per_item = [sum(1 for i in table.item if i == item) for item in range(table.n_items)]
    assert (found.per_user.min, found.per_user.max) == (min(per_user), max(per_user))
    assert found.per_item.mean == pytest.approx(sum(per_item) / len(per_item))
    assert found.density == pytest.approx(300 / (table.n_users * table.n_items))
    differences = sum(abs(a - b) for a in per_item for b in per_item)
    assert found.gini == pytest.approx(differences / (2 * len(per_item) ** 2 * np.mean(per_item)))


def test_gini_index_of_known_tables():
    assert gini_index(np.array([5, 5, 5])) == pytest.approx(0)
    assert gini_index(np.array([0, 0, 0, 8])) == pytest.approx(0.75)


def test_the_real_table(ml_100k, u1):
    found = statistics(Ratings.from_file(ml_100k / "u.data"))
    assert (found.n_users, found.n_items, found.n_ratings, found.per_user.min) == (943, 1682, 100_000, 20)
    train, test = u1
    trained = {line.split("\t")[1] for line in (ml_100k / "u1.base").read_text().splitlines()}
    tested = [line.split("\t")[1] for line in (ml_100k / "u1.test").read_text().splitlines()]
    cold = sum(item not in trained for item in tested)
    assert (len(train), len(test), int((~test.known).sum())) == (80_000, 20_000, cold)


def test_tables_and_statistics_do_without_mxnet():
    code = "import sys, nnmf.data, nnmf.metrics, nnmf.tables, nnmf.datasets; assert 'mxnet' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
