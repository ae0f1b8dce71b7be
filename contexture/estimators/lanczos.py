"""Top singular triplets of a connected part of a sparse operator, by Lanczos."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from contexture.estimators.parts import Triplets
from contexture.inputs import FloatArray

_MISSED = 1e-9
"""By how much a value found afterwards must exceed the last one kept to count as missed."""


def lanczos(
    M: sparse.csr_array, u: FloatArray, v: FloatArray, count: int, noise_floor: float, seed: int
) -> Triplets:
    """Lanczos bidiagonalisation (PROPACK) of M − u vᵀ, checked for values it may have missed.

    Parameters
    ----------
    M : csr_array of shape (n, m)
        Of a connected part.
    u, v : ndarray of shape (n,) and (m,)
        The trivial pair.
    count : int
        Number of triplets, below min(n, m).
    noise_floor : float
        Vectors of a smaller s² are NaN.
    seed : int
        Seed of the start vectors.
    """
    U, S, V = np.zeros((M.shape[0], 0)), np.zeros(0), np.zeros((M.shape[1], 0))
    generator = np.random.default_rng([seed, 0x1A2C])
    missing = count
    while True:
        deflated = _deflated(M, np.column_stack([u, U]), np.column_stack([v, V]), S)
        left, values, right = sparse_linalg.svds(
            deflated, k=missing, solver="propack", rng=generator
        )
        order = np.argsort(-np.concatenate([S, values]), kind="stable")
        U = np.column_stack([U, left])[:, order]
        V = np.column_stack([V, right.T])[:, order]
        S = np.concatenate([S, values])[order]
        # A Krylov space grown from one vector sees one copy of a repeated value. What it left
        # out shows as a value of the remainder that is larger than the last one kept.
        remainder = _deflated(M, np.column_stack([u, U]), np.column_stack([v, V]), S)
        top = _largest(remainder, generator)
        if top <= S[count - 1] ** 2 + _MISSED:
            break
        missing = max(1, min(16, count))
    U, V, S = U[:, :count], V[:, :count], S[:count]
    known = noise_floor < S**2
    return S**2, np.where(known, U, np.nan), np.where(known, V, np.nan)


def _deflated(
    M: sparse.csr_array, U: FloatArray, V: FloatArray, S: FloatArray
) -> sparse_linalg.LinearOperator:
    """M − u vᵀ − Σ s_i u_i v_iᵀ, the first columns of ``U`` and ``V`` being the trivial pair."""
    weights = np.concatenate([[1.0], S])
    transposed = M.T.tocsr()
    return sparse_linalg.LinearOperator(
        M.shape,
        matvec=lambda x: M @ x.ravel() - U @ (weights * (V.T @ x.ravel())),
        rmatvec=lambda y: transposed @ y.ravel() - V @ (weights * (U.T @ y.ravel())),
        dtype=np.float64,
    )


def _largest(operator: sparse_linalg.LinearOperator, generator: np.random.Generator) -> float:
    """Largest squared singular value, from below, by a short Lanczos run."""
    m = operator.shape[1]
    gram = sparse_linalg.LinearOperator(
        (m, m), matvec=lambda x: operator.rmatvec(operator.matvec(x)), dtype=np.float64
    )
    start = generator.standard_normal(m)
    value = sparse_linalg.eigsh(
        gram, k=1, v0=start, ncv=min(m, 24), tol=1e-3, return_eigenvectors=False
    )
    return float(value[0])
