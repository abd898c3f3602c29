"""What a run says at its end: the summary that its folder keeps and the table that the command prints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from nnmf.datasets import Tables
from nnmf.errors import ConfigError
from nnmf.files import walk
from nnmf.metrics import rmse_of_blocks
from nnmf.models import Model
from nnmf.tables import Ratings

logger = logging.getLogger("nnmf")

#: last test RMSE on u1 in the tutorial's own log
_TUTORIAL_DATASET = "ml-100k/u1"
_TUTORIAL = {"plain": "1.0172", "one_layer_mlp": "0.9631", "dropout_mlp": "0.9724 *"}
_TUTORIAL_NOTE = "* the tutorial's dropout run trains a network of this size without the dropout"
_NEGATIVES_NOTE = "Trained with negatives, which are ratings of 0: the lists count, predictions reach down to 0 and so no RMSE is low."


def describe(tables: Tables) -> str:
    """One line on the tables of a run."""
    valid = f", {len(tables.valid):,} validation" if tables.valid is not None else ""
    unknown = tables.test.n_unknown
    cold = f" ({unknown} of users or items without training ratings)" if unknown else ""
    return (
        f"Dataset {tables.name}: {tables.train.n_users:,} users, {tables.train.n_items:,} items, {len(tables.train):,} training"
        f"{valid}, {len(tables.test):,} test ratings{cold}."
    )


def summarise(name: str, model: Model, tables: Tables, metrics: Sequence[str], ended: str) -> dict[str, Any]:
    """Summary of a training, as JSON can hold it.

    ``test_rmse`` and ``test_metrics`` are those of the model that is kept: of the epoch with the lowest ``valid_rmse``, of the
    last one where no validation ratings were held out, or of what ``keep`` says (``chosen_on``: "valid", "last epoch", "mean").
    The test ratings choose nothing.
    ``test_rmse_of_the_mean`` is what answering the mean training rating to everything would have.
    """
    last, kept = model.history[-1], model.history[model.best_epoch - 1]
    within = _within(model, tables.test)
    if within is None and (asked := [metric for metric in metrics if metric.startswith("within@")]):
        logger.warning("%s: not measured, for the run is too short for intervals.", ", ".join(asked))
        metrics = [metric for metric in metrics if metric not in asked]
    means = ((rating, np.full(len(rating), model.global_mean)) for (rating,) in walk(tables.test.rating))
    return {
        "dataset": tables.name,
        "model": name,
        "ended": ended,
        "negatives": model.config.negatives or 0,
        "n_users": model.n_users,
        "n_items": model.n_items,
        "n_train": len(tables.train),
        "n_valid": 0 if tables.valid is None else len(tables.valid),
        "n_test": len(tables.test),
        "epochs": last.epoch,
        "chosen_on": _chosen_on(model, tables),
        "best_epoch": model.best_epoch,
        "train_rmse": kept.train_rmse,
        "valid_rmse": kept.valid_rmse,
        "test_rmse": model.rmse(tables.test),
        "test_within_90": within,
        "test_rmse_of_the_mean": rmse_of_blocks(means),
        "test_metrics": model.evaluate(tables.test, metrics) if metrics else {},
        "best_possible_rmse": tables.best_rmse,
        "samples_per_second": round(median(result.samples_per_second for result in model.history)),
        "seconds": round(sum(result.seconds for result in model.history), 3),
    }


def _chosen_on(model: Model, tables: Tables) -> str:
    kept = model.config.keep or ("last" if tables.valid is None or model.config.negatives else "best")
    return {"best": "valid", "last": "last epoch", "mean": "mean"}[kept]


def _within(model: Model, test: Ratings) -> float | None:
    """The share of the test ratings within the intervals that are to hold 90 % of them; None where a model has no intervals."""
    try:
        return model.evaluate(test, ["within@90"])["within@90"]
    except ConfigError:  # it knows no deviations, or has too few draws yet
        return None


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """The results as a table, beside the tutorial's own figures where they are of the same ratings."""
    first = summaries[0]
    columns = _columns(first)
    notes = []
    if any(summary["negatives"] for summary in summaries):
        notes.append(_NEGATIVES_NOTE)
    elif first["dataset"] == _TUTORIAL_DATASET and any(summary["model"] in _TUTORIAL for summary in summaries):
        columns["tutorial, 10 epochs"] = lambda summary: _TUTORIAL.get(summary["model"], "")
        if any("*" in _TUTORIAL.get(summary["model"], "") for summary in summaries):
            notes.append(_TUTORIAL_NOTE)
    if first["best_possible_rmse"] is not None:
        best = first["best_possible_rmse"]
        notes.append(f"SYNTHETIC table: knowing the truth, the best reachable RMSE is {best:.4f}.")
    for summary in summaries:
        if summary["test_rmse"] >= summary["test_rmse_of_the_mean"] and not summary["negatives"]:
            notes.append(
                f"{summary['model']}: answering the mean rating to everything has a test RMSE of "
                f"{summary['test_rmse_of_the_mean']:.4f}, which is no worse; try other settings or another model."
            )
    rows = [list(columns), *([cell(summary) for cell in columns.values()] for summary in summaries)]
    return "\n".join([f"Dataset {first['dataset']}", *_lines(rows), *notes])


def _columns(first: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], str]]:
    """What each column says of a summary, by its heading."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "model": lambda summary: summary["model"],
        "epochs": lambda summary: str(summary["epochs"]),
        "train RMSE": lambda summary: f"{summary['train_rmse']:.4f}",
    }
    if first["valid_rmse"] is not None:
        columns["valid RMSE (epoch)"] = lambda summary: f"{summary['valid_rmse']:.4f} ({summary['best_epoch']})"
    columns["test RMSE"] = lambda summary: f"{summary['test_rmse']:.4f}"
    if first["test_within_90"] is not None:
        columns["in 90 % interval"] = lambda summary: f"{summary['test_within_90']:.1%}"
    for name, value in first["test_metrics"].items():
        form, heading = (",d", name.replace("_", " ")) if isinstance(value, int) else (".4f", f"test {name}")
        columns[heading] = lambda summary, name=name, form=form: format(summary["test_metrics"][name], form)  # type: ignore[misc]
    columns["samples/s"] = lambda summary: f"{summary['samples_per_second']:,}"
    columns["time"] = lambda summary: f"{summary['seconds']:.1f} s"
    return columns


def _lines(rows: list[list[str]]) -> list[str]:
    """Rows, the first of them headings, as lines of equal columns: names to the left, figures to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    return ["  ".join(row).rstrip() for row in padded]
