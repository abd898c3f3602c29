"""``python -m nnmf.train``: train models on a table of ratings, report their RMSE, leave them in run folders."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmf.config import DataConfig, TrainConfig
from nnmf.errors import ConfigError, one_of
from nnmf.kinds import FACTORIZATIONS, KINDS, known_name, load_run, make_model

from . import raise_lost
from ._flags import Parser, add_flags, read_flags, run_command, start_logging

if TYPE_CHECKING:
    from nnmf.datasets import Tables
    from nnmf.models import Model
    from nnmf.storage import RunFolder
    from nnmf.training import Progress

logger = logging.getLogger("nnmf")

_DEFAULT_NETWORK = "biased_mlp"
# RMSE is not what models that learn to rank are good at.
_RANKING_METRICS = ("ndcg@10", "recall@10", "coverage@10")
# What may differ between a run and its resumption: how long, on what, and where its table lies now.
_OF_TRAINING = ("n_epochs", "patience", "ctx", "kvstore", "restarts", "n_threads")
_OF_DATA = ("dataset", "data_dir", "train_file", "test_file", "user_features", "item_features")
_RESUMABLE = (*_OF_TRAINING, *_OF_DATA)
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
        help="biased_mlp, biased, plain, one_layer_mlp, dropout_mlp, module:function for your own, or all for the tutorial's "
        "three side by side, under --preset tutorial unless another is given "
        f"(default: {_DEFAULT_NETWORK})",
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="a setting of a network of your own that has no flag; may be given more than once",
    )
    add_flags(parser, DataConfig, "data")
    add_flags(parser, TrainConfig, "training (where no default is given, it is the model's own)")
    parser.add_argument(
        "--cluster",
        metavar="local:N|tcp://HOST:PORT|FILE",
        help="workers to train with, which change no bit of what is learned, or of a network nothing but rounding (see --kvstore): "
        "processes on this machine, or Dask's of the scheduler at an address or of a scheduler file (default: this process trains)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--metrics",
        metavar="NAME,...",
        help="further metrics of the test ratings: mae, rmse_per_user, and precision, recall, hit_rate, ndcg, mrr, map, "
        f"coverage @ any k, and within@90 (of the 90 %% intervals, how many hold the rating) (default: none; with --negatives {','.join(_RANKING_METRICS)})",
    )
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
    from nnmf.training import TrainingProgress

    progress = TrainingProgress()
    start_logging(progress.clear)
    data_config, config = read_flags(DataConfig, arguments), read_flags(TrainConfig, arguments)
    for name in ("output", "resume"):
        if getattr(arguments, name) is not None and not getattr(arguments, name).strip():
            raise ConfigError(f"{name}: got an empty name; give a folder, or leave it out.")
    metrics = _metrics(arguments, config)
    if arguments.resume is not None:
        _resume(arguments, metrics, progress)
        return
    from nnmf.datasets import load_tables
    from nnmf.storage import default_folder

    from ._report import describe, table

    if arguments.overwrite and arguments.output is None:
        raise ConfigError("overwrite: replaces the run in the folder that --output names; give both, or leave it out.")
    names = _names(arguments)
    if len(names) > 1 and config.preset is None:
        config = dataclasses.replace(config, preset="tutorial")
    # Every setting is checked before a table is read, and every folder before the first model is trained.
    models = [make_model(name, config, **_own_settings(arguments)) for name in names]
    _check_cluster(arguments.cluster, models)
    _check_intervals(metrics, names, models)
    if arguments.cluster is None:
        for model in models:
            model.check_alone()
    if arguments.output is not None:
        _check_folder(Path(arguments.output), names, arguments.overwrite)
    uses_features = any(model.uses_features for model in models)
    _check_features(data_config, uses_features, names)
    tables = load_tables(data_config, features=uses_features)
    if tables.statistics:
        logger.info("%s", tables.statistics)
    logger.info("%s", describe(tables))
    data = tables.config.to_dict()
    root = Path(arguments.output) if arguments.output else default_folder(names[0] if len(names) == 1 else "all")
    summaries = []
    with contextlib.ExitStack() as stack:
        runs = _begin(stack, root, names, models, data, arguments.overwrite)
        for name, model, run in zip(names, models, runs, strict=True):
            fit = partial(model.fit, cluster=arguments.cluster)
            summaries.append(_run(name, model, fit, run, tables, metrics, progress))
    print(table(summaries))
    print(f"Saved in {root}")


def _check_cluster(cluster: str | None, models: list[Model]) -> None:
    """Refuse what names no cluster, and models that none can train, before tables are read."""
    if cluster is not None:
        from nnmf.cluster import check_cluster

        for model in models:
            model.check_cluster()
            check_cluster(cluster, model.own_workers)


def _check_features(data_config: DataConfig, uses_features: bool, names: list[str]) -> None:
    for setting in ("user_features", "item_features"):
        if not uses_features and getattr(data_config, setting) is not None:
            raise ConfigError(f"{setting}: {names[0]} learns from ratings alone; leave it out.")


def _check_intervals(metrics: list[str], names: list[str], models: list[Model]) -> None:
    for name, model in zip(names, models, strict=True):
        if not model.knows_deviations and (asked := [metric for metric in metrics if metric.startswith("within@")]):
            raise ConfigError(
                f"metrics: {asked[0]} is of intervals, and {name} has none; take --model bayes or --keep mean, or leave it out."
            )


def _check_folder(root: Path, names: list[str], overwrite: bool) -> None:
    from nnmf.storage import RunFolder

    for folder in [root] if len(names) == 1 else [root / name for name in names]:
        RunFolder.check(folder, overwrite)


def _begin(
    stack: contextlib.ExitStack,
    root: Path,
    names: list[str],
    models: list[Model],
    data: dict[str, Any],
    overwrite: bool,
) -> list[RunFolder]:
    """The run folders, which the stack closes."""
    from nnmf.storage import RunFolder

    def remove_empty() -> None:
        with contextlib.suppress(OSError):
            root.rmdir()

    stack.callback(remove_empty)
    runs = []
    for name, model in zip(names, models, strict=True):
        settings = {"model": name, **model.config.to_dict(), "data": data}
        runs.append(RunFolder.begin(root / name if len(names) > 1 else root, settings, overwrite))
        stack.callback(runs[-1].close)
    return runs


def _names(arguments: Any) -> list[str]:
    """The names of the models that the flags ask for."""
    kind = known_name(arguments.model or "network", KINDS)
    if kind not in KINDS:
        raise ConfigError(one_of(kind, KINDS, "model"))
    if kind != "network":
        if arguments.network:
            raise ConfigError(f"network: {kind} is no network; leave --network out, or --model.")
        return [kind]
    name = arguments.network or _DEFAULT_NETWORK
    if ":" not in name:
        from nnmf.networks import NETWORKS, TUTORIAL

        name = known_name(name, ("all", *FACTORIZATIONS, *NETWORKS))
    if name == "all":
        return list(TUTORIAL)
    if name in FACTORIZATIONS:
        raise ConfigError(f"network: {name} is no network; ask for it with --model {name}.")
    return [name]


def _own_settings(arguments: Any) -> dict[str, Any]:
    """Settings of a network of one's own: numbers and lists as JSON writes them, else texts."""
    settings = {}
    for text in arguments.set or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"set: got {text!r}; give NAME=VALUE.")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def _metrics(arguments: Any, config: TrainConfig) -> list[str]:
    from nnmf.models import check_metrics

    if arguments.metrics is None:
        return list(_RANKING_METRICS) if config.negatives else []
    return check_metrics([name for text in arguments.metrics.split(",") if (name := text.strip())])


def _resume(arguments: Any, metrics: list[str], progress: Progress) -> None:
    """Go on with the run of a folder."""
    from nnmf.datasets import load_tables, moved

    from ._report import describe, table

    plain = ("resume", "overwrite", "output", "network", "model", "metrics", "set", "cluster")
    given = {name for name in vars(arguments) if name not in plain}
    given |= {name for name in ("output", "network", "model", "set") if getattr(arguments, name)}
    given |= {"overwrite"} if arguments.overwrite else set()
    if other := sorted(given - set(_RESUMABLE)):
        raise ConfigError(f"{other[0]}: cannot change when a run is resumed; only {', '.join(_RESUMABLE)} may.")
    folder = Path(arguments.resume)
    changes = {name: value for name, value in read_flags(TrainConfig, arguments).to_dict().items() if name in given}
    model, run = load_run(folder, ctx=changes.get("ctx"))
    with contextlib.closing(run):
        _check_intervals(metrics, [run.settings["model"]], [model])
        model.config = dataclasses.replace(model.config, **changes)
        run.settings.update(changes)
        _check_cluster(arguments.cluster, [model])
        if arguments.cluster is None and {"kvstore", "restarts"} & given:
            model.check_alone()
        if len(model.history) >= (model.config.n_epochs or 0):
            raise ConfigError(
                f"{folder}: its {len(model.history)} epochs are all trained; ask for more with --n-epochs."
            )
        places = {name: getattr(arguments, name) for name in _OF_DATA if name in given}
        data_config = moved(DataConfig.from_dict(run.settings["data"]), places)
        if "n_epochs" in given and model.config.schedule in ("linear", "cosine"):
            logger.warning(
                "The %s schedule is laid over %d epochs now, so this is not what one run of them would have been.",
                model.config.schedule,
                model.config.n_epochs,
            )
        _check_features(data_config, model.uses_features, [run.settings["model"]])
        tables = load_tables(data_config, features=model.uses_features)
        run.settings["data"] = tables.config.to_dict()
        logger.info("%s", describe(tables))
        logger.info("Going on after epoch %d.", len(model.history))
        if model.config.negatives and not metrics:
            metrics = list(_RANKING_METRICS)
        resume = partial(model.resume, cluster=arguments.cluster)
        print(table([_run(run.settings["model"], model, resume, run, tables, metrics, progress)]))
        print(f"Saved in {folder}")


def _run(
    name: str,
    model: Model,
    train: Callable[..., Model],
    run: RunFolder,
    tables: Tables,
    metrics: list[str],
    progress: Progress,
) -> dict[str, Any]:
    """Train a model, by ``fit`` or ``resume``, into its run folder; returns the summary."""
    from nnmf.training import log_epoch

    from ._report import summarise

    logger.info("Training %s on %s.", name, tables.name)
    ended, summary = "failed", {}
    try:
        raise_lost()
        train(tables.train, tables.valid, test=tables.test, callbacks=[run, log_epoch, raise_lost], progress=progress)
        ended = "finished"
    except KeyboardInterrupt as interrupt:
        ended = "interrupted"
        kept = f"its {run.n_saved} finished epochs are kept in {run.path}" if run.n_saved else "no epoch was finished"
        raise type(interrupt)(f"{str(interrupt) or 'interrupted'}; {kept}.") from None
    finally:
        if run.n_saved and run.n_saved == len(model.history):  # else the disk failed, and is not written to again
            summary = summarise(name, model, tables, metrics, ended)
            run.finish(summary)
    return summary
