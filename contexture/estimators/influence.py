"""Sampling error of a spectrum over inputs, by the infinitesimal jackknife.

With the context values held fixed, the s_i² solve B v = s² C v for the moments
B = E_x[P(·|x) P(·|x)ᵀ] and C = diag(p_A). To first order a change δp of P_X moves them by
Σ_x δp(x) ψ_i(x) with the influence ψ_i(x) = s_i² μ_i(x)² − s_i² E[ν_i(A)² | x]; it has mean
zero, and the covariance of the estimates is Σ_x p(x)² ψ_i(x) ψ_j(x).

Where rows were only kept as moments of groups, the sums h_g,i = Σ_{x in g} p(x) ψ_i(x) of whole
groups take the place of single rows: the linearised delete-a-group jackknife.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.errors import InputError
from contexture.inputs import FloatArray
from contexture.operator import ExpectationOperator

TEMPORARY_BYTES = 64 * 2**20
"""What `covariance_of` may hold beside its arguments, one block of rows and its result."""

_MOST_ROWS = 2048
_MOST_ENTRIES = 2**19


def eigenvalue_influence(
    operator: ExpectationOperator, eigenvalues: FloatArray, right: FloatArray
) -> FloatArray:
    """Influence of every input on every s_i².

    Parameters
    ----------
    operator : ExpectationOperator
    eigenvalues : ndarray of shape (k,)
        s_i².
    right : ndarray of shape (m, k)
        ν_i; columns of NaN (below the noise floor) have no influence.

    Returns
    -------
    ndarray of shape (n, k)
    """
    functions = np.nan_to_num(right)
    # s_i² μ_i² = (T ν_i)², which needs no division by s_i.
    influence = operator.apply(functions)
    np.square(influence, out=influence)
    np.square(functions, out=functions)
    influence -= operator.apply(functions) * eigenvalues[None, :]
    return influence


def covariance(influence: FloatArray, input_weights: FloatArray) -> FloatArray:
    """Σ_x p(x)² ψ_i(x) ψ_j(x), shape (k, k)."""
    scaled = influence * input_weights[:, None]
    return np.asarray(scaled.T @ scaled)


def covariance_of(
    operator: ExpectationOperator,
    eigenvalues: FloatArray,
    right: npt.NDArray[np.floating[Any]],
    dtype: npt.DTypeLike = np.float32,
) -> FloatArray:
    """Covariance of the s_i² over inputs, in one pass over the rows of P.

    The same as `covariance` of `eigenvalue_influence`, but nothing of size n × k is held: rows
    are taken piece by piece, within `TEMPORARY_BYTES` whatever the size of the blocks.

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

    Returns
    -------
    ndarray of shape (k, k)
        Zero, not NaN, in the rows and columns of functions that are not given: nothing is known
        of their sampling error.
    """
    known = _count_known(eigenvalues, right, operator.shape[1])
    result = np.zeros((len(eigenvalues), len(eigenvalues)))
    missing = np.isnan(right[0])
    n = operator.shape[0]
    start = 0
    for block in operator.blocks:
        for piece in _pieces(block, max(1, known), np.dtype(dtype)):
            influence = _influence_of(piece, eigenvalues[:known], right, missing, np.dtype(dtype))
            # Times n, so that single precision holds the squares at any n.
            weights = n * operator.input_weights[start : start + piece.shape[0]]
            influence *= weights.astype(dtype)[:, None]
            result[:known, :known] += influence.T @ influence
            start += piece.shape[0]
    result /= float(n) ** 2
    return result


def _count_known(eigenvalues: FloatArray, right: npt.NDArray[np.floating[Any]], m: int) -> int:
    if right.ndim != 2 or right.shape[1] > len(eigenvalues) or len(right) != m:
        raise InputError(
            f"the right functions have shape {right.shape}; {m} rows and at most "
            f"{len(eigenvalues)} columns, one for each eigenvalue, are needed."
        )
    return int(right.shape[1])


def _pieces(block: Rows, k: int, dtype: np.dtype) -> Iterator[Rows]:
    """Cut a block so that the temporaries of a piece stay within the limit."""
    n, m = block.shape
    # Four arrays of rows × k in a quarter of the room; functions gathered in half of it.
    most = max(1, min(_MOST_ROWS, TEMPORARY_BYTES // 4 // (4 * dtype.itemsize * k)))
    gathered = TEMPORARY_BYTES // 2 // ((8 + dtype.itemsize) * k)
    entries = _MOST_ENTRIES if m <= gathered else min(_MOST_ENTRIES, gathered)
    start = 0
    while start < n:
        stop = min(start + most, n)
        if isinstance(block, sparse.csr_array):
            fits = np.searchsorted(block.indptr, block.indptr[start] + entries, side="right") - 1
            stop = max(start + 1, min(stop, int(fits)))
        yield block[start:stop]
        start = stop


def _influence_of(
    piece: Rows,
    eigenvalues: FloatArray,
    right: npt.NDArray[np.floating[Any]],
    missing: npt.NDArray[np.bool_],
    dtype: np.dtype,
) -> npt.NDArray[np.floating]:
    """ψ_i(x) of the rows of a piece, shape (rows, r)."""
    m, k = right.shape
    first = np.zeros((piece.shape[0], k), dtype=dtype)
    second = np.zeros_like(first)
    for part, columns in _column_tiles(piece, m, k, dtype):
        functions = right[columns].astype(dtype)
        functions[:, missing] = 0
        first += part @ functions
        np.square(functions, out=functions)
        second += part @ functions
    np.square(first, out=first)
    second *= eigenvalues.astype(dtype)
    first -= second
    return first


def _column_tiles(
    piece: Rows, m: int, k: int, dtype: np.dtype
) -> Iterator[tuple[Rows, slice | np.ndarray]]:
    """Parts of a piece with the columns that they stand on, few enough to gather."""
    if isinstance(piece, sparse.csr_array):
        # Only the columns that occur: a piece of a large sparse operator touches few.
        touched = np.zeros(m, dtype=bool)
        touched[piece.indices] = True
        columns = np.flatnonzero(touched)
        place = np.empty(m, dtype=np.int32)
        place[columns] = np.arange(len(columns), dtype=np.int32)
        arrays = piece.data.astype(dtype), place[piece.indices], piece.indptr
        yield sparse.csr_array(arrays, shape=(piece.shape[0], len(columns))), columns
        return
    width = max(1, min(2048, TEMPORARY_BYTES // 4 // ((8 + dtype.itemsize) * max(1, k))))
    for start in range(0, m, width):
        tile = slice(start, min(start + width, m))
        yield piece[:, tile].astype(dtype, copy=False), tile


def group_influence(
    gram: FloatArray, marginal: FloatArray, eigenvalues: FloatArray, right: FloatArray
) -> FloatArray:
    """Influence of a whole group g of rows on every s_i², from the moments of the group.

    h_g,i = ν_iᵀ (B_g − s_i² C_g) ν_i = Σ_{x in g} p(x) ψ_i(x). Over all groups they add up to 0
    for the spectrum of all rows together.

    Parameters
    ----------
    gram : ndarray of shape (m, m)
        B_g = Σ_{x in g} p(x) P(·|x) P(·|x)ᵀ, p(x) being the weight among *all* rows.
    marginal : ndarray of shape (m,)
        C_g = Σ_{x in g} p(x) P(·|x).
    eigenvalues : ndarray of shape (k,)
        s_i².
    right : ndarray of shape (m, r)
        ν_1 .. ν_r of all rows together, r <= k, of variance 1 under p_A; columns of NaN, and
        those that are not given, have no influence.

    Returns
    -------
    ndarray of shape (k,)
    """
    known = _count_known(eigenvalues, right, len(marginal))
    if gram.shape != (len(marginal), len(marginal)):
        raise InputError(
            f"the Gram matrix of a group has shape {gram.shape}, but its marginal has "
            f"{len(marginal)} entries; one context value a row and column is needed."
        )
    functions = np.nan_to_num(right)
    influence = np.zeros(len(eigenvalues))
    influence[:known] = np.einsum("ai,ai->i", functions, gram @ functions)
    influence[:known] -= eigenvalues[:known] * (marginal @ functions**2)
    return influence


def group_covariance(influences: FloatArray) -> FloatArray:
    """Covariance of the s_i² over inputs, G/(G−1) Σ_g h_g h_gᵀ, from G groups of rows.

    To first order, leaving out group g moves s_i² by −h_g,i G/(G−1); the delete-a-group
    jackknife (G−1)/G Σ_g of the squares of that is the formula. It assumes that rows are an
    independent sample dealt to groups at random, or in an order that means nothing, and that
    groups have about equal mass. Rows in a meaningful order (by time, by site) make groups that
    differ more than samples do: the error then includes what differs between them.

    A standard error from G groups is itself known to about 1/√(2G − 2) of its size; intervals
    take the quantiles of Student's t with G − 1 degrees of freedom. The rank is at most G − 1.

    Parameters
    ----------
    influences : ndarray of shape (G, k)
        From `group_influence`, one of at least two groups a row.

    Returns
    -------
    ndarray of shape (k, k)
    """
    if influences.ndim != 2 or len(influences) < 2:
        raise InputError(
            f"the influences of groups have shape {influences.shape}; one row for each of at "
            "least two groups is needed."
        )
    groups = len(influences)
    return np.asarray(groups / (groups - 1) * (influences.T @ influences))
