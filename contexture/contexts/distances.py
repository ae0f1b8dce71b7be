"""Squared Euclidean distances and nearest neighbours, exact and block by block."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist

from contexture.contexts.reference import draw_reference, read_rows
from contexture.inputs import Features, FloatArray, IntArray

MEDIAN_SAMPLE = 5000
"""Rows among which the median squared distance is taken; exact up to this many."""

_EXACT_ENTRIES = 4_000_000
"""Numbers held at once while candidate distances are recomputed exactly (32 MB)."""

_MEDIANS_KEPT = 16

_medians: dict[tuple[str, int], float] = {}
"""Medians taken last, by corpus and seed: several kernels of one audit share one."""


def squared_distances(X: FloatArray, R: FloatArray) -> FloatArray:
    """‖x − r‖² for all pairs by one matrix product, shape (len(X), len(R)).

    Both are moved to the median of ``R`` first, so that neither a common offset nor a few far
    rows cancel digits; the error is a few units of rounding of ‖x‖² + ‖r‖² after the move.
    """
    centre = np.median(R, axis=0)
    X, R = X - centre, R - centre
    distances = X @ R.T
    distances *= -2.0
    distances += np.einsum("ij,ij->i", X, X)[:, None]
    distances += np.einsum("ij,ij->i", R, R)[None, :]
    return np.maximum(distances, 0.0, out=distances)


def nearest(X: FloatArray, R: FloatArray, k: int, own: IntArray, include_self: bool) -> IntArray:
    """Find the k nearest references of every row.

    A matrix product finds the candidates; their distances are recomputed without cancellation,
    and ties are broken by the order of the references. So the outcome does not depend on how
    rows are cut into blocks.

    Parameters
    ----------
    X : ndarray of shape (r, D)
    R : ndarray of shape (m, D)
    k : int
        At most m, or m − 1 where a row itself is left out.
    own : ndarray of shape (r,)
        Position of each row among the references, −1 if it is none.
    include_self : bool
        Whether a row that is a reference counts as its own first neighbour, or not at all.

    Returns
    -------
    ndarray of shape (r, k)
        Positions among the references, nearest first.
    """
    r = len(X)
    if r == 0:
        return np.empty((0, k), dtype=np.int64)
    approximate = squared_distances(X, R)
    is_reference = np.flatnonzero(own >= 0)
    approximate[is_reference, own[is_reference]] = -1.0 if include_self else np.inf
    kth = np.partition(approximate, k - 1, axis=1)[:, k - 1]
    # Rounding of the product: every true neighbour lies below the k-th plus twice its bound.
    centre = np.median(R, axis=0)
    largest = float(np.max(np.einsum("ij,ij->i", R - centre, R - centre), initial=0.0))
    scale = np.einsum("ij,ij->i", X - centre, X - centre) + largest
    slack = 8.0 * (X.shape[1] + 4) * np.finfo(np.float64).eps * scale
    rows, columns = np.nonzero(approximate <= (kth + slack)[:, None])
    exact = _pair_distances(X, R, rows, columns)
    self_pair = own[rows] == columns
    exact[self_pair] = -1.0 if include_self else np.inf
    order = np.lexsort((columns, exact, rows))
    counts = np.bincount(rows, minlength=r)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return columns[order][first[:, None] + np.arange(k)[None, :]].astype(np.int64)


def _pair_distances(X: FloatArray, R: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    exact = np.empty(len(rows))
    step = max(1, _EXACT_ENTRIES // max(1, X.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = X[rows[part]] - R[columns[part]]
        exact[part] = np.einsum("ij,ij->i", difference, difference)
    return exact


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
        distances = squared_distances(sample, sample)
        median = float(np.median(distances[np.triu_indices(len(sample), k=1)]))
        if median <= 1e-8 * float(distances.max()):
            # Equal rows have distance 0, not what the matrix product leaves of it.
            median = float(np.median(pdist(sample, "sqeuclidean")))
        while len(_medians) >= _MEDIANS_KEPT:
            _medians.pop(next(iter(_medians)))
        _medians[key] = median
    return _medians[key]
