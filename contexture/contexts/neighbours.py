"""Approximate nearest neighbours among all rows, and how far they are from the exact ones."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from contexture.contexts.search import nearest
from contexture.contexts.selection import sort, squared
from contexture.errors import ContextError
from contexture.inputs import FloatArray, IntArray

EXACT_UP_TO = 100_000
"""Rows up to which neighbours among all rows are searched exactly, unless told otherwise."""

ALWAYS_EXACT = 2000
"""Rows up to which an exact search is always taken; it is over in a second."""

SAMPLE = 1000
"""Rows on which approximate neighbours are compared with exact ones."""

FARTHEST = 1.01
"""Mean ratio of distances above which neighbours are doubtful: 5 % far ones make more than it."""

LEAST_RECALL = 0.95
"""Recall below which neighbours are doubtful."""

_CHUNK = 65536

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of every row among all rows, and how good they are.

    Attributes
    ----------
    positions : ndarray of int32, shape (n, k)
        Nearest first.
    recall : float
        Share of the exact neighbours that were found, on a sample of rows; the own row is not
        counted.
    recall_standard_error : float
        Of that share, over rows.
    distance_ratio_mean, distance_ratio_max : float
        The root mean square distance of a row's neighbours over that of the exact ones: mean
        and largest over the sample. Recall alone does not tell near misses, which are harmless,
        from far ones, which connect what is apart.
    sample : int
        Rows in the sample.
    """

    positions: npt.NDArray[np.int32]
    recall: float
    recall_standard_error: float
    distance_ratio_mean: float
    distance_ratio_max: float
    sample: int

    @property
    def doubt(self) -> str:
        """What speaks against using these neighbours; empty if nothing does."""
        if self.distance_ratio_mean > FARTHEST or self.recall < LEAST_RECALL:
            return (
                f"of the exact neighbours {self.recall:.1%} were found, and those found are "
                f"{self.distance_ratio_mean:.3g} times as far as the exact ones: far neighbours "
                "weaken the association; set search to 'exact', or give the context a reference."
            )
        return ""

    @property
    def details(self) -> Mapping[str, float]:
        """The figures without the neighbours, as they are kept with an operator."""
        return {
            "recall": self.recall,
            "recall_standard_error": self.recall_standard_error,
            "distance_ratio_mean": self.distance_ratio_mean,
            "distance_ratio_max": self.distance_ratio_max,
            "recall_sample": self.sample,
        }


def approximate_neighbours(
    X: FloatArray,
    k: int,
    seed: int,
    include_self: bool,
    threads: int | None = None,
    sample: int = SAMPLE,
) -> Neighbours:
    """Find about the k nearest rows of every row, by nearest-neighbour descent.

    The distances of what was found are computed exactly; a row itself comes first or is left
    out, ties go by row order, and rows for which too few were found are searched exactly.
    Up to `ALWAYS_EXACT` rows the search is exact.

    Takes, beside X, about 4 D + 32 k bytes a row while it searches (measured: 1 040 with D = 16
    and k = 30), as the search works on a copy in float32.

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

    Raises
    ------
    ContextError
        If the package that searches is not installed.
    """
    n = len(X)
    if n <= max(ALWAYS_EXACT, 4 * k):
        found = _exactly(X, np.arange(n), k, include_self).astype(np.int32)
        return Neighbours(found, 1.0, 0.0, 1.0, 1.0, n)
    graph = _descend(X, k, seed, threads)
    positions = np.empty((n, k), dtype=np.int32)
    few = _restore(np.ascontiguousarray(X, dtype=np.float64), graph, include_self, positions)
    del graph
    lacking = np.flatnonzero(few)
    if lacking.size:
        positions[lacking] = _exactly(X, lacking, k, include_self)
    found = compare(X, positions, seed, include_self, sample)
    if found.doubt:
        _log.warning("%s", found.doubt)
    return found


def compare(
    X: FloatArray,
    positions: npt.NDArray[np.integer[Any]],
    seed: int,
    include_self: bool,
    sample: int = SAMPLE,
) -> Neighbours:
    """Compare neighbours among all rows with the exact ones, on a sample of rows.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        All rows.
    positions : ndarray of int, shape (n, k)
        Neighbours of each row.
    seed : int
        Of the sample.
    include_self : bool
        Whether rows count as neighbours of their own; they are not counted here.
    sample : int
        Rows compared, at most n.
    """
    n, k = positions.shape
    rows = np.random.default_rng([seed, 0xC0]).choice(n, min(n, sample), replace=False)
    exact = _pair_distances(X, rows, _exactly(X, rows, k, include_self))
    found = _pair_distances(X, rows, positions[rows])
    others = 1 if include_self and k > 1 else 0
    exact, found = np.sort(exact)[:, others:], np.sort(found)[:, others:]
    # A neighbour as near as the last exact one is right, whichever of equals was taken.
    right = (found <= exact[:, -1:] * (1 + 1e-12)).mean(axis=1)
    first, second = exact.mean(axis=1), found.mean(axis=1)
    tiny = 1e-12 * float(second.max()) or 1.0  # coinciding rows are at distance 0
    ratio = np.sqrt((second + tiny) / (first + tiny))
    return Neighbours(
        positions.astype(np.int32, copy=False),
        float(right.mean()),
        float(right.std() / math.sqrt(len(rows))),
        float(ratio.mean()),
        float(ratio.max()),
        len(rows),
    )


def pooled(positions: npt.NDArray[np.int32], parts: Sequence[Neighbours]) -> Neighbours:
    """Pool what was found under several masks."""
    count = len(parts)
    errors = np.array([part.recall_standard_error for part in parts])
    return Neighbours(
        positions,
        float(np.mean([part.recall for part in parts])),
        float(np.sqrt((errors**2).sum()) / count),
        float(np.mean([part.distance_ratio_mean for part in parts])),
        max(part.distance_ratio_max for part in parts),
        sum(part.sample for part in parts),
    )


def _exactly(X: FloatArray, rows: IntArray, k: int, include_self: bool) -> IntArray:
    return nearest(X[rows], X, k, rows, include_self)


def _pair_distances(
    X: FloatArray, rows: IntArray, positions: npt.NDArray[np.integer[Any]]
) -> FloatArray:
    difference = X[rows][:, None, :] - X[positions]
    squares: FloatArray = np.einsum("ijk,ijk->ij", difference, difference)
    return squares


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
