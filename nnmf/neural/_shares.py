"""Who takes which part of a training: the devices of a process, and the workers of MXNet's parameter server."""

from __future__ import annotations

from typing import Any

from nnmf import _mxnet
from nnmf.errors import ConfigError

from ._iterator import DataIter

mx: Any = _mxnet.load()


class Share:
    """All of a training: the part of a process that trains alone."""

    rank, n_workers = 0, 1

    def kvstore(self, contexts: list[Any]) -> Any:
        """Where the devices' gradients are added up for an epoch, and the step is taken; None for one device."""
        if len(contexts) == 1:
            return None
        # Not by its name, by which MXNet would take a step on each device for large arrays.
        return mx.kv.create("device" if contexts[0].device_type == "gpu" else "local")

    def rows_of_worker(self, batch_size: int) -> int:
        """This process's rows of a step's ``batch_size``."""
        return batch_size

    def n_of(self, n_rows: int) -> int:
        """How many of the first rows of an epoch, or of a step, are this process's: every n_workers-th, from its rank on."""
        return len(range(self.rank, n_rows, self.n_workers))

    def rows_of_all(self, batches: DataIter) -> int:
        """Rows an epoch of all processes, of which these are this one's."""
        return batches.n_streamed


ALONE = Share()


def check_devices(batch_size: int, contexts: list[Any]) -> None:
    """Refuse batches of fewer rows than there are devices to share them.

    Raises
    ------
    ConfigError
        So few.
    """
    if batch_size < len(contexts):
        raise ConfigError(
            f"batch_size: got {batch_size} for the {len(contexts)} devices of ctx; give one row for each at least, or fewer devices."
        )
