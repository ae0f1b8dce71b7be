"""Gaussians and exponentials, a tile at a time, in the vectors of the processor.

Numba's own vectors may be half as long as those that there are (LLVM prefers them on some
processors), so vectors are asked for here. What is compiled is kept by Numba for as long as this
file stays as it is: it does not see that a constant has changed that comes from another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from contexture.estimators.intrinsics import CACHE_LINE
from contexture.estimators.kernel_exponentials import LOG2_E, SINGLE_POWERS, SMALLEST_EXPONENT

LANES = CACHE_LINE // 4
"""Numbers of a vector in float32; a vector in float64 has half as many."""

ROWS = 8 if binding.get_host_cpu_features().get("avx512f") else 4
"""Rows at a time: their sums take half of the registers, or less."""

_WHOLE, _NUMBER = ir.IntType(64), ir.IntType(32)
_FUSED = ("contract",)


@dataclass(frozen=True)
class _Powers:
    """How 2^x is computed in a type: the whole part of x is the exponent, a polynomial the rest.

    Attributes
    ----------
    number : ir.Type
    bits : ir.Type
        The integer of that size.
    coefficients : ndarray
        Of a polynomial that is 2^f for |f| <= 1/2, to the type's rounding.
    fraction : int
        Bits below those of the exponent.
    bias : int
        What is added to the exponent.
    lowest : float
        Smaller x give ``least``.
    highest : float or None
        Larger x are taken for it; None where there are none.
    least : float or None
        None: 2 to ``lowest``.
    """

    number: Any
    bits: Any
    coefficients: Any
    fraction: int
    bias: int
    lowest: float
    highest: float | None
    least: float | None


_TAYLOR = np.array([np.log(2.0) ** k / math.factorial(k) for k in range(13)])
"""2^f for |f| <= 1/2, to 2e-16; one with fewer terms, interpolated, would be less exact."""

_LOWEST = float(np.float32(SMALLEST_EXPONENT * LOG2_E))

_SINGLE = _Powers(ir.FloatType(), _NUMBER, SINGLE_POWERS, 23, 127, _LOWEST, None, None)
_DOUBLE = _Powers(ir.DoubleType(), _WHOLE, _TAYLOR, 52, 1023, -1020.0, 1020.0, 0.0)


@numba.njit(cache=True, nogil=True)
def gaussians(X: Any, A: Any, result: Any) -> None:
    """Write 2^(−‖x − a‖²) to ``result``, those below e^-85 as e^-85.

    Sums of squared differences, where products of coordinates would cancel: near points, whose
    entries are large, are as exact as their coordinates. For a few dozen coordinates this also
    takes less time than a product in float64.

    Parameters
    ----------
    X : ndarray of shape (r, d)
        Float32; at least `ROWS` rows.
    A : ndarray of shape (d, c)
        Float32, C-ordered; at least `LANES` columns.
    result : ndarray of shape (r, c)
        Float32, C-ordered.
    """
    height, width = result.shape
    if height < ROWS or width < LANES:
        raise ValueError("too few rows or columns")  # what is done at a time would not fit
    for i in range(0, height, ROWS):
        first = min(i, height - ROWS)  # the last ones, if they are fewer, with some done before
        for j in range(0, width, LANES):
            _raise_squares(result, first, min(j, width - LANES), X, A)


@numba.njit(cache=True, nogil=True)
def powers_of_two(X: Any, A: Any, result: Any) -> None:
    """Write 2^(x · a) to ``result``, in float64; 0 for exponents below -1020, 2^1020 above 1020.

    Parameters
    ----------
    X : ndarray of shape (r, d)
        Float64; at least `ROWS` rows.
    A : ndarray of shape (d, c)
        Float64, C-ordered; at least `LANES` columns.
    result : ndarray of shape (r, c)
        Float64, C-ordered.
    """
    height, width = result.shape
    if height < ROWS or width < LANES:
        raise ValueError("too few rows or columns")
    for j in range(0, width, LANES // 2):
        column = min(j, width - LANES // 2)
        for i in range(0, height, ROWS):
            _raise_products(result, min(i, height - ROWS), column, X, A)


def _emitter(kind: _Powers, add: Callable[..., Any]) -> Callable[..., Any]:
    """Give an intrinsic f(result, i, j, X, A): 2 to sums over coordinates of some rows and columns.

    All arrays are of one type; entries of a row of A and of the result lie side by side. Nothing
    is checked.

    Parameters
    ----------
    kind : _Powers
    add : callable
        (builder, sum, x, a) ↦ the sum with what a coordinate adds to it.
    """
    size = kind.bits.width // 8
    lanes = CACHE_LINE // size
    vector = ir.VectorType(kind.number, lanes)
    everywhere = ir.Constant(ir.VectorType(_NUMBER, lanes), [0] * lanes)
    nothing = ir.Constant(vector, ir.Undefined)

    def place(builder: Any, array: Any, row: Any, column: Any, of: Any) -> Any:
        strides = cgutils.unpack_tuple(builder, array.strides, 2)
        start = builder.ptrtoint(array.data, _WHOLE)
        beside = builder.add(builder.mul(row, strides[0]), builder.mul(column, strides[1]))
        return builder.inttoptr(builder.add(start, beside), of.as_pointer())

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        result, X, A = (make_array(kinds[k])(context, builder, arguments[k]) for k in (0, 3, 4))
        i, j = (context.cast(builder, arguments[k], kinds[k], types.int64) for k in (1, 2))
        rows = [builder.add(i, _WHOLE(q)) for q in range(ROWS)]
        # Kept in registers by LLVM for as long as the loop lasts.
        sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in rows]
        with cgutils.for_range(builder, cgutils.unpack_tuple(builder, X.shape, 2)[1]) as loop:
            a = builder.load(place(builder, A, loop.index, j, vector))
            a.align = size
            for row, total in zip(rows, sums, strict=True):
                x = builder.load(place(builder, X, row, loop.index, kind.number))
                x = builder.insert_element(nothing, x, _NUMBER(0))
                x = builder.shuffle_vector(x, nothing, everywhere)
                builder.store(add(builder, builder.load(total), x, a), total)
        for row, total in zip(rows, sums, strict=True):
            raised = _emit_powers(builder, builder.load(total), kind)
            builder.store(raised, place(builder, result, row, j, vector)).align = size
        return context.get_dummy_value()

    def typed(context: Any, result: Any, i: Any, j: Any, X: Any, A: Any) -> Any:
        del context
        return types.void(result, i, j, X, A), emit

    return typed


def _emit_powers(builder: Any, x: Any, kind: _Powers) -> Any:
    """Emit 2^x of a vector."""
    vector, lanes = x.type, x.type.count
    integers = ir.VectorType(kind.bits, lanes)

    def all_of(number: float) -> Any:
        return ir.Constant(vector, [float(number)] * lanes)

    low = builder.fcmp_ordered("<", x, all_of(kind.lowest))  # false of what is no number
    x = builder.select(low, all_of(kind.lowest), x)
    if kind.highest is not None:
        high = builder.fcmp_ordered(">", x, all_of(kind.highest))
        x = builder.select(high, all_of(kind.highest), x)
    form = ir.FunctionType(vector, [vector])
    name = f"llvm.rint.v{lanes}f{kind.bits.width}"
    nearest = builder.call(cgutils.get_or_insert_function(builder.module, form, name), [x])
    rest = builder.fsub(x, nearest)
    power = all_of(kind.coefficients[-1])
    for coefficient in kind.coefficients[-2::-1]:
        product = builder.fmul(power, rest, flags=_FUSED)
        power = builder.fadd(product, all_of(coefficient), flags=_FUSED)
    # Added to 3/2 of the number whose last bit is 1, a whole number stands in the last bits.
    beside = all_of(1.5 * 2**kind.fraction + kind.bias)
    bits = builder.bitcast(builder.fadd(nearest, beside), integers)
    shift = ir.Constant(integers, [kind.fraction] * lanes)
    result = builder.fmul(power, builder.bitcast(builder.shl(bits, shift), vector))
    return result if kind.least is None else builder.select(low, all_of(kind.least), result)


def _subtract_square(builder: Any, total: Any, x: Any, a: Any) -> Any:
    difference = builder.fsub(x, a)
    square = builder.fmul(difference, difference, flags=_FUSED)
    return builder.fsub(total, square, flags=_FUSED)


def _add_product(builder: Any, total: Any, x: Any, a: Any) -> Any:
    return builder.fadd(total, builder.fmul(x, a, flags=_FUSED), flags=_FUSED)


# As Numba sees them, they have no context; type checkers would ask for it.
_raise_squares: Any = intrinsic(_emitter(_SINGLE, _subtract_square))
_raise_products: Any = intrinsic(_emitter(_DOUBLE, _add_product))
