"""The door to all commands: ``python -m nnmf COMMAND``, as the script ``nnmf`` runs it."""

from __future__ import annotations

if __name__ == "__main__":
    from nnmf.commands import main

    main()
