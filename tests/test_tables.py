"""What tables are read from: files of every layout, queries, frames; and what ids and the cache promise."""

import contextlib
import gzip
import io
import logging
import os
import sqlite3
import subprocess
import sys
import uuid
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmf.errors import ConfigError, DataError
from nnmf.tables import UNKNOWN, IdMap, PairReader, Ratings, cache_files, clear_cache, read_columns
from nnmf.tables._texts import Texts

duckdb = pytest.importorskip("duckdb")


def write(path, text):
    path.write_bytes(text.encode())
    return path


# -- ids -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "ids",
    [
        ["の1", "の2", "の3"],
        ["0012", "12", "7"],
        ["1", "01", "+1"],
        ["99999999999999999999", "1", "2"],
        ["\uff11", "1", "2"],
        ["1.0", "1", "2"],
        ["1_0", "10", "2"],
        ["-0", "0", "1"],
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_an_id_is_what_stands_in_the_file(tmp_path, ids, late):
    before = [str(number) for number in range(100, 800)] if late else []
    path = write(tmp_path / "t.csv", "".join(f"{at},{id_},3\n" for at, id_ in enumerate(before + ids)))
    found = Ratings.from_file(path)
    assert found.items.ids[found.item].tolist() == before + ids
    assert found.items.is_text and not found.users.is_text


def test_canonical_numbers_are_integers_of_any_size(tmp_path):
    ids = [*range(300), 2**31, -(2**63), 2**63 - 1]
    path = write(tmp_path / "t.csv", "".join(f"{id_},1,3\n" for id_ in ids))
    found = read_columns(path)
    assert found.user_id.dtype == np.int64 and found.user_id.tolist() == ids


def test_many_texts_stay_in_the_files_order(tmp_path):
    rng = np.random.default_rng(0)
    users = [f"u{number}" for number in rng.permutation(60_000)]
    items = [f"i{number}" for number in rng.integers(0, 50_000, 60_000)]
    lines = [f"{user},{item},{at % 5}" for at, (user, item) in enumerate(zip(users, items, strict=True))]
    found = read_columns(write(tmp_path / "t.csv", "\n".join(lines)), cache=False)
    assert found.user_id.tolist() == users and found.item_id.tolist() == items
    assert found.rating.tolist() == [at % 5 for at in range(60_000)]
    assert found.users.ids.tolist() == sorted(users)


def test_texts_find_the_integer_that_is_written_so():
    ids = IdMap([1, 10, -5])
    assert ids.index(["1", "01", " 1", "\uff11", "1_0", "+1", "-5", "1.0", "9" * 30]).tolist() == [
        0,
        *[-1] * 5,
        2,
        -1,
        -1,
    ]


def test_a_nul_in_an_id_is_an_error_of_its_line(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,1\na\0,b,2\n")
    with pytest.raises(DataError, match=r"line 2: cannot read .*a NUL character stands within the user"):
        read_columns(path)
    with pytest.raises(DataError, match=r"user ids: row 1 holds 'a\\x00b', an id with a NUL"):
        Ratings.from_arrays(["a", "a\0b"], [1, 2], [1, 2])
    with pytest.raises(DataError, match="not Unicode text"):
        Ratings.from_arrays(["a", "\ud800"], [1, 2], [1, 2])
    assert IdMap(["a"]).index(["\ud800", "a"]).tolist() == [-1, 0]


def test_a_long_id_costs_its_own_memory():
    ids = [f"u{number}" for number in range(20_000)] + ["x" * 1000]
    table = Ratings.from_arrays(ids, [1] * len(ids), np.ones(len(ids)))
    arrays = table.users.to_arrays()
    assert sum(array.nbytes for array in arrays.values()) < 20 * len(ids)  # as `str`, 4,000 bytes each
    assert table.users.index([ids[-1], "u7"]).tolist() == [len(ids) - 1, sorted(ids).index("u7")]
    assert table.users.at([len(ids) - 1, 0, UNKNOWN]).tolist() == ["x" * 1000, "u0", ""]


texts = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20))
close = st.lists(st.text("aé\x01", max_size=18))  # equal for long


@given(st.one_of(texts, close))
def test_texts_are_ordered_taken_and_compared_as_pythons(values):
    column = Texts.of(values)
    assert column.strings().tolist() == values
    assert [values[at] for at in column.order()] == sorted(values)
    rows = np.arange(len(values))[::-1]
    assert column.take(rows).strings().tolist() == values[::-1]
    assert column.same(rows, column, rows[::-1]).tolist() == [a == b for a, b in zip(values[::-1], values, strict=True)]


@given(st.one_of(texts, close))
def test_texts_that_share_a_hash_are_kept_apart(values):
    plain = Texts.hashes

    def few(self, seed):
        return plain(self, seed) % np.uint64(3) if seed == 0 else plain(self, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Texts, "hashes", few)
        ids, index = IdMap.number(np.array(values, object))
        assert ids.ids.tolist() == sorted(set(values))
        assert ids.ids[index].tolist() == values if values else len(index) == 0


@pytest.mark.parametrize("ids", [[3, 1, 2], ["b", "", "é" * 30]])
def test_a_map_goes_through_arrays_and_bad_ones_are_refused(ids):
    known = IdMap(ids)
    arrays = known.to_arrays()
    assert all(array.dtype.kind in "iu" for array in arrays.values())
    assert IdMap.from_arrays(arrays) == known and known.at(np.array([[0, -1]])).shape == (1, 2)
    with pytest.raises(DataError, match="index 3: give indices from 0 to 2"):
        known.at([0, 3])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected the arrays"),
        ({"id": np.array([1, 1])}, "id 1 stands twice"),
        ({"id": np.array([1.0])}, "expected one column of int64"),
        ({"id": np.array([[1]])}, "expected one column of int64"),
        ({"text": np.array([97, 97], np.uint8), "start": np.array([0, 1, 2])}, "'a' stands twice"),
        ({"text": np.array([97, 98], np.uint8), "start": np.array([0, 2, 1])}, "do not ascend"),
        ({"text": np.array([97, 98], np.uint8), "start": np.array([0, 2**40, 2])}, "do not ascend"),
        ({"text": np.array([97], np.uint8), "start": np.array([0, 2])}, "do not ascend"),
        ({"text": np.array([97], np.uint8), "start": np.array([], np.int64)}, "expected columns"),
        ({"text": np.array([255], np.uint8), "start": np.array([0, 1])}, "byte 0 is not UTF-8"),
        ({"text": np.frombuffer("é".encode(), np.uint8), "start": np.array([0, 1, 2])}, "begins within a letter"),
        ({"text": np.array([0], np.uint8), "start": np.array([0, 1])}, "holds a NUL"),
        ({"text": np.array(["a"]), "start": np.array([0, 1])}, "expected columns of uint8"),
    ],
)
def test_arrays_that_are_no_ids(arrays, message):
    with pytest.raises(DataError, match=message):
        IdMap.from_arrays(arrays)


def test_a_table_of_more_ratings_than_an_index_can_name():
    index, rating = np.broadcast_to(np.int32(0), 2**31), np.broadcast_to(np.float32(1), 2**31)
    with pytest.raises(DataError, match="2147483648 ratings are more than the 2147483647 that a table can hold"):
        Ratings(index, index, rating, IdMap([1]), IdMap([1]))


# -- layouts ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_line_ends_of_every_kind(tmp_path, end, packed):
    text = end.join(["user,item,rating", "1,2,3", "", "4,5,6", "x"]).encode()
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(text) if packed else text)
    found = read_columns(path, on_error="skip")
    assert (found.user_id.tolist(), found.n_skipped) == (["1", "4"] if found.users.is_text else [1, 4], 1)
    with pytest.raises(DataError, match="line 5: cannot read 'x'"):
        read_columns(path)


def test_mixed_line_ends_and_lines_that_are_no_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"1,2,3\r\n4,5,6\n7,8,9\r\xff,1,1\r\n10,11,12")
    with pytest.raises(DataError, match=r"line 4: cannot read .*not UTF-8 text"):
        read_columns(path)
    found = read_columns(path, on_error="skip")
    assert (found.user_id.tolist(), found.n_skipped) == ([1, 4, 7, 10], 1)


def test_a_header_of_unknown_names_above_numbers(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found = read_columns(write(tmp_path / "t.csv", "p,q,w,z\n1,2,3,4\n5,6,7,8\n"))
    assert (found.user_id.tolist(), found.rating.tolist(), found.timestamp.tolist()) == ([1, 5], [3, 7], [4, 8])
    assert "taken for likely: columns 0, 1, 2, 3 hold user, item, rating, timestamp" in caplog.text
    assert read_columns(write(tmp_path / "u.csv", "u,i,r,t\na,b,3,4\n")).user_id.tolist() == ["a"]
    assert read_columns(write(tmp_path / "v.csv", "Bewertung;Nutzer;Artikel\n3;a;b\n")).item_id.tolist() == ["b"]


def test_columns_by_name(tmp_path):
    path = write(tmp_path / "t.csv", "stars,x,sku,customer\n3,9,b,a\n4,9,d,c\n")
    names = {"user": "customer", "item": "sku", "rating": "stars"}
    assert Ratings.from_file(path, columns=names).users.ids.tolist() == ["a", "c"]
    with pytest.raises(
        DataError, match=r"line 1: .*no column 'who' for the user; the columns are stars, x, sku, customer"
    ):
        read_columns(path, columns={**names, "user": "who"})
    for bad in ({"user": "a"}, {**names, "nobody": "x"}, {**names, "item": "stars"}):
        with pytest.raises(ConfigError, match="give distinct names for user, item, rating"):
            read_columns(path, columns=bad)
    with pytest.raises(ConfigError, match="names need a header"):
        read_columns(path, columns=names, header=False)


@pytest.mark.parametrize(
    ("dates", "seconds"),
    [
        (["2020-01-02", "1970-01-01"], [1577923200, 0]),
        (["2020-01-02T03:04:05Z", "1970-01-01T02:00:00+02:00"], [1577934245, 0]),
        (["2020-01-02 03:04:05.9", "1969-12-31 23:59:59.5"], [1577934245, -1]),
        (["02.01.2020", "1.1.1970 00:01"], [1577923200, 60]),
        (["2020/01/02", "1970/01/01"], [1577923200, 0]),
        (["1/13/2020", "1/1/1970"], [1578873600, 0]),
        (["13/1/2020", "1/1/1970"], [1578873600, 0]),
    ],
)
def test_dates_are_seconds(tmp_path, dates, seconds, caplog):
    path = write(tmp_path / "t.csv", "".join(f"{at},{at},3,{date}\n" for at, date in enumerate(dates)))
    with caplog.at_level(logging.INFO):
        assert read_columns(path, cache=False).timestamp.tolist() == seconds
    assert "timestamps are dates written as" in caplog.text
    assert Ratings.from_arrays([1, 2], [1, 2], [3, 4], dates).timestamp.tolist() == seconds
    write(path, "".join(f"{at},{at},3,{date}\n" for at, date in enumerate([*dates * 200, "31-31"])))
    with pytest.raises(DataError, match=r"line 401: .*'31-31' is no date written as"):
        read_columns(path)


def test_a_decimal_comma_an_index_column_and_no_ratings(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert read_columns(write(tmp_path / "t.csv", "1;2;3,5\n2;3;4\n")).rating.tolist() == [3.5, 4]
    assert "decimal comma" in caplog.text
    with pytest.raises(DataError, match=r"line 201: .*'3\.5' is no finite rating"):
        read_columns(write(tmp_path / "t.csv", "".join(f"{at};2;3,5\n" for at in range(200)) + "999;2;3.5\n"))
    assert read_columns(write(tmp_path / "u.csv", ",user,item,rating\n0,a,b,3\n")).user_id.tolist() == ["a"]
    lines = "".join(f"{at},{at * 7},{at * 3},4.5\n" for at in range(50))
    assert read_columns(write(tmp_path / "v.csv", lines)).user_id.tolist() == [at * 7 for at in range(50)]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        short = read_columns(write(tmp_path / "s.csv", "0,1,10,3\n1,1,11,4\n2,2,10,5\n3,2,12,2\n"))
    assert (short.user_id.tolist(), short.rating.tolist(), short.timestamp) == ([1, 1, 2, 2], [3, 4, 5, 2], None)
    assert "column 0, which counts the lines from 0, is an index" in caplog.text
    with pytest.raises(DataError, match=r"line 1: .*found 2 fields; a table needs a rating behind user and item"):
        read_columns(write(tmp_path / "w.csv", "1,2\n3,4\n"))


def test_json_lines(tmp_path):
    path = write(
        tmp_path / "t.jsonl", '{"item": "x", "user": 7, "rating": 4.5}\n{"user": "8", "rating": 3, "item": "é, \\"y"}\n'
    )
    found = read_columns(path)
    assert (found.user_id.tolist(), found.item_id.tolist(), found.rating.tolist()) == ([7, 8], ["x", 'é, "y'], [4.5, 3])
    path = write(tmp_path / "u.jsonl", '{"user": 1, "item": 2, "rating": 3}\n{"user": 1, "item": 3}\n{"user": [1]\n')
    with pytest.raises(DataError, match=r"line 2: cannot read .*the rating is missing"):
        read_columns(path)
    assert read_columns(path, on_error="skip").n_skipped == 2


def test_parquet(tmp_path):
    path = tmp_path / "r [1]*.parquet"
    duckdb.sql(
        "SELECT * FROM (VALUES (DATE '2020-01-01', 'a', 3.5, 10), (DATE '2020-01-02', 'b', 4, 20)) t(date, item_id, rating, user_id)"
    ).write_parquet(str(tmp_path / "x"))
    (tmp_path / "x").rename(path)
    found = read_columns(path)
    assert (found.user_id.tolist(), found.item_id.tolist(), found.rating.tolist()) == ([10, 20], ["a", "b"], [3.5, 4])
    assert found.timestamp.tolist() == [1577836800, 1577923200]
    assert read_columns(path, columns={"user": "item_id", "item": "user_id", "rating": "rating"}).user_id.tolist() == [
        "a",
        "b",
    ]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read"):
        read_columns(path, cache=False)


def parquet(path, rows, names="user, item, rating"):
    duckdb.sql(f"SELECT * FROM (VALUES {rows}) t({names})").write_parquet(str(path))
    return path


def test_blanks_of_what_has_columns_belong_to_the_id(tmp_path):
    values = "(' 1', 'a', 1), ('1', 'a\t', 2), ('01', 'a', 3)"
    for found in (read_columns(parquet(tmp_path / "t", values)), Ratings.from_sql(f"FROM (VALUES {values})")):
        assert sorted(found.users.ids.tolist()) == [" 1", "01", "1"]
        assert found.items.ids.tolist() == ["a", "a\t"]
        assert found.users.index([" 1", "1 ", "1"]).tolist() == [0, -1, 2]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("('a' || chr(0) || 'b', 'x', '3')", r"no usable user: 'a\\x00b' holds a NUL character"),
        ("(' ', 'x', '3')", "no usable user: it is missing"),
        ("('a', 'x', 'four')", "no usable rating: 'four' is no finite rating"),
        ("('a', 'x', NULL)", "no usable rating: it is missing"),
    ],
)
def test_a_row_that_is_no_rating_is_named_with_its_reason(tmp_path, row, reason):
    values = f"('a', 'y', '1'), {row}, {row}"
    with pytest.raises(
        DataError, match=rf"row 2 has {reason} \(2 such rows in all\); .* a WHERE in the query"
    ) as error:
        Ratings.from_sql(f"FROM (VALUES {values})")
    assert "on_error" not in str(error.value)
    path = parquet(tmp_path / "t", values)
    with pytest.raises(DataError, match=rf"row 2 has {reason} .*on_error='skip' \(--on-error skip\)"):
        read_columns(path)
    assert read_columns(path, on_error="skip").n_skipped == 2
    with pytest.raises(DataError, match="holds no ratings, for all 1 rows were skipped"):
        read_columns(parquet(path, row), on_error="skip")


def test_integers_beyond_64_bits_are_texts():
    found = Ratings.from_sql("SELECT 9223372036854775808::UBIGINT, 170141183460469231731687303715884105727::HUGEINT, 3")
    assert (found.users.ids.tolist(), found.items.ids.tolist()) == (["9223372036854775808"], [str(2**127 - 1)])
    assert Ratings.from_sql("SELECT 7::UBIGINT, 8::HUGEINT, 3").users.ids.tolist() == [7]


def test_dates_as_texts_in_the_fourth_column(caplog):
    query = "SELECT 1 AS a, 2 AS b, 3 AS c, {} AS d"
    assert Ratings.from_sql(query.format("'2020-01-01'")).timestamp.tolist() == [1577836800]
    assert Ratings.from_sql(query.format("'1970-01-01 00:01:00'")).timestamp.tolist() == [60]
    with caplog.at_level(logging.INFO):
        assert Ratings.from_sql(query.format("'good'")).timestamp is None
    assert "query: the fourth column, d, is no timestamp and is left out" in caplog.text
    with pytest.raises(DataError, match="row 2 has no usable timestamp: 'soon' is no date or timestamp"):
        Ratings.from_sql("FROM (VALUES (1, 2, 3, '2020-01-01'), (1, 3, 3, 'soon'))")


@pytest.mark.parametrize("escape", ["\\ud800", "\\uDFFF", "\\u0000"])
def test_json_escapes_that_are_no_text(tmp_path, escape):
    good = '{"user": "\\ud83d\\ude00", "item": " 2", "rating": 3}\n'
    path = write(tmp_path / "t.jsonl", good + f'{{"user": "a{escape}", "item": "2", "rating": 3}}\n')
    with pytest.raises(DataError, match=r"line 2: cannot read .*: (a NUL character|half of a surrogate pair)"):
        read_columns(path)
    found = read_columns(path, on_error="skip")
    assert (found.users.ids.tolist(), found.n_skipped) == (["\U0001f600"], 1)


def test_zstd(tmp_path):
    path = tmp_path / "t.csv.zst"
    duckdb.sql("SELECT 'u' || range AS user, range AS item, 3.5 AS rating FROM range(1000)").write_csv(
        str(path), compression="zstd"
    )
    found = read_columns(path)
    assert found.user_id.tolist() == [f"u{at}" for at in range(1000)]


def test_a_zstd_file_that_ends_early_is_refused(tmp_path):
    path = tmp_path / "t.csv.zst"
    duckdb.sql("SELECT hash(range) AS user, range AS item, 3.5 AS rating FROM range(100000)").write_csv(
        str(path), compression="zstd"
    )
    whole = path.read_bytes()
    # A second frame and one without data stand behind the first.
    more = whole + b"\x5b\x2a\x4d\x18\x03\0\0\0abc"
    path.write_bytes(more)
    assert len(read_columns(path, cache=False).rating) == 100_000
    for end in (5, 7, len(whole) // 2, len(whole) - 70_000, len(whole) - 1, len(whole) + 6, len(more) - 1):
        path.write_bytes(more[:end])
        with pytest.raises(DataError, match=rf"the compressed file is damaged \(it ends early, at byte {end}\)"):
            read_columns(path, cache=False)
    path.write_bytes(whole + b"rubbish!")
    with pytest.raises(DataError, match=rf"damaged \(no frame begins at byte {len(whole)}\); get it again"):
        read_columns(path, cache=False)


def test_a_gzip_bomb_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(DataError, match="line 1: has more than 2097152 bytes"):
        read_columns(path)
    packed = bytearray(gzip.compress(b"1,2,3\n4,5,6\n"))
    packed[-8] ^= 1  # the checksum
    (tmp_path / "t.csv.gz").write_bytes(packed)
    with pytest.raises(DataError, match="compressed file is damaged"):
        read_columns(tmp_path / "t.csv.gz")


# -- queries and frames ----------------------------------------------------------------------------------------------
def rows(table):
    return list(
        zip(
            table.users.at(table.user).tolist(), table.items.at(table.item).tolist(), table.rating.tolist(), strict=True
        )
    )


def test_queries(tmp_path):
    expected = [(1, "a", 3.5), (2, "b", 4.0)]
    values = "(VALUES (1, 'a', 3.5), (2, 'b', 4))"
    assert rows(Ratings.from_sql(f"SELECT * FROM {values} t(x, y, z);")) == expected
    assert rows(Ratings.from_sql(f"SELECT z AS rating, x AS user, y AS item FROM {values} t(x, y, z)")) == expected
    with duckdb.connect(str(tmp_path / "d.duckdb")) as con:
        con.execute(f"CREATE TABLE r AS SELECT * FROM {values} t(user_id, item_id, rating)")
        assert rows(Ratings.from_sql("FROM r", con)) == expected
        con.execute("CREATE TEMP TABLE own AS FROM r")
        assert rows(Ratings.from_sql("FROM own", con)) == expected
        assert con.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (2,)
        assert con.execute("SELECT count(*) FROM duckdb_types() WHERE type_name LIKE 'nnmf%'").fetchone() == (0,)
    assert rows(Ratings.from_sql("FROM r", tmp_path / "d.duckdb")) == expected
    database = sqlite3.connect(tmp_path / "d.sqlite")
    database.execute("CREATE TABLE r (user, item, rating)")
    database.executemany("INSERT INTO r VALUES (?, ?, ?)", expected)
    database.commit()
    assert rows(Ratings.from_sql("SELECT * FROM r", database)) == expected
    assert rows(Ratings.from_sql("SELECT * FROM r", str(tmp_path / "d.sqlite"))) == expected
    csv = write(tmp_path / "t.csv", "u,i,r\n1,a,3.5\n2,b,4\n")
    assert rows(Ratings.from_sql(f"SELECT * FROM '{csv}'")) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "the query failed"),
        ("SELECT 1, 2", "a table needs user, item and rating"),
        ("SELECT 1 AS a, 2 AS b, 3 AS c WHERE false", "holds no ratings"),
        ("SELECT 1 AS a, NULL::INT AS b, 3 AS c", "row 1 has no usable item"),
        ("SELECT 1 AS a, 2 AS b, 'nan'::DOUBLE AS c", "row 1 has no usable rating"),
        ("SELECT [1] AS a, 2 AS b, 3 AS c", "holds INTEGER.* give whole numbers or texts"),
        ("SELECT 1 AS rating, 2 AS who, 3 AS what", "no known name"),
    ],
)
def test_queries_that_are_no_table(query, message):
    with pytest.raises(DataError, match=f"^query: .*{message}"):
        Ratings.from_sql(query)
    with pytest.raises(ConfigError, match="connection: got a int"):
        Ratings.from_sql("SELECT 1", 5)


@pytest.fixture
def sqlite(tmp_path):
    """A connection to a database with a table r (user, item, rating) without types."""
    with contextlib.closing(sqlite3.connect(tmp_path / "d.sqlite")) as database:
        database.execute("CREATE TABLE r (user, item, rating)")
        yield database


@pytest.mark.parametrize(
    ("late", "users"),
    [((1, 2, 3.5), None), (("0149995", 2, 3), "text"), (("x149995", 2, 3), "text"), ((1.0, 2, 3), None)],
)
def test_a_columns_type_in_sqlite_is_that_of_all_its_values(sqlite, late, users):
    n = 70_000
    sqlite.executemany("INSERT INTO r VALUES (?, ?, ?)", ((u + 2, 1, 3) for u in range(n)))
    sqlite.execute("INSERT INTO r VALUES (?, ?, ?)", late)
    table = Ratings.from_sql("SELECT * FROM r", sqlite)
    expected = [*range(2, n + 2), late[0]]
    assert table.users.at(table.user).tolist() == (list(map(str, expected)) if users else expected)
    assert table.rating[-1] == late[2] and (table.rating[:-1] == 3).all()


def test_bytes_in_sqlite_are_no_ids(sqlite):
    sqlite.executemany("INSERT INTO r VALUES (?, ?, ?)", [("a", 1, 2), (b"ab", 1, 2), ("b", 1, b"2")])
    with pytest.raises(DataError, match="the column 'user' of user ids holds BLOB; give whole numbers or texts"):
        Ratings.from_sql("SELECT * FROM r", sqlite)
    with pytest.raises(DataError, match="the column 'rating' of ratings holds BLOB; give numbers"):
        Ratings.from_sql("SELECT 'a' AS user, item, rating FROM r", sqlite)


@pytest.mark.parametrize(
    "query",
    ["{} -- the rest", "{};", "{}; -- all; of it\n ; /* 'and' */ ", "/* first */ {}", "{} WHERE '--;' <> ';--'"],
)
def test_a_query_may_end_in_semicolons_and_comments(sqlite, query):
    sqlite.execute("INSERT INTO r VALUES (1, 2, 3)")
    assert rows(Ratings.from_sql(query.format("SELECT * FROM r"), sqlite)) == [(1, 2, 3.0)]
    assert rows(Ratings.from_sql(query.format("SELECT * FROM (SELECT 1, 2, 3)"))) == [(1, 2, 3.0)]


def test_columns_of_one_name(sqlite):
    for source in (None, sqlite):
        assert rows(Ratings.from_sql("SELECT 1, 1, 3", source)) == [(1, 1, 3.0)]


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM r", "INSERT INTO r VALUES (1, 2, 3) RETURNING *", "SELECT 1, 2, 3; DELETE FROM r", "DROP TABLE r"],
)
def test_what_is_no_select_is_refused_before_it_is_carried_out(sqlite, query):
    sqlite.execute("INSERT INTO r VALUES (4, 5, 6)")
    sqlite.commit()
    with duckdb.connect() as con:
        con.execute("CREATE TABLE r AS SELECT 4 AS user, 5 AS item, 6 AS rating")
        for source in (sqlite, con):
            with pytest.raises(DataError, match=r"query: the query failed \(.*\); give one SELECT"):
                Ratings.from_sql(query, source)
            assert source.execute("SELECT * FROM r").fetchall() == [(4, 5, 6)]
    assert not sqlite.in_transaction


def test_a_path_that_is_no_database(tmp_path):
    path = write(tmp_path / "t.csv", "u,i,r\n1,2,3\n")
    with pytest.raises(DataError, match=r"t.csv: cannot be opened as a database .*give a database file of DuckDB or"):
        Ratings.from_sql("SELECT 1, 2, 3", path)


def test_frames_of_uuids_decimals_and_sparse_matrices():
    ids = [uuid.UUID(int=2), uuid.UUID(int=1)]
    table = Ratings.from_frame({"user_id": ids, "item_id": [1, 2], "rating": [Decimal("3.5"), Decimal(4)]})
    assert rows(table) == [(str(ids[0]), 1, 3.5), (str(ids[1]), 2, 4)]

    class Sparse:  # what scipy's matrices answer to
        shape, row, col, data = (3, 3), np.array([0, 2]), np.array([1, 2], np.int32), np.array([3, 4])

        def tocoo(self):
            return self

    assert rows(Ratings.from_frame(Sparse())) == [(0, 1, 3), (2, 2, 4)]


# -- the cache -------------------------------------------------------------------------------------------------------
@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NNMF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tables"


def test_a_change_under_the_same_size_and_time_is_seen(tmp_path, cache):
    path = write(tmp_path / "t.csv", "1,2,3\n")
    status = path.stat()
    assert read_columns(path).rating.tolist() == [3]
    path.write_bytes(b"1,2,4\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_columns(path).rating.tolist() == [4]


def test_a_second_read_is_mapped(tmp_path, cache):
    path = write(tmp_path / "t.csv", "a,2,3\nb,3,4\n")
    first, second = read_columns(path), read_columns(path)
    assert isinstance(second.rating, np.memmap) and second.users == first.users
    assert second.user_id.tolist() == ["a", "b"] and second.item_id.tolist() == [2, 3]


def test_the_cache_is_bounded_seen_and_cleared(tmp_path, cache, monkeypatch):
    paths = [write(tmp_path / f"{name}.csv", "".join(f"{at},1,3\n" for at in range(1000))) for name in "abc"]
    read_columns(paths[0])
    (entry,) = cache_files()
    assert entry.path.parent == cache and entry.n_bytes > 1000 * 12
    monkeypatch.setenv("NNMF_CACHE_SIZE", f"{2.5 * entry.n_bytes / 1000:.3f}kB")
    read_columns(paths[1])
    os.utime(cache_files()[0].path / "entry.json", (1, 1))  # used last long ago
    read_columns(paths[2])
    left = {file.path for file in cache_files()}
    assert len(left) == 2 and entry.path in left
    assert clear_cache() > 2000 * 12 and cache_files() == [] and list(cache.iterdir()) == []
    monkeypatch.setenv("NNMF_CACHE_SIZE", "0")
    read_columns(paths[0])
    assert cache_files() == []
    monkeypatch.setenv("NNMF_CACHE_SIZE", "lots")
    with pytest.raises(ConfigError, match=r"\$NNMF_CACHE_SIZE: got 'lots'; give bytes, or a size such as"):
        read_columns(paths[0])


def test_duckdb_is_imported_by_reading_alone():
    code = "import sys, nnmf.tables; assert 'duckdb' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("scale", [(1, 1), (2, 5), (1, 4.5), (1.0001, 5)])
def test_a_scale_holds_the_ratings_of_its_table(scale):
    with pytest.raises(ConfigError, match=r"scale: got \(.*\), and x has ratings from 1 to 5; give a scale that holds"):
        Ratings.from_arrays([1, 2, 3], [1, 2, 3], [1, 5, 3], scale=scale, name="x")
    table = Ratings.from_arrays([1, 2, 3], [1, 2, 3], [0.1, 4.7, 3.3], scale=(0.1, 4.7))
    assert table.scale == (0.1, 4.7)
    # Ratings to test on may lie outside the scale that was trained on.
    assert Ratings.from_arrays([1], [2], [9], like=table).scale == (0.1, 4.7)


@pytest.mark.parametrize("scale", [("1", 5), (True, 5), "15", ("15", (True, 5)), (0, np.True_), 5])
def test_what_is_no_bound_of_a_scale(scale):
    with pytest.raises(ConfigError, match=r"scale: got .*; give the lowest and the highest rating"):
        Ratings.from_arrays([1, 2], [1, 2], [1, 5], scale=scale)


@pytest.mark.parametrize("path", [None, 3, b"r.csv", ["r.csv"]])
def test_what_is_no_path(path):
    for read in (Ratings.from_file, read_columns):
        with pytest.raises(ConfigError, match=r"path: got .*; give the path of a file as a text or a pathlib.Path"):
            read(path)


@pytest.mark.parametrize(
    "data", [gzip.compress(b"1,2\n"), b"\x28\xb5\x2f\xfd\x04\0", b"PAR1\x15\0", b'{"user": 1, "item": 2}\n']
)
def test_pairs_are_plain_text(data):
    with pytest.raises(DataError, match=r"^x: is compressed, Parquet or JSON, and pairs are plain text; .*--pairs -"):
        list(PairReader(io.BytesIO(data), "x", (False, False)).blocks())


def test_numbers_for_names_are_positions(tmp_path):
    places = {"user": "2", "item": "0", "rating": "1"}
    path = write(tmp_path / "t.csv", "a,4,x\nb,5,y\n")
    assert read_columns(path, columns=places).user_id.tolist() == ["x", "y"]
    path = write(tmp_path / "u.csv", "2,1,0\nx,4,a\ny,5,b\n")  # which are names here
    assert read_columns(path, columns=places).user_id.tolist() == ["x", "y"]
    path = parquet(tmp_path / "t.parquet", "('a', 4, 'x')", "p, q, s")
    assert read_columns(path, columns=places).user_id.tolist() == ["x"]
    with pytest.raises(DataError, match="position 7 is wanted"):
        read_columns(path, columns={**places, "user": "7"})


def test_masked_entries_are_refused_by_name(small):
    columns = {"user_ids": [1, 2], "item_ids": [3, 4], "ratings": [1.0, 2.0], "timestamps": [5, 6]}
    plain = Ratings.from_arrays(**columns)
    for name, values in columns.items():
        masked = {**columns, name: np.ma.array(values, mask=[False, True])}
        with pytest.raises(
            DataError, match=f"^arrays: {name.replace('_', ' ')}: entry 1 is masked; leave such rows out"
        ):
            Ratings.from_arrays(**masked)
        whole = Ratings.from_arrays(**{**columns, name: np.ma.array(values)})
        assert whole.digest == plain.digest and np.array_equal(whole.timestamp, plain.timestamp)
    frame = {"user_id": [1, 2], "item_id": [3, 4], "rating": np.ma.array([1.0, 2.0], mask=[True, False])}
    with pytest.raises(DataError, match="frame: ratings: entry 0 is masked"):
        Ratings.from_frame(frame)
    with pytest.raises(DataError, match="id: entry 0 is masked"):
        small.users.index(np.ma.array([1, 2], mask=[True, False]))
    assert plain.users.index(np.ma.array([1, 2])).tolist() == [0, 1]
    rating = np.ma.array(small.rating, mask=small.rating > 4)
    with pytest.raises(DataError, match=f": rating: entry {rating.mask.argmax()} is masked"):
        Ratings(small.user, small.item, rating, small.users, small.items)
