"""Rows of a context averaged over masks, one block at a time and never one copy a mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from contexture.contexts.base import Rows
from contexture.contexts.distances import negative_squares, square_norms
from contexture.contexts.knn_rows import KnnRows
from contexture.contexts.rbf import RbfRows
from contexture.contexts.reference import block_of, new_rows, own_positions
from contexture.contexts.search import References
from contexture.contexts.tallies import add_counts, rows_of_counts, rows_of_lists
from contexture.inputs import FloatArray, IntArray

_PANEL_ENTRIES = 1 << 17
"""Entries of a kernel computed at a time (1 MiB), so that they stay in the cache."""


@dataclass(frozen=True)
class MaskedRows:
    """Rows of a context averaged over masks, computed on demand.

    Parameters
    ----------
    plain : RbfRows or KnnRows
        The context over all features.
    masks : tuple of ndarray
        The features that each mask keeps.
    """

    plain: RbfRows | KnnRows
    masks: tuple[IntArray, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return self.plain.shape

    @property
    def sparse(self) -> bool:
        """As the plain context is."""
        return self.plain.sparse

    @property
    def input_weights(self) -> FloatArray:
        """P_X."""
        return self.plain.input_weights

    @property
    def context_values(self) -> npt.NDArray[Any]:
        """Ids of the reference rows."""
        return self.plain.context_values

    @property
    def details(self) -> Mapping[str, Any]:
        """What fitting found."""
        return self.plain.details

    def entries(self, start: int, stop: int) -> int:
        """At most as many a mask as the plain context has, and at most all."""
        return min(
            (stop - start) * self.shape[1], len(self.masks) * self.plain.entries(start, stop)
        )

    def rows(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` of the averaged P, shape (r, m).

        Raises
        ------
        InputError
            If X is not finite there.
        """
        if isinstance(self.plain, KnnRows) and self.plain.neighbours is not None:
            lists = np.array(self.plain.neighbours[start:stop], dtype=np.int32)
            return rows_of_lists(lists, self.shape[1], lists.shape[1])
        X = block_of(self.plain.X, start, stop)
        if isinstance(self.plain, KnnRows):
            own = own_positions(self.plain.positions, start, start + len(X))
            return self._neighbours(self.plain, X, own)
        return self._kernel(self.plain, X)

    def rows_of(self, X: npt.ArrayLike, own: npt.ArrayLike | None = None) -> Rows:
        """P of any inputs, shape (r, m); parameters and errors as `KnnRows.rows_of` has them."""
        matrix, places = new_rows(X, own, self.plain.references)
        if isinstance(self.plain, KnnRows):
            return self._neighbours(self.plain, matrix, places)
        return self._kernel(self.plain, matrix)

    def _neighbours(self, plain: KnnRows, X: FloatArray, own: IntArray) -> csr_array:
        """Count in integers how often a reference is chosen, over all masks at once."""
        r, m, k, total = len(X), self.shape[1], plain.k, len(self.masks) * plain.k
        # A table, or where that would be larger, all neighbours in a list; a third of the CSR.
        tabled = m <= total
        counts = np.zeros((r, m), dtype=np.int32) if tabled else np.empty((r, total), np.int32)
        for i, kept in enumerate(self.masks):
            # `take` copies row by row; an index would make columns, to be copied once more.
            # Nothing holds the references of one mask while those of the next are made.
            found = References.of(np.take(plain.references, kept, axis=1)).nearest(
                np.take(X, kept, axis=1), k, own, plain.include_self
            )
            if tabled:
                add_counts(found, counts)
            else:
                counts[:, i * k : (i + 1) * k] = found
        return rows_of_counts(counts, total) if tabled else rows_of_lists(counts, m, total)

    def _kernel(self, plain: RbfRows, X: FloatArray) -> FloatArray:
        """Add up panels that stay in the cache, in the block that is given back."""
        centre = np.median(plain.references, axis=0)
        X, R = X - centre, plain.references - centre
        r, m = len(X), len(R)
        total = np.zeros((r, m))
        step = max(1, _PANEL_ENTRIES // m)
        panel = np.empty((min(step, r), m))
        for kept in self.masks:
            left, right = (np.take(points, kept, axis=1) for points in (X, R))
            twice, of_x, of_r = 2.0 * left, square_norms(left), square_norms(right)
            for top in range(0, r, step):
                part, some = panel[: min(step, r - top)], slice(top, top + step)
                np.matmul(twice[some], right.T, out=part)
                negative_squares(part, left[some], right, of_x[some], of_r)
                part -= part.max(axis=1, keepdims=True)  # the nearest: no row underflows
                part *= plain.gamma
                np.exp(part, out=part)
                part *= 1.0 / part.sum(axis=1, keepdims=True)
                total[top : top + step] += part
            del left, right, twice  # or they would stand beside those of the next mask
        total /= len(self.masks)
        return total
