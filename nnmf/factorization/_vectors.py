"""Rows of factors in memory, and operations on them that the loops of `_kernels` are made of.

Written as vector instructions because LLVM vectorises such short loops badly (measured: 47 M ratings/s became 165 M/s), and because
a fixed order of additions is what makes results repeat. Only multiply-add contraction is allowed: nan and inf stay visible.

Numba compiles a cached loop anew when the file of the loop changes, not when this one does: after a change here save `_kernels.py` too.
"""

# Numba types what follows when it compiles it; to mypy its intrinsics have a signature they are not called with.
# mypy: disable-error-code="no-untyped-def, call-arg, unreachable"

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from nnmf.errors import ConfigError

LANES = 16  # floats in the widest vector register (AVX-512); narrower machines split it


def padded(n_factors: int) -> int:
    """Width of a row of factors in memory: `n_factors` rounded up to whole vectors."""
    return -(-n_factors // LANES) * LANES


@contextlib.contextmanager
def room_for(n_rows: int, n_factors: int) -> Iterator[None]:
    """Say in a sentence that there is not the memory for a table of factors."""
    try:
        yield
    except (MemoryError, ValueError):  # the latter where NumPy cannot count so many
        raise ConfigError(
            f"n_factors: {n_rows:,} rows of {n_factors:,} factors take {4e-9 * n_rows * padded(n_factors):,.1f} GB, more "
            "memory than can be had; take fewer factors."
        ) from None


def zero_rows(n_rows: int, n_factors: int) -> np.ndarray:
    """A table of factors: zeros, float32 (n_rows, padded(n_factors)).

    Each row starts where a line of the cache does: an epoch over rows that do not takes up to twice as long.

    Raises
    ------
    ConfigError
        There is not the memory for it.
    """
    width = padded(n_factors)
    with room_for(n_rows, n_factors):
        numbers = np.zeros(n_rows * width + LANES, np.float32)
    first = -numbers.ctypes.data % (4 * LANES) // 4
    return numbers[first : first + n_rows * width].reshape(n_rows, width)


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
def dot(typing, a, row_a, b, row_b):
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
def step(typing, a, row_a, b, row_b, keep_a, gain_a, keep_b, gain_b):
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
def add(typing, a, row_a, b, row_b, keep, gain):
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


@intrinsic
def take(typing, taken):
    """What stands in taken[0], which is one more from now on: in one step, so that no two threads are given the same."""

    def build(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(taken), build
