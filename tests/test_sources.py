"""From settings to tables: every place ratings come from, and every setting that would have no effect there."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnmf.commands._cache import main as cache_main
from nnmf.commands._data import main as data_main
from nnmf.config import DataConfig, columns_of
from nnmf.datasets import (
    DATASETS,
    _fetching,
    _registry,
    cached_datasets,
    clear_datasets,
    load_table,
    load_tables,
    moved,
    synthetic,
)
from nnmf.datasets._features import features_of
from nnmf.datasets._sources import source_of
from nnmf.errors import ConfigError, DataError
from nnmf.files import cache_dir
from nnmf.tables import Ratings, encode
from nnmf.testing import low_rank


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, no $NNMF_DATA, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNMF_DATA", raising=False)
    monkeypatch.setattr(_fetching, "unreachable", lambda url: f"{url} cannot be reached (no network in tests)")

    def no_network(url: str, path: Path, **_: object) -> Path:
        raise DataError(f"{url} cannot be downloaded (no network in tests)")

    monkeypatch.setattr(_fetching, "download", no_network)
    return tmp_path


def write(path: Path, table: Ratings, rows: Any = slice(None)) -> Path:
    columns = table.user[rows], table.item[rows], table.rating[rows], table.timestamp[rows]  # type: ignore[index]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{u}\t{i}\t{r:.2f}\t{t}\n" for u, i, r, t in zip(*columns, strict=True)))
    return path


@pytest.fixture
def file(places: Path) -> Path:
    return write(places / "ratings.tsv", low_rank())


@pytest.fixture
def parts(places: Path) -> tuple[Path, Path]:
    """A train and a test file, the latter with users of its own."""
    table = low_rank()
    return write(places / "a.tsv", table, table.user < 50), write(places / "b.tsv", table, table.user >= 40)


@pytest.fixture
def published(places: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> Path:
    """A folder that holds ml-100k, which has 1,500 ratings here, and their fold u1."""
    rows = np.arange(1500)
    write(places / "data" / "u.data", low_rank())
    write(places / "data" / "u1.base", low_rank(), rows < 1200)
    write(places / "data" / "u1.test", low_rank(), rows >= 1200)
    first = (places / "data" / "u.data").read_text().partition("\n")[0]
    sizes = {
        name: _registry.Size(count, count, (places / "data" / name).stat().st_size)
        for name, count in (("u.data", 1500), ("u1.base", 1200), ("u1.test", 300))
    }
    entry = replace(DATASETS["ml-100k"], first_line=first, sizes=sizes, rating_scale=(-9.0, 9.0))
    monkeypatch.setattr(_registry, "DATASETS", {**DATASETS, "ml-100k": entry})
    monkeypatch.setenv("NNMF_DATA", str(places / "data"))
    return places / "data"


def same(first: Ratings, second: Ratings) -> bool:
    return first.digest == second.digest


# ---- settings without effect


OWN_TEST = "nothing is split, for the test ratings are those of {}; leave it out, or give valid_fraction too"
DEFAULT_TEST = OWN_TEST.replace("give", "give split or").format("ml-100k's fold u1")
TWO = {"train_file": "a.tsv", "test_file": "b.tsv"}
FILE = {"dataset": "ratings.tsv"}
QUERY = {"sql": "SELECT 1"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # two places, half a pair
        ({**FILE, **QUERY}, "sql: names ratings, and so does dataset; give one of them"),
        ({**FILE, **TWO}, "train_file: names ratings, and so does dataset; give one of them"),
        ({**TWO, **QUERY}, "sql: names ratings, and so does train_file"),
        ({"dataset": "ml-1m", "sql": "SELECT 1"}, "sql: names ratings, and so does dataset"),
        ({"test_file": "b.tsv"}, "test_file: comes with train_file, the ratings to train on; give both"),
        ({**FILE, "test_file": "b.tsv"}, "test_file: comes with train_file"),
        ({"train_file": "a.tsv"}, "train_file: comes with test_file; give both, or one file as dataset"),
        ({"train_file": "a.tsv", "valid_fraction": 0.1}, "train_file: comes with test_file"),
        ({"train_file": "a.tsv", "test_file": "./a.tsv"}, "test_file: got './a.tsv', the train_file itself"),
        ({"train_file": "a.tsv", "test_file": "gone"}, "test_file: got 'gone'; there is no such file"),
        ({"dataset": "gone"}, r"dataset: got 'gone' instead of one of \['ml-100k', .*, and there is no such file"),
        ({"dataset": "x" * 5000}, ".*there is no such file"),
        ({"dataset": "a\0b"}, ".*there is no such file"),
        *[
            ({name: " "}, f"{name}: got an empty text; give one that names something, or leave it out")
            for name in ("dataset", "train_file", "test_file", "sql", "fold", "data_dir", "user_features")
        ],
        ({**FILE, "user_features": "gone"}, "user_features: got 'gone'; there is no such file"),
        ({"dataset": "synthetic", "item_features": "gone"}, "item_features: got 'gone'; there is no such file"),
        # a fold's test table is its own, given or by default
        ({"split_by": "user"}, "split_by: " + DEFAULT_TEST),
        ({"split_by": "rating"}, "split_by: " + DEFAULT_TEST),
        ({"dataset": "ml-100k", "split_by": "time"}, "split_by: " + DEFAULT_TEST),
        ({"fold": "ua", "split_by": "time"}, "split_by: " + OWN_TEST.format("ml-100k's fold ua")),
        ({"split_seed": 0}, "split_seed: " + DEFAULT_TEST),
        ({"dataset": "ml-100k", "fold": "u2", "split_seed": 7}, "split_seed: " + OWN_TEST.format("ml-100k's fold u2")),
        ({"fold": "u1", "split": 0.5}, "fold: comes with its own test table, so it does not go with split"),
        ({"fold": "u9"}, r"fold: got 'u9' instead of one of \['u1'"),
        ({"dataset": "ml-1m", "fold": "u1"}, "fold: got 'u1', but ml-1m is published without folds; use split"),
        # a split by time draws nothing
        ({"dataset": "ml-1m", "split_by": "time", "split_seed": 1}, "split_seed: a split by time draws nothing"),
        ({**FILE, "split_by": "time", "split_seed": 0}, "split_seed: a split by time draws nothing"),
        (
            {"fold": "u1", "valid_fraction": 0.1, "split_by": "time", "split_seed": 1},
            "split_seed: a split by time draws nothing",
        ),
        # published files are read as published
        ({"delimiter": ","}, "delimiter: ml-100k is read as it was published; leave it out, or give the file itself"),
        ({"dataset": "ml-20m", "delimiter": ","}, "delimiter: ml-20m is read as it was published"),
        ({"dataset": "ml-1m", "columns": "user=a,item=b,rating=c"}, "columns: ml-1m is read as it was published"),
        ({"dataset": "ml-100k", "on_error": "skip"}, "on_error: ml-100k is read as it was published"),
        ({"duplicates": "last"}, "duplicates: ml-100k is read as it was published"),
        # what is drawn is not read
        *[
            ({"dataset": "synthetic", name: value}, f"{name}: synthetic is drawn, not read from files; leave it out")
            for name, value in (
                ("data_dir", "."),
                ("delimiter", ","),
                ("columns", "user=a,item=b,rating=c"),
                ("on_error", "raise"),
                ("duplicates", "mean"),
                ("cache", False),
            )
        ],
        ({"dataset": "synthetic", "fold": "u1"}, "fold: synthetic has no folds of its own; use split"),
        # files
        ({**FILE, "fold": "u1"}, r"fold: ratings\.tsv has no folds of its own; use split"),
        (
            {**FILE, "data_dir": "."},
            r"data_dir: ratings\.tsv is not looked for in a folder; leave it out, and give whole",
        ),
        ({"dataset": "x.parquet", "delimiter": ","}, r"delimiter: x\.parquet has no delimiter between fields"),
        ({"dataset": "x.JSONL.gz", "delimiter": ","}, r"delimiter: x\.JSONL\.gz has no delimiter between fields"),
        ({**TWO, "fold": "u1"}, "fold: the test ratings are those of test_file; leave it out, or give the one file"),
        ({**TWO, "split": 0.5}, "split: the test ratings are those of test_file"),
        ({**TWO, "split_by": "user"}, "split_by: " + OWN_TEST.format("test_file")),
        ({**TWO, "split_seed": 3}, "split_seed: " + OWN_TEST.format("test_file")),
        ({**TWO, "data_dir": "."}, r"data_dir: a\.tsv is not looked for in a folder"),
        # queries
        *[
            (
                {**QUERY, name: value},
                f"{name}: a query says itself what it reads; leave it out, and say it there: SELECT",
            )
            for name, value in (
                ("data_dir", "."),
                ("delimiter", ","),
                ("columns", "user=a,item=b,rating=c"),
                ("on_error", "skip"),
            )
        ],
        ({**QUERY, "cache": False}, "cache: what a query gives is not kept in the cache; leave it out"),
        ({**QUERY, "fold": "u1"}, "fold: a query has no folds of its own; use split"),
    ],
)
def test_a_setting_without_effect_is_refused(
    file: Path, parts: tuple[Path, Path], settings: dict[str, Any], message: str
) -> None:
    for name in ("x.parquet", "x.JSONL.gz"):
        Path(name).touch()
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        load_tables(DataConfig(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "setting", ["train_file", "test_file", "fold", "split", "split_by", "split_seed", "valid_fraction"]
)
def test_a_whole_table_is_not_parted(file: Path, setting: str) -> None:
    value: Any = {"split": 0.5, "valid_fraction": 0.5, "split_seed": 0, "split_by": "rating"}.get(setting, "u1")
    with pytest.raises(
        ConfigError, match=f"^{setting}: has no effect on a whole table; leave it out, or use load_tables"
    ):
        load_table(DataConfig(**{"dataset": "ratings.tsv", setting: value}))


@pytest.mark.parametrize(
    "settings",
    [
        {"split_by": "user", "split_seed": 1, "valid_fraction": 0.1},
        {"dataset": "ml-100k", "split": 0.5, "split_by": "user", "split_seed": 1},
        {"dataset": "ml-100k", "fold": "u1", "data_dir": "data", "cache": False},
        {"dataset": "ratings.tsv", "delimiter": "\t", "split_by": "time", "valid_fraction": 0.2},
        {"dataset": "v2.json.tsv", "delimiter": "\t"},
        {"dataset": "synthetic", "split": 0.9, "split_seed": 2},
        {**TWO, "valid_fraction": 0.1, "split_by": "user", "split_seed": 4, "delimiter": "\t"},
    ],
)
def test_settings_with_effect_are_taken(published: Path, parts: tuple[Path, Path], settings: dict[str, Any]) -> None:
    write(Path("v2.json.tsv"), low_rank())
    tables = load_tables(DataConfig(**settings))
    assert (tables.valid is not None) == ("valid_fraction" in settings)
    again = load_tables(tables.config)
    assert (again.name, again.config) == (tables.name, tables.config)
    assert same(again.train, tables.train) and same(again.test, tables.test)


# ---- what is loaded


def test_the_test_ratings_choose_nothing(file: Path) -> None:
    tables = load_tables(DataConfig(dataset="ratings.tsv"))
    assert tables.valid is None and not hasattr(tables, "watched")
    assert (len(tables.train), len(tables.test), tables.name) == (1200, 300, "ratings.tsv 0.8/0.2")
    tables = load_tables(DataConfig(dataset="ratings.tsv", valid_fraction=0.25))
    assert tables.valid is not None
    assert (len(tables.train), len(tables.valid), len(tables.test)) == (900, 300, 300)


def test_the_defaults_of_what_is_not_given(published: Path) -> None:
    whole = Ratings.from_file(published / "u.data", scale=(-9.0, 9.0))
    train, test = whole.split(0.8, 0)
    found = load_tables(DataConfig(dataset="ml-100k", split=0.8))
    assert same(found.train, train) and same(found.test, test)
    found = load_tables(DataConfig(dataset="ml-100k", split=0.8, split_by="rating", split_seed=0))
    assert same(found.train, train)
    for config in (DataConfig(), DataConfig(dataset="ml-100k"), DataConfig(fold="u1")):
        found = load_tables(config)
        assert (found.name, len(found.train), len(found.test)) == ("ml-100k/u1", 1200, 300)
        assert found.config.dataset == "ml-100k" and found.statistics is None
    table, best = load_table(DataConfig())
    assert same(table, whole) and best is None and table.name == "ml-100k"


def test_files_of_ones_own_for_training_and_test(parts: tuple[Path, Path], places: Path) -> None:
    tables = load_tables(DataConfig(**TWO))
    train = Ratings.from_file(parts[0])
    assert same(tables.train, train) and same(tables.test, Ratings.from_file(parts[1], like=train))
    assert tables.name == "a.tsv tested on b.tsv" and tables.valid is None and tables.statistics is None
    assert not tables.test.known.all()  # users without a training rating stay, marked
    assert tables.config == DataConfig(train_file=str(places / "a.tsv"), test_file=str(places / "b.tsv"))


def test_the_tutorials_split_by_file_is_the_fold(ml_100k: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = load_tables(DataConfig(dataset="ml-100k", fold="u1", data_dir=str(ml_100k)))
    files = load_tables(DataConfig(train_file=str(ml_100k / "u1.base"), test_file=str(ml_100k / "u1.test")))
    assert same(fold.train, files.train) and same(fold.test, files.test)


def test_how_a_file_is_read_is_passed_on(file: Path, parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[dict[str, Any]] = []

    def from_file(path: object, **options: Any) -> Ratings:
        read.append({"path": str(path), **options})
        return low_rank()

    monkeypatch.setattr(Ratings, "from_file", from_file)
    names = "user = customer,item=sku,rating=stars"
    load_table(DataConfig(dataset="ratings.tsv", columns=names, delimiter=";", cache=False, on_error="skip"))
    load_tables(DataConfig(**TWO, columns=names, duplicates="last"))
    columns = {"user": "customer", "item": "sku", "rating": "stars"}
    assert read[0] == {
        "path": "ratings.tsv",
        "columns": columns,
        "delimiter": ";",
        "cache": False,
        "on_error": "skip",
        "duplicates": "error",
    }
    assert [(entry["path"], entry["columns"], entry["cache"], entry["duplicates"]) for entry in read[1:]] == [
        ("a.tsv", columns, True, "last"),
        ("b.tsv", columns, True, "last"),
    ]
    assert "like" in read[2] and "like" not in read[1]


def test_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def from_sql(query: str, **options: Any) -> Ratings:
        asked.append((query, options))
        return low_rank()

    monkeypatch.setattr(Ratings, "from_sql", from_sql, raising=False)
    tables = load_tables(DataConfig(sql="SELECT * FROM 'x.csv'", duplicates="mean"))
    assert asked == [("SELECT * FROM 'x.csv'", {"duplicates": "mean"})]
    assert (len(tables.train), len(tables.test)) == (1200, 300)
    assert tables.config.sql == "SELECT * FROM 'x.csv'" and tables.config.dataset is None
    assert load_table(DataConfig(sql="SELECT 2"))[0].n_ratings == 1500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user", "columns: got 'user'; give a text such as 'user=customer,item=sku,rating=stars'"),
        ("user=a,item=,rating=c", "give a text such as"),
        ("", "give a text such as"),
        ("user=a,item=b,rate=c", r"columns: got 'rate' instead of one of \['item', 'rating', 'timestamp', 'user'\]"),
        ("user=a,user=b,item=c,rating=d", "names the user column twice; name it once"),
        ("user=a,item=b", "names no rating column; add rating=NAME"),
    ],
)
def test_columns_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(columns=text)


def test_columns_by_name() -> None:
    found = columns_of("timestamp=when, rating=stars given,user=a=b,item=i")
    assert found == {"timestamp": "when", "rating": "stars given", "user": "a=b", "item": "i"}
    with pytest.raises(ConfigError, match="cache: got 'no'; give True or False"):
        DataConfig(cache="no")  # type: ignore[arg-type]


# ---- files that are not what they are called


def test_a_cut_file_is_not_the_dataset(
    ml_100k: Path, places: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    lines = (ml_100k / "u.data").read_text().splitlines(keepends=True)
    (places / "ml-100k").mkdir()
    (places / "ml-100k" / "u.data").write_text("".join(lines[:500]))
    n_bytes = (places / "ml-100k" / "u.data").stat().st_size
    found = rf"ml-100k/u\.data has {n_bytes:,} bytes instead of the 1,979,173 bytes of 100,000 ratings"
    with pytest.raises(DataError, match=found):
        load_tables(DataConfig(dataset="ml-100k", split=0.8, data_dir="ml-100k"))
    monkeypatch.setenv("NNMF_DATA", str(places))
    with pytest.raises(DataError, match="cannot be downloaded"):  # named, so nothing is put in its place
        load_tables(DataConfig(dataset="ml-100k", split=0.8))
    assert "is passed over, " in caplog.text
    table, _ = load_table(DataConfig(dataset="ml-100k/u.data"))  # the file itself may be read
    assert len(table) == 500


def test_the_ratings_that_were_read_are_counted(places: Path) -> None:
    lines = [f"{user},{item},4.0,{964982703 + item}" for user in range(1, 61) for item in range(1, 501)]
    (places / "ratings.csv").write_text("\n".join([_registry.CSV_HEADER, *lines]) + "\n")
    expected = r"ratings\.csv is not ml-latest-small's: it holds 30,000 ratings instead of 50,000 to 200,000"
    with pytest.raises(DataError, match=expected):
        load_tables(DataConfig(dataset="ml-latest-small", data_dir="."))


# ---- without a network


def test_the_default_gives_up_soon_and_a_name_does_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "nnmf"):
        tables = load_tables(DataConfig(cache=False, valid_fraction=0.1))
    assert "cannot be reached (no network in tests)" in caplog.text and "SYNTHETIC" in caplog.text
    assert tables.name == "synthetic 0.8/0.2" and tables.best_rmse == pytest.approx(synthetic().noise_rmse)
    assert load_tables(tables.config).name == tables.name
    for named in ({"dataset": "ml-100k"}, {"fold": "u1"}):
        with pytest.raises(DataError, match="cannot be downloaded"):
            load_tables(DataConfig(**named))
    with pytest.raises(DataError, match="does not hold"):
        load_tables(DataConfig(data_dir="."))


# ---- what is known of users and items


def test_features_of_ones_own_go_with_every_table(file: Path, parts: tuple[Path, Path], places: Path) -> None:
    (places / "users.csv").write_text("user,age\n" + "".join(f"{user},{user + 20}\n" for user in range(60)))
    (places / "items.csv").write_text("id,tags\n1,a|b\n")
    own = {"user_features": "users.csv", "item_features": "items.csv"}
    for settings in (FILE, TWO, {"dataset": "synthetic"}, {**FILE, "valid_fraction": 0.2}):
        tables = load_tables(DataConfig(**settings, **own))
        for table in filter(None, (tables.train, tables.valid, tables.test)):
            assert (
                table.user_features is tables.train.user_features and table.item_features is tables.train.item_features
            )
        assert tables.train.user_features["age"].tolist() == list(range(20, 80))  # type: ignore[index]
        assert tables.train.item_features.kinds == {"tags": "list"}  # type: ignore[union-attr]
        assert same(tables.train, load_tables(DataConfig(**settings)).train)
        assert tables.config.user_features == str(places / "users.csv")
    assert load_table(DataConfig(**FILE, **own))[0].item_features is not None
    assert load_tables(DataConfig(**FILE), features=True).train.user_features is None


U_USER = "1|24|M|technician|85711\n2|53|F|none|94043\n3|23|M|writer|V0R2M\n"


def test_what_a_known_dataset_tells_is_read_when_asked_for(published: Path, places: Path) -> None:
    assert load_tables(DataConfig()).train.user_features is None
    with pytest.raises(DataError, match=r"^ml-100k: .*put ml-100k\.zip or its files in --data-dir"):
        load_tables(DataConfig(dataset="ml-100k"), features=True)
    (published / "u.user").write_text(U_USER)
    (published / "u.genre").write_text("unknown|0\nAction|1\nDrama|2\n")
    (published / "u.item").write_bytes("5|Am\xe9lie (2001)|||x|0|1|1\n7|unknown||||1|0|0\n".encode("latin-1"))
    for settings in ({}, {"split": 0.8, "valid_fraction": 0.1}):
        train = load_tables(DataConfig(**settings), features=True).train
        users, items = train.user_features, train.item_features
        assert users is not None and items is not None
        assert users.kinds == {"age": "number", **dict.fromkeys(("gender", "occupation", "zip"), "category")}
        assert users.ids.ids.tolist() == [1, 2, 3] and users["age"].tolist() == [24, 53, 23]
        assert users["occupation"].tolist() == ["technician", "none", "writer"] and users["zip"].tolist() == [*"89V"]
        assert items.kinds == {"year": "number", "genres": "list"} and items.ids.ids.tolist() == [5, 7]
        np.testing.assert_array_equal(items["year"], [2001, np.nan])
        assert items["genres"].tolist() == [("Action", "Drama"), ("unknown",)]
    (places / "users.csv").write_text("user,job\n1,baker\n")
    train = load_tables(DataConfig(user_features="users.csv"), features=True).train
    assert list(train.user_features.columns) == ["job"] and "year" in train.item_features.columns  # type: ignore[union-attr]


def test_the_other_datasets_tell_of_items_and_some_of_users(places: Path) -> None:
    (places / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072-1\n")
    (places / "movies.dat").write_text("1::Toy Story (1995)::Animation|Comedy\n4::Odd::\n")
    (places / "movies.csv").write_text('movieId,title,genres\n1,"Toy, The (1995)",Comedy|War\n3,X,(no genres listed)\n')
    for name, known in (("ml-1m", True), ("ml-10m", False), ("ml-20m", False), ("ml-latest-small", False)):
        config = DataConfig(dataset=name, data_dir=".")
        users, items = features_of(config, source_of(config), published=True)
        assert items is not None and items["genres"].tolist()[1] == () and items["year"][0] == 1995
        assert np.isnan(items["year"][1])
        if not known:
            assert users is None
            continue
        assert users is not None and users["age"].tolist() == [1, 56] and users["gender"].tolist() == ["F", "M"]
        assert users["occupation"].tolist() == ["10", "16"] and users["zip"].tolist() == ["4", "7"]


def test_the_real_features(ml_100k: Path) -> None:
    train = load_tables(DataConfig(dataset="ml-100k", data_dir=str(ml_100k)), features=True).train
    design = encode(train, ["attributes", "history", "day"])
    columns = {block.name: block.n_columns for block in (*design.user, *design.item, *design.rating)}
    # 2 genders, 21 occupations, 10 digits and 9 letters, 19 genres, and the unknown of each.
    assert columns["gender"] == 3 and columns["occupation"] == 22 and columns["zip"] == 20 and columns["genres"] == 20
    assert columns["age"] == 11 and columns["history"] == 1650
    lines = [line.split("|") for line in (ml_100k / "u.user").read_text().splitlines()]
    jobs = sorted({line[3] for line in lines})
    (job,) = (block for block in design.user if block.name == "occupation")
    wanted = {int(line[0]): jobs.index(line[3]) for line in lines}
    assert job.column.tolist() == [wanted[id_] for id_ in train.users.ids.tolist()]


# ---- runs whose files moved


def test_where_a_runs_files_are_now(places: Path) -> None:
    run = DataConfig(dataset="/old/x.csv", delimiter=";")
    assert moved(run, {}) == run
    assert moved(run, {"dataset": "y.csv"}) == DataConfig(dataset="y.csv", delimiter=";")
    assert moved(run, {"data_dir": "/new"}) == DataConfig(dataset="/new/x.csv", delimiter=";")
    run = DataConfig(train_file="/old/a", test_file="/old/b")
    assert moved(run, {"data_dir": "/new"}) == DataConfig(train_file="/new/a", test_file="/new/b")
    assert moved(run, {"data_dir": "/new", "test_file": "/c"}) == DataConfig(train_file="/new/a", test_file="/c")
    run = DataConfig(dataset="ml-100k", data_dir="/old", split=0.5)
    assert moved(run, {"data_dir": "/new"}) == DataConfig(dataset="ml-100k", data_dir="/new", split=0.5)
    assert moved(run, {"dataset": "/new/u.data"}) == DataConfig(dataset="/new/u.data", split=0.5)
    run = DataConfig(dataset="/old/x.csv", user_features="/old/u.csv")
    assert moved(run, {"data_dir": "/new"}) == DataConfig(dataset="/new/x.csv", user_features="/new/u.csv")
    assert moved(run, {"user_features": "/u"}) == DataConfig(dataset="/old/x.csv", user_features="/u")
    with pytest.raises(ConfigError, match="data_dir: a query says itself what it reads"):
        load_tables(moved(DataConfig(sql="SELECT 1"), {"data_dir": "."}))


# ---- the commands


def run(capsys: pytest.CaptureFixture[str], main: Any, *arguments: object) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_statistics_of_a_query(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ratings, "from_sql", lambda query, **_: low_rank(), raising=False)
    code, out, _ = run(capsys, data_main, "--sql", "SELECT 1", "--json")
    assert (code, json.loads(out)["n_ratings"]) == (0, 1500)
    code, _, err = run(capsys, data_main, "ml-1m", "--sql", "SELECT 1")
    assert code == 2 and "sql: names ratings, and so does dataset; give one of them." in err
    code, _, err = run(capsys, data_main)
    assert code == 2 and "give NAME_OR_FILE, or a query with --sql" in err


def test_the_cache_is_shown_and_cleared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, places: Path
) -> None:
    tables = [(Path("/c/old"), 2_000_000, 0.0), (Path("/c/new"), 3_500_000, 86_400.0 * 365)]
    monkeypatch.setattr("nnmf.tables.cache_files", lambda: tables, raising=False)
    monkeypatch.setattr("nnmf.tables.clear_cache", lambda: 5_500_000, raising=False)
    folder = cache_dir() / "ml-1m"
    folder.mkdir(parents=True)
    (folder / "ratings.dat").write_bytes(b"x" * 1_000_000)
    code, out, err = run(capsys, cache_main)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"Cache in {cache_dir()}"
    assert [" ".join(line.split()) for line in out.splitlines()[1:]] == [
        "1.0 MB data set ml-1m",
        f"3.5 MB table new, last used {time.strftime('%Y-%m-%d %H:%M', time.localtime(86_400 * 365))}",
        f"2.0 MB table old, last used {time.strftime('%Y-%m-%d %H:%M', time.localtime(0))}",
        "6.5 MB in all",
    ]
    found = json.loads(run(capsys, cache_main, "--json")[1])
    assert found["datasets"] == {"ml-1m": 1_000_000} and found["folder"] == str(cache_dir())
    assert found["tables"][0] == {"path": "/c/new", "bytes": 3_500_000, "last_use": 86_400.0 * 365}
    assert run(capsys, cache_main, "--clear", "tables")[1] == "Removed 5.5 MB.\n"
    assert folder.exists()
    assert json.loads(run(capsys, cache_main, "--clear", "all", "--json")[1]) == {"removed_bytes": 6_500_000}
    assert not folder.exists()
    code, _, err = run(capsys, cache_main, "--clear", "everything")
    assert code == 2 and "invalid choice: 'everything'" in err


def test_clearing_datasets_leaves_what_is_not_theirs() -> None:
    assert cached_datasets() == {} and clear_datasets() == 0
    folder = cache_dir() / "ml-100k"
    for path in (folder / "u.data", folder / "mine", cache_dir() / "ml-1m.zip.part", cache_dir() / ".ml-1m-x" / "y"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("four")
    assert cached_datasets() == {"ml-100k": 4, "ml-1m": 8}
    assert clear_datasets() == 12
    assert sorted(path.name for path in cache_dir().iterdir()) == ["ml-100k", "ml-100k.lock", "ml-1m.lock"]
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_split_by_time_without_timestamps_names_the_setting(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating\n1,1,3\n1,2,4\n2,1,5\n2,2,1\n")
    with pytest.raises(
        DataError, match=r"split_by='time' \(--split-by time\) has nothing to go by; give 'rating' or 'user'"
    ):
        load_tables(DataConfig(dataset=str(path), split_by="time"))
