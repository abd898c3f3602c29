"""Training: `fit` for notebooks and ``python -m nnmf.train`` for the command line."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmf.config import DataConfig, TrainConfig
from nnmf.errors import ConfigError, one_of
from nnmf.kinds import FACTORIZATIONS, KINDS, make_model
from nnmf.training import TrainingProgress, log_epoch

from ._flags import Parser, add_flags, read_flags, run_command, start_logging

if TYPE_CHECKING:
    from nnmf.datasets import Tables
    from nnmf.models import Model
    from nnmf.storage import RunFolder

logger = logging.getLogger("nnmf")

_DEFAULT_NETWORK = "one_layer_mlp"
# What may differ between a run and its resumption.
_RESUMABLE = ("n_epochs", "patience", "ctx", "n_threads", "dataset", "data_dir", "train_file", "test_file")
_RESUMABLE_FLAGS = ["--" + name.replace("_", "-") for name in _RESUMABLE]


def _parser() -> Parser:
    parser = Parser(
        prog="python -m nnmf.train",
        description="Train a matrix factorization on (user, item, rating) tuples and report its RMSE.",
    )
    parser.add_argument(
        "--model",
        metavar="network|" + "|".join(FACTORIZATIONS),
        help="a network (see --network) or a factorization (default: network)",
    )
    parser.add_argument(
        "--network",
        help="plain, one_layer_mlp, dropout_mlp, module:function for your own, or all for the three side by side "
        f"(default: {_DEFAULT_NETWORK})",
    )
    add_flags(parser, DataConfig, "data")
    add_flags(parser, TrainConfig, "training (where no default is given, it is the model's own)")
    output = parser.add_argument_group("output")
    output.add_argument("--output", metavar="DIR", help="folder of the run (default: runs/MODEL-DATE-TIME)")
    output.add_argument("--overwrite", action="store_true", help="replace the run that the folder holds")
    output.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with the run that the folder holds; only " + ", ".join(_RESUMABLE_FLAGS) + " may change",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """The command ``python -m nnmf.train``; ``argv`` defaults to the command line's."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    run_command(parser.prog, lambda: _train(arguments))


def _train(arguments: Any) -> None:
    # Imported once the flags are known to be good: --help and a mistyped flag answer without them.
    from nnmf.datasets import load_tables
    from nnmf.storage import RunFolder, default_folder

    from ._report import describe, table

    progress = TrainingProgress()
    start_logging(progress.clear)
    data_config, config = read_flags(DataConfig, arguments), read_flags(TrainConfig, arguments)
    if arguments.resume:
        _resume(arguments, progress)
        return
    names = _names(arguments)
    # Every setting is checked before a table is read, and every folder before the first model is trained.
    models = [make_model(name, config) for name in names]
    tables = load_tables(data_config)
    if tables.statistics:
        logger.info("%s", tables.statistics)
    logger.info("%s", describe(tables))
    data = tables.config.to_dict()
    root = Path(arguments.output) if arguments.output else default_folder(names[0] if len(names) == 1 else "all")
    runs: list[RunFolder] = []
    try:
        for name, model in zip(names, models, strict=True):
            settings = {"model": name, **model.config.to_dict(), "data": data}
            runs.append(RunFolder.begin(root / name if len(names) > 1 else root, settings, arguments.overwrite))
        summaries = [
            _run(name, model, model.fit, run, tables, progress)
            for name, model, run in zip(names, models, runs, strict=True)
        ]
    finally:
        for run in runs:
            run.abandon()
        if root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    print(table(summaries))
    print(f"Saved in {root}")


def _names(arguments: Any) -> list[str]:
    """The names of the models that the flags ask for."""
    kind = arguments.model or "network"
    if kind not in KINDS:
        raise ConfigError(one_of(kind, KINDS, "model"))
    if kind != "network":
        if arguments.network:
            raise ConfigError(f"network: {kind} is no network; leave --network out, or --model.")
        return [kind]
    name = arguments.network or _DEFAULT_NETWORK
    if name == "all":
        from nnmf.networks import NETWORKS

        return list(NETWORKS)
    return [name]


def _resume(arguments: Any, progress: TrainingProgress) -> None:
    """Go on with the run of a folder."""
    from nnmf.datasets import MOVABLE, load_tables, moved
    from nnmf.kinds import load_checkpoint
    from nnmf.storage import RunFolder

    from ._report import describe, table

    given = {name for name in vars(arguments) if name not in ("resume", "overwrite", "output", "network", "model")}
    given |= {name for name in ("output", "network", "model") if getattr(arguments, name)}
    if other := sorted(given - set(_RESUMABLE)):
        raise ConfigError(f"{other[0]}: cannot change when a run is resumed; only {', '.join(_RESUMABLE)} may.")
    folder = Path(arguments.resume)
    changes = {name: value for name, value in read_flags(TrainConfig, arguments).to_dict().items() if name in given}
    model = load_checkpoint(folder, ctx=changes.get("ctx"))
    model.config = dataclasses.replace(model.config, **changes)
    run = RunFolder.reopen(folder, model)
    if len(model.history) >= (model.config.n_epochs or 0):
        raise ConfigError(f"{folder}: its {len(model.history)} epochs are all trained; ask for more with --n-epochs.")
    places = {name: getattr(arguments, name) for name in MOVABLE if name in given}
    data_config = moved(DataConfig.from_dict(run.settings["data"]), places)
    if "n_epochs" in given and model.config.schedule in ("linear", "cosine"):
        logger.warning(
            "The %s schedule is laid over %d epochs now, so this is not what one run of them would have been.",
            model.config.schedule,
            model.config.n_epochs,
        )
    tables = load_tables(data_config)
    logger.info("%s", describe(tables))
    logger.info("Going on after epoch %d.", len(model.history))
    print(table([_run(run.settings["model"], model, model.resume, run, tables, progress)]))
    print(f"Saved in {folder}")


def _run(
    name: str,
    model: Model,
    train: Callable[..., Model],
    run: RunFolder,
    tables: Tables,
    progress: TrainingProgress,
) -> dict[str, Any]:
    """Train a model, by ``fit`` or ``resume``, into its run folder; returns the summary."""
    from ._report import summarise

    logger.info("Training %s on %s.", name, tables.name)
    ended = "failed"
    try:
        train(tables.train, tables.valid, callbacks=[run, log_epoch], progress=progress)
        ended = "finished"
    except KeyboardInterrupt:
        ended = "interrupted"
        kept = f"its {run.n_saved} finished epochs are kept in {run.path}" if run.n_saved else "no epoch was finished"
        raise KeyboardInterrupt(f"interrupted; {kept}.") from None
    finally:
        summary = {}
        if run.n_saved and run.n_saved == len(model.history):  # else the disk failed, and is not written to again
            model.restore_best()
            summary = summarise(name, model, tables, ended)
            run.finish(summary)
    return summary
