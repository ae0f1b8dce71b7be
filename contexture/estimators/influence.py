"""Sampling error of a spectrum over inputs, by the infinitesimal jackknife.

With the context values held fixed, the s_i² solve B v = s² C v for the moments
B = E_x[P(·|x) P(·|x)ᵀ] and C = diag(p_A). To first order a change δp of P_X moves them by
Σ_x δp(x) ψ_i(x) with the influence ψ_i(x) = s_i² μ_i(x)² − s_i² E[ν_i(A)² | x]; it has mean
zero, and the covariance of the estimates is Σ_x p(x)² ψ_i(x) ψ_j(x).
"""

from __future__ import annotations

import numpy as np

from contexture.inputs import FloatArray
from contexture.operator import ExpectationOperator


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
