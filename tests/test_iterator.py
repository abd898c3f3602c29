import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmf import DataIter, Ratings, _mxnet
from nnmf.errors import ConfigError, DataError
from nnmf.networks import plain_net

mx = _mxnet.load()


def table(n):
    """Ratings whose number is the rating itself."""
    return Ratings.from_arrays(np.arange(n) // 3, np.arange(n) % 3 + 10 * (np.arange(n) // 3), np.arange(n))


def epoch(iterator):
    """[(user, item, rating), ...] of each batch, with its pad."""
    return [
        (np.stack([x.asnumpy() for x in (*batch.data, *batch.label)], 1).astype(int).tolist(), batch.pad)
        for batch in iterator
    ]


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 40),
    n_workers=st.integers(1, 4),
    last_batch=st.sampled_from(["pad", "discard"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 3),
)
def test_an_epoch_streams_each_rating_once(n, batch_size, n_workers, last_batch, shuffle, seed):
    ratings = table(n)
    try:
        shards = [
            DataIter(
                ratings, batch_size, shuffle=shuffle, seed=seed, last_batch=last_batch, rank=rank, n_workers=n_workers
            )
            for rank in range(n_workers)
        ]
    except ConfigError:
        share = n // n_workers if last_batch == "discard" else -(-n // n_workers)
        assert batch_size > share or n < n_workers
        return
    seen = []
    for shard in shards:
        batches = epoch(shard)
        assert len(batches) == shard.n_batches == shards[0].n_batches
        assert all(len(rows) == batch_size for rows, _ in batches)
        own = [row for rows, pad in batches for row in rows[: batch_size - pad]]
        assert len(own) == shard.n_streamed
        seen += own
    assert all([user, item] == [ratings.user[number], ratings.item[number]] for user, item, number in seen)
    numbers = [number for _, _, number in seen]
    assert len(set(numbers)) == len(numbers)
    if last_batch == "pad":
        assert sorted(numbers) == list(range(n))
    else:
        assert all(pad == 0 for shard in shards for _, pad in epoch(shard))
        assert len(numbers) == n_workers * (n // n_workers // batch_size * batch_size)

    if n_workers * batch_size <= n:
        # The rows of the workers' batches, in turns, are those of the batches of one.
        orders = np.stack([shard.order() for shard in shards], axis=1)
        alone = DataIter(ratings, n_workers * batch_size, shuffle=shuffle, seed=seed, last_batch=last_batch)
        assert np.array_equal(orders.ravel(), alone.order())


def test_orders_depend_on_seed_and_epoch_alone():
    first, again, other = DataIter(table(30), 5, seed=1), DataIter(table(30), 5, seed=1), DataIter(table(30), 5, seed=2)
    a0 = epoch(first)
    first.reset()
    first.reset()  # no batch was taken in between: still the second epoch
    a1 = epoch(first)
    assert a0 == epoch(again) != epoch(other)
    assert a0 != a1
    again.reset()
    again.epoch = 1
    assert a1 == epoch(again)


def test_without_shuffling_the_table_s_order_stands():
    assert [row[2] for rows, _ in epoch(DataIter(table(6), 4, shuffle=False)) for row in rows] == [
        0,
        1,
        2,
        3,
        4,
        5,
        0,
        1,
    ]


@pytest.mark.parametrize("batch_size", [0, -1, 7])
def test_batch_sizes_that_cannot_be_used(batch_size):
    with pytest.raises(ConfigError, match=f"batch_size: got {batch_size}; give one from 1 to the table's 6 ratings"):
        DataIter(table(6), batch_size)


def test_other_arguments_that_cannot_be_used():
    with pytest.raises(ConfigError, match="last_batch: got 'drop' instead of one of"):
        DataIter(table(6), 2, last_batch="drop")
    with pytest.raises(ConfigError, match="rank: got 2"):
        DataIter(table(6), 2, rank=2, n_workers=2)
    unknown = Ratings.from_arrays([1], [99], [3], like=table(6))
    with pytest.raises(DataError, match="1 ratings are of unknown users or items"):
        DataIter(unknown, 1)


def test_ids_above_2_to_the_24_arrive_whole():
    big = 2**24 + 1
    ratings = Ratings.from_arrays(np.arange(3), np.arange(3), np.ones(3))
    ratings = ratings.take(np.array([0, 1, 2]))
    object.__setattr__(ratings, "item", np.array([big, big + 2, 5], np.int32))
    batch = DataIter(ratings, 3, shuffle=False).next()
    assert batch.data[1].asnumpy().tolist() == [big, big + 2, 5]


@pytest.mark.filterwarnings("ignore:.*FeedForward:DeprecationWarning")
def test_streams_into_feedforward_and_module(small):
    """Both end at the same parameters from the same start, short last batch and all."""
    symbol = plain_net(small.n_users, small.n_items, 4)
    mx.random.seed(1)
    names = ("user_factors_weight", "item_factors_weight")
    start = dict(zip(names, (mx.nd.random.uniform(shape=(n, 4)) for n in (small.n_users, small.n_items)), strict=True))
    settings = {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01}
    forward = mx.model.FeedForward(symbol, num_epoch=2, arg_params={k: v.copy() for k, v in start.items()}, **settings)
    forward.fit(DataIter(small, 64), eval_metric="mse")
    module = mx.mod.Module(symbol, data_names=("user", "item"), label_names=("rating",))
    module.fit(
        DataIter(small, 64),
        num_epoch=2,
        eval_metric="mse",
        arg_params=start,
        optimizer_params=settings,
    )
    for name in names:
        assert np.allclose(forward.arg_params[name].asnumpy(), module.get_params()[0][name].asnumpy(), atol=1e-6)
    assert not np.allclose(forward.arg_params[names[0]].asnumpy(), start[names[0]].asnumpy(), atol=1e-2)


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(2, 30),
    batch_size=st.integers(1, 40),
    negatives=st.integers(1, 3),
    n_workers=st.integers(1, 4),
    last_batch=st.sampled_from(["pad", "discard"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 3),
)
def test_an_epoch_streams_each_rating_once_among_its_negatives(
    n, batch_size, negatives, n_workers, last_batch, shuffle, seed
):
    # Ratings from 1, as a rating of 0 here is a negative; item 999 is a user's own, so that nobody rated all.
    ratings = Ratings.from_arrays(
        [*np.arange(n - 1) // 3, 999], [*np.arange(n - 1) % 3 + np.arange(n - 1) // 3, 999], np.arange(n) + 1
    )
    try:
        shards = [
            DataIter(
                ratings,
                batch_size,
                shuffle=shuffle,
                seed=seed,
                last_batch=last_batch,
                negatives=negatives,
                rank=rank,
                n_workers=n_workers,
            )
            for rank in range(n_workers)
        ]
    except ConfigError:
        share = n // n_workers if last_batch == "discard" else -(-n // n_workers)
        assert batch_size > share * (1 + negatives) or n < n_workers
        return
    rated = set(zip(ratings.user.tolist(), ratings.item.tolist(), strict=True))
    seen = []
    for shard in shards:
        batches = epoch(shard)
        assert len(batches) == shard.n_batches == shards[0].n_batches
        own = [row for rows, pad in batches for row in rows[: batch_size - pad]]
        assert len(own) == shard.n_streamed
        assert all(row in own for rows, pad in batches for row in rows[batch_size - pad :])
        if last_batch == "pad":
            positives = [user for user, _, rating in own if rating]
            assert sorted(user for user, _, rating in own if not rating) == sorted(positives * negatives)
        else:
            assert all(pad == 0 for _, pad in batches)
        seen += own
    assert all((user, item) not in rated for user, item, rating in seen if not rating)
    assert all([user, item] == [ratings.user[r - 1], ratings.item[r - 1]] for user, item, r in seen if r)
    numbers = [rating for _, _, rating in seen if rating]
    assert len(set(numbers)) == len(numbers)
    if last_batch == "pad":
        assert len(seen) == n * (1 + negatives) and sorted(numbers) == list(range(1, n + 1))
        # However many workers there are, they stream the same rows.
        alone = DataIter(ratings, 1, shuffle=shuffle, seed=seed, negatives=negatives)
        assert sorted(seen) == sorted(row for rows, _ in epoch(alone) for row in rows)


def test_negatives_are_fresh_each_epoch_and_depend_on_seed_and_epoch_alone():
    ratings = Ratings.from_arrays(np.arange(60) // 6, np.arange(60) % 6 + 3 * (np.arange(60) // 6), np.ones(60))
    first, again = (DataIter(ratings, 50, seed=1, negatives=2) for _ in range(2))
    epochs = []
    for _ in range(3):
        epochs.append(epoch(first))
        first.reset()
    again.epoch = 2
    assert epoch(again) == epochs[2]
    assert epochs[0] != epoch(DataIter(ratings, 50, seed=2, negatives=2))
    drawn = [{(user, item) for rows, _ in one for user, item, rating in rows if not rating} for one in epochs]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    # The ratings come in the order they have without negatives, but for the negatives in between.
    assert len(epochs[0]) == 4 and epochs[0][-1][1] == 20


def test_without_shuffling_negatives_follow_their_rating():
    batches = epoch(DataIter(table(6), 9, shuffle=False, negatives=2))
    rows = [row for part, _ in batches for row in part]
    assert [rating for _, _, rating in rows] == [0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 5, 0, 0]
    assert [user for user, _, _ in rows] == [0] * 9 + [1] * 9


@pytest.mark.parametrize("negatives", [-1, 2**31])
def test_numbers_of_negatives_that_cannot_be_used(negatives):
    with pytest.raises(ConfigError, match=f"negatives: got {negatives}; give a number from 0 to 357913940"):
        DataIter(table(6), 2, negatives=negatives)
    with pytest.raises(ConfigError, match=r"batch_size: got 19; give one from 1 to the table's 6 ratings \* 3 with"):
        DataIter(table(6), 19, negatives=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": True}, "batch_size: got True; give a whole number."),
        ({"batch_size": 2.5}, "batch_size: got 2.5; give a whole number."),
        ({"batch_size": "64"}, "batch_size: got '64'; give a whole number."),
        ({"seed": None}, "seed: got None; give a whole number."),
        ({"seed": -1}, "seed: got -1; give a whole number of at least 0."),
        ({"negatives": 1.5}, "negatives: got 1.5; give a whole number."),
        ({"rank": "a"}, "rank: got 'a'; give a whole number."),
        ({"n_workers": 0}, "n_workers: got 0; give a whole number of at least 1."),
        ({"shuffle": "no"}, "shuffle: got 'no'; give True or False."),
        ({"label_name": 3}, "label_name: got 3; give the name of the network's variable for the rating."),
        ({"ctx": "gpu"}, "ctx: got 'gpu'; give a context of MXNet, such as mx.cpu() or mx.gpu(0)."),
    ],
)
def test_options_of_another_type_get_one_sentence(options, message):
    with pytest.raises(ConfigError) as error:
        DataIter(table(6), **{"batch_size": 2, **options})
    assert str(error.value) == message


@pytest.mark.parametrize("ratings", [[(1, 2, 3.0)], None, np.ones((3, 3))])
def test_what_is_no_table_of_ratings(ratings):
    with pytest.raises(DataError, match=r"ratings: got a \w+; give Ratings, as Ratings.from_file"):
        DataIter(ratings, 1)


def test_numbers_of_numpy_are_numbers():
    assert DataIter(table(6), np.int64(2), seed=np.int32(3), shuffle=np.False_).n_batches == 3
