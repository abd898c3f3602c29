"""One-epoch loops of Funk SVD, biased SVD and SVD++ over float32 arrays that the caller owns.

Ratings come block by block as `_layout` lays them out. Rows of factors are `_vectors.padded(n_factors)` floats wide; the padding starts at
zero and every update keeps it at zero. No index is checked here: `_layout` does it once for all epochs.

``unit`` is what ratings are measured in: with it the updates are those of ratings, biases and products divided by it, so that one
learning rate and one penalty suit every scale. Parameters and errors are in ratings throughout.
"""

# Numba types what follows when it compiles it; to mypy our intrinsics have a signature they are not called with.
# mypy: disable-error-code="no-untyped-def, call-arg, unreachable, var-annotated"

from __future__ import annotations

import numpy as np

from nnmf._compiled import compiled, fetch

from ._vectors import add, dot, step, take

# Ratings between asking for the rows of factors that one needs and using them: those of large tables come from main memory.
AHEAD = 8


@compiled
def train_funk(
    blocks,
    taken,
    starts,
    errors,
    user,
    item,
    rating,
    user_factors,
    item_factors,
    sign,
    learning_rate,
    unit,
    user_l2,
    item_l2,
) -> None:
    """Funk SVD on blocks, one rating r of user u and item i after another:

        e    = r - p_u . q_i
        p_u <- p_u + learning_rate (e q_i / unit - user_l2[u] (p_u - sign q_i))
        q_i <- q_i + learning_rate (e p_u / unit - item_l2[i] (q_i - sign p_u))        (the old p_u)

    Parameters
    ----------
    blocks : int32 array of block numbers that share no user and no item.
    taken : int64 array of shape (1,): how many of them are taken; threads given the same two arrays share the blocks.
    starts, user, item, rating : as `lay_out` returns them.
    errors : float64 array of shape (n_blocks,): errors[block] becomes the block's sum of e^2.
    user_factors, item_factors : float32 arrays of shape (n_users, width), (n_items, width), width = padded(n_factors).
    sign : 1 or -1: that of the products about which ratings lie.
    user_l2, item_l2 : float32 arrays of shape (n_users,), (n_items,): penalty of each row at each of its ratings.
    """
    rate, pull, one = np.float32(learning_rate), np.float32(learning_rate / unit), np.float32(1)
    way = np.float32(sign)
    at = take(taken)
    while at < len(blocks):
        block, squared = blocks[at], 0.0
        for n in range(starts[block], starts[block + 1]):
            u, i = np.uint64(user[n]), np.uint64(item[n])
            ahead = min(n + AHEAD, len(user) - 1)
            fetch(user_factors, np.uint64(user[ahead]), np.uint64(0))
            fetch(item_factors, np.uint64(item[ahead]), np.uint64(0))
            e = rating[n] - dot(user_factors, u, item_factors, i)
            squared += np.float64(e) * np.float64(e)
            fade_u, fade_i = rate * user_l2[u], rate * item_l2[i]
            gain_u, gain_i = pull * e + way * fade_u, pull * e + way * fade_i
            step(user_factors, u, item_factors, i, one - fade_u, gain_u, one - fade_i, gain_i)
        errors[block] = squared
        at = take(taken)


@compiled
def train_svd(
    blocks,
    taken,
    starts,
    errors,
    user,
    item,
    rating,
    user_factors,
    item_factors,
    user_bias,
    item_bias,
    global_mean,
    learning_rate,
    unit,
    user_l2,
    item_l2,
    bias_l2,
) -> None:
    """Biased SVD on blocks:

        e    = r - (mu + b_u + b_i + p_u . q_i)
        b_u <- b_u + learning_rate (e - bias_l2 user_l2[u] b_u)    b_i likewise
        p_u <- p_u + learning_rate (e q_i / unit - user_l2[u] (p_u - q_i))
        q_i <- q_i + learning_rate (e p_u / unit - item_l2[i] (q_i - p_u))        (the old p_u)

    Parameters
    ----------
    user_bias, item_bias : float32 arrays of shape (n_users,), (n_items,).
    bias_l2 : the biases' penalty as a share of their row's.
    others : as in `train_funk`.
    """
    rate, pull = np.float32(learning_rate), np.float32(learning_rate / unit)
    mean, one, share = np.float32(global_mean), np.float32(1), np.float32(bias_l2)
    at = take(taken)
    while at < len(blocks):
        block, squared = blocks[at], 0.0
        for n in range(starts[block], starts[block + 1]):
            u, i = np.uint64(user[n]), np.uint64(item[n])
            ahead = min(n + AHEAD, len(user) - 1)
            fetch(user_factors, np.uint64(user[ahead]), np.uint64(0))
            fetch(item_factors, np.uint64(item[ahead]), np.uint64(0))
            e = rating[n] - (mean + user_bias[u] + item_bias[i] + dot(user_factors, u, item_factors, i))
            squared += np.float64(e) * np.float64(e)
            fade_u, fade_i = rate * user_l2[u], rate * item_l2[i]
            user_bias[u] += rate * e - share * fade_u * user_bias[u]
            item_bias[i] += rate * e - share * fade_i * item_bias[i]
            step(user_factors, u, item_factors, i, one - fade_u, pull * e + fade_u, one - fade_i, pull * e + fade_i)
        errors[block] = squared
        at = take(taken)


@compiled
def train_svdpp(
    users,
    taken,
    starts,
    errors,
    item,
    rating,
    user_factors,
    item_factors,
    implicit_factors,
    user_bias,
    item_bias,
    global_mean,
    learning_rate,
    unit,
    user_l2,
    item_l2,
    bias_l2,
) -> None:
    """SVD++ on all ratings of users, one user after another:

        x_u  = p_u + z_u,  z_u = |N(u)|^-1/2 sum of y_j over the items j in N(u) that u has rated
        e    = r - (mu + b_u + b_i + x_u . q_i)
        b_u, b_i, p_u as in `train_svd`;  q_i <- q_i + learning_rate (e x_u / unit - item_l2[i] (q_i - x_u))
        y_j <- y_j + learning_rate (e |N(u)|^-1/2 q_i / unit - user_l2[u] (y_j - |N(u)|^-1/2 q_i))        for every j in N(u)

    Updating every y_j at every rating would cost |N(u)| rows a rating. It is not needed: during u's n ratings all y_j, j in N(u),
    shrink by the same factor c = 1 - learning_rate user_l2[u] and grow by the same vector, so that with
    a = sum of c^(later ratings) g q_i, g = learning_rate (e / unit + user_l2[u]), the updates above end *exactly* at

        p_u <- c^n p_u + a,    y_j <- c^n y_j + a / sqrt(n),    z_u <- c^n z_u + a,
        and meanwhile x_u <- c x_u + 2 g q_i

    Parameters
    ----------
    users : int32 array; user u's ratings are item[starts[u]:starts[u + 1]], as `lay_out` returns them for one range a user.
        Users share their items' rows, so one thread takes all of them.
    errors : float64 array of shape (n_users,).
    implicit_factors : float32 array of shape (n_items, width).
    others : as in `train_svd`.
    """
    rate, pull = np.float32(learning_rate), np.float32(learning_rate / unit)
    mean, share = np.float32(global_mean), np.float32(bias_l2)
    half, one, two = np.float32(0.5), np.float32(1), np.float32(2)
    scratch = np.empty((2, user_factors.shape[1]), np.float32)  # rows: x_u, and what it started from
    x, old = np.uint64(0), np.uint64(1)
    at = take(taken)
    while at < len(users):
        user = users[at]
        at = take(taken)
        first, last = starts[user], starts[user + 1]
        if first == last:
            continue
        u, squared = np.uint64(user), 0.0
        root = np.float32(np.sqrt(last - first))
        scratch[0] = 0
        for n in range(first, last):
            add(scratch, x, implicit_factors, np.uint64(item[n]), one, one)
        add(scratch, x, user_factors, u, one / root, one)
        scratch[1] = scratch[0]
        fade_u, kept, bias = rate * user_l2[u], one, user_bias[u]
        for n in range(first, last):
            i = np.uint64(item[n])
            e = rating[n] - (mean + bias + item_bias[i] + dot(scratch, x, item_factors, i))
            squared += np.float64(e) * np.float64(e)
            fade_i = rate * item_l2[i]
            bias += rate * e - share * fade_u * bias
            item_bias[i] += rate * e - share * fade_i * item_bias[i]
            step(scratch, x, item_factors, i, one - fade_u, two * (pull * e + fade_u), one - fade_i, pull * e + fade_i)
            kept *= one - fade_u
        user_bias[u] = bias
        add(scratch, old, scratch, x, -half * kept, half)  # a = (x - c^n x_before) / 2
        add(user_factors, u, scratch, old, kept, one)
        for n in range(first, last):
            add(implicit_factors, np.uint64(item[n]), scratch, old, kept, one / root)
        errors[user] = squared


# ---- prediction ----------------------------------------------------------------------------------------------------------------
@compiled
def implicit_user_factors(starts, item, user_factors, implicit_factors) -> np.ndarray:
    """x_u = p_u + |N(u)|^-1/2 sum of y_j: float32 array of shape (n_users, width), with which SVD++ predicts as SVD does."""
    effective = np.zeros_like(user_factors)
    one = np.float32(1)
    for user in range(user_factors.shape[0]):
        u, first, last = np.uint64(user), starts[user], starts[user + 1]
        for n in range(first, last):
            add(effective, u, implicit_factors, np.uint64(item[n]), one, one)
        add(effective, u, user_factors, u, one / np.float32(np.sqrt(max(last - first, 1))), one)
    return effective


@compiled
def predict(user, item, user_factors, item_factors, user_bias, item_bias, global_mean, prediction) -> None:
    """prediction[n] = mu + b_u + b_i + p_u . q_i for user[n], item[n]; Funk SVD passes zero biases. All of shape (n,)."""
    mean = np.float32(global_mean)
    for n in range(user.shape[0]):
        u, i = np.uint64(user[n]), np.uint64(item[n])
        prediction[n] = mean + user_bias[u] + item_bias[i] + dot(user_factors, u, item_factors, i)
