import json

import pytest

from nnmf.errors import DataError
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
