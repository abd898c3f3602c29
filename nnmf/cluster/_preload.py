"""What a worker that was started here runs first: Dask imports this by its name."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(_: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all its processes, to the one that started this worker, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
