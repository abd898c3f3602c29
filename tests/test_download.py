"""Downloads against a real server on 127.0.0.1, and archives that are damaged or hostile."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nnmf.errors import DataError
from nnmf.files import _download
from nnmf.files._download import check_digest, download, unreachable
from nnmf.files._unpack import unpack

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


@dataclass
class Server:
    """What the server does, and what it was asked."""

    url: str = ""
    body: bytes = BODY
    etag: str = '"one"'
    ranges: bool = True
    cut: list[int | None] = field(default_factory=list)  # for each request in turn: bytes before it hangs up
    statuses: list[int] = field(default_factory=list)  # for each request in turn, before it behaves
    lengthless: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(dict(self.headers))
            if state.statuses and (status := state.statuses.pop(0)) != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked and state.ranges and self.headers.get("If-Range", state.etag) == state.etag:
                start = int(asked[1])
                if start >= len(state.body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(state.body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            else:
                self.send_response(200)
            if state.etag:
                self.send_header("ETag", state.etag)
            body = state.body[start:]
            if not state.lengthless:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body[: state.cut.pop(0) if state.cut else None])
            self.close_connection = True

        do_HEAD = do_GET  # the body is thrown away

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_address[1]}/table.zip"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def quiet(done: int, total: int | None) -> None:
    pass


def get(server: Server, path: Path, **options: Any) -> Path:
    return download(server.url, path, **{"sha256": SHA256, "progress": quiet, "backoff": 0.01, **options})


def leave_part(path: Path, content: bytes, etag: str | None = None) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    if etag:
        part.with_name(part.name + ".etag").write_text(etag)
    return part


@pytest.mark.parametrize("digests", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256, "md5": "0"}, {}])
def test_a_file_arrives_whole_and_alone(server: Server, tmp_path: Path, digests: dict[str, str]) -> None:
    path = tmp_path / "new" / "table.zip"
    options: dict[str, Any] = {"progress": quiet, **digests}
    assert download(server.url, path, **options) == path
    assert path.read_bytes() == BODY
    assert names(path.parent) == {"table.zip"}
    assert len(server.requests) == 1 and server.requests[0]["Accept-Encoding"] == "identity"


def test_progress_ends_at_the_total(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    get(server, tmp_path / "a", progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_body_without_length(server: Server, tmp_path: Path) -> None:
    server.lengthless = True
    seen: list[tuple[int, int | None]] = []
    path = get(server, tmp_path / "a", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY and seen[-1] == (len(BODY), None)


def test_a_cut_connection_is_continued_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut = [400_000, 300_000]
    assert get(server, tmp_path / "a").read_bytes() == BODY
    first, second, third = (int(request.get("Range", "bytes=0-")[6:-1]) for request in server.requests)
    assert first == 0 and 0 <= 400_000 - second < _download._CHUNK and 0 <= second + 300_000 - third < _download._CHUNK
    assert server.requests[1]["If-Range"] == '"one"'
    assert names(tmp_path) == {"a"}


def test_a_later_call_continues(server: Server, tmp_path: Path) -> None:
    server.cut = [500_000]
    with pytest.raises(DataError, match=r"table\.zip .*tried 1 times"):
        get(server, tmp_path / "a", tries=1)
    kept = (tmp_path / "a.part").stat().st_size
    assert 0 <= 500_000 - kept < _download._CHUNK and not (tmp_path / "a").exists()
    seen: list[int] = []
    assert get(server, tmp_path / "a", progress=lambda done, _: seen.append(done)).read_bytes() == BODY
    assert seen[0] == kept
    assert server.requests[1]["Range"] == f"bytes={kept}-"


def test_a_truncated_body_is_an_error_after_three_tries(server: Server, tmp_path: Path) -> None:
    server.cut = [10, 10, 10]
    with pytest.raises(DataError, match=r"127\.0\.0\.1:\d+/table\.zip (broke off|ended after 30 of).*tried 3 times"):
        get(server, tmp_path / "a")
    assert len(server.requests) == 3 and not (tmp_path / "a").exists()


def test_a_server_that_ignores_range_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    leave_part(tmp_path / "a", BODY[:1000])
    assert get(server, tmp_path / "a").read_bytes() == BODY
    assert server.requests[0]["Range"] == "bytes=1000-"


def test_a_changed_file_is_not_mixed_with_the_old_part(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path / "a", b"old" * 1000, '"zero"')
    assert get(server, tmp_path / "a", sha256=None).read_bytes() == BODY
    assert len(server.requests) == 1 and server.requests[0]["If-Range"] == '"zero"'


def test_a_part_that_nothing_vouches_for_is_dropped(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path / "a", b"old" * 1000)
    assert get(server, tmp_path / "a", sha256=None).read_bytes() == BODY
    assert "Range" not in server.requests[0]


def test_a_weak_etag_vouches_for_nothing(server: Server, tmp_path: Path) -> None:
    server.etag, server.cut = 'W/"one"', [1000]
    assert get(server, tmp_path / "a", sha256=None).read_bytes() == BODY
    assert "Range" not in server.requests[1]


def test_a_bad_part_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path / "a", b"?" * 1000)
    assert get(server, tmp_path / "a").read_bytes() == BODY
    assert [request.get("Range") for request in server.requests] == ["bytes=1000-", None]


def test_416_with_a_complete_part(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path / "a", BODY)
    assert get(server, tmp_path / "a").read_bytes() == BODY
    assert len(server.requests) == 1


def test_416_with_a_part_that_is_too_long(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path / "a", BODY + b"more")
    assert get(server, tmp_path / "a").read_bytes() == BODY
    assert len(server.requests) == 2


def test_an_existing_file_is_replaced_only_by_a_good_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(DataError, match="SHA256"):
        get(server, tmp_path / "a", sha256="0" * 64)
    assert (tmp_path / "a").read_text() == "before"
    get(server, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("digests", [{"sha256": "0" * 64}, {"sha256": None, "md5": "1" * 32}])
def test_a_wrong_checksum_removes_the_file(server: Server, tmp_path: Path, digests: dict[str, str]) -> None:
    actual = SHA256 if digests["sha256"] else MD5
    with pytest.raises(DataError, match=rf"table\.zip has the (SHA256|MD5) {actual} instead of .*removed"):
        get(server, tmp_path / "a", **digests)
    assert names(tmp_path) == set() and len(server.requests) == 1


def test_404_is_final(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:\d+/table\.zip answered with HTTP 404 \(Not Found\)"):
        get(server, tmp_path / "a")
    assert len(server.requests) == 1 and names(tmp_path) == set()


def test_503_is_tried_again_with_growing_pauses(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(_download.time, "sleep", pauses.append)
    server.statuses = [503, 429]
    assert get(server, tmp_path / "a", backoff=1.0).read_bytes() == BODY
    assert pauses == [1.0, 2.0]
    server.statuses = [503] * 3
    with pytest.raises(DataError, match=r"HTTP 503 .*tried 3 times"):
        get(server, tmp_path / "b")


def test_connection_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:1/x cannot be reached \(Connection refused\) \(tried 2"):
        download("http://127.0.0.1:1/x", tmp_path / "a", progress=quiet, tries=2, backoff=0.01)
    assert names(tmp_path) == set()


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_download, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(DataError, match=r"cannot be reached \(timed out\)"):
            download(url, tmp_path / "a", progress=quiet, tries=1)


def test_whether_a_server_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    server.statuses = [404]
    assert unreachable(server.url) is None
    assert re.fullmatch(
        r"http://127\.0\.0\.1:1/x cannot be reached \(Connection refused\)", unreachable("http://127.0.0.1:1/x") or ""
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        assert (unreachable(url, 0.2) or "").startswith(f"{url} cannot be reached (")
    looked_up = threading.Event()

    def hang(*_: object, **__: object) -> None:
        looked_up.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert (
        unreachable("http://nowhere.test/x", 0.2) == "http://nowhere.test/x cannot be reached (no answer within 0.2 s)"
    )
    looked_up.set()


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/x"])
def test_a_url_that_is_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{url} cannot be reached"):
        download(url, tmp_path / "a", progress=quiet, backoff=60.0)


class FullDisk(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def full_disk(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    real = Path.open

    def opened(self: Path, *args: object, **options: object) -> object:
        if mode in args:
            real(self, mode).close()
            return FullDisk()
        return real(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", opened)


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, "ab")
    with pytest.raises(DataError, match=r"a\.part cannot be written \(the disk is full\)"):
        get(server, tmp_path / "a")
    assert names(tmp_path) == set()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match=r"cannot be written \(permission is missing\)"):
            get(server, tmp_path / "a")
        with pytest.raises(DataError, match=r"cannot be written \(permission is missing\)"):
            get(server, tmp_path / "new" / "a")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file cannot be written"):
        get(server, tmp_path / "file" / "a")


def test_without_a_terminal_the_progress_is_some_log_lines(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    server.body = BODY * 8
    with caplog.at_level(logging.INFO, "nnmf"):
        download(server.url, tmp_path / "a")
    lines = [record.getMessage() for record in caplog.records]
    assert 5 <= len(lines) <= 10 and re.fullmatch(r"a: +\d+% of 8\.4 MB", lines[0])
    assert capfd.readouterr().err == ""


def test_on_a_terminal_the_progress_is_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    download(server.url, tmp_path / "a")
    shown = terminal.getvalue()
    assert shown.startswith("\r") and shown.endswith("\n") and shown.count("\n") == 1
    assert "100% of 1.0 MB [" + "#" * 30 + "]" in shown


# ---- archives


def make_zip(path: Path, content: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_only_wanted_members_are_unpacked(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "z.zip", {"top/": "", "top/a": "1", "top/b": "2", "top/run.sh": "3", "x/y/a": "4"})
    folder = unpack(archive, ["a", "b"], tmp_path / "deep" / "out")
    assert names(folder) == {"a", "b"} and (folder / "a").read_text() == "1"
    assert names(folder.parent) == {"out"}
    assert not stat.S_IMODE((folder / "a").stat().st_mode) & 0o111


def test_unpacking_again_replaces_and_keeps_other_files(tmp_path: Path) -> None:
    folder = unpack(make_zip(tmp_path / "z.zip", {"a": "old"}), ["a"], tmp_path / "out")
    (folder / "mine").write_text("kept")
    unpack(make_zip(tmp_path / "z.zip", {"top/a": "new"}), ["a"], folder)
    assert (folder / "a").read_text() == "new" and (folder / "mine").read_text() == "kept"


@pytest.mark.parametrize("name", ["../a", "/a", "top/../../a", "C:/a", "..\\a", "../elsewhere"])
def test_names_that_point_outside_are_refused(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "z.zip", {"top/a": "1", name: "evil"})
    with pytest.raises(DataError, match=r"z\.zip is refused because its member .* points outside the folder"):
        unpack(archive, ["a"], tmp_path / "in" / "out")
    assert names(tmp_path) == {"z.zip"}


def test_symlinks_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("top/a")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(link, "../secret")
    with pytest.raises(DataError, match="is no plain file"):
        unpack(tmp_path / "z.zip", ["a"], tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "limit", "message"),
    [
        ({"top/a": b"0" * 3000}, 2000, "would unpack to 3000 bytes, more than 2000"),
        ({"top/b": "1"}, 2000, "does not hold a"),
        ({"top/a": "1", "other/a": "2"}, 2000, "holds a twice"),
        ({"top/a/": ""}, 2000, "is no plain file"),
    ],
)
def test_archives_that_do_not_fit(tmp_path: Path, content: dict[str, str | bytes], limit: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        unpack(make_zip(tmp_path / "z.zip", content), ["a"], tmp_path / "out", max_bytes=limit)
    assert names(tmp_path) == {"z.zip"}


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty"])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, damage: str) -> None:
    archive = make_zip(tmp_path / "z.zip", {"first": "fine", "a": os.urandom(5000)})
    raw = bytearray(archive.read_bytes())
    raw[2000] ^= 255
    contents: dict[str, bytes | bytearray] = {
        "cut": raw[:3000],
        "flip": raw,
        "text": b"<html>sorry</html>",
        "empty": b"",
    }
    archive.write_bytes(contents[damage])
    with pytest.raises(DataError, match=r"z\.zip is damaged or no zip archive"):
        unpack(archive, ["first", "a"], tmp_path / "out")
    assert names(tmp_path) == {"z.zip"}


def test_a_full_disk_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "z.zip", {"a": "1"})
    full_disk(monkeypatch, "xb")
    with pytest.raises(DataError, match=r"out cannot be written \(the disk is full\)"):
        unpack(archive, ["a"], tmp_path / "out")
    assert names(tmp_path) == {"z.zip"}


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"z\.zip cannot be read"):
        unpack(tmp_path / "z.zip", ["a"], tmp_path / "out")


def test_check_digest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(BODY)
    check_digest(path)
    check_digest(path, sha256=SHA256.upper(), md5="wrong, but not looked at")
    check_digest(path, md5=MD5)
    with pytest.raises(DataError, match=f"a has the MD5 {MD5} instead of 00"):
        check_digest(path, md5="00")
    with pytest.raises(DataError, match="gone cannot be read"):
        check_digest(tmp_path / "gone", md5=MD5)
