"""The end of a run: Rayleigh and Ritz on G itself, and a look for what was missed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from scipy import linalg

from contexture.estimators.basis import Basis
from contexture.estimators.chebyshev import Apply, Filter
from contexture.estimators.convergence import bounds
from contexture.estimators.deflation import Space, orthonormalise, small_product
from contexture.estimators.sparse_kernels import column_dots, subtract_scaled
from contexture.inputs import FloatArray, Floats

logger = logging.getLogger(__name__)

WIDTH = 32
"""Columns multiplied by G at a time."""

DRIFTS, DRIFT_STEPS = 8, 3
"""Random vectors, and steps of the power method, that tell how far a basis is from orthonormal."""

_TENTH = 0.1
"""Turning vectors to take off this share of their residuals makes them shorter by 1 in 200."""

PROBE, PROBE_STEPS = 8, 4
"""Random vectors that look for missed values, and how often the filter is applied to them."""


def _images(basis: Basis, apply: Apply, count: int) -> Iterator[tuple[int, int, Floats, Floats]]:
    """Columns a .. b of a basis, block by block, as (a, b, X, ``apply(X)``).

    X and its image are taken back when the next block is asked for.
    """
    for a in range(0, count, WIDTH):
        b = min(a + WIDTH, count)
        X = basis.columns(a, b)
        Y = apply(X)
        yield a, b, X, Y
        basis.crew.give(X, Y)


def judge(
    basis: Basis, gram: Apply, count: int, off: float
) -> tuple[FloatArray, FloatArray] | None:
    """Take the values of G, and the bounds of their errors, from what should be its Ritz vectors.

    Those of f(G) are, but for rounding and for those at the end. Then neither they nor their
    images need to be turned, and the images need not be kept: of the dense work of
    `rayleigh_ritz`, an eighth remains.

    Parameters
    ----------
    basis : Basis
        With p columns in use.
    gram : callable
        X ↦ G X.
    count : int
        How many of the values are wanted.
    off : float
        How far the wanted vectors may be from Ritz vectors: the part of G q_i along the other q_j,
        unless it is less than a tenth of the residual; and how far QᵀQ may be from I.

    Returns
    -------
    (ndarray of shape (p,), ndarray of shape (count,)) or None
        Ritz values, descending, and bounds; nothing if the vectors are farther off, or stand in
        another order than the values.
    """
    drift = _drift(basis)
    if not drift <= off:  # nor if it is no number
        return None
    p = basis.used
    H, lengths = np.zeros((p, p)), np.zeros(p)
    for a, b, X, Y in _images(basis, gram, p):
        H[:b, a:b] = basis.inner(Y, 0, b)
        quotients = column_dots(X, Y) / column_dots(X, X)
        subtract_scaled(Y, X, quotients.astype(Y.dtype))
        lengths[a:b] = np.sqrt(column_dots(Y, Y))
        np.fill_diagonal(H[a:b, a:b], quotients)
    H = np.triu(H) + np.triu(H, 1).T
    quotients = np.diag(H)
    beside = np.linalg.norm(H - np.diag(quotients), axis=0)
    if not np.all(beside[:count] <= np.maximum(off, _TENTH * lengths[:count])):
        return None
    values, Z = linalg.eigh(H, check_finite=False, driver="evd")
    values, Z = values[::-1], Z[:, ::-1]
    # The residual of a Ritz vector Q z is that of the columns times z, less what is along Q. With
    # QᵀQ for I, values change by its distance from I in proportion (Ostrowski).
    errors = bounds(values, (np.abs(Z).T @ lengths) ** 2, count) + abs(values[0]) * drift
    paired = np.abs(quotients[:count] - values[:count]) <= off + errors
    return (values, errors) if paired.all() else None


def _drift(basis: Basis) -> float:
    """Estimate the spectral norm of QᵀQ − I from below, by some steps of the power method."""
    Z = np.random.default_rng(0).standard_normal((basis.used, DRIFTS))
    drift = 0.0
    for _ in range(DRIFT_STEPS):
        Z /= np.maximum(np.linalg.norm(Z, axis=0), np.finfo(float).tiny)
        X = np.zeros((basis.side, DRIFTS), basis.dtype)
        held = Z.astype(basis.dtype).astype(float)
        basis.subtract(X, held)
        Z = -basis.inner(X) - held
        drift = float(np.linalg.norm(Z, axis=0).max())
        if drift == 0.0 or not np.isfinite(drift):
            break
    return drift


def rayleigh_ritz(
    basis: Basis, gram: Apply, count: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Turn the first columns of a basis into Ritz vectors of G.

    Parameters
    ----------
    basis : Basis
        With ``count`` columns in use and room for as many more.
    gram : callable
        X ↦ G X.
    count : int

    Returns
    -------
    ndarray (p,), ndarray (p, p), ndarray (p, p)
        Ritz values, descending; how the columns were turned; RᵀR of the residuals.
    """
    for a, _, _, Y in _images(basis, gram, count):
        basis.put(count + a, Y)
    S, H = basis.products(count)
    # In float32 the basis is orthonormal to 1e-6 only: a generalised problem, in float64.
    values, Z = linalg.eigh((H + H.T) / 2, S, check_finite=False)
    values, Z = values[::-1], Z[:, ::-1]
    basis.rotate(Z)
    basis.rotate(Z, first=count)
    return values, Z, basis.residual_gram(values)


def polish(
    basis: Basis,
    filter: Filter,
    gram: Apply,
    known: tuple[FloatArray, FloatArray],
    tolerance: float,
    rounding: float,
) -> tuple[FloatArray, FloatArray]:
    """Apply a filter to Ritz vectors and settle again, as long as that helps.

    In a basis of a filtered Krylov space, rounding of what is lifted most stays beside what is
    lifted least. Applied to a vector alone, the filter lifts that vector above all that rounding
    mixed in, but for the vectors beside it, from which Rayleigh and Ritz part it.

    Parameters
    ----------
    basis : Basis
        With the Ritz vectors in use and room for as many more.
    filter : Filter
    gram : callable
        X ↦ G X.
    known : (ndarray of shape (p,), ndarray of shape (k,))
        Ritz values, descending, and bounds of the errors of the first k.
    tolerance : float
        Wanted bound.
    rounding : float
        Of the products, part of every bound.

    Returns
    -------
    (ndarray of shape (p,), ndarray of shape (k,))
        Values and bounds now. The bounds are infinite where rounding left so much in the vectors
        that the filter made them dependent: they are of no use then.
    """
    (values, errors), before = known, np.inf
    while filter.degree > 1 and tolerance < errors.max() < before / 2:
        before = float(errors.max())
        lifted = filter.at(values[values > filter.cut]).astype(basis.dtype)
        lift = lambda X: filter.apply(gram, X, basis.crew)  # noqa: E731
        for a, b, _, Y in _images(basis, lift, len(lifted)):
            basis.put(a, Y / lifted[a:b])
        try:
            values, _, residuals = rayleigh_ritz(basis, gram, len(values))
        except np.linalg.LinAlgError:  # QᵀQ is not positive definite
            return values, np.full(len(errors), np.inf)
        errors = bounds(values, residuals, len(errors)) + rounding
    return values, errors


def find_missed(
    basis: Basis, space: Space, filter: Filter, gram: Apply, least: float
) -> Floats | None:
    """Look for an eigenvalue above ``least`` beside those of the basis, with random vectors.

    A block Krylov space sees at most as many copies of a repeated value as its block is wide.

    Returns
    -------
    ndarray of shape (side, w) or None
        Vectors to go on with, if there is one.
    """
    free = space.dimension - basis.used
    if free < 1:
        return None
    X = space.draw(min(PROBE, free), basis.dtype)
    for step in range(PROBE_STEPS + 1):
        # Once is enough but at the end: what rounding lets in is small again after the next filter.
        for _ in range(1 if step < PROBE_STEPS else 2):
            basis.subtract(X, basis.inner(X))
        X, _ = orthonormalise(space.clean(X), 0.0, space.crew)
        if step < PROBE_STEPS:
            X = filter.apply(gram, X)
    if not X.shape[1]:
        return None
    found, turn = np.linalg.eigh(small_product(X, gram(X)))
    if found[-1] <= least:
        return None
    logger.info("a value of %.6g had been missed; going on", found[-1])
    return np.ascontiguousarray(X @ turn.astype(X.dtype))
