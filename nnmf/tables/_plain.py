"""The SQL that reads the plain lines of a text table, whatever its layout, and leaves the others to Python."""

from __future__ import annotations

from ._dates import STYLES
from ._duckdb import literal
from ._layout import LARGEST_RATING, LONGEST_ID, ROLES, Layout

#: blanks at the ends of fields that DuckDB finds three times slower than nothing
USUAL_BLANKS = " \t"
#: all that Python's strip takes from the ends of a text, which takes DuckDB 20 times as long
BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())


def plain_rows(layout: Layout, lines: str, as_text: list[bool], integer: str, blanks: str, quoted: bool) -> str:
    """A query for a row a line: ids, timestamp, and the rating, which is NULL where the line is left to Python.

    Parameters
    ----------
    layout : Layout
    lines : str
        Where the column ``line`` comes from.
    as_text : list of bool
        Of users and of items, whether ids are texts; those of integers are NULL where one is none.
    integer : str
        The type of the integers.
    blanks : str
        What is taken from the ends of fields; where that is nothing, lines that hold the usual blanks are left.
    quoted : bool
        Whether fields in quotes are read too.
    """
    fields, plain = _split(layout, quoted, blanks)
    inner = [f"{value} AS {role}_text" for value, role in zip(fields, (*ROLES[:3], "stamp"), strict=False)]
    outer, good = [], ["plain"]
    for side, text in zip(ROLES[:2], as_text, strict=True):
        good.append(f"strlen({side}_text) BETWEEN 1 AND {LONGEST_ID}")
        if quoted or layout.keys:  # nothing but blanks is no id, though they belong to one in quotes
            good.append(f"(regexp_matches({side}_text, '^[!-~]') OR trim({side}_text, {literal(BLANKS)}) <> '')")
        if layout.keys:  # JSON's large numbers lose their digits
            good.append(f"NOT regexp_full_match({side}_text, '-?[0-9.]+[eE][-+]?[0-9]+')")
        number = f"TRY_CAST({side}_text AS {integer})"
        outer.append(
            f"{side}_text AS {side}"
            if text
            else f"CASE WHEN CAST({number} AS VARCHAR) = {side}_text THEN {number} END AS {side}"
        )
    rating = "replace(rating_text, ',', '.')" if layout.decimal_comma else "rating_text"
    if layout.decimal_comma:
        good.append("regexp_full_match(rating_text, '[+-]?[0-9]+(,[0-9]+)?')")
    good += ["NOT contains(rating_text, '_')", f"abs(value) <= {LARGEST_RATING!r}"]
    if len(fields) > 3:
        good.append("stamp IS NOT NULL")
        inner.append(f"{_seconds(layout)} AS stamp")
        outer.append("stamp")
    return (
        f"SELECT line, {', '.join(outer)}, CASE WHEN {' AND '.join(good)} THEN CAST(value AS FLOAT) END AS rating FROM "
        f"(SELECT *, TRY_CAST({rating} AS DOUBLE) AS value FROM (SELECT line, {plain} AS plain, {', '.join(inner)} FROM "
        f"(SELECT line, {_fields(layout)} AS f FROM {lines})))"
    )


def _fields(layout: Layout) -> str:
    """The SQL that takes a line apart into a list."""
    if layout.keys:
        paths = ", ".join(
            literal("$." + '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"') for key in layout.keys
        )
        return f"CASE WHEN json_valid(line) THEN json_extract_string(line, [{paths}]) END"
    if layout.delimiter == " ":
        return "string_split_regex(trim(line, ' \t'), '[ \t]+')"
    return f"string_split(line, {literal(layout.delimiter)})"


def _split(layout: Layout, quoted: bool, blanks: str) -> tuple[list[str], str]:
    """The SQL of the wanted fields of the list ``f``, and of whether the line is plain: surely read as Python does."""
    plain = ["NOT contains(line, chr(0))"]
    if layout.keys:
        # Whether a text is an object or a text that looks like one, Python sees.
        plain += ["NOT contains(line[2:], '{')", "NOT contains(line, '[')"]
        # Halves of pairs and NULs, as JSON escapes them.
        plain.append(r"(NOT contains(line, '\u') OR NOT regexp_matches(line, '\\u(0000|d[89a-f])', 'i'))")
        values = [f"f[{at + 1}]" for at in range(len(layout.keys))]
        return [*values[:2], *(f"trim({value}, {literal(blanks)})" for value in values[2:])], " AND ".join(plain)
    fields = [f"f[{at + 1}]" for at in layout.columns]
    if blanks:
        fields = [f"trim({text}, {literal(blanks)})" for text in fields]
    elif layout.delimiter != " ":
        plain += [f"NOT contains(line, '{blank}')" for blank in USUAL_BLANKS if blank != layout.delimiter]
    plain.append(f"len(f) = {layout.n_fields}" if layout.n_fields > max(layout.columns) else "false")
    if layout.delimiter == " ":
        plain.append(r"NOT regexp_matches(line, '[^\t -~]')")
    if quoted and len(layout.delimiter) == 1 and layout.delimiter != " ":
        mark = rf"\x{{{ord(layout.delimiter):x}}}"
        one = rf'("[^"{mark}]*"|[^"{mark}]*)'
        whole = one + f"({mark}{one})" + f"{{{layout.n_fields - 1}}}"
        plain.append(f"(NOT contains(line, '\"') OR regexp_full_match(line, {literal(whole)}, 's'))")
        fields = [f"replace({text}, '\"', '')" for text in fields]
    else:
        plain.append("NOT contains(line, '\"')")
    return fields, " AND ".join(plain)


def _seconds(layout: Layout) -> str:
    """The SQL of whole seconds; NULL where Python is to look."""
    if layout.dates is None:
        whole = "TRY_CAST(stamp_text AS BIGINT)"
        return f"CASE WHEN CAST({whole} AS VARCHAR) = stamp_text THEN {whole} END"
    formats = ", ".join(map(literal, STYLES[layout.dates]))
    return f"CAST(floor(epoch(try_strptime(replace(stamp_text, 'T', ' '), [{formats}]))) AS BIGINT)"
