"""Item tables of the MovieLens sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nnmf import datasets
from nnmf.datasets._items import ItemTable, load_items
from nnmf.errors import ConfigError, DataError

U_GENRE = "unknown|0\nAction|1\nDrama|2\n\n"
U_ITEM = "2|Golden\x85Eye (1995)|01-Jan-1995||http://x|0|1|0\n1|Am\xe9lie (2001)|||http://y|0|1|1\n9|unknown||||1|0|0\n"
CSV = (
    "movieId,title,genres\r\n"
    '11,"American President, The (1995)",Comedy|Drama\r\n'
    '3,"He said ""no"" (1975\u20131979)",(no genres listed)\r\n'
    "2,Babylon 5,Sci-Fi\r\n"
)


def write(folder: Path, name: str, text: str, encoding: str) -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder


def ml_100k(folder: Path, items: str = U_ITEM, genres: str = U_GENRE) -> Path:
    write(folder, "u.genre", genres, "latin-1")
    return write(folder, "u.item", items, "latin-1")


def load(name: str, folder: Path) -> ItemTable:
    table = load_items(name, folder)
    assert table is not None
    return table


def test_u_item(tmp_path: Path) -> None:
    table = load("ml-100k", ml_100k(tmp_path))
    assert table.item_id.tolist() == [1, 2, 9] and table.item_id.dtype == np.int64
    assert table.title.tolist() == ["Am\xe9lie (2001)", "Golden\x85Eye (1995)", "unknown"]
    assert table.year.tolist() == [2001, 1995, 0] and table.year.dtype == np.int16
    assert table.genre_names == ("unknown", "Action", "Drama")
    assert table.genres.tolist() == [[False, True, True], [False, True, False], [True, False, False]]
    assert table.genres_of(1) == ("Action", "Drama") and table.genres_of(5) == ()
    assert len(table) == 3
    with pytest.raises(ValueError, match="read-only"):
        table.year[0] = 1


@pytest.mark.parametrize(("name", "encoding"), [("ml-1m", "latin-1"), ("ml-10m", "utf-8")])
def test_movies_dat(tmp_path: Path, name: str, encoding: str) -> None:
    text = "10::Mis\xe9rables, Les (1995)::Drama|Musical\n4::Face::Off (1997) (V)::Action\n7::Odd (2000)::\n"
    table = load(name, write(tmp_path, "movies.dat", text, encoding))
    assert table.title.tolist() == ["Face::Off (1997) (V)", "Odd (2000)", "Mis\xe9rables, Les (1995)"]
    assert table.year.tolist() == [1997, 2000, 1995]
    assert table.genre_names == ("Action", "Drama", "Musical")
    assert [table.genres_of(item) for item in (4, 7, 10)] == [("Action",), (), ("Drama", "Musical")]


@pytest.mark.parametrize("name", ["ml-20m", "ml-25m", "ml-latest-small"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_movies_csv(tmp_path: Path, name: str, mark: str) -> None:
    table = load(name, write(tmp_path, "movies.csv", mark + CSV, "utf-8"))
    assert table.title.tolist() == ["Babylon 5", 'He said "no" (1975\u20131979)', "American President, The (1995)"]
    assert table.year.tolist() == [0, 1975, 1995]
    assert [table.genres_of(item) for item in (2, 3, 11)] == [("Sci-Fi",), (), ("Comedy", "Drama")]


def test_titles(tmp_path: Path) -> None:
    table = load("ml-latest-small", write(tmp_path, "movies.csv", CSV, "utf-8"))
    assert table.titles([11, 99, 2, -4]) == ["American President, The (1995)", "item 99", "Babylon 5", "item -4"]
    assert table.titles(np.array([2, 12], np.int32)) == ["Babylon 5", "item 12"]
    assert table.titles(np.array(["2", "two"])) == ["Babylon 5", "item two"]
    assert table.titles([]) == []
    assert table.rows(np.array([[2, 3], [4, 11]])).tolist() == [[0, 1], [-1, 2]]


def test_no_items_to_show(tmp_path: Path) -> None:
    assert load_items("synthetic", tmp_path) is None
    assert load_items("ml-1m", tmp_path) is None
    with pytest.raises(ConfigError, match=r"dataset: got 'ml-2m' instead of one of \["):
        load_items("ml-2m", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1|A (1995)|||x|0|1\n", r"u\.item, line 1: 7 fields instead of 8 separated by '\|' in '1\|A"),
        ("1|A|||x|0|1|0\n2|B|||x|0|1|2\n", r"u\.item, line 2: a genre flag that is neither 0 nor 1"),
        ("1|A|||x|0|1|0\nx|B|||x|0|1|0\n", r"u\.item, line 2: the item id is 'x' instead of a whole number"),
        ("1|A|||x|0|1|0\n\n1|B|||x|0|1|0\n", r"u\.item, line 3: item 1 stood in line 1 already"),
        ("\n", r"u\.item holds no items"),
    ],
)
def test_malformed_u_item(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_items("ml-100k", ml_100k(tmp_path, items=text))


def test_malformed_u_genre(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"u\.genre, line 2: 'Action\|2' instead of 'genre\|1'"):
        load_items("ml-100k", ml_100k(tmp_path, genres="unknown|0\nAction|2\n"))
    (tmp_path / "u.genre").unlink()
    with pytest.raises(DataError, match=r"u\.genre, which names the genre columns of u\.item, is missing"):
        load_items("ml-100k", tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "raw", "message"),
    [
        ("ml-1m", "movies.dat", b"1::A::X\n2::B\n", r"movies\.dat, line 2: 2 fields instead of 3 separated by '::'"),
        ("ml-10m", "movies.dat", b"1::A::X\n2::\xff::X\n", r"movies\.dat, line 2: .* is not utf-8 text"),
        ("ml-20m", "movies.csv", b"movieId,title,genres\n1,A\n", r"movies\.csv, line 2: 2 fields instead of 3"),
        ("ml-20m", "movies.csv", b"1,A,X\n", r"movies\.csv, line 1: the header '1,A,X' instead of 'movieId,title"),
        ("ml-20m", "movies.csv", b'movieId,title,genres\n1,"A,X\n', r"movies\.csv, line 2: unexpected end of data"),
        ("ml-20m", "movies.csv", b"movieId,title,genres\n\n", r"movies\.csv holds no items"),
        ("ml-20m", "movies.csv", b"", r"movies\.csv holds no items"),
    ],
)
def test_malformed_lists(tmp_path: Path, name: str, file: str, raw: bytes, message: str) -> None:
    (tmp_path / file).write_bytes(raw)
    with pytest.raises(DataError, match=message):
        load_items(name, tmp_path)


def test_the_real_ml_100k() -> None:
    if not os.environ.get("NNMF_DATA") or not (folder := datasets.find("ml-100k", files=["u.data", "u.item"])):
        pytest.skip("needs the real ml-100k: set NNMF_DATA to the folder that holds ml-100k/")
    table = load("ml-100k", folder)
    assert np.array_equal(table.item_id, np.arange(1, 1683))
    assert table.titles([1, 50, 267, 1683]) == ["Toy Story (1995)", "Star Wars (1977)", "unknown", "item 1683"]
    assert table.genres_of(1) == ("Animation", "Children's", "Comedy")
    assert (
        table.genres.shape == (1682, 19) and (table.year == 0).sum() == 1 and table.year[table.year > 0].min() == 1922
    )
