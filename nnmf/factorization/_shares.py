"""What a worker of a cluster does of an epoch of SGD: pure tasks over a share of the stripes of users and of items.

A task reads its ratings, and where no other task has trained them yet its rows, from the files of a folder that all machines share. It
changes nothing but copies of its own, so that it may be run again, on another worker, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnmf.cluster import unreadable

from . import _kernels
from ._layout import COLUMNS
from ._scorer import copied

#: the file that says where each block begins
STARTS = "starts.npy"

#: rows of some stripes: by stripe, the arrays by name
Rows = dict[int, dict[str, np.ndarray]]


class Span(NamedTuple):
    """The rows of a stripe: its first, and the first that is not its own."""

    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Share:
    """What a task trains.

    Attributes
    ----------
    folder : str
        Of the files: the ratings, a file for each column, block after block, users and items counted from the first of their
        stripe; where blocks begin; rows.
    kernel : str
        Name of the loop in `_kernels`.
    arguments : tuple
        What it takes after the ratings: numbers, and names of tables, which begin with "user_" or "item_".
    files : dict of str to str
        The file that holds each of these tables as the epoch began.
    users, items : dict of int to Span
        Its stripes.
    visits : list of (int, int, int32 array)
        Which stripe of users meets which of items in which blocks, one after another.
    """

    folder: str
    kernel: str
    arguments: tuple[Any, ...]
    files: dict[str, str]
    users: dict[int, Span]
    items: dict[int, Span]
    visits: list[tuple[int, int, np.ndarray]]


def is_fixed(name: str) -> bool:
    """Whether no epoch changes a table of this name."""
    return name.endswith("_l2")


def train_share(share: Share, users: dict[str, Any] | None, items: dict[str, Any] | None) -> dict[str, Any]:
    """Train a share of an epoch.

    Parameters
    ----------
    share : Share
    users, items : dict or None
        What the tasks came to that had its users' rows, and its items', before; they stay as they are. None: the epoch begins.

    Returns
    -------
    dict
        "users", "items": their rows now. "errors": the blocks that it trained, and the total squared error of each.
    """
    folder = Path(share.folder)
    try:
        starts = np.load(folder / STARTS)
        columns = [_mapped(folder / name, dtype, int(starts[-1])) for name, dtype in COLUMNS.items()]
        own, fixed = [], []
        for side, spans, before in (("user", share.users, users), ("item", share.items, items)):
            names = [name for name in share.files if name.startswith(f"{side}_")]
            changed = [name for name in names if not is_fixed(name)]
            own.append(_copied(_stored(share, changed, spans) if before is None else before[f"{side}s"]))
            fixed.append(_copied(_stored(share, [name for name in names if is_fixed(name)], spans)))
    except (OSError, ValueError) as error:
        raise unreadable(folder, error) from None
    errors = np.zeros(len(starts) - 1)
    kernel = getattr(_kernels, share.kernel)
    for user, item, blocks in share.visits:
        tables = {**own[0][user], **own[1][item], **fixed[0][user], **fixed[1][item]}
        arguments = (tables[given] if isinstance(given, str) else given for given in share.arguments)
        kernel(blocks, np.zeros(1, np.int64), starts, errors, *columns, *arguments)
    trained = np.concatenate([blocks for *_, blocks in share.visits])
    return {"users": own[0], "items": own[1], "errors": (trained, errors[trained])}


def _copied(stripes: Rows) -> Rows:
    """Copies of rows, laid out as the loops like them."""
    return {
        stripe: {name: copied(array, len(array)) for name, array in rows.items()} for stripe, rows in stripes.items()
    }


def _stored(share: Share, names: list[str], spans: dict[int, Span]) -> Rows:
    """The rows of some stripes as the epoch began, mapped."""
    tables = {name: np.load(Path(share.folder) / share.files[name], mmap_mode="r") for name in names}
    return {
        stripe: {name: table[span.first : span.last] for name, table in tables.items()}
        for stripe, span in spans.items()
    }


def _mapped(path: Path, dtype: Any, n: int) -> np.ndarray:
    """A column of a file. Were it changed, it would be in memory alone: to Numba a read-only array is of another type."""
    return np.asarray(np.memmap(path, dtype, "c", shape=(n,)))
