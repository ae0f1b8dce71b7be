"""Connected components of an operator from its row blocks, one block at a time.

Inputs and context values are the two sides of a bipartite graph. A block joins the context values
that its rows share; what is kept is one number a context value (a forest, `join`) and one a row,
never the blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from contexture.contexts.base import Rows
from contexture.inputs import IntArray

_DENSE_ENTRIES = 2**22
"""Of a dense block that are looked at together."""

NO_COLUMN = -1
"""Stands for the first context value of a row that has none."""


def components_of_blocks(blocks: Iterable[Rows], columns: int) -> tuple[int, IntArray, IntArray]:
    """Find the connected components, as `parts.connected_parts` does for a matrix in memory.

    Parameters
    ----------
    blocks : iterable of csr_array or ndarray
        Consecutive row blocks of P or M, each of shape (r, m); read once, in order.
    columns : int
        m.

    Returns
    -------
    int, ndarray of shape (n,), ndarray of shape (m,)
        How many there are, and the component of each input and of each context value, numbered
        in the order in which the inputs come.
    """
    forest = np.arange(columns)
    return labels(forest, np.concatenate([join_rows(forest, rows) for rows in blocks]))


def join_rows(forest: IntArray, rows: Rows) -> IntArray:
    """Join the context values that share a row.

    Parameters
    ----------
    forest : ndarray of shape (m,)
        Changed in place.
    rows : csr_array or ndarray of shape (r, m)
        An entry of 0 joins nothing.

    Returns
    -------
    ndarray of shape (r,)
        The first context value of each row, or -1.
    """
    if isinstance(rows, np.ndarray):
        step = max(1, _DENSE_ENTRIES // max(1, rows.shape[1]))
        strips = [rows[start : start + step] for start in range(0, len(rows), step)]
        none = np.zeros(0, dtype=np.int64)
        return np.concatenate([none, *(_join_dense(forest, strip) for strip in strips)])
    if not rows.data.all():
        rows = rows.copy()
        rows.eliminate_zeros()
    counts = np.diff(rows.indptr)
    first = np.full(len(counts), NO_COLUMN, dtype=np.int64)
    first[counts > 0] = rows.indices[rows.indptr[:-1][counts > 0]]
    join(forest, np.repeat(first, counts), rows.indices)
    return first


def _join_dense(forest: IntArray, rows: npt.NDArray[Any]) -> IntArray:
    """As `join_rows`; in a dense block, one row usually joins all, and need not be listed."""
    present = rows != 0
    widest = np.flatnonzero(present[present.sum(axis=1).argmax()])
    if widest.size:
        join(forest, np.full(len(widest), widest[0]), widest)
    roots = _roots(forest, np.arange(len(forest)))
    least = np.where(present, roots, len(forest)).min(axis=1)
    most = np.where(present, roots, NO_COLUMN).max(axis=1)
    apart = most > least
    if apart.any():
        join_rows(forest, sparse.csr_array(present[apart]))
    return np.where(present.any(axis=1), present.argmax(axis=1), NO_COLUMN)


def join(forest: IntArray, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> None:
    """Join ``one[i]`` with ``other[i]`` for every i, in place.

    Parameters
    ----------
    forest : ndarray of shape (m,)
        ``forest[a] <= a`` belongs to the component of a; the root of a component, its smallest
        member, is its own. ``numpy.arange(m)`` where nothing is joined.
    one, other : ndarray of int of shape (q,)
        Context values.
    """
    a, b = _roots(forest, one), _roots(forest, other)
    apart = a != b
    if not apart.any():
        return
    count = int(apart.sum())
    met, place = np.unique(np.concatenate([a[apart], b[apart]]), return_inverse=True)
    edges = sparse.coo_array(
        (np.ones(count, dtype=np.int8), (place[:count], place[count:])), shape=(len(met),) * 2
    )
    _, component = csgraph.connected_components(edges, directed=False)
    # ``met`` ascends, so the first member of each component is its smallest.
    _, root = np.unique(component, return_index=True)
    forest[met] = met[root[component]]


def _roots(forest: IntArray, members: npt.NDArray[Any]) -> IntArray:
    """Follow the forest to the roots, and shorten the ways for the next time."""
    roots: IntArray = forest[members]
    while ((above := forest[roots]) != roots).any():
        roots = above
    forest[members] = roots
    return roots


def labels(forest: IntArray, first: IntArray) -> tuple[int, IntArray, IntArray]:
    """Give the components numbers, in the order in which inputs and context values come.

    Parameters
    ----------
    forest : ndarray of shape (m,)
        After all rows were joined.
    first : ndarray of shape (n,)
        From `join_rows`; an input without context values is a component of its own.

    Returns
    -------
    int, ndarray of shape (n,), ndarray of shape (m,)
        As `components_of_blocks`.
    """
    n, m = len(first), len(forest)
    roots = _roots(forest, np.arange(m))
    alone = first == NO_COLUMN
    of_x = np.where(alone, m + np.arange(n), 0)
    of_x[~alone] = roots[first[~alone]]
    _, start, name = np.unique(
        np.concatenate([of_x, roots]), return_index=True, return_inverse=True
    )
    number = np.empty(len(start), dtype=np.int64)
    number[np.argsort(start)] = np.arange(len(start))
    numbered = number[name]
    return len(start), numbered[:n], numbered[n:]
