"""Reading what already has columns: a Parquet file, or the answer of a query (`_query`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nnmf.errors import DataError

from ._cache import Columns
from ._columns import as_column
from ._duckdb import Room, fetch_numbered, identifier, number_texts
from ._head import Columns as Wanted
from ._head import by_position
from ._ids import IdMap
from ._layout import LARGEST_RATING, ROLES, shown
from ._names import column_places
from ._streamed import Stream

logger = logging.getLogger(__name__)

INTEGERS = set(
    ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT"]
)
_WIDE = {"UBIGINT", "HUGEINT", "UHUGEINT"}
NUMBERS = INTEGERS | {"DOUBLE", "FLOAT", "DECIMAL"}


def read_relation(
    con: Any, relation: str, name: str, columns: Wanted | None, skip: bool | None = None, room: Room | None = None
) -> Columns:
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
    skip : bool, optional
        Whether rows that are no rating are left out; without it they are not, and the query is to do so.
    room : Room, optional
        What reading it may take; with it the columns are files.

    Raises
    ------
    DataError
        No such columns, columns of other types, a row without a value, no rows.
    """
    found = con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    names, types = [row[0] for row in found], [row[1].partition("(")[0] for row in found]
    places = _places(names, types, name, columns)
    for at in places[:2]:
        if types[at] in _WIDE and _is_beyond_64_bits(con, relation, identifier(names[at])):
            types[at] = "VARCHAR"
    if columns is None and places[3:] == (3,) and types[3] == "VARCHAR" and column_places(names)[3] != 3:
        usable = _converted("timestamp", identifier(names[3]), names[3], types[3], name)
        if con.execute(f"SELECT count({usable}) FROM {relation}").fetchone() == (0,):
            logger.info("%s: the fourth column, %s, is no timestamp and is left out.", name, names[3])
            places = places[:3]
    wanted = []
    for role, at in zip(ROLES, places, strict=False):
        wanted.append(f"{_converted(role, identifier(names[at]), names[at], types[at], name)} AS {role}")
    rows = f"(SELECT {', '.join(wanted)} FROM {relation})"
    texts = {}
    if room or any(types[at] not in NUMBERS for at in places[:2]):
        con.execute(f"CREATE OR REPLACE TEMP TABLE nnmf_parsed AS SELECT * FROM {rows}")
        rows = "temp.nnmf_parsed"
    for at, side in enumerate(ROLES[:2]):
        if types[places[at]] not in NUMBERS:
            texts[side] = number_texts(con, rows, side, f"{side} <> ''")
    stamp = "timestamp" if len(places) > 3 else ""

    def value_of(role: str) -> str | None:
        """The first value that is no usable one of its role."""
        at = places[ROLES.index(role)]
        value = identifier(names[at])
        usable = _converted(role, value, names[at], types[at], name)
        found = con.execute(
            f"SELECT CAST({value} AS VARCHAR) FROM {relation} WHERE ({usable}) IS NULL LIMIT 1"
        ).fetchone()
        return found[0] if found else None

    def check(n_rows: int, n_bad: int, first: int, role: str) -> None:
        """Refuse rows that are no ratings, the first of which lacks a role, unless they may be skipped; and no others."""
        if n_bad and not skip:
            way_out = "with a WHERE in the query" if skip is None else "with on_error='skip' (--on-error skip)"
            raise DataError(
                f"{name}: row {first + 1} has no usable {role}: {_reason(role, value_of(role))} ({n_bad} such rows in "
                f"all); mend them, or leave them out {way_out}."
            )
        if n_bad == n_rows:
            skipped = f", for all {n_bad} rows were skipped" if n_bad else ""
            raise DataError(
                f"{name}: holds no ratings{skipped}; give at least one row of user, item, rating[, timestamp]."
            )

    if room:
        return _streamed(Stream(room, con, rows, stamp), ROLES[: len(places)], texts, check)
    others = f"rating, {stamp}" if stamp else "rating"
    return _columns_of(*fetch_numbered(con, rows, [side in texts for side in ROLES[:2]], others), texts, name, check)


def _streamed(
    stream: Stream, roles: tuple[str, ...], texts: dict[str, Any], check: Callable[[int, int, int, str], None]
) -> Columns:
    """The columns of the table of a stream, in files."""
    no_rating = " OR ".join(f"{role} IS NULL" for role in roles)
    which = " ".join(f"WHEN {role} IS NULL THEN '{role}'" for role in roles)
    n_bad, first, role = stream.con.execute(
        f"SELECT count(*), min(rowid), arg_min(CASE {which} END, rowid) FROM {stream.source} WHERE {no_rating}"
    ).fetchone()
    check(stream.n_rows, n_bad, first or 0, role or "")
    found = stream.columns([texts.get("user"), texts.get("item")])
    assert found is not None
    return replace(found, n_skipped=n_bad)


def _columns_of(
    arrays: dict[str, np.ndarray],
    missing: dict[str, np.ndarray],
    texts: dict[str, Any],
    name: str,
    check: Callable[[int, int, int, str], None],
) -> Columns:
    bad = np.zeros(len(arrays["rating"]), bool)
    for mask in missing.values():
        bad |= mask
    n_bad = int(bad.sum())
    first = int(np.argmax(bad)) if n_bad else 0
    check(len(bad), n_bad, first, next((role for role, mask in missing.items() if mask[first]), ""))
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


def _is_beyond_64_bits(con: Any, relation: str, column: str) -> bool:
    """Whether integers of a column do not fit in 64 bits with a sign: as ids they are texts then, as in a file of text."""
    low, high = con.execute(f"SELECT min({column}), max({column}) FROM {relation}").fetchone()
    return low is not None and not -(2**63) <= low <= high < 2**63


def _reason(role: str, value: str | None) -> str:
    """What is wrong with a value, in words."""
    if value is None or not value.strip():
        return "it is missing"
    if role in ("user", "item"):
        return (
            f"{shown(value)} holds a NUL character"
            if "\0" in value
            else f"{shown(value)} is no whole number of 64 bits"
        )
    return f"{shown(value)} is no {'finite rating' if role == 'rating' else 'date or timestamp of 64 bits'}"


def _places(names: list[str], types: list[str], name: str, columns: Wanted | None) -> tuple[int, ...]:
    """Positions of user, item, rating and, where there is one, timestamp."""
    columns = by_position(columns, names)
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
    has_time = len(names) > 3 and (
        known[3] == 3 or types[3] in NUMBERS | {"VARCHAR"} or types[3].startswith(("TIMESTAMP", "DATE"))
    )
    return (0, 1, 2, 3) if has_time else (0, 1, 2)


def _converted(role: str, column: str, written: str, kind: str, name: str) -> str:
    """The SQL that brings a column to the type of its role; NULL where a value is none of it."""
    if role in ("user", "item"):
        if kind in INTEGERS:
            return f"TRY_CAST({column} AS BIGINT)"
        if kind in ("VARCHAR", "UUID", "ENUM"):
            text = f"CAST({column} AS VARCHAR)"
            return f"CASE WHEN trim({text}) <> '' AND NOT contains({text}, chr(0)) THEN {text} END"
        if kind in NUMBERS:
            return f"CASE WHEN {column} = floor({column}) AND abs({column}) < 9007199254740992 THEN CAST({column} AS BIGINT) END"
        raise DataError(f"{name}: the column {written!r} of {role} ids holds {kind}; give whole numbers or texts.")
    is_date = role == "timestamp" and kind.startswith(("TIMESTAMP", "DATE"))
    if kind not in NUMBERS | {"VARCHAR", "BOOLEAN", "ENUM", '"NULL"'} and not is_date:
        raise DataError(f"{name}: the column {written!r} of {role}s holds {kind}; give numbers.")
    if role == "rating":
        value = f"TRY_CAST({column} AS DOUBLE)"
        return f"CASE WHEN abs({value}) <= {LARGEST_RATING!r} THEN CAST({value} AS FLOAT) END"
    if is_date:
        return f"CAST(floor(epoch({column})) AS BIGINT)"
    if kind == "VARCHAR":
        return (
            f"coalesce(TRY_CAST({column} AS BIGINT), CAST(floor(epoch(TRY_CAST({column} AS TIMESTAMPTZ))) AS BIGINT))"
        )
    if kind in NUMBERS - INTEGERS:
        return f"TRY_CAST(trunc({column}) AS BIGINT)"
    return f"TRY_CAST({column} AS BIGINT)"
