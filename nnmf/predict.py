"""The door to answers: the command ``python -m nnmf.predict``."""

from __future__ import annotations

__all__: list[str] = []

if __name__ == "__main__":
    from nnmf.commands import run

    run("predict")
