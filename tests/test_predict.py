"""The command that predicts, as a user runs it: what it answers, writes and exits with."""

import csv
import io
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnmf
from nnmf.commands._predict import main
from nnmf.errors import DataError
from nnmf.tables._pairs import PairReader
from nnmf.testing import low_rank

from .test_cli import run

SETTINGS = {"n_factors": 4, "n_epochs": 3}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of a model whose ids are integers and of one whose ids are strings, and the models."""
    root = tmp_path_factory.mktemp("models")
    table = low_rank(noise=0.2)
    whole = nnmf.fit("svd", table, **SETTINGS)
    columns = [np.char.add(side, ids.ids.astype(str)) for side, ids in (("u", table.users), ("i,", table.items))]
    named = nnmf.Ratings.from_arrays(columns[0][table.user], columns[1][table.item], table.rating)
    text = nnmf.fit("svd", named, **SETTINGS)
    whole.save(root / "whole")
    text.save(root / "text")
    return SimpleNamespace(
        root=root, whole=whole, text=text, folder=root / "whole", text_folder=root / "text", table=table
    )


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        content = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def rows(out):
    return list(csv.reader(io.StringIO(out)))


@pytest.mark.parametrize(
    "text",
    [
        "3\t7\n999\t7\n\n3\t9\n",
        "3,7\r\n999,7\r\n3,9",
        "\ufeffuser_id,item_id\n3,7\n999,7\n3,9\n",
        "rating,movieId,userId\n1,7,3\n2,7,999\n3,9,3\n",
        "3::7::5::0\n999::7::1::0\n3::9::2::0\n",
        '"3" 7 5\n999   7 5\n3 9 4\n',
        "User ID;Item ID\n3;7\n999;7\n3;9\n",
    ],
)
def test_pairs_of_every_kind_of_table_are_answered_in_their_order(saved, capsys, stdin, tmp_path, text):
    stdin(text)
    code, out, err = run(capsys, main, saved.folder, "--pairs", "-")
    assert code == 0, err
    head, *found = rows(out)
    assert head == ["user_id", "item_id", "prediction"]
    assert [row[:2] for row in found] == [["3", "7"], ["999", "7"], ["3", "9"]]
    expected = saved.whole.predict([3, 999, 3], [7, 7, 9])
    assert np.array_equal(np.array([row[2] for row in found], np.float32), expected)  # to the last bit
    (tmp_path / "pairs").write_text(text)
    assert run(capsys, main, saved.folder, "--pairs", tmp_path / "pairs") == (0, out, err)


def test_json_strings_and_no_clipping(saved, capsys, stdin):
    stdin('u3,"i,7"\nu5,"i,9"\nü,"i,9"\n')
    code, out, err = run(capsys, main, saved.text_folder, "--pairs", "-", "--format", "json", "--no-clip")
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert [(row["user_id"], row["item_id"]) for row in found] == [("u3", "i,7"), ("u5", "i,9"), ("ü", "i,9")]
    expected = saved.text.predict(["u3", "u5", "ü"], ["i,7", "i,9", "i,9"], clip=False)
    assert [np.float32(row["prediction"]) for row in found] == expected.tolist()
    stdin("3 7\n")
    row = json.loads(run(capsys, main, saved.folder, "--pairs", "-", "--format", "json")[1])
    assert (row["user_id"], row["item_id"]) == (3, 7)


def test_predictions_are_clipped_unless_asked(saved, capsys, stdin):
    table = saved.table
    raw = saved.whole.predict_index(table.user, table.item)
    beyond = int(np.argmax(raw - table.scale[1]))
    model = saved.whole
    pair = f"{model.users.ids[table.user[beyond]]} {model.items.ids[table.item[beyond]]}\n"
    for flags, expected in (((), np.clip(raw[beyond], *table.scale)), (("--no-clip",), raw[beyond])):
        stdin(pair)
        assert np.float32(rows(run(capsys, main, saved.folder, "--pairs", "-", *flags)[1])[1][2]) == expected


def test_closed_standard_input_is_one_sentence(saved, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, out, err = run(capsys, main, saved.folder, "--pairs", "-")
    assert (code, out) == (2, "") and "pairs: standard input is closed; name a file of pairs" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 7\n3\n", "line 2: cannot read '3' as 2 fields separated by ' ': user id, item id."),
        ("3,7,5\n3,7\n", "line 2: cannot read '3,7' as 3 fields separated by ',': user id, item id and others."),
        ("3\n", "line 1: cannot read '3' as 2 fields"),
        (
            "user_id,item_id\n3,7\n\n3,x\n",
            "line 4: the item id is 'x' instead of a whole number, as the model's ids are.",
        ),
        ("3,7\n1.5,7\n", "line 2: the user id is '1.5' instead of a whole number"),
        ("3,7\n99999999999999999999,7\n", "line 2: the user id is '99999999999999999999' instead of"),
        ("3,7\n,7\n", "line 2: the user id is '' instead of"),
        ("a,b\n3,7\n", "line 1: the user id is 'a' instead of"),
        (b"3,7\n\xff,7\n", "line 2: b'\\xff,7' is not UTF-8 text."),
        ('3,7\n"3,7\n', "line 2: "),
        ("3,7\n" + 2000 * "1" + ",7\n", "line 2: the user id has more than 1000 characters."),
        ("", "holds no pairs; give a user id and an item id a line."),
        ("user,item\n", "holds no pairs"),
        ("3 7\n3 999\n", "line 2: item 999 is not among the 40 items trained on."),
    ],
)
def test_bad_lines_get_one_sentence_and_leave_nothing(saved, capsys, stdin, tmp_path, text, message):
    flags = ["--unknown", "error", "--output", tmp_path / "answers.csv"]
    for name in ("standard input", str(tmp_path / "pairs")):
        if name == "standard input":
            stdin(text)
        else:
            (tmp_path / "pairs").write_bytes(text if isinstance(text, bytes) else text.encode())
        code, out, err = run(capsys, main, saved.folder, "--pairs", "-" if name == "standard input" else name, *flags)
        assert (code, out) == (1, "")
        assert err.startswith(f"python -m nnmf.predict: error: {name}") and message in err and err.count("\n") == 1
        assert {path.name for path in tmp_path.iterdir()} <= {"pairs"}


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(alphabet='12a,\t: "\r\nuser_id,item', max_size=60),
    block=st.integers(1, 5),
    whole=st.tuples(st.booleans(), st.booleans()),
)
def test_any_text_is_pairs_or_one_sentence_whatever_the_blocks(text, block, whole):
    def read(n_lines):
        try:
            blocks = list(PairReader(io.BytesIO(text.encode()), "x", whole, n_lines).blocks())
        except DataError as error:
            return str(error)
        assert all(0 < len(part.line) == len(part.user_id) == len(part.item_id) <= n_lines for part in blocks)
        return [row for part in blocks for row in zip(*part, strict=True)]

    # Some blocks are read at once, some line by line.
    found = read(block)
    assert found == read(1 << 16)
    assert isinstance(found, list) or (found.startswith("x") and "\n" not in found)


@pytest.mark.parametrize("n_lines", [1, 2, 1000])
def test_pairs_with_any_line_ends_and_ids_as_they_are_written(n_lines):
    text = b"1\r2,3\n\n4,5\r\n6,7"
    blocks = list(PairReader(io.BytesIO(text.replace(b"1\r", b"8,9\r")), "x", (True, True), n_lines).blocks())
    assert [line for block in blocks for line in block.line] == [1, 2, 4, 5]
    assert [pair for block in blocks for pair in zip(block.user_id, block.item_id, strict=True)] == [
        (8, 9),
        (2, 3),
        (4, 5),
        (6, 7),
    ]
    for bad in ("01", "+1", "\uff11"):
        reader = PairReader(io.BytesIO(f"1,2\n{bad},2\n".encode()), "x", (True, True), n_lines)
        with pytest.raises(DataError, match=rf"line 2: the user id is '{re.escape(bad)}' instead of a whole number"):
            list(reader.blocks())
    with pytest.raises(DataError, match=r"line 2: the item id .* holds a NUL"):
        list(PairReader(io.BytesIO(b"1,2\n1,a\0\n"), "x", (True, False), n_lines).blocks())
    with pytest.raises(DataError, match="line 2: has more than 2097152 bytes"):
        list(PairReader(io.BytesIO(b"1,2\n" + bytes(1 << 23)), "x", (True, False), n_lines).blocks())


def test_output_is_whole_and_not_replaced_unawares(saved, capsys, stdin, tmp_path):
    target = tmp_path / "answers.csv"
    stdin("3 7\n")
    assert run(capsys, main, saved.folder, "--pairs", "-", "--output", target)[:2] == (0, "")
    before = target.read_text()
    assert rows(before)[1][:2] == ["3", "7"]
    code, _, err = run(capsys, main, saved.folder, "--user", 3, "--output", target)
    assert code == 2 and "is there already; give another, or replace it with --overwrite." in err
    stdin("3 7\n3\n")
    assert run(capsys, main, saved.folder, "--pairs", "-", "--output", target, "--overwrite")[0] == 1
    assert target.read_text() == before
    assert run(capsys, main, saved.folder, "--user", 3, "--output", target, "--overwrite")[0] == 0
    assert rows(target.read_text())[0] == ["user_id", "rank", "item_id", "score"]
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]
    code, _, err = run(capsys, main, saved.folder, "--user", 3, "--output", tmp_path / "no" / "where.csv")
    assert code == 1 and "where.csv: cannot be written" in err
    code, _, err = run(capsys, main, saved.folder, "--user", 3, "--output", tmp_path, "--overwrite")
    assert code == 2 and "is no file" in err


def test_lists_are_those_that_recommend_gives(saved, capsys):
    for flags, options in (((), {}), (("--include-seen",), {"exclude_seen": False})):
        code, out, err = run(capsys, main, saved.folder, "--user", 3, 9, "--top", 4, *flags)
        assert code == 0, err
        ids, scores = saved.whole.recommend([3, 9], 4, **options)
        found = rows(out)[1:]
        assert [row[:2] for row in found] == [[user, str(rank)] for user in ("3", "9") for rank in range(1, 5)]
        assert [int(row[2]) for row in found] == ids.ravel().tolist()
        assert np.array_equal(np.array([row[3] for row in found], np.float32), scores.ravel())
    code, out, _ = run(capsys, main, saved.text_folder, "--user", "u3", "--format", "json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [row["item_id"] for row in found] == saved.text.recommend("u3")[0].tolist()
    assert found[0].keys() == {"user_id", "rank", "item_id", "score"}


def test_lists_of_every_user_block_by_block(saved, capsys, monkeypatch):
    monkeypatch.setattr("nnmf.commands._predict._BLOCK_PLACES", 70)
    code, out, _ = run(capsys, main, saved.folder, "--all-users", "--top", 100)  # more than there are items
    assert code == 0
    found = rows(out)[1:]
    seen = saved.whole.seen.n_items
    users, counts = np.unique([int(row[0]) for row in found], return_counts=True)
    assert users.tolist() == saved.whole.users.ids.tolist()
    assert counts.tolist() == (40 - seen).tolist()
    at = np.cumsum(counts) - counts
    for number in (0, 31, 59):
        ids = saved.whole.recommend(users[number], 40)[0]
        listed = [int(row[2]) for row in found[at[number] :][: counts[number]]]
        assert listed == ids[ids >= 0].tolist()


def test_users_never_trained_on(saved, capsys):
    code, out, err = run(capsys, main, saved.folder, "--user", 3, 999, "--top", 2)
    assert code == 0 and err == "User 999 was not trained on: listed is what is liked best by all.\n"
    assert [row[0] for row in rows(out)] == ["user_id", "3", "3", "999", "999"]
    code, out, err = run(capsys, main, saved.folder, "--user", 3, 999, "--unknown", "error")
    assert (code, out) == (1, "") and "user 999 is not among the 60 users trained on" in err


@pytest.fixture
def films(tmp_path, monkeypatch):
    """A model trained on what calls itself a fold of ml-100k, beside the file of its films."""
    table = low_rank(noise=0.2)
    named = nnmf.Ratings.from_arrays(
        table.users.ids[table.user], table.items.ids[table.item], table.rating, name="ml-100k/u1.base"
    )
    nnmf.fit("svd", named, **SETTINGS).save(tmp_path / "model")
    folder = tmp_path / "data" / "ml-100k"
    folder.mkdir(parents=True)
    lines = [f"{n}|Café {n} (1995)|01-Jan-1995||http://x|1\n" for n in range(1, 40)]
    (folder / "u.item").write_text("".join(lines), encoding="latin-1")
    (folder / "u.genre").write_text("unknown|0\n")
    monkeypatch.delenv("NNMF_DATA", raising=False)
    return tmp_path


def test_titles_come_from_the_dataset_s_item_file(films, saved, capsys, monkeypatch):
    command = [films / "model", "--user", 3, "--top", 40, "--include-seen"]
    for titles in (["--titles"], ["--titles", "ml-100k"]):
        code, out, err = run(capsys, main, *command, *titles, "--data-dir", films / "data")
        assert code == 0, err
        head, *found = rows(out)
        assert head[-1] == "title" and len(found) == 40
        titles_found = {row[2]: row[4] for row in found}
        assert titles_found["7"] == "Café 7 (1995)" and titles_found["40"] == "item 40"
    code, _, err = run(capsys, main, *command, "--titles")
    assert code == 1 and "titles: ml-100k's file u.item was not found; name its folder with --data-dir" in err
    monkeypatch.setenv("NNMF_DATA", str(films / "data"))
    code, out, _ = run(capsys, main, *command, "--titles", "--format", "json")
    assert code == 0 and "Café" in out and json.loads(out.splitlines()[0])["title"].endswith("(1995)")
    code, _, err = run(capsys, main, saved.folder, "--user", 3, "--titles")
    assert (
        code == 2 and "titles: the model was trained on 'low-rank', which is no dataset with titles; name one of" in err
    )
    code, _, err = run(capsys, main, *command, "--titles", "imdb")
    assert code == 2 and "titles: 'imdb', which is no dataset with titles" in err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ([], 2, "one of the arguments --pairs --user --all-users is required"),
        (["--user", "1", "--pairs", "x"], 2, "not allowed with"),
        (["--pairs", "-", "--top", "3"], 2, "top: belongs to lists; ask for them with --user or --all-users"),
        (["--pairs", "-", "--titles"], 2, "titles: belongs to lists"),
        (["--pairs", "-", "--include-seen"], 2, "include_seen: belongs to lists"),
        (["--user", "1", "--no-clip"], 2, "no_clip: belongs to --pairs"),
        (["--user", "1", "--top", "0"], 2, "top: got 0; give a value at least 1."),
        (["--user", "1", "--top", "few"], 2, "argument --top: invalid int value: 'few'"),
        (["--user", "ann"], 2, "user: got 'ann'; this model's user ids are whole numbers."),
        (["--user", "1", "--data-dir", "x"], 2, "data_dir: is where --titles looks; give both."),
        (["--user", "1", "--overwrite"], 2, "overwrite: replaces the file that --output names; give both"),
        (["--user", "1", "--unknown", "zero"], 2, "invalid choice: 'zero'"),
        (["--pairs", "no-such-file"], 1, "no-such-file: cannot be read (No such file or directory)"),
        (["--pairs", "/"], 1, "/: cannot be read (Is a directory)"),
    ],
)
def test_mistakes_get_one_sentence(saved, capsys, flags, code, message):
    found, out, err = run(capsys, main, saved.folder, *flags)
    assert (found, out) == (code, "")
    assert message in err and err.count("\n") == 1 and "Traceback" not in err


def test_no_model_no_answer(capsys, tmp_path):
    code, _, err = run(capsys, main, tmp_path / "none", "--user", 1)
    assert code == 1 and "none: no such folder; give the folder that a training run or save() wrote." in err


def test_a_reader_that_has_enough_ends_it_quietly(saved, tmp_path):
    (tmp_path / "pairs").write_text("3 7\n" * 200_000)
    command = [sys.executable, "-m", "nnmf.predict", str(saved.folder), "--pairs", str(tmp_path / "pairs")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"user_id,item_id,prediction\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 1


@pytest.mark.slow
def test_memory_stays_that_of_a_block(saved, tmp_path):
    """Ten times the pairs, the same peak."""
    code = (
        "import resource, sys\nfrom nnmf.commands._predict import main\n"
        f"sys.argv = ['x', {str(saved.folder)!r}, '--pairs', sys.argv[1], '--output', sys.argv[1] + '.csv']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for n in (100_000, 1_000_000):
        (tmp_path / str(n)).write_text("3\t7\n" * n)
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / str(n))], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
        assert len((tmp_path / f"{n}.csv").read_text().splitlines()) == n + 1
    assert peaks[1] < peaks[0] * 1.1


def test_help_and_factorizations_need_no_mxnet(saved):
    code = (
        "import sys\nfrom nnmf.commands._predict import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'mxnet', 'numba', 'requests'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--pairs FILE|-" in done.stdout
    code = (
        "import sys\nsys.modules['mxnet'] = None\nfrom nnmf.commands._predict import main\n"
        f"main([{str(saved.folder)!r}, '--user', '3', '--top', '2'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3


def test_a_network_predicts_by_the_same_command(capsys, stdin, tmp_path):
    model = nnmf.fit("plain", low_rank(), n_factors=3, n_epochs=2, batch_size=50, ctx="cpu")
    model.save(tmp_path / "model")
    stdin("3 7\n5 9\n")
    code, out, err = run(capsys, main, tmp_path / "model", "--pairs", "-")
    assert code == 0, err
    found = np.array([row[2] for row in rows(out)[1:]], np.float32)
    assert found == pytest.approx(model.predict([3, 5], [7, 9]), rel=1e-6)


@pytest.mark.parametrize(
    ("n_known", "n_strangers", "line"),
    [
        (
            0,
            2,
            "Neither user nor item of 2 of 2 pairs is known to the model, so the mean rating answers for all of them; are",
        ),
        (0, 30, "of 30 of 30 pairs is known to the model, so the mean rating answers for all of them; are the columns"),
        (70_000, 140_000, "of 140,000 of 210,000 pairs is known to the model, so the mean rating answers for them."),
        (5, 0, None),
    ],
)
def test_pairs_of_strangers_are_counted_over_the_whole_stream(saved, capsys, stdin, n_known, n_strangers, line):
    stdin("3 7\n" * n_known + "9991 9992\n" * n_strangers)
    code, out, err = run(capsys, main, saved.folder, "--pairs", "-")
    assert code == 0 and out.count("\n") == 1 + n_known + n_strangers
    assert err.count("known to the model") == (line is not None) and (line is None or line in err)
