"""Parts of a design matrix: against what a plain loop over the ratings finds, and made of the training table alone."""

import json
from datetime import datetime, timezone

import numpy as np
import pytest

from nnmf.errors import ConfigError, DataError
from nnmf.tables import Ratings, codes_of, encode

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
    assert codes_of(design.vocabulary, np.array([3000 * DAY]), 1)["day"].tolist() == [11]


@pytest.mark.parametrize("stamp", [881250949000, -(2**63), 2**63 - 1])
def test_timestamps_beyond_the_calendar_are_refused(stamp):
    ratings = Ratings.from_arrays([1, 2], [1, 2], [3, 4], [881250949, stamp])
    with pytest.raises(DataError, match=f"day: arrays holds the timestamp {stamp}, .* give seconds since 1970"):
        encode(ratings, ["day"])


# -- what is asked ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("features", "error", "match"),
    [
        (["histroy"], ConfigError, r"features: got 'histroy' instead of one of \["),
        ("history", ConfigError, "features: got the text 'history'; give a list"),
        (["day"], DataError, "day: arrays has no timestamps; leave"),
    ],
)
def test_what_cannot_be_is_refused(features, error, match):
    with pytest.raises(error, match=match):
        encode(Ratings.from_arrays([1, 2], [1, 2], [3, 4]), features)


def test_a_vocabulary_goes_through_json_and_encodes_alike():
    ratings = table()
    design = encode(ratings, ["history", "raters", "day"])
    same(design, encode(ratings, ["day", "raters", "history"], json.loads(json.dumps(design.vocabulary))))
    with pytest.raises(ConfigError, match="instead of those of the vocabulary"):
        encode(ratings, ["day"], design.vocabulary)
