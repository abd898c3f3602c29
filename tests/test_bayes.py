"""The Bayesian factorization as a model: features, dates, intervals, grids, bad input; the sampler's own tests are test_gibbs*.py."""

import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import nnmf
from nnmf import Bayes, Features, Ratings, storage
from nnmf.config import DataConfig
from nnmf.datasets import load_tables
from nnmf.errors import ConfigError, DataError, TrainingError
from nnmf.kinds import load_checkpoint
from nnmf.metrics import rmse
from nnmf.storage import Parameters, RunFolder
from nnmf.testing import assert_same_model, low_rank, parameters

SHORT = {"n_factors": 3, "n_epochs": 4, "sweeps": 4, "n_chains": 2}
# What tables of this size would leave out.
WHOLE = {**SHORT, "features": "ids,history,raters"}


def days_and_jobs(noise=0.3, seed=0):
    """Ratings that depend on the weekday and on the user's job alone, and what is known of the users."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 200, 6000), rng.integers(0, 50, 6000)
    days = rng.integers(0, 7, 6000)
    rating = 3 + 0.5 * (days == 0) - 0.5 * (days == 6) + 0.8 * (users % 2) + noise * rng.normal(size=6000)
    known = Features.from_arrays(np.arange(200), {"job": np.where(np.arange(200) % 2, "smith", "baker")})
    table = Ratings.from_arrays(users, items, rating, days * 86_400 + 3, duplicates="last")
    return table.with_features(users=known)


@pytest.fixture(scope="module")
def tables():
    return low_rank(noise=0.2).split(0.8)


@pytest.fixture(scope="module")
def model(tables):
    return nnmf.fit("bayes", tables[0], **WHOLE)


@pytest.fixture(scope="module")
def stars(tables):
    """(train, test) of the ratings 1 to 5."""
    made = [
        Ratings.from_arrays(
            table.users.ids[table.user], table.items.ids[table.item], np.clip(np.rint(table.rating), 1, 5)
        )
        for table in tables
    ]
    return made[0], made[1].mapped(made[0])


# -- features and dates ----------------------------------------------------------------------------------------------------------------
def test_days_are_learned_and_asked_for():
    train, test = days_and_jobs().split(0.8)
    dated = nnmf.fit("bayes", train, features="ids,day", **SHORT)
    undated = nnmf.fit("bayes", train, features="ids", **SHORT)
    assert dated.rmse(test) < 0.33 < 0.37 < undated.rmse(test)
    user, item = test.users.ids[test.user], test.items.ids[test.item]
    asked = dated.predict(user, item, timestamps=test.timestamp)
    assert rmse(test.rating, asked) == pytest.approx(dated.rmse(test), abs=1e-6)
    first, last = (dated.predict(1, item[:50], timestamps=[day * 86_400]) for day in (0, 6))
    assert first - last == pytest.approx(np.ones(50), abs=0.15)
    assert np.array_equal(dated.predict(1, item[:50], timestamps=np.array(["1970-01-01"], "datetime64[s]")), first)
    # A day that training never saw, or none, is answered alike, between the others.
    unseen = dated.predict(1, item[:50], timestamps=[99 * 86_400])
    assert np.array_equal(unseen, dated.predict(1, item[:50]))
    assert (last < unseen).all() and (unseen < first).all()


def test_attributes_tell_of_users_with_few_ratings():
    table = days_and_jobs()
    few = np.concatenate([np.flatnonzero(table.user == user)[:2] for user in range(table.n_users)])
    train = table.take(np.sort(few)).compact()
    test = table.take(np.setdiff1d(np.arange(len(table)), few)).mapped(train)
    told, untold = (nnmf.fit("bayes", train, features=names, **SHORT).rmse(test) for names in ("ids,attributes", "ids"))
    assert told < untold - 0.02


def test_what_features_cannot_be():
    table = days_and_jobs()
    bare = Ratings.from_arrays(table.user, table.item, table.rating)
    for features, error, words in (
        ("ids,dy", ConfigError, "features: got 'dy' instead of one of"),
        ("", ConfigError, "features"),
        ("ids,,day", ConfigError, "features"),
        ("history", ConfigError, "ids"),
        ("ids,day", DataError, "day: arrays has no timestamps"),
        ("ids,attributes", DataError, "attributes"),
    ):
        with pytest.raises(error, match=words):
            nnmf.fit("bayes", bare, features=features, **SHORT)


def test_timestamps_are_refused_where_they_mean_nothing(model, tables):
    with pytest.raises(ConfigError, match="timestamps: this model uses no dates"):
        model.predict([1], [1], timestamps=[0])
    dated = nnmf.fit("bayes", tables[0], features="ids,day", **SHORT)
    with pytest.raises(DataError, match="timestamps: 3 of them do not go with 2 pairs"):
        dated.predict([1, 2], [1, 2], timestamps=[0, 1, 2])
    with pytest.raises(DataError, match="timestamps"):
        dated.predict([1, 2], [1, 2], timestamps=[0.5, np.nan])


# -- how sure it is --------------------------------------------------------------------------------------------------------------------
def test_intervals_hold_as_many_ratings_as_they_say():
    """On a table drawn from the model's own kind: of 2,000 ratings 90 % within four standard errors."""
    train, test = low_rank(n_users=200, n_items=100, n_ratings=10_000, noise=0.5).split(0.8)
    model = nnmf.fit("bayes", train, n_factors=3, n_epochs=5)
    for level in (0.5, 0.9):
        name = f"within@{round(100 * level)}"
        low, high = model.interval(test.users.ids[test.user], test.items.ids[test.item], level)
        held = np.mean((low <= test.rating) & (test.rating <= high))
        assert model.evaluate(test, [name])[name] == pytest.approx(held)
        assert abs(held - level) < 4 * np.sqrt(level * (1 - level) / len(test))
    prediction, deviation = model.predict(test.users.ids[test.user], test.items.ids[test.item], return_std=True)
    assert rmse(test.rating, prediction) == pytest.approx(float(np.sqrt(np.mean(deviation**2))), rel=0.1)


def test_what_is_unknown_is_least_sure(model, tables):
    train = tables[0]
    known, unknown = (model.predict([user], [1], return_std=True)[1][0] for user in (1, 999))
    assert unknown == pytest.approx(train.rating.std(), rel=1e-5) and known < unknown


def test_risk_ranks_by_deviations(model, tables):
    ids = tables[0].items.ids
    for risk in (-1.5, 2):
        found, score = model.recommend(3, 5, risk=risk, exclude_seen=False)
        prediction, deviation = model.predict(3, ids, return_std=True, clip=False)
        expected = prediction + np.float32(risk) * deviation
        assert np.array_equal(found, ids[np.argsort(-expected, kind="stable")[:5]])
        assert score == pytest.approx(np.sort(expected)[::-1][:5], abs=1e-5)


def test_what_cannot_be_asked(model, tables):
    train = tables[0]
    svd = nnmf.fit("svd", train, n_epochs=1)
    for ask, words in (
        (lambda: svd.predict([1], [1], return_std=True), "knows no deviations"),
        (lambda: svd.interval([1], [1]), "knows no deviations"),
        (lambda: svd.recommend(1, risk=1), "knows no deviations"),
        (lambda: svd.evaluate(train, ["within@90"]), "knows no deviations"),
        (lambda: model.interval([1], [1], level=90), "level: got 90"),
        (
            lambda: model.recommend(1, risk=1e308),
            r"risk: got 1e\+308, which makes scores that no float32 holds; give a",
        ),
        (lambda: model.interval([1], [1], level=True), "level: got True"),
        (lambda: model.recommend(1, risk="high"), "risk: got 'high'"),
        (lambda: model.evaluate(train, ["within@100"]), "metric: got 'within@100'"),
        (lambda: model.distribution([1], [1]), "likelihood: 'normal' knows no grid"),
        (
            lambda: nnmf.fit("bayes", train, n_epochs=1, sweeps=1, n_chains=1).interval([1], [1]),
            "1 whole draws are kept, of 1, and deviations need three",
        ),
        (lambda: Bayes(learning_rate=0.1), "learning_rate: bayes has no such setting"),
        (lambda: Bayes(likelihood="probit"), "likelihood: got 'probit'"),
    ):
        with pytest.raises(ConfigError, match=words):
            ask()


@pytest.mark.filterwarnings("ignore:overflow")
def test_what_is_too_large_to_sample_changes_nothing(tables):
    with pytest.raises(TrainingError, match="diverged before it began: init_std is too large"):
        nnmf.fit("bayes", tables[0], init_std=1e10, **WHOLE)
    model = nnmf.fit("bayes", tables[0], **WHOLE)
    before = model.predict([1], [1])
    with pytest.raises(TrainingError, match="the model's last draws are too large"):
        model.fit_more(Ratings.from_arrays([1, 2, 3], [1, 2, 3], [1, 3e38, 2]))
    assert model.predict([1], [1]) == before
    with pytest.raises(ConfigError, match="n_factors: 400 rows of 1,099,511,627,776 factors take"):
        nnmf.fit("bayes", tables[0], n_factors=2**40, n_chains=4)


def damaged(model, **changes):
    """A state with arrays or details that are others, or, where None, missing."""
    state = model.to_state()
    arrays = {name: changes.get(name, array) for name, array in state.kept.arrays.items()}
    part = {name: changes.get(name, array) for name, array in state.kept.state.items()}
    details = {name: changes.get(name, value) for name, value in state.details.items()}
    arrays, part, details = ({k: v for k, v in found.items() if v is not None} for found in (arrays, part, details))
    return replace(state, kept=Parameters(state.kept.epoch, arrays, part), last=None, details=details)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"centre": None}, "centre: got None"),
        ({"spread": 0}, "spread: got 0"),
        ({"digest": 7}, "digest: got 7"),
        ({"vocabulary": {}}, "vocabulary"),
        ({"values": [1, 2]}, "values: belong to an ordinal likelihood"),
        ({"0_user_0_weights": None}, "state: lacks '0_user_0_weights'"),
        ({"0_user_0_means": np.zeros(3, np.float32)}, "0_user_0_means"),
        ({"user_draws": None}, "parameters: are"),
        ({"n_draws": np.array([7])}, "they do not agree"),
        ({"sums": np.array([0.0, -1.0])}, "variance is -1.0"),
        ({"user_of_item": np.zeros((60, 3), np.float32)}, "user_of_item"),
        ({"item_sums": np.zeros(39)}, "item_sums"),
    ],
)
def test_a_damaged_folder_is_refused(model, tmp_path, changes, words):
    storage.save(tmp_path / "model", damaged(model, **changes), False)
    with pytest.raises(DataError, match=words):
        nnmf.load(tmp_path / "model")


# -- grids -----------------------------------------------------------------------------------------------------------------------------
def test_a_distribution_over_the_grid(stars):
    train, test = stars
    model = nnmf.fit("bayes", train, likelihood="ordinal", **WHOLE)
    user, item = test.users.ids[test.user], test.items.ids[test.item]
    values, share = model.distribution(user, item)
    assert values.tolist() == [1, 2, 3, 4, 5] and share.shape == (len(test), 5)
    assert (share > 0).all() and share.sum(axis=1) == pytest.approx(np.ones(len(test)))
    assert model.predict(user, item) == pytest.approx(share @ values, abs=1e-5)
    deviation = np.sqrt(share @ values**2 - (share @ values) ** 2)
    assert model.predict(user, item, return_std=True)[1] == pytest.approx(deviation, abs=1e-4)
    # On average over the ratings each value is as likely as it is frequent.
    assert share.mean(axis=0) == pytest.approx(
        np.bincount(test.rating.astype(int), minlength=6)[1:] / len(test), abs=0.06
    )
    assert model.rmse(test) < nnmf.fit("bayes", train, **WHOLE).rmse(test) + 0.06


def test_intervals_on_a_grid_hold_as_many_ratings_as_they_say():
    """Where no single value is likely enough to make up the interval; else they hold more."""
    drawn = low_rank(n_users=200, n_items=100, n_ratings=10_000, noise=1.5)
    values = np.clip(np.rint(2 * drawn.rating) / 2, 0.5, 5.5)
    train, test = Ratings.from_arrays(drawn.user, drawn.item, values).split(0.8)
    model = nnmf.fit("bayes", train, n_factors=3, n_epochs=4, likelihood="ordinal")
    for level in (50, 80, 90):
        held = model.evaluate(test, [f"within@{level}"])[f"within@{level}"]
        assert held == pytest.approx(level / 100, abs=0.04)


def test_ratings_less_likely_than_numbers_can_tell_do_not_end_a_chain_on_a_grid(stars, caplog):
    """Where factors start far too large the likelihood says nothing of the cut points, and the run says what came of it."""
    with caplog.at_level("WARNING", logger="nnmf"):
        model = nnmf.fit("bayes", stars[0], likelihood="ordinal", init_std=10.0, **WHOLE)
    assert np.isfinite(model.predict(1, stars[0].items.ids)).all()
    assert "is no better than that of answering the mean rating" in caplog.text


def test_intervals_of_many_pairs_on_a_fine_grid_take_little_memory():
    """Of a hundred values 200,000 pairs have 160 MB of probabilities."""
    drawn = low_rank(noise=0.3)
    train = Ratings.from_arrays(drawn.user, drawn.item, np.clip(np.rint(20 * drawn.rating), 1, 100))
    model = nnmf.fit("bayes", train, likelihood="ordinal", **WHOLE)
    rng = np.random.default_rng(0)
    user, item = (rng.integers(0, n, 200_000).astype(np.int32) for n in (train.n_users, train.n_items))
    few = model.answers.interval(user[:40_000], item[:40_000]), model.answers.deviation(user[:40_000], item[:40_000])
    tracemalloc.start()
    low, high = model.answers.interval(user, item)
    deviation = model.answers.deviation(user, item)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    assert np.array_equal(few[0], (low[:40_000], high[:40_000])) and np.array_equal(few[1], deviation[:40_000])


def test_any_unit_of_a_grid_is_sampled_alike(stars):
    train = stars[0]
    user, item = train.users.ids[train.user], train.items.ids[train.item]
    large = Ratings.from_arrays(user, item, train.rating * 2.0**24)
    one, other = (nnmf.fit("bayes", table, likelihood="ordinal", **WHOLE) for table in (train, large))
    assert other.predict(user, item) / 2**24 == pytest.approx(one.predict(user, item), abs=1e-5)


def test_too_few_draws_on_a_grid_know_no_deviations(stars):
    """They predict, though."""
    model = nnmf.fit("bayes", stars[0], likelihood="ordinal", n_epochs=1, sweeps=1, n_chains=1)
    assert np.isfinite(model.predict([1], [1])).all()
    for ask in (model.interval, lambda *pair: model.predict(*pair, return_std=True)):
        with pytest.raises(ConfigError, match="1 whole draws are kept, of 1, and deviations need three"):
            ask([1], [1])


def test_a_grid_is_what_training_began_with(stars, tables):
    train, _ = stars
    with pytest.raises(ConfigError, match="grid of 2 to 128 values, these take 1,200"):
        nnmf.fit("bayes", tables[0], likelihood="ordinal", **SHORT)
    with pytest.raises(ConfigError, match="grid of 2 to 128 values, these take 1;"):
        nnmf.fit("bayes", Ratings.from_arrays([1, 2], [1, 2], [3, 3]), likelihood="ordinal", **SHORT)
    model = nnmf.fit("bayes", train, likelihood="ordinal", **WHOLE)
    before = model.predict([1], [1])
    with pytest.raises(ConfigError, match=r"the rating 2.5 is none of the 5 values"):
        model.fit_more(Ratings.from_arrays([1, 2], [1, 2], [3, 2.5]))
    assert model.predict([1], [1]) == before
    model.fit_more(Ratings.from_arrays([1, 2, 900], [1, 2, 3], [3, 2, 4]), n_epochs=1)  # fewer values are no harm
    assert np.isfinite(model.predict([900], [3])).all()


# -- training, further and on ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{"features": "ids,history,raters,day"}, {"features": "ids", "n_chains": 1}])
def test_more_draws_of_the_same_table_are_added(tables, settings, tmp_path):
    """As many epochs at once, in two goes, in two goes through a folder, and resumed."""
    train, _ = tables
    settings = {**SHORT, **settings}
    whole = nnmf.fit("bayes", train, **{**settings, "n_epochs": 5})
    half = nnmf.fit("bayes", train, **{**settings, "n_epochs": 2})
    half.save(tmp_path / "half")
    run = RunFolder.begin(tmp_path / "run", {"model": "bayes", "data": {}})
    nnmf.fit("bayes", train, **{**settings, "n_epochs": 2}, callbacks=[run])
    run.close()
    resumed = load_checkpoint(tmp_path / "run")
    resumed.config = whole.config
    for model in (half.fit_more(train, n_epochs=3), nnmf.load(tmp_path / "half").fit_more(train, n_epochs=3)):
        assert_same_model(model, whole)
        assert model.scorer.totals.n_draws == 4 * settings["sweeps"] * settings["n_chains"]  # the first epoch's go
    assert_same_model(resumed.resume(train), whole)


def test_a_run_does_not_go_on_with_other_dates_or_features(tmp_path):
    """As with other ratings; and to go on with them by fit_more starts from the last draws and adds nothing to what was before."""
    train = days_and_jobs()
    settings = {**SHORT, "features": "ids,day,attributes", "n_epochs": 2}
    run = RunFolder.begin(tmp_path / "run", {"model": "bayes", "data": {}})
    nnmf.fit("bayes", train, **settings, callbacks=[run])
    run.close()
    moved = replace(train, timestamp=train.timestamp + 86_400 * (np.arange(len(train)) == 7))
    jobs = np.where(np.arange(200) % 2, "smith", "baker")
    told = [train.with_features(users=Features.from_arrays(np.arange(200), {"job": jobs[::step]})) for step in (1, -1)]
    for changed in (moved, told[1]):
        model = load_checkpoint(tmp_path / "run")
        with pytest.raises(DataError, match="its dates, or what is known of its users and items, are not those that"):
            model.resume(changed)
        model.fit_more(changed, n_epochs=1)
        assert model.scorer.totals.n_draws == SHORT["sweeps"] * SHORT["n_chains"]
    bare = Ratings.from_arrays(train.user, train.item, train.rating, train.timestamp)
    undated = replace(train, timestamp=None)
    for lacking, words in (
        (bare, "job: of the users of arrays it is not known"),
        (undated, "day: arrays has no timestamps"),
    ):
        with pytest.raises(DataError, match=words):
            nnmf.load(tmp_path / "run").fit_more(lacking)
    model = load_checkpoint(tmp_path / "run")
    model.config = replace(model.config, n_epochs=3)
    assert len(model.resume(told[0]).history) == 3  # other objects that say the same


def test_another_table_starts_from_what_was_drawn_last(tables):
    train, test = tables
    model = nnmf.fit("bayes", train, **WHOLE)
    rng = np.random.default_rng(0)
    more = Ratings.from_arrays(
        np.concatenate([train.users.ids[train.user], np.repeat(777, 20)]),
        np.concatenate([train.items.ids[train.item], train.items.ids[rng.permutation(train.n_items)[:20]]]),
        np.concatenate([train.rating, np.full(20, 5.0)]),
    )
    model.fit_more(more, n_epochs=2)
    assert model.scorer.totals.n_draws == 2 * SHORT["sweeps"] * SHORT["n_chains"]
    assert model.predict(777, train.items.ids).mean() > 4.5
    assert model.rmse(test) < 0.3


@pytest.mark.parametrize("likelihood", ["normal", "ordinal"])
def test_the_number_of_threads_changes_nothing(stars, likelihood):
    one, many = (nnmf.fit("bayes", stars[0], **WHOLE, likelihood=likelihood, n_threads=n) for n in (1, 3))
    assert_same_model(one, many)


def test_test_ratings_change_nothing(tables):
    """Other test ratings, of other pairs or none: the same parameters and settings."""
    train, test = tables
    blank = Ratings.from_arrays([5], [5], [1.0], like=train)
    shuffled = test.take(np.random.default_rng(0).permutation(len(test)))
    models = [nnmf.fit("bayes", train, test=other, **WHOLE) for other in (test, shuffled, blank, None)]
    for model in models[1:]:
        assert model.config == models[0].config and model.details() == models[0].details()
        for name, array in parameters(model).items():
            assert np.array_equal(array, parameters(models[0])[name]), name


@pytest.mark.parametrize("scale", [(1.0, 0.0), (20.0, 0.0), (0.01, 0.0), (1e6, -3e6)])
def test_any_unit_of_rating_is_sampled_alike(tables, scale):
    factor, offset = scale
    train, test = tables
    changed = Ratings.from_arrays(
        train.users.ids[train.user], train.items.ids[train.item], train.rating * factor + offset, train.timestamp
    )
    one, other = nnmf.fit("bayes", train, **WHOLE), nnmf.fit("bayes", changed, **WHOLE)
    ids = test.users.ids[test.user[:100]], test.items.ids[test.item[:100]]
    assert (other.predict(*ids, clip=False) - offset) / factor == pytest.approx(one.predict(*ids, clip=False), abs=0.02)


# -- ML-100K ---------------------------------------------------------------------------------------------------------------------------
# Mean over five seeds, and three times their standard deviation.
U1_BANDS = {
    "ids": (0.9232, 0.0044),
    "ids,history,raters": (0.8918, 0.0029),
    "ids,history,raters,day": (0.8895, 0.0027),
    "ids,history,raters,day,attributes": (0.8857, 0.0022),
}


@pytest.mark.parametrize("features", U1_BANDS)
def test_u1_is_predicted_as_well_as_by_other_seeds(ml_100k, features):
    tables = load_tables(DataConfig(dataset="ml-100k", fold="u1", data_dir=str(ml_100k)), features=True)
    model = nnmf.fit("bayes", tables.train, features=features, n_epochs=2, sweeps=15)
    middle, reach = U1_BANDS[features]
    assert middle - reach < model.rmse(tables.test) < middle + reach
    assert 0.885 < model.evaluate(tables.test, ["within@90"])["within@90"] < 0.915


def test_u1_as_ratings_on_a_grid(u1):
    model = nnmf.fit("bayes", u1[0], likelihood="ordinal", n_epochs=2, sweeps=15)
    assert 0.8903 < model.rmse(u1[1]) < 0.8941
    # More than 90 %, for an interval holds whole values of the grid.
    assert 0.93 < model.evaluate(u1[1], ["within@90"])["within@90"] < 0.955


# -- the command -----------------------------------------------------------------------------------------------------------------------
def test_a_few_ratings_are_watched_like_many(tables, capsys):
    """A factor of a sweep is less than one of four ratings."""
    few = tables[0].take(np.arange(4)).compact()
    model = nnmf.fit("bayes", few, progress=True, **{**SHORT, "n_factors": 10})
    assert len(model.history) == SHORT["n_epochs"] and np.isfinite(model.predict([1], [1])).all()


def test_the_command_ends_well_where_draws_are_too_few_for_intervals(tmp_path):
    command = [sys.executable, "-m", "nnmf.train", "--model", "bayes", "--dataset", "synthetic", "--n-epochs", "1"]
    command += ["--sweeps", "1", "--n-chains", "1", "--features", "ids", "--output", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Saved in" in done.stdout and "interval" not in done.stdout
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_within_90"] is None


def test_the_command_reports_intervals(tmp_path):
    command = [sys.executable, "-m", "nnmf.train", "--model", "bayes", "--dataset", "synthetic", "--n-epochs", "1"]
    command += ["--sweeps", "3", "--n-chains", "2", "--features", "ids,raters", "--metrics", "within@50"]
    done = subprocess.run([*command, "--output", tmp_path / "run"], capture_output=True, text=True, check=True)
    assert "in 90 % interval" in done.stdout and "test within@50" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert 0.85 < summary["test_within_90"] < 0.95


def test_going_on_with_a_part_of_the_ratings_is_said(caplog):
    train, _ = low_rank(noise=0.3).split(0.8)
    model = nnmf.fit("bayes", train, n_epochs=2, n_factors=3)
    with caplog.at_level("WARNING", logger="nnmf"):
        model.fit_more(train, n_epochs=1)
        assert not caplog.records
        model.fit_more(train.take(np.arange(len(train)) < 100), n_epochs=1)
    assert f"holds 100 of the {len(train)} ratings that the model was trained on" in caplog.text
