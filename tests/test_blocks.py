"""Parts of a design matrix: against what a plain loop over the ratings finds, and made of the training table alone."""

import copy
import json
from datetime import datetime, timezone

import numpy as np
import pytest

from nnmf.errors import ConfigError, DataError
from nnmf.tables import Features, Ratings, check_vocabulary, codes_of, encode, n_columns_of

DAY = 86_400


def seconds(year, month, day, hour=0):
    return int(datetime(year, month, day, hour, tzinfo=timezone.utc).timestamp())


def table(n=300, n_users=30, n_items=20, seed=0, **options):
    rng = np.random.default_rng(seed)
    pair = rng.choice(n_users * n_items, n, replace=False)
    stamp = rng.integers(0, 40 * DAY, n) + seconds(1998, 3, 1)
    return Ratings.from_arrays(pair // n_items, pair % n_items, rng.integers(1, 6, n), stamp, **options)


def rows(block):
    return [
        dict(zip(block.column[a:b].tolist(), block.weight[a:b].tolist(), strict=True))
        for a, b in zip(block.starts[:-1], block.starts[1:], strict=True)
    ]


def same(left, right):
    assert left.vocabulary == right.vocabulary
    for one, other in zip(left.user + left.item + left.rating, right.user + right.item + right.rating, strict=True):
        assert one.name == other.name and one.n_columns == other.n_columns
        for name in vars(one):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# -- histories -------------------------------------------------------------------------------------------------------
def test_a_history_holds_each_item_once_weighted_by_the_root_of_their_number():
    ratings = table()
    (history,), (raters,) = (design := encode(ratings, ["history", "raters"])).user, design.item
    assert (history.name, history.n_columns) == ("history", 20) and (raters.name, raters.n_columns) == ("raters", 30)
    for block, mine, other, n in ((history, "user", "item", 30), (raters, "item", "user", 20)):
        row, column = getattr(ratings, mine), getattr(ratings, other)
        expected = [set(column[row == at].tolist()) for at in range(n)]
        assert [set(found) for found in rows(block)] == expected
        for found in rows(block):
            np.testing.assert_allclose(list(found.values()), len(found) ** -0.5, rtol=1e-6)
        assert (block.starts.dtype, block.column.dtype, block.weight.dtype) == (np.int64, np.int32, np.float32)


def test_rows_without_a_rating_are_empty_and_unknown_ids_are_in_no_history():
    train = table()
    few = train.take(train.user < 3)
    history = encode(few, ["history"]).user[0]
    assert len(rows(history)) == 30 and all(rows(history)[:3]) and not any(rows(history)[3:])
    test = Ratings.from_arrays([0, 0, 0, 999], [1, 2, 998, 1], [3, 3, 3, 3], like=train)
    found = encode(test, ["history", "raters"], encode(train, ["history", "raters"]).vocabulary)
    assert rows(found.user[0])[0] == pytest.approx({1: 2**-0.5, 2: 2**-0.5})
    assert sum(map(len, rows(found.user[0]))) == sum(map(len, rows(found.item[0]))) == 2


def test_a_table_that_grew_has_the_columns_of_the_one_before():
    train = table()
    vocabulary = encode(train, ["history"]).vocabulary
    new = Ratings.from_arrays([0, 77], [1, 500], [3, 4])
    grown = new.under(train.users.extend(new.users), train.items.extend(new.items), train.scale)
    history = encode(grown, ["history"], vocabulary).user[0]
    assert history.n_columns == 20 and len(rows(history)) == 31
    assert [at for at, row in enumerate(rows(history)) if row] == [0]


# -- days ------------------------------------------------------------------------------------------------------------
def test_days_are_those_of_the_calendar_in_utc():
    stamps = [
        seconds(1998, 3, 1, 23),
        seconds(1998, 3, 2, 0),
        seconds(1998, 3, 1, 0),
        seconds(1969, 12, 31, 23),
        seconds(2024, 2, 29, 12),
    ]
    ratings = Ratings.from_arrays(range(5), range(5), [3] * 5, stamps)
    (day,) = (design := encode(ratings, ["day"])).rating
    assert day.code.tolist() == [1, 2, 1, 0, 3] and day.n_columns == 5 and day.code.dtype == np.int32
    asked = np.array([seconds(1998, 3, 2, 5), seconds(1998, 3, 3), -(2**63), 2**63 - 1, -1])
    assert codes_of(design.vocabulary, asked, 5)["day"].tolist() == [2, 4, 4, 4, 0]
    assert codes_of(design.vocabulary, None, 3)["day"].tolist() == [4, 4, 4]


def test_days_match_pythons_calendar():
    ratings = table()
    day = encode(ratings, ["day"]).rating[0]
    dates = [datetime.fromtimestamp(stamp, timezone.utc).date() for stamp in ratings.timestamp.tolist()]
    known = sorted(set(dates))
    assert day.code.tolist() == [known.index(date) for date in dates] and day.n_columns == len(known) + 1


def test_among_very_many_days_those_of_one_rating_share_a_column():
    many = np.arange(3000) * DAY
    stamps = np.append(many, many[:10])
    ratings = Ratings.from_arrays(np.arange(3010), np.arange(3010), np.full(3010, 3), stamps)
    design = encode(ratings, ["day"])
    assert design.rating[0].n_columns == 12
    assert design.rating[0].code[[0, 9, 10, 2999, 3000, 3009]].tolist() == [0, 9, 10, 10, 0, 9]
    assert codes_of(design.vocabulary, np.array([3000 * DAY]), 1)["day"].tolist() == [10]
    assert codes_of(design.vocabulary, None, 1)["day"].tolist() == [11]


@pytest.mark.parametrize("stamp", [881250949000, -(2**63), 2**63 - 1])
def test_timestamps_beyond_the_calendar_are_refused(stamp):
    ratings = Ratings.from_arrays([1, 2], [1, 2], [3, 4], [881250949, stamp])
    with pytest.raises(DataError, match=f"day: arrays holds the timestamp {stamp}, .* give seconds since 1970"):
        encode(ratings, ["day"])


# -- what is known of users and items --------------------------------------------------------------------------------
def known(n=30, seed=0, **columns):
    """Features of users n - 1 .. 0."""
    rng = np.random.default_rng(seed)
    given = {
        "age": np.where(rng.random(n) < 0.1, np.nan, rng.permutation(n) + 10.0),
        "job": rng.choice(["", "baker", "smith", "clerk"], n).tolist(),
        "likes": ["|".join(rng.permutation(["tea", "gin", "rum"])[: rng.integers(0, 4)]) for _ in range(n)],
    }
    return Features.from_arrays(np.arange(n)[::-1], {**given, **columns})


def test_categories_and_lists_have_a_column_a_value_and_one_for_what_is_missing():
    features = known()
    ratings = table().with_features(users=features)
    _, job, likes = encode(ratings, ["attributes"]).user
    assert (job.name, job.n_columns, likes.name, likes.n_columns) == ("job", 4, "likes", 4)
    row = {id_: at for at, id_ in enumerate(features.ids.ids.tolist())}
    words = ["baker", "clerk", "smith", None]
    drinks = ["gin", "rum", "tea"]
    for user, (worked, liked) in enumerate(zip(rows(job), rows(likes), strict=True)):
        at = row[ratings.users.ids[user]]
        assert worked == {words.index(features["job"][at]): 1.0}
        wanted = [drinks.index(drink) for drink in features["likes"][at]] or [3]
        assert liked == pytest.approx(dict.fromkeys(wanted, len(wanted) ** -0.5))


def test_numbers_are_binned_at_the_quantiles_of_the_training_users():
    features = Features.from_arrays(range(200), {"age": [*np.arange(199.0), np.nan]})
    # Users 100 .. 199 have no rating in the training table, under whose id maps they stand all the same.
    whole = Ratings.from_arrays(range(200), [0] * 200, [3] * 200).with_features(users=features)
    (block,) = (design := encode(whole.take(np.arange(100)), ["age"])).user
    assert block.n_columns == 11 and np.bincount(block.column[:100]).tolist() == [10] * 10
    assert (np.diff(block.column[:199]) >= 0).all() and set(block.column[100:199].tolist()) == {9}
    assert block.column[199] == 10 and (block.weight == 1).all()
    assert all(edge in range(100) for edge in design.vocabulary["user"]["age"]["edges"])


@pytest.mark.parametrize("values", [[1, 18, 25, 35, 45, 50, 56], [0, 1], [-5.5, 1e300, 2]])
def test_few_numbers_have_a_bin_each(values):
    ages = np.resize(np.array(values, float), 30)
    ages[:12] = values[0]  # the quantiles alone would not tell the others apart
    ratings = table().with_features(users=Features.from_arrays(range(30), {"age": ages}, kinds={"age": "number"}))
    (block,) = encode(ratings, ["age"]).user
    there = sorted(set(ages.tolist()))
    assert block.column.tolist() == [there.index(age) for age in ages] and block.n_columns == len(there) + 1


def test_numbers_that_repeat_make_fewer_bins_and_none_is_empty():
    ages = np.append(np.zeros(600), np.arange(400))
    ratings = Ratings.from_arrays(range(1000), [0] * 1000, [3] * 1000)
    (block,) = encode(ratings.with_features(users=Features.from_arrays(range(1000), {"age": ages})), ["age"]).user
    counts = np.bincount(block.column)
    assert 3 <= len(counts) == block.n_columns - 1 <= 10 and counts.all() and (block.column[:600] == 0).all()


def test_ten_thousand_categories_are_those_of_two_rows_and_one_for_all_rare_ones():
    n = 15_000
    codes = [f"z{at % 10_000}" for at in range(n)]
    codes[-1] = None
    ratings = Ratings.from_arrays(range(n), [0] * n, [3] * n)
    ratings = ratings.with_features(users=Features.from_arrays(range(n), {"zip": codes}, kinds={"zip": "category"}))
    (block,) = (design := encode(ratings, ["zip"])).user
    assert block.n_columns == 4999 + 2 and block.column[[0, 10_000]].tolist() == [block.column[0]] * 2
    assert set(block.column[4999:10_000].tolist()) == {4999} and block.column[-1] == 5000
    new = Ratings.from_arrays([1, 2], [0, 0], [3, 3]).with_features(
        users=Features.from_arrays([1, 2], {"zip": ["z0", "unseen"]})
    )
    assert encode(new, ["zip"], design.vocabulary).user[0].column.tolist() == [block.column[0], 4999]


def test_what_a_test_table_alone_holds_makes_no_column():
    """Blanking and shuffling what is known of test users, and their ratings, changes nothing that is trained on."""
    features = known(job=[f"job {at}" for at in range(30)], age=np.arange(30.0))
    whole = table().with_features(users=features, items=known(20, 3))
    train, test = whole.take(whole.user < 20), whole.take(whole.user >= 20)
    before = encode(train, ["history", "raters", "day", "attributes"])
    assert before.vocabulary["user"]["job"]["values"] == sorted(f"job {29 - at}" for at in range(20))
    others = np.flatnonzero(features.ids.ids >= 20)
    job, age = features["job"].copy(), features["age"].copy()
    job[others], age[others] = job[others[::-1]], np.nan
    columns = {"age": age, "job": job, "likes": features["likes"]}
    changed = Features.from_arrays(features.ids.ids, columns, kinds={"age": "number"})
    after = encode(train.with_features(users=changed), ["history", "raters", "day", "attributes"])
    assert after.vocabulary == before.vocabulary
    for one, other in zip(before.user, after.user, strict=True):
        assert rows(one)[:20] == rows(other)[:20] and one.n_columns == other.n_columns
    encoded = encode(test, ["history", "raters", "day", "attributes"], before.vocabulary)
    assert [block.n_columns for block in encoded.user] == [block.n_columns for block in before.user]
    unknown = next(block for block in encoded.user if block.name == "job")
    assert (unknown.column[20:] == unknown.n_columns - 1).all()


def test_features_know_nothing_of_some_ids_and_more_ids_than_there_are(caplog):
    ratings = table()
    few = Features.from_arrays(["3", "4", "900", "901"], {"job": ["a", "b", "a", "c"]})
    with caplog.at_level("INFO"):
        ratings = ratings.with_features(users=few)
    assert "features: 2 of its 4 ids have no rating and are ignored; it lacks 28 of 30 users of arrays." in caplog.text
    (job,) = encode(ratings, ["job"]).user
    assert job.n_columns == 3 and job.column[[3, 4]].tolist() == [0, 1]
    assert set(np.delete(job.column, [3, 4]).tolist()) == {2}


@pytest.mark.parametrize("values", [["a"] * 30, [None] * 30, [np.nan] * 30, [7.0] * 30, [["p", "q"]] * 30])
def test_a_column_that_says_nothing_is_left_out(values, caplog):
    ratings = table().with_features(users=Features.from_arrays(range(30), {"same": values, "job": [*"ab"] * 15}))
    with caplog.at_level("INFO"):
        design = encode(ratings, ["attributes", "same"])
    assert [block.name for block in design.user] == ["job"] and "same" not in design.vocabulary["user"]
    assert "features: same is the same for all users and is left out." in caplog.text


# -- what is asked ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("features", "error", "match"),
    [
        (["histroy"], ConfigError, r"features: got 'histroy' instead of one of \["),
        ("history", ConfigError, "features: got the text 'history'; give a list"),
        (["day"], DataError, "day: arrays has no timestamps; leave"),
        (["attributes"], DataError, "attributes: of the users and items of arrays nothing is known; add it with"),
        (["age"], ConfigError, "features: got 'age' instead of one of"),
    ],
)
def test_what_cannot_be_is_refused(features, error, match):
    with pytest.raises(error, match=match):
        encode(Ratings.from_arrays([1, 2], [1, 2], [3, 4]), features)


def test_a_vocabulary_goes_through_json_and_encodes_alike():
    ratings = table().with_features(users=known(), items=known(20, 1))
    features = ["history", "raters", "day", "attributes"]
    design = encode(ratings, features)
    assert [block.name for block in design.user] == ["history", "age", "job", "likes"]
    assert [block.name for block in design.item] == ["raters", "age", "job", "likes"]
    same(design, encode(ratings, features[::-1], json.loads(json.dumps(design.vocabulary))))
    with pytest.raises(ConfigError, match="instead of those of the vocabulary"):
        encode(ratings, ["day"], design.vocabulary)


def test_a_column_by_its_name_is_that_of_users_and_of_items():
    ratings = table().with_features(users=known(), items=known(20, 1))
    design = encode(ratings, ["likes"])
    assert [[block.name for block in side] for side in (design.user, design.item, design.rating)] == [
        ["likes"],
        ["likes"],
        [],
    ]


def test_without_features_all_is_missing():
    ratings = table()
    design = encode(ratings.with_features(users=known()), ["attributes"])
    for block in encode(ratings, ["attributes"], design.vocabulary).user:
        assert rows(block) == [{block.n_columns - 1: 1.0}] * 30


def test_a_vocabulary_that_is_none_is_refused():
    ratings = table().with_features(users=known(), items=known(20, 1))
    good = json.loads(json.dumps(encode(ratings, ["history", "raters", "day", "attributes"]).vocabulary))
    check_vocabulary(good)
    for bad in (None, [], {}, {**good, "more": 1}, {**good, "features": "day"}, {**good, "user": []}):
        with pytest.raises(DataError, match="vocabulary: holds no features"):
            check_vocabulary(bad)
    changes = [
        ("user", "history", "n_columns", 0),
        ("user", "history", "n_columns", True),
        ("user", "history", "kind", "users"),
        ("item", "raters", "n_columns", 1.5),
        ("user", "age", "edges", [2.0, 1.0]),
        ("user", "age", "edges", [float("nan")]),
        ("user", "age", "kind", "category"),
        ("user", "job", "values", ["a", "a"]),
        ("user", "job", "values", ["a", 3]),
        ("item", "job", "rare", 1),
        ("rating", "day", "values", [3, 2]),
        ("rating", "day", "values", [10**9]),
        ("rating", "day", "kind", "list"),
    ]
    for side, name, key, value in changes:
        bad = copy.deepcopy(good)
        bad[side][name][key] = value
        with pytest.raises(DataError, match=f"vocabulary: does not tell the columns of '{name}'"):
            check_vocabulary(bad)


def test_columns_are_counted_by_their_parts():
    ratings = table().with_features(users=known(), items=known(20, 1))
    design = encode(ratings, ["history", "raters", "day", "attributes"])
    for side in ("user", "item", "rating"):
        parts = design.vocabulary[side]
        assert {one.name: one.n_columns for one in getattr(design, side)} == {
            n: n_columns_of(p) for n, p in parts.items()
        }
