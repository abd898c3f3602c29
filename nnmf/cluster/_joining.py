"""`joined`: a client of the cluster that a text or the user's own client names, let go of or ended as it was found or started."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmf.errors import BackendError, ConfigError

from ._workers import check_workers, workers_of

if TYPE_CHECKING:
    from distributed import Client

_WAYS = "give local:N for N processes here, tcp://HOST:PORT of a scheduler, or the path of a scheduler file"
# Seconds that a scheduler has to answer in.
_ANSWER_SECONDS = 10
_LOOPBACK = "127.0.0.1"


def check_cluster(cluster: Any, own_workers: bool = False) -> None:
    """Refuse what names no cluster, without asking for one.

    Parameters
    ----------
    cluster : str or distributed.Client
        ``"local:N"``, the address or the file of a scheduler, or a client of the user's own.
    own_workers : bool, default=False
        Whether ``"local:N"`` stands for processes that the model starts itself, without Dask.

    Raises
    ------
    ConfigError
        None of these, or a client that is closed or asynchronous.
    BackendError
        Dask is not installed.
    """
    if own_workers and isinstance(cluster, str) and _parsed(cluster)[0] == "local":
        return
    client_class = _distributed().Client
    if isinstance(cluster, client_class):
        if cluster.asynchronous or cluster.status != "running":
            state = "asynchronous" if cluster.asynchronous else cluster.status
            raise ConfigError(f"cluster: got a client that is {state}; give a running, synchronous one.")
    elif isinstance(cluster, str):
        _parsed(cluster)
    else:
        raise ConfigError(f"cluster: got {cluster!r}; {_WAYS}, or a distributed.Client.")


@contextlib.contextmanager
def joined(cluster: Any, own_workers: bool = False) -> Iterator[Client | int]:
    """A client of a cluster all of whose workers can do this package's work.

    A client of the user's own is used as it is and not closed. What is started here listens on the loopback address alone, and
    is ended whatever happens.

    Parameters
    ----------
    cluster : str or distributed.Client
    own_workers : bool, default=False
        See `check_cluster`; where the model starts its workers itself, their number takes the place of a client.

    Raises
    ------
    ConfigError
        See `check_cluster`.
    BackendError
        Dask is not installed, nobody answers, no worker comes, or one has another version of this package, or none.
    """
    check_cluster(cluster, own_workers)
    if own_workers and isinstance(cluster, str) and _parsed(cluster)[0] == "local":
        yield int(_parsed(cluster)[1])
        return
    with contextlib.ExitStack() as stack:
        client = cluster
        if isinstance(cluster, str):
            way, what = _parsed(cluster)
            if way == "local":
                what = stack.enter_context(_local(int(what)))
            stack.enter_context(_hushed())
            # What is asked of workers here need not pass through the scheduler; others may be out of reach.
            client = stack.enter_context(_connected(cluster, what, direct=way == "local" or None))
        workers_of(client)
        check_workers(client)
        yield client


def _parsed(text: str) -> tuple[str, str]:
    """(``"local"``, number), or (``"address"``, that of a scheduler)."""
    wrong = ConfigError(f"cluster: got {text!r}; {_WAYS}.")
    if text.startswith("local:"):
        if not re.fullmatch(r"local:[1-9]\d{0,4}", text):
            raise wrong
        return "local", text.partition(":")[2]
    if re.fullmatch(r"(tcp|tls)://([^\s/:]+|\[[0-9a-fA-F:.%]+\]):\d{1,5}", text):
        return "address", text
    if "://" in text or "\0" in text or not Path(text).is_file():
        raise wrong
    try:
        address = json.loads(Path(text).read_text(encoding="utf-8"))["address"]
        if not isinstance(address, str):
            raise TypeError
        return "address", address
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"cluster: {text} is no file that a Dask scheduler wrote (dask scheduler --scheduler-file {text})."
        ) from None


@contextlib.contextmanager
def _local(n_workers: int) -> Iterator[Any]:
    """A cluster of processes of one thread each on this machine, which nobody else can reach."""
    distributed = _distributed()
    with tempfile.TemporaryDirectory(prefix="nnmf-dask-", ignore_cleanup_errors=True) as scratch:

        def start() -> Any:
            # A terminal sends Ctrl-C to all its processes; it is left to this one, which ends them: what this thread starts has its
            # mask. Python's tracker goes first, for who starts that is unmasked.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                return distributed.LocalCluster(
                    n_workers=n_workers,
                    threads_per_worker=1,
                    processes=True,
                    host=_LOOPBACK,
                    dashboard_address=f"{_LOOPBACK}:0",
                    worker_dashboard_address=f"{_LOOPBACK}:0",
                    scheduler_kwargs={"dashboard": False, "local_directory": scratch},
                    local_directory=scratch,
                    silence_logs="CRITICAL",
                )
            except (RuntimeError, OSError) as error:
                raise BackendError(
                    f"cluster: the processes of local:{n_workers} cannot be started ({_first_line(error)}); a script that asks for "
                    'them keeps its work under if __name__ == "__main__":, for each of them imports it.'
                ) from None

        with _whole(start) as cluster:
            yield cluster


@contextlib.contextmanager
def _connected(name: str, address: Any, direct: bool | None) -> Iterator[Client]:
    """A client of a scheduler at an address, or of a cluster that was started here."""

    def connect() -> Any:
        try:
            return _distributed().Client(
                address, timeout=_ANSWER_SECONDS, set_as_default=False, direct_to_workers=direct
            )
        # The last two are raised of settings of TLS.
        except (OSError, asyncio.TimeoutError, ValueError, TypeError, RuntimeError) as error:
            why = _first_line(error)
        # Of what was made of a client nothing may be left: when the program ends Dask would wait for it to close, in vain.
        gc.collect()
        raise BackendError(
            f"cluster: no Dask scheduler answers at {name} within {_ANSWER_SECONDS} s ({why}); check that it runs and can be reached."
        )

    with _whole(connect) as client:
        yield client


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep Dask's tracebacks of a cluster that is gone off the screen: what comes of it is said in a sentence."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _whole(make: Callable[[], Any]) -> Iterator[Any]:
    """What ``make`` makes, closed at the end; Ctrl-C finds it made or not, but never half made or half closed."""
    with ThreadPoolExecutor(1) as other:  # a signal interrupts the main thread alone
        making = other.submit(make)
        try:
            yield making.result()
        finally:
            if making.exception() is None:
                other.submit(making.result().close).result()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _distributed() -> Any:
    """Dask's module, imported when it is asked for."""
    try:
        import distributed
    except ImportError as error:
        raise BackendError(
            f"cluster: needs Dask, which cannot be imported ({error}); pip install 'nnmf[dask]'."
        ) from None
    return distributed
