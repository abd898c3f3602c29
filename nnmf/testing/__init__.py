"""Contract tests for a network or a model of one's own, and tables with a known answer.

A file that pytest collects, such as ``test_my_net.py``, holds

    import nnmf.testing

    class TestMyNet(nnmf.testing.ModelContract):
        model = "my_module:my_net"
        settings = {"n_factors": 5, "n_epochs": 10, "batch_size": 50, "learning_rate": 0.2, "ctx": "cpu"}
        expected_rmse = (0.2, 0.5)

pytest need not be installed to import this.
"""

from __future__ import annotations

from ._answers import AnswersContract
from ._base import Contract
from ._compare import Killed, assert_same_list, assert_same_model, brute_force, kill_after, parameters
from ._files import FilesContract
from ._tables import low_rank
from ._training import TrainingContract

__all__ = [
    "AnswersContract",
    "Contract",
    "FilesContract",
    "Killed",
    "ModelContract",
    "TrainingContract",
    "assert_same_list",
    "assert_same_model",
    "brute_force",
    "kill_after",
    "low_rank",
    "parameters",
]


class ModelContract(TrainingContract, AnswersContract, FilesContract):
    """All that every kind of model keeps: training, answers and files; see `Contract` for what to set."""
