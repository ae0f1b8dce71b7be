"""An orthonormal basis of many long vectors, in memory or on disk, worked on panel by panel.

A panel is some thousand rows of all columns. On disk, panels are read into one reused buffer
with plain reads, not mapped, so that the memory in use is what was asked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.errors import StorageFullError
from contexture.estimators.products import Floats
from contexture.inputs import FloatArray

PANEL_ROWS = 16384
"""Rows of a panel: its product with a block of vectors is long enough for BLAS-3."""


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

    Attributes
    ----------
    used : int
        Columns in use.
    """

    def __init__(
        self, side: int, capacity: int, dtype: npt.DTypeLike, folder: Path | None = None
    ) -> None:
        self.side, self.capacity, self.used = side, capacity, 0
        self.dtype = np.dtype(dtype)
        rows = -(-side // -(-side // PANEL_ROWS))
        self._slices = [slice(i, min(i + rows, side)) for i in range(0, side, rows)]
        self._panels: list[Floats] = []
        self._file = None
        if folder is None:
            self._panels = [np.empty((capacity, s.stop - s.start), dtype) for s in self._slices]
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, prefix="basis-", buffering=0)  # noqa: SIM115
            self._buffer: Floats = np.empty((capacity, rows), dtype).reshape(-1)

    def append(self, X: Floats) -> None:
        """Add the columns of ``X``, of shape (side, w)."""
        self.put(self.used, X)
        self.used += X.shape[1]

    def put(self, first: int, X: Floats) -> None:
        """Write columns ``first`` .. of the storage, whether or not they are in use."""
        for number, rows in enumerate(self._slices):
            if self._file is None:
                self._panels[number][first : first + X.shape[1]] = X[rows].T
            else:
                self._write(number, first, np.ascontiguousarray(X[rows].T))

    def columns(self, first: int, last: int) -> Floats:
        """Columns ``first`` .. ``last - 1``, C-ordered of shape (side, last - first)."""
        X = np.empty((self.side, last - first), self.dtype)
        for rows, panel in self._walk(first, last):
            X[rows] = panel.T
        return X

    def inner(self, X: Floats, first: int = 0) -> FloatArray:
        """QᵀX for the columns in use from ``first`` on, panels added up in float64."""
        total = np.zeros((self.used - first, X.shape[1]))
        for rows, panel in self._walk(first, self.used):
            total += panel @ X[rows]
        return total

    def subtract(self, X: Floats, H: FloatArray, first: int = 0) -> None:
        """X ← X − Q H, H having a row for every column in use from ``first`` on."""
        small = H.astype(self.dtype)
        for rows, panel in self._walk(first, self.used):
            X[rows] -= panel.T @ small

    def rotate(self, Z: FloatArray, first: int = 0) -> None:
        """Columns from ``first`` on, as many as Z has rows, become themselves times Z."""
        small = np.ascontiguousarray(Z.T.astype(self.dtype))
        for number, (_, panel) in enumerate(self._walk(first, first + len(Z))):
            new = small @ panel
            if self._file is None:
                self._panels[number][first : first + len(new)] = new
            else:
                self._write(number, first, new)

    def residual_gram(self, values: FloatArray) -> FloatArray:
        """RᵀR for R = B − Q diag(values); Q the first p columns, B the p columns after them."""
        p = len(values)
        total, scale = np.zeros((p, p)), values.astype(self.dtype)[:, None]
        for _, panel in self._walk(0, 2 * p):
            R = panel[p:] - scale * panel[:p]
            total += R @ R.T
        return total

    def drain(self, count: int, order: npt.NDArray[Any] | None = None) -> Floats:
        """Give the first columns as (side, count), row i at ``order[i]``; the basis is gone.

        Panels in memory are freed as they are copied.
        """
        result = np.empty((self.side, count), self.dtype)
        for number, (rows, panel) in enumerate(self._walk(0, count)):
            result[rows if order is None else order[rows]] = panel.T
            if self._file is None:
                self._panels[number] = np.empty((0, 0), self.dtype)
        self.close()
        return result

    def close(self) -> None:
        """Free memory or disk."""
        self._panels = []
        if self._file is not None:
            self._file.close()
        self.used = 0

    def _walk(self, first: int, last: int) -> Iterator[tuple[slice, Floats]]:
        for number, rows in enumerate(self._slices):
            if self._file is None:
                yield rows, self._panels[number][first:last]
            else:
                yield rows, self._read(number, first, last)

    def _place(self, number: int, first: int) -> tuple[int, int]:
        rows = self._slices[number]
        width = rows.stop - rows.start
        start = rows.start * self.capacity + first * width
        return start * self.dtype.itemsize, width

    def _read(self, number: int, first: int, last: int) -> Floats:
        place, width = self._place(number, first)
        panel = self._buffer[: (last - first) * width]
        view, done = memoryview(panel).cast("B"), 0
        assert self._file is not None
        while done < len(view):
            done += os.preadv(self._file.fileno(), [view[done:]], place + done)
        return panel.reshape(last - first, width)

    def _write(self, number: int, first: int, panel: Floats) -> None:
        place, _ = self._place(number, first)
        view, done = memoryview(panel).cast("B"), 0
        assert self._file is not None
        try:
            while done < len(view):
                done += os.pwrite(self._file.fileno(), view[done:], place + done)
        except OSError as error:
            raise StorageFullError(
                f"the basis of the solver could not be written: {error}; give 'workspace' a "
                "folder with more room, or allow more memory."
            ) from error
