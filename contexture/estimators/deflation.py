"""The space in which the solver works: orthogonal to the functions with s = 1 that are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from contexture.estimators.basis import Basis
from contexture.estimators.crew import ALONE, Crew, panels_of
from contexture.estimators.sparse_kernels import column_sums, subtract_outer
from contexture.inputs import FloatArray, Floats


class Space:
    """Vectors orthogonal to the indicators of connected parts, weighted by the root of P.

    Parameters
    ----------
    root : ndarray of shape (side,)
        √p of the smaller side.
    labels : ndarray of shape (side,), optional
        Which part each entry belongs to; one part if left out.
    seed : int
        Of the random vectors.
    crew : Crew
        Threads that work on panels.

    Attributes
    ----------
    dimension : int
        side − number of parts.
    """

    def __init__(
        self,
        root: FloatArray,
        labels: npt.NDArray[np.integer] | None = None,
        seed: int = 0,
        crew: Crew = ALONE,
    ) -> None:
        self.side, self.crew = len(root), crew
        count = 1 if labels is None else int(labels.max()) + 1
        self.dimension = self.side - count
        self._random = np.random.default_rng([seed, 0x1A2C])
        if labels is None or count == 1:
            self._one: FloatArray | None = root / np.linalg.norm(root)
        else:
            self._one = None
            norms = np.sqrt(np.bincount(labels, weights=root**2, minlength=count))
            self._many = sparse.csr_array(
                (root / norms[labels], labels, np.arange(self.side + 1)), shape=(self.side, count)
            )

    def clean(self, X: Floats) -> Floats:
        """Take the parts' functions off ``X``, in place."""
        if self._one is None:
            D = self._many.astype(X.dtype)
            X -= D @ (D.T @ X)
            return X
        v, panels = self._one.astype(X.dtype), panels_of(self.side)
        share = np.zeros(X.shape[1])
        for part in self.crew.each(lambda rows: column_sums(X[rows], v[rows]), panels, X.size):
            share += part
        small = share.astype(X.dtype)
        self.crew.do(lambda rows: subtract_outer(X[rows], v[rows], small), panels, X.size)
        return X

    def draw(self, count: int, dtype: npt.DTypeLike) -> Floats:
        """Draw standard normal vectors of the space, shape (side, count)."""
        X = self._random.standard_normal((self.side, count), dtype=np.float32)
        return self.clean(X.astype(dtype, copy=False))


def small_gram(X: Floats, crew: Crew = ALONE) -> FloatArray:
    """XᵀX in float64, without a copy of X in float64."""

    def square(rows: slice) -> FloatArray:
        panel = X[rows].astype(np.float64, copy=False)
        return np.asarray(panel.T @ panel)

    total = np.zeros((X.shape[1], X.shape[1]))
    for part in crew.each(square, panels_of(len(X))):
        total += part
    return total


def small_product(X: Floats, Y: Floats) -> FloatArray:
    """XᵀY, added up in float64 and made symmetric."""
    total = np.zeros((X.shape[1], Y.shape[1]))
    for rows in panels_of(len(X)):
        total += X[rows].T @ Y[rows]
    return (total + total.T) / 2


def orthonormalise(X: Floats, least: float, crew: Crew = ALONE) -> tuple[Floats, FloatArray]:
    """X = Q R with orthonormal Q, directions of X no longer than ``least`` left out; X is used up.

    Returns
    -------
    (ndarray of shape (side, r), ndarray of shape (r, w))
        r <= w.
    """
    total = np.eye(X.shape[1])
    for _ in range(3):
        if not X.shape[1]:
            break
        gram = small_gram(X, crew)
        squares, vectors = np.linalg.eigh(gram)
        lengths = np.sqrt(np.maximum(squares, 0.0))
        # Squares are known to 1e-16 of the largest, lengths so to 1e-8: smaller ones are noise.
        kept = lengths > max(least, 1e-7 * lengths[-1])
        turn = vectors[:, kept] / lengths[kept]
        even = (
            bool(kept.all()) and np.abs(gram - np.eye(len(gram))).max() < 8 * np.finfo(X.dtype).eps
        )
        if even:
            break
        total = (vectors[:, kept] * lengths[kept]).T @ total
        Q = _turned(X, turn.astype(X.dtype), crew)
        crew.give(X)
        X, least = Q, 0.5
    return X, total


def _turned(X: Floats, small: Floats, crew: Crew) -> Floats:
    """X times a small matrix."""
    Q = crew.take((len(X), small.shape[1]), X.dtype)

    def turn(rows: slice) -> None:
        Q[rows] = X[rows] @ small

    crew.do(turn, panels_of(len(X)))
    return Q


def extend(
    basis: Basis, space: Space, X: Floats, wanted: int, scale: float, near: int = 0
) -> tuple[Floats, FloatArray, FloatArray]:
    """Make an orthonormal block out of X, orthogonal to a basis, filled up with random columns.

    Parameters
    ----------
    basis : Basis
        All of its columns in use count.
    space : Space
    X : ndarray of shape (side, w)
        Used up.
    wanted : int
        Columns wanted at most; random ones fill up where X has fewer.
    scale : float
        Size of the vectors that X is a remainder of: what is left of it below rounding is noise.
    near : int
        Columns of the basis from here on hold nearly all of X that is in the basis.

    Returns
    -------
    (ndarray (side, r), ndarray (used, w), ndarray (r, w))
        Q, H, R with X = basis H + Q R; random columns have rows of 0 in R.
    """
    # Twice, since rounding of the first, large part is not small beside what remains; the
    # second time it is small coefficients only, so that all columns are clean.
    H = np.zeros((basis.used, X.shape[1]))
    for first in (near, 0):
        part = basis.inner(X, first)
        basis.subtract(X, part, first)
        H[first:] += part
    # Of the parts' functions there is as much as rounding let into the large part.
    Q, R = orthonormalise(space.clean(X), 16 * float(np.finfo(X.dtype).eps) * scale, space.crew)
    missing = min(wanted, space.dimension - basis.used) - Q.shape[1]
    if missing <= 0:
        return Q, H, R
    fresh = space.draw(missing, X.dtype)
    for _ in range(3):
        basis.subtract(fresh, basis.inner(fresh))
        fresh -= Q @ (Q.T @ fresh)
        fresh, _ = orthonormalise(space.clean(fresh), 0.0, space.crew)
    both = np.concatenate([Q, fresh], axis=1)
    return both, H, np.concatenate([R, np.zeros((fresh.shape[1], R.shape[1]))])
