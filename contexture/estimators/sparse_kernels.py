"""Compiled products of a sparse matrix with a block of vectors.

SciPy walks a row of the result once for every stored entry; here a row of sums stays in registers
until it is whole (`contexture.estimators.row_sums`).
"""

from __future__ import annotations

import itertools
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse

from contexture.estimators.crew import ALONE, Crew
from contexture.estimators.row_sums import sum_rows
from contexture.inputs import FloatArray, Floats

_TRANSPOSED_ROWS = 32


def multiply(A: sparse.csr_array, V: Floats, crew: Crew = ALONE) -> Floats:
    """Multiply: A V. Every row is added up by one thread, so their number changes nothing.

    Parameters
    ----------
    A : csr_array of shape (n, m)
        Of the type of V.
    V : ndarray of shape (m, w)
    crew : Crew

    Returns
    -------
    ndarray of shape (n, w)
    """
    V = np.ascontiguousarray(V)
    result = crew.take((A.shape[0], V.shape[1]), V.dtype)

    indices, entries = np.ascontiguousarray(A.indices), np.ascontiguousarray(A.data)

    def rows(piece: tuple[int, int]) -> None:
        sum_rows(A.indptr, indices, entries, V, result, piece)

    # Ranges of rows that hold about equally many entries.
    goals = np.linspace(0, A.nnz, crew.pieces(A.nnz * V.shape[1]) + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(A.indptr, goals), A.shape[0]])
    crew.do(rows, itertools.pairwise(cuts.tolist()))
    return result


@numba.njit(cache=True, nogil=True)
def column_sums(X: Any, v: Any) -> FloatArray:
    """Compute Xᵀ v in float64: BLAS is slow where columns are few."""
    total = np.zeros(X.shape[1])
    for i in range(X.shape[0]):
        for c in range(X.shape[1]):
            total[c] += np.float64(X[i, c]) * v[i]
    return total


@numba.njit(cache=True, nogil=True)
def column_dots(X: Any, Y: Any) -> FloatArray:
    """Compute the inner products of columns of X and Y in float64."""
    total = np.zeros(X.shape[1])
    for i in range(X.shape[0]):
        for c in range(X.shape[1]):
            total[c] += np.float64(X[i, c]) * Y[i, c]
    return total


@numba.njit(cache=True, nogil=True)
def subtract_scaled(X: Any, Y: Any, scale: Any) -> None:
    """X ← X − Y diag(scale) without a temporary."""
    for i in range(X.shape[0]):
        for c in range(X.shape[1]):
            X[i, c] -= Y[i, c] * scale[c]


@numba.njit(cache=True, nogil=True)
def combine(Z: Any, Y: Any, X: Any, a: Any, b: Any, c: Any) -> None:
    """Z ← a Z − b Y − c X without a temporary."""
    for i in range(Z.shape[0]):
        for j in range(Z.shape[1]):
            Z[i, j] = a * Z[i, j] - b * Y[i, j] - c * X[i, j]


@numba.njit(cache=True, nogil=True)
def subtract_outer(X: Any, v: Any, row: Any) -> None:
    """X ← X − v rowᵀ without a temporary."""
    for i in range(X.shape[0]):
        for c in range(X.shape[1]):
            X[i, c] -= v[i] * row[c]


@numba.njit(cache=True, nogil=True)
def transpose(X: Any, result: Any) -> None:
    """Write Xᵀ for a long X of few columns, by rows that stay in the nearest cache."""
    for first in range(0, X.shape[0], _TRANSPOSED_ROWS):
        last = min(first + _TRANSPOSED_ROWS, X.shape[0])
        for c in range(X.shape[1]):
            for i in range(first, last):
                result[c, i] = X[i, c]


def conditional_means(
    A: sparse.csr_array, F: Floats, dtype: npt.DTypeLike
) -> tuple[Floats, Floats]:
    """Multiply: A F and A F², the square taken entry by entry, in one walk over A.

    Parameters
    ----------
    A : csr_array of shape (n, m)
        Rows of P: the results are E[f(A) | x] and E[f(A)² | x].
    F : ndarray of shape (m, k)
        Functions on A, C-ordered.
    dtype : float32 or float64
        Of the results.

    Returns
    -------
    ndarray of shape (n, k), ndarray of shape (n, k)
    """
    shape = (A.shape[0], F.shape[1])
    means, squares = np.empty(shape, dtype), np.empty(shape, dtype)
    entries = A.data.astype(dtype, copy=False)
    _means(A.indptr, A.indices, entries, F, means, squares)
    return means, squares


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _means(
    pointers: Any,
    indices: Any,
    entries: Any,
    F: Any,
    means: Any,
    squares: Any,
) -> None:
    # Six rows of F at a time, all of their columns: the rows are long, and read in one go.
    width = F.shape[1]
    for i in range(len(means)):
        q, end = pointers[i], pointers[i + 1]
        for c in range(width):
            means[i, c] = 0.0
            squares[i, c] = 0.0
        while q + 6 <= end:
            j0, j1 = np.uint64(indices[q]), np.uint64(indices[q + 1])
            j2, j3 = np.uint64(indices[q + 2]), np.uint64(indices[q + 3])
            j4, j5 = np.uint64(indices[q + 4]), np.uint64(indices[q + 5])
            x0, x1, x2 = entries[q], entries[q + 1], entries[q + 2]
            x3, x4, x5 = entries[q + 3], entries[q + 4], entries[q + 5]
            for c in range(width):
                f0, f1, f2, f3, f4, f5 = F[j0, c], F[j1, c], F[j2, c], F[j3, c], F[j4, c], F[j5, c]
                t0, t1, t2, t3, t4, t5 = x0 * f0, x1 * f1, x2 * f2, x3 * f3, x4 * f4, x5 * f5
                means[i, c] += (t0 + t1) + (t2 + t3) + (t4 + t5)
                squares[i, c] += (t0 * f0 + t1 * f1) + (t2 * f2 + t3 * f3) + (t4 * f4 + t5 * f5)
            q += 6
        while q < end:
            j0, x0 = indices[q], entries[q]
            for c in range(width):
                t0 = x0 * F[j0, c]
                means[i, c] += t0
                squares[i, c] += t0 * F[j0, c]
            q += 1
