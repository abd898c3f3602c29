"""What a scheduler or a server of MXNet's parameter server runs."""

from __future__ import annotations

from nnmf import _mxnet

from ._child import Orders, obey


def serve(_: Orders) -> None:
    """Serve until the process is ended: in these roles that is what importing MXNet does."""
    _mxnet.load()


if __name__ == "__main__":
    obey(serve)
