"""Products with a normalised operator M: all that the Krylov solver asks of it.

M = diag(p_X)^½ P diag(p_A)^-½ has shape (n, m). The solver works on the *smaller side*:
G = MᵀM where m <= n, G = M Mᵀ where n < m. Whoever can multiply a block of vectors by G and
carry vectors over to the other side can be decomposed, however M is held: in memory, in a store,
on the workers of a cluster, or not at all (`Products`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse
from threadpoolctl import threadpool_info

from contexture.contexts.base import Rows
from contexture.operator import ExpectationOperator

Floats = npt.NDArray[np.floating[Any]]
"""float32 or float64."""

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
    """Products with a sparse M in memory, by as many threads as BLAS has.

    M and Mᵀ are held as CSR in the type that is asked for, and in one type at a time.

    Parameters
    ----------
    make : callable
        Gives M in float64, of shape (n, m); called once for each type.
    shape : (int, int)
    """

    def __init__(self, make: Callable[[], sparse.csr_array], shape: tuple[int, int]) -> None:
        self.shape = shape
        self._make = make
        self._pair: tuple[sparse.csr_array, sparse.csr_array] | None = None
        self._threads = blas_threads()

    def gram(self, V: Floats) -> Floats:
        """G V."""
        first, second = self._held(V.dtype)
        return self._multiply(second, self._multiply(first, V))

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """M V or Mᵀ V, by slices of rows."""
        first, _ = self._held(V.dtype)
        for start in range(0, first.shape[0], SLICE_ROWS):
            rows = slice(start, min(start + SLICE_ROWS, first.shape[0]))
            yield rows, np.asarray(_rows(first, rows) @ V)

    def _held(self, dtype: np.dtype[Any]) -> tuple[sparse.csr_array, sparse.csr_array]:
        """M and Mᵀ where m <= n, Mᵀ and M else."""
        if self._pair is None or self._pair[0].dtype != dtype:
            self._pair = None  # the other type makes room first
            M = self._make().astype(dtype)
            transposed = sparse.csr_array(M.T)
            n, m = self.shape
            self._pair = (M, transposed) if m <= n else (transposed, M)
        return self._pair

    def _multiply(self, A: sparse.csr_array, V: Floats) -> Floats:
        if self._threads == 1 or A.nnz * V.shape[1] < 2**20:
            return np.asarray(A @ V)
        result = np.empty((A.shape[0], V.shape[1]), V.dtype)
        # Pieces of about equal work, more than threads, since threads are not equally fast.
        goals = np.linspace(0, A.nnz, 8 * self._threads + 1)
        cuts = np.unique([0, *np.searchsorted(A.indptr, goals[1:-1]), A.shape[0]])

        def one(piece: tuple[int, int]) -> None:
            rows = slice(*piece)
            result[rows] = _rows(A, rows) @ V

        # scipy lets go of the interpreter's lock while it multiplies.
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(one, itertools.pairwise(cuts.tolist())))
        return result


def _rows(A: sparse.csr_array, rows: slice) -> sparse.csr_array:
    """Rows of A without a copy of their entries."""
    first, last = A.indptr[rows.start], A.indptr[rows.stop]
    pointers = A.indptr[rows.start : rows.stop + 1] - first
    entries = (A.data[first:last], A.indices[first:last], pointers)
    return sparse.csr_array(entries, shape=(rows.stop - rows.start, A.shape[1]))


def blas_threads() -> int:
    """Threads that BLAS may use here, so that nobody is given more than was allowed."""
    pools = threadpool_info()
    return max((p["num_threads"] for p in pools if p["user_api"] == "blas"), default=1)


class DenseProducts:
    """Products with a dense M in memory.

    Parameters
    ----------
    M : ndarray of shape (n, m)
    """

    def __init__(self, M: Floats) -> None:
        self.shape = (M.shape[0], M.shape[1])
        self._first = M if M.shape[1] <= M.shape[0] else M.T

    def gram(self, V: Floats) -> Floats:
        """G V."""
        self._first = self._first.astype(V.dtype, copy=False)
        return np.ascontiguousarray(self._first.T @ (self._first @ V))

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """M V or Mᵀ V, in one piece."""
        yield slice(0, len(self._first)), self._first.astype(V.dtype, copy=False) @ V


class BlockProducts:
    """Products with an operator whose blocks of rows are read one at a time.

    One pass over the blocks serves a whole block of vectors where m <= n, and two where n < m.

    Parameters
    ----------
    operator : ExpectationOperator
    """

    def __init__(self, operator: ExpectationOperator) -> None:
        self.shape = operator.shape
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
                total += block.T @ (weights * np.asarray(block @ scaled))
            return self._over(total)
        middle = self._over(self._over(self._transposed(V)))
        result = np.empty_like(V)
        for rows, block in self._blocks(V.dtype):
            result[rows] = self._root(rows, V.dtype) * np.asarray(block @ middle)
        return result

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """M V, block by block of rows; or Mᵀ V, in one piece."""
        n, m = self.shape
        if m > n:
            yield slice(0, m), self._over(self._transposed(V))
            return
        scaled = self._over(V)
        for rows, block in self._blocks(V.dtype):
            yield rows, self._root(rows, V.dtype) * np.asarray(block @ scaled)

    def _transposed(self, V: Floats) -> Floats:
        """Pᵀ diag(p_X)^½ V."""
        total = np.zeros((self.shape[1], V.shape[1]), V.dtype)
        for rows, block in self._blocks(V.dtype):
            total += block.T @ (self._root(rows, V.dtype) * V[rows])
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
