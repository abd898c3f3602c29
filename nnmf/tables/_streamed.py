"""Reading a table that memory may not hold: DuckDB parses it under a limit, and its columns go to files block after block."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnmf.errors import DataError
from nnmf.files import BLOCK, Spill, walk

from ._cache import Columns
from ._duckdb import Room, fetch_numbered
from ._ids import UNKNOWN, IdMap
from ._texts import Texts

logger = logging.getLogger("nnmf")

_LOG_SECONDS = 10.0


@dataclass
class Odd:
    """What Python read of the lines that DuckDB left: good ones with their places in the file, and the bad."""

    place: list[int] = field(default_factory=list)
    ids: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    rating: list[float] = field(default_factory=list)
    stamp: list[int | None] = field(default_factory=list)
    n_bad: int = 0
    first_bad: DataError | None = None
    #: lines that stand within a field in quotes
    within: list[slice] = field(default_factory=list)


class Stream:
    """What a table of DuckDB is written to files by.

    Parameters
    ----------
    room : Room
    con
        The connection.
    source : str
        The table, each row at its place; a row with a NULL is left out unless it is among the odd ones.
    stamp : str
        The name of its column of timestamps, or "".
    odd : Odd, optional
    start : int
        Rows above it are left out.
    """

    def __init__(
        self, room: Room, con: Any, source: str, stamp: str = "", odd: Odd | None = None, start: int = 0
    ) -> None:
        self.room, self.con, self.source, self.stamp, self.odd, self.start = room, con, source, stamp, odd, start
        self.n_rows = int(con.execute(f"SELECT count(*) FROM {source}").fetchone()[0])
        self._place = np.array(odd.place if odd else [], np.int64)
        #: rows within the spans of the odd that look like ratings
        self.n_within = 0

    def columns(self, texts: list[Texts | None]) -> Columns | None:
        """The columns, in files; None where no row is a rating.

        Parameters
        ----------
        texts : list of Texts or None
            Of users and of items, the texts that `number_texts` gave numbers to; None where ids are whole numbers.
        """
        maps, ranks = zip(
            *(self._numbered(at, side, texts[at]) for at, side in enumerate(("user", "item"))), strict=True
        )
        dtypes = {"user": np.int32, "item": np.int32, "rating": np.float32} | (
            {"stamp": np.int64} if self.stamp else {}
        )
        spills = {name: Spill(self.room.folder, dtype) for name, dtype in dtypes.items()}
        present = [np.zeros(len(ids) + 1, bool) for ids in maps]
        logged = time.monotonic()
        for low in range(0, self.n_rows, BLOCK):
            found = self._block(low, maps, ranks, texts)
            for side, name in zip(present, ("user", "item"), strict=True):
                side[found[name]] = True
            for name, spill in spills.items():
                spill.append(found[name])
            if time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                logger.info("%s of %s rows are written.", f"{low + BLOCK:,}", f"{self.n_rows:,}")
        columns = {name: spill.column() for name, spill in spills.items()}
        if not len(columns["rating"]):
            return None
        users, items = (
            self._used(ids, side[:-1], columns, name)
            for ids, side, name in zip(maps, present, ("user", "item"), strict=True)
        )
        return Columns(users, items, columns["user"], columns["item"], columns["rating"], columns.get("stamp"))

    def _numbered(self, at: int, side: str, known: Texts | None) -> tuple[IdMap, np.ndarray | None]:
        """The map of a side's ids, and, of texts, what `numbered_texts` ranks them by."""
        given = self.odd.ids[at] if self.odd else []
        if known is not None:
            return numbered_texts(known, given)
        found = self.con.execute(
            f"SELECT DISTINCT {side} AS id FROM {self.source} WHERE {side} IS NOT NULL ORDER BY id"
        ).fetchnumpy()["id"]
        numbers = np.ma.getdata(found).astype(np.int64)
        return IdMap.of_distinct(np.union1d(numbers, np.array(list(map(int, given)), np.int64))), None

    def _block(
        self, low: int, maps: tuple[IdMap, ...], ranks: tuple[np.ndarray | None, ...], texts: list[Texts | None]
    ) -> dict[str, np.ndarray]:
        """The columns of the ratings among the rows from ``low`` on."""
        wanted = f"rating, {self.stamp} AS stamp" if self.stamp else "rating"
        found, missing = fetch_numbered(
            self.con, self.source, [known is not None for known in texts], wanted, (low, low + BLOCK)
        )
        keep = np.ones(len(found["rating"]), bool)
        for mask in missing.values():
            keep &= ~mask
        first, last = np.searchsorted(self._place, [low, low + BLOCK])
        here = self._place[first:last] - low
        keep[here] = True
        keep[: max(0, self.start - low)] = False
        for at, (side, ids, rank) in enumerate(zip(("user", "item"), maps, ranks, strict=True)):
            known = texts[at]
            if known is None:
                found[side] = ids.index(found[side])
                if self.odd:
                    found[side][here] = ids.index(np.array(list(map(int, self.odd.ids[at][first:last])), np.int64))
            elif rank is not None:
                found[side] = rank[np.clip(found[side], 0, len(known))]
                found[side][here] = rank[len(known) + first : len(known) + last]
        if self.odd:
            found["rating"][here] = self.odd.rating[first:last]
            if self.stamp:
                found["stamp"][here] = self.odd.stamp[first:last]
            for lines in self.odd.within:
                inside = keep[max(0, lines.start - low) : max(0, lines.stop - low)]
                self.n_within += int(inside.sum())
                inside[:] = False
        return {name: column[keep] for name, column in found.items()}

    def _used(self, ids: IdMap, present: np.ndarray, columns: dict[str, np.ndarray], name: str) -> IdMap:
        """The map of the ids that are left; a column of others is numbered anew."""
        if present.all():
            return ids
        rows = np.flatnonzero(present)
        table = np.full(len(ids), UNKNOWN, np.int32)
        table[rows] = np.arange(len(rows), dtype=np.int32)
        spill = Spill(self.room.folder, np.int32)
        for (part,) in walk(columns[name]):
            spill.append(table[part])
        columns[name] = spill.column()
        return ids.used(rows)[0]


def numbered_texts(known: Texts, given: list[str]) -> tuple[IdMap, np.ndarray | None]:
    """The map of distinct texts in ascending order and of others, and the index of each, the others behind; None as it stands."""
    if not given:
        return IdMap.of_distinct(known), None
    return IdMap.number_texts(known.joined(Texts.of(given)))
