import gzip
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nnmf.errors import ConfigError, DataError
from nnmf.tables import PairReader, Ratings, read_columns
from nnmf.tables._layout import Layout, LineFault

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


def test_a_bad_line_far_in_the_file_is_named(tmp_path):
    lines = [f"{u}::{u + 1}::3.5::7" for u in range(9000)]
    lines[8150] = "150::oops"
    path = write(tmp_path / "t.dat", "\n".join(lines))
    with pytest.raises(DataError, match="line 8151: cannot read '150::oops'"):
        read_columns(path)
    assert len(read_columns(path, on_error="skip").rating) == 8999


def test_ids_that_turn_to_strings_late_are_strings_throughout(tmp_path):
    path = write(tmp_path / "t.tsv", "".join(f"{u}\t{u}\t3\n" for u in range(5000)) + "x\t1\t3\n")
    assert read_columns(path).user_id.tolist() == [str(u) for u in range(5000)] + ["x"]


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
    folder = tmp_path / "cache" / "tables"
    (first,) = folder.iterdir()

    def parse(*_):
        raise AssertionError("parsed again")

    with monkeypatch.context() as patch:
        patch.setattr("nnmf.tables._readers.TextTable", parse)
        assert read_columns(path).rating.tolist() == [3]
        with pytest.raises(AssertionError, match="parsed again"):
            read_columns(path, header=False)
    read_columns(path, header=False)  # other options, another entry
    write(path, "1,2,4\n5,6,7\n")
    assert read_columns(path).rating.tolist() == [4, 7]
    assert not first.exists() and len(list(folder.iterdir())) == 2  # the new entry took the place of its like
    read_columns(path, header=False)
    names = sorted(file.name for file in next(folder.iterdir()).iterdir())
    assert {"entry.json", "rating.npy", "user.npy", "users.id.npy"} <= set(names)
    for name in names:
        whole = next(folder.iterdir()).joinpath(name).read_bytes()
        for damage in (b"", b"PK\x03\x04 no array", whole[:-3], whole[:-1] + bytes([whole[-1] ^ 1])):
            for entry in folder.iterdir():
                (entry / name).write_bytes(damage)
            assert read_columns(path).rating.tolist() == [4, 7]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("NNMF_CACHE", str(write(tmp_path / "file", "")))
    assert read_columns(write(tmp_path / "t.csv", "1,2,3\n")).rating.tolist() == [3]


def test_without_a_home_folder_there_is_no_cache_and_no_error(tmp_path, monkeypatch):
    for name in ("NNMF_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    path = write(tmp_path / "t.csv", "1,2,3\n")
    assert read_columns(path).rating.tolist() == read_columns(path, cache=False).rating.tolist() == [3]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_nothing_half_written_stays_in_the_cache(tmp_path, monkeypatch, error):
    monkeypatch.setenv("NNMF_CACHE", str(tmp_path / "cache"))

    def stop(*_, **__):
        raise error

    monkeypatch.setattr("nnmf.tables._cache._write_arrays", stop)
    path = write(tmp_path / "t.csv", "1,2,3\n")
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            read_columns(path)
    else:
        assert read_columns(path).rating.tolist() == [3]
    assert list((tmp_path / "cache" / "tables").iterdir()) == []


def test_damage_within_the_compressed_bytes_is_named(tmp_path):
    packed = bytearray(gzip.compress(b"1,2,3\n4,5,6\n"))
    packed[10] = 0xFF  # a kind of block there is not: zlib says so, not gzip
    (tmp_path / "t.csv.gz").write_bytes(packed)
    with pytest.raises(DataError, match="compressed file is damaged"):
        read_columns(tmp_path / "t.csv.gz")


def test_the_real_table(ml_100k):
    found = read_columns(ml_100k / "u.data", cache=False)
    table = np.loadtxt(ml_100k / "u.data", np.int64)
    for at, column in enumerate((found.user_id, found.item_id, found.rating, found.timestamp)):
        assert np.array_equal(column, table[:, at])


def test_ratings_from_a_file_keep_its_name(tmp_path):
    assert Ratings.from_file(write(tmp_path / "t.csv", "1,2,3\n")).name == "t.csv"


def test_a_header_is_known_by_its_names_and_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found = read_columns(write(tmp_path / "t.csv", "Movie ID;User-ID;Book-Rating\na;b;3\n"))
    assert (found.user_id.tolist(), found.item_id.tolist()) == (["b"], ["a"])
    assert "line 1 is a header: Movie ID, User-ID, Book-Rating" in caplog.text
    found = read_columns(write(tmp_path / "u.tsv", "user_id:token\titem_id:token\trating:float\n1\t2\t3\n"))
    assert found.rating.tolist() == [3]
    path = write(tmp_path / "v.csv", "who,what,how\na,b,3\n")
    with pytest.raises(
        DataError, match=r"line 1: cannot read 'who,what,how'.*pass header=True if it names the columns"
    ):
        read_columns(path)
    assert read_columns(path, header=True).user_id.tolist() == ["a"]


@pytest.mark.parametrize("first", ["alice,book,nan", "alice,book,five", "user,item,nan", "alice,time,x"])
def test_a_malformed_first_line_is_no_header(tmp_path, first):
    path = write(tmp_path / "t.csv", first + "\nbob,book,4\ncarol,film,3\n")
    with pytest.raises(DataError, match=f"line 1: cannot read '{first}'"):
        read_columns(path)
    found = read_columns(path, on_error="skip")
    assert (found.user_id.tolist(), found.n_skipped) == (["bob", "carol"], 1)


@pytest.mark.parametrize(
    "names", ["rating,who,what", "id,user,title,rating", "timestamp,item,rating"], ids=["user", "item", "both"]
)
def test_a_header_that_leaves_columns_open_is_an_error(tmp_path, names):
    path = write(tmp_path / "t.csv", names + "\n" + ",".join("1234"[: names.count(",") + 1]) + "\n")
    with pytest.raises(DataError, match=r"line 1: .*no known name for the column of.*columns="):
        read_columns(path)
    assert len(read_columns(path, columns=(0, 1, 2)).rating) == 1
    with pytest.raises(DataError, match="position 7 is wanted"):
        read_columns(path, columns=(0, 1, 7))


@pytest.mark.parametrize("first", ["1\t2\t3\t4\t5\t6", "ratings of 1998, by user", "x" * 9000, "1\t2\tx\t4", "\xff"])
def test_a_bad_first_line_is_skipped_and_sets_no_layout(tmp_path, first):
    path = write(tmp_path / "t.tsv", "\n" + first + "\n1\t2\t3\t4\n5\t6\t3\t4\n", "latin-1")
    with pytest.raises(DataError, match=r"line 2: cannot read .* expected 4 fields separated by '\\t'"):
        read_columns(path)
    found = read_columns(path, on_error="skip")
    assert (found.user_id.tolist(), found.n_skipped) == ([1, 5], 1)


def test_a_file_of_bad_lines_alone_names_the_first(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c\n" * 30)
    for on_error in ("raise", "skip"):
        with pytest.raises(DataError, match="line 1: cannot read 'a,b,c': 'c' is no finite rating"):
            read_columns(path, on_error=on_error)


def test_the_message_of_a_bad_line(tmp_path):
    path = write(tmp_path / "t.tsv", "1\t2\t3\t4\n5\t6\t7\n")
    with pytest.raises(DataError) as error:
        read_columns(path)
    assert str(error.value) == (
        f"{path}, line 2: cannot read '5\\t6\\t7': found 3 fields, expected 4 fields separated by '\\t' with user, item, "
        "rating, timestamp at positions 0, 1, 2, 3; mend the line, name the delimiter, or leave such lines out with "
        "on_error='skip' (--on-error skip)."
    )


@pytest.mark.parametrize("mark", [",", "::", " "])
def test_fields_in_quotes_may_hold_the_delimiter(tmp_path, mark):
    lines = [["user", "item", "rating"], ['"u 1"', f'"i{mark}2"', "3"], ["u2", '"a ""b"""', '"4"'], ["x", "y", "zz"]]
    path = write(tmp_path / "t.csv", "\n".join(mark.join(line) for line in lines))
    with pytest.raises(DataError, match=r"line 4: cannot read .* 'zz' is no finite rating"):
        read_columns(path)
    for header in (None, False):
        found = read_columns(path, on_error="skip", header=header)
        assert (found.user_id.tolist(), found.item_id.tolist()) == (["u 1", "u2"], [f"i{mark}2", 'a "b"'])
        assert (found.rating.tolist(), found.n_skipped) == ([3, 4], 1 + (header is False))
    path = write(tmp_path / "u.csv", "\n".join(mark.join(line) for line in lines[1:3]))
    assert read_columns(path).item_id.tolist() == [f"i{mark}2", 'a "b"']


@pytest.mark.parametrize(
    "text", ['u1,"i5,3\nu2,b",4\n', 'u1,i1,"3\n', '5",i,"3\n', 'u1,"i5,3\n\nu2,b",4\nu3,c,1\n', 'u1,"i\r5",3\n']
)
def test_a_quote_ends_in_its_line(tmp_path, text):
    path = write(tmp_path / "t.csv", "a,b,1\n" + text)
    with pytest.raises(
        DataError, match=r"line 2: cannot read .*(runs over the end of its line, which is not read here|line break)"
    ):
        read_columns(path)
    found = read_columns(path, on_error="skip")
    assert set(found.user_id) <= {"a", "u2", "u3"} and found.n_skipped >= 1


@pytest.mark.parametrize("quoted_at_first", [False, True])
def test_no_half_of_a_record_over_two_lines_becomes_a_rating(tmp_path, quoted_at_first):
    first = '"a",b,1\n' if quoted_at_first else "a,b,1\n"
    for broken, n_bad in (('u1,"i5,3\nu2,b",4\n', 2), ('u1,"i5\nx,y,3\n\n b",4\n', 3), ('u1,i5,"3\n4"\n', 2)):
        path = write(tmp_path / "t.csv", first + broken + '"c""",d,2\n')
        found = read_columns(path, on_error="skip")
        assert (found.user_id.tolist(), found.n_skipped) == (["a", 'c"'], n_bad)
    # A quote that nothing closes takes no other line with it.
    path = write(tmp_path / "t.csv", first + 'u1,"i5,3\nu2,i5,3\nu3,"i5,3\nu4,"i5",3\n')
    found = read_columns(path, on_error="skip")
    assert (found.user_id.tolist(), found.n_skipped) == (["a", "u2", "u4"], 2)


@pytest.mark.parametrize("late", [False, True])
def test_blanks_within_quotes_belong_to_the_id(tmp_path, late):
    plain = "1,2,3\n" * 300 if late else ""
    path = write(tmp_path / "t.csv", plain + '" 1", 2 ,3\n1,"2\t"," 4 "\n  1 ,"2",5\n')
    found = read_columns(path)
    assert (found.user_id[-3:].tolist(), found.item_id[-3:].tolist()) == ([" 1", "1", "1"], ["2", "2\t", "2"])
    assert found.rating[-3:].tolist() == [3, 4, 5]
    pairs = write(tmp_path / "pairs.csv", '" 1", 2 \n1,"2\t"\n')
    with pairs.open("rb") as file:
        (block,) = [block for block in PairReader(file, "pairs", (False, False)).blocks() if len(block.line) == 1][1:]
    assert (block.user_id, block.item_id) == (["1"], ["2\t"])


@pytest.mark.parametrize("cell", ['""', '" "', "   "])
def test_an_empty_id_is_its_own_lines_fault(tmp_path, cell):
    path = write(tmp_path / "t.csv", f"a,b,1\n{cell},b,2\nc,d,3\n")
    with pytest.raises(DataError, match=r"line 2: .*the user is missing"):
        read_columns(path)
    assert read_columns(path, on_error="skip").user_id.tolist() == ["a", "c"]


def test_timestamps_keep_their_digits_and_their_bounds(tmp_path):
    path = write(tmp_path / "t.csv", "1,2,3,1500000000123456789\n1,3,3,-9223372036854775808\n")
    assert read_columns(path).timestamp.tolist() == [1500000000123456789, -(2**63)]
    path = write(tmp_path / "u.csv", "1,2,3,1500000000123456789\n1,3,3,7.9\n")
    assert read_columns(path).timestamp.tolist() == [1500000000123456789, 7]
    for bad in ("1e30", "9223372036854775808", "nan", "soon"):
        path = write(tmp_path / "v.csv", f"1,2,3,4\n1,3,3,{bad}\n1,4,3,5\n")
        with pytest.raises(DataError, match=f"line 2: .*'{bad}' is no timestamp of 64 bits"):
            read_columns(path)
        assert read_columns(path, on_error="skip").timestamp.tolist() == [4, 5]


def test_an_id_too_long_is_malformed_and_a_long_one_widens_its_own_column_only(tmp_path):
    path = write(tmp_path / "t.csv", f"a,b,1\n{'x' * 20_000},b,2\n{'y' * 1000},d,3\n")
    with pytest.raises(DataError, match=r"line 2: cannot read 'xxx.*\.\.\.': the user has more than 1000 characters"):
        read_columns(path)
    found = read_columns(path, on_error="skip")
    assert (found.user_id.dtype, found.item_id.dtype) == (np.dtype("U1000"), np.dtype("U1"))
    assert sum(array.nbytes for array in found.users.to_arrays().values()) < 1100


def test_columns_are_integers_or_texts_each_by_itself(tmp_path):
    path = write(tmp_path / "t.csv", "a,5,1\nb,6,2\n")
    assert read_columns(path).item_id.tolist() == [5, 6]
    path = write(tmp_path / "u.csv", "".join(f"007,{i},3\n" for i in range(400)) + "x,1,3\n")
    assert read_columns(path).user_id.tolist() == ["007"] * 400 + ["x"]


@pytest.mark.parametrize(("written", "mark"), [(r"\t", "\t"), (r"\x1f", "\x1f"), (r"\\", "\\"), (r"\x3a:", "::")])
def test_a_delimiter_may_be_written_as_an_escape(tmp_path, written, mark):
    path = write(tmp_path / "t.txt", f"1{mark}2{mark}3\n")
    for delimiter in (written, mark):
        assert read_columns(path, delimiter=delimiter).item_id.tolist() == [2]


@pytest.mark.parametrize("delimiter", ["", '"', "\r", "\n", 'a"', r"\x22"])
def test_delimiters_that_cannot_be(tmp_path, delimiter):
    with pytest.raises(ConfigError, match="delimiter: got"):
        read_columns(write(tmp_path / "t.txt", "1,2,3\n"), delimiter=delimiter)


cells = st.one_of(
    st.sampled_from(
        ["1", "+5", "007", " 4", "9223372036854775808", "3.5", "nan", "1_0", "1e400", "\uff11", "é", "", "\r"]
    ),
    st.text('a1" ,\t\r', max_size=4),
)


def read_slowly(path, layout):
    """The table's rows, line by line in Python, and how many lines are malformed."""
    rows, n_bad = [], 0
    for line in path.read_bytes().splitlines():
        if line.decode("utf-8", "replace").strip():
            try:
                rows.append(layout.read(line.decode()))
            except (LineFault, UnicodeDecodeError):
                n_bad += 1
    return rows, n_bad


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(
        st.one_of(st.just(["1", "2", "3"]), st.lists(cells, min_size=2, max_size=4)), min_size=1, max_size=4
    ),
    mark=st.sampled_from([",", "\t", " ", "::"]),
    text=st.booleans(),
)
def test_duckdb_reads_a_file_as_its_lines_are_read(tmp_path_factory, lines, mark, text):
    quotes = [line.count('"') for line in re.split("[\r\n]+", "\n".join(map(mark.join, lines)))]
    # A quote that a later line closes is one field over both, whose halves are no rows; a test of its own has that.
    assume(not any(n % 2 and any(quotes[at + 1 :]) for at, n in enumerate(quotes)))
    path = tmp_path_factory.mktemp("table") / "t"
    # The first lines say how many fields there are, what is quoted and whether ids are texts; most lines are left to DuckDB by both.
    first = ['"a"' if mark in ",\t" else "a", "b", "3"] if text else ["7", "8", "9"]
    path.write_bytes("\n".join(map(mark.join, [*[first] * 5, *lines])).encode())
    found = read_columns(path, delimiter=mark, header=False, columns=(0, 1, 2), on_error="skip", cache=False)
    rows, n_bad = read_slowly(path, Layout(mark, 3, (0, 1, 2)))
    assert [str(user) for user in found.user_id.tolist()] == [row[0] for row in rows]
    assert [str(item) for item in found.item_id.tolist()] == [row[1] for row in rows]
    assert found.rating.tolist() == [float(np.float32(row[2])) for row in rows]
    assert found.n_skipped == n_bad


def test_timestamps_that_look_like_milliseconds_are_said_once(tmp_path, caplog):
    path = tmp_path / "ms.csv"
    path.write_text("user,item,rating,timestamp\n1,1,3,1577836800000\n1,2,4,1577836900000\n2,1,5,1577837800000\n")
    with caplog.at_level("WARNING", logger="nnmf"):
        assert Ratings.from_file(path).timestamp.max() == 1577837800000
        assert [record.getMessage() for record in caplog.records] == [
            "ms.csv: timestamps reach 1577837800000, which as seconds is beyond the year 5000; if they are milliseconds, "
            "divide them by 1000."
        ]
        Ratings.from_arrays([1], [2], [3.0], [1577836800])
    assert len(caplog.records) == 1
