"""`Ratings`: the (user, item, rating) table everything else works on; building, checking and splitting it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmf.errors import ConfigError, DataError, one_of

from ._ids import UNKNOWN, IdMap, as_column, as_ids, as_seconds
from ._readers import read_columns

_DUPLICATES = ("error", "last", "mean")


@dataclass(frozen=True, eq=False)
class Ratings:
    """Immutable table of ratings, addressed by index.

    Attributes:
        user, item: int32 arrays of shape (n_ratings,): indices into `users` and `items`; -1 marks an id unknown to the
            table whose id maps these are (see ``like`` of the constructors).
        rating: float32 array of shape (n_ratings,).
        users, items: the id maps.
        timestamp: int64 array of shape (n_ratings,) in seconds, or None.
        name: what reports call the table.
        scale: lowest and highest rating there can be; default: the lowest and highest in the table.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    users: IdMap
    items: IdMap
    timestamp: np.ndarray | None = None
    name: str = "table"
    scale: tuple[float, float] = field(default=(np.nan, np.nan))

    def __post_init__(self) -> None:
        if np.isnan(self.scale[0]):
            scale = (float(self.rating.min()), float(self.rating.max())) if len(self) else (0.0, 0.0)
            object.__setattr__(self, "scale", scale)
        self._freeze()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()  # a copy's and an unpickled table's arrays are writeable

    def _freeze(self) -> None:
        for name in ("user", "item", "rating", "timestamp"):
            column = getattr(self, name)
            if column is not None:
                view = column.view()  # the caller's own array stays as it is
                view.flags.writeable = False
                object.__setattr__(self, name, view)

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

        Args:
            user_ids, item_ids: integers or strings.
            ratings: finite numbers.
            timestamps: whole seconds, or dates (datetime64 or `datetime`), which are cut to whole seconds since 1970.
            duplicates: what becomes of a (user, item) pair that stands there more than once: "error", "last" (in the
                table's order) or "mean" (of its ratings).
            like: a table whose id maps to use (a test table's train table); ids it lacks get index -1.
            name: what reports call the table.
            scale: lowest and highest rating there can be; default: `like`'s, else the table's own.

        Raises:
            DataError: no ratings, unequal lengths, a rating that is no finite number, an unusable id, a duplicate pair.
            ConfigError: an unknown way with duplicates.
        """
        if duplicates not in _DUPLICATES:
            raise ConfigError(one_of(duplicates, _DUPLICATES, "duplicates"))
        user_id, item_id = as_ids(user_ids, f"{name}: user ids"), as_ids(item_ids, f"{name}: item ids")
        rating = as_column(ratings, np.float32, f"{name}: ratings")
        timestamp = None if timestamps is None else as_seconds(timestamps, f"{name}: timestamps")
        lengths = {len(column) for column in (user_id, item_id, rating, timestamp) if column is not None}
        if len(lengths) > 1:
            raise DataError(
                f"{name}: the columns have unequal lengths {sorted(lengths)}; give one entry a rating in each."
            )
        if lengths == {0}:
            raise DataError(f"{name}: holds no ratings; give at least one.")
        users, user = IdMap.number(user_id)
        items, item = IdMap.number(item_id)
        table = cls(user, item, rating, users, items, timestamp, name, scale or (np.nan, np.nan))
        table = table._without_duplicates(duplicates)
        return table if like is None else table.mapped(like)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        delimiter: str | None = None,
        header: bool | None = None,
        columns: tuple[int, ...] | None = None,
        on_error: str = "raise",
        duplicates: str = "error",
        cache: bool = True,
        like: Ratings | None = None,
        name: str | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Ratings:
        """A table from a text file, plain or gzip; see `read_columns` and `from_arrays` for arguments and errors."""
        found = read_columns(path, delimiter=delimiter, header=header, columns=columns, on_error=on_error, cache=cache)
        return cls.from_arrays(
            found.user_id,
            found.item_id,
            found.rating,
            found.timestamp,
            duplicates=duplicates,
            like=like,
            name=name or Path(path).name,
            scale=scale,
        )

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        user: Hashable = "user_id",
        item: Hashable = "item_id",
        rating: Hashable = "rating",
        timestamp: Hashable | None = None,
        **options: Any,
    ) -> Ratings:
        """A table from a pandas or polars frame (or anything that answers ``frame[column]``), by column names.

        A lazy frame of polars is collected; a dictionary of columns is a frame too. Further options are those of
        `from_arrays`.

        Raises:
            DataError: a column that the frame lacks, and what `from_arrays` raises.
        """
        if hasattr(frame, "collect") and not hasattr(frame, "__array__"):
            frame = frame.collect()
        columns = frame if isinstance(frame, Mapping) else getattr(frame, "columns", None)
        if columns is None:
            raise DataError(f"from_frame: got a {type(frame).__name__}, which has no columns; use from_arrays.")
        names = list(columns)
        wanted = [user, item, rating] if timestamp is None else [user, item, rating, timestamp]
        for name in wanted:
            if name not in names:
                raise DataError(
                    f"the frame has no column {name!r}; it has {names}. Name the columns with user=, item=, rating=."
                )
        options.setdefault("name", "frame")
        return cls.from_arrays(*(np.asarray(frame[name]) for name in wanted), **options)

    # -- sizes -------------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self.rating)

    def __repr__(self) -> str:
        return f"Ratings({self.name}: {self.n_users} users, {self.n_items} items, {len(self)} ratings)"

    @property
    def n_users(self) -> int:
        """Users in the id map."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Items in the id map."""
        return len(self.items)

    @property
    def n_ratings(self) -> int:
        """The same as ``len(ratings)``."""
        return len(self)

    @property
    def known(self) -> np.ndarray:
        """Boolean array (n_ratings,): neither the user nor the item is unknown."""
        return (self.user != UNKNOWN) & (self.item != UNKNOWN)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the ratings and their ids, by which a table is known again."""
        digest = hashlib.sha256()
        for column in (self.user, self.item, self.rating, self.users.ids, self.items.ids):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    # -- selecting ---------------------------------------------------------------------------------------------------
    def take(self, rows: np.ndarray) -> Ratings:
        """The rows at the given positions (or of the given mask), with the same id maps."""
        timestamp = None if self.timestamp is None else self.timestamp[rows]
        return replace(self, user=self.user[rows], item=self.item[rows], rating=self.rating[rows], timestamp=timestamp)

    def mapped(self, like: Ratings) -> Ratings:
        """This table under the id maps and scale of another; ids the other lacks are marked -1."""
        return self.under(like.users, like.items, like.scale)

    def under(self, users: IdMap, items: IdMap, scale: tuple[float, float]) -> Ratings:
        """This table under other id maps and another scale; ids the maps lack are marked -1."""
        columns = {}
        for side, ids, known in (("user", self.users, users), ("item", self.items, items)):
            # One look-up an id, not one a rating; the last cell answers for ids unknown here already.
            table = np.append(known.index(ids.ids), np.int32(UNKNOWN))
            columns[side] = table[getattr(self, side)]
        return replace(self, **columns, users=users, items=items, scale=scale)

    def compact(self) -> Ratings:
        """This table with id maps of just the users and items that have a rating in it."""
        columns: dict[str, Any] = {}
        for side, ids in (("user", self.users), ("item", self.items)):
            index = getattr(self, side)
            self._require_known(index)
            used = np.zeros(len(ids), bool)
            used[index] = True
            if not used.all():
                columns[side] = (np.cumsum(used, dtype=np.int32) - np.int32(1))[index]
                columns[side + "s"] = IdMap(ids.ids[used])
        return replace(self, **columns)

    def _require_known(self, *indices: np.ndarray) -> None:
        if any((index == UNKNOWN).any() for index in indices):
            raise DataError(f"{self.name}: holds ratings of unknown users or items; drop them with take(known) first.")

    def _without_duplicates(self, how: str) -> Ratings:
        pair = self.user.astype(np.int64) * self.n_items + self.item
        pair.sort()  # in place: at 10 million ratings a copy is 80 MB
        twice = pair[1:] == pair[:-1]
        if not twice.any():
            return self
        ordered, pair = pair, self.user.astype(np.int64) * self.n_items + self.item
        if how == "error":
            first = np.flatnonzero(pair == ordered[1:][twice][0])
            at = first[0]
            raise DataError(
                f"{self.name}: user {self.users.ids[self.user[at]].item()!r} rated item {self.items.ids[self.item[at]].item()!r} "
                f"{len(first)} times (ratings {int(first[0]) + 1} and {int(first[1]) + 1} of the table; {int(twice.sum())} "
                "duplicates in all); keep the 'last' or the 'mean' of such ratings with the duplicates option."
            )
        # np.unique keeps the first of equals: of the reversed table that is the last.
        _, last, group = np.unique(pair[::-1], return_index=True, return_inverse=True)
        keep = len(pair) - 1 - last
        order = np.argsort(keep)
        table = self.take(keep[order])
        if how == "mean":
            total = np.bincount(group, weights=self.rating[::-1].astype(np.float64))
            table = replace(table, rating=(total / np.bincount(group))[order].astype(np.float32))
        return table

    # -- splitting ---------------------------------------------------------------------------------------------------
    def split(self, fraction: float = 0.8, seed: int = 0) -> tuple[Ratings, Ratings]:
        """(train, test): a global random sample of ``fraction`` of the ratings, and the rest.

        The train table's id maps hold just its own users and items; the test table is mapped through them.

        Raises:
            ConfigError: a fraction that leaves one side without ratings, a seed that is none.
            DataError: ratings of unknown users or items (so do the other ways to split).
        """
        n_train = self._n_train(fraction)
        order = self._shuffled(seed)
        in_train = np.zeros(len(self), bool)
        in_train[order[:n_train]] = True
        return self._parted(in_train)

    def split_by_user(self, fraction: float = 0.8, seed: int = 0) -> tuple[Ratings, Ratings]:
        """(train, test): of each user's n ratings a random ``ceil(fraction * n)`` train, so that every user is known."""
        self._n_train(fraction)
        order = self._shuffled(seed)
        order = order[np.argsort(self.user[order], kind="stable")]
        per_user = np.bincount(self.user, minlength=self.n_users)
        start = np.cumsum(per_user) - per_user
        by_user = self.user[order]
        rank = np.arange(len(self)) - start[by_user]
        in_train = np.zeros(len(self), bool)
        in_train[order] = rank < np.ceil(fraction * per_user - 1e-9)[by_user]
        if in_train.all():
            raise ConfigError(
                f"fraction: {fraction} leaves no rating to test on; no user of {self.name} has enough of them."
            )
        return self._parted(in_train)

    def split_by_time(self, fraction: float = 0.8) -> tuple[Ratings, Ratings]:
        """(train, test): the oldest ``fraction`` of the ratings, and the rest; ties by the table's order.

        Raises:
            DataError: a table without timestamps.
        """
        if self.timestamp is None:
            raise DataError(f"{self.name}: has no timestamps to split by; use split or split_by_user.")
        in_train = np.zeros(len(self), bool)
        in_train[np.argsort(self.timestamp, kind="stable")[: self._n_train(fraction)]] = True
        return self._parted(in_train)

    def folds(self, n_folds: int = 5, seed: int = 0) -> Iterator[tuple[Ratings, Ratings]]:
        """``n_folds`` pairs (train, test) whose test tables part the ratings at random: each is tested on once."""
        if not 2 <= n_folds <= len(self):
            raise ConfigError(f"n_folds: got {n_folds}; give a number from 2 to the table's {len(self)} ratings.")
        self._require_known(self.user, self.item)
        order = self._shuffled(seed)
        for rows in np.array_split(order, n_folds):
            in_train = np.ones(len(self), bool)
            in_train[rows] = False
            yield self._parted(in_train)

    def _shuffled(self, seed: int) -> np.ndarray:
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ConfigError(f"seed: got {seed!r}; give a whole number of at least 0.")
        return np.random.default_rng(seed).permutation(len(self))

    def _n_train(self, fraction: float) -> int:
        self._require_known(self.user, self.item)
        n_train = round(fraction * len(self)) if 0 < fraction < 1 else 0
        if not 0 < n_train < len(self):
            raise ConfigError(
                f"fraction: got {fraction}; give one between 0 and 1 that leaves both sides a rating of {len(self)}."
            )
        return n_train

    def _parted(self, in_train: np.ndarray) -> tuple[Ratings, Ratings]:
        train = self.take(in_train).compact()
        return train, self.take(~in_train).mapped(train)
