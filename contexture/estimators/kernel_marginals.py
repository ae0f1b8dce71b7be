"""Row sums and marginals of an RBF context, by one streamed pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numba
import numpy as np

from contexture.estimators.kernel_exponentials import LOG2_E
from contexture.estimators.kernel_gaussians import LANES, ROWS, powers_of_two
from contexture.estimators.kernel_strips import Progress, in_threads
from contexture.inputs import FloatArray

_FEW_COORDINATES = 96
"""Up to which what is compiled here takes less time than a product by BLAS."""

_PANEL = 1024
"""Columns whose sums stay in the nearest cache."""

_LEAST_MASS = 2.0**-400
"""Rows whose sum is less, or more than 1 over this, come too near to the ends of float64."""


@dataclass(frozen=True)
class KernelMarginals:
    """What one pass over the tiles tells of an RBF context.

    Attributes
    ----------
    log_sums : ndarray of shape (n,)
        L(x) = log Σ_a exp(−γ‖x − a‖²).
    context_weights : ndarray of shape (m,)
        p_A.
    diagonal : ndarray of shape (m,)
        Of MᵀM: Σ_i p_X(i) P_ij² / p_A(j); 0 where p_A is.
    """

    log_sums: FloatArray
    context_weights: FloatArray
    diagonal: FloatArray

    @property
    def total_association(self) -> float:
        """Σ_ij p_X(i) P_ij² / p_A(j) − 1, not negative."""
        return max(0.0, float(self.diagonal.sum()) - 1.0)

    @classmethod
    def of(cls, log_sums: FloatArray, sums: FloatArray) -> Self:
        """Conclude from the sums of all rows; see `marginal_sums`."""
        weights, squares = sums
        diagonal = np.zeros(len(weights))
        np.divide(squares, weights, out=diagonal, where=weights > 0)
        return cls(log_sums, weights, diagonal)


def marginal_sums(
    X: FloatArray,
    R: FloatArray,
    input_weights: FloatArray,
    height: int,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Log row sums of exp(−½‖x − a‖²), and what rows add to p_A and to Σ_i p_X(i) P_ij².

    In float64.

    Parameters
    ----------
    X : ndarray of shape (n, D + 2)
        Coordinates of the inputs: x, −½‖x‖², 1.
    R : ndarray of shape (m, D + 2)
        Coordinates of the references: a, 1, −½‖a‖².
    input_weights : ndarray of shape (n,)
        P_X.
    height : int
        Rows of a strip.
    threads : int
        Strips at a time.
    progress : callable, optional
        Called with the rows done and the rows in all.

    Returns
    -------
    ndarray of shape (n,), ndarray of shape (2, m)
    """
    n, m = len(X), len(R)
    log_sums = np.empty(n)
    sums = [np.zeros((2, m)) for _ in range(threads)]
    held = [np.empty((height, m)) for _ in range(threads)]
    across = np.ascontiguousarray(R.T)
    powers = across * LOG2_E
    few = R.shape[1] <= _FEW_COORDINATES and m >= LANES

    def add(rows: slice, own: int) -> None:
        strip = held[own][: rows.stop - rows.start]
        mass = np.zeros(len(strip))
        if few and len(strip) >= ROWS:
            powers_of_two(X[rows], powers, strip)
            _add_rows(strip, input_weights[rows], _LEAST_MASS, mass, *sums[own])
        with np.errstate(divide="ignore"):
            log_sums[rows] = np.log(mass)
        far = (mass < _LEAST_MASS) | (mass > 1 / _LEAST_MASS)
        if far.any():
            chosen = np.arange(rows.start, rows.stop)[far]
            some = strip[: len(chosen)]
            np.matmul(X[chosen], across, out=some)
            # The nearest reference is moved to distance 0, so that no row underflows.
            top = some.max(axis=1)
            some -= top[:, None]
            np.exp(some, out=some)
            _add_rows(some, input_weights[chosen], 0.0, mass, *sums[own])
            log_sums[chosen] = top + np.log(mass[: len(chosen)])

    for _ in in_threads(add, n, height, threads, progress):
        pass
    return log_sums, np.sum(sums, axis=0)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _add_rows(strip: Any, weights: Any, least: Any, mass: Any, sums: Any, squares: Any) -> None:
    """Write the sum of every row to ``mass``, and add rows to ``sums``, if it is in the range.

    That is from ``least`` to one over it. Entries are finite: 0 times infinity would be none.
    """
    height, width = strip.shape
    shares, seconds = np.zeros(height), np.zeros(height)
    for i in range(height):
        total, row = 0.0, strip[i]
        for j in range(width):
            total += row[j]
        mass[i] = total
        if total >= least and total * least <= 1.0:
            shares[i] = weights[i] / total
            seconds[i] = shares[i] / total
    for start in range(0, width, _PANEL):
        first, second = sums[start : start + _PANEL], squares[start : start + _PANEL]
        for i in range(height):
            row, share, square = strip[i, start : start + _PANEL], shares[i], seconds[i]
            for j in range(len(row)):
                entry = row[j]
                first[j] += share * entry
                second[j] += square * entry * entry
