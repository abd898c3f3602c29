"""`Observed`: ratings and what describes them, laid out once for all chains of the Gibbs sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnmf.tables import Block, Codes

from ._layout import checked_columns
from ._ordinal import Grid

# Parts that threads share, and the memory that a chain's sums by part may take.
_CHUNKS, _SUM_BYTES = 8, 1 << 26
# The arrays of a block's entries: column by column, and row by row.
_OF_ENTRIES = ("column_starts", "column_rows", "column_weights", "starts", "columns", "weights")


@dataclass(frozen=True, eq=False)
class Entries:
    """A block, and its entries in the order of their columns: where each column's start, their rows and weights."""

    block: Block
    by_column: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Observed:
    """Ratings in the order of their users; never changed.

    Attributes
    ----------
    starts : int64 array of shape (n_users + 1,)
        Where the ratings of each user begin, and the end.
    item, day : int32 arrays of shape (n_ratings,)
        No days: None.
    rating : float32 array of shape (n_ratings,)
        From their centre in units of their spread; of ratings on a grid zeros, so that residuals are minus the predictions.
    counts : dict of str to int64 array
        Ratings of each row of a side: "user", "item" and, where there are days, "day".
    blocks : dict of str to tuple of Entries
        What describes the rows of a side beside their ids.
    grid : Grid or None
    edges : int64 array of shape (n_chunks + 1,)
        First user of each part that threads share.
    """

    starts: np.ndarray
    item: np.ndarray
    day: np.ndarray | None
    rating: np.ndarray
    counts: dict[str, np.ndarray]
    blocks: dict[str, tuple[Entries, ...]]
    grid: Grid | None
    edges: np.ndarray

    @property
    def n_chunks(self) -> int:
        """Parts that threads share; what is drawn does not depend on them."""
        return len(self.edges) - 1

    @classmethod
    def of(
        cls,
        user: np.ndarray,
        item: np.ndarray,
        rating: np.ndarray,
        sizes: tuple[int, int],
        blocks: tuple[Sequence[Block], Sequence[Block]],
        day: Codes | None,
        *,
        centre: float,
        spread: float,
        ordinal: bool = False,
        values: np.ndarray | None = None,
    ) -> Observed:
        """Lay ratings out.

        Parameters
        ----------
        user, item, rating : arrays of shape (n_ratings,)
        sizes : (int, int)
            Numbers of users and items.
        blocks : (sequence of Block, sequence of Block)
            What describes the users, and the items.
        day : Codes or None
            A column of each rating.
        centre, spread : float
            Mean and standard deviation of the ratings.
        ordinal : bool
            Take ratings for values of a grid.
        values : array, default=None
            The grid; None: the values that the ratings take.

        Raises
        ------
        DataError
            Columns that do not fit together, or an index outside the tables.
        ConfigError
            Ratings that are no values of the grid, or no grid.
        """
        (user, item, rating), of_sides = checked_columns(user, item, rating, *sizes)
        counts = dict(zip(("user", "item"), (count.astype(np.int64) for count in of_sides), strict=True))
        if day is not None:
            counts["day"] = np.bincount(day.code, minlength=day.n_columns).astype(np.int64)
        starts = np.zeros(sizes[0] + 1, np.int64)
        np.cumsum(counts["user"], out=starts[1:])
        order = np.argsort(user, kind="stable")
        rating = rating[order]
        most_rows = max(len(count) for side, count in counts.items() if side != "user")
        n_chunks = max(1, min(_CHUNKS, _SUM_BYTES // (32 * most_rows)))
        edges = np.searchsorted(starts, np.linspace(0, len(rating), n_chunks + 1)).astype(np.int64)
        edges[[0, -1]] = 0, sizes[0]
        grid = None
        if ordinal:
            grid = Grid(rating, values, n_chunks)
            rating[:] = 0.0
        else:
            rating -= np.float32(centre)
            rating /= np.float32(spread)
        by_side = zip(("user", "item"), blocks, strict=True)
        entries = {side: tuple(Entries(block, _by_column(block)) for block in part) for side, part in by_side}
        in_order = None if day is None else day.code[order]
        return cls(starts, item[order], in_order, rating, counts, {**entries, "day": ()}, grid, edges)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it, by name, for `from_arrays`."""
        found = {"starts": self.starts, "item": self.item, "rating": self.rating, "edges": self.edges}
        if self.day is not None:
            found["day"] = self.day
        if self.grid is not None:
            found |= {"values": self.grid.values, "level": self.grid.level}
        found |= {f"{side}_counts": count for side, count in self.counts.items()}
        for side, parts in self.blocks.items():
            for index, entries in enumerate(parts):
                block = entries.block
                names = dict(
                    zip(_OF_ENTRIES, (*entries.by_column, block.starts, block.column, block.weight), strict=True)
                )
                found |= {f"{side}_{index}_{name}": array for name, array in names.items()}
        return found

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Observed:
        """What `to_arrays` took apart; names of blocks are not kept."""
        blocks: dict[str, tuple[Entries, ...]] = {}
        for side in ("user", "item", "day"):
            parts: list[Entries] = []
            while f"{side}_{len(parts)}_{_OF_ENTRIES[0]}" in arrays:
                *by_column, starts, column, weight = (arrays[f"{side}_{len(parts)}_{name}"] for name in _OF_ENTRIES)
                block = Block("", starts, column, weight, len(by_column[0]) - 1)
                parts.append(Entries(block, (by_column[0], by_column[1], by_column[2])))
            blocks[side] = tuple(parts)
        counts = {side: arrays[f"{side}_counts"] for side in blocks if f"{side}_counts" in arrays}
        edges, grid = arrays["edges"], None
        if "values" in arrays:
            grid = Grid(arrays["values"][arrays["level"]], arrays["values"], len(edges) - 1)
        return cls(arrays["starts"], arrays["item"], arrays.get("day"), arrays["rating"], counts, blocks, grid, edges)


def _by_column(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row = np.repeat(np.arange(len(block.starts) - 1, dtype=np.int32), np.diff(block.starts))
    order = np.argsort(block.column, kind="stable")
    starts = np.zeros(block.n_columns + 1, np.int64)
    np.cumsum(np.bincount(block.column, minlength=block.n_columns), out=starts[1:])
    return starts, row[order], block.weight[order]
