"""The top of a dense symmetric matrix."""

from __future__ import annotations

from scipy import linalg

from contexture.inputs import FloatArray


def top_of(H: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Find the largest eigenvalues of a symmetric matrix, and their vectors.

    Parameters
    ----------
    H : ndarray of shape (p, p)
    count : int
        At most p.

    Returns
    -------
    ndarray of shape (count,), ndarray of shape (p, count)
        Descending.
    """
    side = len(H)
    if 3 * count < side:  # else divide and conquer takes less time, though it finds all
        values, Y = linalg.eigh(H, subset_by_index=(side - count, side - 1), check_finite=False)
        # The driver that picks by index loses some where very many values are equal.
        if len(values) == count and Y.shape[1] == count:
            return values[::-1], Y[:, ::-1]
    values, Y = linalg.eigh(H, check_finite=False, driver="evd")
    return values[::-1][:count], Y[:, ::-1][:, :count]
