"""Ritz values and what is sure about them.

Let (θ_i, w_i), i = 1 .. j, be the first Ritz pairs, R_j their residuals, and let the rest of the
spectrum end at θ_{j+1} + ‖R‖ or below. Then 0 <= λ_i − θ_i <= 2 ‖R_j‖² / (g + √(g² + 4 ‖R_j‖²))
with g = θ_i − θ_{j+1} − ‖R‖ (Li and Li 2005).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from contexture.inputs import FloatArray


def bounds(values: FloatArray, residuals: FloatArray, count: int) -> FloatArray:
    """Bound the errors of the first ``count`` Ritz values; see the module.

    Parameters
    ----------
    values : ndarray of shape (p,)
        Ritz values, descending.
    residuals : ndarray of shape (w, p)
        Coordinates of the residuals in an orthonormal basis.
    count : int
        At most p.
    """
    p = len(values)
    products = residuals.T @ residuals
    splits = sorted({*np.linspace(count, p, 6).astype(int).tolist()})
    sizes = {j: float(np.sqrt(max(0.0, linalg.eigvalsh(products[:j, :j])[-1]))) for j in splits}
    whole = sizes[p]
    best = np.full(count, whole)
    for j in splits:
        if j < p:
            gap = np.maximum(values[:count] - values[j] - whole, 0.0)
            size = sizes[j]
            root = gap + np.sqrt(gap**2 + 4 * size**2)
            best = np.minimum(best, 2 * size**2 / np.maximum(root, 1e-300))
    return best
