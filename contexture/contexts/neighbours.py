"""Approximate nearest neighbours among all rows."""

from __future__ import annotations

import logging
import warnings

import numba
import numpy as np
import numpy.typing as npt

from contexture.contexts.recall import SAMPLE, Neighbours, compare, exactly
from contexture.contexts.selection import sort, squared
from contexture.errors import ContextError
from contexture.inputs import FloatArray

EXACT_UP_TO = 100_000
"""Rows up to which neighbours among all rows are searched exactly, unless told otherwise."""

ALWAYS_EXACT = 2000
"""Rows up to which an exact search is always taken; it is over in a second."""


_CHUNK = 65536

_log = logging.getLogger(__name__)


def approximate_neighbours(
    X: FloatArray,
    k: int,
    seed: int,
    include_self: bool,
    threads: int | None = None,
    sample: int = SAMPLE,
    mask: int = 0,
) -> Neighbours:
    """Find about the k nearest rows of every row, by nearest-neighbour descent.

    The distances of what was found are computed exactly; a row itself comes first or is left
    out, ties go by row order, and rows for which too few were found are searched exactly.
    Up to `ALWAYS_EXACT` rows the search is exact.

    Takes, beside X, about 4 D + 26 k + 200 bytes a row while it searches (measured: 1 040 with
    D = 16 and k = 30), as the search works on a copy in float32, and grows trees.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        All rows, in memory.
    k : int
        Below n.
    seed : int
        Equal seeds and threads give equal neighbours.
    include_self : bool
        Whether a row is its own first neighbour, or none.
    threads : int, optional
        One by default, since another number of threads gives (a few) other neighbours.
    sample : int
        Rows on which what was found is compared with an exact search.
    mask : int
        Decides which rows, beside the seed.

    Raises
    ------
    ContextError
        If the package that searches is not installed.
    """
    n = len(X)
    if n <= max(ALWAYS_EXACT, 4 * k):
        found = exactly(X, np.arange(n), k, include_self).astype(np.int32)
        return Neighbours(found, 1.0, 0.0, 1.0, 1.0, n)
    graph = _descend(X, k, seed, threads)
    positions = np.empty((n, k), dtype=np.int32)
    few = _restore(np.ascontiguousarray(X, dtype=np.float64), graph, include_self, positions)
    del graph
    lacking = np.flatnonzero(few)
    if lacking.size:
        positions[lacking] = exactly(X, lacking, k, include_self)
    compared = compare(X, positions, seed, include_self, sample, mask)
    if compared.doubt:
        _log.warning("%s", compared.doubt)
    return compared


def _descend(X: FloatArray, k: int, seed: int, threads: int | None) -> npt.NDArray[np.int32]:
    try:
        from pynndescent import NNDescent
    except ImportError as error:
        raise ContextError(
            "approximate neighbours need the package pynndescent: install it by `pip install "
            "'contexture[scale]'`, or set search to 'exact', or give the context a reference."
        ) from error
    with warnings.catch_warnings():
        # Rows for which too few were found are searched exactly afterwards.
        warnings.simplefilter("ignore")
        index = NNDescent(
            _single(X),
            metric="euclidean",
            n_neighbors=k + 1,
            random_state=np.random.RandomState([seed & 0xFFFFFFFF, 0x4E4E]),
            n_jobs=1 if threads is None else threads,
            low_memory=True,
        )
        graph: npt.NDArray[np.int32] = index.neighbor_graph[0]
    return graph


def _single(X: FloatArray) -> npt.NDArray[np.float32]:
    """Copy X to float32, centred and scaled so that nothing overflows and digits are kept."""
    centre = np.median(X[:: max(1, len(X) // 1024)], axis=0)
    largest = max(float((X.max(axis=0) - centre).max()), float((centre - X.min(axis=0)).max()))
    scale = 1.0 / largest if largest > 0 else 1.0
    single = np.empty(X.shape, dtype=np.float32)
    for start in range(0, len(X), _CHUNK):
        single[start : start + _CHUNK] = (X[start : start + _CHUNK] - centre) * scale
    return single


@numba.njit(cache=True, nogil=True)
def _restore(X, graph, include_self, positions):  # type: ignore[no-untyped-def]
    """Order what was found by exact distance and row; tells which rows have too few."""
    (n, k), wide = positions.shape, graph.shape[1]
    few = np.zeros(n, np.bool_)
    distances, others = np.empty(wide), np.empty(wide, np.int32)
    for i in range(n):
        count = 0
        for j in graph[i]:
            if j >= 0 and j != i:
                others[count] = j
                distances[count] = squared(X[i], X[j])
                count += 1
        sort(distances, others, count)
        first = 1 if include_self else 0
        if first:
            positions[i, 0] = i
        few[i] = count < k - first
        for c in range(first, min(k, count + first)):
            positions[i, c] = others[c - first]
    return few
