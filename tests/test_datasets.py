"""The registry, and finding, unpacking and fetching without the network."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from nnmf.datasets import DATASETS, _fetching, _registry, fetch, find, get
from nnmf.errors import ConfigError, DataError
from nnmf.files import cache_dir

REAL = os.environ.get("NNMF_DATA")  # before the fixture below hides it
WAY_OUT = r"[;,] (or )?put ml-[\w-]+\.zip or its files in --data-dir or \$NNMF_DATA, or use --dataset synthetic$"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no $NNMF_DATA, and no network."""
    monkeypatch.setenv("NNMF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NNMF_DATA", raising=False)

    def no_network(url: str, path: Path, **_: object) -> Path:
        raise DataError(f"{url} cannot be reached (no network in tests)")

    monkeypatch.setattr(_fetching, "download", no_network)
    return tmp_path


def put(folder: Path, name: str, *files: str, n_bytes: int | None = None, text: str | None = None) -> Path:
    """Files that look like a dataset's at a glance: the first line and the size, and a hole behind."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = DATASETS[name]
    for file in files or dataset.files():
        first = f"{_registry.CSV_HEADER}\n{dataset.first_line}\n" if dataset.header else dataset.first_line + "\n"
        (folder / file).write_text(first if text is None else text)
        os.truncate(folder / file, n_bytes or dataset.sizes[file].n_bytes or 2_483_723)
    return folder


def archive(path: Path, name: str, content: str = "fake") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as opened:
        for member in DATASETS[name].members:
            opened.writestr(f"{DATASETS[name].archive_folder}/{member}", content)
    return path


def known(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> None:
    """Register the digest of the archive at ``path``, whose files are not compared with the published ones."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = replace(DATASETS[name], sha256=digest, sizes={})
    monkeypatch.setattr(_registry, "DATASETS", {**DATASETS, name: entry})


def served(monkeypatch: pytest.MonkeyPatch, source: Path) -> list[str]:
    """Let downloads answer with a copy of ``source``; returns the urls that were asked for."""
    urls: list[str] = []

    def download(url: str, path: Path, **_: object) -> Path:
        urls.append(url)
        path.write_bytes(source.read_bytes())
        return path

    monkeypatch.setattr(_fetching, "download", download)
    return urls


# ---- the registry


def test_the_registry() -> None:
    assert list(DATASETS) == ["ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-latest-small"]
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert dataset.url == f"https://files.grouplens.org/datasets/movielens/{name}.zip"
        assert {dataset.ratings_file, dataset.item_file} <= set(dataset.members)
        assert dataset.rating_scale == ((1, 5) if name in ("ml-100k", "ml-1m") else (0.5, 5))
        assert (len(dataset.sha256 or ""), len(dataset.md5 or "")) in ((64, 32), (0, 32), (0, 0))
        assert (dataset.md5 is None) == (name == "ml-latest-small")
        assert dataset.delimiter == {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ","}[dataset.ratings_file]
        assert dataset.header == (dataset.delimiter == ",")
        assert dataset.first_line.count(dataset.delimiter) == 3
        assert "\n" not in dataset.licence + dataset.citation
        assert hash(dataset) == hash(replace(dataset))
    with pytest.raises(FrozenInstanceError):
        setattr(DATASETS["ml-1m"], "name", "other")  # noqa: B010


def test_folds() -> None:
    assert set(DATASETS["ml-100k"].folds) == {"u1", "u2", "u3", "u4", "u5", "ua", "ub"}
    assert DATASETS["ml-100k"].files("u1") == ("u1.base", "u1.test")
    assert DATASETS["ml-100k"].files() == ("u.data",)
    with pytest.raises(ConfigError, match=r"fold: got 'u6' instead of one of \['u1', "):
        DATASETS["ml-100k"].files("u6")
    with pytest.raises(ConfigError, match="fold: got 'u1', but ml-1m is published without folds"):
        DATASETS["ml-1m"].files("u1")


@pytest.mark.parametrize("function", [get, find, fetch])
def test_unknown_names(function: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match=r"dataset: got 'ml-2m' instead of one of \['ml-100k', .*, 'synthetic'\]"):
        function("ml-2m")
    with pytest.raises(ConfigError, match=r"synthetic is drawn by nnmf\.synthetic and has no files"):
        function("synthetic")


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_dir() == tmp_path / "cache" and not cache_dir().exists()
    monkeypatch.delenv("NNMF_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_dir() == tmp_path / ".cache" / "nnmf"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "nnmf"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == tmp_path / "Library" / "Caches" / "nnmf"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_dir() == tmp_path / "local" / "nnmf"


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("NNMF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(DataError, match=r"set \$NNMF_CACHE"):
        cache_dir()


# ---- find


@pytest.mark.parametrize("below", [".", "ml-100k"])
def test_find_in_data_dir(places: Path, below: str) -> None:
    folder = put(places / "data" / below, "ml-100k")
    assert find("ml-100k", places / "data") == folder
    assert fetch("ml-100k", str(places / "data")) == folder


def test_find_by_the_archives_own_folder(places: Path) -> None:
    folder = put(places / "data" / "ml-10M100K", "ml-10m")
    assert find("ml-10m", places / "data") == folder
    assert find("ml-10m", folder) == folder


def test_find_in_the_order_of_the_places(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("ml-1m") is None
    cached = put(places / "cache" / "ml-1m", "ml-1m")
    assert find("ml-1m") == cached
    monkeypatch.setenv("NNMF_DATA", str(places / "env"))
    assert find("ml-1m") == cached
    below = put(places / "env" / "ml-1m", "ml-1m")
    assert find("ml-1m") == below
    itself = put(places / "env", "ml-1m")
    assert find("ml-1m") == itself
    assert find("ml-1m", put(places / "data", "ml-1m")) == places / "data"


def test_find_wants_every_file(places: Path) -> None:
    put(places / "data", "ml-100k", "u.data", "u1.base")
    assert find("ml-100k", places / "data") == places / "data"
    with pytest.raises(
        DataError, match=r"ml-100k: .*data does not hold u1\.base and u1\.test, or ml-100k\.zip" + WAY_OUT
    ):
        find("ml-100k", places / "data", files=DATASETS["ml-100k"].files("u1"))


@pytest.mark.parametrize("function", [find, fetch])
def test_a_data_dir_without_the_files(
    places: Path, function: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(places / "cache" / "ml-1m", "ml-1m")  # not what was asked for
    monkeypatch.setenv("NNMF_DATA", str(put(places / "env", "ml-1m")))
    (places / "empty").mkdir()
    with pytest.raises(DataError, match=r"ml-1m: .*/empty does not hold ratings\.dat, or ml-1m\.zip" + WAY_OUT):
        function("ml-1m", places / "empty")
    with pytest.raises(DataError, match=r"ml-1m: .*/gone is no folder, so it cannot hold ratings\.dat"):
        function("ml-1m", places / "gone")


def test_files_of_another_dataset_are_never_taken(
    places: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(places / "ml-25m", "ml-25m")
    with pytest.raises(DataError, match=r"ml-20m: .*does not hold"):
        find("ml-20m", places / "ml-25m")
    put(places / "any", "ml-25m")
    monkeypatch.setenv("NNMF_DATA", str(places / "any"))
    assert find("ml-25m") == places / "any"
    assert find("ml-20m") is None
    assert "is passed over, it holds ml-25m" in caplog.text
    put(places / "old", "ml-1m", text="1::1193::5::978300760\r\n")
    with pytest.raises(DataError, match=r"ml-10m: .*does not hold"):
        find("ml-10m", places / "old")


@pytest.mark.parametrize(
    ("name", "n_bytes", "text", "message"),
    [
        ("ml-100k", 9_895, None, r"u\.data has 9,895 bytes instead of the 1,979,173 bytes of 100,000 ratings"),
        (
            "ml-100k",
            None,
            "1\t1\t5\t874965758\n",
            r"u\.data begins with '1\\t1\\t5\\t874965758' instead of '196\\t242\\t3\\t8",
        ),
        (
            "ml-20m",
            None,
            "userId,itemId,rating\n1,2,3.5\n",
            r"ratings\.csv begins with 'userId,itemId,rating' instead of 'user",
        ),
        (
            "ml-20m",
            None,
            f"{_registry.CSV_HEADER}\n7,7,1,1\n",
            r"begins with '7,7,1,1' instead of '1,2,3\.5,1112486027'",
        ),
        ("ml-latest-small", 99, None, r"ratings\.csv has 99 bytes instead of the 50,000 to 200,000 ratings"),
        ("ml-latest-small", None, "a,b\n1,2\n", r"begins with 'a,b' instead of 'userId,"),
    ],
)
def test_files_that_are_not_the_published_ones(
    places: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    n_bytes: int | None,
    text: str | None,
    message: str,
) -> None:
    folder = put(places / name, name, n_bytes=n_bytes, text=text)  # its own name proves nothing
    for function in (find, fetch):
        with pytest.raises(DataError, match=rf"^{name}: .* as published \(.*/{name}/.*" + WAY_OUT) as caught:
            function(name, folder)
        assert re.search(message, str(caught.value))
        assert "; name the file itself as dataset to take it as it is, or put" in str(caught.value)
    monkeypatch.setenv("NNMF_DATA", str(places))
    assert find(name) is None
    assert (
        caplog.text.count("passed over") == 1
        and f"{name}: {folder} is passed over, " in caplog.text
        and re.search(message, caplog.text)
    )
    good = put(places / "cache" / name, name)
    assert find(name) == good


def test_a_fold_that_was_cut(places: Path) -> None:
    files = DATASETS["ml-100k"].files("ua")
    folder = put(places / "data", "ml-100k", *files)
    assert find("ml-100k", folder, files=files) == folder
    put(folder, "ml-100k", "ua.test", n_bytes=5_000)
    with pytest.raises(DataError, match=r"ua\.test has 5,000 bytes instead of the 186,672 bytes of 9,430 ratings"):
        find("ml-100k", folder, files=files)


def test_line_ends_do_not_make_another_file(places: Path) -> None:
    size = DATASETS["ml-100k"].sizes["u.data"]
    for n_bytes in (size.n_bytes - 1, size.n_bytes + size.most, size.n_bytes + size.most - 2):  # type: ignore[operator]
        assert find("ml-100k", put(places / "data", "ml-100k", n_bytes=n_bytes))
    with pytest.raises(DataError, match="as published"):
        find("ml-100k", put(places / "data", "ml-100k", n_bytes=size.n_bytes - 500))  # type: ignore[operator]


def test_a_damaged_copy_in_the_cache_is_replaced(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = f"{_registry.CSV_HEADER}\n" + "1,1,4.0,964982703\n" * 60_000
    put(places / "cache" / "ml-latest-small", "ml-latest-small", n_bytes=700)
    served(monkeypatch, archive(places / "server.zip", "ml-latest-small", content))
    folder = fetch("ml-latest-small")
    assert (folder / "ratings.csv").read_text() == content


def test_the_count_of_what_was_read() -> None:
    for name, file, n_ratings in (("ml-100k", "u1.base", 80_000), ("ml-1m", "ratings.dat", 1_000_209)):
        _fetching.check_count(DATASETS[name], Path("x") / file, n_ratings)
        with pytest.raises(
            DataError, match=rf"x/{file} is not {name}'s: it holds 500 ratings instead of {n_ratings:,};"
        ):
            _fetching.check_count(DATASETS[name], Path("x") / file, 500)
    _fetching.check_count(DATASETS["ml-latest-small"], Path("ratings.csv"), 100_004)
    with pytest.raises(DataError, match="it holds 20,000,263 ratings instead of 50,000 to 200,000"):
        _fetching.check_count(DATASETS["ml-latest-small"], Path("ratings.csv"), 20_000_263)


# ---- fetch


def test_without_patience_a_server_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fetching, "unreachable", lambda url: f"{url} cannot be reached (no answer within 5 s)")
    with pytest.raises(DataError, match=r"^ml-100k: https://\S+ cannot be reached \(no answer within 5 s\)" + WAY_OUT):
        fetch("ml-100k", patient=False)
    with pytest.raises(DataError, match="no network in tests"):  # a dataset that was named is tried as long as it takes
        fetch("ml-100k")
    monkeypatch.setattr(_fetching, "unreachable", lambda url: None)
    with pytest.raises(DataError, match="no network in tests"):
        fetch("ml-100k", patient=False)


def test_an_archive_in_data_dir_is_verified_and_unpacked_into_the_cache(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, "ml-10m", archive(places / "data" / "ml-10m.zip", "ml-10m"))
    assert find("ml-10m", places / "data") is None
    folder = fetch("ml-10m", places / "data")
    assert folder == places / "cache" / "ml-10m"
    assert {path.name for path in folder.iterdir()} == set(DATASETS["ml-10m"].members)
    assert {path.name for path in (places / "data").iterdir()} == {"ml-10m.zip"}
    assert find("ml-10m", places / "data") == folder == find("ml-10m")


@pytest.mark.parametrize("place", ["env", "cache"])
def test_an_archive_in_the_other_places(places: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("NNMF_DATA", str(places / "env"))
    known(monkeypatch, "ml-1m", archive(places / place / "ml-1m.zip", "ml-1m"))
    assert fetch("ml-1m") == places / "cache" / "ml-1m"


def test_a_given_archive_with_a_wrong_digest_is_an_error_and_stays(places: Path) -> None:
    path = archive(places / "data" / "ml-1m.zip", "ml-1m")
    with pytest.raises(
        DataError, match=r"^ml-1m: .*data/ml-1m\.zip has the SHA256 \w+ instead of a6898adb.*" + WAY_OUT
    ):
        fetch("ml-1m", places / "data")
    assert path.exists() and not (places / "cache" / "ml-1m").exists()


def test_the_set_without_digest_says_so_and_follows_the_given_archive(
    places: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = places / "data" / "ml-latest-small.zip"
    for content in (f"{_registry.CSV_HEADER}\n" + f"1,1,4.0,{year}\n" * 60_000 for year in (2018, 2030)):
        archive(path, "ml-latest-small", content)
        with caplog.at_level(logging.INFO, "nnmf"):
            folder = fetch("ml-latest-small", places / "data")
        assert (folder / "ratings.csv").read_text() == content
    assert "only the archive's CRCs are checked" in caplog.text


def test_download_and_unpack(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = archive(places / "server" / "ml-100k.zip", "ml-100k")
    known(monkeypatch, "ml-100k", source)
    urls = served(monkeypatch, source)
    folder = fetch("ml-100k")
    assert folder == places / "cache" / "ml-100k" and urls == [DATASETS["ml-100k"].url]
    assert {path.name for path in folder.iterdir()} == set(DATASETS["ml-100k"].members)
    assert {path.name for path in folder.parent.iterdir()} == {"ml-100k", "ml-100k.lock"}
    assert fetch("ml-100k") == folder and len(urls) == 1


def test_download_passes_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, object] = {}

    def download(url: str, path: Path, **options: object) -> Path:
        passed.update(options)
        raise DataError("enough")

    monkeypatch.setattr(_fetching, "download", download)
    dataset, progress, session = DATASETS["ml-1m"], lambda done, total: None, object()
    with pytest.raises(DataError, match="enough"):
        fetch("ml-1m", progress=progress, session=session)  # type: ignore[arg-type]
    assert passed == {"sha256": dataset.sha256, "md5": dataset.md5, "progress": progress, "session": session}


def test_no_network_is_one_sentence_with_the_ways_out() -> None:
    with pytest.raises(DataError, match=r"^ml-1m: https://\S+/ml-1m\.zip cannot be reached \(.*\)" + WAY_OUT) as caught:
        fetch("ml-1m")
    assert "\n" not in str(caught.value)


def test_a_damaged_download_does_not_stay(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "broken").write_bytes(b"<html>")
    served(monkeypatch, places / "broken")
    with pytest.raises(DataError, match=r"ml-latest-small: .*zip is damaged or no zip archive.*"):
        fetch("ml-latest-small")
    assert [path.name for path in (places / "cache").iterdir()] == ["ml-latest-small.lock"]


def test_a_cache_that_cannot_be_made(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "file").write_text("")
    monkeypatch.setenv("NNMF_CACHE", str(places / "file"))
    with pytest.raises(DataError, match=r"^ml-1m: .*file cannot be written .*" + WAY_OUT):
        fetch("ml-1m")


def _fetch_in_process(server: str, counter: str) -> None:
    def download(url: str, path: Path, **_: object) -> Path:
        with Path(counter).open("a") as file:
            file.write("x")
        path.write_bytes(Path(server).read_bytes())
        return path

    _fetching.download = download  # type: ignore[assignment]
    fetch("ml-1m")


@pytest.mark.skipif(sys.platform == "win32", reason="no fcntl, so no lock")
def test_processes_that_start_together_download_once(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = archive(places / "server.zip", "ml-1m", "content" * 100_000)
    known(monkeypatch, "ml-1m", source)
    context = multiprocessing.get_context("fork")
    arguments = (str(source), str(places / "counter"))
    workers = [context.Process(target=_fetch_in_process, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert (places / "counter").read_text() == "x"


# ---- the real thing


def test_importing_stays_light() -> None:
    code = "import sys, nnmf.datasets, nnmf.synthetic; print({'mxnet', 'requests'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_the_real_ml_100k(monkeypatch: pytest.MonkeyPatch) -> None:
    if not REAL:
        pytest.skip("needs the real ml-100k: set NNMF_DATA to the folder that holds ml-100k/")
    monkeypatch.setenv("NNMF_DATA", REAL)
    dataset = DATASETS["ml-100k"]
    folder = fetch("ml-100k", files=dataset.members)
    for file, size in dataset.sizes.items():  # every size in the registry is the published file's
        content = (folder / file).read_bytes()
        assert (len(content), content.count(b"\n"), size.least) == (size.n_bytes, size.most, size.most), file
    table = np.loadtxt(folder / dataset.ratings_file, delimiter=dataset.delimiter, dtype=np.int64)
    assert (folder / dataset.ratings_file).read_text().startswith(dataset.first_line + "\n")
    assert table.shape == (dataset.n_ratings, 4)
    assert (len(np.unique(table[:, 0])), len(np.unique(table[:, 1]))) == (dataset.n_users, dataset.n_items)
    assert (table[:, 2].min(), table[:, 2].max()) == dataset.rating_scale
