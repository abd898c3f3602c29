"""`settled`: a config with all settings filled in from a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnmf._compiled import usable_cores
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError

_DEFAULT = "fast"


def settled(given: TrainConfig, kind: str, presets: Mapping[str, dict[str, Any]]) -> TrainConfig:
    """The config with the settings that were not given taken from its preset, by default the fast one.

    Raises
    ------
    ConfigError
        The networks' preset, or a setting that the kind of model has not.
    """
    preset = given.preset or _DEFAULT
    if preset not in presets:
        raise ConfigError(
            f"preset: {preset!r} is of networks and has no meaning for {kind}; give {' or '.join(map(repr, presets))}."
        )
    return given.with_defaults(kind, {**presets[preset], "keep": None, "n_threads": usable_cores(), "preset": preset})
