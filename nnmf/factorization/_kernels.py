"""One-epoch loops of Funk SVD, biased SVD and SVD++ over float32 arrays that the caller owns.

Ratings come block by block as `nnmf._blocks` lays them out. Rows of factors are `padded(n_factors)` floats wide; the padding starts
at zero and every update keeps it at zero.

The vector operations stand in this file because Numba compiles a cached loop anew only when its own file changes.
"""

# Numba types what follows when it compiles it; to mypy its intrinsics have a signature they are not called with.
# mypy: disable-error-code="no-untyped-def, call-arg, unreachable"

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from nnmf._compiled import compiled

LANES = 16  # floats in the widest vector register (AVX-512); narrower machines split it


def padded(n_factors: int) -> int:
    """Width of a row of factors in memory: `n_factors` rounded up to whole vectors."""
    return -(-n_factors // LANES) * LANES


# ---- vector operations on rows -------------------------------------------------------------------------------------------------
# Written as vector instructions because LLVM vectorises such short loops badly (measured: 47 M ratings/s became 165 M/s), and
# because a fixed order of additions is what makes results repeat. Only multiply-add contraction is allowed: nan and inf stay visible.
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)
_FUSE = ["contract"]


def _row(context, builder, table_type, table, row):
    """Pointer to a row of a C-ordered table, and the row's width."""
    array = context.make_array(table_type)(context, builder, table)
    width = builder.extract_value(array.shape, 1)
    return builder.gep(array.data, [builder.mul(row, width)]), width


def _vectors(builder, width, *rows):
    """Loop over the vectors of equally wide rows: yields pointers to the current vector of each row."""
    with cgutils.for_range_slice(builder, ir.Constant(width.type, 0), width, ir.Constant(width.type, LANES)) as (
        start,
        _,
    ):
        yield [builder.bitcast(builder.gep(row, [start]), _VECTOR.as_pointer()) for row in rows]


def _splat(builder, scalar):
    vector = builder.insert_element(_UNDEFINED, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, _UNDEFINED, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _blend(builder, keep, old, gain, other):
    """keep * old + gain * other"""
    return builder.fadd(builder.fmul(keep, old, flags=_FUSE), builder.fmul(gain, other, flags=_FUSE), flags=_FUSE)


@intrinsic
def _dot(typing, a, row_a, b, row_b):
    """a[row_a] . b[row_b]"""

    def build(context, builder, signature, args):
        pointer_a, width = _row(context, builder, a, args[0], args[1])
        pointer_b, _ = _row(context, builder, b, args[2], args[3])
        total = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES))
        for at_a, at_b in _vectors(builder, width, pointer_a, pointer_b):
            product = builder.fmul(builder.load(at_a, align=4), builder.load(at_b, align=4), flags=_FUSE)
            builder.store(builder.fadd(builder.load(total), product, flags=_FUSE), total)
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _VECTOR])
        add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return builder.call(add, [ir.Constant(ir.FloatType(), 0.0), builder.load(total)], fastmath=["reassoc"])

    return types.float32(a, types.uint64, b, types.uint64), build


@intrinsic
def _step(typing, a, row_a, b, row_b, keep_a, gain_a, keep_b, gain_b):
    """a[row_a], b[row_b] = keep_a a[row_a] + gain_a b[row_b],  keep_b b[row_b] + gain_b a[row_a]: both from the old values."""

    def build(context, builder, signature, args):
        pointer_a, width = _row(context, builder, a, args[0], args[1])
        pointer_b, _ = _row(context, builder, b, args[2], args[3])
        keep_a, gain_a, keep_b, gain_b = (_splat(builder, scalar) for scalar in args[4:])
        for at_a, at_b in _vectors(builder, width, pointer_a, pointer_b):
            old_a, old_b = builder.load(at_a, align=4), builder.load(at_b, align=4)
            builder.store(_blend(builder, keep_a, old_a, gain_a, old_b), at_a, align=4)
            builder.store(_blend(builder, keep_b, old_b, gain_b, old_a), at_b, align=4)
        return context.get_dummy_value()

    return types.void(a, types.uint64, b, types.uint64, *[types.float32] * 4), build


@intrinsic
def _add(typing, a, row_a, b, row_b, keep, gain):
    """a[row_a] = keep a[row_a] + gain b[row_b]"""

    def build(context, builder, signature, args):
        pointer_a, width = _row(context, builder, a, args[0], args[1])
        pointer_b, _ = _row(context, builder, b, args[2], args[3])
        keep, gain = _splat(builder, args[4]), _splat(builder, args[5])
        for at_a, at_b in _vectors(builder, width, pointer_a, pointer_b):
            builder.store(
                _blend(builder, keep, builder.load(at_a, align=4), gain, builder.load(at_b, align=4)), at_a, align=4
            )
        return context.get_dummy_value()

    return types.void(a, types.uint64, b, types.uint64, types.float32, types.float32), build


@compiled
def train_funk(
    blocks, starts, errors, user, item, rating, user_factors, item_factors, learning_rate, user_l2, item_l2
) -> None:
    """Funk SVD on the given blocks, one rating r of user u and item i after another:

        e    = r - p_u . q_i
        p_u <- p_u + learning_rate (e q_i - user_l2[u] p_u)
        q_i <- q_i + learning_rate (e p_u - item_l2[i] q_i)        (the old p_u)

    blocks: int32 array of block numbers. starts, user, item, rating: as `lay_out` returns them.
    errors: float64 array of shape (n_blocks,): errors[block] becomes the block's sum of e^2.
    user_factors: float32 array of shape (n_users, width), item_factors (n_items, width), width = padded(n_factors).
    user_l2, item_l2: float32 arrays of shape (n_users,), (n_items,): penalty of each row at each of its ratings.
    """
    rate, one = np.float32(learning_rate), np.float32(1)
    for block in blocks:
        squared = 0.0
        for n in range(starts[block], starts[block + 1]):
            u, i = np.uint64(user[n]), np.uint64(item[n])
            e = rating[n] - _dot(user_factors, u, item_factors, i)
            squared += e * e
            _step(
                user_factors, u, item_factors, i, one - rate * user_l2[u], rate * e, one - rate * item_l2[i], rate * e
            )
        errors[block] = squared


@compiled
def train_svd(
    blocks,
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
    user_l2,
    item_l2,
    bias_l2,
) -> None:
    """Biased SVD on the given blocks:

        e    = r - (mu + b_u + b_i + p_u . q_i)
        b_u <- b_u + learning_rate (e - bias_l2 user_l2[u] b_u)    b_i likewise
        p_u <- p_u + learning_rate (e q_i - user_l2[u] p_u)
        q_i <- q_i + learning_rate (e p_u - item_l2[i] q_i)        (the old p_u)

    user_bias: float32 array of shape (n_users,), item_bias (n_items,). bias_l2: the biases' penalty as a share of their row's.
    The rest as in `train_funk`.
    """
    rate, mean, one, share = np.float32(learning_rate), np.float32(global_mean), np.float32(1), np.float32(bias_l2)
    for block in blocks:
        squared = 0.0
        for n in range(starts[block], starts[block + 1]):
            u, i = np.uint64(user[n]), np.uint64(item[n])
            e = rating[n] - (mean + user_bias[u] + item_bias[i] + _dot(user_factors, u, item_factors, i))
            squared += e * e
            fade_u, fade_i = rate * user_l2[u], rate * item_l2[i]
            user_bias[u] += rate * e - share * fade_u * user_bias[u]
            item_bias[i] += rate * e - share * fade_i * item_bias[i]
            _step(user_factors, u, item_factors, i, one - fade_u, rate * e, one - fade_i, rate * e)
        errors[block] = squared


@compiled
def train_svdpp(
    users,
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
    user_l2,
    item_l2,
    bias_l2,
) -> None:
    """SVD++ on all ratings of the given users, one user after another:

        x_u  = p_u + z_u,  z_u = |N(u)|^-1/2 sum of y_j over the items j in N(u) that u has rated
        e    = r - (mu + b_u + b_i + x_u . q_i)
        b_u, b_i, p_u as in `train_svd`;  q_i <- q_i + learning_rate (e x_u - item_l2[i] q_i)
        y_j <- y_j + learning_rate (e |N(u)|^-1/2 q_i - user_l2[u] y_j)        for every j in N(u)

    Updating every y_j at every rating would cost |N(u)| rows a rating. It is not needed: during u's n ratings all y_j, j in N(u),
    shrink by the same factor c = 1 - learning_rate user_l2[u] and grow by the same vector, so that with
    a = sum of c^(later ratings) learning_rate e q_i the updates above end *exactly* at

        p_u <- c^n p_u + a,    y_j <- c^n y_j + a / sqrt(n),    z_u <- c^n z_u + a,    and meanwhile x_u <- c x_u + 2 learning_rate e q_i

    users: int32 array; user u's ratings are item[starts[u]:starts[u + 1]], as `lay_out` returns them for one range per user.
    implicit_factors: float32 array of shape (n_items, width); errors of shape (n_users,); the rest as in `train_svd`.
    """
    rate, mean, share = np.float32(learning_rate), np.float32(global_mean), np.float32(bias_l2)
    half, one, two = np.float32(0.5), np.float32(1), np.float32(2)
    scratch = np.empty((2, user_factors.shape[1]), np.float32)  # rows: x_u, and what it started from
    x, old = np.uint64(0), np.uint64(1)
    for user in users:
        first, last = starts[user], starts[user + 1]
        if first == last:
            continue
        u, squared = np.uint64(user), 0.0
        root = np.float32(np.sqrt(last - first))
        scratch[0] = 0
        for n in range(first, last):
            _add(scratch, x, implicit_factors, np.uint64(item[n]), one, one)
        _add(scratch, x, user_factors, u, one / root, one)
        scratch[1] = scratch[0]
        fade_u, kept, bias = rate * user_l2[u], one, user_bias[u]
        for n in range(first, last):
            i = np.uint64(item[n])
            e = rating[n] - (mean + bias + item_bias[i] + _dot(scratch, x, item_factors, i))
            squared += e * e
            fade_i = rate * item_l2[i]
            bias += rate * e - share * fade_u * bias
            item_bias[i] += rate * e - share * fade_i * item_bias[i]
            _step(scratch, x, item_factors, i, one - fade_u, two * rate * e, one - fade_i, rate * e)
            kept *= one - fade_u
        user_bias[u] = bias
        _add(scratch, old, scratch, x, -half * kept, half)  # a = (x - c^n x_before) / 2
        _add(user_factors, u, scratch, old, kept, one)
        for n in range(first, last):
            _add(implicit_factors, np.uint64(item[n]), scratch, old, kept, one / root)
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
            _add(effective, u, implicit_factors, np.uint64(item[n]), one, one)
        _add(effective, u, user_factors, u, one / np.float32(np.sqrt(max(last - first, 1))), one)
    return effective


@compiled
def predict(user, item, user_factors, item_factors, user_bias, item_bias, global_mean, prediction) -> None:
    """prediction[n] = mu + b_u + b_i + p_u . q_i for user[n], item[n]; Funk SVD passes zero biases. All of shape (n,)."""
    mean = np.float32(global_mean)
    for n in range(user.shape[0]):
        u, i = np.uint64(user[n]), np.uint64(item[n])
        prediction[n] = mean + user_bias[u] + item_bias[i] + _dot(user_factors, u, item_factors, i)
