"""``python -m nnmf.predict MODEL``: ratings of pairs from a file or a pipe, and top-N lists, from a saved model."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from nnmf.errors import ConfigError, DataError

from . import raise_lost
from ._flags import Parser, run_command, start_logging

if TYPE_CHECKING:
    from nnmf.datasets import ItemTable
    from nnmf.models import Model

logger = logging.getLogger("nnmf")

# Places of lists found at a time.
_BLOCK_PLACES = 1 << 18
_DEFAULT_TOP = 10
# Columns of an answer, of one length: lists, and arrays of float32.
_Block = tuple[Any, ...]


def _parser() -> Parser:
    parser = Parser(
        prog="python -m nnmf.predict",
        # MODEL first: behind --user it would be taken for one more id.
        usage="%(prog)s MODEL (--pairs FILE|- | --user ID [ID ...] | --all-users) [options]",
        description="Predict ratings, or list the items a user would rate highest, with a model that was saved.",
        epilog="Ids are those of the table that the model was trained on. Answers are as many as the pairs, in their order.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder that a training run or save() wrote")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--pairs",
        metavar="FILE|-",
        help="predict the (user id, item id) pairs of a file, or of standard input: a pair a line, separated by tabs, commas, "
        "'::' or spaces, with or without a header; further columns are ignored",
    )
    what.add_argument("--user", nargs="+", metavar="ID", help="list the items with the highest scores for these users")
    what.add_argument("--all-users", action="store_true", help="such lists for every user")
    lists = parser.add_argument_group("lists")
    lists.add_argument("--top", type=int, metavar="N", help=f"length of a list (default: {_DEFAULT_TOP})")
    lists.add_argument("--include-seen", action="store_true", help="list what the user rated in training, too")
    lists.add_argument(
        "--titles",
        nargs="?",
        const="",
        metavar="DATASET",
        help="add the items' titles, from the files of the dataset that the model was trained on, or of the one named",
    )
    lists.add_argument("--data-dir", metavar="DIR", help="folder that holds the dataset's files")
    output = parser.add_argument_group("answers")
    output.add_argument(
        "--unknown",
        choices=("mean", "error"),
        default="mean",
        help="users and items that training never saw: answered with means (default), or an error",
    )
    output.add_argument("--no-clip", action="store_true", help="do not keep predictions within the rating scale")
    output.add_argument(
        "--format", choices=("csv", "json"), default="csv", help="csv (default), or a JSON object a line"
    )
    output.add_argument("--output", metavar="FILE", help="whole or not there (default: standard output)")
    output.add_argument("--overwrite", action="store_true", help="replace the file")
    return parser


def main(argv: list[str] | None = None) -> None:
    """The command ``python -m nnmf.predict``; ``argv`` defaults to the command line's."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    run_command(parser.prog, lambda: _predict(arguments))


def _predict(arguments: Any) -> None:
    start_logging()
    _check(arguments)
    # Imported once the flags are known to be good: --help and a mistyped flag answer without them.
    from nnmf.files import write_file
    from nnmf.kinds import load

    model = load(arguments.model)
    raise_lost()
    if arguments.pairs is None:
        names, blocks = _lists(arguments, model)
    else:
        names, blocks = ("user_id", "item_id", "prediction"), _predictions(arguments, model)
    write = _write_csv if arguments.format == "csv" else _write_json
    if arguments.output is None:
        if sys.stdout is None:
            raise DataError("standard output is closed; name a file with --output.")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as of a file: titles hold letters that some locales lack
        write(sys.stdout, names, blocks)
        return

    def write_answers(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        write(text, names, blocks)
        text.flush()
        text.detach()

    write_file(Path(arguments.output), write_answers)


def _check(arguments: Any) -> None:
    """Refuse flags that do not go together, before anything is loaded."""
    of_lists = {"top": arguments.top is not None, "include_seen": arguments.include_seen}
    of_lists |= {"titles": arguments.titles is not None, "data_dir": arguments.data_dir is not None}
    given = [name for name, is_given in of_lists.items() if is_given]
    if arguments.pairs is not None and given:
        raise ConfigError(f"{given[0]}: belongs to lists; ask for them with --user or --all-users, or leave it out.")
    if arguments.pairs == "-" and sys.stdin is None:
        raise ConfigError("pairs: standard input is closed; name a file of pairs, or pipe them in.")
    if arguments.pairs is None and arguments.no_clip:
        raise ConfigError("no_clip: belongs to --pairs; the scores of lists are never clipped.")
    if arguments.top is not None and arguments.top < 1:
        raise ConfigError(f"top: got {arguments.top}; give a value at least 1.")
    if arguments.data_dir is not None and arguments.titles is None:
        raise ConfigError("data_dir: is where --titles looks; give both.")
    if arguments.overwrite and arguments.output is None:
        raise ConfigError("overwrite: replaces the file that --output names; give both, or leave it out.")
    if arguments.output is not None and Path(arguments.output).exists():
        if not Path(arguments.output).is_file():
            raise ConfigError(f"output: {arguments.output} is no file; give the name of one.")
        if not arguments.overwrite:
            raise ConfigError(
                f"output: {arguments.output} is there already; give another, or replace it with --overwrite."
            )


# -- pairs -----------------------------------------------------------------------------------------------------------
def _predictions(arguments: Any, model: Model) -> Iterator[_Block]:
    from nnmf.tables import PairReader

    name = "standard input" if arguments.pairs == "-" else arguments.pairs
    sides = (("user", model.users), ("item", model.items))
    n_pairs = n_strangers = 0
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if arguments.pairs == "-" else Path(name).open("rb") as file:
            reader = PairReader(file, name, (not model.users.is_text, not model.items.is_text))
            for line, *columns in reader.blocks():
                index = [known.index(ids) for (_, known), ids in zip(sides, columns, strict=True)]
                if arguments.unknown == "error":
                    for (side, known), ids, found in zip(sides, columns, index, strict=True):
                        if (found < 0).any():
                            row = int((found < 0).argmax())
                            raise reader.fault(
                                line[row], f"{side} {ids[row]!r} is not among the {len(known)} {side}s trained on."
                            )
                n_pairs += len(line)
                n_strangers += int(((index[0] < 0) & (index[1] < 0)).sum())
                prediction = model.predict_index(*index)
                yield (*columns, prediction if arguments.no_clip else prediction.clip(*model.answers.catalogue.scale))
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    if n_strangers:
        # Of the whole stream: a block of it may be all strangers where the file is not.
        logger.warning(
            "Neither user nor item of %s is known to the model, so the mean rating answers for %s",
            f"{n_strangers:,} of {n_pairs:,} pairs",
            "them." if n_strangers < n_pairs else "all of them; are the columns the other way round?",
        )


# -- lists -----------------------------------------------------------------------------------------------------------
def _lists(arguments: Any, model: Model) -> tuple[tuple[str, ...], Iterator[_Block]]:
    """Names of the columns, and the lists block by block; what can be wrong with the flags is found at once."""
    users = model.users.ids
    if not arguments.all_users:
        users = _user_ids(arguments.user, model, arguments.unknown)
    titles = None if arguments.titles is None else _titles(arguments, model)
    top = min(arguments.top or _DEFAULT_TOP, model.n_items)

    def blocks() -> Iterator[_Block]:
        n_users = max(1, _BLOCK_PLACES // top)
        for start in range(0, len(users), n_users):
            of_block = users[start : start + n_users]
            item, score = model.recommend(of_block, top, exclude_seen=not arguments.include_seen)
            listed = score == score  # NaN where a list is shorter
            ranks = (listed.cumsum(axis=1))[listed].tolist()
            user = of_block.repeat(listed.sum(axis=1)).tolist()
            columns: _Block = (user, ranks, item[listed].tolist(), score[listed])
            yield columns if titles is None else (*columns, titles.titles(item[listed]))

    return ("user_id", "rank", "item_id", "score", *(() if titles is None else ("title",))), blocks()


def _user_ids(given: list[str], model: Model, unknown: str) -> np.ndarray:
    from nnmf.tables import is_whole

    whole = not model.users.is_text
    for text in given:
        if whole and not is_whole(text):
            raise ConfigError(f"user: got {text!r}; this model's user ids are whole numbers.")
    users = np.array(given).astype(np.int64) if whole else np.array(given)
    for user in users[model.users.index(users) < 0].tolist():
        if unknown == "error":
            raise DataError(f"user {user!r} is not among the {model.n_users} users trained on.")
        logger.warning("User %r was not trained on: listed is what is liked best by all.", user)
    return users


def _titles(arguments: Any, model: Model) -> ItemTable:
    from nnmf import datasets

    # A fold's table is called dataset/file.
    name = arguments.titles or model.dataset.partition("/")[0]
    if name not in datasets.DATASETS:
        where = "" if arguments.titles else "the model was trained on "
        raise ConfigError(
            f"titles: {where}{name!r}, which is no dataset with titles; name one of {sorted(datasets.DATASETS)}."
        )
    folder = datasets.find(name, arguments.data_dir, files=(datasets.get(name).item_file,))
    table = None if folder is None else datasets.load_items(name, folder)
    if table is None:
        raise DataError(
            f"titles: {name}'s file {datasets.get(name).item_file} was not found; name its folder with --data-dir or $NNMF_DATA."
        )
    return table


# -- writing ---------------------------------------------------------------------------------------------------------
def _texts(column: Sequence[Any] | np.ndarray) -> Sequence[Any]:
    """A column as it is written: of a float32, the shortest text that stands for it alone."""
    return column if isinstance(column, list) else np.asarray(column).astype(str).tolist()


def _write_csv(file: IO[str], names: tuple[str, ...], blocks: Iterator[_Block]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for number, columns in enumerate(blocks):
        if number == 0:  # not before: what is wrong with the first block leaves no line
            writer.writerow(names)
        writer.writerows(zip(*map(_texts, columns), strict=True))


def _write_json(file: IO[str], names: tuple[str, ...], blocks: Iterator[_Block]) -> None:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    for columns in blocks:
        texts = [column if isinstance(column, list) else list(map(float, _texts(column))) for column in columns]
        file.writelines(encode(dict(zip(names, row, strict=True))) + "\n" for row in zip(*texts, strict=True))
