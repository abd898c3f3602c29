"""What a run says at its end: the summary that its folder keeps and the table that the command prints."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from .model import Model
from .tables import Tables

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

    ``test_rmse`` is that of the model that is kept, the best epoch's; where no validation ratings were held out the epoch was
    chosen on the test table itself (``chosen_on``), and ``last_valid_rmse`` is the figure without any choice.
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
        "chosen_on": "test" if tables.valid is None else "valid",
        "test_rmse": best.valid_rmse if tables.valid is None else model.rmse(tables.test),
        "best_possible_rmse": tables.best_rmse,
        "samples_per_second": round(median(result.samples_per_second for result in model.history)),
        "seconds": round(sum(result.seconds for result in model.history), 3),
    }


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """The results as a table, beside the tutorial's own figures where they are of the same ratings."""
    first = summaries[0]
    watched = "test" if first["chosen_on"] == "test" else "valid"
    columns = [
        "model",
        "epochs",
        "train RMSE",
        f"{watched} RMSE, last epoch",
        f"{watched} RMSE, best epoch",
        "samples/s",
        "time",
    ]
    rows = [
        [
            summary["model"],
            str(summary["epochs"]),
            f"{summary['train_rmse']:.4f}",
            f"{summary['last_valid_rmse']:.4f}",
            f"{summary['best_valid_rmse']:.4f} ({summary['best_epoch']})",
            f"{summary['samples_per_second']:,}",
            f"{summary['seconds']:.1f} s",
        ]
        for summary in summaries
    ]
    notes = []
    if first["chosen_on"] == "valid":
        columns.append("test RMSE")
        for row, summary in zip(rows, summaries, strict=True):
            row.append(f"{summary['test_rmse']:.4f}")
    else:
        notes.append(
            "The best epoch is chosen on the test ratings; --valid-fraction 0.1 chooses it on training ratings instead."
        )
    if first["dataset"] == _TUTORIAL_DATASET and first["chosen_on"] == "test":
        columns.append("tutorial, last epoch")
        for row, summary in zip(rows, summaries, strict=True):
            row.append(_TUTORIAL.get(summary["model"], ""))
        if any("*" in row[-1] for row in rows):
            notes.append(_TUTORIAL_NOTE)
    if first["best_possible_rmse"] is not None:
        notes.append(
            f"SYNTHETIC table: knowing the truth, the best reachable RMSE is {first['best_possible_rmse']:.4f}."
        )
    widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [columns, ["-" * width for width in widths], *rows]
    ]
    return "\n".join([f"Dataset {first['dataset']}", *(line.rstrip() for line in lines), *notes])
