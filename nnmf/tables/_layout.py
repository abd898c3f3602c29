"""The layout of a text table: what stands between its fields, how many there are, which hold what; and reading one line."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass

import numpy as np

from ._dates import seconds_of

ROLES = ("user", "item", "rating", "timestamp")
# A character that no table holds: stands in for a delimiter of two characters, which csv cannot take.
_STAND_IN = "\x1f"
#: characters an id may have; what is longer is a fault of its line, mostly a quote or a line end gone astray
LONGEST_ID = 1000
#: largest rating; NaN and infinity are not below it
LARGEST_RATING = float(np.finfo(np.float32).max)

_INTEGER = re.compile(r"[+-]?[0-9]+")
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+(,[0-9]+)?")


class LineFault(ValueError):
    """A line that cannot be read; the text says what is wrong with it."""


class OpenQuote(LineFault):
    """A line that ends within a field in quotes."""


@dataclass(frozen=True)
class Layout:
    """How a line is taken apart.

    This reading of one line is what a table means; DuckDB's of a file must agree with it wherever it succeeds.

    Attributes
    ----------
    delimiter : str
        What stands between two fields; a space stands for any run of whitespace.
    n_fields : int
        Fields of every line.
    columns : tuple of int
        Positions of user, item, rating and, where there is one, timestamp.
    keys : tuple of str
        The names of these columns where every line is a JSON object; empty for other tables.
    decimal_comma : bool
        Whether ratings are written with a comma for the point.
    dates : str or None
        The style in which timestamps are written, of `nnmf.tables._dates.STYLES`; None for numbers.
    """

    delimiter: str
    n_fields: int
    columns: tuple[int, ...]
    keys: tuple[str, ...] = ()
    decimal_comma: bool = False
    dates: str | None = None

    def __str__(self) -> str:
        roles = ", ".join(ROLES[: len(self.columns)])
        if self.keys:
            return f"a JSON object with {roles} named {', '.join(self.keys)}"
        places = ", ".join(map(str, self.columns))
        end = f", dates as {self.dates}" if self.dates else ""
        return f"{self.n_fields} fields separated by {self.delimiter!r} with {roles} at positions {places}{end}"

    def read(self, text: str) -> tuple[str, str, float, int | None]:
        """User id, item id, rating and timestamp of a line.

        Raises
        ------
        LineFault
            It has no such four, or three.
        """
        user, item, rating, *stamp = self.fields(text)
        return user, item, self._rating(rating), self._seconds(stamp[0]) if stamp else None

    def fields(self, text: str) -> list[str]:
        """The texts of a line's user, item, rating and, where the table has one, timestamp."""
        if self.keys:
            wanted = _members(text, self.keys)
        else:
            fields = split_line(text, self.delimiter)
            if len(fields) != self.n_fields or self.n_fields <= max(self.columns):
                pair = "; a table needs a rating behind user and item, such as 1" if len(fields) == 2 else ""
                raise LineFault(f"found {len(fields)} field{'s' * (len(fields) != 1)}{pair}")
            wanted = [fields[at] for at in self.columns]
        # Blanks of a text in quotes belong to an id.
        wanted[2:] = [value.strip() for value in wanted[2:]]
        for role, value in zip(ROLES, wanted, strict=False):
            if not value.strip():
                raise LineFault(f"the {role} is missing")
            if len(value) > LONGEST_ID:
                raise LineFault(f"the {role} has more than {LONGEST_ID} characters")
            if "\r" in value or "\n" in value:
                raise LineFault(f"a line break stands within the {role}")
            if "\0" in value:
                raise LineFault(f"a NUL character stands within the {role}")
            if _HALF_A_PAIR.search(value):
                raise LineFault(f"half of a surrogate pair, which is no Unicode text, stands within the {role}")
        return wanted

    def _rating(self, text: str) -> float:
        if self.decimal_comma:
            rating = number(text.replace(",", ".")) if _DECIMAL_COMMA.fullmatch(text) else float("nan")
        else:
            rating = number(text)
        if not abs(rating) <= LARGEST_RATING:  # NaN too
            raise LineFault(f"{text!r} is no finite rating")
        return rating

    def _seconds(self, text: str) -> int:
        if self.dates:
            found = seconds_of(text, self.dates)
            if found is None:
                raise LineFault(f"{text!r} is no date written as {self.dates}")
            return found
        # Not by way of a float, which loses the last digits of nanoseconds.
        seconds = int(text) if _INTEGER.fullmatch(text) else number(text)
        if not -(2**63) <= seconds < 2**63:
            raise LineFault(f"{text!r} is no timestamp of 64 bits")
        return int(seconds)


def _members(text: str, keys: tuple[str, ...]) -> list[str]:
    """The values of a JSON object by their names, as texts; numbers as they are written."""
    try:
        members = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise LineFault("not a JSON object") from None
    if not isinstance(members, dict):
        raise LineFault("not a JSON object")
    values = []
    for role, key in zip(ROLES, keys, strict=False):
        value = members.get(key)
        if value is not None and not isinstance(value, (str, bool)):
            raise LineFault(f"the {role} {key!r} is neither a text nor a number")
        values.append("" if value is None else value if isinstance(value, str) else json.dumps(value))
    return values


def split_line(text: str, delimiter: str) -> list[str]:
    """The fields of a line, which may stand in double quotes; blanks around a field are none of it, those in quotes are.

    Raises
    ------
    OpenQuote
        A quote that is not closed within the line.
    LineFault
        A line break within the line.
    """
    text = text.strip("\r\n")
    if '"' not in text:
        return text.split() if delimiter == " " else [field.strip() for field in text.split(delimiter)]
    mark = delimiter
    if len(delimiter) > 1:
        if _STAND_IN in text:
            return [field.strip() for field in text.split(delimiter)]
        text, mark = text.replace(delimiter, _STAND_IN), _STAND_IN
    elif delimiter == " ":
        text = text.replace("\t", " ").strip()
    try:
        # An open quote takes in the line after it.
        fields, *rest = csv.reader([text, ""], delimiter=mark, skipinitialspace=mark == " ")
    except csv.Error as error:
        raise LineFault(str(error)) from None
    if not rest:
        raise OpenQuote("a quoted field runs over the end of its line, which is not read here")
    if mark == " ":
        return fields
    # The csv module does not tell which fields stood in quotes.
    written = re.finditer(rf'(?:^|{re.escape(mark)})(?:(")(?:[^"]|"")*"?)?[^{re.escape(mark)}]*', text)
    fields = [field if found[1] else field.strip() for field, found in zip(fields, written, strict=True)]
    return [field.replace(_STAND_IN, delimiter) for field in fields] if len(delimiter) > 1 else fields


def closes_quote(text: str, layout: Layout) -> bool:
    """Whether a line can be the end of a field in quotes that began in a line before."""
    if text.count('"') % 2 == 0 or layout.keys:
        return False
    try:
        split_line(text, layout.delimiter)
    except OpenQuote:
        return False
    except LineFault:
        pass
    return True


def number(text: str) -> float:
    """The number a text is, or NaN; without the underscores that Python reads and others do not."""
    try:
        return float("nan" if "_" in text else text)
    except ValueError:
        return float("nan")


def shown(text: str) -> str:
    """A line or field as an error shows it."""
    text = text.strip("\r\n")
    return repr(text if len(text) <= 80 else text[:77] + "...")
