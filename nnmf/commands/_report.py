"""What a run says at its end: the summary that its folder keeps and the table that the command prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from nnmf.datasets import Tables
from nnmf.models import Model

#: last validation RMSE on u1 in the tutorial's own log
_TUTORIAL_DATASET = "ml-100k/u1"
_TUTORIAL = {"plain": "1.0172", "one_layer_mlp": "0.9631", "dropout_mlp": "0.9724 *"}
_TUTORIAL_NOTE = "* the tutorial's dropout run trains a network of this size without the dropout"


def describe(tables: Tables) -> str:
    """One line on the tables of a run."""
    valid = f", {len(tables.valid):,} validation" if tables.valid is not None else ""
    unknown = int((~tables.test.known).sum())
    cold = f" ({unknown} of users or items without training ratings)" if unknown else ""
    return (
        f"Dataset {tables.name}: {tables.train.n_users:,} users, {tables.train.n_items:,} items, {len(tables.train):,} training"
        f"{valid}, {len(tables.test):,} test ratings{cold}."
    )


def summarise(name: str, model: Model, tables: Tables, ended: str) -> dict[str, Any]:
    """Summary of a training, as JSON can hold it.

    ``test_rmse`` is that of the model that is kept: the epoch that was best on the validation ratings (``chosen_on``), or
    the last one where none were held out.
    """
    last, best = model.history[-1], model.history[model.best_epoch - 1]
    return {
        "dataset": tables.name,
        "model": name,
        "ended": ended,
        "n_users": model.n_users,
        "n_items": model.n_items,
        "n_train": len(tables.train),
        "n_test": len(tables.test),
        "epochs": last.epoch,
        "train_rmse": last.train_rmse,
        "last_valid_rmse": last.valid_rmse,
        "best_epoch": model.best_epoch,
        "best_valid_rmse": best.valid_rmse,
        "chosen_on": None if tables.valid is None else "valid",
        "test_rmse": model.rmse(tables.test),
        "best_possible_rmse": tables.best_rmse,
        "samples_per_second": round(median(result.samples_per_second for result in model.history)),
        "seconds": round(sum(result.seconds for result in model.history), 3),
    }


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """The results as a table, beside the tutorial's own figures where they are of the same ratings."""
    first = summaries[0]
    held_out = first["chosen_on"] is not None
    beside_tutorial = not held_out and first["dataset"] == _TUTORIAL_DATASET
    columns = _columns(held_out)
    notes = []
    if beside_tutorial:
        columns["tutorial, 10 epochs"] = lambda summary: _TUTORIAL.get(summary["model"], "")
        if any("*" in _TUTORIAL.get(summary["model"], "") for summary in summaries):
            notes.append(_TUTORIAL_NOTE)
    if first["best_possible_rmse"] is not None:
        best = first["best_possible_rmse"]
        notes.append(f"SYNTHETIC table: knowing the truth, the best reachable RMSE is {best:.4f}.")
    rows = [list(columns), *([cell(summary) for cell in columns.values()] for summary in summaries)]
    return "\n".join([f"Dataset {first['dataset']}", *_lines(rows), *notes])


def _columns(held_out: bool) -> dict[str, Callable[[dict[str, Any]], str]]:
    """What each column says of a summary, by its heading."""
    valid: dict[str, Callable[[dict[str, Any]], str]] = {
        "valid RMSE, last epoch": lambda summary: f"{summary['last_valid_rmse']:.4f}",
        "valid RMSE, best epoch": lambda summary: f"{summary['best_valid_rmse']:.4f} ({summary['best_epoch']})",
    }
    return {
        "model": lambda summary: summary["model"],
        "epochs": lambda summary: str(summary["epochs"]),
        "train RMSE": lambda summary: f"{summary['train_rmse']:.4f}",
        **(valid if held_out else {}),
        "test RMSE": lambda summary: f"{summary['test_rmse']:.4f}",
        "samples/s": lambda summary: f"{summary['samples_per_second']:,}",
        "time": lambda summary: f"{summary['seconds']:.1f} s",
    }


def _lines(rows: list[list[str]]) -> list[str]:
    """Rows, the first of them headings, as lines of equal columns: names to the left, figures to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    return ["  ".join(row).rstrip() for row in padded]
