"""`IdMap`: the ids that stand in a file, and the 0-based indices the tables are addressed with.

Here too: the checks of the columns that callers give, of ids (`as_ids`), numbers and timestamps.
"""

from __future__ import annotations

from datetime import date, timezone
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError

#: index that marks an id the map does not hold
UNKNOWN = -1

# A dense lookup table is used while it is at most this many times as long as the ids themselves (or small outright):
# it turns a search of log2(n) steps an id into one memory read.
_DENSE_FACTOR, _DENSE_MIN, _LOOK_UP_MIN = 8, 1 << 20, 1 << 23


def as_ids(values: Any, what: str = "id") -> np.ndarray:
    """Ids as a 1-d array of integers (of 32 or 64 bits with a sign) or of `str`.

    Args:
        values: array-like of shape (n,): integers, whole floats (what pandas makes of a column with gaps), strings or
            bytes of UTF-8.
        what: how an error names the column.

    Raises:
        DataError: a missing, fractional or otherwise unusable id; the sentence names its position and value.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{what}: expected one column of ids, got an array of shape {array.shape}.")
    if array.dtype.kind in "iu":
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise DataError(f"{what}: {array.max()} does not fit in 64 bits with a sign; pass such ids as strings.")
        # Narrow ones are widened: the span between two of them does not fit their own type.
        return array if array.dtype.kind == "i" and array.itemsize >= 4 else array.astype(np.int64)
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array) | (array != np.floor(array)) | (np.abs(array) > 2.0**53)
        if bad.any():
            at = int(np.argmax(bad))
            raise DataError(f"{what}: row {at} holds {array[at]!r}, which is no id; ids are whole numbers or strings.")
        return array.astype(np.int64)
    if array.dtype.kind == "O":
        for at, value in enumerate(array):
            if not isinstance(value, (str, int, np.integer)) or isinstance(value, bool):
                raise DataError(f"{what}: row {at} holds {value!r}, which is no id; ids are whole numbers or strings.")
        whole = all(isinstance(value, (int, np.integer)) for value in array)
        try:
            return array.astype(np.int64 if whole and array.size else str)
        except OverflowError:
            return array.astype(str)
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{what}: {error.object!r} is not UTF-8 text; decode the ids to strings first.") from None
    if array.dtype.kind == "U":
        return array
    if array.size == 0:
        return array.astype(np.int64)
    raise DataError(f"{what}: ids are whole numbers or strings, got an array of {array.dtype}.")


def as_column(values: npt.ArrayLike, dtype: Any, what: str) -> np.ndarray:
    """A column of numbers in the given type; an error names the first entry that is no finite number."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{what}: expected one column, got an array of shape {array.shape}.")
    if array.dtype.kind not in "fiub":
        try:
            if array.dtype.kind not in "OSU":  # dates and complex numbers would be turned into something
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise DataError(
                f"{what}: expected numbers, got {array.dtype} (first entry {array[:1].tolist()})."
            ) from None
    bad = ~(np.abs(array) <= np.finfo(np.float32).max)  # NaN too
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(f"{what}: entry {at} is {array[at]}; give finite numbers of 32 bits, drop or mend such rows.")
    return array.astype(dtype)


def as_seconds(values: npt.ArrayLike, what: str) -> np.ndarray:
    """Timestamps in whole seconds as int64, of numbers or of dates; an error names the first that is neither."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{what}: expected one column, got an array of shape {array.shape}.")
    if array.dtype.kind == "O" and array.size and all(isinstance(value, date) for value in array):
        array = np.array([_without_zone(value) for value in array], "datetime64[s]")
    if array.dtype.kind == "M":
        bad, seconds = np.isnat(array), array.astype("datetime64[s]")
    elif array.dtype.kind == "i":
        return array.astype(np.int64)
    else:
        try:
            if array.dtype.kind not in "fubOSU":
                raise TypeError
            # Objects and texts may be integers that a float does not hold.
            seconds = array if array.dtype.kind in "fub" else array.astype(np.int64)
        except (TypeError, ValueError, OverflowError):
            seconds = as_column(array, np.float64, what)
        bad = ~((seconds >= -(2.0**63)) & (seconds < 2.0**63))  # NaN too
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(f"{what}: entry {at} is {array[at]}; give whole seconds of 64 bits, drop or mend such rows.")
    return seconds.astype(np.int64)


def _without_zone(value: Any) -> Any:
    """A date as NumPy takes it: in UTC, without saying so; pandas' NaT, the one that is unlike itself, as NumPy's."""
    if value != value:
        return np.datetime64("NaT")
    return value.astimezone(timezone.utc).replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


class IdMap:
    """Immutable one-to-one map between ids and indices 0 .. n-1.

    Attributes:
        ids: array of shape (n,), int64 or `str`, read-only; ``ids[index]`` is the id of an index.

    Args:
        ids: distinct ids, in the order of their indices.

    Raises:
        DataError: an id that stands there twice, or no usable id.
    """

    def __init__(self, ids: npt.ArrayLike) -> None:
        array = as_ids(ids)
        self.ids: np.ndarray = array.astype(np.int64) if array.dtype.kind == "i" else array.copy()
        self.ids.flags.writeable = False
        if len(self.ids) > np.iinfo(np.int32).max:
            raise DataError(f"{len(self.ids)} ids are more than an index of 32 bits can number.")
        ordered = self.ids[self._order] if self._order is not None else self.ids
        twice = ordered[1:] == ordered[:-1]
        if twice.any():
            raise DataError(f"id {ordered[1:][twice][0].item()!r} stands twice in the id map.")

    @classmethod
    def number(cls, values: np.ndarray) -> tuple[IdMap, np.ndarray]:
        """Number the distinct values in ascending order: the map, and the int32 index (n,) of every value."""
        values = as_ids(values)
        span = _dense_span(values)
        if span is not None:
            low, high = span
            present = np.zeros(high - low + 1, bool)
            offset = _above(values, low, high) if low else values
            present[offset] = True
            index = (np.cumsum(present, dtype=np.int32) - np.int32(1))[offset]
            return cls(np.flatnonzero(present) + low), index
        unique, index = np.unique(values, return_inverse=True)
        return cls(unique), index.astype(np.int32)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.ids.flags.writeable = False  # a copy and an unpickled array are writeable

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, IdMap)
            and self.ids.dtype.kind == other.ids.dtype.kind
            and np.array_equal(self.ids, other.ids)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"IdMap({len(self)} ids)"

    @cached_property
    def _order(self) -> np.ndarray | None:
        """Positions that sort the ids, or None while they are ascending as they stand."""
        ascending = len(self.ids) < 2 or bool((self.ids[1:] > self.ids[:-1]).all())
        return None if ascending else np.argsort(self.ids, kind="stable")

    @cached_property
    def _table(self) -> tuple[np.ndarray, int] | None:
        """(index by id - low with one guard cell at the end, low), where that is small enough."""
        # Made once for many look-ups, so worth more memory than a table for numbering.
        span = _dense_span(self.ids, least=_LOOK_UP_MIN)
        if span is None:
            return None
        low, high = span
        table = np.full(high - low + 2, UNKNOWN, np.int32)
        table[self.ids - low] = np.arange(len(self.ids), dtype=np.int32)
        return table, low

    def _coerce(self, values: npt.ArrayLike) -> np.ndarray:
        """The asked ids in the map's own kind; ids of the other kind that cannot be read so become no id at all."""
        wanted = as_ids(np.atleast_1d(np.asarray(values)))
        if wanted.dtype.kind == self.ids.dtype.kind or len(self.ids) == 0:
            return wanted
        if self.ids.dtype.kind == "U":
            return wanted.astype(str)
        absent = int(self.ids.max()) + 1  # not in the map
        if absent > np.iinfo(np.int64).max:
            absent = int(self.ids.min()) - 1
        try:
            return wanted.astype(np.int64)
        except (ValueError, OverflowError):
            whole = [int(text) if text.strip().lstrip("+-").isdecimal() else absent for text in wanted.tolist()]
            inside = [value if abs(value) < 2**63 else absent for value in whole]
            return np.array(inside, np.int64)

    def index(self, ids: npt.ArrayLike) -> np.ndarray:
        """Index of each id, `UNKNOWN` (-1) for those the map does not hold: int32 array of shape (n,)."""
        wanted = self._coerce(ids)
        if len(self.ids) == 0 or len(wanted) == 0:
            return np.full(len(wanted), UNKNOWN, np.int32)
        if self._table is not None and wanted.dtype.kind == "i":
            table, low = self._table
            high = low + len(table) - 2
            inside = (wanted >= low) & (wanted <= high)
            # An id outside the table reads the guard cell at its end.
            found: np.ndarray = table[np.where(inside, _above(wanted, low, high), len(table) - 1)]
            return found
        place = np.searchsorted(self.ids, wanted, sorter=self._order)
        place = np.minimum(place, len(self.ids) - 1)
        if self._order is not None:
            place = self._order[place]
        return np.where(self.ids[place] == wanted, place, UNKNOWN).astype(np.int32)

    def at(self, index: np.ndarray) -> np.ndarray:
        """Ids of indices, -1 or "" where an index is -1."""
        nobody = np.array(["" if self.ids.dtype.kind == "U" else -1], self.ids.dtype)
        return np.concatenate([self.ids, nobody])[index]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The ids as numeric arrays, which `from_arrays` reads."""
        if self.ids.dtype.kind == "i":
            return {"id": self.ids}
        texts = [text.encode() for text in self.ids.tolist()]
        start = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)]).astype(np.int64)
        return {"text": np.frombuffer(b"".join(texts), np.uint8), "start": start}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> IdMap:
        """The map that `to_arrays` gave."""
        if "id" in arrays:
            return cls(arrays["id"])
        text, start = arrays["text"].tobytes(), arrays["start"].tolist()
        return cls(np.array([text[a:b].decode() for a, b in pairwise(start)], str))

    def extend(self, ids: npt.ArrayLike) -> IdMap:
        """A map that also holds the given ids: those not yet known get the next indices, in ascending order."""
        if (kind := as_ids(ids).dtype.kind) != self.ids.dtype.kind and len(self.ids):
            words = {"i": "whole numbers", "U": "strings"}
            raise DataError(
                f"new ids are {words[kind]}, those known are {words[self.ids.dtype.kind]}; give the same kind."
            )
        wanted = self._coerce(ids)
        new = np.unique(wanted[self.index(wanted) == UNKNOWN])
        return IdMap(np.concatenate([self.ids, new])) if len(new) else self


def _dense_span(ids: np.ndarray, least: int = _DENSE_MIN) -> tuple[int, int] | None:
    """Lowest and highest id where a table over their range is small enough to be worth it."""
    if ids.dtype.kind != "i" or len(ids) == 0:
        return None
    low, high = int(ids.min()), int(ids.max())
    return (low, high) if high - low < max(least, _DENSE_FACTOR * len(ids)) else None


def _above(ids: np.ndarray, low: int, high: int) -> np.ndarray:
    """``ids - low``, right for ids from low to high: in 64 bits where the ids' own type may not hold it."""
    return np.subtract(ids, low, dtype=ids.dtype if high - low < 2**31 and abs(low) < 2**31 else np.int64)
