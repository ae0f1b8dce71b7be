"""Row sums and marginals of an RBF context, by one streamed pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from contexture.estimators.kernel_strips import Progress, in_threads
from contexture.inputs import FloatArray


@dataclass(frozen=True)
class KernelMarginals:
    """What one pass over the tiles tells of an RBF context.

    Attributes
    ----------
    log_sums : ndarray of shape (n,)
        L(x) = log Σ_a exp(−γ‖x − a‖²).
    context_weights : ndarray of shape (m,)
        p_A.
    total_association : float
        Σ_ij p_X(i) P_ij² / p_A(j) − 1.
    """

    log_sums: FloatArray
    context_weights: FloatArray
    total_association: float

    @classmethod
    def of(cls, log_sums: FloatArray, sums: FloatArray) -> Self:
        """Conclude from the sums of all rows; see `marginal_sums`."""
        weights, squares = sums
        chosen = weights > 0
        total = float(np.sum(squares[chosen] / weights[chosen])) - 1.0
        return cls(log_sums, weights, max(0.0, total))


def marginal_sums(
    X: FloatArray,
    R: FloatArray,
    input_weights: FloatArray,
    height: int,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Log row sums of exp(x·r), and what some rows add to p_A and to Σ_i p_X(i) P_ij², in float64.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Coordinates of the inputs.
    R : ndarray of shape (m, d)
        Coordinates of the references.
    input_weights : ndarray of shape (n,)
        P_X.
    height : int
        Rows of a strip.
    threads : int
        Strips at a time.
    progress : callable, optional
        Called with the rows done and the rows in all.

    Returns
    -------
    ndarray of shape (n,), ndarray of shape (2, m)
    """
    n, m = len(X), len(R)
    across = np.ascontiguousarray(R.T)
    log_sums = np.empty(n)
    sums = [np.zeros((2, m)) for _ in range(threads)]
    held = [np.empty((height, m)) for _ in range(threads)]

    def add(rows: slice, own: int) -> None:
        strip = held[own][: rows.stop - rows.start]
        np.matmul(X[rows], across, out=strip)
        # The nearest reference is moved to distance 0, so that no row underflows.
        top = strip.max(axis=1)
        strip -= top[:, None]
        np.exp(strip, out=strip)
        mass = strip.sum(axis=1)
        log_sums[rows] = top + np.log(mass)
        p = input_weights[rows]
        sums[own][0] += (p / mass) @ strip
        np.square(strip, out=strip)
        sums[own][1] += (p / mass**2) @ strip

    for _ in in_threads(add, n, height, threads, progress):
        pass
    return log_sums, np.sum(sums, axis=0)
