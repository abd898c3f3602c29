import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from nnmf.errors import DataError
from nnmf.files import Claim, write_arrays, write_file, write_text
from nnmf.files import _folders as store


def text(content):
    return lambda file: file.write(content.encode())


@pytest.fixture
def folder(tmp_path):
    store.commit(tmp_path / "m", {"a.txt": text("one"), "b-1.txt": text("two")}, [], {"kind": "test"})
    return tmp_path / "m"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_commit_replaces_the_state_before(folder):
    (folder / "stranger.txt").write_text("mine")
    store.commit(folder, {"b-2.txt": text("three")}, ["a.txt"], {"kind": "test"})
    assert names(folder) == ["a.txt", "b-2.txt", "manifest.json", "stranger.txt"]
    manifest = store.read_manifest(folder)
    assert (manifest["kind"], sorted(manifest["files"])) == ("test", ["a.txt", "b-2.txt"])
    store.clear(folder)
    assert names(folder) == ["stranger.txt"]


def test_a_commit_that_fails_leaves_the_state_before(folder, monkeypatch):
    def full(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"b-2.txt: cannot be written \(No space left on device\)"):
        store.commit(folder, {"b-2.txt": full}, ["a.txt"], {})
    assert names(folder) == ["a.txt", "b-1.txt", "manifest.json"]
    store.read_manifest(folder)


@pytest.mark.parametrize("file", ["a.txt", "manifest.json"])
def test_every_byte_counts(folder, file):
    whole = (folder / file).read_bytes()
    for at in range(len(whole)):
        (folder / file).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(DataError):
            store.read_manifest(folder)
        (folder / file).write_bytes(whole[:at])
        with pytest.raises(DataError):
            if store.read_manifest(folder) and file == "manifest.json" and at == len(whole) - 1:
                raise DataError("all but the last line end is there")
    (folder / file).write_bytes(whole)
    store.read_manifest(folder)


def test_what_is_no_saved_folder(folder, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        store.read_manifest(tmp_path / "none")
    with pytest.raises(DataError, match=r"it has no manifest\.json"):
        store.read_manifest(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99, "nnmf": "9.0"}))
    with pytest.raises(
        DataError, match=r"is of format 99, this version reads format 2; load it with the version.*\(9.0\)"
    ):
        store.read_manifest(folder)
    for other in ("[1]", "{}", "no json"):
        (folder / "manifest.json").write_text(other)
        with pytest.raises(DataError, match="no manifest of a saved model"):
            store.read_manifest(folder)


def test_a_missing_file_and_a_name_outside_the_folder(folder):
    (folder / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a.txt: is missing"):
        store.read_manifest(folder)
    manifest = {"format": 2, "files": {"a.txt": {"name": "../a.txt", "sha256": "", "bytes": 0}}}
    manifest["sha256"] = store._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="outside its folder"):
        store.read_manifest(folder)


class Interrupted(BaseException):
    pass


def test_a_commit_broken_off_anywhere_leaves_one_state_or_the_other(tmp_path, monkeypatch):
    """Each step that touches the disk fails in turn, by a signal and by a full disk, under names that both states share."""
    steps = ("replace", "unlink")
    for error in (Interrupted(), OSError(28, "No space left on device")):
        for step in steps:
            real = getattr(Path, step)
            for at in range(12):
                folder = tmp_path / f"{type(error).__name__}-{step}-{at}"
                store.commit(folder, {"a.txt": text("one"), "b.txt": text("same")}, [], {"state": 1})
                left = [at]

                def fail(path, *rest, left=left, real=real, error=error, **options):
                    left[0] -= 1
                    if left[0] == -1:
                        raise error
                    return real(path, *rest, **options)

                with monkeypatch.context() as patch:
                    patch.setattr(Path, step, fail)
                    with contextlib.suppress(Interrupted, DataError):
                        store.commit(folder, {"a.txt": text("two"), "b.txt": text("same")}, [], {"state": 2})
                manifest = store.read_manifest(folder)
                content = store.stored(folder, manifest, "a.txt").read_text()
                assert (manifest["state"], content) in ((1, "one"), (2, "two"))
                assert store.strangers(folder) == set()
                store.commit(folder, {"a.txt": text("three")}, [], {"state": 3})
                assert {name for name in names(folder) if not name.startswith(".")} == {
                    "manifest.json",
                    store.read_manifest(folder)["files"]["a.txt"]["name"],
                }


def test_files_that_a_crash_left_are_known_for_ours(tmp_path, monkeypatch):
    folder = tmp_path / "m"
    store.commit(folder, {"a.txt": text("one")}, [], {})
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(store, "_finish", lambda folder: None)  # a process that is killed cleans nothing up

        def killed(path, content):
            if path.name == "manifest.json":
                raise Interrupted
            return write_text(path, content)

        patch.setattr(store, "write_text", killed)
        store.commit(folder, {"b.txt": text("two")}, ["a.txt"], {})
    assert (folder / "b.txt").exists() and store.strangers(folder) == set()
    store.commit(folder, {"a.txt": text("three")}, [], {})
    assert not (folder / "b.txt").exists()


def test_many_threads_write_one_file(tmp_path):
    errors = []

    def write(number):
        try:
            for _ in range(50):
                write_text(tmp_path / "file.txt", f"{number}" * 1000)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(set((tmp_path / "file.txt").read_text())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_one_holds_a_claim_and_the_other_is_told_who(tmp_path):
    claim = Claim(tmp_path / ".nnmf-lock")
    with pytest.raises(
        DataError, match=rf"is being written by process {os.getpid()} on .* since 20.*give another folder"
    ):
        Claim(tmp_path / ".nnmf-lock")
    claim.release()
    claim.release()
    assert not (tmp_path / ".nnmf-lock").exists()
    Claim(tmp_path / ".nnmf-lock").release()


def test_what_is_written_is_hashed_on_the_way(tmp_path):
    arrays = {"x": np.arange(1000.0), "y": np.zeros((3, 4), np.float32)}
    written = write_file(tmp_path / "a.npz", lambda file: write_arrays(file, arrays))
    content = (tmp_path / "a.npz").read_bytes()
    assert written == (hashlib.sha256(content).hexdigest(), len(content))
    with np.load(tmp_path / "a.npz") as found:
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())
