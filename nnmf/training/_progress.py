"""How a running training shows itself: a bar on a terminal, log lines elsewhere, and how long it will take."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from typing import TextIO

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


class TrainingProgress:
    """Progress of a training: tells the expected time once speed is known, then a bar (terminal) or log lines.

    Args:
        stream: where the bar is drawn; default: standard error.
        bar: whether to draw one; default: when the stream is a terminal.
    """

    def __init__(self, stream: TextIO | None = None, bar: bool | None = None) -> None:
        self.stream = stream or sys.stderr
        self.bar = self.stream.isatty() if bar is None else bar
        self._drawn = 0

    def begin(self, n_epochs: int, n_ratings: int, done: int) -> None:
        """Training of ``n_epochs`` epochs over ``n_ratings`` ratings begins, ``done`` epochs of them already behind it."""
        self.n_epochs, self.n_ratings, self.first = n_epochs, n_ratings, done + 1
        self._told, self._logged = False, time.perf_counter()

    def tick(self, epoch: int, done: int, rmse: float, samples_per_second: float) -> None:
        """``done`` ratings of an epoch were trained on, with the given RMSE so far."""
        left = ((self.n_epochs - epoch + 1) * self.n_ratings - done) / samples_per_second
        if not self._told:
            self._told = True
            if left > _LONG_RUN_SECONDS:
                self.clear()
                logger.info(
                    "Expected time: %s for %d epoch%s of %s ratings at %s samples/s.",
                    duration(left),
                    n_left := self.n_epochs - self.first + 1,
                    "s" if n_left > 1 else "",
                    f"{self.n_ratings:,}",
                    f"{samples_per_second:,.0f}",
                )
        if self.bar:
            filled = _BAR_WIDTH * done // self.n_ratings
            self._draw(
                f"Epoch {epoch}/{self.n_epochs} [{'#' * filled:<{_BAR_WIDTH}}] {100 * done // self.n_ratings:3}%  "
                f"RMSE {rmse:.4f}  {samples_per_second:,.0f}/s  {duration(left)} left"
            )
        elif done < self.n_ratings and time.perf_counter() - self._logged > _LOG_SECONDS:
            self._logged = time.perf_counter()
            logger.info(
                "Epoch %d: %s of %s ratings  train RMSE %.4f  %s samples/s  %s left",
                epoch,
                f"{done:,}",
                f"{self.n_ratings:,}",
                rmse,
                f"{samples_per_second:,.0f}",
                duration(left),
            )

    def end(self) -> None:
        """Training ended, one way or another."""
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
