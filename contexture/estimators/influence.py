"""Sampling error of a spectrum over inputs, by the infinitesimal jackknife.

With the context values held fixed, the s_i² solve B v = s² C v for the moments
B = E_x[P(·|x) P(·|x)ᵀ] and C = diag(p_A). To first order a change δp of P_X moves them by
Σ_x δp(x) ψ_i(x) with the influence ψ_i(x) = s_i² μ_i(x)² − s_i² E[ν_i(A)² | x]; it has mean
zero, and the covariance of the estimates is Σ_x p(x)² ψ_i(x) ψ_j(x).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import get_blas_funcs

from contexture.contexts.base import Rows
from contexture.errors import InputError
from contexture.estimators.crew import Crew
from contexture.estimators.sparse_kernels import conditional_means
from contexture.inputs import FloatArray, Floats
from contexture.operator import ExpectationOperator

Places: TypeAlias = slice | npt.NDArray[np.intp]

TEMPORARY_BYTES = 64 * 2**20
"""What `covariance_of` may hold beside its arguments, one block of rows and its result."""

_MOST_ROWS = 2048


def covariance_of(
    operator: ExpectationOperator,
    eigenvalues: FloatArray,
    right: npt.NDArray[np.floating[Any]],
    dtype: npt.DTypeLike = np.float32,
    left: Floats | None = None,
    order: npt.NDArray[np.intp] | None = None,
) -> FloatArray:
    """Covariance of the s_i² over inputs, in one pass over the rows of P.

    Nothing of size n × k is held: rows are taken piece by piece, within `TEMPORARY_BYTES`
    whatever the size of the blocks.

    Parameters
    ----------
    operator : ExpectationOperator
        Its blocks may be lazy; each is read once.
    eigenvalues : ndarray of shape (k,)
        s_i².
    right : ndarray of shape (m, r)
        ν_1 .. ν_r, r <= k; a function below the noise floor is a whole column of NaN.
    dtype : float32 or float64
        Of the products of a piece; pieces are added up in float64. In float32 the standard
        errors are right to 1e-3 for s_i² from 1e-6 to 1 − 1e-4. Outside, ψ is a small
        difference: its rounding is then about 1e-7 s_i, below any error that matters.
    left : ndarray of shape (n, q), q <= r, optional
        Filled with μ_1 .. μ_q in the same pass, E[ν_i(A) | x] / s_i: NaN where s_i is 0.
    order : ndarray of shape (n,), optional
        All inputs in an order in which neighbours are near, for a P in memory: rows of ``right``
        that were just read are then read again. As they come by default.

    Returns
    -------
    ndarray of shape (k, k)
        Zero, not NaN, in the rows and columns of functions that are not given: nothing is known
        of their sampling error.
    """
    known = count_known(eigenvalues, right, operator.shape[1])
    result = np.zeros((len(eigenvalues), len(eigenvalues)))
    missing = np.isnan(right[0])
    n = operator.shape[0]
    wanted = 0 if left is None else left.shape[1]
    scale = np.sqrt(np.where(eigenvalues[:wanted] > 0, eigenvalues[:wanted], np.nan))
    square_of = get_blas_funcs("syrk", dtype=np.dtype(dtype))
    right = np.ascontiguousarray(right)

    def square(part: tuple[Places, Rows]) -> npt.NDArray[np.floating[Any]]:
        rows, piece = part
        influence, squares = _means_of(piece, right, missing, np.dtype(dtype))
        if left is not None:
            left[rows] = influence[:, :wanted] / scale
        np.square(influence, out=influence)
        squares *= eigenvalues[:known].astype(dtype)
        influence -= squares
        # Times n, so that single precision holds the squares at any n.
        influence *= (n * operator.input_weights[rows]).astype(dtype)[:, None]
        return np.asarray(square_of(1.0, influence.T))  # the upper triangle

    if known:
        with Crew() as crew:
            pieces = _pieces(operator, known, np.dtype(dtype), crew.threads, order)
            for part in crew.each(square, pieces):
                result[:known, :known] += part
    result += np.triu(result, 1).T
    result /= float(n) ** 2
    return result


def count_known(eigenvalues: FloatArray, right: npt.NDArray[np.floating[Any]], m: int) -> int:
    """Check the right functions of m context values; return how many there are."""
    if right.ndim != 2 or right.shape[1] > len(eigenvalues) or len(right) != m:
        raise InputError(
            f"the right functions have shape {right.shape}; {m} rows and at most "
            f"{len(eigenvalues)} columns, one for each eigenvalue, are needed."
        )
    return int(right.shape[1])


def _pieces(
    operator: ExpectationOperator,
    k: int,
    dtype: np.dtype,
    threads: int,
    order: npt.NDArray[np.intp] | None,
) -> Iterator[tuple[Places, Rows]]:
    """Cut blocks so that the temporaries of all pieces at work stay within the limit."""
    room = TEMPORARY_BYTES // 4 // (4 * dtype.itemsize * k * threads)
    step, start = max(1, min(_MOST_ROWS, room)), 0
    if order is not None:
        P = operator.conditional()
        for i in range(0, len(order), step):
            yield order[i : i + step], P[order[i : i + step]]
        return
    for block in operator.blocks:
        for i in range(0, block.shape[0], step):
            piece = block[i : i + step]
            yield slice(start, start + piece.shape[0]), piece
            start += piece.shape[0]


def _means_of(
    piece: Rows,
    right: npt.NDArray[np.floating[Any]],
    missing: npt.NDArray[np.bool_],
    dtype: np.dtype,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """E[ν_i(A) | x] and E[ν_i(A)² | x] of the rows of a piece, each of shape (rows, r)."""
    m, k = right.shape
    if isinstance(piece, sparse.csr_array):
        first, second = conditional_means(piece, right, dtype)
        first[:, missing] = 0
        second[:, missing] = 0
        return first, second
    first = np.zeros((piece.shape[0], k), dtype=dtype)
    second = np.zeros_like(first)
    width = max(1, min(2048, TEMPORARY_BYTES // 4 // ((8 + dtype.itemsize) * max(1, k))))
    for start in range(0, m, width):
        tile = slice(start, min(start + width, m))
        part = piece[:, tile].astype(dtype, copy=False)
        functions = right[tile].astype(dtype)
        functions[:, missing] = 0
        first += part @ functions
        np.square(functions, out=functions)
        second += part @ functions
    return first, second
