"""The checks of columns that callers give: ids (`as_ids`), numbers (`as_column`) and timestamps (`as_seconds`)."""

from __future__ import annotations

import re
from datetime import date, timezone
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError

from ._dates import find_style, seconds_of

_WHOLE = re.compile("0|-?[1-9][0-9]{0,18}")


def is_whole(text: str) -> bool:
    """Whether a text is an integer of 64 bits as it is written: no leading zero, plus sign, blank or other digits."""
    return _WHOLE.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63


def as_ids(values: Any, what: str = "id") -> np.ndarray:
    """Ids as a column of integers (of 32 or 64 bits with a sign) or of texts.

    Parameters
    ----------
    values : array-like, shape (n,)
        Integers, whole floats (what pandas makes of a column with gaps), strings, UUIDs or bytes of UTF-8.
    what : str
        How an error names the column.

    Returns
    -------
    ids : array of shape (n,)
        int32, int64, `str`, or objects that are all `str` (which take the memory they fill, not that of the longest).

    Raises
    ------
    DataError
        A missing, fractional or otherwise unusable id; the sentence names its position and value.
    """
    array = as_array(values, what)
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
        return _ids_of_objects(array, what)
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{what}: {error.object!r} is not UTF-8 text; decode the ids to strings first.") from None
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "T":  # NumPy 2's own texts of any length
        return array.astype(object)
    if array.size == 0:
        return array.astype(np.int64)
    raise DataError(f"{what}: ids are whole numbers or strings, got an array of {array.dtype}.")


def as_array(values: Any, what: str = "id") -> np.ndarray:
    """The values as an array; a list of strings as one of objects, each in its own memory."""
    if isinstance(values, (list, tuple)) and set(map(type, values)) == {str}:
        return np.array(values, object)
    return unmasked(values, what)


def unmasked(values: Any, what: str) -> np.ndarray:
    """The values as an array; a masked one would be whatever lies beneath its mask, and is refused."""
    if isinstance(values, np.ma.MaskedArray) and (mask := np.ma.getmaskarray(values)).any():
        raise DataError(f"{what}: entry {int(mask.argmax())} is masked; leave such rows out.")
    return np.asarray(values)


def _ids_of_objects(array: np.ndarray, what: str) -> np.ndarray:
    kinds = set(map(type, array.tolist()))
    usable = {kind for kind in kinds if issubclass(kind, (str, int, np.integer, UUID)) and kind is not bool}
    if kinds - usable:
        at, value = next((at, value) for at, value in enumerate(array) if type(value) not in usable)
        raise DataError(f"{what}: row {at} holds {value!r}, which is no id; ids are whole numbers or strings.")
    if array.size == 0 or all(issubclass(kind, str) for kind in kinds):
        return array
    if not any(issubclass(kind, (str, UUID)) for kind in kinds):
        try:
            return array.astype(np.int64)
        except OverflowError:
            pass
    texts = np.empty(len(array), object)
    texts[:] = list(map(str, array.tolist()))
    return texts


def as_column(values: npt.ArrayLike, dtype: Any, what: str) -> np.ndarray:
    """A column of numbers in the given type; an error names the first entry that is no finite number."""
    array = unmasked(values, what)
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
    array = unmasked(values, what)
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
            if array.dtype.kind in "OU" and (dates := _dates_of(array, what)) is not None:
                return dates
            # Objects and texts may be integers that a float does not hold.
            seconds = array if array.dtype.kind in "fub" else array.astype(np.int64)
        except (TypeError, ValueError, OverflowError):
            seconds = as_column(array, np.float64, what)
        bad = ~((seconds >= -(2.0**63)) & (seconds < 2.0**63))  # NaN too
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(f"{what}: entry {at} is {array[at]}; give whole seconds of 64 bits, drop or mend such rows.")
    return seconds.astype(np.int64)


def _dates_of(array: np.ndarray, what: str) -> np.ndarray | None:
    """The seconds of dates written as texts; None where they are other things."""
    texts = list(map(str.strip, array.tolist())) if set(map(type, array.tolist())) <= {str} else []
    # The first of them says whether they are dates, a few of them in which style.
    style = find_style(texts[:200]) if texts and find_style(texts[:1]) else None
    if style is None:
        return None
    seconds = {text: seconds_of(text, style) for text in set(texts)}
    for at, text in enumerate(texts):
        if seconds[text] is None:
            raise DataError(f"{what}: entry {at} is {text!r}, no date written as {style}; mend it or pass datetimes.")
    return np.array([seconds[text] for text in texts], np.int64)


def _without_zone(value: Any) -> Any:
    """A date as NumPy takes it: in UTC, without saying so; pandas' NaT, the one that is unlike itself, as NumPy's."""
    if value != value:
        return np.datetime64("NaT")
    return value.astimezone(timezone.utc).replace(tzinfo=None) if getattr(value, "tzinfo", None) else value
