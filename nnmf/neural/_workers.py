"""`Workers`: processes that train a network together, by MXNet's parameter server, and what they are given and give back."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nnmf.config import TrainConfig
from nnmf.errors import ConfigError, TrainingError
from nnmf.files import cannot_write
from nnmf.kvstore import PREFIX, Job, ProcessEnded, places_of
from nnmf.tables import Ratings
from nnmf.training import Tick

from ._handover import END, Setup, hand_over, take_back

logger = logging.getLogger("nnmf")

_WORKER = "nnmf.neural._worker"
_Result = TypeVar("_Result")


class Workers:
    """Workers that train, each on its share of every epoch, from `start` to `end`.

    Parameters
    ----------
    cluster : int or distributed.Client
        So many processes of this machine, or one for each of the cluster's workers.
    config : TrainConfig
    symbol : Symbol
        The network as predictions come from it.
    sizes : dict of str to int
        Rows of the "user" and the "item" table.
    arrays : dict of str to array
        Parameters as a scorer names them, and momentum.
    train : Ratings
    batch_size : int
        Rows a step, about.

    Attributes
    ----------
    arrays : dict of str to array
        As they stand after the last epoch.
    n_streamed : int
        Ratings that all workers train on in an epoch; known once they are started.

    Raises
    ------
    ConfigError
        A batch that cannot be shared alike, or more workers than ratings.
    """

    def __init__(
        self,
        cluster: Any,
        config: TrainConfig,
        symbol: Any,
        sizes: dict[str, int],
        arrays: dict[str, np.ndarray],
        train: Ratings,
        batch_size: int,
    ) -> None:
        self._cluster, self._config, self._symbol, self._sizes, self.arrays = cluster, config, symbol, sizes, arrays
        self._train, self._restarts = train, config.restarts or 0
        self._kind = config.kvstore or "dist_sync"
        self._batch_size = batch_size
        self._folder: Path | None = None
        self._job: Job | None = None
        self.n_streamed = 0

    def start(self) -> None:
        """Start the workers.

        Raises
        ------
        TrainingError
            A process ended, and is not to be started again; so does `epoch`.
        """
        self._persistently(lambda: None, "at the start", "")

    def _start(self) -> None:
        try:
            self._folder = _folder(self._train.home)
            places = places_of(self._cluster, self._folder)
            hand_over(self._folder, self._setup(len(places)), self._symbol, self.arrays, self._train)
        except OSError as error:
            raise cannot_write(self._folder or Path(tempfile.gettempdir()), error) from None
        self._job = Job(places, _WORKER)
        self.n_streamed = sum(message["n_streamed"] for message in self._job.ready)
        logger.info("KVStore: %d worker%s, %s.", len(places), "s" if len(places) > 1 else "", self._kind)

    def _setup(self, n_workers: int) -> Setup:
        train = self._train
        return Setup(
            config=self._config.to_dict(),
            kvstore=self._kind,
            n_workers=n_workers,
            batch_size=self._rows_of_step(n_workers),
            sizes=self._sizes,
            name=train.name,
            scale=train.scale,
            is_mapped=train.home is not None,
        )

    def _rows_of_step(self, n_workers: int) -> int:
        """Rows a step: of all workers together, or, where they wait for nobody, of one."""
        n_ratings = len(self._train)
        if n_ratings < n_workers:
            raise ConfigError(
                f"cluster: {n_workers} workers are more than the {n_ratings} ratings of {self._train.name}; take fewer."
            )
        # A short batch may be filled, or may not.
        whole = math.floor if self._config.last_batch == "discard" else math.ceil
        if self._kind == "dist_async":
            share = whole(n_ratings / n_workers) * (1 + (self._config.negatives or 0))
            if self._batch_size > share:
                logger.info("Batches of %d: all that each worker has of the ratings.", share)
            return min(self._batch_size, share)
        if self._batch_size % n_workers == 0:
            return self._batch_size
        if self._batch_size == self._config.batch_size:
            raise ConfigError(
                f"batch_size: got {self._batch_size}, which {n_workers} workers cannot share alike; give a multiple of {n_workers}."
            )
        shared = max(1, whole(self._batch_size / n_workers)) * n_workers
        logger.info("Batches of %d, which %d workers share alike.", shared, n_workers)
        return shared

    def epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        """Train an epoch; returns the RMSE over its ratings."""
        return self._persistently(
            lambda: self._epoch(number, learning_rate, tick),
            f"in epoch {number}",
            f", from the end of epoch {number - 1}",
        )

    def _persistently(self, attempt: Callable[[], _Result], when: str, whence: str) -> _Result:
        """What an attempt comes to once the workers are started: again, where one ended, while restarts are left."""
        while True:
            try:
                if self._job is None:
                    self._start()
                return attempt()
            except ProcessEnded as error:
                self.end()
                if not self._restarts:
                    raise TrainingError(
                        f"{error} {when}, so training stopped; with restarts (--restarts N) it goes on from the epoch before by "
                        "itself."
                    ) from None
                self._restarts -= 1
                logger.warning(
                    "%s %s; all processes are started again%s (%d restarts left).",
                    error,
                    when,
                    whence,
                    self._restarts,
                )

    def _epoch(self, number: int, learning_rate: float, tick: Tick) -> float:
        job, folder = self._job, self._folder
        assert job is not None and folder is not None
        job.tell(number=number, learning_rate=learning_rate)
        n_workers = len(job.workers)
        done: dict[str, dict[str, Any]] = {}
        while len(done) < n_workers:
            message = job.hear()
            if "epoch" in message:
                done[message["from"]] = message
            else:
                rmse = float(message["rmse"])
                tick(min(message["done"] * n_workers, self.n_streamed), lambda rmse=rmse: rmse)  # type: ignore[misc]
        job.collect(END)
        try:
            self.arrays = take_back(folder)
        except FileNotFoundError:  # the processes of a Dask worker that is killed take the folder with them
            raise ProcessEnded("The folder of KVStore's processes is gone") from None
        squares = [
            ready["n_streamed"] * done[name]["rmse"] ** 2 for name, ready in zip(job.workers, job.ready, strict=True)
        ]
        return math.sqrt(math.fsum(squares) / self.n_streamed)

    def end(self) -> None:
        """End all processes; nothing is left of them."""
        if self._job is not None:
            self._job.end()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._job = self._folder = None


def _folder(home: Path | None) -> Path:
    """A new folder: beside a mapped table, whose disk has room for its columns, or where temporary ones are."""
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
    except OSError:
        return Path(tempfile.mkdtemp(prefix=PREFIX))
