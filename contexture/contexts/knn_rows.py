"""Rows of the KNN context: P⁺(a|x) = 1/K on the K nearest reference rows of x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from contexture.contexts.base import EqualWeightsKept
from contexture.contexts.reference import block_of, new_rows, own_positions
from contexture.contexts.search import References
from contexture.inputs import FloatArray, IntArray, RowsOfX


@dataclass(frozen=True)
class KnnRows(EqualWeightsKept):
    """Rows of the KNN context: computed on demand, or from neighbours found before.

    Parameters
    ----------
    X : array of shape (n, D)
        All rows, read by slices.
    references : array of shape (m, D)
        The rows that are context values; read when they are needed, if they are not in memory.
    positions : ndarray of shape (m,)
        Where the references stand among the rows, ascending.
    k : int
        Neighbours of a row.
    include_self : bool
        Whether a row that is a reference counts as its own neighbour.
    input_weights, context_values, details
        As in `ConditionalRows`.
    neighbours : array of int, shape (n, k), optional
        Neighbours of all rows among the references, read by slices.
    """

    X: RowsOfX
    references: Any
    positions: IntArray
    k: int
    include_self: bool
    input_weights: FloatArray
    context_values: npt.NDArray[Any]
    details: Mapping[str, Any]
    neighbours: RowsOfX | None = None
    sparse = True

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return int(self.X.shape[0]), len(self.positions)

    @cached_property
    def searched(self) -> References:
        """The references, made ready for many searches."""
        return References.of(np.asarray(self.references[:]))

    def entries(self, start: int, stop: int) -> int:
        """K entries a row."""
        return (stop - start) * self.k

    def rows(self, start: int, stop: int) -> csr_array:
        """Rows ``start`` to ``stop`` of P as CSR, shape (r, m).

        Raises
        ------
        InputError
            If X is not finite there.
        """
        return uniform_rows(self.nearest(start, stop), self.shape[1])

    def nearest(self, start: int, stop: int) -> IntArray:
        """Neighbours of rows ``start`` to ``stop`` among the references, shape (r, k)."""
        if self.neighbours is not None:
            return np.asarray(self.neighbours[start:stop], dtype=np.int64)
        X = block_of(self.X, start, stop)
        own = own_positions(self.positions, start, start + len(X))
        return self.searched.nearest(X, self.k, own, self.include_self)

    def rows_of(self, X: npt.ArrayLike, own: npt.ArrayLike | None = None) -> csr_array:
        """P of any inputs; neighbours are searched exactly.

        Parameters
        ----------
        X : array-like of shape (r, D)
            Inputs, in the features of the corpus.
        own : array-like of int, shape (r,), optional
            Where each input stands among the references, −1 if it is none; by default none is.

        Returns
        -------
        csr_array of shape (r, m)

        Raises
        ------
        InputError
            If the shapes do not fit, or X is not finite, or so far out that squares overflow.
        """
        matrix, places = new_rows(X, own, self.references)
        found = self.searched.nearest(matrix, self.k, places, self.include_self)
        return uniform_rows(found, self.shape[1])


def uniform_rows(neighbours: IntArray, m: int) -> csr_array:
    """P with 1/K at the K listed columns of each row; columns sorted within a row."""
    r, k = neighbours.shape
    indices = np.sort(neighbours, axis=1).ravel()
    pointers = np.arange(0, r * k + 1, k)
    return csr_array((np.full(r * k, 1.0 / k), indices, pointers), shape=(r, m))
