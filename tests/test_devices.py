"""Networks on several devices of one machine: the training of one device, within float rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import nnmf
from nnmf.errors import ConfigError

TWO = "cpu(0),cpu(1)"
SETTINGS = {
    "plain": {"preset": "tutorial", "batch_size": 64},
    "dropout_mlp": {"preset": "tutorial", "batch_size": 64, "dropout": 0.0},
    "biased_mlp": {"schedule": "exponential"},
    "histories": {"temperature": 1.0, "n_factors": 4, "keep": "mean"},  # steps with noise, and a table that is given
}


def fitted(name, table, **settings):
    train, valid = table.split(0.8, seed=1)
    return nnmf.fit(name, train, valid, **{"n_epochs": 4, "keep": "last", **SETTINGS[name], **settings})


def curve(model):
    return np.array([(result.train_rmse, result.valid_rmse) for result in model.history])


def assert_same(one, other, tolerance=1e-5):
    np.testing.assert_allclose(curve(other), curve(one), rtol=tolerance)
    found = other.scorer.arrays()
    for name, array in one.scorer.arrays().items():
        assert np.abs(found[name] - array).max() <= tolerance * np.abs(array).max(), name


@pytest.mark.parametrize("name", SETTINGS)
def test_several_devices_train_as_one(name, small):
    one, two = fitted(name, small, ctx="cpu"), fitted(name, small, ctx=TWO)
    assert len(np.unique(curve(one), axis=0)) == 4
    assert_same(one, two)


def test_batches_need_be_no_multiple_of_the_devices(small):
    three = "cpu(0),cpu(1),cpu(2)"
    assert_same(fitted("plain", small, ctx="cpu"), fitted("plain", small, ctx=three))
    with pytest.raises(ConfigError, match="batch_size: got 2 for the 3 devices of ctx; give one row for each"):
        fitted("plain", small, ctx=three, batch_size=2)


def test_a_run_on_several_devices_is_saved_and_resumed_on_any(small, tmp_path):
    train, valid = small.split(0.8, seed=1)
    whole = fitted("biased_mlp", small, ctx=TWO)
    half = fitted("biased_mlp", small, ctx=TWO, n_epochs=2)
    half.save(tmp_path / "half")
    loaded = nnmf.load(tmp_path / "half")
    assert [str(ctx) for ctx in loaded.contexts] == ["cpu(0)", "cpu(1)"]
    assert np.array_equal(loaded.predict_index(valid.user, valid.item), half.predict_index(valid.user, valid.item))
    for ctx in (None, "cpu"):
        again = nnmf.load(tmp_path / "half", ctx=ctx)
        again.config = dataclasses.replace(again.config, n_epochs=4)
        assert_same(whole, again.resume(train, valid))
