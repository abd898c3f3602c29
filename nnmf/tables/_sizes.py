"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def size_of(text: str) -> int | None:
    """The bytes that a text such as 500MB or 2GiB says; None for another text."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?) ?([kmgt]|[kmg]i)?b?", text.strip().lower())
    return None if found is None else int(float(found[1]) * _UNITS[found[2] or ""])
