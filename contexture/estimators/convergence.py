"""How well Ritz values are known.

What is guaranteed. Let (θ_i, w_i), i = 1 .. p, be the Ritz pairs of G on the final basis and
R its residuals G w_i − θ_i w_i. Then there are p eigenvalues of G within ‖R‖ of the θ_i one to
one (Kahan). For j <= p, split off the first j: if the rest of the spectrum ends below θ_{j+1} + ‖R‖
— the only thing taken on trust, and probed with random vectors — then for i <= j

    0 <= λ_i − θ_i <= 2 ‖R_j‖² / (g + √(g² + 4 ‖R_j‖²)),   g = θ_i − θ_{j+1} − ‖R‖

(Li and Li 2005), which is at most ‖R_j‖, and ‖R_j‖²/g where the gap is wide. The bound returned
is the least over several j, plus the rounding of the products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contexture.estimators.basis import Basis
from contexture.estimators.chebyshev import Filter
from contexture.inputs import FloatArray

_ABOVE = 1.05
"""Ritz values of f(G) must be above, or they may be of eigenvalues below the cut."""

_LIFTED = 2.0
"""From here on they are taken into account beyond those that are wanted."""


@dataclass
class Eigenpairs:
    """What the solver found.

    Attributes
    ----------
    values : ndarray of shape (k,)
        Descending.
    errors : ndarray of shape (k,)
        Bounds on |θ_i − λ_i|; see `contexture.estimators.convergence`.
    basis : Basis
        Its first k columns are the vectors.
    products : int
        Vectors that were multiplied by G.
    """

    values: FloatArray
    errors: FloatArray
    basis: Basis
    products: int


def bounds(values: FloatArray, residuals: FloatArray, count: int) -> FloatArray:
    """Bound the errors of the first ``count`` Ritz values.

    Parameters
    ----------
    values : ndarray of shape (p,)
        Ritz values, descending.
    residuals : ndarray of shape (p, p) or (p,)
        RᵀR, or its diagonal alone: with that, only the Frobenius norm of R is known.
    count : int
        At most p.
    """
    p = len(values)
    whole = residuals.ndim == 2
    squares = np.cumsum(np.maximum(np.diag(residuals) if whole else residuals, 0.0))
    sizes = {}
    for j in {p, count, *np.linspace(count, max(count, p - 1), 5).astype(int).tolist()}:
        # ‖R‖ is at most the Frobenius norm, and the root of the largest row sum of |RᵀR|.
        rows = np.abs(residuals[:j, :j]).sum(axis=1).max() if whole else np.inf
        sizes[j] = float(np.sqrt(min(squares[j - 1], rows)))
    best = np.full(count, sizes[p])
    for j, size in sizes.items():
        if j < p:
            gap = np.maximum(values[:count] - values[j] - sizes[p], 0.0)
            best = np.minimum(best, 2 * size**2 / (gap + np.sqrt(gap**2 + 4 * size**2) + 1e-300))
    return best


def promised_error(filter: Filter, values: FloatArray, coupling: FloatArray, count: int) -> float:
    """Foresee the largest error of the wanted values of G, from Ritz pairs of f(G).

    A part of a Ritz vector along an eigenvector is |f(λ) − φ| of the residual of f(G), and |λ − θ|
    of that of G, with φ = f(θ). As f is within ±1 below the cut and convex above, the second is at
    most θ / (φ − 1) of the first, wherever λ is. That holds for every residual by itself; of all
    together it is an estimate, as is that for the values beyond the wanted that are hardly lifted.
    What is returned with the values is bounded from residuals of G, in the end.

    Parameters
    ----------
    filter : Filter
        f.
    values : ndarray of shape (p,)
        Ritz values of f(G), descending.
    coupling : ndarray of shape (w, p)
        Their residuals, in the block that comes next.
    count : int
        How many are wanted; all that there are, if these are fewer.

    Returns
    -------
    float
        Infinite where the filter does not lift all that are wanted.
    """
    wanted = min(count, len(values))
    if filter.degree > 1:
        if values[wanted - 1] < _ABOVE:
            return np.inf
        # What is hardly lifted beyond those is noise, and would be made larger.
        used = max(wanted, int(np.sum(values >= _LIFTED)))
        values = values[:used]
        coupling = coupling[:, :used] * (filter.back(values) / (values - 1.0))
    return float(bounds(filter.back(values), coupling.T @ coupling, wanted).max())
