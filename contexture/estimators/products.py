"""Products with a normalised operator M: all that the Krylov solver asks of it.

M = diag(p_X)^½ P diag(p_A)^-½ has shape (n, m). The solver works on the *smaller side*:
G = MᵀM where m <= n, G = M Mᵀ where n < m. Whoever can multiply a block of vectors by G and
carry vectors over to the other side can be decomposed, however M is held: in memory, in a store,
on the workers of a cluster, or not at all (`Products`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.estimators.crew import ALONE, Crew
from contexture.estimators.sparse_kernels import multiply
from contexture.inputs import Floats
from contexture.operator import ExpectationOperator

SLICE_ROWS = 2**16
"""Rows of the other side that are made at a time."""


class Products(Protocol):
    """What the solver needs of M.

    Both methods take and give C-ordered arrays of one type, float32 or float64: what comes
    decides. They must not change V, and must give the same bits for the same V. They are called
    some hundred times with w up to 32 or so columns (fewer at the end), in float64 only if the
    tolerance asks for it.

    Attributes
    ----------
    shape : (int, int)
        (n, m) of M; ``side = min(n, m)``.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        ...

    def gram(self, V: Floats) -> Floats:
        """G V, shape (side, w), for V of shape (side, w): Mᵀ(M V) if m <= n, else M(Mᵀ V).

        Nothing is deflated: the trivial vector has eigenvalue 1.
        """
        ...

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of M V if m <= n, of Mᵀ V else, for V of shape (side, w).

        Yields (which rows, their values of shape (rows, w)) for consecutive slices that
        together cover 0 .. max(n, m), so that nothing of size max(n, m) × w need be held.
        """
        ...


class SparseProducts:
    """Products with a sparse M in memory.

    M and Mᵀ are held as CSR in the type that is asked for, and in one type at a time.

    Parameters
    ----------
    make : callable
        Gives M in float64, of shape (n, m); called once for each type.
    shape : (int, int)
    crew : Crew
        Threads to multiply with.
    """

    def __init__(
        self,
        make: Callable[[], sparse.csr_array],
        shape: tuple[int, int],
        crew: Crew = ALONE,
    ) -> None:
        self.shape = shape
        self._make = make
        self._pair: tuple[sparse.csr_array, sparse.csr_array] | None = None
        self._crew = crew

    def gram(self, V: Floats) -> Floats:
        """G V."""
        first, second = self._held(V.dtype)
        middle = multiply(first, V, self._crew)
        result = multiply(second, middle, self._crew)
        self._crew.give(middle)
        return result

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """M V or Mᵀ V, by slices of rows."""
        first, _ = self._held(V.dtype)
        for start in range(0, first.shape[0], SLICE_ROWS):
            rows = slice(start, min(start + SLICE_ROWS, first.shape[0]))
            yield rows, multiply(_rows(first, rows), V, self._crew)

    def _held(self, dtype: np.dtype[Any]) -> tuple[sparse.csr_array, sparse.csr_array]:
        """M and Mᵀ where m <= n, Mᵀ and M else."""
        if self._pair is None or self._pair[0].dtype != dtype:
            self._pair = None  # the other type makes room first
            M = self._make().astype(dtype)
            transposed = sparse.csr_array(M.T)
            n, m = self.shape
            self._pair = (M, transposed) if m <= n else (transposed, M)
        return self._pair


def _rows(A: sparse.csr_array, rows: slice) -> sparse.csr_array:
    """Rows of A without a copy of their entries."""
    first, last = A.indptr[rows.start], A.indptr[rows.stop]
    pointers = A.indptr[rows.start : rows.stop + 1] - first
    entries = (A.data[first:last], A.indices[first:last], pointers)
    return sparse.csr_array(entries, shape=(rows.stop - rows.start, A.shape[1]))


def multiply_rows(block: Rows, V: Floats, crew: Crew) -> Floats:
    """Multiply: a sparse or dense block times V, by all threads."""
    if not isinstance(block, np.ndarray):
        return multiply(sparse.csr_array(block), V, crew)
    result = np.empty((block.shape[0], V.shape[1]), V.dtype)

    def rows(piece: tuple[int, int]) -> None:
        np.matmul(block[slice(*piece)], V, out=result[slice(*piece)])

    cuts = np.linspace(0, len(block), crew.pieces(block.size * V.shape[1]) + 1).astype(int)
    crew.do(rows, itertools.pairwise(np.unique(cuts).tolist()))
    return result


class BlockProducts:
    """Products with an operator whose blocks of rows are read one at a time.

    One pass over the blocks serves a whole block of vectors where m <= n, and two where n < m.

    Parameters
    ----------
    operator : ExpectationOperator
    crew : Crew
        Threads to multiply with.
    """

    def __init__(self, operator: ExpectationOperator, crew: Crew = ALONE) -> None:
        self.shape, self._crew = operator.shape, crew
        self._operator = operator
        self._root_x = np.sqrt(operator.input_weights)
        self._over_a = 1.0 / np.sqrt(operator.context_weights)

    def gram(self, V: Floats) -> Floats:
        """G V."""
        n, m = self.shape
        if m <= n:
            scaled = self._over(V)
            total = np.zeros_like(V)
            for rows, block in self._blocks(V.dtype):
                weights = self._operator.input_weights[rows, None].astype(V.dtype)
                total += multiply_rows(
                    block.T, weights * multiply_rows(block, scaled, self._crew), self._crew
                )
            return self._over(total)
        middle = self._over(self._over(self._transposed(V)))
        result = np.empty_like(V)
        for rows, block in self._blocks(V.dtype):
            result[rows] = self._root(rows, V.dtype) * multiply_rows(block, middle, self._crew)
        return result

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """M V, block by block of rows; or Mᵀ V, in one piece."""
        n, m = self.shape
        if m > n:
            yield slice(0, m), self._over(self._transposed(V))
            return
        scaled = self._over(V)
        for rows, block in self._blocks(V.dtype):
            yield rows, self._root(rows, V.dtype) * multiply_rows(block, scaled, self._crew)

    def _transposed(self, V: Floats) -> Floats:
        """Pᵀ diag(p_X)^½ V."""
        total = np.zeros((self.shape[1], V.shape[1]), V.dtype)
        for rows, block in self._blocks(V.dtype):
            total += multiply_rows(block.T, self._root(rows, V.dtype) * V[rows], self._crew)
        return total

    def _over(self, V: Floats) -> Floats:
        return np.asarray(V * self._over_a[:, None].astype(V.dtype))

    def _root(self, rows: slice, dtype: np.dtype[Any]) -> Floats:
        return np.asarray(self._root_x[rows, None].astype(dtype))

    def _blocks(self, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Rows]]:
        start = 0
        for block in self._operator.blocks:
            yield slice(start, start + block.shape[0]), block.astype(dtype, copy=False)
            start += block.shape[0]
