"""Reading the answer of a query: to a database of DuckDB's own, to the caller's, or to SQLite."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nnmf.errors import ConfigError, DataError

from ._cache import Columns
from ._duckdb import Room, check_room, connection, identifier, literal
from ._relation import read_relation

_SQLITE_ROWS = 1 << 16
_SQLITE_MAGIC = b"SQLite format 3\0"
# Texts, names, comments, and what else there is: a comment's sign within a text begins none.
_TOKENS = re.compile(
    r"(?P<ending>--[^\n]*|/\*.*?(?:\*/|$)|[;\s]+)|'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\$\$.*?\$\$|.", re.DOTALL
)


def read_query(query: str, source: Any, name: str, room: Room | None = None) -> Columns:
    """The columns of a query, in files where room says what it may take; see `nnmf.tables.Ratings.from_sql`."""
    if not isinstance(query, str) or not (statement := _without_ending(query)):
        raise ConfigError(f"query: got {query!r}; give SQL that selects user, item, rating[, timestamp].")
    # In parentheses nothing but a SELECT is understood, so that nothing else is ever carried out.
    relation = f"({statement}\n)"
    import duckdb

    try:
        if isinstance(source, sqlite3.Connection):
            return _read_sqlite(relation, source, name, room)
        if source is None:
            with connection(room=room) as (con, _):
                return read_relation(con, relation, name, None, room=room)
        if isinstance(source, (str, os.PathLike)):
            return _read_database(relation, Path(source), name, room)
        if isinstance(source, duckdb.DuckDBPyConnection):
            try:  # in the caller's own connection, which alone sees its temporary tables
                return read_relation(source, relation, name, None, room=room)
            finally:
                for table in ("parsed", "user_ids", "item_ids"):
                    source.execute(f"DROP TABLE IF EXISTS temp.nnmf_{table}")
    except (duckdb.Error, sqlite3.Error, sqlite3.Warning) as error:
        check_room(error, room)
        what = str(error).partition("\n\n")[0].replace("\n", " ")
        raise DataError(f"{name}: the query failed ({what}); give one SELECT that the database understands.") from None
    raise ConfigError(
        f"connection: got a {type(source).__name__}; give a connection of DuckDB or sqlite3, or the path of a database file."
    )


def _without_ending(query: str) -> str:
    """A query without the semicolons and comments at its end."""
    end = 0
    for token in _TOKENS.finditer(query):
        if token["ending"] is None:
            end = token.end()
    return query[:end].strip()


def _read_database(relation: str, path: Path, name: str, room: Room | None) -> Columns:
    import duckdb

    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({what}); check the path.") from None
    if is_sqlite:  # DuckDB's own reader of SQLite is an extension that it would have to download
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _read_sqlite(relation, database, name, room)
    with connection(room=room) as (con, _):
        try:
            con.execute(f"ATTACH {literal(str(path.resolve()))} AS database (READ_ONLY)")
        except duckdb.Error as error:
            what = str(error).partition("\n")[0]
            raise DataError(
                f"{path}: cannot be opened as a database ({what}); give a database file of DuckDB or SQLite, "
                "or read a table of ratings as a file."
            ) from None
        con.execute("USE database")
        return read_relation(con, relation, name, None, room=room)


def _read_sqlite(relation: str, database: sqlite3.Connection, name: str, room: Room | None) -> Columns:
    """The columns of a query to SQLite, handed over to DuckDB in batches as texts, and typed once all are there.

    Every value of SQLite has a type of its own, so that only all of a column's tell the column's.
    """
    cursor = database.execute(f"SELECT * FROM {relation}")
    names = [identifier(column[0]) for column in cursor.description]
    kinds: list[set[type]] = [set() for _ in names]
    with connection(room=room) as (con, _):
        con.execute(f"CREATE TEMP TABLE given ({', '.join(f'{column} VARCHAR' for column in names)})")
        unnested = ", ".join(f"unnest(CAST(${at + 1} AS VARCHAR[]))" for at in range(len(names)))
        for rows in _batches(cursor):
            batch = list(zip(*rows, strict=True))
            for found, column in zip(kinds, batch, strict=True):
                found |= set(map(type, column))
            # repr of a float is what reads as the same float again
            texts = [[None if value is None else str(value) for value in column] for column in batch]
            con.execute(f"INSERT INTO given SELECT {unnested}", texts)
        typed = ", ".join(
            f"CAST({column} AS {_kind(found)}) AS {column}" for column, found in zip(names, kinds, strict=True)
        )
        return read_relation(con, f"(SELECT {typed} FROM given)", name, None, room=room)


def _batches(cursor: sqlite3.Cursor) -> Iterator[Sequence[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(_SQLITE_ROWS):
        yield rows


def _kind(found: set[type]) -> str:
    """The type of SQL for a column with values of these types."""
    kinds = found - {type(None)}
    if bytes in kinds:
        return "BLOB"
    if kinds <= {int}:
        return "BIGINT"
    return "DOUBLE" if kinds <= {int, float} else "VARCHAR"
