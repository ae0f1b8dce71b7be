"""Products with the operator of an RBF context whose matrix is never held.

With L(x) = log Σ_a exp(−γ‖x − a‖²) every entry of M = diag(p_X)^½ P diag(p_A)^-½ is an
exponential,

    M(x, a) = exp(2γ x·a + [½ log p_X(x) − L(x) − γ‖x‖²] + [−½ log p_A(a) − γ‖a‖²]),

whose argument is the product of two rows with D + 2 entries. So a tile of M costs a thin matrix
product and an exponential. A strip of tiles serves both halves of MᵀM V before it is forgotten; in
float32, where the context values are the inputs, tiles of a symmetric kernel do (`kernel_tiles`).
L, p_A and Σ s_i² come from one pass before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.contexts.rbf import RbfRows
from contexture.errors import InputError
from contexture.estimators.crew import blas_threads
from contexture.estimators.kernel_marginals import kernel_marginals
from contexture.estimators.kernel_strips import (
    STRIP_BYTES,
    Progress,
    Result,
    add_transposed,
    cached_rows,
    exponential_strips,
    strip_rows,
)
from contexture.estimators.kernel_tiles import SymmetricTiles
from contexture.estimators.single_products import Multiply, multiply_for
from contexture.inputs import FloatArray, Floats, IntArray


class KernelProducts:
    """Products with M of an RBF context, by tiles that are computed when they are needed.

    Parameters
    ----------
    evidence : RbfRows
        A fitted RBF context; its rows are read once and held centred, n × (D + 2) numbers.
    threads : int, optional
        Strips worked on at a time; as many as BLAS may use by default.
    strip_bytes : int
        Memory of one strip; each thread holds one.
    progress : callable, optional
        Called during every pass with the rows done and the rows in all.

    Attributes
    ----------
    kept : ndarray of int
        Positions of the context values with p_A > 0; the others are dropped.
    passes : int
        Passes over the whole of M so far.
    multiply : callable
        (A, B) ↦ A B in the fastest way for vectors that M is multiplied with; see `expect`.

    Raises
    ------
    InputError
        If there are no rows or no references.
    """

    def __init__(
        self,
        evidence: RbfRows,
        threads: int | None = None,
        strip_bytes: int = STRIP_BYTES,
        progress: Progress | None = None,
    ) -> None:
        n, m = evidence.shape
        if n == 0 or m == 0:
            raise InputError(f"P has shape {(n, m)}; rows and columns are needed.")
        self.evidence = evidence
        self.threads = threads or blas_threads()
        self.strip_bytes = strip_bytes
        self.progress = progress
        self.passes = 0
        self.multiply: Multiply = np.matmul
        self._in_strip: Multiply = np.matmul
        self.input_weights = np.asarray(evidence.input_weights, dtype=np.float64)
        # Moved to the median, neither a common offset nor a few far rows cancel digits.
        centre = np.median(evidence.references, axis=0)
        root = np.sqrt(2.0 * evidence.gamma)
        X = (np.asarray(evidence.X[0:n], dtype=np.float64) - centre) * root
        R = (np.asarray(evidence.references, dtype=np.float64) - centre) * root
        self._half_norms = 0.5 * np.einsum("ij,ij->i", X, X)
        half_references = 0.5 * np.einsum("ij,ij->i", R, R)
        self._X = np.column_stack([X, -self._half_norms, np.ones(n)])
        self._R = np.column_stack([R, np.ones(m), -half_references])
        self.passes += 1
        height = min(cached_rows(m), strip_rows(strip_bytes, 8 * m))
        self.marginals = kernel_marginals(
            self._X, self._R, self.input_weights, height, self.threads, progress
        )
        weights = self.marginals.context_weights
        self.kept = np.flatnonzero(weights > np.finfo(np.float64).tiny)
        self.context_weights = weights[self.kept]
        self.context_values = np.asarray(evidence.context_values)[self.kept]
        # From here on exp(x·a) is an entry of M.
        self._X[:, -2] += 0.5 * np.log(self.input_weights) - self.marginals.log_sums
        self._R = self._R[self.kept]
        self._R[:, -1] -= 0.5 * np.log(self.context_weights)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``: inputs and context values with positive probability."""
        return len(self._X), len(self._R)

    @property
    def total_association(self) -> float:
        """Σ_{i≥1} s_i², in closed form."""
        return self.marginals.total_association

    def expect(self, work: float, dtype: npt.DTypeLike) -> None:
        """Choose how to multiply, for so many multiplications in all."""
        self.multiply = multiply_for(work, dtype)
        self._in_strip = multiply_for(work, dtype, alone=True)

    def gram(self, V: Floats) -> Floats:
        """G V for V of shape (min(n, m), w): Mᵀ(M V) if m <= n, else M(Mᵀ V); one pass."""
        if V.dtype == np.float32 and self._symmetric is not None:
            self.passes += 1
            return self._symmetric.gram(V, self._in_strip, self.progress)
        return self._there_and_back(V, self._walk)

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of M V if m <= n, of Mᵀ V else, for V of shape (min(n, m), w); one pass."""
        yield from self._walk(lambda strip, rows, own: (rows, self._in_strip(strip, V)), V.dtype)

    def sampled_gram(self, V: Floats, rows: IntArray) -> Floats:
        """Compute the share of some inputs (context values if n < m) in G V: not a whole pass."""
        along, across = self._sides
        return self._there_and_back(
            V, lambda work, dtype: self._strips(work, dtype, along[rows], across)
        )

    def expectations(
        self, functions: Floats, rows: IntArray
    ) -> Iterator[tuple[slice, Floats, Floats]]:
        """E[f(A) | x] and E[f(A)² | x] of some inputs, with their places in ``rows``.

        Parameters
        ----------
        functions : ndarray of shape (m, k)
            Float32 or float64, as are the products; overwritten.
        rows : ndarray of int
        """
        root = np.sqrt(self.context_weights).astype(functions.dtype)[:, None]
        second = np.square(functions)
        second *= root
        first = np.multiply(functions, root, out=functions)
        roots = np.sqrt(self.input_weights[rows]).astype(functions.dtype)[:, None]

        def apply(strip: Floats, part: slice, own: int) -> tuple[slice, Floats, Floats]:
            del own
            means, squares = self._in_strip(strip, first), self._in_strip(strip, second)
            means /= roots[part]
            squares /= roots[part]
            return part, means, squares

        across = np.ascontiguousarray(self._R.T)
        yield from self._strips(apply, functions.dtype, self._X[rows], across)

    def gram_matrix(self) -> FloatArray:
        """MᵀM or M Mᵀ, whichever is smaller, in float64; one pass."""
        side = min(self.shape)
        sums: list[FloatArray] = [np.zeros((side, side)) for _ in range(self.threads)]

        def add(strip: Floats, rows: slice, own: int) -> None:
            del rows
            sums[own] += strip.T @ strip

        for _ in self._walk(add, np.float64):
            pass
        return np.asarray(_sum_of(sums), np.float64)

    def conditional(self, rows: slice | npt.NDArray[np.integer[Any]]) -> FloatArray:
        """Rows of P over the context values kept, float64."""
        roots = np.sqrt(self.context_weights), np.sqrt(self.input_weights[rows])
        P = self.tile(rows, slice(None))
        P *= roots[0]
        P /= roots[1][:, None]
        return P

    def tile(self, rows: slice | npt.NDArray[np.integer[Any]], columns: slice) -> FloatArray:
        """Compute a part of M itself, for samples."""
        exponents = self._X[rows] @ self._R[columns].T
        return np.asarray(np.exp(exponents, out=exponents))

    @property
    def references(self) -> FloatArray:
        """The context values as points, in units in which exp(−½ ‖x − a‖²) is the kernel."""
        return self._R[:, :-2]

    def factors(
        self, landmarks: FloatArray
    ) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
        """Coordinates whose products are the exponents of D1 K_xL and of D2 K_aL.

        Parameters
        ----------
        landmarks : ndarray of shape (l, D)
            Points like those of `references`.
        """
        half = 0.5 * np.einsum("ij,ij->i", landmarks, landmarks)
        ones = np.ones(len(landmarks))
        of_x = np.column_stack([landmarks, ones, -half])
        of_a = np.column_stack([landmarks, -half, ones])
        return (self._X, of_x), (self._R, of_a)

    # --- strips -------------------------------------------------------------------------

    @cached_property
    def _sides(self) -> tuple[FloatArray, FloatArray]:
        """Coordinates of the side that strips run along, and (transposed) of the other."""
        wide = self.shape[0] < self.shape[1]
        along, across = (self._R, self._X) if wide else (self._X, self._R)
        return along, np.ascontiguousarray(across.T)

    @cached_property
    def _symmetric(self) -> SymmetricTiles | None:
        """Tiles that serve twice, if the context values are the inputs, in their order."""
        X, R = self._X[:, :-2], self._R[:, :-2]
        if not np.array_equal(X, R):
            return None
        halves = self._half_norms
        logs = self._X[:, -2] + halves, self._R[:, -1] + halves
        tiles = SymmetricTiles(X, *logs, self.threads)
        return tiles if tiles.possible else None

    def _there_and_back(self, V: Floats, walk: Callable[..., Iterator[None]]) -> Floats:
        """Add up Sᵀ(S V) over strips S, those of every thread to a sum of its own."""
        V = np.asfortranarray(V)  # as oneDNN has it anyway
        sums: list[Floats] = [np.zeros(V.shape[::-1], V.dtype) for _ in range(self.threads)]

        def add(strip: Floats, rows: slice, own: int) -> None:
            del rows
            add_transposed(sums[own], strip, self._in_strip(strip, V), self._in_strip)

        for _ in walk(add, V.dtype):
            pass
        return _sum_of(sums).T

    def _walk(self, work: Callable[[Floats, slice, int], Result], dtype: Any) -> Iterator[Result]:
        """Compute the strips of M (of Mᵀ if n < m) and hand them to ``work``, in order."""
        self.passes += 1
        yield from self._strips(work, dtype, *self._sides, self.progress)

    def _strips(
        self,
        work: Callable[[Floats, slice, int], Result],
        dtype: Any,
        along: FloatArray,
        across: FloatArray,
        progress: Progress | None = None,
    ) -> Iterator[Result]:
        yield from exponential_strips(
            work, along, across, dtype, self.strip_bytes, self.threads, progress
        )


def _sum_of(parts: Sequence[Floats]) -> Floats:
    """Add arrays up, in their order, into the first."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
