"""Sampling error of a kernel spectrum, from rows that are computed when they are needed."""

from __future__ import annotations

import numpy as np

from contexture.estimators.kernel_products import KernelProducts
from contexture.inputs import FloatArray

COVARIANCE_ROWS = 4096
"""Inputs from which the sampling covariance is estimated: it is right to some percent then."""


def sampled_covariance(
    products: KernelProducts, eigenvalues: FloatArray, right: FloatArray, seed: int
) -> FloatArray:
    """Estimate the sampling covariance of the s_i², from some thousand inputs if there are more.

    As in `contexture.estimators.influence`, with products in float32.

    Parameters
    ----------
    products : KernelProducts
    eigenvalues : ndarray of shape (k,)
        s_i².
    right : ndarray of shape (m, k)
        ν_i; a function below the noise floor is a whole column of NaN.
    seed : int
        Of the sample.
    """
    n = products.shape[0]
    size = min(n, COVARIANCE_ROWS)
    generator = np.random.default_rng([seed, 0x636F])
    rows = np.arange(n) if size == n else np.sort(generator.choice(n, size, replace=False))
    functions = right.astype(np.float32)
    functions[:, np.isnan(right[0])] = 0.0
    # Times n, so that single precision holds the squares at any n.
    weights = (n * products.input_weights[rows]).astype(np.float32)[:, None]
    scale = eigenvalues.astype(np.float32)
    result = np.zeros((len(eigenvalues), len(eigenvalues)))
    for part, influence, second in products.expectations(functions, rows):
        # s_i² μ_i² = (T ν_i)², which needs no division by s_i.
        np.square(influence, out=influence)
        second *= scale
        influence -= second
        influence *= weights[part]
        result += influence.T @ influence
    return result / (float(n) * size)
