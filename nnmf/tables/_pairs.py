"""Reading (user id, item id) pairs block by block, so that a file or a pipe of any length needs the memory of a block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import IO, Any, NamedTuple

from nnmf.errors import DataError

from ._columns import is_whole
from ._head import first_mark
from ._layout import LONGEST_ID, LineFault, shown, split_line
from ._names import column_places
from ._readers import MAGIC, universal_lines


class Pairs(NamedTuple):
    """A block of pairs.

    Attributes
    ----------
    line : list of int
        Where each stands, from 1.
    user_id, item_id : list of int or str
    """

    line: list[int]
    user_id: list[int | str]
    item_id: list[int | str]


class PairReader:
    """Pairs of ids, one a line.

    What stands between two fields is found out from the first line: ``::``, a tab, ``,``, ``;``, ``|`` or spaces. A first
    line that names a user and an item column says where the ids stand, else they are the first two fields; further
    columns are ignored, blank lines skipped.

    DuckDB takes no part: it reads neither a pipe that is open already nor in blocks that can be answered while the next
    is awaited.

    Parameters
    ----------
    file : binary file
        Where lines come from.
    name : str
        What errors call it.
    whole_ids : tuple of bool
        Of users and of items, whether their ids must be whole numbers.
    n_lines : int
        Lines of a block.
    """

    def __init__(self, file: IO[bytes], name: str, whole_ids: tuple[bool, bool], n_lines: int = 1 << 16) -> None:
        self.file, self.name, self.whole_ids, self.n_lines = file, name, whole_ids, n_lines
        self.delimiter: str | None = None
        self.n_fields, self.at = 0, (0, 1)

    def blocks(self) -> Iterator[Pairs]:
        """Block after block of pairs, in their order.

        Raises
        ------
        DataError
            A line that is no pair, with its number; no pair at all.
        """
        n_lines, found = 0, False
        # The first line comes alone: it tells how the others are read.
        source = universal_lines(self.file, self.name)
        while lines := list(islice(source, self.n_lines if self.delimiter else 1)):
            block = self._plain_block(lines, n_lines + 1) or self._block(lines, n_lines + 1)
            n_lines += len(lines)
            if block.line:
                found = True
                yield block
        if not found:
            raise DataError(f"{self.name}: holds no pairs; give a user id and an item id a line.")

    def _plain_block(self, lines: list[bytes], first: int) -> Pairs | None:
        """What `_block` answers, five times as fast, for lines without quotes, blanks, signs or faults; None for others."""
        if self.delimiter is None:
            return None
        try:
            text = b"\n".join(lines).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if '"' in text or "\0" in text:
            return None
        rows = [line.split(None if self.delimiter == " " else self.delimiter) for line in text.split("\n")]
        if set(map(len, rows)) != {self.n_fields}:
            return None
        columns: list[list[Any]] = []
        for at, whole in zip(self.at, self.whole_ids, strict=True):
            ids = [fields[at].strip() for fields in rows]
            if not 0 < min(map(len, ids)) <= max(map(len, ids)) <= (18 if whole else LONGEST_ID):
                return None
            digits = "".join(ids) if whole else "0"
            if not (digits.isascii() and digits.isdecimal()):
                return None
            if whole and any(text[0] == "0" and len(text) > 1 for text in ids):
                return None
            columns.append(list(map(int, ids)) if whole else ids)
        return Pairs(list(range(first, first + len(rows))), *columns)

    def _block(self, lines: list[bytes], first: int) -> Pairs:
        block = Pairs([], [], [])
        for number, line in enumerate(lines, first):
            if (fields := self._fields(line, number)) is not None:
                block.line.append(number)
                block.user_id.append(self._id(fields, 0, number))
                block.item_id.append(self._id(fields, 1, number))
        return block

    def fault(self, number: int, what: str) -> DataError:
        """The error that a line is to blame for."""
        return DataError(f"{self.name}, line {number}: {what}")

    def _fields(self, line: bytes, number: int) -> list[str] | None:
        """A line's fields; None for an empty line and the header."""
        if self.delimiter is None and line.lstrip().startswith((*MAGIC, b"{")):
            raise DataError(
                f"{self.name}: is compressed, Parquet or JSON, and pairs are plain text; write them as lines of user id, "
                "item id (of a compressed file: unpack it, and pipe it into --pairs -)."
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise self.fault(number, f"{line[:60]!r} is not UTF-8 text.") from None
        if not text.strip():
            return None
        first = self.delimiter is None
        if self.delimiter is None:
            self.delimiter = first_mark(text)
        try:
            fields = split_line(text, self.delimiter)
        except LineFault as fault:
            raise self.fault(number, f"{fault} in {shown(text)}.") from None
        if first:
            self.n_fields = max(2, len(fields))
            if self._is_header(fields):
                return None
        if len(fields) != self.n_fields:
            raise self.fault(
                number,
                f"cannot read {shown(text)} as {self.n_fields} fields separated by {self.delimiter!r}: user id, item id"
                + (" and others." if self.n_fields > 2 else "."),
            )
        return fields

    def _is_header(self, fields: list[str]) -> bool:
        """Whether the fields name a user and an item column; if so, those are where ids are read."""
        user, item, *_ = column_places(fields)
        if user is None or item is None:
            return False
        self.at = user, item
        return True

    def _id(self, fields: list[str], side: int, number: int) -> int | str:
        text = fields[self.at[side]]
        if len(text) > LONGEST_ID:  # one would make every other of its column as wide in memory
            raise self.fault(number, f"the {('user', 'item')[side]} id has more than {LONGEST_ID} characters.")
        if "\0" in text:
            raise self.fault(number, f"the {('user', 'item')[side]} id {shown(text)} holds a NUL character.")
        if self.whole_ids[side] and is_whole(text):
            return int(text)
        if self.whole_ids[side] or not text.strip():
            wanted = "a whole number, as the model's ids are" if self.whole_ids[side] else "an id"
            raise self.fault(number, f"the {('user', 'item')[side]} id is {shown(text)} instead of {wanted}.")
        return text
