"""Reading a text table by DuckDB: a row a line, so that DuckDB takes apart what is plain and Python reads the odd lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnmf.errors import DataError

from ._cache import Columns
from ._columns import is_whole
from ._duckdb import Room, fetch_numbered, number_texts
from ._head import Columns as Wanted
from ._head import Head, find_layout, looks_like_number
from ._ids import IdMap
from ._layout import ROLES, LineFault, OpenQuote, closes_quote, shown, split_line
from ._plain import BLANKS, USUAL_BLANKS, plain_rows
from ._streamed import Odd, Stream, numbered_texts
from ._texts import Texts

logger = logging.getLogger(__name__)

# Lines, blank ones aside, that are looked at to find the layout.
_HEAD_LINES = 200
# Bytes of a line; what is longer is no table of ratings.
LONGEST_LINE = 1 << 21
# Four bytes that stand together in no table: DuckDB is to give whole lines.
_NO_DELIMITER = "\x1e\x02\x1d\x03"
_ODD_ROWS = 10_000
# Of the table ``parsed``.
_LEFT = "SELECT line FROM parsed WHERE rating IS NULL ORDER BY rowid"
# Lines in which a field in quotes that runs over the end of its own is looked for: further below, quotes are others.
_QUOTED_LINES = 20


def lines_of(source: str, compression: str) -> str:
    """The SQL of a text's lines, a row each, in one column ``line``."""
    return (
        f"read_csv({source}, columns = {{'line': 'VARCHAR'}}, auto_detect = false, header = false, quote = '', "
        f"escape = '', comment = '', delim = '{_NO_DELIMITER}', compression = '{compression}', "
        f"max_line_size = {LONGEST_LINE})"
    )


class TextTable:
    """One table of text.

    Parameters
    ----------
    path : Path
        The file, for errors.
    con
        Connection of DuckDB that may read it.
    source : str
        The SQL literal that names the file, or the copy of it that DuckDB can read.
    compression : str
        As DuckDB calls it: "none", "gzip" or "zstd".
    not_text : frozenset of int
        The lines (from 0) that are not UTF-8; they stand escaped in the copy, with a NUL at the end.
    room : Room, optional
        What reading it may take; with it the columns are files.
    """

    def __init__(
        self,
        path: Path,
        con: Any,
        source: str,
        compression: str,
        not_text: frozenset[int] = frozenset(),
        room: Room | None = None,
    ) -> None:
        self.path, self.con, self.not_text, self.room = path, con, not_text, room
        self.lines = lines_of(source, compression)

    def read(self, delimiter: str | None, header: bool | None, columns: Wanted | None, skip: bool) -> Columns:
        """The table's columns; the arguments are those of `nnmf.tables.read_columns`.

        Raises
        ------
        DataError
            A malformed line, unless they may be skipped; no line that is not.
        """
        head = self._find_head(delimiter, header, columns)
        self.layout, self.quoted = head.layout, any('"' in line for _, line in self.head)
        self.guesses_header = header is None
        # Whether user and item ids are known to be no integers, as they are not in the first lines.
        mark = self.layout.delimiter
        inner = [blank for blank in USUAL_BLANKS if blank != mark]
        # Where the first lines have no blanks, a line that has one is left to Python.
        plain = mark == " " or not any(blank in line for _, line in self.head for blank in inner)
        self.blanks = "" if plain and not self.layout.keys else USUAL_BLANKS
        self.text_at_first = [not all(map(is_whole, texts)) for texts in self._head_ids()]
        as_text = list(self.text_at_first)
        # Half the memory of 64 bits, which are tried where these do not do.
        small = all(abs(int(text)) < 2**31 for texts in self._head_ids() for text in texts if is_whole(text))
        self.integer = "INTEGER" if small else "BIGINT"
        found = self._read(as_text, skip)
        while found is None:
            found = self._read(as_text, skip)
        return found

    def _find_head(self, delimiter: str | None, header: bool | None, columns: Wanted | None) -> Head:
        """The layout by the first lines that are not blank; notes them and where the ratings begin."""
        self.head = []
        for number, line in enumerate(self._first_lines()):
            if line is not None and line.strip():
                self.head.append((number, self._unmarked(number, line)))
            if len(self.head) == _HEAD_LINES:
                break
        if not self.head:
            raise self._empty()
        first = self.head[0][0]
        texts = [line for number, line in self.head if number not in self.not_text or number == first]
        try:
            head = find_layout(texts, delimiter, header, columns)
        except LineFault as fault:
            raise DataError(
                f"{self.path}, line {first + 1}: cannot read {shown(self.head[0][1])}: {fault}; "
                "name the columns userId, itemId and rating, or say which they are with columns={'user': ..., 'item': ..., 'rating': ...} "
                "(--columns user=...,item=...,rating=...)."
            ) from None
        self.start = first + (head.names is not None)
        if head.names is not None:
            logger.info("%s: line %d is a header: %s.", self.path, first + 1, ", ".join(head.names))
        if head.guesses:
            logger.info("%s: taken for likely: %s.", self.path, "; ".join(head.guesses))
        return head

    def _first_lines(self) -> Iterator[str | None]:
        # A few thousand at most: more blank lines than that stand above no table.
        for (line,) in self.con.execute(f"SELECT line FROM {self.lines} LIMIT 5000").fetchall():
            yield line

    def _head_ids(self) -> tuple[list[str], list[str]]:
        ids: tuple[list[str], list[str]] = ([], [])
        for number, line in self.head:
            if number >= self.start and number not in self.not_text:
                try:
                    user, item, *_ = self.layout.read(line)
                except LineFault:
                    continue
                ids[0].append(user)
                ids[1].append(item)
        return ids

    def _read(self, as_text: list[bool], skip: bool) -> Columns | None:
        """The columns; None where a side's ids turn out to be texts, which is then noted: it is to be read again."""
        query = plain_rows(self.layout, self.lines, as_text, self.integer, self.blanks, self.quoted)
        stamp = ", stamp" if len(self.layout.columns) > 3 else ""
        texts: list[Texts | None] = [None, None]
        source, left = f"({query})", f"SELECT line FROM ({query}) WHERE rating IS NULL"
        if any(as_text) or self.room:
            # Parsed once, then numbered: DuckDB writes to disk what memory does not hold.
            self.con.execute(
                f"CREATE OR REPLACE TEMP TABLE parsed AS SELECT user, item, rating{stamp}, "
                f"CASE WHEN rating IS NULL THEN line END AS line FROM {source}"
            )
            source, left = "parsed", _LEFT
        for at, side in enumerate(ROLES[:2]):
            if as_text[at]:
                texts[at] = known = number_texts(self.con, source, side, "rating IS NOT NULL")
                if self.blanks != BLANKS and not self.layout.keys and known.have_blank_ends():
                    self.blanks, as_text[:] = BLANKS, self.text_at_first
                    return None
        if self.room:
            return self._streamed(self.room, as_text, texts, skip)
        found, missing = fetch_numbered(self.con, source, as_text, f"rating{stamp}")
        odd_rows = missing.get("rating", np.zeros(0, bool))
        for at, side in enumerate(ROLES[:2]):
            if not as_text[at] and side in missing:
                no_number = missing[side] & ~odd_rows if len(odd_rows) else missing[side]
                if no_number[self.start :].any():
                    self._note_texts(as_text, at)
                    return None
        odd = self._read_odd(left, np.flatnonzero(odd_rows), skip)
        if self._are_texts(as_text, odd):
            return None
        return self._assembled(found, texts, odd_rows, odd)

    def _streamed(self, room: Room, as_text: list[bool], texts: list[Texts | None], skip: bool) -> Columns | None:
        """The columns of the table ``parsed``, in files; None as `_read`."""
        for at, side in enumerate(ROLES[:2]):
            query = (
                f"SELECT 1 FROM parsed WHERE rating IS NOT NULL AND {side} IS NULL AND rowid >= {self.start} LIMIT 1"
            )
            if not as_text[at] and self.con.execute(query).fetchone():
                self._note_texts(as_text, at)
                return None
        places = self.con.execute("SELECT rowid AS place FROM parsed WHERE rating IS NULL ORDER BY rowid").fetchnumpy()
        odd = self._read_odd(_LEFT, np.ma.getdata(places["place"]), skip)
        if self._are_texts(as_text, odd):
            return None
        stamp = "stamp" if len(self.layout.columns) > 3 else ""
        stream = Stream(room, self.con, "parsed", stamp, odd, self.start)
        found = stream.columns(texts)
        if found is None:
            raise odd.first_bad or self._empty()
        return replace(found, n_skipped=odd.n_bad + stream.n_within)

    def _note_texts(self, as_text: list[bool], at: int) -> None:
        """Note that ids of a side are no integers of the type that was tried: they are to be read again."""
        if self.integer == "BIGINT":
            as_text[at] = True
        self.integer = "BIGINT"

    def _are_texts(self, as_text: list[bool], odd: Odd) -> bool:
        """Whether a side's ids turn out to be texts by the lines that Python read, which is then noted."""
        before = list(as_text)
        for at in (0, 1):
            as_text[at] = as_text[at] or not all(map(is_whole, odd.ids[at]))
        return as_text != before

    # -- in Python ---------------------------------------------------------------------------------------------------
    def _read_odd(self, left: str, places: np.ndarray, skip: bool) -> Odd:
        """Read the lines that DuckDB left, which the SQL selects, at the given places, one by one."""
        odd = Odd()
        if not len(places):
            return odd
        rows = self.con.execute(left)
        at, opened = 0, None
        while lines := rows.fetchmany(_ODD_ROWS):
            for place, (line,) in zip(places[at : at + len(lines)].tolist(), lines, strict=True):
                if place < self.start or line is None or not line.strip():
                    continue
                line = self._unmarked(place, line)
                if opened is not None and '"' in line:
                    begin, opened = opened, None
                    if place - begin <= _QUOTED_LINES and closes_quote(line, self.layout):
                        odd.n_bad += 1
                        odd.within.append(slice(begin + 1, place))
                        continue
                try:
                    if place in self.not_text:
                        raise LineFault("not UTF-8 text")
                    user, item, rating, stamp = self.layout.read(line)
                    odd.place.append(place)
                    odd.ids[0].append(user)
                    odd.ids[1].append(item)
                    odd.rating.append(rating)
                    odd.stamp.append(stamp)
                except LineFault as fault:
                    opened = place if isinstance(fault, OpenQuote) else opened
                    odd.n_bad += 1
                    odd.first_bad = odd.first_bad or self._fault(place, line, fault)
                    if not skip:
                        raise odd.first_bad from None
            at += len(lines)
        return odd

    def _unmarked(self, place: int, line: str) -> str:
        """A line without the NUL that a copy has behind what is no text, so that DuckDB leaves it."""
        return line.removesuffix("\0") if place in self.not_text else line

    def _assembled(
        self, found: dict[str, np.ndarray], texts: list[Texts | None], odd_rows: np.ndarray, odd: Odd
    ) -> Columns:
        """The columns of all good lines, in the file's order."""
        place = np.array(odd.place, np.int64)
        rating = found["rating"]
        keep = ~odd_rows if len(odd_rows) else np.ones(len(rating), bool)
        keep[place] = True
        keep[: self.start] = False
        for lines in odd.within:
            odd.n_bad += int(keep[lines].sum())
            keep[lines] = False
        if not keep.any():
            raise odd.first_bad or self._empty()
        every = bool(keep.all())
        indices = []
        rating[place] = odd.rating
        if "stamp" in found:
            found["stamp"][place] = odd.stamp
        maps = []
        for at, (side, known) in enumerate(zip(ROLES[:2], texts, strict=True)):
            given = odd.ids[at]
            if known is None:
                if given and self.integer == "INTEGER":
                    found[side] = found[side].astype(np.int64)
                found[side][place] = list(map(int, given))
                ids, index = IdMap.number(found[side] if every else found[side][keep])
            else:
                ids, rank = numbered_texts(known, given)
                index = found[side].astype(np.int32)
                if rank is not None:
                    # What DuckDB has no code for stands under any, until it is set here or left out.
                    index = rank[np.clip(index, 0, len(known))]
                    index[place] = rank[len(known) :]
                ids, index = (ids, index) if every else ids.used(index[keep])
            del found[side]
            indices.append(index)
            maps.append(ids)
        stamp = found.get("stamp")
        if not every:
            rating, stamp = rating[keep], None if stamp is None else stamp[keep]
        return Columns(maps[0], maps[1], indices[0], indices[1], rating, stamp, odd.n_bad)

    def _empty(self) -> DataError:
        return DataError(
            f"{self.path}: holds no ratings; a table has one line a rating: user, item, rating[, timestamp]."
        )

    def _fault(self, place: int, line: str, fault: LineFault) -> DataError:
        ways = "mend the line, name the delimiter"
        if self.guesses_header and place == self.start == self.head[0][0] and not self.layout.keys:
            try:
                fields = split_line(line, self.layout.delimiter)
            except LineFault:
                fields = []
            if not any(looks_like_number(text) for text in fields):
                ways += ", pass header=True if it names the columns (--columns user=NAME,item=NAME,rating=NAME)"
        return DataError(
            f"{self.path}, line {place + 1}: cannot read {shown(line)}: {fault}, expected {self.layout}; "
            f"{ways}, or leave such lines out with on_error='skip' (--on-error skip)."
        )
