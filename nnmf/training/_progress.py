"""How a running training shows itself: a bar on a terminal, log lines elsewhere, and how long it will take."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

from nnmf.errors import ConfigError

if TYPE_CHECKING:
    from ._loop import Progress

logger = logging.getLogger("nnmf")

# A log line within an epoch at most this often; an epoch's end has its own line.
_LOG_SECONDS = 10.0
# An expected time below this is not worth a line.
_LONG_RUN_SECONDS = 10.0
_BAR_WIDTH = 24


def duration(seconds: float) -> str:
    """Seconds as people say them: ``"8 s"``, ``"2 min 05 s"``, ``"3 h 07 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def in_notebook() -> bool:
    """Whether this is a notebook: IPython is not imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    # Colab's is derived from Jupyter's.
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


def chosen_progress(progress: Progress | bool | None) -> Progress | None:
    """What is told of a training.

    Parameters
    ----------
    progress : Progress, bool or None
        None: a bar in a notebook, else nobody; True: a `TrainingProgress`; False: nobody.

    Raises
    ------
    ConfigError
        None of these.
    """
    if progress is None or isinstance(progress, bool):
        return TrainingProgress() if progress or (progress is None and in_notebook()) else None
    if not all(callable(getattr(progress, name, None)) for name in ("begin", "tick", "end")):
        raise ConfigError(
            f"progress: got {progress!r}; give True, False, or an object with begin, tick and end, such as TrainingProgress()."
        )
    return progress


class TrainingProgress:
    """Progress of a training: tells the expected time once speed is known, then a bar (terminal, notebook) or log lines.

    Parameters
    ----------
    stream : text file, default=None
        Where the bar is drawn; None: standard error, in a notebook standard output, which it shows in black.
    bar : bool, default=None
        Whether to draw one; None: on a terminal and in a notebook.
    """

    def __init__(self, stream: TextIO | None = None, bar: bool | None = None) -> None:
        notebook = stream is None and in_notebook()
        found = stream or (sys.stdout if notebook else sys.stderr)
        # A process may be started without standard error.
        self.bar = found is not None and (notebook or found.isatty() if bar is None else bar)
        self.stream: TextIO = found
        # In a notebook the last state stays, as nothing else is shown of the training there.
        self._stays = notebook
        self._drawn = 0

    def begin(self, n_epochs: int, n_ratings: int, done: int) -> None:
        """Training of ``n_epochs`` epochs over ``n_ratings`` ratings begins, ``done`` epochs of them already behind it."""
        self.n_epochs, self.n_ratings, self.first = n_epochs, n_ratings, done + 1
        self._looks, self._seen, self._logged = 0, (0, 0), time.perf_counter()

    def tick(self, epoch: int, done: int, rmse: float, samples_per_second: float) -> None:
        """``done`` ratings of an epoch were trained on, with the given RMSE so far.

        From the second look on the speed is that of training alone, so that the time it leaves can be told.
        """
        left = ((self.n_epochs - epoch + 1) * self.n_ratings - done) / samples_per_second
        first_of_two = self._looks == 1
        if (epoch, done) != self._seen:  # an epoch's last look may be all that there was of it
            self._looks, self._seen = self._looks + 1, (epoch, done)
        if first_of_two and self._looks == 2 and left > _LONG_RUN_SECONDS:
            self.clear()
            logger.info(
                "Expected time: %s for %d epoch%s of %s ratings at %s samples/s.",
                duration(left),
                n_left := self.n_epochs - self.first + 1,
                "s" if n_left > 1 else "",
                f"{self.n_ratings:,}",
                f"{samples_per_second:,.0f}",
            )
        speed = f"{samples_per_second:,.0f}"
        if self.bar:
            filled = _BAR_WIDTH * done // self.n_ratings
            self._draw(
                f"Epoch {epoch}/{self.n_epochs} [{'#' * filled:<{_BAR_WIDTH}}] {100 * done // self.n_ratings:3}%  "
                f"RMSE {rmse:.4f}" + (f"  {speed}/s  {duration(left)} left" if self._looks > 1 else "")
            )
        elif done < self.n_ratings and time.perf_counter() - self._logged > _LOG_SECONDS:
            self._logged = time.perf_counter()
            logger.info(
                "Epoch %d: %s of %s ratings  train RMSE %.4f  %s samples/s  %s left",
                epoch,
                f"{done:,}",
                f"{self.n_ratings:,}",
                rmse,
                speed,
                duration(left),
            )

    def end(self) -> None:
        """Training ended, one way or another."""
        if self._stays and self._drawn:
            self.stream.write("\n")
            self.stream.flush()
            self._drawn = 0
        self.clear()

    def clear(self) -> None:
        """Wipe the bar, so that a line can be written in its place."""
        if self._drawn:
            self.stream.write("\r" + " " * self._drawn + "\r")
            self.stream.flush()
            self._drawn = 0

    def _draw(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]  # a longer line would wrap and could not be wiped
        self.stream.write("\r" + text.ljust(self._drawn))
        self.stream.flush()
        self._drawn = max(self._drawn, len(text))
