import math

import numpy as np
import pytest

from nnmf import _mxnet, metrics
from nnmf.errors import ConfigError, DataError

mx = _mxnet.load()

# The tutorial's three cases.
CASES = [
    ([1, 2, 3, 4, 5], [2, 1, 3, 5, 6], math.sqrt(0.8)),
    ([10, 10, 9, 9, 8], [10, 10, 9, 9, 8], 0.0),
    ([1, 5, 10, 15, 20], [6, 10, 5, 20, 25], 5.0),
]


@pytest.mark.parametrize(("rating", "prediction", "expected"), CASES)
def test_rmse_of_the_tutorial_s_cases(rating, prediction, expected):
    assert metrics.rmse(rating, prediction) == pytest.approx(expected)
    metric = metrics.RMSE()
    metric.update([mx.nd.array(rating)], [mx.nd.array(prediction)])
    assert metric.get() == ("rmse", pytest.approx(expected))


def test_errors_on_nothing_and_on_unequal_columns():
    with pytest.raises(DataError, match="no ratings"):
        metrics.rmse([], [])
    with pytest.raises(DataError, match=r"shapes \(2,\) and \(3,\)"):
        metrics.mae([1, 2], [1, 2, 3])
    assert math.isnan(metrics.RMSE().get()[1])


@pytest.mark.parametrize("kept", [1, 3, 1024])
@pytest.mark.parametrize(("metric", "function"), [("RMSE", metrics.rmse), ("MAE", metrics.mae)])
def test_batches_add_up_to_the_whole_without_their_padding(monkeypatch, kept, metric, function):
    monkeypatch.setattr("nnmf._eval_metrics._KEPT_BATCHES", kept)
    rng = np.random.default_rng(0)
    rating, prediction = rng.random(50).astype(np.float32), rng.random(50).astype(np.float32)
    found = getattr(metrics, metric)(n_ratings=50)
    for _ in range(2):  # two epochs
        found.reset()
        for start in range(0, 50, 8):
            rows = (
                np.resize(np.r_[np.arange(start, min(start + 8, 50)), np.arange(8)], 8)
                if start == 48
                else np.arange(start, start + 8)
            )
            label, column = mx.nd.array(rating[rows]), mx.nd.array(prediction[rows])
            found.update([label], [column.reshape((8, 1)) if start == 8 else column])
            if start == 16:
                assert found.get()[1] == pytest.approx(function(rating[:24], prediction[:24]))
        assert found.get()[1] == pytest.approx(function(rating, prediction))


def test_what_cannot_be_counted_gets_one_sentence():
    for n_ratings in (0, -1, True, 2.5, "9"):
        with pytest.raises(ConfigError, match="n_ratings: got"):
            metrics.RMSE(n_ratings)
    metric = metrics.MAE()
    with pytest.raises(DataError, match=r"a label of shape \(2,\) and a prediction of \(3,\) do not make pairs"):
        metric.update([mx.nd.zeros(2)], [mx.nd.zeros(3)])
    with pytest.raises(DataError, match="1 labels and 0 predictions"):
        metric.update([mx.nd.zeros(2)], [])
    metric.update([mx.nd.zeros(2)], [mx.nd.ones((2, 1))])
    assert metric.get() == ("mae", 1.0)


def test_mxnet_s_own_rmse_is_not_that(monkeypatch):
    """Why there is a metric of our own: MXNet averages the batches' roots."""
    ours, theirs = metrics.RMSE(), mx.metric.RMSE()
    for error in (1.0, 3.0):
        for metric in (ours, theirs):
            metric.update([mx.nd.zeros(2)], [mx.nd.full(2, error)])
    assert ours.get()[1] == pytest.approx(math.sqrt(5))
    assert theirs.get()[1] == pytest.approx(2)
