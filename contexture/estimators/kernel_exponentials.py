"""Exponentials, a tile at a time: of products of coordinates, and of squared distances.

What is compiled here is kept by Numba for as long as this file stays as it is, whatever becomes of
`intrinsics`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from contexture.estimators.intrinsics import float32_of_bits
from contexture.inputs import FloatArray, Floats

SMALLEST_EXPONENT = -85.0
"""Smaller entries are raised to e^-85: below stand numbers too small for fast products."""

LOG2_E = math.log2(math.e)

LANES = 16
"""Columns, and at most half as many rows, that `gaussians` works on at a time."""

_ROWS = 8 if binding.get_host_cpu_features().get("avx512f") else 4
"""Rows at a time: their sums take half of the registers, or less."""

_LOWEST = SMALLEST_EXPONENT * LOG2_E
_LOWEST_SINGLE = np.float32(_LOWEST)
_POWERS = np.polynomial.Chebyshev.interpolate(np.exp2, 6, [-0.5, 0.5])
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = (
    np.float32(c) for c in _POWERS.convert(kind=np.polynomial.Polynomial).coef
)
"""2^f for |f| <= 1/2, to 1e-8."""

_WHOLE, _NUMBER = ir.IntType(64), ir.IntType(32)
_FUSED = ("contract",)


def raise_products(
    points: FloatArray,
    values: FloatArray,
    out: Floats,
    room: FloatArray,
    largest: float = 127.0,
) -> None:
    """Write exp(points · values) to ``out``, entries below e^-85 as e^-85.

    The exponents are float64: rounding of an exponent is a relative error of its entry, and they
    are differences of large numbers.

    Parameters
    ----------
    points : ndarray of shape (r, d)
        Coordinates of the rows.
    values : ndarray of shape (d, c)
        Those of the columns; times log₂ e if ``out`` is float32.
    out : ndarray of shape (r, c)
        Float32 or float64.
    room : ndarray
        At least r × c numbers, overwritten.
    largest : float
        If ``out`` is float32, larger entries are taken for 2 to this.
    """
    exponents = room[: out.size].reshape(out.shape)
    np.matmul(points, values, out=exponents)
    if out.dtype == np.float32:
        _raise_two(exponents, out, largest)
        return
    if exponents.min() < SMALLEST_EXPONENT:
        np.maximum(exponents, SMALLEST_EXPONENT, out=exponents)
    np.exp(exponents, out=out)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _raise_two(exponents: Any, result: Any, largest: Any) -> None:
    """Write 2^x of float64 exponents as float32.

    The whole part of x is the exponent of the result, a polynomial gives the rest: right to
    1e-7, where rounding x first costs 6e-8 |x| and NumPy's exponential twice the time.
    """
    width = exponents.shape[1]
    whole, rest = np.empty(width, np.float32), np.empty(width, np.float32)
    for i in range(len(exponents)):
        # Two loops, so that the second has numbers of 4 bytes only: more fit a vector.
        for j in range(width):
            x = exponents[i, j]
            x = _LOWEST if x < _LOWEST else x  # what is no number stays what it is
            x = largest if x > largest else x
            nearest = np.rint(x)
            whole[j] = np.float32(nearest)
            rest[j] = np.float32(x - nearest)
        row = result[i]
        for j in range(width):
            row[j] = _power_of_two(whole[j], rest[j])


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def gaussians(X: Any, A: Any, result: Any) -> None:
    """Write 2^(−‖x − a‖²) to ``result``, those below e^-85 as e^-85.

    Sums of squared differences, where products of coordinates would cancel: near points, whose
    entries are large, are as exact as their coordinates. For a few dozen coordinates this also
    takes less time than a product in float64.

    Parameters
    ----------
    X : ndarray of shape (r, d)
        Float32; at least 8 rows.
    A : ndarray of shape (d, c)
        Float32, C-ordered; at least `LANES` columns.
    result : ndarray of shape (r, c)
        Float32, C-ordered.
    """
    height, width = result.shape
    if height < _ROWS or width < LANES:
        raise ValueError("too few rows or columns")  # what is done at a time would not fit
    for i in range(0, height, _ROWS):
        first = min(i, height - _ROWS)  # the last ones, if they are fewer, with some done before
        for j in range(0, width, LANES):
            _add_squares(result, first, min(j, width - LANES), X, A)
        for q in range(first, first + _ROWS):
            row = result[q]
            for j in range(width):
                x = -row[j]
                x = _LOWEST_SINGLE if x < _LOWEST_SINGLE else x
                nearest = np.rint(x)
                row[j] = _power_of_two(nearest, x - nearest)


@numba.njit(inline="always")
def _power_of_two(whole: Any, f: Any) -> Any:
    """2^(whole + f), |f| <= 1/2; both float32."""
    power = (((((_C6 * f + _C5) * f + _C4) * f + _C3) * f + _C2) * f + _C1) * f + _C0
    # A float32 is 2^(e - 127), e in the bits above the 23 of its fraction.
    bits = np.int32((whole + np.float32(127)) * np.float32(8388608))
    return power * float32_of_bits(bits)


def _emit_squares(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit what `_add_squares` does."""
    kinds = signature.args
    result, X, A = (make_array(kinds[k])(context, builder, arguments[k]) for k in (0, 3, 4))
    i, j = (context.cast(builder, arguments[k], kinds[k], types.int64) for k in (1, 2))
    number, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
    everywhere = ir.Constant(ir.VectorType(_NUMBER, LANES), [0] * LANES)
    nothing = ir.Constant(vector, ir.Undefined)
    size = 4

    def place(array: Any, row: Any, column: Any, kind: Any) -> Any:
        strides = cgutils.unpack_tuple(builder, array.strides, 2)
        start = builder.ptrtoint(array.data, _WHOLE)
        beside = builder.add(builder.mul(row, strides[0]), builder.mul(column, strides[1]))
        return builder.inttoptr(builder.add(start, beside), kind.as_pointer())

    rows = [builder.add(i, _WHOLE(q)) for q in range(_ROWS)]
    # Kept in registers by LLVM for as long as the loop lasts.
    sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in rows]
    with cgutils.for_range(builder, cgutils.unpack_tuple(builder, X.shape, 2)[1]) as loop:
        a = builder.load(place(A, loop.index, j, vector))
        a.align = size
        for row, total in zip(rows, sums, strict=True):
            x = builder.load(place(X, row, loop.index, number))
            x = builder.insert_element(nothing, x, _NUMBER(0))
            difference = builder.fsub(builder.shuffle_vector(x, nothing, everywhere), a)
            square = builder.fmul(difference, difference, flags=_FUSED)
            builder.store(builder.fadd(builder.load(total), square, flags=_FUSED), total)
    for row, total in zip(rows, sums, strict=True):
        builder.store(builder.load(total), place(result, row, j, vector)).align = size
    return context.get_dummy_value()


def _squares(context: Any, result: Any, i: Any, j: Any, X: Any, A: Any) -> Any:
    """``_add_squares(result, i, j, X, A)``: write ‖x − a‖² of some rows from i, columns from j.

    All float32; entries of a row of A and of the result side by side. Nothing is checked.
    """
    del context
    return types.void(result, i, j, X, A), _emit_squares


# As Numba sees it, it has no context; type checkers would ask for it.
_add_squares: Any = intrinsic(_squares)
