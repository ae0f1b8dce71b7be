"""Tasks with their means taken off, laid out where they are needed: some rows, some columns."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from contexture.inputs import FloatArray, IntArray

_PIECE_BYTES = 4 * 2**20


class Centred(Protocol):
    """Functions f_1 .. f_q on n inputs, of which f̃ = f − E f is given piece by piece.

    Missing values count as the mean, and of a constant nothing is left: f̃ is 0 there.
    """

    @property
    def functions(self) -> int:
        """How many there are, q."""
        ...

    @property
    def observed(self) -> FloatArray:
        """P_X of the rows that have a value, over which the mean is taken, shape (q,)."""
        ...

    def piece(self, rows: slice, functions: slice) -> FloatArray:
        """f̃ of some functions at some rows, shape (r, w); both slices have a start and a stop."""
        ...

    def missing(self, rows: slice, functions: slice) -> npt.NDArray[np.bool_]:
        """Where there is no value: shape (r, w), or (r, 1) for all alike, or (r, 0) for nowhere."""
        ...


class CentredColumns:
    """Functions that are given as columns.

    Parameters
    ----------
    values : ndarray of shape (n, q)
        Finite, or NaN where missing.
    weights : ndarray of shape (n,)
        P_X.
    """

    def __init__(self, values: FloatArray, weights: FloatArray) -> None:
        self._values = values
        self._means, self.observed, self._gaps = _means(values, weights)

    @property
    def functions(self) -> int:
        """How many there are, q."""
        return len(self._means)

    def piece(self, rows: slice, functions: slice) -> FloatArray:
        """f̃ of some functions at some rows, shape (r, w)."""
        found: FloatArray = self._values[rows, functions] - self._means[functions]
        found[np.isnan(found)] = 0.0
        return found

    def missing(self, rows: slice, functions: slice) -> npt.NDArray[np.bool_]:
        """Where there is no value, shape (r, w); (r, 0) if none of the functions has gaps."""
        if not self._gaps[functions].any():
            return np.zeros((rows.stop - rows.start, 0), dtype=np.bool_)
        return np.isnan(self._values[rows, functions])


class CentredClasses:
    """One indicator a class, made of codes: n numbers are held, whatever the number of classes.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Whole numbers below ``levels``; negative where the class is missing.
    levels : int
        q.
    weights : ndarray of shape (n,)
        P_X.
    """

    def __init__(self, codes: IntArray, levels: int, weights: FloatArray) -> None:
        self._codes, self.functions = codes, levels
        seen = codes >= 0
        rows = np.bincount(codes[seen], minlength=levels)
        mass = np.bincount(codes[seen], weights[seen], levels)
        # A class that nobody has, or everybody whose class is known, is a constant.
        varies = (rows > 0) & (rows < rows.sum())
        self._means = np.full(len(rows), np.nan)
        np.divide(mass, mass.sum(), out=self._means, where=varies)
        self.observed, self._gaps = np.full(levels, mass.sum()), not seen.all()

    def piece(self, rows: slice, functions: slice) -> FloatArray:
        """f̃ of some classes at some rows, shape (r, w)."""
        codes, means = self._codes[rows], self._means[functions]
        levels = np.arange(functions.start, functions.stop)
        found: FloatArray = np.equal.outer(codes, levels) - means
        found[codes < 0] = 0.0
        found[:, np.isnan(means)] = 0.0
        return found

    def missing(self, rows: slice, functions: slice) -> npt.NDArray[np.bool_]:
        """Where the class is missing, for all of them alike: shape (r, 1); (r, 0) for nowhere."""
        absent: npt.NDArray[np.bool_] = self._codes[rows, None] < 0
        return absent if self._gaps else absent[:, :0]


def _means(
    values: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """E f of each column over the rows that have a value; NaN for a constant, shape (q,).

    With it the weight of those rows, and whether there are others.
    """
    n, q = values.shape
    mass, total = np.zeros((2, q))
    gaps = np.zeros(q, dtype=np.bool_)
    step = max(1, _PIECE_BYTES // (8 * max(1, q)))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        seen = ~np.isnan(values[rows])
        p = np.where(seen, weights[rows, None], 0.0)
        gaps |= ~seen.all(axis=0)
        mass += p.sum(axis=0)
        total += (p * np.where(seen, values[rows], 0.0)).sum(axis=0)
    low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    # What is left of a constant after subtracting its mean is rounding, not a task.
    rounding = 16 * np.finfo(np.float64).eps * np.maximum(np.abs(low), np.abs(high))
    means = np.full(q, np.nan)
    np.divide(total, mass, out=means, where=high - low > rounding)
    return means, mass, gaps
