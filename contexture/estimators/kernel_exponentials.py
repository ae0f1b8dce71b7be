"""Exponentials of products of coordinates, a tile at a time.

What is compiled here is kept by Numba for as long as this file stays as it is, whatever becomes of
`intrinsics`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from contexture.estimators.intrinsics import float32_of_bits
from contexture.inputs import FloatArray, Floats

SMALLEST_EXPONENT = -85.0
"""Smaller entries are raised to e^-85: below stand numbers too small for fast products."""

LOG2_E = math.log2(math.e)

_LOWEST = SMALLEST_EXPONENT * LOG2_E
_INTERPOLATED = np.polynomial.Chebyshev.interpolate(np.exp2, 6, [-0.5, 0.5])
SINGLE_POWERS = _INTERPOLATED.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)
"""Coefficients of a polynomial in f that is 2^f for |f| <= 1/2, to 1e-8 before they are rounded."""

_C0, _C1, _C2, _C3, _C4, _C5, _C6 = SINGLE_POWERS


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


@numba.njit(inline="always")
def _power_of_two(whole: Any, f: Any) -> Any:
    """2^(whole + f), |f| <= 1/2; both float32."""
    power = (((((_C6 * f + _C5) * f + _C4) * f + _C3) * f + _C2) * f + _C1) * f + _C0
    # A float32 is 2^(e - 127), e in the bits above the 23 of its fraction.
    bits = np.int32((whole + np.float32(127)) * np.float32(8388608))
    return power * float32_of_bits(bits)
