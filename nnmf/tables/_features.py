"""`Features`: what is known about the users, or the items, of a table of ratings."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError, one_of

from ._building import arrays_of_frame, opened_frame
from ._columns import as_array, as_ids
from ._feature_columns import Column, column_of
from ._feature_files import place_of_id, read_features
from ._ids import IdMap
from ._readers import checked_path

logger = logging.getLogger(__name__)

#: features that are no columns, which therefore may not be called so
RESERVED = ("history", "raters", "day", "attributes")


class Features:
    """Immutable table of what is known about users, or items: an id and some columns a row.

    A column holds numbers (NaN where one is missing), a category (a text, or None) or a list of categories, such as
    ``Action|Comedy``. Build one with `from_file`, `from_frame` or `from_arrays`; ``features["age"]`` are its values.

    Attributes
    ----------
    ids : IdMap
    columns : dict of str to Numbers or Words
    name : str
        What errors call the table.
    """

    def __init__(self, ids: IdMap, columns: Mapping[str, Column], name: str = "features") -> None:
        self.ids, self.columns, self.name = ids, dict(columns), name
        self._freeze()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()  # an unpickled array is writeable

    def _freeze(self) -> None:
        for column in self.columns.values():
            for array in vars(column).values():
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name} ({kind})" for name, kind in self.kinds.items())
        return f"Features({self.name}: {len(self)} rows of {kinds or 'nothing'})"

    def __getitem__(self, name: str) -> np.ndarray:
        """The values of a column: numbers, texts (None where missing) or tuples of texts, in the order of ``ids``."""
        if name not in self.columns:
            raise ConfigError(one_of(name, self.columns, "column") + ".")
        return self.columns[name].shown()

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each column: "number", "category" or "list"."""
        return {name: column.kind for name, column in self.columns.items()}

    # -- building ----------------------------------------------------------------------------------------------------
    @classmethod
    def from_arrays(
        cls,
        ids: npt.ArrayLike,
        columns: Mapping[str, Any],
        *,
        kinds: Mapping[str, str] | None = None,
        name: str = "features",
    ) -> Features:
        """Features from columns of equal length (n,).

        Parameters
        ----------
        ids : array-like
            Integers, strings or UUIDs, each once.
        columns : mapping of str to array-like
            Numbers, texts, dates (of which the day counts), or lists of texts; NaN, None and empty texts are missing.
        kinds : mapping of str to str, optional
            "number", "category" or "list", by column. Where a column has none, one of more than 20 different numbers is
            a number (unless some are written with leading zeros), one with lists or a ``|`` in a text is a list, any
            other a category; the log says which.
        name : str
            What errors call the table.

        Raises
        ------
        DataError
            No rows or columns, unequal lengths, an id that is none or stands there twice, a value that is not of its
            column's kind, an infinite number.
        ConfigError
            An unknown kind, kinds of columns that there are not, a column with a name that stands for something else.
        """
        given = as_ids(ids, f"{name}: ids")
        kinds = dict(kinds or {})
        if unknown := [column for column in kinds if column not in columns]:
            raise ConfigError(one_of(unknown[0], columns, f"kinds: {name}") + ".")
        if taken := [column for column in columns if column in (*RESERVED, "ids")]:
            raise ConfigError(
                f"{name}: the name {taken[0]!r} of a column stands for another feature; rename the column."
            )
        arrays = {str(column): _array(values) for column, values in columns.items()}
        lengths = {len(given), *map(len, arrays.values())}
        if len(lengths) > 1:
            raise DataError(
                f"{name}: the columns have unequal lengths {sorted(lengths)}; give one entry a row in each."
            )
        if not arrays or lengths == {0}:
            raise DataError(f"{name}: holds no features; give ids and at least one column beside them.")
        numbered, index = IdMap.number(given, f"{name}: ids")
        if len(numbered) < len(index):
            again = np.flatnonzero(index == np.flatnonzero(np.bincount(index) > 1)[0])
            raise DataError(
                f"{name}: id {numbered.at(index[again[0]]).item()!r} stands in rows {again[0] + 1} and {again[1] + 1}; keep one."
            )
        found = {
            column: made
            for column, array in arrays.items()
            if (made := column_of(name, column, array, kinds.get(column))) is not None
        }
        if guessed := [f"{column} is a {made.kind}" for column, made in found.items() if column not in kinds]:
            logger.info("%s: taken for likely: %s.", name, ", ".join(guessed))
        return cls(IdMap(given), found, name)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        id: str | None = None,
        columns: Sequence[str] | None = None,
        delimiter: str | None = None,
        header: bool | None = None,
        kinds: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Features:
        """Features from a file: text (plain, gzip or zstd), JSON lines or Parquet; see `from_arrays`.

        Parameters
        ----------
        path : path
        id : str, optional
            The column of the ids; default: the first one of a name that ids have, else the first.
        columns : sequence of str, optional
            Names of all columns of a text that has no header.
        delimiter : str, optional
            What stands between fields; default: found out.
        header : bool, optional
            Whether the first line names the columns; default: it does unless a number stands in it, or nothing, or the
            same twice.
        kinds, name
            See `from_arrays`.

        Raises
        ------
        DataError
            The file is missing, empty, damaged or has a malformed line, and what `from_arrays` raises.
        ConfigError
            Options that cannot be used.
        """
        path = checked_path(path)
        ids, arrays = read_features(path, id, columns, delimiter, header)
        return cls.from_arrays(ids, arrays, kinds=kinds, name=name or path.name)

    @classmethod
    def from_frame(
        cls, frame: Any, *, id: Hashable | None = None, kinds: Mapping[str, str] | None = None, name: str = "frame"
    ) -> Features:
        """Features from a pandas or polars frame or a dictionary of columns; see `from_file` and `from_arrays`."""
        frame, given = opened_frame(frame)
        names, arrays = list(map(str, given)), arrays_of_frame(frame, given)
        at = place_of_id(names, id, name)
        columns = {
            column: array for place, (column, array) in enumerate(zip(names, arrays, strict=True)) if place != at
        }
        return cls.from_arrays(arrays[at], columns, kinds=kinds, name=name)


def _array(values: Any) -> np.ndarray:
    """The values as an array; lists, which may be of unequal length, as one of objects."""
    if isinstance(values, (list, tuple)) and any(isinstance(value, (list, tuple, set, frozenset)) for value in values):
        array = np.empty(len(values), object)
        array[:] = list(values)
        return array
    return as_array(values)
