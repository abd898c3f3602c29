"""`History`: the epochs of a training, shown as a table in a notebook."""

from __future__ import annotations

import dataclasses

from ._callbacks import EpochResult

_FORMATS = {
    "epoch": "d",
    "train_rmse": ".4f",
    "valid_rmse": ".4f",
    "test_rmse": ".4f",
    "learning_rate": ".4g",
    "samples_per_second": ",.0f",
    "seconds": ".2f",
}


class History(list[EpochResult]):
    """One `EpochResult` an epoch."""

    def to_dicts(self) -> list[dict[str, float | None]]:
        """The epochs as plain data, such as `pandas.DataFrame` takes."""
        return [dataclasses.asdict(result) for result in self]

    def _repr_html_(self) -> str:
        """What a notebook shows: a row an epoch, and of the columns those that were measured."""
        names = [name for name in _FORMATS if any(getattr(result, name) is not None for result in self)]
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_cell(getattr(result, name), name)}</td>' for name in names)}</tr>" for result in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if names else "no epochs"


def _cell(value: float | None, name: str) -> str:
    return "" if value is None else format(value, _FORMATS[name])
