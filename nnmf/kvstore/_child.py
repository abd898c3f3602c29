"""`Orders`: what a process of a job is told, by whoever started it; without whom it ends. `obey`: all that such a process runs."""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

#: what the folder of a job is named like
PREFIX = "nnmf-kvstore-"


class Orders:
    """Lines of JSON on standard input, answered by lines on standard output; whatever else is printed goes to standard error.

    The end of standard input ends the process, whatever it is at: whoever started it has no more to ask, or is gone; even one
    that was killed leaves neither processes nor files.
    """

    def __init__(self) -> None:
        self._folder = Path.cwd()
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> dict[str, Any]:
        """The next order; waits for one."""
        return self._orders.get()

    def answer(self, **message: Any) -> None:
        """Tell whoever started this process."""
        self._answers.write(json.dumps(message) + "\n")
        self._answers.flush()

    def _listen(self) -> None:
        left = b""
        while part := os.read(0, 1 << 16):
            *lines, left = (left + part).split(b"\n")
            for line in lines:
                self._orders.put(json.loads(line))
        if self._folder.name.startswith(PREFIX):
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)


def obey(work: Callable[[Orders], Any]) -> NoReturn:
    """Do the work of a process of a job; an error ends it at once, with exit code 1.

    Python's own end would not be one: MXNet lets go of a worker's store when all workers do, and meanwhile nobody listens.
    """
    orders = Orders()
    try:
        work(orders)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # here, where the error still holds the store
    os._exit(0)
