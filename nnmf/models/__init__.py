"""What every model is and answers, whatever computes its predictions."""

from __future__ import annotations

from ._answers import Answers
from ._biases import DampedBiases
from ._catalogue import Catalogue
from ._choosing import best_of
from ._evaluation import check_metrics, evaluate
from ._ids import pairs_of
from ._low_rank import Product, compress, kept_width, thinned
from ._mean import MeanScorer, own_scorer
from ._model import Model
from ._state import from_state

__all__ = [
    "Answers",
    "Catalogue",
    "DampedBiases",
    "MeanScorer",
    "Model",
    "Product",
    "best_of",
    "check_metrics",
    "compress",
    "evaluate",
    "from_state",
    "kept_width",
    "own_scorer",
    "pairs_of",
    "thinned",
]
