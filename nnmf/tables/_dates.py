"""Dates as texts write them, and the whole seconds since 1970 (UTC) that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone

_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")
#: ways to write a date, with the formats of each as both `datetime.strptime` and DuckDB understand them
STYLES: dict[str, tuple[str, ...]] = {
    "year-month-day": (*(f"%Y-%m-%d{time}" for time in _TIMES), "%Y-%m-%d %H:%M:%S%z", "%Y-%m-%d %H:%M:%S.%f%z"),
    "year/month/day": tuple(f"%Y/%m/%d{time}" for time in _TIMES),
    "day.month.year": tuple(f"%d.%m.%Y{time}" for time in _TIMES),
    "month/day/year": tuple(f"%m/%d/%Y{time}" for time in _TIMES),
    "day/month/year": tuple(f"%d/%m/%Y{time}" for time in _TIMES),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SHAPE = re.compile(r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}([ T][0-9:.]+( ?(Z|[+-][0-9:]+))?)?", re.ASCII)


def seconds_of(text: str, style: str) -> int | None:
    """Whole seconds since 1970 of a date, in UTC where it names no zone; None where it is not written in this style."""
    if _SHAPE.fullmatch(text) is None:
        return None
    # Fractions of a second beyond a millionth are more than strptime reads.
    plain = re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text.replace("T", " "))
    plain = re.sub(r" (Z|[+-][0-9:]+)$", r"\1", plain)
    for written in STYLES[style]:
        try:
            date = datetime.strptime(plain, written)
        except ValueError:
            continue
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        return (date - _EPOCH) // (_EPOCH.replace(second=1) - _EPOCH)
    return None


def find_style(texts: Sequence[str]) -> str | None:
    """The first style in which all texts are dates."""
    return next((style for style in STYLES if all(seconds_of(text, style) is not None for text in texts)), None)
