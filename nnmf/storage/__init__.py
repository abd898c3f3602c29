"""Trained models as plain data, model folders and run folders."""

from __future__ import annotations

from ._models import as_folder, claim, read, save, write
from ._mxparams import read_params, write_params
from ._runs import RunFolder, default_folder
from ._state import ModelState, Parameters, check_array

__all__ = [
    "ModelState",
    "Parameters",
    "RunFolder",
    "as_folder",
    "check_array",
    "claim",
    "default_folder",
    "read",
    "read_params",
    "save",
    "write",
    "write_params",
]
