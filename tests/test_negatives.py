import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnmf
from nnmf import DataIter, Ratings
from nnmf.commands._train import main
from nnmf.errors import ConfigError, DataError
from nnmf.neural._negatives import Negatives
from nnmf.storage import RunFolder
from nnmf.testing import Killed, assert_same_model, kill_after, low_rank
from nnmf.training import TrainingProgress


@st.composite
def tables(draw):
    """Tables in which no user rated every item; some users rated all but one."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 9))
    pairs = []
    for user in range(n_users):
        left_out = draw(st.sets(st.integers(0, n_items - 1), min_size=1, max_size=n_items))
        pairs += [(user, item) for item in range(n_items) if item not in left_out]
    pairs = draw(st.permutations(pairs)) or [(0, 0)]
    user, item = np.array(pairs, np.int64).T
    whole = Ratings.from_arrays(np.arange(n_items) + 100, np.arange(n_items), np.ones(n_items))
    table = Ratings.from_arrays(user, item, np.arange(len(pairs)) + 1.0)
    # Under an item map of all the items, rated here or not.
    return table.under(table.users, whole.items, table.scale)


@settings(max_examples=100, deadline=None)
@given(table=tables(), n=st.integers(1, 4), n_workers=st.integers(1, 3), seed=st.integers(0, 9))
def test_drawn_items_are_never_rated_ones_and_do_not_depend_on_the_workers(table, n, n_workers, seed):
    negatives = Negatives(table, n)
    drawn = negatives.draw(table.user, np.random.default_rng(seed))
    assert drawn.shape == (len(table), n) and drawn.dtype == np.int32
    assert ((drawn >= 0) & (drawn < table.n_items)).all()
    rated = set(zip(table.user.tolist(), table.item.tolist(), strict=True))
    assert not rated & {
        (user, item) for user, row in zip(table.user.tolist(), drawn.tolist(), strict=True) for item in row
    }
    for rank in range(n_workers):
        own = negatives.draw(table.user, np.random.default_rng(seed), rank, n_workers)
        assert np.array_equal(own, drawn[rank::n_workers])


@settings(max_examples=100, deadline=None)
@given(table=tables())
def test_each_number_stands_for_another_unrated_item(table):
    """By enumeration: the map from numbers to unrated items is one-to-one and onto, so equal odds stay equal."""

    class EveryNumber:
        def integers(self, low, high, shape):
            assert low == 0 and high.shape == (shape[0], 1)
            return np.minimum(np.arange(shape[1]), high - 1)

    draws = Negatives(table, table.n_items).draw(np.arange(table.n_users), EveryNumber())
    for user in range(table.n_users):
        unrated = sorted(set(range(table.n_items)) - set(table.item[table.user == user].tolist()))
        assert draws[user, : len(unrated)].tolist() == unrated


def test_all_unrated_items_are_as_likely():
    """Chi-square of 60,000 draws for two users; the bounds leave one run in a million out at either end."""
    table = Ratings.from_arrays([0] * 5 + [1] * 15, [0, 3, 4, 9, 19, *range(4, 19)], np.ones(20))
    assert table.n_items == 18  # nobody rated 1 and 2
    table = table.under(table.users, Ratings.from_arrays(np.arange(20), np.arange(20), np.ones(20)).items, (0, 1))
    drawn = Negatives(table, 30_000).draw(np.array([0, 1]), np.random.default_rng(0))
    for user, low, high in ((0, 1.0, 54.6), (1, 0.0028, 33.4)):
        count = np.bincount(drawn[user], minlength=20)
        unrated = np.setdiff1d(np.arange(20), table.item[table.user == user])
        assert count[unrated].sum() == 30_000
        expected = 30_000 / len(unrated)
        assert low < ((count[unrated] - expected) ** 2 / expected).sum() < high


def test_blocks_do_not_change_what_is_drawn_for_whom(monkeypatch):
    monkeypatch.setattr("nnmf.neural._negatives._BLOCK", 8)
    rng = np.random.default_rng(0)
    cell = rng.permutation(30 * 20)[:400]
    table = Ratings.from_arrays(cell // 20, cell % 20, np.ones(400))
    drawn = Negatives(table, 3).draw(table.user, np.random.default_rng(5))
    rated = np.zeros((30, 20), bool)
    rated[table.user, table.item] = True
    assert not rated[table.user[:, None], drawn].any()
    shards = [Negatives(table, 3).draw(table.user, np.random.default_rng(5), rank, 7) for rank in range(7)]
    assert sum(map(len, shards)) == 400
    # Numbers come from one stream, block after block, whatever the blocks are.
    monkeypatch.undo()
    assert np.array_equal(drawn, Negatives(table, 3).draw(table.user, np.random.default_rng(5)))
    for rank, shard in enumerate(shards):
        assert np.array_equal(shard, drawn[rank::7])


def test_a_user_who_rated_everything_is_named():
    table = Ratings.from_arrays(["ann", "ann", "bob"], ["x", "y", "x"], [1, 2, 3])
    with pytest.raises(DataError, match="user 'ann' rated all of the 2 items, so no unobserved one can be drawn"):
        Negatives(table, 1)
    with pytest.raises(DataError, match="user 'ann'"):
        DataIter(table, 2, negatives=1)


def test_with_negatives_a_network_ranks_by_what_users_choose():
    """20 of 60 items are chosen often and liked a little, the others seldom and much: test ratings are mostly of the former."""
    rng = np.random.default_rng(0)
    often = np.arange(60) < 20
    user, item = np.nonzero(rng.random((100, 60)) < np.where(often, 0.5, 0.1))
    train, test = Ratings.from_arrays(user, item, np.where(often[item], 3, 5), scale=(1.0, 5.0)).split_by_user(0.7)
    settings = {"n_factors": 2, "n_epochs": 30, "batch_size": 50, "preset": "tutorial", "ctx": "cpu"}
    ndcg, rmse = {}, {}
    for negatives in (0, 3):
        found = nnmf.fit("plain", train, negatives=negatives, **settings).evaluate(test, ["ndcg@5", "rmse"])
        ndcg[negatives], rmse[negatives] = found["ndcg@5"], found["rmse"]
    assert ndcg[0] < 0.1 < 0.2 < ndcg[3]
    assert rmse[0] < 0.5 < 2 < rmse[3]  # what it costs: predictions reach down to 0


def test_training_streams_the_negatives_and_counts_them():
    done = []
    progress = TrainingProgress(bar=False)
    progress.begin = lambda n_epochs, n_ratings, before: done.append(n_ratings)
    progress.tick = progress.end = lambda *_: None
    settings = {"n_factors": 3, "n_epochs": 1, "batch_size": 50, "learning_rate": 1e-6, "negatives": 3, "ctx": "cpu"}
    model = nnmf.fit("plain", low_rank(), **settings, progress=progress)
    assert done == [6000]
    # A network that has learned nothing yet predicts the mean of the ratings and three zeros for each.
    streamed = np.concatenate([low_rank().rating, np.zeros(4500)])
    assert model.history[0].train_rmse == pytest.approx(streamed.std(), rel=1e-3)
    with pytest.raises(ConfigError, match="negatives: svd has no such setting"):
        nnmf.fit("svd", low_rank(), negatives=1)


def test_a_resumed_run_draws_what_it_would_have_drawn(tmp_path):
    tables = low_rank(noise=0.2).split(0.8)
    settings = {"n_factors": 3, "n_epochs": 4, "batch_size": 64, "negatives": 2, "ctx": "cpu"}
    whole = nnmf.fit("plain", *tables, **settings)
    run = RunFolder.begin(tmp_path / "run", {})
    with pytest.raises(Killed):
        nnmf.fit("plain", *tables, **settings, callbacks=[run, kill_after(2)])
    assert_same_model(nnmf.load_checkpoint(tmp_path / "run").resume(*tables), whole)


def test_nothing_unchecked_reaches_the_loop():
    table = low_rank()
    negatives = Negatives(table, 2)
    rng = np.random.default_rng(0)
    for user in ([60], [-1], [2**40], [[0]], [0.5], ["a"]):
        with pytest.raises(DataError, match="user: "):
            negatives.draw(np.array(user), rng)
    for n in (0, -1, True, 1.5, "2"):
        with pytest.raises(ConfigError, match="n: got"):
            Negatives(table, n)
    with pytest.raises(ConfigError, match="rank: got 2"):
        negatives.draw(table.user, rng, 2, 2)
    with pytest.raises(ConfigError, match=r"rng: got 0; give a numpy.random.Generator"):
        negatives.draw(table.user, 0)
    with pytest.raises(DataError, match="ratings: got a list"):
        Negatives([1], 1)
    with pytest.raises(DataError, match="unknown users or items"):
        Negatives(Ratings.from_arrays([1], [999], [3], like=table), 1)
    assert np.array_equal(
        negatives.draw(table.user.astype(np.int64), np.random.default_rng(1)),
        negatives.draw(table.user, np.random.default_rng(1)),
    )


def test_the_command_reports_lists_by_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = low_rank(noise=0.3)
    rows = zip(table.users.ids[table.user], table.items.ids[table.item], table.rating, strict=True)
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in rows))
    flags = ["--dataset", "ratings.csv", "--no-cache", "--network", "plain", "--n-epochs", "1", "--ctx", "cpu"]
    with pytest.raises(SystemExit) as end:
        main([*flags, "--negatives", "2", "--output", "run"])
    out, err = capsys.readouterr()
    assert end.value.code == 0, err
    head, _, figures, note, _ = out.splitlines()[1:]
    for name in ("test ndcg@10", "test recall@10", "test coverage@10", "judged users", "judged ratings"):
        assert name in head
    assert note.startswith("Trained with negatives, which are ratings of 0: the lists count")
    found = json.loads((tmp_path / "run" / "summary.json").read_text())["test_metrics"]
    assert f"{found['ndcg@10']:.4f}" in figures and f"  {found['judged_users']}  " in figures
    with pytest.raises(SystemExit):
        main([*flags, "--output", "other"])
    out, _ = capsys.readouterr()
    assert "ndcg" not in out and "negatives" not in out
