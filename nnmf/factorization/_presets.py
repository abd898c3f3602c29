"""`settled`: a config with all settings filled in from a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnmf._compiled import usable_cores
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError

_DEFAULT = "fast"


def settled(
    config: TrainConfig | None, settings: dict[str, Any], kind: str, presets: Mapping[str, dict[str, Any]]
) -> TrainConfig:
    """The config, with single settings over it; those that were not given are its preset's, by default the fast one's.

    Raises
    ------
    ConfigError
        The networks' preset, or a setting that the kind of model has not.
    """
    names = TrainConfig.names_for([*presets[_DEFAULT], "keep", "n_threads", "preset"])
    given = TrainConfig.from_dict({**(config.to_dict() if config else {}), **settings}, names)
    preset = given.preset or _DEFAULT
    if preset not in presets:
        raise ConfigError(
            f"preset: {preset!r} is of networks and has no meaning for {kind}; give {' or '.join(map(repr, presets))}."
        )
    return given.with_defaults(kind, {**presets[preset], "keep": None, "n_threads": usable_cores(), "preset": preset})
