"""What the items are: titles, years and genres of the MovieLens sets, by item id."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnmf.errors import DataError

from . import _registry as registry

_NO_GENRES = "(no genres listed)"
_YEAR = re.compile(r"\((\d{4})(?:[-\u2013]\s?(?:\d{4})?)?\)")  # (1995), and series: (1975-1979), (2007-)


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items in increasing order of their ids.

    Attributes
    ----------
    item_id : int64 array of shape (n_items,)
        As in the ratings file; strictly increasing.
    title : str array of shape (n_items,)
        With the year, as published: ``Toy Story (1995)``.
    year : int16 array of shape (n_items,)
        The title's last year in parentheses (a series: its first year); 0 for unknown.
    genre_names : tuple of str
        In ml-100k the order of ``u.genre`` (with its ``unknown``), elsewhere alphabetic.
    genres : bool array of shape (n_items, n_genres)
    """

    item_id: NDArray[np.int64]
    title: NDArray[np.str_]
    year: NDArray[np.int16]
    genre_names: tuple[str, ...]
    genres: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.item_id)

    def rows(self, item_ids: ArrayLike) -> NDArray[np.int64]:
        """The row of each id, -1 for an unknown one: int64 array of the shape of ``item_ids`` (integers or digits)."""
        ids = np.asarray(item_ids)
        if ids.dtype.kind not in "iu":
            ids = np.array([_whole(value) for value in ids.ravel().tolist()], np.int64).reshape(ids.shape)
        if not len(self):
            return np.full(ids.shape, -1, np.int64)
        row = np.minimum(np.searchsorted(self.item_id, ids), len(self) - 1)
        return np.where(self.item_id[row] == ids, row, -1)

    def titles(self, item_ids: ArrayLike) -> list[str]:
        """The title of each id of a one-dimensional array; ``item 123`` for an unknown id."""
        ids = np.atleast_1d(np.asarray(item_ids))
        rows = self.rows(ids)
        titles = self.title[rows].tolist() if len(self) else [""] * len(ids)
        for unknown in np.flatnonzero(rows < 0):
            titles[unknown] = f"item {ids[unknown]}"
        return titles

    def genres_of(self, item_id: int) -> tuple[str, ...]:
        """The names of one item's genres; empty if it has none or is unknown."""
        row = int(self.rows(item_id))
        return () if row < 0 else tuple(self.genre_names[genre] for genre in np.flatnonzero(self.genres[row]))


def load_items(name: str, folder: str | os.PathLike[str]) -> ItemTable | None:
    """Read the item table of the dataset ``name`` from the folder that holds its files.

    Returns None for ``synthetic``, whose items have no titles, and where the folder has no item file.

    Raises
    ------
    ConfigError
        Unknown dataset.
    DataError
        A line that cannot be read or an id that occurs twice (with file, line number and text), an empty or
        unreadable file, a missing ``u.genre``.
    """
    if name == registry.SYNTHETIC:
        return None
    dataset = registry.get(name)
    path = Path(folder) / dataset.item_file
    if not path.is_file():
        return None
    read = {"u.item": _read_u_item, "dat": _read_dat, "csv": _read_csv}[dataset.item_format]
    genre_names: tuple[str, ...] = ()
    if dataset.item_format == "u.item":
        genre_names = _read_genre_names(path.with_name("u.genre"))
    line_of: dict[int, int] = {}
    titles: list[str] = []
    genres: list[list[str]] = []
    for number, item_id, title, item_genres in read(path, dataset.item_encoding, genre_names):
        parsed = int(item_id) if re.fullmatch(r"\d{1,18}", item_id) else -1
        if parsed < 0:
            raise _malformed(path, number, f"the item id is {item_id!r} instead of a whole number")
        if parsed in line_of:
            raise _malformed(path, number, f"item {parsed} stood in line {line_of[parsed]} already")
        line_of[parsed] = number
        titles.append(title)
        genres.append(item_genres)
    if not titles:
        raise DataError(f"{path} holds no items")
    genre_names = genre_names or tuple(sorted({genre for item_genres in genres for genre in item_genres}))
    return _table(list(line_of), titles, genres, genre_names)


def _table(ids: list[int], titles: list[str], genres: list[list[str]], genre_names: tuple[str, ...]) -> ItemTable:
    item_id = np.array(ids, np.int64)
    order = np.argsort(item_id, kind="stable")
    column = {genre: index for index, genre in enumerate(genre_names)}
    flags = np.zeros((len(ids), len(genre_names)), bool)
    rows = np.repeat(np.arange(len(ids)), [len(item_genres) for item_genres in genres])
    flags[rows, [column[genre] for item_genres in genres for genre in item_genres]] = True
    year = np.array([int((_YEAR.findall(title) or [0])[-1]) for title in titles], np.int16)
    arrays: list[NDArray[Any]] = [item_id[order], np.array(titles, np.str_)[order], year[order], flags[order]]
    for array in arrays:
        array.flags.writeable = False
    return ItemTable(arrays[0], arrays[1], arrays[2], genre_names, arrays[3])


_Row = tuple[int, str, str, list[str]]  # line number, item id, title, genres


def _read_u_item(path: Path, encoding: str, genre_names: tuple[str, ...]) -> Iterator[_Row]:
    for number, line in _lines(path, encoding):
        fields = line.split("|")  # id, title, release date, video release date, IMDb URL, a 0 or 1 for each genre
        flags = fields[5:]
        if len(flags) != len(genre_names):
            raise _malformed(
                path, number, f"{len(fields)} fields instead of {5 + len(genre_names)} separated by '|' in {line!r}"
            )
        if not set(flags) <= {"0", "1"}:
            raise _malformed(path, number, f"a genre flag that is neither 0 nor 1 in {line!r}")
        yield number, fields[0], fields[1].strip(), [genre_names[k] for k, flag in enumerate(flags) if flag == "1"]


def _read_dat(path: Path, encoding: str, _: tuple[str, ...]) -> Iterator[_Row]:
    for number, line in _lines(path, encoding):
        fields = line.split("::")
        if len(fields) < 3:
            raise _malformed(path, number, f"{len(fields)} fields instead of 3 separated by '::' in {line!r}")
        yield number, fields[0], "::".join(fields[1:-1]).strip(), _split_genres(fields[-1])


def _read_csv(path: Path, encoding: str, _: tuple[str, ...]) -> Iterator[_Row]:
    rows = csv.reader((line + "\n" for _, line in _lines(path, encoding, keep_empty=True)), strict=True)
    header = ["movieId", "title", "genres"]
    try:
        for row in rows:
            if rows.line_num == 1:
                if row != header:
                    raise _malformed(path, 1, f"the header {','.join(row)!r} instead of {','.join(header)!r}")
            elif row:
                if len(row) != 3:
                    raise _malformed(path, rows.line_num, f"{len(row)} fields instead of 3 in {','.join(row)!r}")
                yield rows.line_num, row[0], row[1].strip(), _split_genres(row[2])
    except csv.Error as error:
        raise _malformed(path, rows.line_num, str(error)) from error


def _read_genre_names(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise DataError(f"{path}, which names the genre columns of u.item, is missing")
    numbered: list[tuple[int, str]] = []
    for number, line in _lines(path, "latin-1"):
        name, _, index = line.rpartition("|")
        if not name or not index.isdecimal() or int(index) != len(numbered):
            raise _malformed(path, number, f"{line!r} instead of 'genre|{len(numbered)}'")
        numbered.append((int(index), name))
    return tuple(name for _, name in numbered)


def _lines(path: Path, encoding: str, keep_empty: bool = False) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and decoded lines; only line feeds end a line, as latin-1 has others inside titles."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    line = raw.rstrip(b"\r\n").decode(encoding)
                except UnicodeDecodeError as error:
                    raise _malformed(path, number, f"{raw[:80]!r} is not {encoding} text") from error
                line = line.removeprefix("\ufeff") if number == 1 else line
                if line.strip() or keep_empty:
                    yield number, line
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _split_genres(text: str) -> list[str]:
    return [genre for genre in text.strip().split("|") if genre and genre != _NO_GENRES]


def _whole(value: object) -> int:
    text = str(value).strip()
    return int(text) if re.fullmatch(r"\d{1,18}", text) else -1


def _malformed(path: Path, number: int, what: str) -> DataError:
    return DataError(f"{path}, line {number}: {what}")
