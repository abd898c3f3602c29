"""Models on compiled loops, without MXNet."""

from __future__ import annotations

from ._bayes import Bayes
from ._model import Factorization
from ._svd import SVD, FunkSVD, SVDpp

__all__ = ["SVD", "Bayes", "Factorization", "FunkSVD", "SVDpp"]
