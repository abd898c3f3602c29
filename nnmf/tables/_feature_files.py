"""Reading what is known about users or items from a file: the columns of a text, of JSON lines, or of Parquet."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError, one_of

from ._duckdb import identifier, literal
from ._feature_columns import LIST_MARK
from ._head import MARKS, fields_of, looks_like_number
from ._layout import shown
from ._names import id_place
from ._readers import read_by_kind, readable, unescape
from ._relation import INTEGERS, NUMBERS
from ._text import LONGEST_LINE, lines_of

logger = logging.getLogger(__name__)

# Lines that are looked at to find what stands between fields.
_HEAD_LINES = 200
_TEXTS = {"VARCHAR", "UUID", "ENUM", "BOOLEAN", "DATE", "TIME", '"NULL"'}


def read_features(
    path: Path,
    id: str | None,
    columns: Sequence[str] | None,
    delimiter: str | None,
    header: bool | None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Ids and the columns beside them of a file; see `nnmf.tables.Features.from_file`."""
    if isinstance(columns, str):
        raise ConfigError(f"columns: got the text {columns!r}; give the names of all columns as a list.")
    mark = None if delimiter is None else unescape(delimiter)

    def of_relation(con: Any, relation: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if mark is not None or header is not None or columns is not None:
            raise ConfigError(f"delimiter, header and columns: belong to text; {path.name} names its columns itself.")
        return _fetched(con, relation, id, str(path))

    def of_text(
        con: Any, source: str, compression: str, not_text: frozenset[int]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if not_text:
            raise DataError(f"{path}, line {min(not_text) + 1}: is not UTF-8 text; write the file as UTF-8.")
        rows = con.execute(f"SELECT line FROM {lines_of(source, compression)} LIMIT 5000").fetchall()
        there = [(at, line) for at, (line,) in enumerate(rows) if line is not None and line.strip()][:_HEAD_LINES]
        if not there:
            raise DataError(
                f"{path}: holds no features; give a line of an id and what is known of it, a user or item each."
            )
        if there[0][1].lstrip().startswith("{"):
            packed = (
                "" if compression == "none" else f", compression = '{compression}'"
            )  # "none" is not known to all versions
            given = f"read_json({source}, format = 'newline_delimited'{packed})"
            return of_relation(con, given)
        found = mark or _mark_of([line for _, line in there])
        names, is_header = _names(path, there[0], found, columns, header)
        types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        given = (
            f"(SELECT * FROM read_csv({source}, columns = {{{types}}}, auto_detect = false, header = false, "
            f"delim = {literal(found)}, quote = '\"', escape = '\"', compression = '{compression}', "
            # Lines that are empty are no rows; how many of them ``skip`` counts differs between versions of DuckDB.
            f"max_line_size = {LONGEST_LINE}) OFFSET {int(is_header)})"
        )
        return _fetched(con, given, id, str(path))

    with readable(path):
        return read_by_kind(path, lambda con, source: of_relation(con, f"read_parquet({source})"), of_text)


def place_of_id(names: list[str], id: Hashable | None, name: str) -> int:
    """Which of some columns holds the ids.

    Raises
    ------
    DataError
        A name that two columns have.
    ConfigError
        A name that none has.
    """
    if len(set(names)) < len(names):
        again = next(column for column in names if names.count(column) > 1)
        raise DataError(f"{name}: two columns are called {again!r}; rename one.")
    if id is not None and id not in names:
        raise ConfigError(one_of(id, names, "id") + ".")
    return id_place(names) if id is None else names.index(str(id))


def _mark_of(lines: Sequence[str]) -> str:
    """What stands between fields: what parts most lines into equally many."""
    best, most = "\t", 0
    for mark in MARKS:
        (n_fields, n_lines), *_ = Counter(len(fields_of(line, mark)) for line in lines).most_common(1)
        if n_fields > 1 and n_lines > most:
            best, most = mark, n_lines
    return best


def _names(
    path: Path, first: tuple[int, str], mark: str, columns: Sequence[str] | None, header: bool | None
) -> tuple[list[str], bool]:
    """The names of the columns, and whether the first line is them."""
    at, line = first
    fields = fields_of(line, mark)
    if len(fields) < 2:
        raise DataError(
            f"{path}, line {at + 1}: {shown(line)} is one field; give an id and what is known of it, parted by commas."
        )
    is_header = header
    if header is None:
        is_header = columns is None and _names_columns(fields)
    if columns is not None and len(columns) != len(fields):
        raise ConfigError(f"columns: got {len(columns)} names, {path.name} has {len(fields)} columns; name them all.")
    if not is_header and columns is None:
        raise DataError(
            f"{path}, line {at + 1}: {shown(line)} names no columns; write a header above it, such as id,age,gender, "
            "or name them with columns=."
        )
    names = fields if columns is None else list(columns)
    if is_header:
        logger.info("%s: line %d is a header: %s.", path, at + 1, ", ".join(fields))
    return names, bool(is_header)


def _names_columns(fields: list[str]) -> bool:
    """Whether a first line can be a header: no number in it, nothing empty, no name twice."""
    return all(fields) and len(set(fields)) == len(fields) and not any(map(looks_like_number, fields))


def _fetched(con: Any, relation: str, id: str | None, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The ids, and the columns beside them, of a table of DuckDB: numbers, or objects that are texts or None."""
    described = con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    names, types = [row[0] for row in described], [row[1] for row in described]
    at = place_of_id(names, id, name)
    wanted = [_converted(identifier(column), kind, column, name) for column, kind in zip(names, types, strict=True)]
    if types[at].partition("(")[0] not in NUMBERS:
        wanted[at] = f"trim({wanted[at]})"
    chosen = ", ".join(f"{value} AS column_{place}" for place, value in enumerate(wanted))
    con.execute(f"CREATE OR REPLACE TEMP TABLE features AS SELECT {chosen} FROM {relation}")
    ids = f"column_{at}"
    missing = con.execute(
        f"SELECT min(rowid) FROM features WHERE {ids} IS NULL OR CAST({ids} AS VARCHAR) = ''"
    ).fetchone()
    if missing[0] is not None:
        raise DataError(
            f"{name}: row {missing[0] + 1} has no id in the column {names[at]!r}; mend it, or leave it out."
        )
    whole = f"CAST(TRY_CAST({ids} AS BIGINT) AS VARCHAR) = {ids}"
    if types[at] == "VARCHAR" and con.execute(f"SELECT bool_and(coalesce({whole}, false)) FROM features").fetchone()[0]:
        con.execute(f"ALTER TABLE features ALTER {ids} TYPE BIGINT")
    found = con.execute("SELECT * FROM features ORDER BY rowid").fetchnumpy()
    arrays = [_filled(found[f"column_{place}"]) for place in range(len(names))]
    return arrays[at], {
        column: array for place, (column, array) in enumerate(zip(names, arrays, strict=True)) if place != at
    }


def _converted(column: str, kind: str, written: str, name: str) -> str:
    """The SQL of a column as numbers, or as texts, the entries of a list being parted by the mark."""
    plain = re.sub(r"\(.*\)", "", kind)
    if plain in INTEGERS and plain not in ("HUGEINT", "UHUGEINT"):
        return column
    if plain in NUMBERS:
        return f"CAST({column} AS DOUBLE)"
    if plain in ("VARCHAR[]", "BIGINT[]"):
        return f"array_to_string({column}, {literal(LIST_MARK)})"
    if plain.startswith("TIMESTAMP"):
        return f"CAST(CAST({column} AS DATE) AS VARCHAR)"
    if plain in _TEXTS:
        return f"CAST({column} AS VARCHAR)"
    raise DataError(f"{name}: the column {written!r} holds {kind}; give numbers, texts or lists of texts.")


def _filled(column: Any) -> np.ndarray:
    """A column without a mask: what is missing is NaN among numbers, None among texts."""
    mask = np.ma.getmask(column)
    values = np.ma.getdata(column)
    if mask is np.ma.nomask or not mask.any():
        return values
    values = values.astype(object) if values.dtype.kind == "O" else values.astype(np.float64)
    values[mask] = None if values.dtype.kind == "O" else np.nan
    return values
