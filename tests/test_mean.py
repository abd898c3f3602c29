"""Keeping the mean: what it predicts, how far its members lie apart, and what is refused."""

import numpy as np
import pytest

import nnmf
from nnmf.errors import ConfigError
from nnmf.models import own_scorer
from nnmf.testing import low_rank

from .test_models import PLAIN, concat

NETWORKS = {"product": "biased_mlp", "no product": concat}
LONG = {**PLAIN, "n_epochs": 12, "keep": "mean"}


@pytest.fixture(scope="module")
def table():
    return low_rank(noise=0.2)


def averaged(model, table, **settings):
    """A trained model, and what each epoch's own parameters predicted of the table."""
    each = []

    def collect(result, trained):
        each.append(own_scorer(trained.scorer).predict(table.user, table.item).astype(np.float64))

    return nnmf.fit(model, table, callbacks=[collect], **settings), np.stack(each)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_later_half_is_averaged(name, table):
    model, each = averaged(NETWORKS[name], table, **LONG)
    found = model.predict_index(table.user, table.item)
    assert found == pytest.approx(each[6:].mean(axis=0), abs=2e-4)
    assert abs(found - each[-1]).max() > 1e-3 and abs(found - each.mean(axis=0)).max() > 1e-3
    assert (model.best_epoch, len(model.history)) == (12, 12)


@pytest.mark.parametrize("name", NETWORKS)
def test_deviations_are_of_the_epochs_and_of_the_noise(name, table):
    model, each = averaged(NETWORKS[name], table, **LONG)
    ids = table.users.ids[table.user], table.items.ids[table.item]
    _, deviation = model.predict(*ids, clip=False, return_std=True)
    noise = np.mean([result.train_rmse**2 for result in model.history[6:]])
    assert deviation == pytest.approx(np.sqrt(each[6:].var(axis=0, ddof=1) + noise), rel=1e-3)
    low, high = model.interval(*ids, level=0.9)
    within = (low <= table.rating) & (table.rating <= high)
    assert 0.8 < within.mean() < 0.99
    safe, score = model.recommend(table.users.ids[0], 3, risk=-1.0)
    expected, spread = model.predict([table.users.ids[0]] * 3, safe, clip=False, return_std=True)
    assert score == pytest.approx(expected - spread, abs=1e-4)


def test_many_epochs_are_kept_narrow(table):
    model, each = averaged("biased", table, **{**LONG, "n_epochs": 160, "learning_rate": 0.05})
    arrays = model.scorer.arrays()
    assert arrays["mean:user_factors"].shape[1] <= 128 and len(arrays["mean:user_draws"]) <= 16
    assert model.predict_index(table.user, table.item) == pytest.approx(each[80:].mean(axis=0), abs=2e-3)


def test_what_cannot_be_kept_is_refused(table):
    with pytest.raises(ConfigError, match="keep: bayes averages its draws whatever is kept"):
        nnmf.fit("bayes", table, keep="mean")
    with pytest.raises(ConfigError, match="keep: got 'best', which validation ratings tell, and there are none"):
        nnmf.fit("svd", table, keep="best")
    with pytest.raises(ConfigError, match="patience: waits for a better epoch, which keep='mean' does not seek"):
        nnmf.fit("svd", table, table, keep="mean", patience=2)
    with pytest.raises(ConfigError, match="keep: 1 epochs are averaged, and deviations need two"):
        nnmf.fit("svd", table, keep="mean", n_epochs=1).predict([0], [0], return_std=True)


def test_the_last_epoch_is_kept_where_that_is_asked_for(table):
    train, valid = table.split(0.8)
    settings = {
        "n_factors": 20,
        "n_epochs": 80,
        "init_std": 0.1,
        "l2": 0.0,
        "learning_rate": 0.05,
        "schedule": "constant",
    }
    last, best = (nnmf.fit("svd", train, valid, keep=keep, **settings) for keep in ("last", None))
    assert last.best_epoch == 80 > best.best_epoch
