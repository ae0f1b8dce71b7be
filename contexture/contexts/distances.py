"""Squared Euclidean distances, exact and block by block."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from scipy.spatial.distance import pdist

from contexture.contexts.reference import draw_reference, read_rows
from contexture.contexts.search import nearest
from contexture.inputs import Features, FloatArray

MEDIAN_SAMPLE = 5000
"""Rows among which the median squared distance is taken; exact up to this many."""

__all__ = [
    "MEDIAN_SAMPLE",
    "median_squared_distance",
    "nearest",
    "negative_squares",
    "squared_distances",
]

_MEDIANS_KEPT = 16

_ROWS = 512

_NEAR = 1e-5
"""Share of ‖x‖² + ‖r‖² below which a squared distance is taken from differences. What a product
leaves of it would be wrong in the eleventh digit, and soon in all of them."""

_medians: dict[tuple[str, int], float] = {}
"""Medians taken last, by corpus and seed: several kernels of one audit share one."""


def squared_distances(X: FloatArray, R: FloatArray) -> FloatArray:
    """‖x − r‖² for all pairs by one matrix product, shape (len(X), len(R)).

    Both are moved to the median of ``R`` first, so that neither a common offset nor a few far
    rows cancel digits; where digits are cancelled all the same, squared differences are added up.
    """
    centre = np.median(R, axis=0)
    X, R = X - centre, R - centre
    distances = (2.0 * X) @ R.T
    negative_squares(distances, X, R, square_norms(X), square_norms(R))
    return np.negative(distances, out=distances)


def square_norms(X: FloatArray) -> FloatArray:
    """‖x‖² of every row."""
    return np.asarray(np.einsum("ij,ij->i", X, X))


@numba.njit(cache=True, nogil=True)
def negative_squares(products: Any, X: Any, R: Any, of_x: Any, of_r: Any) -> None:
    """Turn 2⟨x, r⟩ into −‖x − r‖², in place.

    Parameters
    ----------
    products : ndarray of shape (r, m)
        2⟨x, r⟩.
    X, R : ndarray of shape (r, D), (m, D)
    of_x, of_r : ndarray of shape (r,), (m,)
        Their squared norms.
    """
    for i in range(products.shape[0]):
        row, norm, near = products[i], of_x[i], 0
        for j in range(len(row)):
            both = norm + of_r[j]
            row[j] -= both
            near += row[j] > -_NEAR * both
        # Few rows have one so near, but for those that are references.
        for j in range(len(row) if near else 0):
            if row[j] > -_NEAR * (norm + of_r[j]):
                total = 0.0
                for c in range(X.shape[1]):
                    total += (X[i, c] - R[j, c]) ** 2
                row[j] = -total


def median_squared_distance(features: Features, seed: int = 0) -> float:
    """Median of ‖x_i − x_j‖² over pairs i < j.

    Exact up to 5000 rows; above, among 5000 rows drawn by the seed.

    Parameters
    ----------
    features : Features
        The inputs, shape (n, D).
    seed : int
        Seed of the draw.

    Returns
    -------
    float
        Positive unless more than half of all pairs coincide.
    """
    key = (features.fingerprint, seed)
    if key not in _medians:
        n, _ = features.shape
        rows = draw_reference(features.ids, min(n, MEDIAN_SAMPLE), seed)
        sample = read_rows(features.X, rows)
        distances = _pair_distances(sample)
        most = float(distances.max(initial=0.0))
        median = float(np.median(distances, overwrite_input=True))
        if median <= 1e-8 * most:
            # Equal rows have distance 0, not what the matrix product leaves of it.
            median = float(np.median(pdist(sample, "sqeuclidean")))
        while len(_medians) >= _MEDIANS_KEPT:
            _medians.pop(next(iter(_medians)))
        _medians[key] = median
    return _medians[key]


def _pair_distances(X: FloatArray) -> FloatArray:
    """‖x_i − x_j‖² of all pairs i < j, row by row; products are of some rows at a time."""
    result, filled = np.empty(len(X) * (len(X) - 1) // 2), 0
    for start in range(0, len(X), _ROWS):
        block = squared_distances(X[start : start + _ROWS], X)
        for i, row in enumerate(block, start):
            result[filled : filled + len(X) - 1 - i] = row[i + 1 :]
            filled += len(X) - 1 - i
    return result
