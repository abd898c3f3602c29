"""`fetch`: what a loop asks for from main memory ahead of its use."""

# Numba types what follows when it compiles it; to mypy its intrinsics have a signature they are not called with.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, import-untyped, unused-ignore"

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def fetch(typing, table, row, column):
    """Ask for the 64 bytes of a C-ordered table about a place, ``fetch(table, row, column)``; no index is checked."""

    def build(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        width = builder.extract_value(array.shape, 1)
        pointer = builder.gep(array.data, [builder.add(builder.mul(args[1], width), args[2])])
        number, place = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [place, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(call, [builder.bitcast(pointer, place), *(ir.Constant(number, n) for n in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(table, types.uint64, types.uint64), build
