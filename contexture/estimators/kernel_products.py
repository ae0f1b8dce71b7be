"""Products with the operator of an RBF context whose matrix is never held.

With L(x) = log Σ_a exp(−γ‖x − a‖²) every entry of M = diag(p_X)^½ P diag(p_A)^-½ is an
exponential,

    M(x, a) = exp(2γ x·a + [½ log p_X(x) − L(x) − γ‖x‖²] + [−½ log p_A(a) − γ‖a‖²]),

whose argument is the product of two rows with D + 2 entries. So a tile of M costs a thin matrix
product and an exponential. A strip of tiles serves both halves of MᵀM V before it is forgotten:
that a kernel is symmetric could save nothing more. L, p_A and Σ s_i² come from one pass before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info, threadpool_limits

from contexture.contexts.rbf import RbfRows
from contexture.errors import InputError
from contexture.estimators.products import Floats
from contexture.inputs import FloatArray

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the rows done so far in this pass and the rows in all."""

Result = TypeVar("Result")

STRIP_BYTES = 48 << 20
"""Memory of one thread's strip of M."""

_TILE = 256
_PIECE = 4096
_STRIP_ROWS = 512
_LEAST_ROWS = 64

_SMALLEST_EXPONENT = -85.0
"""Smaller entries of M are raised to e^-85: below stand numbers too small for fast products."""


@dataclass(frozen=True)
class KernelMarginals:
    """What one pass over the tiles tells of an RBF context.

    Attributes
    ----------
    log_sums : ndarray of shape (n,)
        L(x) = log Σ_a exp(−γ‖x − a‖²).
    context_weights : ndarray of shape (m,)
        p_A.
    total_association : float
        Σ_ij p_X(i) P_ij² / p_A(j) − 1.
    """

    log_sums: FloatArray
    context_weights: FloatArray
    total_association: float


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
        self.threads = threads or _blas_threads()
        self.strip_bytes = strip_bytes
        self.progress = progress
        self.passes = 0
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
        self.marginals = self._first_pass()
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

    def gram(self, V: Floats) -> Floats:
        """G V for V of shape (min(n, m), w): Mᵀ(M V) if m <= n, else M(Mᵀ V); one pass."""
        total = np.zeros_like(V)

        def add(strip: Floats, rows: slice, own: Floats) -> None:
            del rows
            _add_transposed(own, strip, strip @ V)

        for part in self._accumulate(add, V.dtype, V.shape):
            total += part
        return total

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of M V if m <= n, of Mᵀ V else, for V of shape (min(n, m), w); one pass."""
        yield from self._over_strips(lambda strip, rows: (rows, strip @ V), V.dtype)

    def both(self, V: Floats) -> tuple[Floats, Floats]:
        """(M V, Mᵀ M V), or (Mᵀ V, M Mᵀ V) if n < m, in one pass."""
        total, across = np.zeros_like(V), np.empty((max(self.shape), V.shape[1]), V.dtype)

        def add(strip: Floats, rows: slice, own: Floats) -> None:
            across[rows] = strip @ V
            _add_transposed(own, strip, across[rows])

        for part in self._accumulate(add, V.dtype, V.shape):
            total += part
        return across, total

    def tile(self, rows: slice, columns: slice, dtype: npt.DTypeLike = np.float64) -> Floats:
        """Compute a part of M itself, for samples."""
        exponents = self._X[rows] @ self._R[columns].T
        return np.asarray(np.exp(exponents), dtype=dtype)

    # --- strips -------------------------------------------------------------------------

    @cached_property
    def _sides(self) -> tuple[FloatArray, FloatArray]:
        """Coordinates of the side that strips run along, and (transposed) of the other."""
        wide = self.shape[0] < self.shape[1]
        along, across = (self._R, self._X) if wide else (self._X, self._R)
        return along, np.ascontiguousarray(across.T)

    def _accumulate(
        self, work: Callable[[Floats, slice, Floats], None], dtype: Any, shape: tuple[int, ...]
    ) -> list[Floats]:
        """Let ``work`` add every strip to the sum of its own thread."""
        sums = [np.zeros(shape, dtype) for _ in range(self.threads)]

        def add(strip: Floats, rows: slice, own: int) -> None:
            work(strip, rows, sums[own])

        for _ in self._walk(add, dtype):
            pass
        return sums

    def _over_strips(self, work: Callable[[Floats, slice], Result], dtype: Any) -> Iterator[Result]:
        return self._walk(lambda strip, rows, own: work(strip, rows), dtype)

    def _walk(self, work: Callable[[Floats, slice, int], Result], dtype: Any) -> Iterator[Result]:
        """Compute the strips of M (of Mᵀ if n < m) and hand them to ``work``, in order."""
        along, across = self._sides
        self.passes += 1
        columns = across.shape[1]
        height = self._height(columns * np.dtype(dtype).itemsize)

        def fill(rows: slice, own: int) -> Result:
            strip = held[own][: rows.stop - rows.start]
            points = along[rows]
            wide, narrow = wide_tiles[own][: len(points)], narrow_tiles[own][: len(points)]
            for start in range(0, columns, _TILE):
                part = slice(start, min(start + _TILE, columns))
                width = part.stop - start
                # Rounding of an exponent is a relative error of its entry, and exponents are
                # differences of large numbers: float32 would cost 1e-5 and save a tenth.
                exponents = np.matmul(points, across[:, part], out=wide[:, :width])
                if narrow is not wide:
                    narrow[:, :width] = exponents
                    exponents = narrow[:, :width]
                if exponents.min() < _SMALLEST_EXPONENT:
                    np.maximum(exponents, _SMALLEST_EXPONENT, out=exponents)
                np.exp(exponents, out=strip[:, part])
            return work(strip, rows, own)

        each = range(self.threads)
        held = [np.empty((height, columns), dtype) for _ in each]
        wide_tiles = [np.empty((height, _TILE)) for _ in each]
        narrow_tiles: Sequence[Floats] = wide_tiles
        if np.dtype(dtype) == np.float32:
            narrow_tiles = [np.empty((height, _TILE), np.float32) for _ in each]
        yield from self._in_threads(fill, len(along), height)

    def _height(self, row_bytes: int) -> int:
        return int(np.clip(self.strip_bytes // row_bytes, _LEAST_ROWS, _STRIP_ROWS))

    def _in_threads(
        self, work: Callable[[slice, int], Result], count: int, height: int
    ) -> Iterator[Result]:
        """Run ``work(rows, thread)`` over all strips; strip i is always thread i mod t's.

        Sums are thus made in one order, and the same V gives the same bits.
        """
        strips = [slice(i, min(i + height, count)) for i in range(0, count, height)]
        with ThreadPoolExecutor(self.threads) as pool:
            for first in range(0, len(strips), self.threads):
                batch: Sequence[slice] = strips[first : first + self.threads]
                # BLAS is held to one thread only while strips are computed, not while the
                # caller of a generator does something else.
                with threadpool_limits(1, user_api="blas"):
                    results = list(pool.map(work, batch, range(len(batch))))
                yield from results
                if self.progress is not None:
                    self.progress(batch[-1].stop, count)

    def _first_pass(self) -> KernelMarginals:
        """Log row sums, p_A and the total association, in float64."""
        n, m = len(self._X), len(self._R)
        across = np.ascontiguousarray(self._R.T)
        height = self._height(8 * m)
        log_sums = np.empty(n)
        first = [np.zeros(m) for _ in range(self.threads)]
        second = [np.zeros(m) for _ in range(self.threads)]
        held = [np.empty((height, m)) for _ in range(self.threads)]
        self.passes += 1

        def add(rows: slice, own: int) -> None:
            strip = held[own][: rows.stop - rows.start]
            np.matmul(self._X[rows], across, out=strip)
            # The nearest reference is moved to distance 0, so that no row underflows.
            top = strip.max(axis=1)
            strip -= top[:, None]
            np.exp(strip, out=strip)
            sums = strip.sum(axis=1)
            log_sums[rows] = top + np.log(sums)
            p = self.input_weights[rows]
            first[own] += (p / sums) @ strip
            np.square(strip, out=strip)
            second[own] += (p / sums**2) @ strip

        for _ in self._in_threads(add, n, height):
            pass
        weights, squares = sum(first), sum(second)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.nansum(np.where(weights > 0, squares / weights, 0.0)) - 1.0
        return KernelMarginals(log_sums, np.asarray(weights), max(0.0, float(total)))


def _add_transposed(total: Floats, strip: Floats, T: Floats) -> None:
    """Add stripᵀ T to ``total`` in pieces, so that the temporary stays small."""
    for start in range(0, len(total), _PIECE):
        part = slice(start, start + _PIECE)
        total[part] += strip[:, part].T @ T


def _blas_threads() -> int:
    """Threads that BLAS would use, which honours OMP_NUM_THREADS and limits set around."""
    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(1, min(max(pools, default=1), os.cpu_count() or 1))
