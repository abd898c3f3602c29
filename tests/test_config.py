import pytest

from nnmf.config import DataConfig, TrainConfig
from nnmf.errors import ConfigError


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("batch_size", 0, "batch_size: got 0; give a value at least 1"),
        ("batch_size", 1.5, "batch_size: got 1.5; give a whole number"),
        ("n_epochs", "ten", "n_epochs: got 'ten'; give a whole number"),
        ("n_factors", True, "n_factors: got True; give a whole number"),
        ("learning_rate", -0.1, "learning_rate: got -0.1; give a value above 0"),
        ("learning_rate", 0, "learning_rate: got 0.0; give a value above 0"),
        ("learning_rate", float("nan"), "learning_rate: got nan; give a number"),
        ("momentum", 1, "momentum: got 1.0; give a value below 1"),
        ("dropout", 1.0, "dropout: got 1.0; give a value below 1"),
        ("dropout", -0.5, "dropout: got -0.5; give a value at least 0"),
        ("l2", -1, "l2: got -1.0; give a value at least 0"),
        (
            "schedule",
            "stairs",
            r"schedule: got 'stairs' instead of one of \['constant', 'cosine', 'exponential', 'linear'\]",
        ),
        ("last_batch", "drop", "last_batch: got 'drop' instead of one of"),
        ("ctx", "tpu", "ctx: got 'tpu' instead of one of"),
        ("seed", -1, "seed: got -1; give a value at least 0"),
    ],
)
def test_values_that_cannot_be_used(setting, value, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{setting: value})


def test_unknown_settings_are_refused_by_name():
    with pytest.raises(ConfigError, match="lrate: no such setting; did you mean 'learning_rate'"):
        TrainConfig.from_dict({"lrate": 0.1})
    with pytest.raises(ConfigError, match="dropout: plain has no such setting"):
        TrainConfig(dropout=0.5).with_defaults("plain", {"n_factors": 3})


def test_defaults_fill_what_is_not_given():
    config = TrainConfig(n_epochs=3).with_defaults("x", {"n_epochs": 10, "learning_rate": 0.1})
    assert (config.n_epochs, config.learning_rate, config.n_factors) == (3, 0.1, None)
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert DataConfig.from_dict(DataConfig(dataset="x").to_dict()).dataset == "x"


def test_schedules():
    def rates(**settings):
        config = TrainConfig(n_epochs=4, learning_rate=0.8, **settings)
        return [config.learning_rate_at(epoch) for epoch in (1, 2, 3, 4)]

    assert rates(schedule="constant") == [0.8] * 4
    assert rates(schedule="exponential", decay=0.5) == pytest.approx([0.8, 0.4, 0.2, 0.1])
    assert rates(schedule="linear") == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert rates(schedule="cosine") == pytest.approx([0.8, 0.4 + 0.4 * 2**-0.5, 0.4, 0.4 - 0.4 * 2**-0.5])
