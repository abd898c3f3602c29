"""The layout of a text table: what stands between its fields, how many there are, which hold what; and reading one line."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROLES = ("user", "item", "rating", "timestamp")
# A character that no table holds: stands in for a delimiter of two characters, which neither NumPy nor csv can take.
STAND_IN = "\x1f"
# A longer id is a fault of its line: one such id would make every other of its column as wide in memory.
LONGEST_ID = 1000
# Largest rating; NaN and infinity are not below it.
LARGEST_RATING = float(np.finfo(np.float32).max)

_DELIMITERS = ("::", "\t", ",", ";", "|", " ")
# Names that a header may give the columns, without case, spaces, "_" and "-"; in the order of `ROLES`.
_KNOWN_NAMES = (
    {"user", "userid", "uid", "reviewerid", "customerid"},
    {"item", "itemid", "iid", "movie", "movieid", "book", "bookid", "isbn", "asin", "product", "productid", "artistid"},
    {"rating", "ratings", "score", "stars", "bookrating", "movierating"},
    {"timestamp", "time", "ts", "unixtime"},
)
_INTEGER = re.compile(r"[+-]?[0-9]+")


class LineFault(ValueError):
    """A line that cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True)
class Layout:
    """How a line is taken apart.

    This reading of one line is what a table means; NumPy's of a block must agree with it wherever it succeeds.

    Attributes:
        delimiter: what stands between two fields; a space stands for any run of whitespace.
        n_fields: fields of every line.
        columns: positions of user, item, rating and, where there is one, timestamp.
    """

    delimiter: str
    n_fields: int
    columns: tuple[int, ...]

    def __str__(self) -> str:
        roles, places = ", ".join(ROLES[: len(self.columns)]), ", ".join(map(str, self.columns))
        return f"{self.n_fields} fields separated by {self.delimiter!r} with {roles} at positions {places}"

    def read(self, line: bytes) -> tuple[str, str, float, int | None]:
        """User id, item id, rating and timestamp of a line.

        Raises:
            LineFault: it has no such four, or three.
        """
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise LineFault("not UTF-8 text") from None
        return _values(split_line(text, self.delimiter), self.n_fields, self.columns)


def find_layout(
    lines: Sequence[bytes], delimiter: str | None, header: bool | None, columns: tuple[int, ...] | None
) -> tuple[Layout, list[str] | None]:
    """The layout of a table by its first lines, and the names in its header (None where the first line is a rating).

    A header tells the layout; without one it is that of most of the lines which can be read, so that a first line that
    is odd is one fault, not the measure of all others.

    Args:
        lines: the first lines of the table that are not blank, at least one.
        delimiter, header, columns: what is known already; see `nnmf.readers.read_columns`.

    Raises:
        LineFault: a header that does not tell where user, item and rating are.
    """
    texts = [line.decode("utf-8", "replace") for line in lines]
    marks = (delimiter,) if delimiter else _DELIMITERS
    votes = _votes(texts[header is not False :], marks, columns)
    if header is not False:
        for mark in marks:
            names = _fields(texts[0], mark)
            # A sentence may hold the names too: where other lines can be read, some have as many fields as a header.
            alike = header or not votes or any(len(_fields(text, mark)) == len(names) for text in texts[1:])
            if len(names) > 2 and _is_header(names) and alike:
                return Layout(mark, len(names), _columns_named(names, columns)), names
    if header is None:
        votes = _votes(texts, marks, columns)
    if votes:
        (mark, n_fields), _ = votes.most_common(1)[0]  # the first of equals
    else:  # nothing can be read: what the first line is told to lack
        mark = delimiter or first_mark(texts[0])
        n_fields = max(len(_fields(texts[0], mark)), max(columns or (2,)) + 1)
    layout = Layout(mark, n_fields, columns or _default_columns(n_fields))
    return layout, _fields(texts[0], mark) if header else None


def _votes(texts: list[str], marks: tuple[str, ...], columns: tuple[int, ...] | None) -> Counter[tuple[str, int]]:
    """How many lines can be read with each delimiter and number of fields."""
    votes: Counter[tuple[str, int]] = Counter()
    for text in texts:
        for mark in marks:
            fields = _fields(text, mark)
            try:
                _values(fields, len(fields), columns or _default_columns(len(fields)))
            except LineFault:
                continue
            votes[mark, len(fields)] += 1
            break
    return votes


def split_line(text: str, delimiter: str) -> list[str]:
    """The fields of a line, which may stand in double quotes.

    Raises:
        LineFault: a quote that is not closed within the line, or a line break within it.
    """
    text = text.strip("\r\n")
    if '"' not in text:
        return text.split() if delimiter == " " else text.split(delimiter)
    mark = delimiter
    if len(delimiter) > 1:
        if STAND_IN in text:
            return text.split(delimiter)
        text, mark = text.replace(delimiter, STAND_IN), STAND_IN
    elif delimiter == " ":
        text = text.replace("\t", " ").strip()
    try:
        # An open quote takes in the line after it.
        fields, *rest = csv.reader([text, ""], delimiter=mark, skipinitialspace=mark == " ")
    except csv.Error as error:
        raise LineFault(str(error)) from None
    if not rest:
        raise LineFault("a quote is not closed")
    return [field.replace(STAND_IN, delimiter) for field in fields] if len(delimiter) > 1 else fields


def is_whole(text: str) -> bool:
    """Whether an id is read as an integer of 64 bits."""
    return len(text) <= LONGEST_ID and _INTEGER.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63


def _values(fields: list[str], n_fields: int, columns: tuple[int, ...]) -> tuple[str, str, float, int | None]:
    if len(fields) != n_fields or n_fields <= max(columns):
        raise LineFault(f"found {len(fields)} field{'s' * (len(fields) != 1)}")
    wanted = [fields[at].strip() for at in columns]
    for role, text in zip(ROLES, wanted, strict=False):
        if text == "":
            raise LineFault(f"the {role} is missing")
        if len(text) > LONGEST_ID:
            raise LineFault(f"the {role} has more than {LONGEST_ID} characters")
        if "\r" in text:
            raise LineFault(f"a line break stands within the {role}")
    rating = _number(wanted[2])
    if not abs(rating) <= LARGEST_RATING:  # NaN too
        raise LineFault(f"{wanted[2]!r} is no finite rating")
    if len(columns) == 3:
        return wanted[0], wanted[1], rating, None
    stamp = wanted[3]
    # Not by way of a float, which loses the last digits of nanoseconds.
    seconds = int(stamp) if _INTEGER.fullmatch(stamp) else _number(stamp)
    if not -(2**63) <= seconds < 2**63:
        raise LineFault(f"{stamp!r} is no timestamp of 64 bits")
    return wanted[0], wanted[1], rating, int(seconds)


def _number(text: str) -> float:
    """The number a text is, or NaN; without the underscores that Python reads and NumPy does not."""
    try:
        return float("nan" if "_" in text else text)
    except ValueError:
        return float("nan")


def _fields(text: str, mark: str) -> list[str]:
    try:
        return split_line(text, mark)
    except LineFault:
        return []


def first_mark(text: str) -> str:
    return next((mark for mark in _DELIMITERS if mark in text), "\t")


def _default_columns(n_fields: int) -> tuple[int, ...]:
    return (0, 1, 2, 3) if n_fields > 3 else (0, 1, 2)


def column_places(names: list[str]) -> list[int | None]:
    """Position of the column of each of `ROLES`, None for those that no known name stands for."""
    # RecBole's headers carry a type behind a colon.
    plain = [re.sub(r"[\s_-]", "", name.partition(":")[0]).lower() for name in names]
    return [next((at for at, name in enumerate(plain) if name in known), None) for known in _KNOWN_NAMES]


def _is_header(names: list[str]) -> bool:
    """Whether a first line names the columns: the rating's known name, or two others, and no number among them."""
    places = column_places(names)
    if places[2] is None and len(places) - places.count(None) < 2:
        return False
    return not any(looks_like_number(name) for name in names)


def looks_like_number(text: str) -> bool:
    """Whether a field is a number or was meant as one, as "nan" is."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns_named(names: list[str], columns: tuple[int, ...] | None) -> tuple[int, ...]:
    if columns is not None:
        if max(columns) >= len(names):
            raise LineFault(f"the header names {len(names)} columns, and position {max(columns)} is wanted")
        return columns
    user, item, rating, timestamp = column_places(names)
    # Names that are not known are taken for user, item and rating in this order only where the others do not gainsay it.
    found = tuple(default if place is None else place for default, place in enumerate((user, item, rating)))
    if None in (user, item, rating) and (found != (0, 1, 2) or timestamp in found):
        missing = " and ".join(role for role, at in zip(ROLES, (user, item, rating), strict=False) if at is None)
        raise LineFault(f"the header has no known name for the column of {missing}s")
    return found if timestamp is None else (*found, timestamp)
