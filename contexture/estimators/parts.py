"""Connected parts of a sparse operator: found, told apart by functions, and put together again."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from contexture.inputs import FloatArray

Triplets = tuple[FloatArray, FloatArray, FloatArray]
"""Eigenvalues s² (q,), descending, left vectors (n, r), r <= q, right vectors (m, q)."""

FAINT = 1e-11
"""Part of its mass that an input or a context value may lose to other parts, which count as apart:
their s_i² is above 1 − 4e-11, and all routes call 1 − 1e-10 the same as 1."""

_ROWS = 512


def firm(P: sparse.csr_array, p_x: FloatArray, p_a: FloatArray, inputs: int) -> sparse.csr_array:
    """Leave out the weights that all together are too faint to hold two parts together.

    A weight is left out if P(a|x) <= δ/m and P(x|a) <= δ/n, δ = `FAINT`. The parts of what is left
    then keep all but δ of the mass of each of their inputs and context values: their s is at least
    1 − 2δ in P, which no route tells from 1.

    Parameters
    ----------
    P : csr_array of shape (r, m)
        Rows of P.
    p_x, p_a : ndarray of shape (r,) and (m,)
        P_X of these rows, and P_A.
    inputs : int
        n.

    Returns
    -------
    csr_array of shape (r, m)
        P itself where nothing is faint, as in most contexts.
    """
    limit = FAINT / P.shape[1]
    if P.nnz == 0 or P.data.min() > limit:
        return P
    faint = np.flatnonzero(P.data <= limit)
    rows = np.searchsorted(P.indptr, faint, side="right") - 1
    faint = faint[p_x[rows] * P.data[faint] <= FAINT / inputs * p_a[P.indices[faint]]]
    kept = P.copy()
    kept.data[faint] = 0.0
    kept.eliminate_zeros()
    return kept


def connected_parts(M: sparse.csr_array) -> tuple[int, np.ndarray, np.ndarray]:
    """Find the connected parts of the bipartite graph of inputs and context values.

    Parameters
    ----------
    M : csr_array of shape (n, m)

    Returns
    -------
    int, ndarray of shape (n,), ndarray of shape (m,)
        How many there are, and the part of each input and of each context value.
    """
    n, m = M.shape
    # The lower half follows from the upper; only the pattern counts, and small entries save room.
    pattern = np.ones(M.nnz, dtype=np.int8)
    pointers = np.concatenate([M.indptr, np.full(m, M.indptr[-1], M.indptr.dtype)])
    graph = sparse.csr_array((pattern, M.indices + n, pointers), shape=(n + m, n + m))
    parts, labels = csgraph.connected_components(graph, directed=False)
    return int(parts), labels[:n], labels[n:]


def positions_by_part(of: np.ndarray, parts: int) -> list[np.ndarray]:
    """List the positions that belong to each part, ascending, by one sort."""
    order = np.argsort(of, kind="stable")
    return np.split(order, np.searchsorted(of[order], np.arange(1, parts)))


def contrasts(
    root_x: FloatArray,
    root_a: FloatArray,
    of_x: np.ndarray,
    of_a: np.ndarray,
    parts: int,
    wanted: int,
    left: int | None = None,
) -> Triplets:
    """Write down the functions with s = 1 on both sides, ``left`` at most on X; see `contrast`."""
    mass: FloatArray = np.bincount(of_x, weights=root_x**2, minlength=parts).astype(np.float64)
    count = min(parts - 1, wanted)
    on_x = count if left is None else min(left, count)
    return np.ones(count), contrast(root_x, of_x, mass, on_x), contrast(root_a, of_a, mass, count)


def contrast(root: FloatArray, of: np.ndarray, mass: FloatArray, count: int) -> FloatArray:
    """Write down functions with s = 1: each sets one part against all the larger ones.

    With masses w_0 >= w_1 >= ..., and W_j = w_0 + .. + w_{j-1}, the j-th is −√(w_j / (W_j
    W_{j+1})) on the parts before j and √(W_j / (w_j W_{j+1})) on part j: mean 0, variance 1,
    orthogonal to the others.

    Parameters
    ----------
    root : ndarray of shape (side,)
        √p of the side.
    of : ndarray of shape (side,)
        Part of each entry.
    mass : ndarray of shape (parts,)
        Probability of each part.
    count : int
        Functions wanted, below the number of parts.

    Returns
    -------
    ndarray of shape (side, count)
        Times ``root``.
    """
    order = np.argsort(-mass, kind="stable")
    place = np.empty(len(mass), dtype=np.int64)
    place[order] = np.arange(len(mass))
    w = mass[order]
    before = np.concatenate([[0.0], np.cumsum(w)])
    functions, at = np.zeros((len(root), count)), place[of]
    # Sorted by place, part j and those before it are the first entries.
    sequence = np.argsort(at, kind="stable")
    ends = np.searchsorted(at[sequence], np.arange(len(mass)), side="right")
    for j in range(1, count + 1):
        low = -np.sqrt(w[j] / (before[j] * before[j + 1]))
        high = np.sqrt(before[j] / (w[j] * before[j + 1]))
        smaller, own = sequence[: ends[j - 1]], sequence[ends[j - 1] : ends[j]]
        functions[smaller, j - 1] = root[smaller] * low
        functions[own, j - 1] = root[own] * high
    return functions


def merge(
    found: list[tuple[Triplets, np.ndarray, np.ndarray]],
    n: int,
    m: int,
    count: int,
    left: int | None = None,
) -> Triplets:
    """Pick the largest triplets of all parts and lay them out over the whole operator.

    Parameters
    ----------
    found : list of (triplets, rows, columns)
        Triplets of each part, and where its inputs and context values stand; used up.
    n, m : int
        Shape of the operator.
    count : int
        Number of triplets wanted. Where parts have more inputs than values beside others with
        fewer, there are not that many; the rest of the s_i is 0, with vectors of NaN.
    left : int, optional
        Left vectors wanted; all by default. Each of `found` must have what it may be asked for.
    """
    on_x = count if left is None else min(left, count)
    values = np.concatenate([triplets[0] for triplets, _, _ in found])
    owner = np.repeat(np.arange(len(found)), [len(triplets[0]) for triplets, _, _ in found])
    place = np.concatenate([np.arange(len(triplets[0])) for triplets, _, _ in found])
    top = np.argsort(-values, kind="stable")[:count]
    merged, U, V = np.zeros(count), np.zeros((n, on_x)), np.zeros((m, count))
    merged[: len(top)] = values[top]
    U[:, len(top) :], V[:, len(top) :] = np.nan, np.nan
    while found:  # one part makes room before the next is laid out
        (_, of_x, of_a), rows, columns = found.pop()
        goal = np.flatnonzero(owner[top] == len(found))
        source = place[top[goal]]
        _lay_out(of_a, source, V, columns, goal)
        _lay_out(of_x, source[goal < on_x], U, rows, goal[goal < on_x])
    return merged, U, V


def _lay_out(
    given: FloatArray, source: np.ndarray, whole: FloatArray, rows: np.ndarray, goal: np.ndarray
) -> None:
    """Write columns ``source`` of ``given`` to some rows and columns of ``whole``, in pieces."""
    for start in range(0, len(rows) if goal.size else 0, _ROWS):
        some = slice(start, start + _ROWS)
        whole[np.ix_(rows[some], goal)] = given[some][:, source]
