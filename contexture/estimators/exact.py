"""Exact spectra of operators that fit in memory.

The trivial pair is never searched for: every connected part C of a sparse operator has the
exact singular pair (√p_X on C, √p_A on C) with s = 1. Parts are solved apart, so that equal
values in different parts cannot be confused, and the functions that tell parts from each other
are written down in closed form.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph
from scipy.sparse import linalg as sparse_linalg

from contexture.contexts.base import FloatArray, Rows
from contexture.errors import InputError
from contexture.estimators.influence import covariance, eigenvalue_influence
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum, fix_signs

NOISE_FLOOR = 1e-10
"""s_i² below this is rounding (Gram matrices in float64): it counts as 0, without functions."""

GRAM_LIMIT = 1500
"""Smaller side of a sparse part up to which its Gram matrix is formed; above: Lanczos."""

_MISSED = 1e-9
"""By how much a value found afterwards must exceed the last one kept to count as missed."""

Triplets = tuple[FloatArray, FloatArray, FloatArray]
"""Eigenvalues s² (q,), left vectors (n, q), right vectors (m, q), values descending."""


def exact_spectrum(operator: ExpectationOperator, rank: int = 512, seed: int = 0) -> Spectrum:
    """Decompose an operator to machine precision.

    Parameters
    ----------
    operator : ExpectationOperator
        P is read into memory.
    rank : int
        Number of singular values wanted; at most min(n, m) − 1 exist beside the trivial one.
    seed : int
        Seed of the start vectors (it does not change results beyond rounding).

    Returns
    -------
    Spectrum

    Raises
    ------
    InputError
        If there is only one input or one context value, so that nothing can be associated.
    """
    operator = operator.in_memory()
    n, m = operator.shape
    if min(n, m) < 2:
        raise InputError(
            f"the operator has {n} input(s) and {m} context value(s); two of each are needed."
        )
    M = operator.normalised()
    root_x, root_a = np.sqrt(operator.input_weights), np.sqrt(operator.context_weights)
    wanted = min(rank, min(n, m) - 1)
    if isinstance(M, sparse.csr_array):
        values, U, V, parts, method = _by_parts(M, root_x, root_a, wanted, seed)
    else:
        values, U, V = _gram(M, root_x, root_a, wanted)
        parts, method = 1 + int(np.sum(values > 1 - NOISE_FLOOR)), "exact: dense Gram matrix"
    # Rounding must not pass for a spectrum: τ of pure noise would look like an answer.
    eigenvalues = np.where(values > NOISE_FLOOR, np.minimum(values, 1.0), 0.0)
    left, right = fix_signs(U / root_x[:, None], V / root_a[:, None])
    left[:, eigenvalues == 0], right[:, eigenvalues == 0] = np.nan, np.nan
    influence = eigenvalue_influence(operator, eigenvalues, right)
    return Spectrum(
        singular_values=np.sqrt(eigenvalues),
        left=left,
        right=right,
        eigenvalue_covariance=covariance(influence, operator.input_weights),
        input_weights=operator.input_weights,
        context_weights=operator.context_weights,
        context_values=operator.context_values,
        total_association=operator.total_association,
        components=parts,
        method=method,
        noise_floor=NOISE_FLOOR,
    )


def _by_parts(
    M: sparse.csr_array, root_x: FloatArray, root_a: FloatArray, wanted: int, seed: int
) -> tuple[FloatArray, FloatArray, FloatArray, int, str]:
    n, m = M.shape
    parts, of_x, of_a = connected_parts(M)
    found = [_contrasts(root_x, root_a, of_x, of_a, parts, wanted)]
    rest = wanted - len(found[0][0])
    methods = set()
    for part in range(parts) if rest else ():
        rows, columns = np.flatnonzero(of_x == part), np.flatnonzero(of_a == part)
        count = min(rest, len(rows) - 1, len(columns) - 1)
        if count < 1:
            continue
        piece = M if parts == 1 else M[rows][:, columns]
        # Within a part, √p_X and √p_A scaled to length 1 are the trivial pair.
        u, v = root_x[rows], root_a[columns]
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        if min(piece.shape) <= GRAM_LIMIT or 3 * count > min(piece.shape):
            values, U, V = _gram(piece, u, v, count)
            methods.add("Gram matrices")
        else:
            values, U, V = _lanczos(piece, u, v, count, seed)
            methods.add("Lanczos bidiagonalisation")
        found.append((values, _scatter(U, rows, n), _scatter(V, columns, m)))
        found = [_top(found, wanted)]
    method = "exact: " + (" and ".join(sorted(methods)) or "connected parts in closed form")
    # Parts with more inputs than values beside others with fewer: the rest of the s_i is 0.
    short = wanted - sum(len(f[0]) for f in found)
    if short > 0:
        found.append((np.zeros(short), np.full((n, short), np.nan), np.full((m, short), np.nan)))
    return *_top(found, wanted), parts, method


def connected_parts(M: Rows) -> tuple[int, np.ndarray, np.ndarray]:
    """Connected parts of the bipartite graph of inputs and context values.

    Parameters
    ----------
    M : csr_array of shape (n, m)

    Returns
    -------
    int, ndarray of shape (n,), ndarray of shape (m,)
        How many there are, and the part of each input and of each context value.
    """
    n, _ = M.shape
    bipartite = sparse.block_array([[None, M], [sparse.csr_array(M.T), None]], format="csr")
    parts, labels = csgraph.connected_components(bipartite, directed=False)
    return int(parts), labels[:n], labels[n:]


def _contrasts(
    root_x: FloatArray,
    root_a: FloatArray,
    of_x: np.ndarray,
    of_a: np.ndarray,
    parts: int,
    wanted: int,
) -> Triplets:
    """Functions with s = 1: each sets one part against all the larger ones.

    With masses w_0 >= w_1 >= ..., and W_j = w_0 + .. + w_{j-1}, the j-th is −√(w_j / (W_j
    W_{j+1})) on the parts before j and √(W_j / (w_j W_{j+1})) on part j: mean 0, variance 1,
    orthogonal to the others.
    """
    mass = np.bincount(of_x, weights=root_x**2, minlength=parts)
    order = np.argsort(-mass, kind="stable")
    place = np.empty(parts, dtype=np.int64)
    place[order] = np.arange(parts)
    w = mass[order]
    before = np.concatenate([[0.0], np.cumsum(w)])
    count = min(parts - 1, wanted)
    U, V = np.zeros((len(root_x), count)), np.zeros((len(root_a), count))
    at_x, at_a = place[of_x], place[of_a]
    for j in range(1, count + 1):
        low = -np.sqrt(w[j] / (before[j] * before[j + 1]))
        high = np.sqrt(before[j] / (w[j] * before[j + 1]))
        U[:, j - 1] = root_x * np.where(at_x < j, low, np.where(at_x == j, high, 0.0))
        V[:, j - 1] = root_a * np.where(at_a < j, low, np.where(at_a == j, high, 0.0))
    return np.ones(count), U, V


def _gram(M: Rows, u: FloatArray, v: FloatArray, count: int) -> Triplets:
    """Eigenvectors of the Gram matrix on the smaller side, the trivial pair taken off."""
    n, m = M.shape
    wide = n <= m
    G = M @ M.T if wide else M.T @ M
    G = G if isinstance(G, np.ndarray) else G.toarray()
    trivial = u if wide else v
    G -= np.outer(trivial, trivial)
    side = len(G)
    # The driver picks the top by index; all of them when most are wanted anyway.
    values, vectors = linalg.eigh(
        G, subset_by_index=(side - count, side - 1), overwrite_a=True, check_finite=False
    )
    values, vectors = values[::-1], vectors[:, ::-1]
    significant = values > NOISE_FLOOR
    # Beside a small value the solver leaves some of the trivial vector, and M magnifies it.
    vectors = vectors - np.outer(trivial, trivial @ vectors)
    other = np.full((m if wide else n, count), np.nan)
    scale = np.sqrt(values[significant])
    product = (M.T if wide else M) @ vectors[:, significant]
    other[:, significant] = product / scale
    mine = np.where(significant[None, :], vectors, np.nan)
    return (values, mine, other) if wide else (values, other, mine)


def _lanczos(M: sparse.csr_array, u: FloatArray, v: FloatArray, count: int, seed: int) -> Triplets:
    """Lanczos bidiagonalisation (PROPACK) of M − u vᵀ, checked for values it may have missed."""
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
    known = S**2 > NOISE_FLOOR
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


def _scatter(vectors: FloatArray, positions: np.ndarray, size: int) -> FloatArray:
    if len(positions) == size:
        return vectors
    whole = np.zeros((size, vectors.shape[1]))
    whole[positions] = vectors
    return whole


def _top(found: list[Triplets], count: int) -> Triplets:
    values = np.concatenate([f[0] for f in found])
    order = np.argsort(-values, kind="stable")[:count]
    U = np.concatenate([f[1] for f in found], axis=1)[:, order]
    V = np.concatenate([f[2] for f in found], axis=1)[:, order]
    return values[order], U, V
