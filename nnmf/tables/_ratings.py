"""`Ratings`: the (user, item, rating) table everything else works on; building, checking and splitting it."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError

from ._building import arrays_of_frame, columns_of_arrays, found_columns
from ._cache import Columns
from ._checks import check_within, say_of_milliseconds
from ._duckdb import Room, checked_memory
from ._duplicates import check_way, without_duplicates
from ._mapped_splits import drawn, drawn_of_each, oldest, parted
from ._query import read_query
from ._readers import checked_path, read_columns
from ._splits import first_of, n_of_train, share_of_each, shuffled
from ._stored import StoredTable, as_folder, held, store
from ._table import OWN_SCALE


class Ratings(StoredTable):
    """Immutable table of ratings, addressed by index; its columns are described at `Table`.

    Build one with `from_file`, `from_sql`, `from_frame` or `from_arrays`; larger ones than memory with `convert` and `open`.
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
    def convert(
        cls,
        source: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        sql: bool = False,
        memory_limit: str = "1GB",
        delimiter: str | None = None,
        header: bool | None = None,
        columns: Sequence[int] | Mapping[str, str] | None = None,
        on_error: str = "raise",
        duplicates: str = "error",
        name: str | None = None,
        scale: tuple[float, float] | None = None,
        overwrite: bool = False,
    ) -> Ratings:
        """Write the table of a file, or of a query, of any size to a folder, and map it: what `from_file` and `store` do, in little memory.

        Parameters
        ----------
        source : path or str
            The file, or with ``sql`` a query as `from_sql` takes it, which may name files and databases.
        folder, overwrite
            See `store`. What memory does not hold meanwhile lies there too: some four times the table.
        memory_limit : str, default="1GB"
            What DuckDB may use, such as 500MB; this process needs some 300 MB and the ids besides.
        delimiter, header, columns, on_error
            See `read_columns`; a query has none of them.
        duplicates, name, scale
            See `from_arrays`.

        Raises
        ------
        DataError, ConfigError
            What `from_file`, `from_sql` and `store` raise; a limit that is none, or too low. Then the folder is as it was.
        """
        check_way(duplicates)
        memory = checked_memory(memory_limit)
        place = as_folder(folder)
        with held(place, overwrite):
            room = Room(place, memory)
            if sql:
                found, known = read_query(str(source), None, name or "query", room), name or "query"
            else:
                path = checked_path(source)
                options: dict[str, Any] = {
                    "delimiter": delimiter,
                    "header": header,
                    "columns": columns,
                    "on_error": on_error,
                }
                found, known = read_columns(path, **options, room=room), name or path.name
            store(cls._of_columns(found, duplicates, None, known, scale, place.resolve()), place)
        return cls.open(place)

    @classmethod
    def _of_columns(
        cls,
        found: Columns,
        duplicates: str,
        like: Ratings | None,
        name: str,
        scale: tuple[float, float] | None,
        home: Path | None = None,
    ) -> Ratings:
        if found.timestamp is not None:
            say_of_milliseconds(found.timestamp, name)
        bounds = OWN_SCALE if scale is None else scale
        columns = found.user, found.item, found.rating, found.users, found.items, found.timestamp
        table = cls(*columns, name, bounds, home=home)
        if scale is not None:
            check_within(table.rating, table.scale, name)
        table = without_duplicates(table, duplicates)
        return table if like is None else table.mapped(like)

    # -- splitting ---------------------------------------------------------------------------------------------------
    def split(self, fraction: float = 0.8, seed: int = 0) -> tuple[Ratings, Ratings]:
        """(train, test): a global random sample of ``fraction`` of the ratings, and the rest.

        The train table's id maps hold just its own users and items; the test table is mapped through them. Of a table that
        `open` mapped, both lie in files without a name beside it, and another sample is drawn by the same seed.

        Raises
        ------
        ConfigError
            A fraction that leaves one side without ratings, a seed that is none.
        DataError
            Ratings of unknown users or items (so do the other ways to split).
        """
        n_train = self._n_train(fraction)
        if self.home is not None:
            return parted(self, drawn(self, n_train, seed))
        return self._parted(first_of(shuffled(len(self), seed), n_train))

    def split_by_user(self, fraction: float = 0.8, seed: int = 0) -> tuple[Ratings, Ratings]:
        """(train, test): of each user's n ratings a random ``ceil(fraction * n)`` train, so that every user is known."""
        self._n_train(fraction)
        if self.home is not None:
            train, test = parted(self, drawn_of_each(self, fraction, seed))
            return (train, test) if len(test) else self._nothing_left(fraction)
        in_train = share_of_each(self.user, self.n_users, fraction, shuffled(len(self), seed))
        return self._nothing_left(fraction) if in_train.all() else self._parted(in_train)

    def _nothing_left(self, fraction: float) -> NoReturn:
        raise ConfigError(
            f"fraction: {fraction} leaves no rating to test on; no user of {self.name} has enough of them."
        )

    def split_by_time(self, fraction: float = 0.8) -> tuple[Ratings, Ratings]:
        """(train, test): the oldest ``fraction`` of the ratings, and the rest; ties by the table's order.

        Raises
        ------
        DataError
            A table without timestamps.
        """
        if self.timestamp is None:
            raise DataError(f"{self.name}: has no timestamps to split by; use split or split_by_user.")
        n_train = self._n_train(fraction)
        if self.home is not None:
            return parted(self, oldest(self.timestamp, n_train))
        return self._parted(first_of(np.argsort(self.timestamp, kind="stable"), n_train))

    def folds(self, n_folds: int = 5, seed: int = 0) -> Iterator[tuple[Ratings, Ratings]]:
        """``n_folds`` pairs (train, test) whose test tables part the ratings at random: each is tested on once."""
        if not 2 <= n_folds <= len(self):
            raise ConfigError(f"n_folds: got {n_folds}; give a number from 2 to the table's {len(self)} ratings.")
        self.require_known(self.user, self.item)
        if self.home is not None:
            raise ConfigError(f"{self.name}: a mapped table has no folds; take split, split_by_user or split_by_time.")
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
