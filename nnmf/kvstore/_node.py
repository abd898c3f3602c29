"""What a scheduler or a server of MXNet's parameter server runs."""

from __future__ import annotations

from nnmf import _mxnet
from nnmf.errors import BackendError

from ._child import Orders, obey


def serve(_: Orders) -> None:
    """Serve until the process is ended: in these roles that is what importing MXNet does."""
    try:
        _mxnet.load()
    except BackendError as error:
        if isinstance(error.__cause__, RuntimeError):  # MXNet's, of its role: what mends an import is no help
            raise error.__cause__ from None
        raise


if __name__ == "__main__":
    obey(serve)
