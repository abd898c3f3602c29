"""What the commands share: flags built from the configs' fields, logging, errors as one sentence and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from nnmf.config import DataConfig, TrainConfig, from_text, kind_of
from nnmf.errors import NnmfError

from . import Terminated, is_terminated

_Config = TypeVar("_Config", DataConfig, TrainConfig)
_INTERRUPTED, _TERMINATED = 130, 143  # what shells report of a process that Ctrl-C, or SIGTERM, ended


class Parser(argparse.ArgumentParser):
    """Argument parser whose complaints are one sentence, and which takes whole flags only."""

    def __init__(self, **options: Any) -> None:
        _complete_streams()
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_flags(parser: argparse.ArgumentParser, config: type, title: str, only: Iterable[str] | None = None) -> None:
    """Add a flag for each field of a config, or for ``only`` those named."""
    group = parser.add_argument_group(title)
    for entry in dataclasses.fields(config):
        if only is not None and entry.name not in only:
            continue
        rules = entry.metadata
        if kind_of(entry) is bool:  # on, unless the flag turns it off
            group.add_argument(
                "--no-" + entry.name.replace("_", "-"),
                dest=entry.name,
                action="store_false",
                default=argparse.SUPPRESS,
                help=rules["help"],
            )
            continue
        default = "" if entry.default is None else f" (default: {entry.default})"
        # The config itself checks and converts the text, in the words that a notebook's user reads too.
        group.add_argument(
            "--" + entry.name.replace("_", "-"),
            metavar="|".join(rules["choices"]) if "choices" in rules else entry.name.upper(),
            default=argparse.SUPPRESS,
            help=rules["help"].replace("%", "%%") + default,
        )


def read_flags(config: type[_Config], arguments: argparse.Namespace) -> _Config:
    """The config of the flags that were given.

    Raises
    ------
    ConfigError
        A value that cannot be used.
    """
    given = vars(arguments)
    entries = [entry for entry in dataclasses.fields(config) if entry.name in given]
    return config(**{entry.name: from_text(entry, given[entry.name]) for entry in entries})


class _LogHandler(logging.StreamHandler):
    """Lines on standard error, in the place of whatever progress bar is drawn there."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.before_line: Callable[[], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.before_line:
            self.before_line()
        super().emit(record)


def start_logging(before_line: Callable[[], None] | None = None) -> None:
    """Show the package's log lines, plain, on standard error."""
    logger = logging.getLogger("nnmf")
    for old in [handler for handler in logger.handlers if isinstance(handler, _LogHandler)]:
        logger.removeHandler(old)
    handler = _LogHandler()
    handler.before_line = before_line
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _drop_output() -> None:
    """Let nothing more be written to standard output, not even what is still buffered."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complete_streams() -> None:
    """A process may be started without standard error; what is written there is then dropped, and nothing fails for it."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def run_command(prog: str, command: Callable[[], Any]) -> NoReturn:
    """Run a command and exit: 0 when it is done, the error's code with one sentence when it fails."""
    _complete_streams()
    try:
        command()
        if sys.stdout is not None:
            sys.stdout.flush()
        code, line = 0, ""
    except NnmfError as error:
        code, line = error.exit_code, f"error: {error}"
    except MemoryError:
        code, line = 1, "error: out of memory; take smaller tables, vectors or batches."
    except BrokenPipeError:
        # Whoever read the output has enough; nothing may be written to it at exit either.
        _drop_output()
        code, line = 1, ""
    except KeyboardInterrupt as interrupt:
        code = _TERMINATED if isinstance(interrupt, Terminated) or is_terminated() else _INTERRUPTED
        line = f"{str(interrupt).rstrip('.') or 'interrupted'}."
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        code, line = 1, f"error: {where}{error.strerror or error}."
        if error.errno in (errno.ENOSPC, errno.EBADF):  # standard output is what failed: leave no second error at exit
            _drop_output()
    if line:
        with contextlib.suppress(OSError):
            print(f"{prog}: {line}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    sys.exit(code)
