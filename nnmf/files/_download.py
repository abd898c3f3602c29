"""Getting files from a server: whether it answers, and a download that is verified and can be continued."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmf.errors import DataError

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, "int | None"], None]

TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces of the body
_CHUNK = 1 << 16  # what is lost, at most, when a connection breaks

log = logging.getLogger(__name__)


class _Retry(Exception):
    """A failure that another try may get over; its text says what happened."""


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    md5: str | None = None,
    progress: Progress | None = None,
    session: requests.Session | None = None,
    tries: int = 3,
    backoff: float = 1.0,
) -> Path:
    """Download ``url`` to ``path``, which appears only once it is complete and verified.

    A broken download leaves ``path.part``, which the next try or call continues (HTTP Range) where the server can and
    where a digest or the server's ETag guards against mixing two versions.

    Parameters
    ----------
    url : str
    path : path
        The file to write; its folder is made. An existing file is replaced.
    sha256, md5 : str, default=None
        Hexadecimal digests; where both are given the SHA-256 is checked.
    progress : callable(done_bytes, total_bytes or None), default=None
        None shows a bar on stderr if that is a terminal, else logs a line about every 10 %.
    session : requests.Session, default=None
        For proxies or certificates; None makes one.
    tries : int, default=3
        For failures that may pass: no connection, timeouts, truncated bodies, HTTP 408, 429 and 5xx.
    backoff : float, default=1.0
        Seconds before the second try, doubled for each further one.

    Raises
    ------
    DataError
        One sentence, with the url or the path: unreachable, HTTP status, truncated, wrong checksum (the file is
        removed), disk full (the partial file is removed), no permission.
    """
    import requests  # here, so that importing nnmf does not cost its 0.1 s

    path = Path(path)
    part = path.with_name(path.name + ".part")
    with disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    report = _Display(path.name) if progress is None else progress
    with contextlib.ExitStack() as stack:
        if session is None:
            session = stack.enter_context(requests.Session())
        if isinstance(report, _Display):
            stack.callback(report.close)
        for attempt in range(1, tries + 1):
            try:
                _transfer(session, url, part, (sha256, md5), report)
                break
            except _Retry as failure:
                if attempt == tries:
                    raise DataError(f"{failure} (tried {tries} times)") from failure.__cause__
                pause = backoff * 2 ** (attempt - 1)
                log.info("%s; next try in %g s", failure, pause)
                time.sleep(pause)
    with disk(path):
        part.replace(path)
    _validator(part).unlink(missing_ok=True)
    return path


def unreachable(url: str, seconds: float = 5.0) -> str | None:
    """Why the server of ``url`` cannot be reached within some seconds in all, or None if it answers, whatever it says.

    Parameters
    ----------
    url : str
    seconds : float, default=5.0
        For everything: looking the name up, which no timeout of a connection bounds, proxies, and the first answer.

    Returns
    -------
    str or None
        A clause for a sentence, with the url.
    """
    reasons: list[str | None] = []

    def ask() -> None:
        import requests

        try:
            requests.head(url, timeout=seconds, allow_redirects=False).close()
            reasons.append(None)
        except requests.RequestException as error:
            reasons.append(str(_failure(error, f"{url} cannot be reached")))

    asking = threading.Thread(target=ask, daemon=True)  # one that hangs in a look-up ends with the process
    asking.start()
    asking.join(seconds)
    return reasons[0] if reasons else f"{url} cannot be reached (no answer within {seconds:g} s)"


def _transfer(
    session: requests.Session, url: str, part: Path, digests: tuple[str | None, str | None], progress: Progress
) -> None:
    """One request: continue or restart ``part``, and verify it once it is complete."""
    import requests

    sha256, md5 = digests
    headers = {"Accept-Encoding": "identity"}
    with disk(part):
        have = part.stat().st_size if part.exists() else 0
        tag = _validator(part).read_text("utf-8") if _validator(part).exists() else ""
        if have and not (sha256 or md5 or tag):
            have = 0  # nothing would notice that the two halves belong to different versions
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            have, total = _place(response, url, part, have)
            digest = hashlib.sha256() if sha256 else hashlib.md5(usedforsecurity=False)
            with disk(part), part.open("ab") as file:
                _hash(part, digest)
                done = have
                progress(done, total)
                for chunk in _body(response, url) if done != total else ():
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    progress(done, total)
    except requests.RequestException as error:
        raise _failure(error, f"{url} cannot be reached") from error
    if total is not None and done != total:
        raise _Retry(f"{url} ended after {done} of {total} bytes")
    expected = sha256 or md5
    if expected and digest.hexdigest() != expected.lower():
        _discard(part)
        failure = f"{url} has the {digest.name.upper()} {digest.hexdigest()} instead of {expected.lower()}"
        if have:  # the part may be of an older version: start again
            raise _Retry(failure)
        raise DataError(f"{failure} (the file was removed)")


def _place(response: requests.Response, url: str, part: Path, have: int) -> tuple[int, int | None]:
    """Where in the file the body starts and how long the file is; clears ``part`` unless the body continues it."""
    status, content_range = response.status_code, response.headers.get("Content-Range", "")
    if status == 200:
        length, etag = response.headers.get("Content-Length", ""), response.headers.get("ETag", "")
        with disk(part):
            _discard(part)
            if etag.startswith('"'):  # a weak one, W/"...", cannot guard a continuation
                _validator(part).write_text(etag, "utf-8")
        return 0, int(length) if length.isdigit() else None
    if have and status in (206, 416):
        found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", content_range)
        total = int(found[2]) if found and found[2] != "*" else None
        if (status == 206 and found and found[1] == str(have)) or (status == 416 and total == have):
            return have, total
        _discard(part)
        raise _Retry(f"{url} could not be continued at byte {have} (HTTP {status}, {content_range!r})")
    failure = f"{url} answered with HTTP {status} ({response.reason or 'no reason given'})"
    raise _Retry(failure) if status in (408, 429) or status >= 500 else DataError(failure)


def _body(response: requests.Response, url: str) -> Iterator[bytes]:
    """The body's pieces; requests' errors are turned here, before they can pass for errors of the disk."""
    import requests

    try:
        yield from response.iter_content(_CHUNK)
    except requests.RequestException as error:
        raise _failure(error, f"{url} broke off") from error


def _failure(error: requests.RequestException, what: str) -> Exception:
    """A _Retry or DataError with the innermost reason: requests' own texts are nested reprs."""
    import requests

    reason = "timed out" if isinstance(error, requests.Timeout) else ""
    inner: BaseException | None = error
    while inner is not None and not reason:
        if isinstance(inner, OSError) and inner.errno is not None and inner.strerror:
            reason = inner.strerror
        inner = inner.__cause__ or inner.__context__
    text = f"{what} ({reason or type(error).__name__})"
    passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    lasting = requests.exceptions.SSLError
    return _Retry(text) if isinstance(error, passing) and not isinstance(error, lasting) else DataError(text)


def _hash(path: Path, digest: Any) -> None:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)


def _validator(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


@contextlib.contextmanager
def disk(path: Path, verb: str = "written") -> Iterator[None]:
    """Turn errors of the file system into one sentence; a full disk also removes the partial file at ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full"
            if path.suffix == ".part":
                _discard(path)
        elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
            reason = "permission is missing"
        raise DataError(f"{path} cannot be {verb} ({reason})") from error


class _Display:
    """The default progress: a bar on a terminal, else a log line about every 10 %."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stderr is not None and sys.stderr.isatty()
        self.shown_at = float("-inf")
        self.next_step = 0.1
        self.width = 0

    def __call__(self, done: int, total: int | None) -> None:
        if self.terminal:
            now = time.monotonic()
            if now - self.shown_at >= 0.1 or done == total:
                self.shown_at = now
                self._line(self._text(done, total))
        elif total and done / total >= self.next_step:
            self.next_step = done / total + 0.1
            log.info("%s", self._text(done, total))

    def _text(self, done: int, total: int | None) -> str:
        if not total:
            return f"{self.name}: {done / 1e6:.1f} MB"
        text = f"{self.name}: {done / total:4.0%} of {total / 1e6:.1f} MB"
        return f"{text} [{'#' * (30 * done // total):30}]" if self.terminal else text

    def _line(self, text: str) -> None:
        sys.stderr.write("\r" + text.ljust(self.width))
        sys.stderr.flush()
        self.width = len(text)

    def close(self) -> None:
        """End the bar's line."""
        if self.width:
            sys.stderr.write("\n")


def check_digest(path: str | os.PathLike[str], *, sha256: str | None = None, md5: str | None = None) -> None:
    """Raise a DataError that names ``path`` unless it has the SHA-256 (if given, else the MD5; neither: no check)."""
    expected = sha256 or md5
    if not expected:
        return
    path = Path(path)
    digest = hashlib.sha256() if sha256 else hashlib.md5(usedforsecurity=False)
    with disk(path, "read"):
        _hash(path, digest)
    if digest.hexdigest() != expected.lower():
        raise DataError(f"{path} has the {digest.name.upper()} {digest.hexdigest()} instead of {expected.lower()}")
