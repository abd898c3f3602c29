"""`Table`: columns of ratings under their id maps: what they must be, what they are known by, and which of them are taken."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nnmf.errors import ConfigError, DataError
from nnmf.files import Spill, walk

from ._checks import checked_columns, checked_scale
from ._features import Features
from ._ids import UNKNOWN, IdMap
from ._sums import extent

logger = logging.getLogger(__name__)

#: stands for the lowest and highest rating that a table itself has
OWN_SCALE = (np.nan, np.nan)
_MOST_RATINGS = 2**31 - 1
_COLUMNS = ("user", "item", "rating", "timestamp", "strangers")

_Self = TypeVar("_Self", bound="Table")


@dataclass(frozen=True, eq=False)
class Table:
    """Immutable columns of ratings under their id maps; `Ratings` adds how they are built and parted.

    Attributes
    ----------
    user, item : int32 arrays of shape (n_ratings,)
        Indices into `users` and `items`; -1 marks an id unknown to the table whose id maps these are (see ``like`` of the
        constructors).
    rating : float32 array of shape (n_ratings,)
    users, items : IdMap
    timestamp : int64 array of shape (n_ratings,), or None
        In seconds.
    name : str
        What reports call the table.
    scale : tuple of float
        Lowest and highest rating there can be; default: the lowest and highest in the table.
    strangers : int32 array of shape (n_ratings,), or None
        Numbers that tell the unknown users apart, -1 where the user is known; None where none is unknown.
    user_features, item_features : Features or None
        What is known about users and items, see `with_features`; whatever is made of a table has the same objects.
    home : Path or None
        Folder of a table that is larger than the memory may be, as `Ratings.open` maps it: its columns are files there, and
        what is sorted of it lies there, too; None for a table in memory.

    Raises
    ------
    DataError
        Columns that do not fit together, an index that is none of the maps', a rating that is no finite number.
    ConfigError
        A scale whose first bound is not the lower one, or that is no pair of finite numbers.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    users: IdMap
    items: IdMap
    timestamp: np.ndarray | None = None
    name: str = "table"
    scale: tuple[float, float] = field(default=OWN_SCALE)
    strangers: np.ndarray | None = None
    user_features: Features | None = None
    item_features: Features | None = None
    home: Path | None = None

    def __post_init__(self) -> None:
        if len(self) > _MOST_RATINGS:
            raise DataError(
                f"{self.name}: {len(self)} ratings are more than the {_MOST_RATINGS} that a table can hold; take a sample."
            )
        for name, column in checked_columns(
            self.name, {name: getattr(self, name) for name in _COLUMNS}, len(self.users), len(self.items)
        ).items():
            object.__setattr__(self, name, column)
        if self.scale is OWN_SCALE:
            low, high = extent(self.rating) if len(self) else (0.0, 0.0)
            object.__setattr__(self, "scale", (float(low), float(high)))
        else:
            object.__setattr__(self, "scale", checked_scale(self.scale))
        self._freeze()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()  # a copy's and an unpickled table's arrays are writeable

    def _freeze(self) -> None:
        for name in _COLUMNS:
            column = getattr(self, name)
            if column is not None:
                view = column.view()  # the caller's own array stays as it is
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    # -- sizes -------------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self.rating)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: {self.n_users} users, {self.n_items} items, {len(self)} ratings)"

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
    def n_unknown(self) -> int:
        """Ratings whose user or item is unknown."""
        return sum(int(((user == UNKNOWN) | (item == UNKNOWN)).sum()) for user, item in walk(self.user, self.item))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the ratings and their ids, by which a table is known again."""
        digest = hashlib.sha256()
        ids = (array for known in (self.users, self.items) for array in known.to_arrays().values())
        for column in (self.user, self.item, self.rating, *ids):
            for (part,) in walk(column):
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    # -- features ----------------------------------------------------------------------------------------------------
    def with_features(self: _Self, users: Features | None = None, items: Features | None = None) -> _Self:
        """This table with what is known about its users and items, which a model may learn from.

        Ids that the ratings lack are ignored; of those that the features lack everything is missing.

        Parameters
        ----------
        users, items : Features, optional
            Where one is left out, what the table had stays.

        Raises
        ------
        ConfigError
            What are no features.
        """
        changes: dict[str, Any] = {}
        for side, features, ids in (("user", users, self.users), ("item", items, self.items)):
            if features is None:
                continue
            if not isinstance(features, Features):
                raise ConfigError(
                    f"{side}s: got a {type(features).__name__}; give Features, as Features.from_file reads them."
                )
            changes[f"{side}_features"] = features
            known = features.ids.index_of(ids) != UNKNOWN
            n_other, n_missing = len(features) - int(known.sum()), len(ids) - int(known.sum())
            if not known.any() and len(ids):
                logger.warning(
                    "%s: none of its %d ids is among the %ss of %s.", features.name, len(features), side, self.name
                )
            elif n_other or n_missing:
                text = "%s: %d of its %d ids have no rating and are ignored; it lacks %d of %d %ss of %s."
                logger.info(text, features.name, n_other, len(features), n_missing, len(ids), side, self.name)
        return replace(self, **changes) if changes else self

    def say_in_memory(self, what: str) -> None:
        """Log that something holds all ratings of a mapped table in memory, which then is to be large enough for them."""
        if self.home is not None:
            logger.warning("%s holds the table in memory: %s ratings of %s.", what, f"{len(self):,}", self.name)

    # -- selecting ---------------------------------------------------------------------------------------------------
    def take(self: _Self, rows: np.ndarray) -> _Self:
        """The rows at the given positions (or of the given mask), with the same id maps."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in _COLUMNS}
        taken: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
        return replace(self, **taken, home=None)

    def mapped(self: _Self, like: Table) -> _Self:
        """This table under the id maps and scale of another; ids the other lacks are marked -1."""
        return self.under(like.users, like.items, like.scale)

    def under(self: _Self, users: IdMap, items: IdMap, scale: tuple[float, float]) -> _Self:
        """This table under other id maps and another scale; ids the maps lack are marked -1."""
        if self.users == users and self.items == items:
            return replace(self, users=users, items=items, scale=scale)
        # One look-up an id, not one a rating; the last cell answers for ids unknown here already.
        of_user, of_item = (
            np.append(known.index_of(ids), np.int32(UNKNOWN))
            for ids, known in ((self.users, users), (self.items, items))
        )
        if self.home is None:
            user, item = of_user[self.user], of_item[self.item]
            strangers = self._strangers(self.user, self.strangers, user)
        else:
            spills = [Spill(self.home, np.int32) for _ in range(3)]
            before = self.user if self.strangers is None else self.strangers
            for old, of_old, numbers in walk(self.user, self.item, before):
                part = of_user[old]
                found = self._strangers(old, None if self.strangers is None else numbers, part)
                found = np.full(len(part), UNKNOWN, np.int32) if found is None else found
                for spill, column in zip(spills, (part, of_item[of_old], found), strict=True):
                    spill.append(column)
            user, item, strangers = (spill.column() for spill in spills)
            strangers = None if len(user) == 0 or extent(user)[0] != UNKNOWN else strangers
        return replace(self, user=user, item=item, users=users, items=items, scale=scale, strangers=strangers)

    def _strangers(self, old: np.ndarray, before: np.ndarray | None, user: np.ndarray) -> np.ndarray | None:
        """What tells those of this table's users apart whom other id maps, by which they are ``user``, do not know."""
        unknown = user == UNKNOWN
        if not unknown.any():
            return None
        # Those who are known here by their index, those who were unknown before by their number behind all indices.
        numbers = np.where(old == UNKNOWN, np.int32(self.n_users) + (0 if before is None else before), old)
        return np.where(unknown, numbers, np.int32(UNKNOWN))

    def compact(self: _Self) -> _Self:
        """This table with id maps of just the users and items that have a rating in it."""
        columns: dict[str, Any] = {}
        for side, ids in (("user", self.users), ("item", self.items)):
            index = getattr(self, side)
            self.require_known(index)
            columns[side + "s"], columns[side] = ids.used(index)
        return replace(self, **columns, home=None)

    def require_known(self, *indices: np.ndarray) -> None:
        """Refuse columns of indices that hold an `UNKNOWN`."""
        if any(len(index) and extent(index)[0] == UNKNOWN for index in indices):
            raise DataError(f"{self.name}: holds ratings of unknown users or items; drop them with take(known) first.")
