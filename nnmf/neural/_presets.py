"""The presets: where a network's settings start from."""

from __future__ import annotations

from typing import Any

from ._steps import TUNED_ROWS

_COMMON: dict[str, Any] = {
    "momentum": 0.9,
    "last_batch": "pad",
    "negatives": 0,
    "sparse": "auto",
    "ctx": "auto",
    "keep": None,
    "kvstore": None,
    "restarts": None,
}
_FAST: dict[str, Any] = {
    **_COMMON,
    "n_epochs": 30,
    "batch_size": None,  # follows the table
    "learning_rate": 0.16,
    "l2": 0.05,
    "bias_l2": 0.4,
    "init_std": 0.02,
    "schedule": "linear",
    "temperature": 0.0,
}
# Those of steps with noise, any preset but the tutorial's.
_DRAWN: dict[str, Any] = {
    "n_epochs": 100,
    "sweeps": 5,
    "learning_rate": 0.05,
    "l2": 0.125,
    "bias_l2": 0.3,
    "init_std": 0.1,
    "n_factors": 16,
    "schedule": "constant",
    "keep": "mean",
}
#: the settings that a preset gives any network
PRESETS: dict[str, dict[str, Any]] = {
    "tutorial": {
        **_COMMON,
        "n_epochs": 10,
        "batch_size": TUNED_ROWS,
        "learning_rate": 0.05,
        "l2": 1e-4,
        "schedule": "constant",
    },
    "fast": _FAST,
    "accurate": _FAST,
}
# What suits one network, under any preset but the tutorial's. A tower without a way past its layer learns nothing under a penalty
# that a bare product needs.
_OWN: dict[str, dict[str, Any]] = {
    "plain": {"n_factors": 32},
    "one_layer_mlp": {"l2": 0.005, "learning_rate": 0.05},
    "dropout_mlp": {"l2": 0.005, "learning_rate": 0.05, "n_factors": 128, "hidden_units": 64},
}


def defaults_of(preset: str, network: str, batch_size: int | None, temperature: float | None) -> dict[str, Any]:
    """A network's defaults under a preset.

    Parameters
    ----------
    preset, network : str
        Their names.
    batch_size : int or None
        Rows a batch, if they were given: the step is then as many times that of the batches it was tuned on.
    temperature : float or None
        That of the steps, if it was given.
    """
    found = {**PRESETS[preset], "preset": preset}
    if preset != "tutorial":
        found |= _DRAWN if temperature else _OWN.get(network, {})
        if not temperature and batch_size is not None:
            found["learning_rate"] *= batch_size / TUNED_ROWS
    return found
