"""What workers are given and give back: files of their job's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.files import cannot_write, map_npy, write_arrays, write_npy
from nnmf.tables import IdMap, Ratings

mx: Any = _mxnet.load()

#: what the name of a parameter's momentum begins with among arrays
MOMENTUM = "mom:"
#: what an epoch leaves
END = "end.npz"
_SETUP, _SYMBOL, _START = "setup.json", "symbol.json", "start.npz"
_COLUMNS = {"user": np.int32, "item": np.int32, "rating": np.float32}


@dataclass(frozen=True)
class Setup:
    """What a training is.

    Attributes
    ----------
    config : dict
        Of its `TrainConfig`.
    kvstore : str
        How the workers work together.
    n_workers : int
    batch_size : int
        Rows a step.
    sizes : dict of str to int
        Rows of the "user" and the "item" table.
    name, scale, is_mapped
        Of the table of ratings.
    """

    config: dict[str, Any]
    kvstore: str
    n_workers: int
    batch_size: int
    sizes: dict[str, int]
    name: str
    scale: tuple[float, float]
    is_mapped: bool


def hand_over(folder: Path, setup: Setup, symbol: Any, arrays: dict[str, np.ndarray], train: Ratings) -> None:
    """Write what workers start from: the network, its parameters and momentum, and the columns of the table."""
    (folder / _SETUP).write_text(json.dumps(asdict(setup)), encoding="utf-8")
    (folder / _SYMBOL).write_text(symbol.tojson(), encoding="utf-8")
    for name in _COLUMNS:
        with (folder / f"{name}.npy").open("wb") as file:
            write_npy(file, getattr(train, name))
    with (folder / _START).open("wb") as file:
        write_arrays(file, arrays)


def take_over(folder: Path) -> tuple[Setup, Any, dict[str, np.ndarray], Ratings]:
    """What `hand_over` wrote; the columns of the table are mapped, and no ids are known."""
    setup = Setup(**json.loads((folder / _SETUP).read_text(encoding="utf-8")))
    user, item, rating = (map_npy(folder / f"{name}.npy", dtype) for name, dtype in _COLUMNS.items())
    users, items = (IdMap.of_distinct(np.arange(setup.sizes[side])) for side in ("user", "item"))
    low, high = setup.scale
    home = folder if setup.is_mapped else None  # else its epochs are put in order as in memory
    train = Ratings(user, item, rating, users, items, name=setup.name, scale=(low, high), home=home)
    return setup, mx.sym.load(str(folder / _SYMBOL)), _arrays(folder / _START), train


def give_back(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write what an epoch left; a DataError where there is a folder in which it cannot be."""
    try:
        with (folder / END).open("wb") as file:
            write_arrays(file, arrays)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_write(folder / END, error) from None


def take_back(folder: Path) -> dict[str, np.ndarray]:
    """What `give_back` wrote."""
    found = _arrays(folder / END)
    (folder / END).unlink()
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
