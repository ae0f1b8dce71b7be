"""Formulas as they are written down, on whole arrays: what the fast routes are compared with."""

from __future__ import annotations

import numpy as np

from contexture import ExpectationOperator
from contexture.inputs import FloatArray


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
