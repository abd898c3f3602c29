"""What a user types. Each takes its arguments as a list of texts (default: the command line's) and exits."""

from __future__ import annotations

from ._cache import main as cache
from ._data import main as data
from ._predict import main as predict
from ._train import main as train

__all__ = ["cache", "data", "predict", "train"]
