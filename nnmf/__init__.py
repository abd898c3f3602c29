"""nnmf: neural matrix factorization on Apache MXNet. The public names, imported when first asked for."""

from __future__ import annotations

from ._lazy import lazily
from ._version import __version__

# `typing`'s own, without the time of importing it: until a command is on its guard, Ctrl-C is a traceback.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from nnmf._mxnet import mx
    from nnmf.config import DataConfig, TrainConfig
    from nnmf.factorization import SVD, Bayes, FunkSVD, SVDpp
    from nnmf.kinds import fit, load, load_checkpoint
    from nnmf.neural import DataIter, NetworkModel
    from nnmf.tables import Features, Ratings

_HOMES = {
    "DataConfig": "nnmf.config",
    "TrainConfig": "nnmf.config",
    "Features": "nnmf.tables",
    "Ratings": "nnmf.tables",
    "DataIter": "nnmf.neural",
    "NetworkModel": "nnmf.neural",
    "SVD": "nnmf.factorization",
    "FunkSVD": "nnmf.factorization",
    "SVDpp": "nnmf.factorization",
    "Bayes": "nnmf.factorization",
    "fit": "nnmf.kinds",
    "load": "nnmf.kinds",
    "load_checkpoint": "nnmf.kinds",
    "mx": "nnmf._mxnet",
}

__all__ = [
    "SVD",
    "Bayes",
    "DataConfig",
    "DataIter",
    "Features",
    "FunkSVD",
    "NetworkModel",
    "Ratings",
    "SVDpp",
    "TrainConfig",
    "__version__",
    "fit",
    "load",
    "load_checkpoint",
    "mx",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
