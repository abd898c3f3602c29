"""What is known about users and items: read from files and frames, kept by tables, and refused where it cannot be used."""

import gzip
import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnmf.errors import ConfigError, DataError
from nnmf.tables import Features, Ratings, encode

duckdb = pytest.importorskip("duckdb")
ROWS = [(3, 24.5, "F", ("Action", "Comedy")), (1, None, "M", ()), (20, 7.25, None, ("Drama",))]
KINDS = {"age": "number", "sex": "category", "genres": "list"}


def text_of(mark, header=True, list_mark="|"):
    lines = [mark.join(["id", "age", "sex", "genres"])] if header else []
    for id_, age, sex, genres in ROWS:
        lines.append(mark.join([str(id_), str(age or ""), sex or "", list_mark.join(genres)]))
    return "\n".join(lines) + "\n"


def check(features):
    assert features.ids.ids.tolist() == [row[0] for row in ROWS] and not features.ids.is_text
    assert features.kinds == KINDS and len(features) == 3
    np.testing.assert_array_equal(features["age"], [24.5, np.nan, 7.25])
    assert features["sex"].tolist() == ["F", "M", None]
    assert features["genres"].tolist() == [row[3] for row in ROWS]


# -- files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mark", [",", "\t", "::", ";"])
def test_texts_of_every_layout(tmp_path, mark):
    path = tmp_path / "users.txt"
    path.write_text(text_of(mark))
    check(Features.from_file(path, kinds=KINDS))
    path.write_text("\n" + text_of(mark).replace("\n", "\r\n"))
    check(Features.from_file(path, kinds=KINDS))
    path.write_text(text_of(mark, header=False))
    check(Features.from_file(path, columns=["id", "age", "sex", "genres"], kinds=KINDS))
    path.with_suffix(".gz").write_bytes(gzip.compress(text_of(mark).encode()))
    check(Features.from_file(path.with_suffix(".gz"), kinds=KINDS))


def test_json_lines_and_parquet(tmp_path):
    keys = ("id", "age", "sex", "genres")
    objects = [dict(zip(keys, (*row[:3], list(row[3])), strict=True)) for row in ROWS]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    check(Features.from_file(tmp_path / "users.jsonl", kinds=KINDS))
    path = tmp_path / "users.parquet"
    duckdb.sql(f"COPY (SELECT * FROM read_json('{tmp_path / 'users.jsonl'}')) TO '{path}' (FORMAT parquet)")
    check(Features.from_file(path, kinds=KINDS))
    with pytest.raises(ConfigError, match=r"belong to text; users\.parquet names its columns itself"):
        Features.from_file(path, delimiter=",")


def test_the_column_of_ids_is_one_called_so_else_the_first(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sex,movie_id,n\nF,7,01\nM,8,02\n")
    assert Features.from_file(path).ids.ids.tolist() == [7, 8]
    assert Features.from_file(path, id="n").ids.ids.tolist() == ["01", "02"]
    path.write_text('name,note\n"Ann, B.",a\nBob,b\n')
    assert Features.from_file(path).ids.ids.tolist() == ["Ann, B.", "Bob"]
    with pytest.raises(ConfigError, match="id: got 'nam' instead of one of"):
        Features.from_file(path, id="nam")


def test_kinds_are_found_and_logged(tmp_path, caplog):
    path = tmp_path / "t.csv"
    head = "id,many,few,zip,tags,name,none\n"
    lines = [f"{at},{at / 2},{at % 3},{at:05d},{'a|b' if at % 2 else 'b'},n{at},\n" for at in range(50)]
    path.write_text(head + "".join(lines))
    with caplog.at_level("INFO"):
        found = Features.from_file(path)
    expected = dict.fromkeys(("few", "zip", "name", "none"), "category")
    assert found.kinds == {"many": "number", "tags": "list", **expected}
    assert "line 1 is a header: id, many, few" in caplog.text
    assert "taken for likely: many is a number, few is a category, zip is a category, tags is a list" in caplog.text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,age\n1,5\n1,6\n", r"t.csv: id 1 stands in rows 1 and 2; keep one\."),
        ("id,age\n1,5\n,6\n", "row 2 has no id in the column 'id'"),
        ("id,age\n1,5\n2,inf\n3,-inf\n", "age: row 2 holds inf; give finite numbers, leave missing ones empty"),
        ("id,age\n1,5\n2,old\n", "age: row 2 holds 'old', which is no number"),
        ("id,age\n1,5\n2\n", "line 3: cannot read '2': Expected Number of Columns: 2 Found: 1; mend"),
        ('id,age\n1,5\n2,"6\n', "line 3: cannot read .*quote.*; mend the line"),
        ("id,age,age\n1,5,6\n", "line 1: .* names no columns"),
        ("1,5\n2,6\n", "line 1: '1,5' names no columns; write a header above it"),
        ("1\n2\n", "line 1: '1' is one field; give an id and what is known"),
        ("", "holds no features"),
        ("id,age\n", "holds no features"),
        ("id,\xff\n1,2\n", None),
    ],
)
def test_files_that_are_no_features(tmp_path, text, match):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=match or "line 1: is not UTF-8 text"):
        Features.from_file(path, kinds={"age": "number"} if "old" in text or "inf" in text else None)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"no\.csv: cannot be read .*check the path"):
        Features.from_file(tmp_path / "no.csv")
    with pytest.raises(DataError, match="not a file"):
        Features.from_file(tmp_path)


# -- frames and arrays -----------------------------------------------------------------------------------------------
def test_frames_and_dictionaries():
    pd = pytest.importorskip("pandas")
    columns = {
        "age": [24.5, None, 7.25],
        "user_id": [3, 1, 20],
        "sex": ["F", "M", None],
        "genres": [["Action", "Comedy"], [], ("Drama",)],
    }
    check(Features.from_frame(columns, kinds=KINDS))
    check(Features.from_frame(pd.DataFrame(columns), kinds=KINDS))
    nullable = pd.DataFrame(columns).astype({"age": "Float64", "sex": "string"})
    check(Features.from_frame(nullable, kinds=KINDS))


def test_numbers_as_categories_are_written_as_in_a_file():
    found = Features.from_arrays([1, 2, 3, 4], {"a": [2.0, np.nan, 10, 2.5], "b": [True, False, True, True]})
    assert found["a"].tolist() == ["2", None, "10", "2.5"] and found["b"].tolist() == ["True", "False", "True", "True"]


def test_an_entry_that_a_list_repeats_counts_once():
    assert Features.from_arrays([1], {"tags": ["b|a| b||a"]})["tags"].tolist() == [("b", "a")]


@pytest.mark.parametrize(
    ("columns", "kinds", "error", "match"),
    [
        ({"a": [1, 2]}, {"a": "text"}, ConfigError, "kinds: a: got 'text' instead of one of"),
        ({"a": [1, 2]}, {"b": "number"}, ConfigError, "got 'b' instead of one of"),
        ({"a": [1, 2, 3]}, None, DataError, "unequal lengths"),
        ({}, None, DataError, "holds no features"),
        ({"day": [1, 2]}, None, ConfigError, "the name 'day' of a column stands for another feature"),
        ({"a": [1.0, np.inf]}, None, DataError, "a: row 2 holds inf"),
        ({"a": [1 + 2j, 3]}, None, DataError, "a: holds complex128"),
        ({"a": [["x|y"], ["z"]]}, None, DataError, "has an entry with a |"),
        ({"a": ["x" * 2000, "y"]}, {"a": "category"}, DataError, "more than 1000 characters; leave the column out"),
    ],
)
def test_columns_that_cannot_be(columns, kinds, error, match):
    with pytest.raises(error, match=match.replace("|", r"\|")):
        Features.from_arrays([1, 2], columns, kinds=kinds)


def test_long_texts_are_no_categories(caplog):
    with caplog.at_level("INFO"):
        found = Features.from_arrays([1, 2], {"a": ["x" * 2000, "y"], "b": ["p", "q"]})
    assert list(found.kinds) == ["b"] and "a holds texts of more than 1000 characters and is left out" in caplog.text


def test_an_unknown_column_is_named():
    with pytest.raises(ConfigError, match="column: got 'aeg' instead of one of"):
        Features.from_arrays([1], {"age": [3]})["aeg"]


def test_dates_count_by_their_day(tmp_path):
    days = ["2020-02-29", None]
    stamps = np.array(["2020-02-29T13:14", "NaT"], "datetime64[m]")
    assert Features.from_arrays([1, 2], {"born": stamps})["born"].tolist() == days
    path = tmp_path / "t.parquet"
    duckdb.sql(
        "COPY (SELECT * FROM (VALUES (1, TIMESTAMP '2020-02-29 13:14:00'), (2, NULL)) AS t(id, born)) "
        f"TO '{path}' (FORMAT parquet)"
    )
    assert Features.from_file(path)["born"].tolist() == days


CELLS = st.sampled_from(
    ["1", "2", "007", "a", "b|c", "", '"q', '"a,b"', "inf", "nan", "1e400", "1_0", "\0", "の", "|", "{"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), max_size=6), header=st.booleans())
def test_any_file_is_features_that_can_be_encoded_or_one_sentence(tmp_path, lines, header):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["id,a,b"] * header + lines))
    try:
        features = Features.from_file(path)
    except (DataError, ConfigError) as error:
        assert "\n" not in str(error)
        return
    n = len(features)
    for block in encode(
        Ratings.from_arrays(features.ids.ids, range(n), [1] * n).with_features(features), ["attributes"]
    ).user:
        assert (np.diff(block.starts) >= 1).all() and block.starts[-1] == len(block.column) == len(block.weight)
        assert block.column.min() >= 0 and block.column.max() < block.n_columns


# -- tables that carry them ------------------------------------------------------------------------------------------
def test_every_table_made_of_one_has_the_same_features(small):
    users, items = (Features.from_arrays(ids.ids, {"a": ["x"] * len(ids)}) for ids in (small.users, small.items))
    assert small.user_features is None and small.item_features is None
    table = small.with_features(users).with_features(items=items)
    made = [table.take(np.arange(5)), table.take(np.arange(5)).compact(), table.mapped(small), *table.split(0.8)]
    made += [*table.split_by_user(0.8), *next(table.folds(3)), table.under(small.users, small.items, small.scale)]
    for one in [table, *made]:
        assert one.user_features is users and one.item_features is items
    assert table.digest == small.digest


def test_features_are_immutable_and_travel():
    features = Features.from_arrays([1, 2], {"age": [1.5, 2], "sex": ["F", "M"]}, kinds={"age": "number"})
    for found in (features, pickle.loads(pickle.dumps(features))):
        assert found["age"].tolist() == [1.5, 2] and found["sex"].tolist() == ["F", "M"]
        with pytest.raises(ValueError, match="read-only"):
            found["age"][0] = 3


def test_what_is_no_features_is_refused(small):
    with pytest.raises(ConfigError, match="users: got a dict; give Features"):
        small.with_features({"a": 1})


def test_features_of_other_ids_are_no_error_but_a_warning(small, caplog):
    small.with_features(Features.from_arrays(["nobody"], {"a": [1]}))
    assert "none of its 1 ids is among the users of" in caplog.text
