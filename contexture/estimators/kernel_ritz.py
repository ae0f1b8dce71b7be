"""Ritz values and what is sure about them, sharper than from the norm of the residuals alone.

Split off the first j Ritz vectors: G = [[Θ, Rᵀ], [R, A]] with RᵀR from their residuals, and let
A end at η = θ_{j+1} + ‖R‖, as in `contexture.estimators.convergence`. By Haynsworth, the
eigenvalues λ_i > η of G are those of Θ + Rᵀ (λ_i − A)⁻¹ R, so for θ_i >= θ_c > η

    θ_i <= λ_i <= i-th eigenvalue of Θ + RᵀR / (θ_c − η):

what counts for θ_i is its own residual, not the largest of those before it. One small
eigenproblem more saves a tenth to a fifth of the products with G.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from contexture.estimators import convergence
from contexture.estimators.exact import NOISE_FLOOR
from contexture.inputs import FloatArray, Floats

_ONE = 1.0 - NOISE_FLOOR
"""From here on, a value counts as 1."""

NEAR_ONE = 1e-4
"""Values so near to 1 may be 1, for all that single precision tells."""

_LEAST_GAP = 1e-4
_SWEEPS = 10
_NOTHING = 1e-6
"""What is left of a vector of length 1 that lies in a space, but for rounding, at most."""


@dataclass(frozen=True)
class TopPairs:
    """Eigenpairs of G, the trivial one left out.

    Attributes
    ----------
    values : ndarray of shape (k,)
        Descending.
    vectors : ndarray of shape (side, k)
        Orthonormal.
    errors : ndarray of shape (k,)
        Bounds on how far the values lie below the exact ones, rounding apart.
    products : int
        Columns that were multiplied by G.
    """

    values: FloatArray
    vectors: Floats
    errors: FloatArray
    products: int


def bounds(values: FloatArray, residuals: FloatArray, count: int) -> FloatArray:
    """Bound the errors of the first ``count`` Ritz values; see the module.

    Parameters
    ----------
    values : ndarray of shape (p,)
        Ritz values, descending.
    residuals : ndarray of shape (p, p)
        RᵀR.
    count : int
        At most p.
    """
    best = convergence.bounds(values, residuals, count)
    j = len(values) - 1
    if j < count:
        return best
    highest = linalg.eigvalsh(residuals, subset_by_index=(j, j), check_finite=False)[0]
    rest = values[j] + np.sqrt(max(0.0, float(highest)))
    coupling = residuals[:j, :j]
    # Few values at once: their gap is wider.
    for c in sorted({count, (count + 1) // 2, (count + 3) // 4}):
        gap = values[c - 1] - rest
        if gap > 0:
            raised = np.diag(values[:j]) + coupling / gap
            above = linalg.eigvalsh(raised, check_finite=False)[::-1][:c] - values[:c]
            best[:c] = np.minimum(best[:c], np.maximum(above, 0.0))
    return best


def refined(
    gram: Callable[[Floats], Floats], trivial: FloatArray, pairs: TopPairs, ones: int
) -> TopPairs:
    """Rayleigh and Ritz in float64 for values near 1, so that those equal to 1 can be told.

    The vectors are off by the rounding of float32 over the gap to the next value, and the values by
    its square. Where a value may be 1 for all that is known, its residual is taken into the space:
    a block Krylov step. The vectors returned stay in the space of those given, and so orthogonal
    to the others.
    """
    known = trivial.reshape(len(trivial), -1)
    V = pairs.vectors[:, :ones].astype(np.float64)
    V -= known @ (known.T @ V)
    V = np.linalg.qr(V)[0]
    W = gram(np.ascontiguousarray(V))
    result = pairs.vectors.copy()
    # Where there is no next value that is known, it may be near.
    next_value = pairs.values[ones] if len(pairs.values) > ones else 1.0
    for sweep in range(_SWEEPS):
        H = V.T @ W
        values, turn = np.linalg.eigh((H + H.T) / 2)
        values, turn = values[::-1][:ones], turn[:, ::-1][:, :ones]
        vectors = V @ turn
        if not sweep:
            result[:, :ones] = vectors
        residuals = W @ turn - vectors * values
        lengths = np.linalg.norm(residuals, axis=0)
        gap = max(float(values[-1] - next_value), _LEAST_GAP)
        # Ritz values are below: one that is nearly 1 may be 1, as far as its residual allows. The
        # gap is that to another Ritz value: half of it, to be sure.
        unsure = (values < _ONE) & (values + 2 * lengths**2 / gap >= _ONE)
        if not unsure.any() or sweep + 1 == _SWEEPS:
            break
        new = _beyond(residuals[:, unsure] / lengths[unsure], np.column_stack([known, V]))
        if not new.shape[1]:
            break
        V, W = np.column_stack([V, new]), np.column_stack([W, gram(np.ascontiguousarray(new))])
    new_values = np.concatenate([values, np.minimum(pairs.values[ones:], values[-1])])
    return replace(pairs, values=new_values, vectors=result)


def _beyond(X: FloatArray, known: FloatArray) -> FloatArray:
    """Orthonormal vectors of what X has beyond ``known``, which are orthonormal."""
    for _ in range(2):
        X = X - known @ (known.T @ X)
        X, R = np.linalg.qr(X)
        X = X[:, np.abs(R.diagonal()) > _NOTHING]
    return X


def equal_to_one(values: FloatArray, moved: FloatArray) -> int:
    """How many values are 1, as far as rounding, which moved them so far, lets it be told."""
    return int(np.sum(values > 1.0 - np.clip(moved, NOISE_FLOOR, NEAR_ONE)))
