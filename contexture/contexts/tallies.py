"""Counts of neighbours: of pairs that share a row, and of how often a reference was chosen."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from contexture.inputs import FloatArray


def count_pairs(neighbours: npt.NDArray[np.integer[Any]], out: npt.NDArray[Any]) -> None:
    """Add, for each row, 1 to ``out[a, b]`` for all a <= b among its neighbours.

    With P = 1/K on the neighbours, PᵀP is the outcome over K²; only the upper triangle with the
    diagonal is written.

    Parameters
    ----------
    neighbours : ndarray of int, shape (r, k)
        Positions among m references, no two alike in a row; sorted rows are fastest.
    out : ndarray of int, shape (m, m)
        Added to in place.
    """
    _count_pairs(np.sort(neighbours, axis=1), out)


def add_pairs(
    neighbours: npt.NDArray[np.integer[Any]], weights: FloatArray, out: FloatArray
) -> None:
    """Add, for each row, its weight to ``out[a, b]`` for all a <= b among its neighbours.

    Parameters
    ----------
    neighbours : ndarray of int, shape (r, k)
        As in `count_pairs`.
    weights : ndarray of shape (r,)
        One a row.
    out : ndarray of shape (m, m)
        Added to in place, in the order of the rows.
    """
    _add_pairs(np.sort(neighbours, axis=1), weights, out)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_pairs(neighbours, out):  # type: ignore[no-untyped-def]
    r, k = neighbours.shape
    for i in range(r):
        row = neighbours[i]
        for a in range(k):
            into = out[row[a]]
            for b in range(a, k):
                into[row[b]] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_pairs(neighbours, weights, out):  # type: ignore[no-untyped-def]
    r, k = neighbours.shape
    for i in range(r):
        row, weight = neighbours[i], weights[i]
        for a in range(k):
            into = out[row[a]]
            for b in range(a, k):
                into[row[b]] += weight


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_counts(neighbours, table):  # type: ignore[no-untyped-def]
    """Add 1 to ``table[i, a]`` for every neighbour a of row i; ``table`` has shape (r, m)."""
    r, k = neighbours.shape
    for i in range(r):
        for c in range(k):
            table[i, neighbours[i, c]] += 1


def rows_of_counts(table: npt.NDArray[np.int32], total: int) -> csr_array:
    """P as counts over their total, from a table of shape (r, m) with 0 for most."""
    pointers = np.concatenate([[0], np.cumsum(np.count_nonzero(table, axis=1))])
    columns, counts = _stored(table, int(pointers[-1]))
    return csr_array((counts / total, columns, pointers), shape=table.shape)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _stored(table, size):  # type: ignore[no-untyped-def]
    columns, counts = np.empty(size, np.int32), np.empty(size, np.int32)
    n = 0
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            if table[i, j] != 0:
                columns[n], counts[n] = j, table[i, j]
                n += 1
    return columns, counts


def rows_of_lists(lists: npt.NDArray[np.int32], m: int, total: int) -> csr_array:
    """P as counts over their total, from all neighbours of each row, with repetitions.

    Parameters
    ----------
    lists : ndarray of int32, shape (r, q)
        Sorted in place.
    m : int
        Number of references.
    total : int
        What a count is divided by.
    """
    lists.sort(axis=1)
    pointers = np.concatenate([[0], np.cumsum(_distinct(lists))])
    columns, counts = _run_lengths(lists, int(pointers[-1]))
    return csr_array((counts / total, columns, pointers), shape=(len(lists), m))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _distinct(lists):  # type: ignore[no-untyped-def]
    found = np.zeros(len(lists), np.int64)
    for i in range(len(lists)):
        last = -1
        for j in lists[i]:
            found[i] += j != last
            last = j
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _run_lengths(lists, size):  # type: ignore[no-untyped-def]
    columns, counts = np.empty(size, np.int32), np.zeros(size, np.int32)
    n = -1
    for i in range(len(lists)):
        last = -1
        for j in lists[i]:
            if j != last:
                n += 1
                columns[n] = last = j
            counts[n] += 1
    return columns, counts
