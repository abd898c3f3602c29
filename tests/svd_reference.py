"""Slow plain NumPy references of the updates in `_kernels.py`, one rating at a time, in double precision, sharing no code with them."""

import numpy as np


def in_block_order(blocks, starts, user, item, rating):
    for block in blocks:
        for n in range(starts[block], starts[block + 1]):
            yield user[n], item[n], float(rating[n])


def train_funk(ratings, user_factors, item_factors, sign, learning_rate, unit, user_l2, item_l2):
    squared_error = 0.0
    for u, i, r in ratings:
        p, q = user_factors[u].copy(), item_factors[i].copy()
        e = r - p @ q
        user_factors[u] = p + learning_rate * (e * q / unit - user_l2[u] * (p - sign * q))
        item_factors[i] = q + learning_rate * (e * p / unit - item_l2[i] * (q - sign * p))
        squared_error += e * e
    return squared_error


def train_svd(
    ratings,
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
):
    squared_error = 0.0
    for u, i, r in ratings:
        p, q = user_factors[u].copy(), item_factors[i].copy()
        e = r - (global_mean + user_bias[u] + item_bias[i] + p @ q)
        user_bias[u] += learning_rate * (e - bias_l2 * user_l2[u] * user_bias[u])
        item_bias[i] += learning_rate * (e - bias_l2 * item_l2[i] * item_bias[i])
        user_factors[u] = p + learning_rate * (e * q / unit - user_l2[u] * (p - q))
        item_factors[i] = q + learning_rate * (e * p / unit - item_l2[i] * (q - p))
        squared_error += e * e
    return squared_error


def train_svdpp(
    users,
    starts,
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
):
    """Koren (2008) as written: every y_j of the user is read and updated at every rating."""
    squared_error = 0.0
    for u in users:
        rated = item[starts[u] : starts[u + 1]]
        for n in range(starts[u], starts[u + 1]):
            i, r = item[n], float(rating[n])
            p, q = user_factors[u].copy(), item_factors[i].copy()
            z = implicit_factors[rated].sum(axis=0) / np.sqrt(len(rated))
            e = r - (global_mean + user_bias[u] + item_bias[i] + (p + z) @ q)
            user_bias[u] += learning_rate * (e - bias_l2 * user_l2[u] * user_bias[u])
            item_bias[i] += learning_rate * (e - bias_l2 * item_l2[i] * item_bias[i])
            user_factors[u] = p + learning_rate * (e * q / unit - user_l2[u] * (p - q))
            item_factors[i] = q + learning_rate * (e * (p + z) / unit - item_l2[i] * (q - p - z))
            for j in rated:
                implicit_factors[j] += learning_rate * (
                    e / np.sqrt(len(rated)) * q / unit - user_l2[u] * (implicit_factors[j] - q / np.sqrt(len(rated)))
                )
            squared_error += e * e
    return squared_error
