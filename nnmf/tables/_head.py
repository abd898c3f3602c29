"""Finding the layout of a text table by its first lines: delimiter, header, columns, decimal comma, dates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ._dates import find_style
from ._layout import ROLES, Layout, LineFault, number, split_line
from ._names import column_places

#: which columns hold what: positions, or names by role
Columns = Sequence[int] | Mapping[str, str]

#: what stands between two fields, in the order in which it is looked for
MARKS = ("::", "\t", ",", ";", "|", " ")
# Lines of an index column: fewer may be users that happen to be numbered from 0. (That they are, each with one rating and
# timestamps below a thousand, is rarer than a short table written with its index.)
_INDEX_LINES = 4


class Head(NamedTuple):
    """What the first lines tell.

    Attributes
    ----------
    layout : Layout
    names : list of str or None
        The names in the header; None where the first line is a rating.
    guesses : list of str
        What was taken for likely, a phrase each.
    """

    layout: Layout
    names: list[str] | None
    guesses: list[str]


def find_layout(lines: Sequence[str], delimiter: str | None, header: bool | None, columns: Columns | None) -> Head:
    """The layout of a table by its first lines.

    A header tells the layout; without one it is that of most of the lines which can be read, so that a first line that
    is odd is one fault, not the measure of all others.

    Parameters
    ----------
    lines : sequence of str
        The first lines of the table that are not blank, at least one.
    delimiter, header, columns
        What is known already; see `nnmf.tables.read_columns`.

    Raises
    ------
    LineFault
        A header that does not tell where user, item and rating are.
    """
    if delimiter is None and (names := _json_names(lines)) is not None:
        return _with_values(Layout("", 0, _columns_named(names, columns)), None, lines, columns is None, names)
    columns = by_position(columns, fields_of(lines[0], delimiter or first_mark(lines[0])))
    if isinstance(columns, Mapping):
        header = True  # a name is looked for in one
    places = None if columns is None or isinstance(columns, Mapping) else tuple(columns)
    marks = (delimiter,) if delimiter else MARKS
    votes = _votes(lines[header is not False :], marks, places)
    if header is not False:
        for mark in marks:
            names = fields_of(lines[0], mark)
            # A sentence may hold the names too: where other lines can be read, some have as many fields as a header.
            alike = header or not votes or any(len(fields_of(line, mark)) == len(names) for line in lines[1:])
            known = len(names) > 2 and alike and _is_header(names)
            if len(names) > 2 and not known and header is None and _is_foreign_header(names, mark, lines[1:]):
                found = _default_columns(len(names))
                guess = f"columns {', '.join(map(str, found))} hold {', '.join(ROLES[: len(found)])}"
                if places is None and names[0].strip() == "" and len(names) > 3:
                    found, guess = _default_columns(len(names) - 1, 1), "column 0 is an index"
                layout = Layout(mark, len(names), places or found)
                return _with_values(layout, names, lines[1:], places is None, guesses=() if places else (guess,))
            if known or (header and isinstance(columns, Mapping) and len(names) > 2):
                return _with_values(
                    Layout(mark, len(names), _columns_named(names, columns)), names, lines[1:], columns is None
                )
    if header is None:
        votes = _votes(lines, marks, places)
    if votes:
        (mark, n_fields), _ = votes.most_common(1)[0]  # the first of equals
    else:  # nothing can be read: what the first line is told to lack
        mark = delimiter or first_mark(lines[0])
        n_fields = max(len(fields_of(lines[0], mark)), max(places or (2,)) + 1)
    body, guesses = lines[bool(header) :], []
    found = places or _default_columns(n_fields)
    if places is None and _has_index(body, mark, n_fields):
        found, guesses = _default_columns(n_fields - 1, 1), ["column 0, which counts the lines from 0, is an index"]
    names_there = fields_of(lines[0], mark) if header else None
    return _with_values(Layout(mark, n_fields, found), names_there, body, places is None, guesses=guesses)


def _with_values(
    layout: Layout,
    names: list[str] | None,
    lines: Sequence[str],
    guessed: bool,
    keys: Sequence[str] = (),
    guesses: Sequence[str] = (),
) -> Head:
    """The head, with what the values of its lines tell: a decimal comma, dates."""
    if keys:
        layout = replace(layout, keys=tuple(keys[at] for at in layout.columns))
    rows, guesses = [], list(guesses)
    for line in lines:
        try:
            rows.append(layout.fields(line))
        except LineFault:
            continue
    ratings = [row[2] for row in rows]
    if layout.delimiter != "," and any("," in text for text in ratings):
        decimal = replace(layout, decimal_comma=True)
        if all(_reads(decimal, text) for text in ratings):
            layout = decimal
            guesses.append("ratings are written with a decimal comma")
    stamps = [row[3] for row in rows if len(row) > 3]
    if stamps and all(number(text) != number(text) for text in stamps) and (style := find_style(stamps)):
        layout = replace(layout, dates=style)
        guesses.append(f"timestamps are dates written as {style}, in UTC where they name no zone")
    elif stamps and guessed and not any(looks_like_number(text) or find_style([text]) for text in stamps):
        layout = replace(layout, columns=layout.columns[:3], keys=layout.keys[:3])
        guesses.append("the fourth of them is no timestamp and is left out")
    return Head(layout, names, guesses)


def _reads(layout: Layout, rating: str) -> bool:
    try:
        layout._rating(rating)
    except LineFault:
        return False
    return True


def _json_names(lines: Sequence[str]) -> list[str] | None:
    """The names of the first object where lines are JSON, else None."""
    if not lines[0].lstrip().startswith("{"):
        return None
    for line in lines:
        try:
            members = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(members, dict):
            return list(members)
    return None


def _votes(lines: Sequence[str], marks: tuple[str, ...], places: tuple[int, ...] | None) -> Counter[tuple[str, int]]:
    """How many lines can be read with each delimiter and number of fields."""
    votes: Counter[tuple[str, int]] = Counter()
    for line in lines:
        for mark in marks:
            if _can_be_read(line, mark, places):
                votes[mark, len(fields_of(line, mark))] += 1
                break
    return votes


def _can_be_read(line: str, mark: str, places: tuple[int, ...] | None) -> bool:
    n_fields = len(fields_of(line, mark))
    found = places or _default_columns(n_fields)
    for comma in (False, True)[: 1 + (mark != ",")]:
        for at in (found, found[:3]):  # without the timestamp: it may be a date
            try:
                user, item, *_ = Layout(mark, n_fields, at, decimal_comma=comma).read(line)
            except LineFault:
                continue
            if len(at) < len(found) and find_style([fields_of(line, mark)[found[3]].strip()]) is None:
                continue
            return bool(user and item)
    return False


def fields_of(text: str, mark: str) -> list[str]:
    """The fields of a line; none where it cannot be taken apart."""
    try:
        return split_line(text, mark)
    except LineFault:
        return []


def first_mark(text: str) -> str:
    """The first of the delimiters that are looked for which a line holds."""
    return next((mark for mark in MARKS if mark in text), "\t")


def _default_columns(n_fields: int, first: int = 0) -> tuple[int, ...]:
    return tuple(range(first, first + (4 if n_fields > 3 else 3)))


def _is_header(names: list[str]) -> bool:
    """Whether a first line names the columns: the rating's known name, or two others, and no number among them."""
    places = column_places(names)
    if places[2] is None and len(places) - places.count(None) < 2:
        return False
    return not any(looks_like_number(name) for name in names)


def _is_foreign_header(names: list[str], mark: str, lines: Sequence[str]) -> bool:
    """Whether a first line of unknown names stands above numbers: in every column but at most the last."""
    rows = [fields for line in lines if len(fields := fields_of(line, mark)) == len(names)]
    if not rows or any(looks_like_number(name) for name in names) or len(set(names)) < len(names):
        return False
    first = int(names[0].strip() == "" and len(names) > 3)
    return all(looks_like_number(text.replace(",", ".")) for row in rows for text in row[first : first + 3])


def _has_index(lines: Sequence[str], mark: str, n_fields: int) -> bool:
    """Whether the first of four or five columns counts the lines, and the fourth can be a rating."""
    rows = [fields_of(line, mark) for line in lines]
    if n_fields not in (4, 5) or len(rows) < _INDEX_LINES or any(len(row) != n_fields for row in rows):
        return False
    counted = [row[0].strip() for row in rows] == list(map(str, range(len(rows))))
    # Timestamps are larger than ratings.
    return counted and all(abs(number(row[3])) <= 1000 for row in rows)


def looks_like_number(text: str) -> bool:
    """Whether a field is a number or was meant as one, as "nan" is."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def by_position(columns: Columns | None, names: Sequence[str]) -> Columns | None:
    """Columns by name as positions where all their names are numbers, as a command line gives them, and none of ``names``."""
    if not isinstance(columns, Mapping) or set(columns.values()) & set(names):
        return columns
    if not all(name.isascii() and name.isdecimal() for name in columns.values()):
        return columns
    return tuple(int(columns[role]) for role in ROLES if role in columns)


def _columns_named(names: list[str], columns: Columns | None) -> tuple[int, ...]:
    if isinstance(columns, Mapping):
        for role, name in columns.items():
            if name not in names:
                raise LineFault(f"there is no column {name!r} for the {role}; the columns are {', '.join(names)}")
        return tuple(names.index(columns[role]) for role in ROLES if role in columns)
    if columns is not None:
        if max(columns) >= len(names):
            raise LineFault(f"the header names {len(names)} columns, and position {max(columns)} is wanted")
        return tuple(columns)
    user, item, rating, timestamp = column_places(names)
    # Names that are not known are taken for user, item and rating in this order only where the others do not gainsay it.
    found = tuple(default if place is None else place for default, place in enumerate((user, item, rating)))
    if None in (user, item, rating) and (found != (0, 1, 2) or timestamp in found):
        missing = " and ".join(role for role, at in zip(ROLES, (user, item, rating), strict=False) if at is None)
        raise LineFault(f"the header has no known name for the column of {missing}s")
    return found if timestamp is None else (*found, timestamp)
