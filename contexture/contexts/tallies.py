"""Counts of neighbours: how often each reference was chosen by a row."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def _distinct(lists):  # type: ignore[no-untyped-def]
    found = np.zeros(len(lists), np.int64)
    for i in range(len(lists)):
        last = -1
        for j in lists[i]:
            found[i] += j != last
            last = j
    return found


@numba.njit(cache=True, nogil=True)
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
