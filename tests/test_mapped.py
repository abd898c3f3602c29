"""Tables in folders: what is written, mapped, split and trained on is what a table in memory is; damage is refused."""

from __future__ import annotations

import copy
import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import numpy as np
import pytest

from nnmf import DataIter, Ratings, fit, load
from nnmf.errors import ConfigError, DataError
from nnmf.factorization import _schedule
from nnmf.files import _mapped
from nnmf.neural import _windows
from nnmf.tables import _duplicates, _streamed, _sums, statistics


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Tables of a few thousand ratings have many blocks then."""
    for module in (_mapped, _sums, _duplicates, _streamed):
        monkeypatch.setattr(module, "BLOCK", 256)


@pytest.fixture
def mapped(tmp_path, small) -> Ratings:
    """The table ``small``, in a folder."""
    small.store(tmp_path / "table")
    return Ratings.open(tmp_path / "table")


def same(first: Ratings, second: Ratings) -> bool:
    """Whether two tables hold the same ratings, timestamps and strangers under the same ids, in the same order."""
    optional = [(getattr(first, name), getattr(second, name)) for name in ("timestamp", "strangers")]
    return (
        first.digest == second.digest
        and first.scale == second.scale
        and all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in optional)
    )


def left(folder: Path) -> list[str]:
    """What lies in a folder beside a table."""
    names = json.loads((folder / "manifest.json").read_text())["files"] if folder.exists() else {}
    return sorted(
        {path.name for path in folder.glob("*")} - {entry["name"] for entry in names.values()} - {"manifest.json"}
    )


# -- folders ---------------------------------------------------------------------------------------------------------
def test_a_stored_table_is_the_one_that_was(mapped, small, tmp_path):
    assert same(mapped, small) and mapped.home == tmp_path / "table" and small.home is None
    assert not mapped.user.flags.writeable and left(tmp_path / "table") == []
    assert sum(path.stat().st_size for path in (tmp_path / "table").glob("*.npy")) < 20 * len(small) + 4096
    with pytest.raises(ValueError):
        mapped.rating.flags.writeable = True


def test_texts_and_a_scale_are_stored(tmp_path):
    table = Ratings.from_arrays(["ä", "b", "b"], [1, 2, 1], [1, 2, 3], scale=(0, 9), name="mine")
    table.store(tmp_path / "t")
    found = Ratings.open(tmp_path / "t")
    assert same(found, table) and found.name == "mine" and found.timestamp is None
    assert found.users.ids.tolist() == ["b", "ä"]


def test_what_is_made_of_a_mapped_table(mapped, small):
    """Rows that are asked for are in memory; the same ratings under other ids are mapped as they were."""
    rows = np.arange(0, len(small), 7)
    assert mapped.take(rows).home is None and same(mapped.take(rows), small.take(rows))
    other = small.take((small.user > 3) & (small.item != 5)).compact()
    third = small.take((small.user > 9) & (small.user < 30)).compact()
    for table in (small, other, third):
        found, wanted = mapped.mapped(table).mapped(third), small.mapped(table).mapped(third)
        assert found.home == mapped.home and same(found, wanted) and found.n_unknown == wanted.n_unknown


def test_a_folder_is_replaced_when_that_is_asked_for(mapped, small, tmp_path):
    folder, half = tmp_path / "table", small.take(np.arange(700)).compact()
    with pytest.raises(ConfigError, match=r"holds a table; give another folder, or replace it with overwrite=True"):
        half.store(folder)
    half.store(folder, overwrite=True)
    assert same(Ratings.open(folder), half) and left(folder) == []
    assert same(mapped, small)  # whose files are gone by name alone
    found = Ratings.open(folder)
    found.store(folder, overwrite=True)  # onto itself
    assert same(Ratings.open(folder), half)


def test_other_folders_are_left_alone(small, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other things than a table, so it is not replaced"):
        small.store(tmp_path, overwrite=True)
    with pytest.raises(ConfigError, match=r"notes.txt: is a file; give a folder"):
        small.store(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="folder: got 3; give the path of a folder"):
        small.store(3)
    unknown = small.mapped(small.take(small.user > 3).compact())
    with pytest.raises(DataError, match="holds ratings of unknown users or items"):
        unknown.store(tmp_path / "t")
    with pytest.raises(DataError, match="holds no ratings to store"):
        small.take(np.arange(0)).store(tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_is_no_stored_table(small, tmp_path, mapped):
    with pytest.raises(DataError, match="no such folder; give the folder that convert or store"):
        Ratings.open(tmp_path / "gone")
    with pytest.raises(DataError, match=r"no stored table: it has no manifest.json"):
        Ratings.open(tmp_path)
    fit("svd", small, n_epochs=1, n_factors=2).save(tmp_path / "model")
    with pytest.raises(DataError, match="holds a saved model, no stored table"):
        Ratings.open(tmp_path / "model")
    with pytest.raises(DataError, match=r"cannot be loaded|holds a table"):
        load(tmp_path / "table")


def resealed(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes into a file, with a manifest that vouches for them."""
    from nnmf.files import _folders

    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / manifest["files"][name]["name"]
    path.write_bytes(data)
    manifest["files"][name] |= {"bytes": len(data), "sha256": _folders._sha256(path)}
    del manifest["sha256"]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "sha256": _folders._digest(manifest)}))


def npy(array: np.ndarray) -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


N = 1500
FORGED = [
    ("user.npy", npy(np.full(N, 60, np.int32)), "user indices run from 60 to 60, the map has"),
    ("item.npy", npy(np.where(np.arange(N) == 1400, -2, 0).astype(np.int32)), "item indices run from -2 to 0"),
    ("user.npy", npy(np.full(N, -1, np.int32)), "holds ratings of unknown users or items"),
    ("rating.npy", npy(np.where(np.arange(N) == 1400, np.nan, 1).astype(np.float32)), "rating 1400 is nan"),
    ("rating.npy", npy(np.ones(N)), "expected one column of float32, got float64"),
    ("rating.npy", npy(np.ones((N, 1), np.float32)), "expected one column of float32"),
    ("rating.npy", npy(np.ones(N - 1, np.float32)), "the columns have unequal lengths"),
    ("rating.npy", npy(np.ones(N, np.float32))[:-4], "is not of the 1500 entries that it says it has"),
    ("rating.npy", b"\x93NUMPY\x01\x00\xff\xff{", "is no .npy file"),
    ("rating.npy", b"", "is no .npy file"),
    ("users.id.npy", npy(np.zeros(60, np.int64)), "id 0 stands twice"),
    ("users.id.npy", npy(np.array([{}], object)), "cannot be read|can read"),
]


@pytest.mark.parametrize(("name", "data", "message"), FORGED)
def test_nothing_unchecked_is_opened(mapped, tmp_path, name, data, message):
    """Whatever the manifest says of the files."""
    resealed(tmp_path / "table", name, data)
    with pytest.raises(DataError, match=message):
        Ratings.open(tmp_path / "table")


def test_files_that_are_cut_missing_or_edited(mapped, tmp_path):
    folder = tmp_path / "table"
    rating, ids = (folder / "rating.npy").read_bytes(), (folder / "users.id.npy").read_bytes()
    (folder / "rating.npy").write_bytes(rating[:-1])
    with pytest.raises(DataError, match=r"rating.npy: was edited or damaged, its size or checksum is wrong"):
        Ratings.open(folder)
    (folder / "rating.npy").unlink()
    with pytest.raises(DataError, match=r"rating.npy: is missing or cannot be read"):
        Ratings.open(folder)
    (folder / "rating.npy").write_bytes(rating)
    (folder / "users.id.npy").write_bytes(ids[:-1] + b"\x01")
    with pytest.raises(DataError, match=r"users.id.npy: was edited or damaged"):
        Ratings.open(folder)


# -- converting ------------------------------------------------------------------------------------------------------
def lines(n: int, user: str = "{}", seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(90 * 80)[:n]
    return [f"{user.format(pair // 80 * 3)},{pair % 80 + 7},{pair % 9 / 2},{pair}" for pair in pairs]


ROWS = lines(1000)
TABLES = {
    "plain.csv": "\n".join(ROWS),
    "header.csv": "userId,movieId,rating,timestamp\n" + "\n".join(ROWS),
    "texts.csv": "\n".join(lines(1000, "u{}")),
    "late.csv": "\n".join([*ROWS, "late,3,1,0", "7,03,1,0"]),
    "big.csv": "\n".join([*ROWS, f"{2**40},3,1,0"]),
    "odd.csv": "\n".join([*ROWS[:400], f" {2**35} , 9 ,2.5,3", *ROWS[400:], '4,"9",1,5', "5,9,.5e1,77"]),
    "odd texts.csv": "\n".join([*lines(500, "é{}"), '"ü, b",9,2.5,3', *ROWS[:300]]),
    "three.tsv": "\n".join("\t".join(row.split(",")[:3]) for row in ROWS),
    "lines.jsonl": "\n".join(
        json.dumps(dict(zip(["user_id", "item_id", "rating"], row.split(","), strict=False))) for row in ROWS
    ),
    "crlf.csv": "\r\n".join(ROWS[:500]) + "\n" + "\n".join(ROWS[500:]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_converted_file_is_the_one_that_is_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TABLES[name].encode())
    found = Ratings.convert(path, tmp_path / "t")
    assert same(found, Ratings.from_file(path, cache=False)) and found.name == name and found.home == tmp_path / "t"
    assert left(tmp_path / "t") == []


def test_gzip_parquet_and_queries(tmp_path):
    with gzip.open(tmp_path / "r.csv.gz", "wt") as file:
        file.write(TABLES["header.csv"])
    (tmp_path / "t.csv").write_text(TABLES["texts.csv"])
    parquet = tmp_path / "r.parquet"
    duckdb.sql(
        f"COPY (SELECT * FROM read_csv('{tmp_path / 't.csv'}', names=['user','item','rating','ts'])) TO '{parquet}'"
    )
    for path in (tmp_path / "r.csv.gz", parquet):
        found = Ratings.convert(path, tmp_path / "t", overwrite=True)
        assert same(found, Ratings.from_file(path, cache=False))
    query = f"SELECT \"user\", item, rating FROM '{parquet}' WHERE rating > 1"
    found = Ratings.convert(query, tmp_path / "q", sql=True, scale=(0, 10))
    assert same(found, Ratings.from_sql(query, scale=(0, 10))) and found.name == "query"


def test_lines_that_are_skipped(tmp_path, caplog):
    path = tmp_path / "r.csv"
    text = [*ROWS[:300], "no line", "x" * 30, *ROWS[300:], "only,here,bad,9", '3,"4', *ROWS[:2], '5",1,2']
    path.write_text("\n".join(text))
    first, second = Ratings.convert(path, tmp_path / "t", on_error="skip"), None
    logged = caplog.text
    caplog.clear()
    second = Ratings.from_file(path, on_error="skip", cache=False)
    assert same(first, second)
    assert "skipped" in logged and caplog.text.split("skipped")[1] == logged.split("skipped")[1]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join([*ROWS[:700], "1,2", *ROWS[700:]]),
        "\n".join([*ROWS[:700], "1,2,nan,4", *ROWS[700:]]),
        "\n".join([*ROWS[:700], "user,item,rating,4", *ROWS[700:]]),
        "\n".join([*ROWS, *ROWS[600:603]]),
        "userId,movieId,rating\n",
        "",
    ],
)
def test_a_converted_file_is_refused_as_a_read_one_is(tmp_path, text):
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(DataError) as read:
        Ratings.from_file(path, cache=False)
    with pytest.raises(DataError) as converted:
        Ratings.convert(path, tmp_path / "t")
    assert str(converted.value) == str(read.value)
    assert not (tmp_path / "t").exists()


def test_rows_of_parquet_without_a_value(tmp_path):
    path = tmp_path / "r.parquet"
    duckdb.sql(
        f"COPY (SELECT i // 20 AS user, CASE WHEN i = 700 THEN NULL ELSE i % 20 END AS item, i % 5 AS rating FROM range(1000) t(i)) TO '{path}'"
    )
    with pytest.raises(DataError) as read:
        Ratings.from_file(path, cache=False)
    with pytest.raises(DataError) as converted:
        Ratings.convert(path, tmp_path / "t")
    assert str(converted.value) == str(read.value) and "row 701 has no usable item" in str(read.value)
    found = Ratings.convert(path, tmp_path / "t", on_error="skip")
    assert same(found, Ratings.from_file(path, on_error="skip", cache=False)) and len(found) == 999


@pytest.mark.parametrize("how", ["last", "mean"])
def test_duplicates(tmp_path, how):
    path = tmp_path / "r.csv"
    again = [",".join([*row.split(",")[:2], "4.25", "1"]) for row in [*ROWS[100:160], *ROWS[120:130], ROWS[0]]]
    path.write_text("\n".join([*ROWS, *again]))
    found = Ratings.convert(path, tmp_path / "t", duplicates=how)
    assert same(found, Ratings.from_file(path, duplicates=how, cache=False)) and len(found) == 1000


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"memory_limit": "much"}, "memory_limit: got 'much'; give a size of at least 100MB, such as 1GB"),
        ({"memory_limit": "1MB"}, "memory_limit: got '1MB'"),
        ({"memory_limit": 5}, "memory_limit: got 5"),
        ({"duplicates": "sum"}, "duplicates: got 'sum'"),
        ({"on_error": "x"}, "on_error: got 'x'"),
        ({"delimiter": ""}, "delimiter: got ''"),
    ],
)
def test_options_that_cannot_be_used(tmp_path, options, error):
    (tmp_path / "r.csv").write_text(TABLES["plain.csv"])
    with pytest.raises(ConfigError, match=error):
        Ratings.convert(tmp_path / "r.csv", tmp_path / "t", **options)
    assert not (tmp_path / "t").exists()


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, mapped, small):
    (tmp_path / "r.csv").write_text(TABLES["plain.csv"])

    monkeypatch.setattr(_mapped, "put", _full_put)
    for folder in (tmp_path / "new", tmp_path / "table"):
        with pytest.raises(DataError, match=r"cannot be written .No space left on device.; free some space"):
            Ratings.convert(tmp_path / "r.csv", folder, overwrite=True)
    assert not (tmp_path / "new").exists() and same(Ratings.open(tmp_path / "table"), small)
    assert left(tmp_path / "table") == []


def _full_put(home, *_):
    from nnmf.files import cannot_write

    raise cannot_write(home, OSError(28, "No space left on device"))


# -- commands --------------------------------------------------------------------------------------------------------
def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def test_converting_and_training_from_the_command_line(tmp_path):
    (tmp_path / "r.txt").write_text(TABLES["header.csv"].replace("movieId", "x").replace(",", ";"))
    flags = ["--delimiter", ";", "--columns", "user=userId,item=x,rating=rating", "--memory-limit", "200MB"]
    done = run("nnmf.data", "convert", "r.txt", "t", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1,000 ratings of 90 users and 80 items are in t\n"), done.stderr
    again = run("nnmf.data", "convert", "r.txt", "t", cwd=tmp_path)
    assert again.returncode == 2 and "t: holds a table; give another folder, or replace it" in again.stderr
    done = run("nnmf.data", "t", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["n_ratings"] == 1000, done.stderr
    training = ["--dataset", "t", "--model", "svd", "--n-epochs", "2", "--n-factors", "4", "--output", "run"]
    done = run("nnmf.train", *training, "--split-by", "user", "--valid-fraction", "0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("nnmf.train", "--resume", "run", "--n-epochs", "3", cwd=tmp_path)
    assert done.returncode == 0 and len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3, done.stderr
    for flags, message in (
        (["--duplicates", "last"], "duplicates: t is a table that was converted"),
        (["--no-cache"], "cache: t is mapped"),
        (["--fold", "u1"], "fold: t has no folds of its own"),
    ):
        done = run("nnmf.train", "--dataset", "t", *flags, cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["only"], "give SOURCE and FOLDER"),
        (["a", "b", "c"], "give SOURCE and FOLDER"),
        (["a", "b", "--sql", "SELECT 1"], "give FOLDER alone with --sql"),
        (["b", "--sql", "SELECT 1", "--delimiter", ";"], "sql: a query says itself what it reads"),
        (["gone.csv", "b"], "gone.csv: cannot be read"),
        (["a.csv", "b", "--memory-limit", "x"], "memory_limit: got 'x'"),
    ],
)
def test_a_command_that_cannot_be(tmp_path, arguments, message, capsys, monkeypatch):
    from nnmf.commands._data import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["convert", *arguments])
    assert stopped.value.code in (1, 2, 3) and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_help_of_convert(capsys):
    from nnmf.commands._data import main

    with pytest.raises(SystemExit) as stopped:
        main(["convert", "--help"])
    assert stopped.value.code == 0 and "SOURCE FOLDER [options]" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_conversion_that_is_ended_leaves_nothing(tmp_path, number):
    with (tmp_path / "r.csv").open("w") as file:
        for part in range(300):
            file.writelines(f"u{part * 37 % 1009}x{n},{n % 5000},{n % 5}\n" for n in range(5000))
    command = [sys.executable, "-m", "nnmf.data", "convert", "r.csv", "t"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        while not list((tmp_path / "t").glob(".nnmf-part*")):  # at work
            assert process.poll() is None
        process.send_signal(number)
        code = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
        assert process.wait(60) == code
    if number != signal.SIGKILL:
        assert not (tmp_path / "t").exists()
    else:  # what is left then goes with the next
        (tmp_path / "few.csv").write_text(TABLES["plain.csv"])
        assert run("nnmf.data", "convert", "few.csv", "t", cwd=tmp_path).returncode == 0
        assert left(tmp_path / "t") == []


# -- splits ----------------------------------------------------------------------------------------------------------
def test_a_split_by_time_is_that_of_a_table_in_memory(mapped, small):
    for fraction in (0.1, 0.5, 0.83, 0.999):
        for found, wanted in zip(mapped.split_by_time(fraction), small.split_by_time(fraction), strict=True):
            assert same(found, wanted) and found.home == mapped.home


def test_a_split_by_time_of_far_and_equal_moments(tmp_path):
    stamp = np.array([2**63 - 1, -(2**63), 0, 0, 0, 5, 5, 2**40, -(2**62), 0])
    table = Ratings.from_arrays(np.arange(10), np.arange(10) % 3, np.arange(10), stamp)
    table.store(tmp_path / "t")
    mapped = Ratings.open(tmp_path / "t")
    for fraction in np.arange(0.1, 1, 0.1):
        for found, wanted in zip(mapped.split_by_time(fraction), table.split_by_time(fraction), strict=True):
            assert same(found, wanted)


@pytest.mark.parametrize("way", ["split", "split_by_user"])
def test_drawn_splits_part_the_ratings(mapped, small, way):
    train, test = getattr(mapped, way)(0.7, seed=3)
    again, _ = getattr(mapped, way)(0.7, seed=3)
    other, _ = getattr(mapped, way)(0.7, seed=4)
    assert same(train, again) and not same(train, other)
    wanted, _ = getattr(small, way)(0.7)
    assert len(train) == len(wanted) and len(train) + len(test) == len(small)
    assert train.n_unknown == 0
    keys = [
        set(zip(t.users.at(t.user), t.items.at(t.item), t.rating, strict=True)) for t in (train, test.take(test.known))
    ]
    whole = set(zip(small.users.at(small.user), small.items.at(small.item), small.rating, strict=True))
    assert not keys[0] & keys[1] and keys[0] | keys[1] <= whole
    if way == "split_by_user":
        share = np.ceil(0.7 * np.bincount(small.user) - 1e-9)
        assert np.array_equal(np.bincount(train.user), share)


def test_a_drawn_split_takes_each_rating_as_often_as_another(tmp_path):
    table = Ratings.from_arrays(np.arange(600) // 20, np.arange(600) % 20, np.arange(600))
    table.store(tmp_path / "t")
    mapped = Ratings.open(tmp_path / "t")
    taken = np.zeros(600)
    for seed in range(200):
        taken[mapped.split(0.5, seed)[0].rating.astype(int)] += 1
    # 200 draws of 1/2: a standard deviation of 7.1 ratings, or .5 in the mean of the first 200 of them.
    assert taken.min() > 200 * 0.5 - 36 and taken.max() < 200 * 0.5 + 36
    assert abs(taken[:200].mean() - 100) < 2.5 and abs(taken[-200:].mean() - 100) < 2.5


def test_splits_that_cannot_be(mapped, tmp_path, small):
    for way in ("split", "split_by_user"):
        with pytest.raises(ConfigError, match="seed: got -1"):
            getattr(mapped, way)(0.7, -1)
        with pytest.raises(ConfigError, match=r"fraction: got 1\.2"):
            getattr(mapped, way)(1.2)
    with pytest.raises(ConfigError, match="leaves no rating to test on"):
        mapped.split_by_user(0.999)
    with pytest.raises(ConfigError, match="a mapped table has no folds; take split"):
        next(mapped.folds())
    Ratings.from_arrays([1, 2], [1, 2], [1, 2]).store(tmp_path / "t")
    with pytest.raises(DataError, match="has no timestamps to split by"):
        Ratings.open(tmp_path / "t").split_by_time()


# -- training --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["svd", "funk_svd", "svdpp", "bayes"])
def test_factors_are_those_of_the_table_in_memory(mapped, small, kind, caplog):
    settings = {"n_epochs": 3, "n_factors": 5, "n_threads": 2, "seed": 3}
    settings |= {"features": "ids,history,raters"} if kind == "bayes" else {}
    found, wanted = (fit(kind, table, small.take(np.arange(99)), test=table, **settings) for table in (mapped, small))
    arrays = found.scorer.arrays() if kind != "bayes" else found.to_state().kept.arrays
    for name, array in (wanted.scorer.arrays() if kind != "bayes" else wanted.to_state().kept.arrays).items():
        assert np.array_equal(arrays[name], array), name
    # Sums in blocks differ in their last digits.
    for result, other in zip(found.history, wanted.history, strict=True):
        assert result.train_rmse == pytest.approx(other.train_rmse, rel=1e-6)
        assert result.test_rmse == pytest.approx(other.test_rmse, rel=1e-6)
    assert found.train_digest == wanted.train_digest
    assert np.array_equal(found.seen.indptr, wanted.seen.indptr) and np.array_equal(found.seen.item, wanted.seen.item)
    in_memory = [record.message for record in caplog.records if "in memory" in record.message]
    assert len(in_memory) == (kind in ("svdpp", "bayes")), in_memory


@pytest.mark.parametrize("missing", [(), ("preadv", "posix_fadvise")], ids=["", "windows"])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("shape", [(8, 4), (4, 16)])
def test_blocks_are_read_as_they_lie_in_memory(tmp_path, monkeypatch, shape, n_threads, missing):
    """Some rounds at a time, whatever the system offers: the same ratings in the same order."""
    for name in missing:
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(_schedule, "_READ_RATINGS", 200)
    rng = np.random.default_rng(4)
    user, item = rng.integers(90, size=2000, dtype=np.int32), rng.integers(60, size=2000, dtype=np.int32)
    item[user < 7] = 3  # and blocks without ratings
    given = user, item, np.arange(2000, dtype=np.float32), 90, 60, 4, 11, 1, shape

    def visited(schedule, epoch):
        found = []

        def kernel(blocks, taken, starts, errors, *columns):
            with lock:
                blocks, taken[0] = blocks[taken[0] :], len(blocks)
            found.extend(np.stack([column[starts[b] : starts[b + 1]] for column in columns]) for b in blocks)
            errors[blocks] = 1

        lock = threading.Lock()
        with _schedule.Workers(n_threads) as workers:
            assert schedule.run(kernel, seed=5, epoch=epoch, workers=workers) > 1
        return found

    in_memory, in_file = _schedule.GridSchedule(*given), _schedule.FileGridSchedule(tmp_path, *given)
    for epoch in range(2):
        wanted, found = visited(in_memory, epoch), visited(in_file, epoch)
        assert np.array_equal(np.sort(np.concatenate(found, axis=1)[2]), np.arange(2000))
        assert len(found) == len(wanted) and all(map(np.array_equal, found, wanted))


def test_a_file_that_lost_its_end_is_not_trained_on(tmp_path):
    parts = _mapped.Parts(tmp_path, np.array([4]), np.int32, np.float32)
    parts.write_rows(0, np.arange(4, dtype=np.int32), np.arange(4, dtype=np.float32))
    rows = [np.empty(2, np.int32), np.empty(2, np.float32)]
    parts._file.truncate(30)
    with pytest.raises(DataError, match="cannot be read again; check the disk"):
        parts.read_rows(2, rows)


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="a way of reading that Windows lacks")
@pytest.mark.parametrize("n_bytes", [1, 5, 36, 50, 72])
def test_what_is_read_in_pieces_is_read_whole(tmp_path, monkeypatch, n_bytes):
    """A system may read less than it is asked for, of more than 2 GB or from a disk elsewhere, and is asked again."""
    parts, read = _mapped.Parts(tmp_path, np.array([9]), np.int32, np.float32), os.preadv
    written = np.arange(9, dtype=np.int32), np.arange(9, 18, dtype=np.float32)
    parts.write_rows(0, *written)

    def some(file, buffers, at):
        pieces, left = [], n_bytes
        for buffer in buffers:
            pieces.append(memoryview(buffer).cast("B")[:left])
            left -= len(pieces[-1])
        return read(file, pieces, at)

    monkeypatch.setattr(os, "preadv", some)
    found = [np.empty(9, np.int32), np.empty(9, np.float32)]
    parts.read_rows(0, found)
    assert all(map(np.array_equal, found, written))


def test_a_disk_that_fails_is_a_sentence(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    parts = _mapped.Parts(tmp_path, np.array([2]), np.int32)
    parts.write_rows(0, np.arange(2, dtype=np.int32))
    monkeypatch.setattr(os, "preadv", fail, raising=False)
    with pytest.raises(DataError, match=r"cannot be read again; check the disk \(Input/output error\)"):
        parts.read_rows(0, [np.empty(2, np.int32)])


def test_training_goes_on_with_a_mapped_table(mapped, small, tmp_path):
    """`fit_more` on it, a saved model and a copy are those of the table in memory."""
    models = [fit("svd", table.take(small.user < 40).compact(), n_epochs=2, n_factors=3) for table in (small, small)]
    for model, table in zip(models, (mapped, small), strict=True):
        model.fit_more(table, n_epochs=2)
    trained = fit("svd", mapped, n_epochs=2, n_factors=3)
    trained.save(tmp_path / "model")
    for found, wanted in (
        (models[0], models[1]),
        (load(tmp_path / "model"), trained),
        (copy.deepcopy(trained), trained),
    ):
        for name, array in wanted.scorer.arrays().items():
            assert np.array_equal(found.scorer.arrays()[name], array), name
        assert np.array_equal(found.seen.item, wanted.seen.item)
        items, scores = found.recommend(small.users.ids[:9], 5)
        assert np.array_equal(items, wanted.recommend(small.users.ids[:9], 5)[0]) and np.isfinite(scores).all()


def test_statistics_of_a_mapped_table(mapped, small):
    assert statistics(mapped) == statistics(small)


def test_a_table_of_one_user_and_one_of_few_ratings(tmp_path):
    for n_users, n_items in ((1, 700), (700, 1), (3, 1)):
        user, item = np.divmod(np.arange(n_users * n_items), n_items)
        table = Ratings.from_arrays(user, item, 1.0 + (user + item) % 5)
        table.store(tmp_path / f"{n_users}")
        mapped = Ratings.open(tmp_path / f"{n_users}")
        found, wanted = (fit("svd", given, n_epochs=2, n_factors=2) for given in (mapped, table))
        assert np.array_equal(found.user_factors, wanted.user_factors)
        assert np.array_equal(found.item_factors, wanted.item_factors)


# -- streaming to networks -------------------------------------------------------------------------------------------
@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(_windows, "WINDOW", 400)
    monkeypatch.setattr(_windows, "CHUNK", 16)


def epoch(iterator) -> list[tuple[np.ndarray, int]]:
    """The batches, as arrays of users, items and ratings, with their pads."""
    return [(np.stack([x.asnumpy() for x in (*batch.data, *batch.label)], 1), batch.pad) for batch in iterator]


@pytest.mark.parametrize("batch_size", [1, 7, 64, 399, 400, 401, 500])
@pytest.mark.parametrize(("n_workers", "last_batch"), [(1, "pad"), (1, "discard"), (3, "pad"), (3, "discard")])
def test_windows_stream_each_rating_once(mapped, small_windows, batch_size, n_workers, last_batch):
    whole, rows, seen, orders = np.stack([mapped.user, mapped.item, mapped.rating], 1), [], [], []
    for rank in range(n_workers):
        iterator = DataIter(mapped, batch_size, seed=5, last_batch=last_batch, rank=rank, n_workers=n_workers)
        order, batches = iterator.order(), epoch(iterator)
        assert len(batches) == iterator.n_batches and all(len(part) == batch_size for part, _ in batches)
        assert np.array_equal(np.concatenate([part for part, _ in batches]), whole[order])
        pad = sum(pad for _, pad in batches)
        assert pad == iterator.n_batches * batch_size - iterator.n_streamed
        rows.append(order[: iterator.n_streamed])
        orders.append(order)
        seen.append(iterator.n_streamed)
    every = np.concatenate(rows)
    assert len(np.unique(every)) == len(every) == sum(seen)
    if last_batch == "pad":
        assert len(every) == len(mapped)
    if n_workers * batch_size <= len(mapped):
        alone = DataIter(mapped, n_workers * batch_size, seed=5, last_batch=last_batch)
        assert np.array_equal(np.stack(orders, 1).ravel(), alone.order())


def test_windows_follow_from_seed_and_epoch(mapped, small, small_windows):
    first, again, other = (DataIter(mapped, 64, seed=seed) for seed in (1, 1, 2))
    orders = []
    for number in range(3):
        epoch(first)
        orders.append(first.order())
        again.epoch = number
        assert np.array_equal(again.order(), orders[-1]) and not np.array_equal(other.order(), orders[-1])
        first.reset()
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(DataIter(mapped, 64, shuffle=False).order()[:1500], np.arange(1500))
    # Consecutive ratings of a window are far apart, and so are windows.
    steps = np.abs(np.diff(orders[0][:400]))
    assert np.median(steps) > 100 and 25 <= len(np.unique(orders[0][:400] // 16)) < 32


def test_a_table_within_a_window_is_shuffled_as_a_whole(mapped):
    assert np.median(np.abs(np.diff(DataIter(mapped, 50, seed=1).order()))) > 300
    assert len(np.unique(DataIter(mapped, 50, seed=1).order())) == 1500


def test_negatives_hold_a_mapped_table_in_memory(mapped, small, caplog):
    found, wanted = (epoch(DataIter(table, 100, seed=3, negatives=2)) for table in (mapped, small))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(found, wanted, strict=True))
    assert "Training with negatives holds the table in memory: 1,500 ratings" in caplog.text


def test_windows_train_as_well_as_a_full_shuffle(tmp_path, u1, monkeypatch):
    """On a table that is sorted by user, of which a window holds a 32nd; chunks as long as a window are no such thing."""
    train, test = u1
    train = train.take(np.argsort(train.user, kind="stable"))
    train.store(tmp_path / "t")
    settings = {"test": test, "n_epochs": 3, "ctx": "cpu"}
    full = fit("biased_mlp", train, **settings).history[-1].test_rmse
    window = len(train) // 32
    monkeypatch.setattr(_windows, "WINDOW", window)
    found = {}
    for n_chunks in (512, 10):
        monkeypatch.setattr(_windows, "CHUNK", window // n_chunks)
        found[n_chunks] = fit("biased_mlp", Ratings.open(tmp_path / "t"), **settings).history[-1].test_rmse
    assert found[512] == pytest.approx(full, rel=0.005)
    assert found[10] > 1.02 * full


# -- memory ----------------------------------------------------------------------------------------------------------
_PEAK = """
import sys
import threading
import numpy as np
from nnmf import DataIter, Ratings, fit
from nnmf.neural import _windows
_windows.WINDOW = 1 << 18
kind, where, path = sys.argv[1:]
table = Ratings.open(path)
if where == "memory":
    table = table.take(np.arange(len(table)))
if kind == "svd":
    fit("svd", table, n_epochs=1, n_factors=4, n_threads=2)
else:
    for batch in DataIter(table, 1 << 15):
        batch.data[0].wait_to_read()
# What getrusage tells counts the process that this one was started by.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak memory")
@pytest.mark.parametrize("kind", ["svd", "stream"])
def test_memory_does_not_grow_with_the_ratings(tmp_path, kind, monkeypatch):
    monkeypatch.undo()  # blocks as large as they are
    peaks = {}
    for millions in (4, 12):
        n = millions * 10**6
        query = f"SELECT i * 2654435761 % 40000000 // 2000 AS user, i * 2654435761 % 2000 AS item, i % 5 AS rating FROM range({n}) t(i)"
        Ratings.convert(query, tmp_path / str(n), sql=True)
        for where in ("files", "memory"):
            done = run_code(_PEAK, kind, where, str(tmp_path / str(n)))
            peaks[where, millions] = int(done) >> 10
    # 8 million ratings more are 96 MB of columns, of which training makes copies. Beside a page of a file that is read Linux maps its
    # neighbours, up to some 100 MB for the chunks of a window.
    grown = {where: peaks[where, 12] - peaks[where, 4] for where in ("files", "memory")}
    assert grown["memory"] > 160, peaks
    assert abs(grown["files"]) < grown["memory"] / 2, peaks


def run_code(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout
