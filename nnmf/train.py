"""Training: `fit` for notebooks and ``python -m nnmf.train`` for the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .callbacks import Callback, log_epoch
from .cli import Parser, add_flags, read_flags, run_command, start_logging
from .config import DataConfig, TrainConfig
from .progress import TrainingProgress

if TYPE_CHECKING:
    from .data import Ratings
    from .model import Model
    from .tables import Tables

logger = logging.getLogger("nnmf")

_DEFAULT_NETWORK = "one_layer_mlp"


def fit(
    network: str,
    train: Ratings,
    valid: Ratings | None = None,
    config: TrainConfig | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    progress: TrainingProgress | None = None,
    **settings: Any,
) -> Model:
    """Train a network on a table of ratings.

    Args:
        network: a registered name ("plain", "one_layer_mlp", "dropout_mlp"), or ``module:function``.
        train: the training ratings.
        valid: ratings to watch; with them the model of the epoch with the lowest validation RMSE is returned.
        config: settings; default: the network's own.
        callbacks: called after each epoch with its `EpochResult` and the model; one that answers True stops training.
        progress: told how the running epoch goes; for a bar, ``TrainingProgress()``.
        settings: single settings over ``config``, such as ``n_epochs=5``.

    Returns:
        The trained model.

    Raises:
        ConfigError: a setting or network that cannot be used.
        DataError: a table that cannot be trained on.
        TrainingError: training diverged.
        BackendError: MXNet or the device cannot be used.
    """
    from .network_model import NetworkModel

    values = {**(config.to_dict() if config else {}), **settings}
    return NetworkModel(network, TrainConfig.from_dict(values)).fit(
        train, valid, callbacks=callbacks, progress=progress
    )


def _parser() -> Parser:
    parser = Parser(
        prog="python -m nnmf.train",
        description="Train a matrix factorization network on (user, item, rating) tuples and report its RMSE.",
    )
    parser.add_argument(
        "--network",
        default=_DEFAULT_NETWORK,
        help="plain, one_layer_mlp, dropout_mlp, module:function for your own, or all for the three side by side "
        f"(default: {_DEFAULT_NETWORK})",
    )
    add_flags(parser, DataConfig, "data")
    add_flags(parser, TrainConfig, "training (where no default is given, it is the network's own)")
    output = parser.add_argument_group("output")
    output.add_argument("--output", metavar="DIR", help="folder of the run (default: runs/NETWORK-DATE-TIME)")
    output.add_argument("--overwrite", action="store_true", help="replace the run that the folder holds")
    return parser


def main(argv: list[str] | None = None) -> None:
    """The command ``python -m nnmf.train``; ``argv`` defaults to the command line's."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    run_command(parser.prog, lambda: _train(arguments))


def _train(arguments: Any) -> None:
    # Imported once the flags are known to be good: --help and a mistyped flag answer without them.
    from .networks import NETWORKS, find_network
    from .report import describe, table
    from .runs import default_folder
    from .tables import load_tables

    progress = TrainingProgress()
    start_logging(progress.clear)
    data_config, config = read_flags(DataConfig, arguments), read_flags(TrainConfig, arguments)
    networks = list(NETWORKS) if arguments.network == "all" else [arguments.network]
    for network in networks:
        find_network(network)
    tables = load_tables(data_config)
    logger.info("%s", describe(tables))
    root = Path(arguments.output) if arguments.output else default_folder(arguments.network.replace(":", "."))
    summaries = []
    for network in networks:
        folder = root / network if len(networks) > 1 else root
        summaries.append(_train_one(network, tables, data_config, config, folder, arguments.overwrite, progress))
    print(table(summaries))
    print(f"Saved in {root}")


def _train_one(
    network: str,
    tables: Tables,
    data_config: DataConfig,
    config: TrainConfig,
    folder: Path,
    overwrite: bool,
    progress: TrainingProgress,
) -> dict[str, Any]:
    """Train one network into its run folder; returns the summary."""
    from .network_model import NetworkModel
    from .report import summarise
    from .runs import RunFolder

    model = NetworkModel(network, config)
    run = RunFolder(folder, {"network": network, **model.config.to_dict(), "data": data_config.to_dict()}, overwrite)
    logger.info("Training %s on %s.", network, tables.name)
    ended = "finished"
    try:
        model.fit(tables.train, tables.watched, callbacks=[run, log_epoch], progress=progress)
    except BaseException as error:
        ended = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        n_done = len(model.history)
        if isinstance(error, KeyboardInterrupt):
            kept = (
                f"the {n_done} finished epochs are kept in {folder}"
                if n_done
                else "no epoch was finished, nothing is kept"
            )
            raise KeyboardInterrupt(f"interrupted; {kept}.") from None
        raise
    finally:
        if model.history:
            model.restore_best()
            summary = summarise(network, model, tables, ended)
            run.finish(summary)
        else:
            run.abandon()
    return summary


if __name__ == "__main__":
    main()
