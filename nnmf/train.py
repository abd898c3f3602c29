"""The door to training: `fit`, `TrainConfig`, and the command ``python -m nnmf.train``."""

from __future__ import annotations

from nnmf._lazy import lazily

TYPE_CHECKING = False  # as in `nnmf`

if TYPE_CHECKING:
    from nnmf.config import TrainConfig
    from nnmf.kinds import fit

__all__ = ["TrainConfig", "fit"]

# Imported when asked for: the command is on its guard against Ctrl-C before it imports anything.
__getattr__, __dir__ = lazily(__name__, {"TrainConfig": "nnmf.config", "fit": "nnmf.kinds"})

if __name__ == "__main__":
    from nnmf.commands import run

    run("train")
