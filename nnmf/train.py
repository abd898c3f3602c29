"""The door to training: `fit`, `TrainConfig`, and the command ``python -m nnmf.train``."""

from __future__ import annotations

from nnmf.config import TrainConfig
from nnmf.kinds import fit

__all__ = ["TrainConfig", "fit"]

if __name__ == "__main__":
    from nnmf.commands import train

    train()
