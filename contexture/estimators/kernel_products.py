"""Products with the operator of an RBF context whose matrix is never held.

A tile of M costs a thin matrix product and an exponential (`kernel_entries`). A strip of tiles
serves both halves of MᵀM V before it is forgotten; in float32, where the context values are the
inputs, tiles of a symmetric kernel do (`kernel_tiles`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.estimators.kernel_entries import KernelEntries
from contexture.estimators.kernel_strips import (
    Progress,
    Result,
    exponential_strips,
    gram_of_strips,
    sum_of,
)
from contexture.estimators.kernel_tiles import SymmetricTiles
from contexture.estimators.single_products import Multiply, multiply_for
from contexture.inputs import FloatArray, Floats, IntArray


class KernelProducts(KernelEntries):
    """Products with M of an RBF context, by tiles that are computed when they are needed.

    Parameters are those of `KernelEntries`; ``progress`` is called during every pass.

    Attributes
    ----------
    passes : int
        Passes over the whole of M so far.
    multiply : callable
        (A, B) ↦ A B in the fastest way for vectors that M is multiplied with; see `expect`.
    """

    passes = 1  # for the marginals
    multiply: Multiply = np.matmul
    _in_strip: Multiply = np.matmul

    def expect(self, work: float, dtype: npt.DTypeLike) -> None:
        """Choose how to multiply, for so many multiplications in all."""
        self.multiply = multiply_for(work, dtype)
        self._in_strip = multiply_for(work, dtype, alone=True)

    def gram(self, V: Floats) -> Floats:
        """G V for V of shape (min(n, m), w): Mᵀ(M V) if m <= n, else M(Mᵀ V); one pass."""
        self.passes += 1
        if V.dtype == np.float32 and self._symmetric is not None:
            return self._symmetric.gram(V, self._in_strip, self.progress)
        return self._gram_of(V, *self._sides, self.progress)

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of M V if m <= n, of Mᵀ V else, for V of shape (min(n, m), w); one pass."""
        yield from self._walk(lambda strip, rows, own: (rows, self._in_strip(strip, V)), V.dtype)

    def sampled_gram(self, V: Floats, rows: IntArray) -> Floats:
        """Compute the share of some inputs (context values if n < m) in G V: not a whole pass."""
        along, across = self._sides
        return self._gram_of(V, along[rows], across)

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
        return np.asarray(sum_of(sums), np.float64)

    # --- strips -------------------------------------------------------------------------

    @cached_property
    def _sides(self) -> tuple[FloatArray, FloatArray]:
        """Coordinates of the side that strips run along, and (transposed) of the other."""
        wide = self.shape[0] < self.shape[1]
        along, across = (self._R, self._X) if wide else (self._X, self._R)
        return along, np.ascontiguousarray(across.T)

    @cached_property
    def inputs_are_values(self) -> bool:
        """Whether the context values that are kept are the inputs, in their order."""
        return np.array_equal(self._X[:, :-2], self._R[:, :-2])

    @cached_property
    def _symmetric(self) -> SymmetricTiles | None:
        return self._tiles(self.threads)

    def _tiles(self, threads: int) -> SymmetricTiles | None:
        """Tiles that serve twice, if the kernel is symmetric."""
        if not self.inputs_are_values:
            return None
        tiles = SymmetricTiles(self._X[:, :-2], self._log_rows, self._log_columns, threads)
        return tiles if tiles.possible else None

    def _gram_of(
        self, V: Floats, along: FloatArray, across: FloatArray, progress: Progress | None = None
    ) -> Floats:
        return gram_of_strips(
            V, along, across, self.strip_bytes, self.threads, self._in_strip, progress
        )

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
