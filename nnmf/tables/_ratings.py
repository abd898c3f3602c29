"""`Ratings`: the (user, item, rating) table everything else works on; building, checking and splitting it."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError

from ._building import arrays_of_frame, columns_of_arrays, found_columns
from ._cache import Columns
from ._checks import check_within, say_of_milliseconds
from ._duplicates import check_way, without_duplicates
from ._query import read_query
from ._readers import checked_path, read_columns
from ._splits import first_of, n_of_train, share_of_each, shuffled
from ._table import OWN_SCALE, Table


class Ratings(Table):
    """Immutable table of ratings, addressed by index; its columns are described at `Table`.

    Build one with `from_file`, `from_sql`, `from_frame` or `from_arrays`.
    """

    # -- building ----------------------------------------------------------------------------------------------------
    @classmethod
    def from_arrays(
        cls,
        user_ids: npt.ArrayLike,
        item_ids: npt.ArrayLike,
        ratings: npt.ArrayLike,
        timestamps: npt.ArrayLike | None = None,
        *,
        duplicates: str = "error",
        like: Ratings | None = None,
        name: str = "arrays",
        scale: tuple[float, float] | None = None,
    ) -> Ratings:
        """A table from columns of equal length (n_ratings,).

        Parameters
        ----------
        user_ids, item_ids : array-like
            Integers, strings or UUIDs.
        ratings : array-like
            Finite numbers.
        timestamps : array-like, optional
            Whole seconds, or dates (datetime64, `datetime` or texts), which are cut to whole seconds since 1970.
        duplicates : str
            What becomes of a (user, item) pair that stands there more than once: "error", "last" (in the table's order)
            or "mean" (of its ratings).
        like : Ratings, optional
            A table whose id maps to use (a test table's train table); ids it lacks get index -1.
        name : str
            What reports call the table.
        scale : tuple of float, optional
            Lowest and highest rating there can be; default: `like`'s, else the table's own.

        Raises
        ------
        DataError
            No ratings, unequal lengths, a rating that is no finite number, an unusable id, a duplicate pair.
        ConfigError
            An unknown way with duplicates.
        """
        check_way(duplicates)
        columns = columns_of_arrays(user_ids, item_ids, ratings, timestamps, name)
        return cls._of_columns(columns, duplicates, like, name, scale)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        delimiter: str | None = None,
        header: bool | None = None,
        columns: Sequence[int] | Mapping[str, str] | None = None,
        on_error: str = "raise",
        duplicates: str = "error",
        cache: bool = True,
        like: Ratings | None = None,
        name: str | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Ratings:
        """A table from a file: text, JSON lines or Parquet; see `read_columns` and `from_arrays`."""
        check_way(duplicates)
        path = checked_path(path)
        found = read_columns(path, delimiter=delimiter, header=header, columns=columns, on_error=on_error, cache=cache)
        return cls._of_columns(found, duplicates, like, name or path.name, scale)

    @classmethod
    def from_sql(
        cls,
        query: str,
        connection: Any = None,
        *,
        duplicates: str = "error",
        like: Ratings | None = None,
        name: str = "query",
        scale: tuple[float, float] | None = None,
    ) -> Ratings:
        """A table from a query whose columns are user, item, rating[, timestamp], by known names or else by position.

        Parameters
        ----------
        query : str
            SQL of DuckDB, or of SQLite where the connection is one to it; it may name files.
        connection : optional
            A connection of DuckDB or of `sqlite3`, or the path of a database file of either, which is only read;
            default: a database of its own, in which the query can name files.
        duplicates, like, name, scale
            See `from_arrays`.

        Raises
        ------
        DataError
            A query that fails, lacks such columns or selects nothing, and what `from_arrays` raises.
        ConfigError
            What is no query or connection.
        """
        check_way(duplicates)
        return cls._of_columns(read_query(query, connection, name), duplicates, like, name, scale)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        user: Hashable | None = None,
        item: Hashable | None = None,
        rating: Hashable | None = None,
        timestamp: Hashable | None = None,
        **options: Any,
    ) -> Ratings:
        """A table from a pandas or polars frame (or anything that answers ``frame[column]``), by column names.

        Names of user, item and rating that are not given are found as `from_file` finds them in a header, among the names of a
        pandas index too; timestamps are taken where their column is named. A lazy frame of polars is collected; a dictionary of columns is a frame too. A sparse matrix of scipy is one of
        users by items whose entries are ratings. Further options are those of `from_arrays`.

        Raises
        ------
        DataError
            A column that the frame lacks, and what `from_arrays` raises.
        """
        options.setdefault("name", "frame")
        if not hasattr(frame, "tocoo"):
            frame, (user, item, rating) = found_columns(frame, [user, item, rating])
        wanted = [user, item, rating] if timestamp is None else [user, item, rating, timestamp]
        return cls.from_arrays(*arrays_of_frame(frame, wanted), **options)

    @classmethod
    def _of_columns(
        cls,
        found: Columns,
        duplicates: str,
        like: Ratings | None,
        name: str,
        scale: tuple[float, float] | None,
    ) -> Ratings:
        if found.timestamp is not None:
            say_of_milliseconds(found.timestamp, name)
        bounds = OWN_SCALE if scale is None else scale
        table = cls(found.user, found.item, found.rating, found.users, found.items, found.timestamp, name, bounds)
        if scale is not None:
            check_within(table.rating, table.scale, name)
        table = without_duplicates(table, duplicates)
        return table if like is None else table.mapped(like)

    # -- splitting ---------------------------------------------------------------------------------------------------
    def split(self, fraction: float = 0.8, seed: int = 0) -> tuple[Ratings, Ratings]:
        """(train, test): a global random sample of ``fraction`` of the ratings, and the rest.

        The train table's id maps hold just its own users and items; the test table is mapped through them.

        Raises
        ------
        ConfigError
            A fraction that leaves one side without ratings, a seed that is none.
        DataError
            Ratings of unknown users or items (so do the other ways to split).
        """
        n_train = self._n_train(fraction)
        return self._parted(first_of(shuffled(len(self), seed), n_train))

    def split_by_user(self, fraction: float = 0.8, seed: int = 0) -> tuple[Ratings, Ratings]:
        """(train, test): of each user's n ratings a random ``ceil(fraction * n)`` train, so that every user is known."""
        self._n_train(fraction)
        in_train = share_of_each(self.user, self.n_users, fraction, shuffled(len(self), seed))
        if in_train.all():
            raise ConfigError(
                f"fraction: {fraction} leaves no rating to test on; no user of {self.name} has enough of them."
            )
        return self._parted(in_train)

    def split_by_time(self, fraction: float = 0.8) -> tuple[Ratings, Ratings]:
        """(train, test): the oldest ``fraction`` of the ratings, and the rest; ties by the table's order.

        Raises
        ------
        DataError
            A table without timestamps.
        """
        if self.timestamp is None:
            raise DataError(f"{self.name}: has no timestamps to split by; use split or split_by_user.")
        return self._parted(first_of(np.argsort(self.timestamp, kind="stable"), self._n_train(fraction)))

    def folds(self, n_folds: int = 5, seed: int = 0) -> Iterator[tuple[Ratings, Ratings]]:
        """``n_folds`` pairs (train, test) whose test tables part the ratings at random: each is tested on once."""
        if not 2 <= n_folds <= len(self):
            raise ConfigError(f"n_folds: got {n_folds}; give a number from 2 to the table's {len(self)} ratings.")
        self.require_known(self.user, self.item)
        order = shuffled(len(self), seed)
        for rows in np.array_split(order, n_folds):
            in_train = np.ones(len(self), bool)
            in_train[rows] = False
            yield self._parted(in_train)

    def _n_train(self, fraction: float) -> int:
        self.require_known(self.user, self.item)
        return n_of_train(fraction, len(self))

    def _parted(self, in_train: np.ndarray) -> tuple[Ratings, Ratings]:
        train = self.take(in_train).compact()
        return train, self.take(~in_train).mapped(train)
