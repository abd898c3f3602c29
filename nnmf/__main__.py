"""The door to all commands: ``python -m nnmf COMMAND``, as the script ``nnmf`` runs it."""

from __future__ import annotations

__all__: list[str] = []

if __name__ == "__main__":
    from nnmf.commands import main

    main()
