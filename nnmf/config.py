"""`TrainConfig` and `DataConfig`: every setting of a run, checked once, from which the command line is built."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nnmf._columns import columns_of
from nnmf._mxnet import parse_contexts
from nnmf.errors import ConfigError, one_of

__all__ = ["KEEPS", "PRESETS", "SCHEDULES", "DataConfig", "TrainConfig", "columns_of", "from_text", "kind_of"]

_DECAY = 0.9
PRESETS = ("tutorial", "fast", "accurate")
KEEPS = ("last", "best", "mean")
SCHEDULES = ("constant", "linear", "exponential", "cosine")

# What other packages call the settings.
_OTHER_NAMES = {
    **dict.fromkeys(("lr", "lrate", "lr_all", "eta", "alpha"), "learning_rate"),
    **dict.fromkeys(("epochs", "num_epoch", "num_epochs", "iterations", "n_iter"), "n_epochs"),
    **dict.fromkeys(("k", "rank", "factors", "num_factors", "embedding_dim", "dim", "latent_dim"), "n_factors"),
    **dict.fromkeys(("reg", "reg_all", "wd", "weight_decay", "lambda", "regularization"), "l2"),
    **dict.fromkeys(("batch", "batchsize", "bs"), "batch_size"),
    **dict.fromkeys(("hidden", "num_hidden"), "hidden_units"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("threads", "num_threads", "n_jobs"), "n_threads"),
    **dict.fromkeys(("device", "context"), "ctx"),
}

_Config = TypeVar("_Config", bound="_Checked")


def _setting(default: Any, help: str, **rules: Any) -> Any:
    """A field with its help text and the rules its value must keep: ``low``, ``high``, ``above``, ``below``, ``choices``."""
    return field(default=default, metadata={"help": help, **rules})


@dataclass(frozen=True)
class _Checked:
    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if value is not None or "None" not in str(entry.type):
                object.__setattr__(self, entry.name, _checked(entry, value))

    @classmethod
    def from_dict(cls: type[_Config], values: dict[str, Any], names: Iterable[str] | None = None) -> _Config:
        """A config from a mapping; a key that is no field is a ConfigError that tells of ``names``, by default all fields."""
        fields = [entry.name for entry in dataclasses.fields(cls)]
        names = fields if names is None else list(names)
        for name in values:
            if name not in fields:
                near = [_OTHER_NAMES[name]] if _OTHER_NAMES.get(name) in names else []
                near = [*near, *difflib.get_close_matches(name, names, 1, cutoff=0.5)]
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {names}."
                raise ConfigError(f"{name}: no such setting{hint}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """Settings of training. A setting left at None takes the default of the model that is trained.

    Raises
    ------
    ConfigError
        A value that cannot be used; the sentence names the setting, the value and what may stand there.
    """

    preset: str | None = _setting(
        None,
        "what settings that are not given start from: tutorial trains networks as MXNet's tutorial does; default: fast",
        choices=PRESETS,
    )
    n_factors: int | None = _setting(None, "width of the user and item vectors", low=1)
    hidden_units: int | None = _setting(None, "width of the layer above the vectors", low=1)
    dropout: float | None = _setting(None, "probability of dropping a unit, in [0, 1)", low=0, below=1)
    n_epochs: int | None = _setting(None, "passes over the training ratings", low=1)
    likelihood: str | None = _setting(
        None, "what bayes takes ratings for: numbers, or values of a grid", choices=("normal", "ordinal")
    )
    n_chains: int | None = _setting(
        None, "samplers of bayes that start apart and whose draws are averaged together", low=1, high=1000
    )
    sweeps: int | None = _setting(
        None,
        "draws of all parameters that an epoch of bayes makes, one after another; of a network whose steps carry noise, passes "
        "over the ratings",
        low=1,
    )
    n_draws: int | None = _setting(None, "whole draws that bayes keeps, for intervals", low=1, high=10_000)
    features: str | None = _setting(
        None,
        "what bayes describes ratings by: ids, and any of history (a user's rated items), raters (an item's), day (of the "
        "rating), attributes (of users and items), separated by commas",
    )
    batch_size: int | None = _setting(None, "ratings a step of a network; default: follows the table", low=1)
    learning_rate: float | None = _setting(None, "step size", above=0)
    momentum: float | None = _setting(None, "momentum of the gradient steps, in [0, 1)", low=0, below=1)
    l2: float | None = _setting(None, "L2 penalty", low=0)
    l2_prior: float | None = _setting(
        None, "a row of n ratings is penalised as if there were so many more: by l2 * (1 + l2_prior / n) at each", low=0
    )
    bias_l2: float | None = _setting(None, "penalty of the biases, as a share of l2", low=0)
    init_std: float | None = _setting(None, "standard deviation of the initial factors", low=0)
    schedule: str | None = _setting(None, "course of the learning rate over the epochs", choices=SCHEDULES)
    decay: float | None = _setting(None, "factor an epoch of the exponential schedule (default: 0.9)", above=0, high=1)
    patience: int | None = _setting(None, "stop after this many epochs without a better validation RMSE", low=1)
    last_batch: str | None = _setting(None, "what becomes of a short last batch", choices=("pad", "discard"))
    negatives: int | None = _setting(
        None,
        "unobserved items drawn for each rating in each epoch and trained on with rating 0, for models that are to rank; "
        "predictions then reach down to 0, the RMSE on ratings rises, and the last epoch is kept",
        low=0,
        high=1000,
    )
    keep: str | None = _setting(
        None,
        "what is kept: the last epoch, the best one by the validation ratings, or the mean of what those of the later half "
        "predict; default: the best where there are such ratings, else the last",
        choices=KEEPS,
    )
    temperature: float | None = _setting(
        None,
        "noise of a network's steps: with 1 training draws parameters from all that explain the ratings, whose mean is kept, "
        "below 1 from nearer the best; 0: none",
        low=0,
        high=10,
    )
    sparse: str | None = _setting(
        None,
        "steps of a network go over the rows of a batch alone, and come to the same as over whole tables: auto, where tables are "
        "large against a batch",
        choices=("auto", "on", "off"),
    )
    seed: int = _setting(0, "of initial values, order of ratings and dropout", low=0, high=2**31 - 1)
    ctx: str | None = _setting(
        None, "device: auto, cpu, gpu or gpu(N), or several: gpu(0),gpu(1)", check=parse_contexts
    )
    kvstore: str | None = _setting(
        None,
        "how a cluster trains a network: dist_sync, as one process does, or dist_async, where no worker waits; default: dist_sync",
        choices=("dist_sync", "dist_async"),
    )
    restarts: int | None = _setting(
        None, "times that a network's workers are started again after one ended", low=0, high=1000
    )
    n_threads: int | None = _setting(
        None, "threads that train; the result is the same for any number", low=1, high=1024
    )

    def learning_rate_at(self, epoch: int, n_epochs: int | None = None) -> float:
        """Learning rate of an epoch, numbered from 1, by the schedule over ``n_epochs`` (default: the setting).

        ``constant``: the learning rate; ``exponential``: times ``decay ** (epoch - 1)``; ``linear`` and ``cosine``: falling
        to zero in a straight line, or along half a cosine, over ``n_epochs``.
        """
        n_epochs = n_epochs or self.n_epochs
        if self.learning_rate is None or n_epochs is None:
            raise ConfigError(
                "learning_rate and n_epochs: not settled yet; fill the settings with with_defaults first."
            )
        if self.schedule == "exponential":
            return self.learning_rate * (self.decay or _DECAY) ** (epoch - 1)
        if self.schedule == "linear":
            return self.learning_rate * (1 - (epoch - 1) / n_epochs)
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / n_epochs))
        return self.learning_rate

    @classmethod
    def names_for(cls, defaults: Iterable[str]) -> list[str]:
        """The settings that mean something to a model with these among its defaults."""
        named = {*defaults, "patience", "decay"}
        return [entry.name for entry in dataclasses.fields(cls) if entry.default is not None or entry.name in named]

    def with_defaults(self, what: str, defaults: dict[str, Any]) -> TrainConfig:
        """This config with a model's own defaults where a setting is None.

        Parameters
        ----------
        what : str
            How an error names the model.
        defaults : dict[str, Any]
            The model's default by setting; a setting it lacks has no meaning for the model.

        Raises
        ------
        ConfigError
            A setting that was given but has no meaning for the model.
        """
        values, names = {}, self.names_for(defaults)
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if value is None:
                value = defaults.get(entry.name)
            elif entry.name not in names:
                raise ConfigError(f"{entry.name}: {what} has no such setting; leave it out.")
            values[entry.name] = value
        if self.decay is not None and values["schedule"] != "exponential":
            raise ConfigError(
                f"decay: belongs to schedule='exponential' (--schedule exponential), not to {values['schedule']!r}; "
                "leave it out."
            )
        return TrainConfig(**values)


@dataclass(frozen=True)
class DataConfig(_Checked):
    """Which tables to train and test on.

    The ratings come from one place: ``dataset``, ``train_file`` with ``test_file``, or ``sql``. None stands for a
    setting that was not given; one that was given and has no effect there is refused when the tables are loaded.

    Raises
    ------
    ConfigError
        A value that cannot be used.
    """

    dataset: str | None = _setting(
        None, "name of a dataset, file of ratings, or folder of a converted table; default: ml-100k, else synthetic"
    )
    train_file: str | None = _setting(None, "file of ratings to train on, where the test ratings are in --test-file")
    test_file: str | None = _setting(None, "file of ratings to test on, laid out as --train-file")
    sql: str | None = _setting(
        None, "query whose columns user, item, rating and perhaps timestamp are the ratings; it may name files"
    )
    fold: str | None = _setting(
        None, "the dataset's own split: train and test tables of that name; default: u1 of ml-100k, unless --split"
    )
    split: float | None = _setting(
        None, "train on this part of the ratings and test on the rest; default: 0.8 without a fold", above=0, below=1
    )
    split_by: str | None = _setting(
        None,
        "what --split and --valid-fraction part: all ratings, each user's, or by time; default: rating",
        choices=("rating", "user", "time"),
    )
    split_seed: int | None = _setting(
        None, "of the draw of --split and --valid-fraction; default: 0", low=0, high=2**31 - 1
    )
    valid_fraction: float = _setting(
        0.0,
        "hold this part of the training ratings out to choose the epoch by; 0 keeps the last epoch, for the test "
        "ratings choose nothing",
        low=0,
        below=1,
    )
    data_dir: str | None = _setting(None, "folder that holds the dataset's files")
    user_features: str | None = _setting(
        None, "file of what is known of the users (an id and columns a line), for models that use it"
    )
    item_features: str | None = _setting(None, "file of what is known of the items, likewise")
    delimiter: str | None = _setting(None, "what stands between two fields of a file; default: found out")
    columns: str | None = _setting(
        None,
        "columns of a file by their names, such as user=customer,item=sku,rating=stars; default: found out",
        check=columns_of,
    )
    on_error: str | None = _setting(None, "what becomes of a malformed line; default: raise", choices=("raise", "skip"))
    duplicates: str | None = _setting(
        None, "what becomes of a pair rated twice; default: error", choices=("error", "last", "mean")
    )
    cache: bool = _setting(True, "neither take parsed tables from the cache nor keep them there")


def _checked(entry: dataclasses.Field[Any], value: Any) -> Any:
    """The value of a field in its type, or a ConfigError."""
    rules = entry.metadata
    name, kind = entry.name, kind_of(entry)
    if kind in (int, float):
        no_number = isinstance(value, (bool, str)) or not hasattr(value, "__float__")
        if no_number or not math.isfinite(float(value)) or (kind is int and float(value) != int(value)):
            raise ConfigError(f"{name}: got {value!r}; give {'a whole number' if kind is int else 'a number'}.")
        value = kind(value)
        for rule, broken, words in (
            ("low", lambda bound: value < bound, "at least"),
            ("above", lambda bound: value <= bound, "above"),
            ("high", lambda bound: value > bound, "at most"),
            ("below", lambda bound: value >= bound, "below"),
        ):
            if rule in rules and broken(rules[rule]):
                raise ConfigError(f"{name}: got {value!r}; give a value {words} {rules[rule]}.")
    elif kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: got {value!r}; give True or False.")
    elif not isinstance(value, str):
        raise ConfigError(f"{name}: got {value!r}; give a text.")
    if "choices" in rules and value not in rules["choices"]:
        raise ConfigError(one_of(value, rules["choices"], name))
    if "check" in rules:
        rules["check"](value)
    return value


def kind_of(entry: dataclasses.Field[Any]) -> type:
    """int, float, bool or str: what a field's annotation says, ``| None`` apart."""
    return {"int": int, "float": float, "bool": bool}.get(str(entry.type).split(" |")[0], str)


def from_text(entry: dataclasses.Field[Any], text: str) -> Any:
    """The value that a flag's text stands for; a text that is no number is left for the config to refuse."""
    for kind in (int, float):
        if kind_of(entry) in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text
