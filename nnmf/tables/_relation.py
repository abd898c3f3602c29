"""Reading what already has columns: Parquet files, and the queries of a database."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError

from ._cache import Columns
from ._columns import as_column
from ._duckdb import connection, fetch_numbered, identifier, literal, number_texts
from ._head import Columns as Wanted
from ._ids import IdMap
from ._layout import LARGEST_RATING, ROLES
from ._names import column_places

_INTEGERS = set(
    ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT"]
)
_NUMBERS = _INTEGERS | {"DOUBLE", "FLOAT", "DECIMAL"}
_SQLITE_ROWS = 1 << 16
_SQLITE_MAGIC = b"SQLite format 3\0"


def read_relation(con: Any, relation: str, name: str, columns: Wanted | None, skip: bool = False) -> Columns:
    """The columns of a table or of a query in parentheses.

    Parameters
    ----------
    con
        A connection of DuckDB.
    relation : str
        As it stands behind FROM.
    name : str
        What errors call it.
    columns
        Which hold what: positions, or names by role; default: by known names, else by position.
    skip : bool
        Whether rows that are no rating are left out.

    Raises
    ------
    DataError
        No such columns, columns of other types, a row without a value, no rows.
    """
    found = con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    names, types = [row[0] for row in found], [row[1].partition("(")[0] for row in found]
    places = _places(names, types, name, columns)
    wanted = []
    for role, at in zip(ROLES, places, strict=False):
        wanted.append(f"{_converted(role, identifier(names[at]), names[at], types[at], name)} AS {role}")
    rows = f"(SELECT {', '.join(wanted)} FROM {relation})"
    texts = {}
    if any(types[at] not in _NUMBERS for at in places[:2]):
        con.execute(f"CREATE OR REPLACE TEMP TABLE nnmf_parsed AS SELECT * FROM {rows}")
        rows = "temp.nnmf_parsed"
    for at, side in enumerate(ROLES[:2]):
        if types[places[at]] not in _NUMBERS:
            texts[side] = number_texts(con, rows, side, f"{side} <> ''")
    stamp = ", timestamp" if len(places) > 3 else ""
    arrays, missing = fetch_numbered(con, rows, [side in texts for side in ROLES[:2]], f"rating{stamp}")
    return _columns_of(arrays, missing, texts, name, skip)


def _columns_of(
    arrays: dict[str, np.ndarray], missing: dict[str, np.ndarray], texts: dict[str, Any], name: str, skip: bool
) -> Columns:
    bad = np.zeros(len(arrays["rating"]), bool)
    for mask in missing.values():
        bad |= mask
    n_bad = int(bad.sum())
    if n_bad and not skip:
        row = int(np.argmax(bad))
        role = next(role for role, mask in missing.items() if mask[row])
        raise DataError(
            f"{name}: row {row + 1} has no usable {role} ({n_bad} such rows in all); leave such rows out with on_error='skip' "
            "or a WHERE in the query."
        )
    if n_bad == len(bad):
        raise DataError(f"{name}: holds no ratings; give at least one row of user, item, rating[, timestamp].")
    if n_bad:
        arrays = {role: array[~bad] for role, array in arrays.items()}
    maps, index = [], []
    for side in ("user", "item"):
        if side in texts:
            ids, codes = IdMap.of_distinct(texts[side]), arrays[side].astype(np.int32)
            ids, codes = ids.used(codes) if n_bad else (ids, codes)
        else:
            ids, codes = IdMap.number(arrays[side], f"{name}: {side} ids")
        maps.append(ids)
        index.append(codes)
    rating = as_column(arrays["rating"], np.float32, f"{name}: ratings")
    return Columns(maps[0], maps[1], index[0], index[1], rating, arrays.get("timestamp"), n_bad)


def _places(names: list[str], types: list[str], name: str, columns: Wanted | None) -> tuple[int, ...]:
    """Positions of user, item, rating and, where there is one, timestamp."""
    if isinstance(columns, Mapping):
        for role, wanted in columns.items():
            if wanted not in names:
                raise DataError(f"{name}: has no column {wanted!r} for the {role}; it has {', '.join(names)}.")
        return tuple(names.index(columns[role]) for role in ROLES if role in columns)
    if columns is not None:
        if max(columns) >= len(names):
            raise DataError(f"{name}: has {len(names)} columns, and position {max(columns)} is wanted.")
        return tuple(columns)
    known = column_places(names)
    if None not in known[:3]:
        return tuple(at for at in known if at is not None)
    if len(names) < 3:
        raise DataError(
            f"{name}: has the columns {', '.join(names)}; a table needs user, item and rating: where every pair counts alike, "
            "select 1 AS rating."
        )
    by_place = all(place is None or place == at for at, place in enumerate(known[:3]))
    if not by_place or known[3] not in (None, 3):
        missing = " and ".join(role for role, at in zip(ROLES, known[:3], strict=False) if at is None)
        raise DataError(
            f"{name}: no known name among its columns {', '.join(names)} stands for {missing}; name the columns."
        )
    has_time = len(names) > 3 and (known[3] == 3 or types[3] in _INTEGERS or types[3].startswith(("TIMESTAMP", "DATE")))
    return (0, 1, 2, 3) if has_time else (0, 1, 2)


def _converted(role: str, column: str, written: str, kind: str, name: str) -> str:
    """The SQL that brings a column to the type of its role; NULL where a value is none of it."""
    if role in ("user", "item"):
        if kind in _INTEGERS:
            return f"TRY_CAST({column} AS BIGINT)"
        if kind in ("VARCHAR", "UUID", "ENUM"):
            return f"nullif(trim(CAST({column} AS VARCHAR)), '')"
        if kind in _NUMBERS:
            return f"CASE WHEN {column} = floor({column}) AND abs({column}) <= 9007199254740992 THEN CAST({column} AS BIGINT) END"
        raise DataError(f"{name}: the column {written!r} of {role} ids holds {kind}; give whole numbers or texts.")
    if role == "rating":
        value = f"TRY_CAST({column} AS DOUBLE)"
        return f"CASE WHEN abs({value}) <= {LARGEST_RATING!r} THEN CAST({value} AS FLOAT) END"
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"CAST(floor(epoch({column})) AS BIGINT)"
    if kind == "VARCHAR":
        return (
            f"coalesce(TRY_CAST({column} AS BIGINT), CAST(floor(epoch(TRY_CAST({column} AS TIMESTAMPTZ))) AS BIGINT))"
        )
    if kind in _NUMBERS - _INTEGERS:
        return f"TRY_CAST(trunc({column}) AS BIGINT)"
    return f"TRY_CAST({column} AS BIGINT)"


# -- queries ---------------------------------------------------------------------------------------------------------
def read_query(query: str, source: Any, name: str) -> Columns:
    """The columns of a query; see `nnmf.tables.Ratings.from_sql`."""
    if not isinstance(query, str) or not query.strip():
        raise ConfigError(f"query: got {query!r}; give SQL that selects user, item, rating[, timestamp].")
    query = query.strip().rstrip(";")
    import duckdb

    try:
        if isinstance(source, sqlite3.Connection):
            return _read_sqlite(query, source, name)
        if source is None:
            with connection() as (con, _):
                return read_relation(con, f"({query})", name, None)
        if isinstance(source, (str, os.PathLike)):
            return _read_database(query, Path(source), name)
        if isinstance(source, duckdb.DuckDBPyConnection):
            try:  # in the caller's own connection, which alone sees its temporary tables
                return read_relation(source, f"({query})", name, None)
            finally:
                for table in ("parsed", "user_ids", "item_ids"):
                    source.execute(f"DROP TABLE IF EXISTS temp.nnmf_{table}")
    except (duckdb.Error, sqlite3.Error) as error:
        what = str(error).partition("\n\n")[0].replace("\n", " ")
        raise DataError(f"{name}: the query failed ({what}); mend the query.") from None
    raise ConfigError(
        f"connection: got a {type(source).__name__}; give a connection of DuckDB or sqlite3, or the path of a database file."
    )


def _read_database(query: str, path: Path, name: str) -> Columns:
    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path.") from None
    if is_sqlite:  # DuckDB's own reader of SQLite is an extension that it would have to download
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _read_sqlite(query, database, name)
    with connection() as (con, _):
        con.execute(f"ATTACH {literal(str(path.resolve()))} AS database (READ_ONLY)")
        con.execute("USE database")
        return read_relation(con, f"({query})", name, None)


def _read_sqlite(query: str, database: sqlite3.Connection, name: str) -> Columns:
    """The columns of a query to SQLite, handed over to DuckDB in batches, which knows what to do with any types."""
    cursor = database.execute(query)
    if cursor.description is None:
        raise DataError(f"{name}: the query selects nothing; select user, item, rating[, timestamp].")
    names = [column[0] for column in cursor.description]
    with connection() as (con, _):
        kinds: list[str] | None = None
        for rows in _batches(cursor):
            batch = list(zip(*rows, strict=True))
            if kinds is None:
                kinds = [_kind(column) for column in batch]
                described = ", ".join(f"{identifier(n)} {kind}" for n, kind in zip(names, kinds, strict=True))
                con.execute(f"CREATE TEMP TABLE given ({described})")
            values = [
                [None if value is None else str(value) for value in column] if kind == "VARCHAR" else list(column)
                for column, kind in zip(batch, kinds, strict=True)
            ]
            unnested = ", ".join(f"unnest(CAST(${at + 1} AS {kind}[]))" for at, kind in enumerate(kinds))
            con.execute(f"INSERT INTO given SELECT {unnested}", values)
        if kinds is None:
            raise DataError(f"{name}: holds no ratings; give at least one row of user, item, rating[, timestamp].")
        return read_relation(con, "given", name, None)


def _batches(cursor: sqlite3.Cursor) -> Iterator[Sequence[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(_SQLITE_ROWS):
        yield rows


def _kind(column: Sequence[Any]) -> str:
    """The type of SQL for a column of SQLite, where every value has one of its own."""
    kinds = set(map(type, column)) - {type(None)}
    if kinds <= {int}:
        return "BIGINT"
    return "DOUBLE" if kinds <= {int, float} else "VARCHAR"
