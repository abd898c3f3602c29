"""A column of what is known about users or items: numbers, or words (a category, or a list of them); which it is, and what it holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmf.errors import ConfigError, DataError, one_of

from ._ids import IdMap
from ._layout import LONGEST_ID, number, shown
from ._texts import Texts

logger = logging.getLogger(__name__)

NUMBER, CATEGORY, LIST = KINDS = ("number", "category", "list")
#: what stands between the entries of a list
LIST_MARK = "|"
# Numbers that are not more than these are taken for names of categories.
_FEW = 20
_NO_NUMBER = {"", "nan", "na", "n/a", "null", "none"}


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number a row: ``value`` is float64 of shape (n,), NaN where it is missing."""

    name: str
    value: np.ndarray

    kind = NUMBER

    def shown(self) -> np.ndarray:
        """The values, as they are."""
        return self.value


@dataclass(frozen=True, eq=False)
class Words:
    """A category a row, or a list of them.

    Attributes
    ----------
    name, kind : str
    words : IdMap
        The distinct ones, ascending.
    starts : int64 array of shape (n + 1,)
        Where the entries of each row begin, and the end; a row without any is missing.
    code : int32 array of shape (n_entries,)
        Indices into ``words``, each once a row.
    """

    name: str
    kind: str
    words: IdMap
    starts: np.ndarray
    code: np.ndarray

    def shown(self) -> np.ndarray:
        """A text or None a row, or a tuple of texts: array of objects (n,)."""
        entry = self.words.ids[self.code].tolist() if len(self.code) else []
        rows = np.empty(len(self.starts) - 1, object)
        for row, (low, high) in enumerate(zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)):
            rows[row] = tuple(entry[low:high]) if self.kind == LIST else entry[low] if high > low else None
        return rows


Column = Numbers | Words


def column_of(table: str, name: str, values: Any, kind: str | None) -> Column | None:
    """A column of values; None for one of long texts, which are no categories.

    Parameters
    ----------
    table, name : str
        How errors and the log call it.
    values : array of shape (n,)
    kind : str or None
        None: found out, see `nnmf.tables.Features.from_arrays`.

    Raises
    ------
    ConfigError
        A kind that there is not.
    DataError
        A value that is not of the kind, an infinite number.
    """
    what = f"{table}: {name}"
    if kind is not None and kind not in KINDS:
        raise ConfigError(one_of(kind, KINDS, f"kinds: {name}") + ".")
    if values.ndim != 1:
        raise DataError(f"{what}: expected one column, got an array of shape {values.shape}.")
    as_numbers = _numbers_of(values)
    if as_numbers is not None and kind in (None, NUMBER):
        _check_finite(as_numbers, what)
        there = np.unique(as_numbers[~np.isnan(as_numbers)])
        if kind == NUMBER or len(there) > _FEW:
            return Numbers(name, as_numbers)
    if as_numbers is not None:
        return _words(name, kind or CATEGORY, *_texts_of_numbers(as_numbers if values.dtype.kind != "i" else values))
    texts, holds_lists = _texts_of(values, what)
    distinct, index = IdMap.number_texts(Texts.of(texts, what))
    if np.diff(distinct.to_arrays()["start"]).max(initial=0) > LONGEST_ID:
        if kind is None:
            logger.info("%s holds texts of more than %d characters and is left out.", what, LONGEST_ID)
            return None
        raise DataError(f"{what}: holds a text of more than {LONGEST_ID} characters; leave the column out.")
    known = [text.strip() for text in distinct.ids.tolist()]
    if kind in (None, NUMBER) and not holds_lists:
        found = np.array([number(text) for text in known], np.float64)
        bad = np.isnan(found) & np.array([text.lower() not in _NO_NUMBER for text in known], bool)
        if kind == NUMBER and bad.any():
            row = int(np.argmax(bad[index]))
            raise DataError(f"{what}: row {row + 1} holds {shown(known[index[row]])}, which is no number; mend it.")
        # Codes, as of places, are written with leading zeros.
        bad |= np.array([text[:1] == "0" and text[1:2].isdecimal() for text in known], bool)
        if kind == NUMBER or (not bad.any() and len(np.unique(found[~np.isnan(found)])) > _FEW):
            _check_finite(found[index], what)
            return Numbers(name, found[index])
    is_list = holds_lists or any(LIST_MARK in text for text in known)
    return _words(name, kind or (LIST if is_list else CATEGORY), known, index)


def _check_finite(values: np.ndarray, what: str) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise DataError(f"{what}: row {row + 1} holds {values[row]}; give finite numbers, leave missing ones empty.")


def _numbers_of(values: np.ndarray) -> np.ndarray | None:
    """The values as float64, NaN for missing ones; None where they are no numbers."""
    if values.dtype.kind in "fiu":
        return values.astype(np.float64)
    if values.dtype.kind != "O":
        return None
    there = [value for value in values.tolist() if not _is_missing(value)]
    if not there or any(isinstance(value, (str, bool)) or not hasattr(value, "__float__") for value in there):
        return None
    if any(np.ndim(value) for value in there):
        return None
    return np.array([np.nan if _is_missing(value) else float(value) for value in values.tolist()], np.float64)


def _texts_of_numbers(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Numbers as categories: the text of each distinct one, "" for missing ones, and the index of every row's."""
    distinct, index = np.unique(values, return_inverse=True)
    texts = [str(int(v)) if v == np.floor(v) else "" if np.isnan(v) else repr(float(v)) for v in distinct]
    return texts, index


def _texts_of(values: np.ndarray, what: str) -> tuple[list[str], bool]:
    """The values as texts, "" for missing ones, and whether some are lists."""
    if values.dtype.kind == "M":
        return ["" if text == "NaT" else text for text in values.astype("datetime64[D]").astype(str).tolist()], False
    if values.dtype.kind not in "OUTbS":
        raise DataError(f"{what}: holds {values.dtype}; give numbers, texts or lists of texts.")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    rows = values.tolist()
    kinds = set(map(type, rows))
    if kinds <= {str}:
        return rows, False
    holds_lists = any(issubclass(kind, (list, tuple, set, frozenset, np.ndarray)) for kind in kinds)
    return [_text_of(value, what) for value in rows], holds_lists


def _text_of(value: Any, what: str) -> str:
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        entries = ["" if _is_missing(entry) else str(entry) for entry in value]
        if any(LIST_MARK in entry for entry in entries):
            raise DataError(
                f"{what}: the list {value!r} has an entry with a {LIST_MARK}, which parts entries; rename it."
            )
        return LIST_MARK.join(entries)
    return "" if _is_missing(value) else str(value)


def _is_missing(value: Any) -> bool:
    # pandas' own marks answer neither yes nor no to a comparison.
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _words(name: str, kind: str, texts: Sequence[str], index: np.ndarray) -> Words:
    """The column whose rows hold, by their index, the given texts."""
    if kind == LIST:
        entries = [list(dict.fromkeys(filter(None, map(str.strip, text.split(LIST_MARK))))) for text in texts]
    else:
        entries = [[text] if text else [] for text in texts]
    flat = np.array([entry for row in entries for entry in row], object)
    words, code = IdMap.number_texts(Texts.of(flat))
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(list(map(len, entries)), out=starts[1:])
    at, row_starts = gathered(starts, index)
    return Words(name, kind, words, row_starts, code[at])


def gathered(starts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the entries of some rows, one behind the other: their positions, and where each row's begin; -1 is an empty row."""
    low = starts[rows]
    count = np.where(rows < 0, 0, starts[rows + 1] - low)
    found = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(count, out=found[1:])
    return np.arange(found[-1]) + np.repeat(low - found[:-1], count), found
