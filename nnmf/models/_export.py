"""A model on its way out, as an ONNX file."""

from __future__ import annotations

import os

import numpy as np

from nnmf import storage
from nnmf._version import __version__
from nnmf.onnx import ExportedIds
from nnmf.tables import UNKNOWN

from ._answers import Answers
from ._kind import Kind


def export_onnx(model: Kind, path: str | os.PathLike[str], ids: bool) -> None:
    """Write the file; see `Model.export_onnx`."""
    wrap = _exported(model.answers) if ids else None
    metadata = {"nnmf": __version__, "kind": model.kind, **{k: str(v) for k, v in model.details().items()}}
    model.scorer.export(storage.as_folder(path, "file"), wrap, metadata)


def _exported(answers: Answers) -> ExportedIds:
    """Ids, means and scale as an ONNX file holds them."""
    catalogue = answers.catalogue
    sizes = ("user", len(catalogue.users)), ("item", len(catalogue.items))
    known = [catalogue.known(side, np.arange(n, dtype=np.int32)) for side, n in sizes]
    return ExportedIds(
        catalogue.users,
        catalogue.items,
        answers.user_alone,
        answers.item_alone,
        catalogue.base,
        catalogue.scale,
        *(None if (index != UNKNOWN).all() else index for index in known),
    )
