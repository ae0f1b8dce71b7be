"""An orthonormal basis of many long vectors, in memory or on disk, worked on panel by panel.

A panel is some thousand rows of all columns. On disk, panels are read into one reused buffer
with plain reads, not mapped, so that the memory in use is what was asked for.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import get_blas_funcs

from contexture.errors import StorageFullError
from contexture.estimators.crew import ALONE, Crew, panels_of, wide_vectors
from contexture.estimators.single_products import multiply_for
from contexture.estimators.sizes import BLOCK
from contexture.estimators.sparse_kernels import transpose
from contexture.inputs import FloatArray, Floats


class Basis:
    """Columns of length ``side``, appended in blocks, rotated in place.

    Parameters
    ----------
    side : int
        Length of the vectors.
    capacity : int
        Columns that there is room for.
    dtype : dtype
        float32 or float64.
    folder : Path, optional
        Keep the panels in an unnamed file here; in memory if left out.
    crew : Crew
        Threads that work on panels.

    Attributes
    ----------
    used : int
        Columns in use.
    """

    def __init__(
        self,
        side: int,
        capacity: int,
        dtype: npt.DTypeLike,
        folder: Path | None = None,
        crew: Crew = ALONE,
    ) -> None:
        self.side, self.capacity, self.used = side, capacity, 0
        self.dtype = np.dtype(dtype)
        self._slices = panels_of(side)
        self._numbers = range(len(self._slices))
        self.crew = crew
        self._multiply = multiply_for(float(side) * capacity**2, dtype, alone=True)
        self._panels: list[Floats] = []
        self._file = None
        if folder is None:
            self._panels = [np.empty((capacity, s.stop - s.start), dtype) for s in self._slices]
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, prefix="basis-", buffering=0)  # noqa: SIM115
            # A buffer for every thread.
            self._own, self._longest = (
                threading.local(),
                self._slices[0].stop,
            )

    def append(self, X: Floats) -> None:
        """Add the columns of ``X``, of shape (side, w)."""
        self.put(self.used, X)
        self.used += X.shape[1]

    def put(self, first: int, X: Floats) -> None:
        """Write columns ``first`` .. of the storage, whether or not they are in use."""

        def write(number: int) -> None:
            rows = self._slices[number]
            if self._file is None:
                panel = self._panels[number][first : first + X.shape[1]]
            else:
                panel = np.empty((X.shape[1], rows.stop - rows.start), self.dtype)
            transpose(X[rows], panel)
            if self._file is not None:
                self._write(number, first, panel)

        self.crew.do(write, self._numbers)

    def columns(self, first: int, last: int) -> Floats:
        """Columns ``first`` .. ``last - 1``, C-ordered of shape (side, last - first)."""
        X = self.crew.take((self.side, last - first), self.dtype)

        def read(number: int) -> None:
            transpose(self._panel(number, first, last).T, X[self._slices[number]].T)

        self.crew.do(read, self._numbers)
        return X

    def inner(self, X: Floats, first: int = 0, last: int | None = None) -> FloatArray:
        """QᵀX for the columns in use from ``first`` to ``last``, panels added up in float64."""
        last = self.used if last is None else last
        total = np.zeros((last - first, X.shape[1]))

        def product(number: int) -> Floats:
            return self._multiply(self._panel(number, first, last), X[self._slices[number]])

        for part in self.crew.each(product, self._numbers):
            total += part
        return total

    def subtract(self, X: Floats, H: FloatArray, first: int = 0) -> None:
        """X ← X − Q H, H having a row for every column in use from ``first`` on."""
        small = H.astype(self.dtype)

        def less(number: int) -> None:
            panel, part = self._panel(number, first, self.used), X[self._slices[number]]
            # The same product twice: with AVX-512 the first way takes half the time in float32,
            # elsewhere the second takes a third less.
            if self.dtype == np.float32 and wide_vectors():
                part -= panel.T @ small
            else:
                part.T[:] -= self._multiply(small.T, panel)

        if len(small):
            self.crew.do(less, self._numbers)

    def rotate(self, Z: FloatArray, first: int = 0) -> None:
        """Columns from ``first`` on, as many as Z has rows, become themselves times Z."""
        small = np.ascontiguousarray(Z.T.astype(self.dtype))

        def turn(number: int) -> None:
            new = self._multiply(small, self._panel(number, first, first + len(Z)))
            if self._file is None:
                self._panels[number][first : first + len(new)] = new
            else:
                self._write(number, first, new)

        self.crew.do(turn, self._numbers)

    def products(self, count: int) -> tuple[FloatArray, FloatArray]:
        """QᵀQ and QᵀB, known to be symmetric; Q the first ``count`` columns, B as many after."""
        square = get_blas_funcs("syrk", dtype=self.dtype)
        step = max(BLOCK, -(-count // 6))

        def both(number: int) -> tuple[Floats, list[Any]]:
            panel = self._panel(number, 0, 2 * count)
            Q, B = panel[:count], panel[count:]
            strips = [Q[i : i + step] @ B[i:].T for i in range(0, count, step)]
            return square(1.0, Q.T, trans=1), strips

        total, other = np.zeros((count, count)), np.zeros((count, count))
        for own, strips in self.crew.each(both, self._numbers):
            total += own
            for i, strip in zip(range(0, count, step), strips, strict=True):
                other[i : i + step, i:] += strip
        return total + np.triu(total, 1).T, np.triu(other) + np.triu(other, 1).T

    def residual_gram(self, values: FloatArray) -> FloatArray:
        """RᵀR for R = B − Q diag(values); Q the first p columns, B the p columns after them."""
        p = len(values)
        total, scale = np.zeros((p, p)), values.astype(self.dtype)[:, None]

        def square(number: int) -> Floats:
            panel = self._panel(number, 0, 2 * p)
            R = panel[p:] - scale * panel[:p]
            return np.asarray(R @ R.T)

        for part in self.crew.each(square, self._numbers):
            total += part
        return total

    def drain(self, count: int, order: npt.NDArray[Any] | None = None) -> Floats:
        """Give the first columns as (side, count), row i at ``order[i]``; the basis is gone.

        Panels in memory are freed as they are copied.
        """

        def shrink(number: int) -> None:
            self._panels[number] = self._panels[number][:count].copy()

        if self._file is None:
            # What is not wanted goes first: in another order, the result is touched all over.
            self.crew.do(shrink, self._numbers)
        result = np.empty((self.side, count), self.dtype)

        def copy(number: int) -> None:
            rows = self._slices[number]
            panel = self._panel(number, 0, count)
            result[rows if order is None else order[rows]] = panel.T
            if self._file is None:
                self._panels[number] = np.empty((0, 0), self.dtype)

        self.crew.do(copy, self._numbers)
        self.close()
        return result

    def close(self) -> None:
        """Free memory or disk."""
        self._panels = []
        if self._file is not None:
            self._file.close()
        self.used = 0

    def _panel(self, number: int, first: int, last: int) -> Floats:
        """Columns of a panel, as rows; on disk, good until this thread asks for the next."""
        if self._file is None:
            return self._panels[number][first:last]
        return self._read(number, first, last)

    def _place(self, number: int, first: int) -> tuple[int, int]:
        rows = self._slices[number]
        width = rows.stop - rows.start
        start = rows.start * self.capacity + first * width
        return start * self.dtype.itemsize, width

    def _read(self, number: int, first: int, last: int) -> Floats:
        place, width = self._place(number, first)
        if not hasattr(self._own, "buffer"):
            self._own.buffer = np.empty(self.capacity * self._longest, self.dtype)
        panel: Floats = self._own.buffer[: (last - first) * width]
        view, done = memoryview(panel.data).cast("B"), 0
        assert self._file is not None
        while done < len(view):
            done += os.preadv(self._file.fileno(), [view[done:]], place + done)
        return panel.reshape(last - first, width)

    def _write(self, number: int, first: int, panel: Floats) -> None:
        place, _ = self._place(number, first)
        view, done = memoryview(panel.data).cast("B"), 0
        assert self._file is not None
        try:
            while done < len(view):
                done += os.pwrite(self._file.fileno(), view[done:], place + done)
        except OSError as error:
            raise StorageFullError(
                f"the basis of the solver could not be written: {error}; give 'workspace' a "
                "folder with more room, or allow more memory."
            ) from error
