"""Sampling error of a kernel spectrum, from rows that are computed when they are needed.

Where a spectrum decays slowly, many functions live on a few inputs each, which an even sample of
the inputs would miss for most of them. So an input is drawn with the probability

    π(x) = min(1, r (p_X(x) + h(x) / Σ h) / 2),    h(x) = p_X(x) Σ_i μ_i(x)²,

for r inputs in all, and what it adds to a sum over all inputs is divided by π (Horvitz and
Thompson). h need not be exact for that: where the inputs are the context values, ν stands for μ;
else, if μ is not known, h is the mean square of some random sums of the p_X^½ μ_i.
"""

from __future__ import annotations

import numpy as np

from contexture.estimators.kernel_products import KernelProducts
from contexture.inputs import FloatArray, Floats, IntArray

COVARIANCE_ROWS = 2048
"""Inputs from which the sampling covariance is estimated: it is right to some percent then."""

_PROBES = 16
"""Random sums."""


def sampled_covariance(
    products: KernelProducts,
    eigenvalues: FloatArray,
    right: FloatArray,
    seed: int,
    left: Floats | None = None,
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
    left : ndarray of shape (n, k), optional
        p_X^½ μ_i, if all are known: a pass with a few vectors is spared then, where the context
        values are not the inputs.
    """
    n = products.shape[0]
    generator = np.random.default_rng([seed, 0x636F])
    functions = right.astype(np.float32)
    functions[:, np.isnan(right[0])] = 0.0
    chances = np.ones(n)
    if n > COVARIANCE_ROWS:
        shares = _shares(products, eigenvalues, functions, generator, left)
        chances = np.minimum(1.0, COVARIANCE_ROWS * 0.5 * (products.input_weights + shares))
    rows = _drawn(chances, generator)
    # Times n, so that single precision holds the squares at any n.
    moved = n * products.input_weights[rows] / np.sqrt(chances[rows])
    weights = moved.astype(np.float32)[:, None]
    scale = eigenvalues.astype(np.float32)
    result = np.zeros((len(eigenvalues), len(eigenvalues)))
    for part, influence, second in products.expectations(functions, rows):
        # s_i² μ_i² = (T ν_i)², which needs no division by s_i.
        np.square(influence, out=influence)
        second *= scale
        influence -= second
        influence *= weights[part]
        result += influence.T @ influence
    return result / float(n) ** 2


def _shares(
    products: KernelProducts,
    eigenvalues: FloatArray,
    functions: Floats,
    generator: np.random.Generator,
    left: Floats | None,
) -> FloatArray:
    """How much of the functions lives on every input; 1 in all."""
    if left is not None and left.shape[1] == len(eigenvalues):
        known = left[:, eigenvalues > 0]
        shares = np.einsum("ij,ij->i", known, known, dtype=np.float64)
    elif products.inputs_are_values:
        shares = np.einsum("ij,ij->i", functions, functions, dtype=np.float64)
        shares *= products.context_weights
    else:
        lengths = np.sqrt(eigenvalues)
        lengths[eigenvalues == 0] = 1.0
        signs = generator.choice([-1.0, 1.0], (len(lengths), _PROBES)) / lengths[:, None]
        sums = functions @ signs.astype(np.float32)
        sums *= np.sqrt(products.context_weights).astype(np.float32)[:, None]
        parts = [np.square(part).sum(axis=1) for _, part in products.other(sums)]
        shares = np.concatenate(parts).astype(np.float64)
    total = shares.sum()
    return np.asarray(shares / total if total > 0 else np.full(len(shares), 1 / len(shares)))


def _drawn(chances: FloatArray, generator: np.random.Generator) -> IntArray:
    """Draw each with its chance, and as many in all as the chances add up to, but for one."""
    upto = np.floor(np.cumsum(chances) - generator.uniform())
    return np.flatnonzero(np.diff(upto, prepend=-1.0) > 0)
