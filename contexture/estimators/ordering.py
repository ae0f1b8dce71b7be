"""An order of rows and columns in which what is multiplied together lies together."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from contexture.estimators.crew import ALONE, Crew
from contexture.estimators.deflation import Space
from contexture.estimators.products import SparseProducts
from contexture.estimators.sparse_kernels import column_dots
from contexture.inputs import FloatArray, Floats

Order = npt.NDArray[np.intp]

CACHED_SIDE = 60_000
"""Up to here 32 vectors in float32 fit a cache of 8 MiB, and any order of small bandwidth does."""

_WIDTH, _STEPS, _LEAF, _SAMPLE = 16, 6, 512, 1024


def local_order(
    M: sparse.csr_array,
    root_x: FloatArray,
    root_a: FloatArray,
    seed: int = 0,
    crew: Crew = ALONE,
) -> tuple[Order, Order]:
    """Find an order of inputs and context values in which neighbours are near.

    Products with a sparse matrix are bound by memory traffic: with the vectors that they gather
    near to each other they run two to four times as fast on a neighbourhood graph. Small graphs
    are ordered by bandwidth (reverse Cuthill–McKee). In large ones, breadth makes bands that are
    wider than a cache; there, random functions are smoothed by some steps of diffusion, so that
    their values are coordinates of a place in the graph, and the places are halved again and
    again across their longest extent.

    Parameters
    ----------
    M : csr_array of shape (n, m)
    root_x, root_a : ndarray of shape (n,) and (m,)
        √p_X and √p_A.
    seed : int
        Of the random functions.
    crew : Crew

    Returns
    -------
    ndarray of shape (n,), ndarray of shape (m,)
        Positions in M, in their new order.
    """
    n, m = M.shape
    if min(n, m) <= CACHED_SIDE:
        order = _by_breadth(M)
    else:
        order = halved(_places(M, root_x, root_a, seed, crew), crew)
    return order[order < n], order[order >= n] - n


def order_of_weights(weights: sparse.csr_array) -> tuple[Order, Order]:
    """Find an order of rows and columns that is local to the entries of a matrix.

    Parameters
    ----------
    weights : csr_array of shape (n, m)
        Not negative; every row stands for a law, whatever it adds up to, and all rows count the
        same. Empty rows and columns go anywhere.

    Returns
    -------
    ndarray of shape (n,), ndarray of shape (m,)
        As `local_order`.
    """
    n, _ = weights.shape
    P = sparse.csr_array(weights, dtype=np.float32, copy=True)
    counts = np.diff(P.indptr)
    sums = np.asarray(P.sum(axis=1), dtype=np.float64).ravel()
    P.data /= np.repeat(np.where(sums > 0, sums, 1.0), counts).astype(np.float32)
    marginal = np.bincount(P.indices, weights=P.data, minlength=P.shape[1]) / n
    root_a = np.sqrt(np.where(marginal > 0, marginal, 1.0 / n))
    P.data /= (np.sqrt(n) * root_a).astype(np.float32)[P.indices]
    with Crew() as crew:
        return local_order(P, np.full(n, 1.0 / np.sqrt(n)), root_a, crew=crew)


def _by_breadth(M: sparse.csr_array) -> Order:
    # Only the pattern counts; small entries keep the copies small.
    pattern = sparse.csr_array((np.ones(M.nnz, np.int8), M.indices, M.indptr), shape=M.shape)
    bipartite = sparse.block_array([[None, pattern], [pattern.T, None]], format="csr")
    order = csgraph.reverse_cuthill_mckee(sparse.csr_matrix(bipartite), symmetric_mode=True)
    return np.asarray(order, dtype=np.intp)


def _places(
    M: sparse.csr_array, root_x: FloatArray, root_a: FloatArray, seed: int, crew: Crew
) -> Floats:
    """Coordinates of inputs and, below them, of context values; shape (n + m, 16)."""
    n, m = M.shape
    products = SparseProducts(lambda: M, M.shape, crew)
    side, weights = (m, root_a) if m <= n else (n, root_x)
    space = Space(weights, None, seed, crew)
    V = space.draw(_WIDTH, np.float32)
    for _ in range(_STEPS):
        W = space.clean(products.gram(V))
        crew.give(V)
        V = W
    V /= np.sqrt(column_dots(V, V) / side).astype(np.float32)
    other = np.concatenate([rows for _, rows in products.other(V)])
    first, second = (other, V) if m <= n else (V, other)
    places = np.empty((n + m, _WIDTH), np.float32)
    np.divide(first, root_x[:, None], out=places[:n], casting="same_kind")
    np.divide(second, root_a[:, None], out=places[n:], casting="same_kind")
    return places


def halved(places: Floats, crew: Crew = ALONE) -> Order:
    """Order points so that near ones come near to each other, by halving them recursively.

    Parameters
    ----------
    places : ndarray of shape (q, d)
        Used up.
    crew : Crew

    Returns
    -------
    ndarray of shape (q,)
        Positions of the points, in their new order.
    """
    order = np.arange(len(places))
    room, order_room = np.empty_like(places), np.empty_like(order)

    def halve(part: slice) -> list[slice]:
        points = places[part]
        sample = points[:: -(-len(points) // _SAMPLE)].astype(np.float64)
        sample -= sample.mean(axis=0)
        direction = np.linalg.eigh(sample.T @ sample)[1][:, -1].astype(np.float32)
        along = points @ direction
        middle = np.median(along[:: -(-len(points) // _SAMPLE)])
        low = _divide(points, order[part], along, middle, room[part], order_room[part])
        if not 0 < low < len(points):
            return []  # all in one place
        halves = slice(part.start, part.start + low), slice(part.start + low, part.stop)
        return [half for half in halves if half.stop - half.start > _LEAF]

    parts = [slice(0, len(places))] if len(places) > _LEAF else []
    while parts:
        parts = [half for halves in crew.each(halve, parts) for half in halves]
    return order


@numba.njit(cache=True, nogil=True)
def _divide(points: Any, order: Any, along: Any, middle: Any, room: Any, order_room: Any) -> int:
    """Bring points with a coordinate below the middle to the front; return how many there are."""
    low = high = 0
    for i in range(len(points)):
        if along[i] < middle:
            points[low] = points[i]
            order[low] = order[i]
            low += 1
        else:
            room[high] = points[i]
            order_room[high] = order[i]
            high += 1
    points[low:] = room[:high]
    order[low:] = order_room[:high]
    return low
