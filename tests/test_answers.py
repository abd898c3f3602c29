"""True answers where little is known: rows without ratings, few ratings, unknown users and items, columns the wrong way round."""

import gc
import logging
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest

import nnmf
from nnmf.errors import DataError, TrainingError
from nnmf.kinds import FACTORIZATIONS
from nnmf.metrics import rmse
from nnmf.models import Catalogue, DampedBiases
from nnmf.networks import NETWORKS
from nnmf.testing import low_rank

NAMES = [*NETWORKS, *FACTORIZATIONS]
SETTINGS = {
    **{name: {"n_factors": 5, "n_epochs": 5, "init_std": 0.1} for name in FACTORIZATIONS if name != "bayes"},
    "bayes": {"n_factors": 5, "n_epochs": 5, "sweeps": 5, "n_chains": 2, "features": "ids"},
    **{
        name: {"n_factors": 5, "n_epochs": 5, "batch_size": 50, "ctx": "cpu", "learning_rate": 0.1} for name in NETWORKS
    },
}


def slow_mean(ratings, base, damping=5):
    return (sum(ratings) + damping * base) / (len(ratings) + damping)


@pytest.mark.parametrize("name", NAMES)
def test_ids_without_a_training_rating_are_answered_as_unknown_ones(name):
    """The map holds users and items that `take` left no rating of; 0.1 answered them from the random start."""
    whole = low_rank(noise=0.1)
    train = whole.take((whole.user >= 10) & (whole.item >= 8))
    model = nnmf.fit(name, train, **SETTINGS[name])
    user, item = whole.users.ids, whole.items.ids
    pairs = [(user[3], item[20]), (user[30], item[2]), (user[3], item[2])]
    strangers = [(9999, item[20]), (user[30], 9999), (9999, 9999)]
    found = model.predict(*zip(*pairs, strict=True))
    assert np.array_equal(found, model.predict(*zip(*strangers, strict=True)))
    assert found[2] == pytest.approx(train.rating.mean(), rel=1e-5)
    with pytest.raises(DataError, match=f"user {user[3]} is not among"):
        model.predict([user[3]], [item[20]], unknown="error")
    # Lists: such a user gets the list of nobody, such items stand where the rule puts them.
    assert np.array_equal(model.recommend(user[3], 40)[0], model.recommend(9999, 40)[0])
    listed, scores = model.recommend(user[30], 40, exclude_seen=False)
    answers = model.predict([user[30]] * 40, listed, clip=False)
    assert scores == pytest.approx(answers, abs=1e-4)
    # The test ratings of the rest are judged by the rule, not by noise.
    rest = whole.take((whole.user < 10) & (whole.item >= 8))
    rule = [model.predict([9999], [item[at]])[0] for at in rest.item]
    assert model.rmse(rest) == pytest.approx(np.sqrt(np.mean((rest.rating - rule) ** 2)), rel=1e-6)


# bayes weighs few ratings by how far items lie apart, of which three tell it next to nothing.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "bayes"])
def test_few_ratings_do_not_outrank_many(name):
    """An item with two ratings of 5 against one with forty of 4.5: undamped, the first leads a new user's list."""
    many = [(user, 1, 4.5) for user in range(40)]
    rows = [*many, (0, 2, 5.0), (1, 2, 5.0), *((user, 3, 2.0 + user % 3) for user in range(40))]
    users, items, ratings = zip(*rows, strict=True)
    model = nnmf.fit(name, nnmf.Ratings.from_arrays(users, items, ratings), **SETTINGS[name])
    assert model.recommend(9999, 3)[0][0] == 1
    base = np.mean(ratings)
    assert model.item_mean == pytest.approx(
        [slow_mean([4.5] * 40, base), slow_mean([5, 5], base), slow_mean([2.0 + u % 3 for u in range(40)], base)],
        rel=1e-5,
    )


def test_with_negatives_popularity_answers_for_the_unknown():
    train = low_rank(n_ratings=900, noise=0.2)
    settings = {"n_factors": 5, "n_epochs": 3, "batch_size": 50, "ctx": "cpu", "negatives": 4}
    model = nnmf.fit("plain", train, **settings)
    # Slowly: each item's mean over its ratings and the zeros that it may be expected to have been drawn as.
    counts = np.bincount(train.item, minlength=train.n_items).astype(float)
    expected = np.zeros(train.n_items)
    for user in range(train.n_users):
        rated = set(train.item[train.user == user].tolist())
        free = [item for item in range(train.n_items) if item not in rated]
        expected[free] += 4 * len(rated) / len(free)
    base = train.rating.sum(dtype=float) / (5 * len(train))
    total = np.bincount(train.item, weights=train.rating, minlength=train.n_items)
    assert model.item_mean == pytest.approx((total + 5 * base) / (counts + expected + 5), rel=1e-5)
    assert model.predict([9999], [8888], clip=False)[0] == pytest.approx(base, rel=1e-5)
    # What is unknown stands below what those who are known are told to watch.
    best = model.recommend(train.users.ids, 1)[1][:, 0]
    assert model.predict([9999], [8888], clip=False)[0] < np.median(best) or np.median(best) < base


def test_the_catalogue_counts_each_pair_once():
    first, second = low_rank().split(0.5, seed=1)
    both, table = Catalogue.of(first).extended(low_rank())
    whole = Catalogue.of(low_rank())
    order = both.users.index(whole.users.ids)
    assert both.user_total[order] == pytest.approx(whole.user_total, rel=1e-6)
    assert np.array_equal(both.user_count[order], whole.user_count)
    assert len(both.seen.item) == len(low_rank()) == len(table)
    assert len(second) > 0


@pytest.mark.parametrize("name", NAMES)
def test_rmse_has_one_meaning(name):
    train, test = low_rank(noise=1.0).split(0.8)
    train = replace(train, scale=(2.5, 3.5))
    model = nnmf.fit(name, train, test, **SETTINGS[name])
    clipped = model.predict(test.users.ids[test.user.clip(0)], test.items.ids[test.item.clip(0)])
    known = test.known
    assert np.all((clipped >= 2.5) & (clipped <= 3.5))
    assert model.rmse(test) == model.evaluate(test)["rmse"] == model.history[model.best_epoch - 1].valid_rmse
    assert model.rmse(test, clip=False) == model.evaluate(test, clip=False)["rmse"]
    part = test.take(known)
    slow = np.sqrt(np.mean((part.rating - clipped[known].astype(float)) ** 2))
    assert model.rmse(part) == pytest.approx(slow, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_model_lets_its_table_go(name):
    train, test = low_rank(noise=0.2).split(0.8)
    model = nnmf.fit(name, train, test, **SETTINGS[name])
    alive = weakref.ref(train.rating)
    del train
    gc.collect()
    assert alive() is None and model.rmse(test) > 0


def test_damped_biases_are_those_of_a_slow_loop():
    table = low_rank(n_ratings=300)
    found = DampedBiases.of(table)
    mean = table.rating.mean(dtype=float)
    for item in range(table.n_items):
        its = table.rating[table.item == item].astype(float) - mean
        assert found.item_bias[item] == pytest.approx(its.sum() / (len(its) + 5), abs=1e-5)
    for user in range(table.n_users):
        mine = table.user == user
        left = table.rating[mine] - mean - found.item_bias[table.item[mine]]
        assert found.user_bias[user] == pytest.approx(left.sum() / (len(left) + 5), abs=1e-5)
    answers = found.predict(np.array([3, -1, 3]), np.array([2, 2, -1]))
    expected = [found.user_bias[3] + found.item_bias[2], found.item_bias[2], found.user_bias[3]]
    assert answers == pytest.approx(mean + np.array(expected))


def test_a_model_below_the_mean_says_so(caplog):
    train, test = low_rank().split(0.8)
    with caplog.at_level(logging.WARNING):
        nnmf.fit("plain", train, test, n_factors=2, n_epochs=1, batch_size=50, preset="tutorial", ctx="cpu")
    assert "is no better than that of answering the mean rating to everything" in caplog.text
    caplog.clear()
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((60, 40)) < 0.5)
    rating = 3 + rng.normal(size=60)[user] + rng.normal(size=40)[item] + 0.1 * rng.normal(size=len(user))
    table = nnmf.Ratings.from_arrays(user, item, rating)
    for valid in (None, table):
        nnmf.fit("plain", table, valid, n_factors=1, n_epochs=40, batch_size=50, l2=0.001, learning_rate=0.5, ctx="cpu")
        assert "is no better than that of damped means of users and items, 0." in caplog.messages[-1]
        caplog.clear()
        nnmf.fit("biased", table, valid, n_epochs=40, batch_size=50, l2=0.001, ctx="cpu")
        assert "no better" not in caplog.text
    model = nnmf.fit("svd", train, test, n_epochs=20)
    assert "no better" not in caplog.text
    with caplog.at_level(logging.WARNING):
        model.predict(np.arange(5000, 5020), np.arange(7000, 7020))
    assert "are the columns the other way round?" in caplog.text


def test_a_model_that_learned_noise_alone_says_so_of_the_test_ratings(caplog):
    """Its training ratings do not tell."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((60, 40)) < 0.5)
    rating = 3 + rng.normal(size=60)[user] + rng.normal(size=40)[item] + rng.normal(size=len(user))
    train, test = nnmf.Ratings.from_arrays(user, item, rating).split(0.8)
    biases = DampedBiases.of(train)
    expected = rmse(test.rating, np.clip(biases.predict(test.user, test.item), *train.scale))
    with caplog.at_level(logging.WARNING):
        model = nnmf.fit("svd", train, test=test, l2=0.0, init_std=0.1, learning_rate=0.1)
    assert model.rmse(train) < 0.5 and expected < model.rmse(test) < test.rating.std()
    assert caplog.messages == [
        f"The test RMSE, {model.rmse(test):.4f}, is no better than that of damped means of users and items, {expected:.4f}."
    ]


def test_ratings_far_apart_change_no_meaning_of_a_look_up():
    model = nnmf.fit("svd", low_rank(), n_epochs=2)
    for odd in ("--5", "9" * 5000, "٣", " 1", "01", "+1", "1_0", "", "1.0"):
        assert model.predict([odd], [1]) == pytest.approx(model.predict([9999], [1]))
    assert model.predict(["1"], ["2"]) == pytest.approx(model.predict([1], [2]))


@pytest.mark.parametrize(
    "columns", [([0], [0, 1]), ([[0]], [0]), ([0.5], [0]), ([2**40], [0]), (["a"], [0]), ([0], [-2])]
)
@pytest.mark.parametrize("name", ["plain", "svd", "svdpp"])
def test_indices_that_are_none(name, columns):
    model = nnmf.fit(name, low_rank(), **SETTINGS[name])
    with pytest.raises(DataError):
        model.predict_index(*map(np.asarray, columns))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bayes"])  # which takes no steps
def test_the_last_steps_of_a_training_are_judged_too(name, tmp_path):
    """One step an epoch: its RMSE is that of the parameters before the step, and tells nothing of what it made of them."""
    train, _ = low_rank(noise=0.2).split(0.8)
    settings = {key: value for key, value in SETTINGS[name].items() if key != "batch_size"}
    few = train.take(np.arange(3)).compact()
    with pytest.raises(TrainingError, match="diverged in epoch 1"):
        nnmf.fit(name, few, **{**settings, "n_epochs": 1, "learning_rate": 1e30})
    model = nnmf.fit(name, train, **SETTINGS[name])
    before = model.rmse(train, clip=False)
    model.config = replace(model.config, learning_rate=1e30)
    with pytest.raises(TrainingError):
        model.fit_more(few, n_epochs=1)
    assert model.rmse(train, clip=False) == before


@pytest.mark.parametrize("name", NAMES)
def test_what_was_never_trained_is_nobody_s_neighbour(name):
    whole = low_rank(noise=0.1)
    model = nnmf.fit(name, whole.take((whole.user >= 10) & (whole.item >= 8)), **SETTINGS[name])
    items, _ = model.similar_items(whole.items.ids[20], 40)
    users, _ = model.similar_users(whole.users.ids[30], 60)
    assert not set(items.tolist()) & set(whole.items.ids[:8].tolist())
    assert not set(users.tolist()) & set(whole.users.ids[:10].tolist())


def test_a_table_under_a_scale_that_is_none_of_its_ratings_is_refused(small):
    """A table that is read under another's ids has its scale."""
    ids = small.users.ids[small.user], small.items.ids[small.item]
    beyond = nnmf.Ratings.from_arrays(*ids, small.rating + 20, like=small)
    with pytest.raises(DataError, match=r"arrays: its mean rating, .*, lies outside its scale, from .* give the scale"):
        nnmf.fit("svd", beyond, n_epochs=2)
    assert nnmf.fit("svd", nnmf.Ratings.from_arrays(*ids, small.rating + 20), n_epochs=2).global_mean > 20


def test_a_table_of_strangers_is_said_wherever_it_is_given(small, caplog):
    model = nnmf.fit("svd", small, n_epochs=2)
    strangers = nnmf.Ratings.from_arrays([5000], [7000], [3.0], name="swapped")
    line = (
        "Not one user or item of swapped (1 ratings) is known to the model, so the mean rating answers for all of them"
    )
    for go in (
        model.rmse,
        model.evaluate,
        lambda table: nnmf.fit("svd", small, table, n_epochs=1),
        lambda table: nnmf.fit("svd", small, test=table.mapped(small), n_epochs=1),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            go(strangers)
            assert [record.getMessage().startswith(line) for record in caplog.records].count(True) == 1
    caplog.clear()
    half = nnmf.Ratings.from_arrays([small.users.ids[0], 5000], [7000, 7001], [3.0, 3.0])
    assert model.rmse(half) >= 0 and not caplog.records


# Every public question to a scorer, asked with columns that are none; what it answers to good ones is tested with the models.
_BAD_COLUMNS = """
import sys
import numpy as np
import nnmf
from nnmf.errors import NnmfError
from nnmf.testing import low_rank

train = low_rank(noise=0.3).split(0.8)[0]
if sys.argv[1] == "ordinal":
    train = nnmf.Ratings.from_arrays(train.user, train.item, np.round(train.rating))
kind, settings = {
    "ordinal": ("bayes", {"likelihood": "ordinal"}),
    "dated": ("bayes", {"features": "ids,day"}),
}.get(sys.argv[1], (sys.argv[1], {}))
if settings.get("features"):
    train = nnmf.Ratings.from_arrays(train.user, train.item, train.rating, np.arange(len(train)) * 9000)
scorer = nnmf.fit(kind, train, n_epochs=2, n_factors=3, progress=False, **settings).scorer
good = np.array([0, 1])
bad = [
    np.array([10**8, 2**40]), np.array([-5, -(10**8)]), np.array([-1, 0]), np.array([0]), np.array([0.5, 1e9]), good[None],
    np.array([2**63, 1], np.uint64), np.array([10**8, 0], np.int32), np.array(["0", "1"]), [[0], [0, 1]], None, 3,
    np.array([None, 1]), np.array([True, False]), np.array(["NaT", "NaT"], "datetime64[s]"), np.array([scorer.sizes["user"], 0]),
]
names = [name for name in ("predict", "deviation", "interval", "probabilities") if hasattr(scorer, name)]
n_refused = 0
for name in names:
    more = {"level": 0.9} if name == "interval" else {}
    question = getattr(scorer, name)
    for column in bad:
        for columns in ((column, good), (good, column), (column, column)):
            # A column of one alone is as good as another.
            fine = isinstance(column, np.ndarray) and column.shape == (1,) and columns[0] is columns[1]
            try:
                question(*columns, **more)
                assert fine or (column is bad[-1] and scorer.sizes["item"] > scorer.sizes["user"]), (name, columns)
            except NnmfError as error:
                assert "\\n" not in str(error), error
                n_refused += 1
    for stamp in bad[3:6] + bad[8:10] + bad[11:13]:
        try:
            question(good, good, stamp, **more)
            raise SystemExit(f"{name}: answered for the timestamps {stamp}")
        except NnmfError:
            n_refused += 1
    if name == "interval" and scorer.deviation(good, good) is None:
        continue
    answer = question(good[:0], good[:0], **more)
    assert answer is None or all(len(part) == 0 for part in (answer if name == "interval" else (answer,)))
for level in (0, 1, np.nan, "x", None, True, 0.9999999999999999):
    try:
        scorer.interval(good, good, level=level)
        raise SystemExit(f"interval: answered for the level {level}")
    except NnmfError:
        n_refused += 1
print(n_refused)
"""


@pytest.mark.parametrize("kind", ["funk_svd", "svd", "svdpp", "plain", "one_layer_mlp", "bayes", "dated", "ordinal"])
def test_a_scorer_refuses_what_is_no_column_of_its_indices(kind):
    done = subprocess.run([sys.executable, "-c", _BAD_COLUMNS, kind], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
