"""Two instructions of the processor that Numba has no name for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

CACHE_LINE = 64
"""Bytes that are read at a time."""

_READ, _KEEP, _DATA = 0, 3, 1


def _prefetch(context: Any, array: Any, row: Any, columns: Any) -> Any:
    """``prefetch(array, row, columns)`` asks for the start of a row of a C-ordered array.

    How many ``columns`` is a constant. Nothing is returned. A gather that misses the cache waits
    for memory; where the row was asked for early, it does not. It is a hint:
    nothing that is computed changes, and a place that does not exist is no error.
    """
    del context
    if not isinstance(columns, types.IntegerLiteral):
        return None
    lines = -(-columns.literal_value * (array.dtype.bitwidth // 8) // CACHE_LINE)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole, number, byte = ir.IntType(64), ir.IntType(32), ir.IntType(8)
        kind, index, _ = signature.args
        values = make_array(kind)(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, values.strides, kind.ndim)[0]
        row = context.cast(builder, arguments[1], index, types.int64)
        start = builder.add(builder.ptrtoint(values.data, whole), builder.mul(row, stride))
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (byte.as_pointer(),),
            ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number]),
        )
        for line in range(lines):
            place = builder.add(start, ir.Constant(whole, line * CACHE_LINE))
            pointer = builder.inttoptr(place, byte.as_pointer())
            builder.call(hint, [pointer, *(number(code) for code in (_READ, _KEEP, _DATA))])
        return context.get_dummy_value()

    return types.void(array, row, columns), emit


def _float32_of_bits(context: Any, bits: Any) -> Any:
    """``float32_of_bits(bits)``: read the bits of an int32 as those of a float32."""
    del context

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), emit


# As Numba sees them they have no context; type checkers would ask for it.
prefetch: Any = intrinsic(_prefetch)
float32_of_bits: Any = intrinsic(_float32_of_bits)
