"""Moments of tasks: what compatibility needs of n rows, as sums that merge.

ρ(f, P⁺)² = ‖T* f̃‖² / ‖f̃‖² (paper, Def. 13) follows from Σ p f P(·|x), Σ p f and Σ p f², and so
without any row at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contexture.contexts.base import Rows
from contexture.corpus import Target
from contexture.inputs import FloatArray


@dataclass(frozen=True)
class TaskMoments:
    """Sums over some rows, for one target: its q functions f, and whether it was seen.

    Attributes
    ----------
    cross : ndarray of shape (m, q + 1)
        Σ p(x) P(·|x) f(x), missing values counting 0; in the last column f = 1 where seen.
    total : ndarray of shape (q + 1,)
        Σ p f; the last is the mass of the rows that were seen.
    square : ndarray of shape (q + 1,)
        Σ p f².
    """

    cross: FloatArray
    total: FloatArray
    square: FloatArray

    @classmethod
    def of(cls, rows: Rows, weights: FloatArray, columns: FloatArray) -> TaskMoments:
        """Sum over rows of P, shape (r, m), with weights (r,) and `task_columns` (r, q + 1)."""
        weighted = weights[:, None] * columns
        return cls(
            np.asarray(rows.T @ weighted), weighted.sum(axis=0), (weighted * columns).sum(axis=0)
        )

    def __add__(self, other: TaskMoments) -> TaskMoments:
        return TaskMoments(
            self.cross + other.cross, self.total + other.total, self.square + other.square
        )

    def __sub__(self, other: TaskMoments) -> TaskMoments:
        return TaskMoments(
            self.cross - other.cross, self.total - other.total, self.square - other.square
        )

    def adjoint(self, mass: float) -> tuple[FloatArray, FloatArray]:
        """p_A · T* f̃ with f̃ = f − E f, shape (m, q), and ‖f̃‖², shape (q,).

        Parameters
        ----------
        mass : float
            Σ p over all rows.
        """
        seen = self.total[-1]
        mean = self.total[:-1] / seen if seen > 0 else np.zeros(len(self.total) - 1)
        adjoint = (self.cross[:, :-1] - self.cross[:, -1:] * mean) / mass
        norm = (self.square[:-1] - mean**2 * seen) / mass
        # What is left of a constant after subtracting its mean is rounding, not a task.
        rounding = 64 * np.finfo(np.float64).eps * self.square[:-1] / mass
        return adjoint, np.where(norm > rounding, norm, 0.0)


def task_columns(target: Target, shift: float = 0.0) -> FloatArray:
    """Lay out the functions of a target at some rows, and whether they were seen.

    Parameters
    ----------
    target : Target
        With the values of these rows.
    shift : float
        Subtracted from numbers, so that squares of a large offset lose no digits; ρ does not
        depend on it.

    Returns
    -------
    ndarray of shape (r, q + 1)
        The number itself (q = 1), or one indicator a class; 0 where it is missing.
    """
    if target.kind == "number":
        seen = ~np.isnan(target.values)
        return np.column_stack([np.where(seen, target.values - shift, 0.0), seen]).astype(float)
    indicators = np.equal.outer(target.values, np.arange(len(target.levels)))
    return np.column_stack([indicators, target.values >= 0]).astype(np.float64)


def sum_of(parts: Sequence[TaskMoments]) -> TaskMoments:
    """Add up moments, in order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
