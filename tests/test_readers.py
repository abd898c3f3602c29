import gzip
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmf.data import Ratings
from nnmf.errors import ConfigError, DataError
from nnmf.readers import read_columns

rows = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-10, 10), st.integers(0, 2**40)),
    min_size=1,
    max_size=20,
)
words = st.text("abcXYZ-_é", min_size=1, max_size=6)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@settings(max_examples=60)
@given(
    rows=rows,
    delimiter=st.sampled_from(["\t", "::", ",", ";", "|", " "]),
    end=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_reads_what_was_written(tmp_path_factory, rows, delimiter, end, data):
    path = tmp_path_factory.mktemp("table") / "t.txt"
    header = data.draw(st.booleans())
    blank = data.draw(st.integers(0, len(rows)))
    lines = [delimiter.join(map(str, (u, i, r / 2, t))) for u, i, r, t in rows]
    lines.insert(blank, "")
    text = end.join([delimiter.join(("userId", "movieId", "rating", "timestamp"))] * header + lines)
    write(path, text + end * data.draw(st.booleans()))
    found = read_columns(path, cache=False)
    assert found.user_id.tolist() == [row[0] for row in rows]
    assert found.item_id.tolist() == [row[1] for row in rows]
    assert found.rating.tolist() == [row[2] / 2 for row in rows]
    assert found.timestamp.tolist() == [row[3] for row in rows]


@settings(max_examples=40)
@given(table=st.lists(st.tuples(words, words, st.integers(1, 5)), min_size=1, max_size=10))
def test_reads_string_ids(tmp_path_factory, table):
    path = write(tmp_path_factory.mktemp("table") / "t.csv", "\n".join(f"{u},{i},{r}" for u, i, r in table))
    found = read_columns(path, cache=False, header=False)
    assert list(zip(found.user_id.tolist(), found.item_id.tolist(), found.rating.tolist(), strict=True)) == table
    assert found.timestamp is None


def test_columns_follow_the_header_or_the_option(tmp_path):
    path = write(tmp_path / "t.csv", "rating,item,user\n4.5,7,1\n3,8,2\n")
    found = read_columns(path)
    assert (found.user_id.tolist(), found.item_id.tolist(), found.rating.tolist()) == ([1, 2], [7, 8], [4.5, 3.0])
    path = write(tmp_path / "u.csv", "x,4.5,7,1\ny,3,8,2\n")
    found = read_columns(path, columns=(3, 2, 1))
    assert (found.user_id.tolist(), found.item_id.tolist(), found.rating.tolist()) == ([1, 2], [7, 8], [4.5, 3.0])


def test_gzip_and_byte_order_mark(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf1,2,3\n4,5,6\n"))
    assert read_columns(path).user_id.tolist() == [1, 4]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="compressed file is damaged"):
        read_columns(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1\t2\t3\t4\n1\t2\tx\t4\n", 2),
        ("1\t2\t3\t4\n\n5\t2\tnan\t4\n", 3),
        ("1\t2\t3\t4\n5\t2\tinf\t4\n", 2),
        ("1\t2\t3\t4\n5\t2\t\t4\n", 2),
        ("1\t2\t3\t4\n\t2\t3\t4\n", 2),
        ("1\t2\t3\t4\n5\t2\t3\n", 2),
        ("1\t2\t3\t4\n5\t2\t3\t4\t5\n", 2),
        ("1\t2\n", 1),
    ],
)
def test_a_bad_line_is_named_or_skipped(tmp_path, text, line, caplog):
    path = write(tmp_path / "t.tsv", text)
    with pytest.raises(DataError) as error:
        read_columns(path)
    assert f"{path}, line {line}: cannot read {text.splitlines()[line - 1]!r}" in str(error.value)
    if line > 1:
        with caplog.at_level(logging.WARNING):
            found = read_columns(path, on_error="skip")
        assert (found.user_id.tolist(), found.n_skipped) == ([1], 1)
        assert "skipped 1 malformed lines, kept 1 ratings" in caplog.text


def test_a_bad_line_far_in_the_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("nnmf.readers._BLOCK_BYTES", 100)
    lines = [f"{u}::{u + 1}::3.5::7" for u in range(200)]
    lines[150] = "150::oops"
    path = write(tmp_path / "t.dat", "\n".join(lines))
    with pytest.raises(DataError, match="line 151: cannot read '150::oops'"):
        read_columns(path)
    assert len(read_columns(path, on_error="skip").rating) == 199


def test_ids_that_turn_to_strings_late_are_strings_throughout(tmp_path, monkeypatch):
    monkeypatch.setattr("nnmf.readers._BLOCK_BYTES", 20)
    path = write(tmp_path / "t.tsv", "".join(f"{u}\t{u}\t3\n" for u in range(20)) + "x\t1\t3\n")
    assert read_columns(path).user_id.tolist() == [str(u) for u in range(20)] + ["x"]


@pytest.mark.parametrize("text", ["", "\n\n", "user,item,rating\n"])
def test_an_empty_file_is_an_error(tmp_path, text):
    with pytest.raises(DataError, match="holds no ratings"):
        read_columns(write(tmp_path / "t.csv", text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        read_columns(tmp_path / "none.csv")
    with pytest.raises(DataError, match="not a file"):
        read_columns(tmp_path)
    with pytest.raises(DataError, match=r"line 1.*not UTF-8"):
        read_columns(write(tmp_path / "t.bin", "é" * 9, "latin-1"))
    with pytest.raises(ConfigError, match="got 'ignore' instead of one of"):
        read_columns(tmp_path, on_error="ignore")
    with pytest.raises(ConfigError, match="distinct positions"):
        read_columns(tmp_path, columns=(1, 1, 2))


def test_parsed_columns_are_cached_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("NNMF_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "t.csv", "1,2,3\n")
    read_columns(path)
    (cached,) = (tmp_path / "cache" / "tables").iterdir()

    def parse(*_):
        raise AssertionError("parsed again")

    with monkeypatch.context() as patch:
        patch.setattr("nnmf.readers._Table", parse)
        assert read_columns(path).rating.tolist() == [3]
        with pytest.raises(AssertionError, match="parsed again"):
            read_columns(path, header=False)
    write(path, "1,2,4\n5,6,7\n")
    assert read_columns(path).rating.tolist() == [4, 7]
    for damage in (b"", b"PK\x03\x04 no zip", cached.read_bytes()[:-30]):
        for file in cached.parent.iterdir():
            file.write_bytes(damage)
        assert read_columns(path).rating.tolist() == [4, 7]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("NNMF_CACHE", str(write(tmp_path / "file", "")))
    assert read_columns(write(tmp_path / "t.csv", "1,2,3\n")).rating.tolist() == [3]


def test_the_real_table(ml_100k):
    found = read_columns(ml_100k / "u.data", cache=False)
    table = np.loadtxt(ml_100k / "u.data", np.int64)
    for at, column in enumerate((found.user_id, found.item_id, found.rating, found.timestamp)):
        assert np.array_equal(column, table[:, at])


def test_ratings_from_a_file_keep_its_name(tmp_path):
    assert Ratings.from_file(write(tmp_path / "t.csv", "1,2,3\n")).name == "t.csv"
