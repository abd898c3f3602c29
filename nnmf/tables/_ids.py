"""`IdMap`: the ids that stand in a file, and the 0-based indices the tables are addressed with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import DataError

from ._columns import as_array, as_ids, is_whole
from ._dense import above, dense_span
from ._texts import Texts, checked_texts, distinct_texts

#: index that marks an id the map does not hold
UNKNOWN = -1

# Of a table for looking up, which is made once for many look-ups: worth more memory than one for numbering.
_LOOK_UP_MIN = 1 << 23


class IdMap:
    """Immutable one-to-one map between ids and indices 0 .. n-1.

    An id is what stands in the file: "1" and "01" are two. Text ids are kept as bytes, so a long one costs its own
    memory alone.

    Parameters
    ----------
    ids : array-like, shape (n,)
        Distinct ids, in the order of their indices.

    Raises
    ------
    DataError
        An id that stands there twice, or no usable id.
    """

    def __init__(self, ids: npt.ArrayLike) -> None:
        array = as_ids(ids)
        self._hold(array.astype(np.int64) if array.dtype.kind == "i" else Texts.of(array, "ids"))
        self._check_distinct()

    @classmethod
    def of_distinct(cls, ids: np.ndarray | Texts) -> IdMap:
        """A map of ids that are known to be distinct."""
        found = cls.__new__(cls)
        found._hold(ids)
        return found

    def _hold(self, ids: np.ndarray | Texts) -> None:
        if len(ids) > np.iinfo(np.int32).max:
            raise DataError(f"{len(ids)} ids are more than an index of 32 bits can number.")
        self._ids = ids
        if isinstance(ids, np.ndarray):
            ids.flags.writeable = False

    def _check_distinct(self) -> None:
        if isinstance(self._ids, Texts):
            _, _, index, texts = distinct_texts(self._ids)
            if len(texts) < len(self):
                again = np.flatnonzero(np.bincount(index) > 1)[0]
                raise DataError(f"id {texts.take(np.array([again])).strings()[0].item()!r} stands twice in the id map.")
            return
        ordered = self._ids[self._order] if self._order is not None else self._ids
        twice = ordered[1:] == ordered[:-1]
        if twice.any():
            raise DataError(f"id {ordered[1:][twice][0].item()!r} stands twice in the id map.")

    @classmethod
    def number(cls, values: npt.ArrayLike, what: str = "ids") -> tuple[IdMap, np.ndarray]:
        """Number the distinct values in ascending order.

        Parameters
        ----------
        values : array-like, shape (n,)
        what : str
            How an error names the column.

        Returns
        -------
        ids : IdMap
        index : int32 array of shape (n,)
            The index of every value.
        """
        values = as_ids(values, what)
        if values.dtype.kind != "i":
            return cls.number_texts(Texts.of(values, what))
        span = dense_span(values)
        if span is not None:
            low, high = span
            present = np.zeros(high - low + 1, bool)
            offset = above(values, low, high) if low else values
            present[offset] = True
            index = (np.cumsum(present, dtype=np.int32) - np.int32(1))[offset]
            return cls.of_distinct(np.flatnonzero(present) + low), index
        unique, index = np.unique(values, return_inverse=True)
        return cls.of_distinct(unique.astype(np.int64)), index.astype(np.int32)

    @classmethod
    def number_texts(cls, texts: Texts) -> tuple[IdMap, np.ndarray]:
        """As `number`, of texts that are in this form already."""
        _, _, index, distinct = distinct_texts(texts)
        order = distinct.order()
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return cls.of_distinct(distinct.take(order)), rank[index]

    # -- as arrays ---------------------------------------------------------------------------------------------------
    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> IdMap:
        """The map that `to_arrays` was asked of, of arrays that may come from anywhere.

        Raises
        ------
        DataError
            Arrays that are no ids: of other names, types or shapes, no UTF-8 text, an id that stands there twice.
        """
        if set(arrays) == {"id"}:
            ids = arrays["id"]
            if ids.dtype != np.int64 or ids.ndim != 1:
                raise DataError(f"ids: expected one column of int64, got {ids.dtype} of shape {ids.shape}.")
            found = cls.of_distinct(ids.copy())
        elif set(arrays) == {"text", "start"}:
            found = cls.of_distinct(checked_texts(arrays["text"], arrays["start"]))
        else:
            raise DataError(f"ids: expected the arrays 'id', or 'text' and 'start', got {sorted(arrays)}.")
        found._check_distinct()
        return found

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The ids as arrays of numbers: ``id`` (int64), or ``text`` (uint8, UTF-8) and ``start`` (int64, n + 1)."""
        if isinstance(self._ids, Texts):
            return {"text": self._ids.data, "start": self._ids.start}
        return {"id": self._ids}

    def __getstate__(self) -> dict[str, Any]:
        return {"_ids": self._ids}  # what is made for look-ups is made again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._hold(state["_ids"])  # a copy and an unpickled array are writeable

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IdMap) or self.is_text != other.is_text:
            return False
        if isinstance(self._ids, Texts):
            return self._ids == other._ids
        return np.array_equal(self._ids, other._ids)  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"IdMap({len(self)} ids)"

    @property
    def is_text(self) -> bool:
        """Whether the ids are texts, not integers."""
        return isinstance(self._ids, Texts)

    @cached_property
    def ids(self) -> np.ndarray:
        """The ids in the order of their indices: int64 or `str` array of shape (n,), read-only.

        Of texts it is made when first asked for, every one as wide as the longest; `at` makes just those wanted.
        """
        if not isinstance(self._ids, Texts):
            return self._ids
        ids = self._ids.strings()
        ids.flags.writeable = False
        return ids

    def at(self, index: npt.ArrayLike) -> np.ndarray:
        """The ids of some indices: array of the shape of ``index``; -1 for `UNKNOWN`, "" where ids are texts.

        Raises
        ------
        DataError
            An index that is none of the map's.
        """
        wanted = np.asarray(index)
        bad = (wanted < UNKNOWN) | (wanted >= len(self))
        if bad.any():
            raise DataError(f"index {wanted[bad][0]}: give indices from 0 to {len(self) - 1}, or {UNKNOWN} for no id.")
        known = wanted != UNKNOWN
        if not isinstance(self._ids, Texts):
            found = np.full(wanted.shape, UNKNOWN, np.int64)
            found[known] = self._ids[wanted[known]]
            return found
        texts = self._ids.take(wanted[known]).strings()
        found = np.zeros(wanted.shape, texts.dtype)
        found[known] = texts
        return found

    def used(self, index: np.ndarray) -> tuple[IdMap, np.ndarray]:
        """The map of the ids that some indices (n,) name, which are all known, and those indices in that map."""
        present = np.zeros(len(self), bool)
        present[index] = True
        if present.all():
            return self, index
        rows = np.flatnonzero(present)
        ids = self._ids.take(rows)
        return IdMap.of_distinct(ids), (np.cumsum(present, dtype=np.int32) - np.int32(1))[index]

    # -- looking up --------------------------------------------------------------------------------------------------
    @cached_property
    def _order(self) -> np.ndarray | None:
        """Positions that sort the integer ids, or None while they are ascending as they stand."""
        ids = self._ids
        assert isinstance(ids, np.ndarray)
        ascending = len(ids) < 2 or bool((ids[1:] > ids[:-1]).all())
        return None if ascending else np.argsort(ids, kind="stable")

    @cached_property
    def _table(self) -> tuple[np.ndarray, int] | None:
        """(index by id - low with one guard cell at the end, low), where that is small enough."""
        assert isinstance(self._ids, np.ndarray)
        # Made once for many look-ups, so worth more memory than a table for numbering.
        span = dense_span(self._ids, least=_LOOK_UP_MIN)
        if span is None:
            return None
        low, high = span
        table = np.full(high - low + 2, UNKNOWN, np.int32)
        table[self._ids - low] = np.arange(len(self), dtype=np.int32)
        return table, low

    @cached_property
    def _by_hash(self) -> tuple[int, np.ndarray, np.ndarray]:
        """(seed, ascending hashes of the text ids, the index of each)."""
        assert isinstance(self._ids, Texts)
        seed, hashes, index, _ = distinct_texts(self._ids)
        order = np.empty(len(hashes), np.int32)
        order[index] = np.arange(len(self), dtype=np.int32)
        return seed, hashes, order

    def index(self, ids: npt.ArrayLike) -> np.ndarray:
        """Index of each id, `UNKNOWN` (-1) for those the map does not hold: int32 array of shape (n,).

        A text finds the integer that is written so, an integer the text that it is written as.
        """
        wanted = as_ids(np.atleast_1d(as_array(ids)))
        if len(self) == 0 or len(wanted) == 0:
            return np.full(len(wanted), UNKNOWN, np.int32)
        if isinstance(self._ids, Texts):
            return self._index_of_texts(Texts.of(wanted.astype(str) if wanted.dtype.kind == "i" else wanted))
        if wanted.dtype.kind == "i":
            return self._index_of_numbers(wanted)
        whole = np.fromiter(map(is_whole, wanted.tolist()), bool, len(wanted))
        found = np.full(len(wanted), UNKNOWN, np.int32)
        found[whole] = self._index_of_numbers(wanted[whole].astype(np.int64))
        return found

    def index_of(self, other: IdMap) -> np.ndarray:
        """Index of each id of another map: int32 array of shape (len(other),)."""
        if isinstance(self._ids, Texts) and isinstance(other._ids, Texts) and len(self):
            return self._index_of_texts(other._ids)
        return self.index(other.ids)

    def _index_of_numbers(self, wanted: np.ndarray) -> np.ndarray:
        known = self._ids
        assert isinstance(known, np.ndarray)
        if self._table is not None:
            table, low = self._table
            high = low + len(table) - 2
            inside = (wanted >= low) & (wanted <= high)
            # An id outside the table reads the guard cell at its end.
            found: np.ndarray = table[np.where(inside, above(wanted, low, high), len(table) - 1)]
            return found
        place = np.searchsorted(known, wanted, sorter=self._order)
        place = np.minimum(place, len(known) - 1)
        if self._order is not None:
            place = self._order[place]
        return np.where(known[place] == wanted, place, UNKNOWN).astype(np.int32)

    def _index_of_texts(self, wanted: Texts) -> np.ndarray:
        assert isinstance(self._ids, Texts)
        seed, hashes, order = self._by_hash
        asked = wanted.hashes(seed)
        place = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
        hit = np.flatnonzero(hashes[place] == asked)
        index = order[place[hit]]
        found = np.full(len(wanted), UNKNOWN, np.int32)
        found[hit] = np.where(wanted.same(hit, self._ids, index), index, UNKNOWN)
        return found

    def rank(self) -> np.ndarray:
        """Which of two ids comes first in ascending order: int32 rank of each, shape (n,)."""
        ids = self._ids
        order = ids.order() if isinstance(ids, Texts) else np.argsort(ids, kind="stable")
        rank = np.empty(len(self), np.int32)
        rank[order] = np.arange(len(self), dtype=np.int32)
        return rank

    def extend(self, ids: npt.ArrayLike | IdMap) -> IdMap:
        """A map that also holds the given ids: those not yet known get the next indices, in ascending order.

        Raises
        ------
        DataError
            Texts for a map of integers, or the other way round.
        """
        other = ids if isinstance(ids, IdMap) else IdMap.number(as_ids(np.atleast_1d(as_array(ids))))[0]
        if len(other) and len(self) and other.is_text != self.is_text:
            words = {False: "whole numbers", True: "strings"}
            raise DataError(
                f"new ids are {words[other.is_text]}, those known are {words[self.is_text]}; give the same kind."
            )
        rows = np.flatnonzero(self.index_of(other) == UNKNOWN)
        if len(rows) == 0:
            return self
        new = other._ids.take(rows[np.argsort(other.rank()[rows])])
        if isinstance(self._ids, Texts) and isinstance(new, Texts) and len(self):
            return IdMap.of_distinct(self._ids.joined(new))
        return IdMap.of_distinct(np.concatenate([self._ids, new]) if len(self) else new)
