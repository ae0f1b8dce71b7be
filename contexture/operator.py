"""The expectation operator T of a context, as blocks of rows of P⁺(a|x).

(T g)(x) = E[g(A) | x] and (T* f)(a) = E[f(X) | a] (theory.md §1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from contexture.contexts.base import ConditionalRows, Rows
from contexture.errors import InputError
from contexture.inputs import FloatArray, IntArray, normalise

ROW_SUM_TOLERANCE = 1e-8
"""How far the rows of a given P may be from adding up to 1."""

_ROUNDING = 1e-12
"""Rows that add up to 1 as nearly as this are left as they are."""

_SQUARED = 2**18
"""Entries of a dense block that are squared at a time, so that the squares stay in the cache."""


class ExpectationOperator:
    """Rows of P⁺(a|x) with both marginals.

    Parameters
    ----------
    blocks : sequence of csr_array or ndarray
        Consecutive row blocks of P, each of shape (r, m). May be lazy: a block is read when it
        is needed, one at a time.
    input_weights : ndarray of shape (n,)
        P_X.
    context_weights : ndarray of shape (m,)
        P_A = Pᵀ P_X; every entry positive.
    context_values : ndarray of shape (m,), optional
        What the columns stand for; 0 .. m-1 by default.

    See Also
    --------
    from_conditional : from a matrix P in memory.
    from_evidence : from a fitted context.
    """

    def __init__(
        self,
        blocks: Sequence[Rows],
        input_weights: FloatArray,
        context_weights: FloatArray,
        context_values: npt.NDArray[Any] | None = None,
    ) -> None:
        self.blocks = blocks
        self.input_weights = input_weights
        self.context_weights = context_weights
        m = len(context_weights)
        self.context_values = np.arange(m) if context_values is None else context_values

    @classmethod
    def from_conditional(
        cls,
        P: npt.ArrayLike | sparse.sparray | sparse.spmatrix,
        input_weights: npt.ArrayLike | None = None,
        context_values: npt.ArrayLike | None = None,
    ) -> Self:
        """Wrap a conditional matrix; columns that nobody chooses (p_A = 0) are dropped.

        Parameters
        ----------
        P : dense or scipy-sparse matrix of shape (n, m)
            Not negative, every row adding up to 1; rows that do so to 1e-8 only are divided by
            their sums.
        input_weights : array-like of shape (n,), optional
            Positive; equal by default.
        context_values : array-like of shape (m,), optional
            Names of the columns.

        Raises
        ------
        InputError
            If P is empty or is not row-stochastic, or the context values are not as many as its
            columns.
        """
        block: Rows
        if sparse.issparse(P):
            block = sparse.csr_array(P, dtype=np.float64, copy=True)
            block.sum_duplicates()
            block.eliminate_zeros()  # a stored 0 would connect parts that P never connects
            entries = block.data
        else:
            block = np.asarray(P, dtype=np.float64)
            entries = block
        if len(block.shape) != 2 or 0 in block.shape:
            raise InputError(f"P has shape {block.shape}; rows and columns are needed.")
        if not np.isfinite(entries).all() or (entries < 0).any():
            raise InputError("P holds negative, NaN or infinite entries; it must be a law.")
        sums = np.asarray(block.sum(axis=1)).ravel()
        off = np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)
        if off.size:
            raise InputError(
                f"row {off[0]} of P adds up to {sums[off[0]]:g}; every row must add up to 1."
            )
        # Of very many entries the sum itself is off by more.
        longest = int(block.shape[1])
        if isinstance(block, sparse.csr_array):
            longest = int(np.diff(block.indptr).max())
        sums[np.abs(sums - 1) <= max(_ROUNDING, longest * np.finfo(np.float64).eps)] = 1.0
        if (sums != 1.0).any():
            # √p_X is a singular vector only where rows add up to 1: what they lack would pass for
            # an association.
            if isinstance(block, sparse.csr_array):
                block.data /= np.repeat(sums, np.diff(block.indptr))
            else:
                block = block / sums[:, None]
        n, m = block.shape
        weights = np.full(n, 1.0 / n) if input_weights is None else normalise(input_weights, n)
        values = np.arange(m) if context_values is None else np.asarray(context_values)
        if values.shape != (m,):
            raise InputError(
                f"context_values has shape {values.shape}, but P has {m} columns; one value for "
                "each is needed."
            )
        marginal = block.T @ weights
        kept = marginal > 0
        if not kept.all():
            block = block[:, np.flatnonzero(kept)]
        return cls((block,), weights, marginal[kept], values[kept])

    @classmethod
    def from_evidence(cls, evidence: ConditionalRows, chunk_rows: int = 1024) -> Self:
        """Compute all rows of a fitted context in memory.

        Parameters
        ----------
        evidence : ConditionalRows
            A fitted context.
        chunk_rows : int
            Rows computed at a time; bounds the memory of temporaries.
        """
        n = evidence.shape[0]
        pieces = [slice(i, min(i + chunk_rows, n)) for i in range(0, n, chunk_rows)]
        whole: Rows
        if evidence.sparse:
            blocks = [evidence.rows(piece.start, piece.stop) for piece in pieces]
            whole = sparse.csr_array(sparse.vstack(blocks, format="csr"))
        else:
            whole = np.empty(evidence.shape)
            for piece in pieces:
                whole[piece] = evidence.rows(piece.start, piece.stop)
        return cls.from_conditional(whole, evidence.input_weights, evidence.context_values)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``: inputs and context values with positive probability."""
        return len(self.input_weights), len(self.context_weights)

    def _walk(self) -> Iterator[tuple[slice, Rows]]:
        start = 0
        for block in self.blocks:
            stop = start + block.shape[0]
            yield slice(start, stop), block
            start = stop

    def conditional(self) -> Rows:
        """Return the whole of P in memory, shape (n, m), CSR or dense as the context is."""
        blocks = list(self.blocks)
        if len(blocks) == 1:
            return blocks[0]
        if sparse.issparse(blocks[0]):
            return sparse.csr_array(sparse.vstack(blocks, format="csr"))
        return np.concatenate(blocks)

    def rows_at(self, positions: IntArray) -> Rows:
        """Rows of P at the given inputs, in any order, shape (r, m); one pass over the blocks."""
        ascending = np.sort(positions)
        parts: list[Rows] = []
        for rows, block in self._walk():
            first, last = np.searchsorted(ascending, (rows.start, rows.stop))
            if last > first or not parts:
                parts.append(block[ascending[first:last] - rows.start])
            if last == len(ascending):
                break
        sparse_parts = sparse.issparse(parts[0])
        found = sparse.vstack(parts, format="csr") if sparse_parts else np.concatenate(parts)
        back = np.argsort(np.argsort(positions, kind="stable"))
        in_order = np.array_equal(positions, ascending)
        return found if in_order else found[back]

    def in_memory(self) -> ExpectationOperator:
        """Return the same operator with P read into memory as one block."""
        return ExpectationOperator(
            (self.conditional(),), self.input_weights, self.context_weights, self.context_values
        )

    def normalised(self) -> Rows:
        """M = diag(p_X)^½ P diag(p_A)^-½, whose singular values are the s_i (theory.md §1)."""
        P = self.conditional()
        left, right = np.sqrt(self.input_weights), 1.0 / np.sqrt(self.context_weights)
        if isinstance(P, sparse.csr_array):
            scaled = np.repeat(left, np.diff(P.indptr))
            scaled *= P.data
            scaled *= right[P.indices]
            return sparse.csr_array((scaled, P.indices, P.indptr), shape=P.shape)
        M = np.asarray(P * left[:, None])
        M *= right
        return M

    def apply(self, functions: FloatArray) -> FloatArray:
        """(T g)(x) = Σ_a P(a|x) g(a).

        Parameters
        ----------
        functions : ndarray of shape (m,) or (m, q)
            Functions on A, one a column.

        Returns
        -------
        ndarray of shape (n,) or (n, q)
        """
        return np.concatenate([np.asarray(block @ functions) for block in self.blocks])

    def adjoint(self, functions: FloatArray) -> FloatArray:
        """(T* f)(a) = Σ_x P(x|a) f(x) = diag(p_A)^-1 Pᵀ diag(p_X) f.

        Parameters
        ----------
        functions : ndarray of shape (n,) or (n, q)
            Functions on X, one a column.

        Returns
        -------
        ndarray of shape (m,) or (m, q)
        """
        one = functions.ndim == 1
        columns = functions[:, None] if one else functions
        total = np.zeros((self.shape[1], columns.shape[1]))
        for rows, block in self._walk():
            total += block.T @ (self.input_weights[rows, None] * columns[rows])
        total /= self.context_weights[:, None]
        return total[:, 0] if one else total

    def kernel(self, rows: IntArray, columns: IntArray | None = None) -> FloatArray:
        """Dual kernel k_X⁺(x,x') = Σ_a P(a|x) P(a|x') / P_A(a), dense.

        Parameters
        ----------
        rows, columns : ndarray of int
            Positions of x and of x'; all inputs if ``columns`` is left out.

        Returns
        -------
        ndarray of shape (len(rows), len(columns))
        """
        P = self.conditional() if columns is None else self.rows_at(columns)
        product: Any = self.over_marginal(self.rows_at(rows)) @ P.T
        return np.asarray(product.toarray() if sparse.issparse(product) else product)

    def over_marginal(self, rows: Rows) -> Rows:
        """P⁺(a|x) / P_A(a) for rows of P, shape (r, m)."""
        if isinstance(rows, sparse.csr_array):
            data = rows.data / self.context_weights[rows.indices]
            return sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)
        return np.asarray(rows / self.context_weights)

    @cached_property
    def total_association(self) -> float:
        """Σ_{i≥1} s_i² = Σ_ij p_X(i) P_ij² / p_A(j) − 1, in closed form (theory.md §4)."""
        total = float(self.input_weights @ self.row_association())
        return 0.0 if total < 0.0 else total  # rounding goes below 0; NaN is not hidden

    def row_association(self) -> FloatArray:
        """χ²(x) = k_X⁺(x,x) − 1 = Σ_i s_i² μ_i(x)², shape (n,) (theory.md §9)."""
        # P · (P / p_A): the inverse of a very small p_A is infinite, and P² is 0 there.
        parts = []
        for block in self.blocks:
            if isinstance(block, sparse.csr_array):
                data = block.data / self.context_weights[block.indices]
                data *= block.data
                products = sparse.csr_array((data, block.indices, block.indptr), shape=block.shape)
                parts.append(np.asarray(products.sum(axis=1)).ravel() - 1.0)
                continue
            step = max(1, _SQUARED // max(1, block.shape[1]))
            for i in range(0, len(block), step):
                piece = block[i : i + step]
                parts.append(np.einsum("xa,xa->x", piece, self.over_marginal(piece)) - 1.0)
        return np.concatenate(parts)
