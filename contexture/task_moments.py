"""Moments of tasks: what compatibility needs of n rows, as sums that merge.

ρ(f, P⁺)² = ‖T* f̃‖² / ‖f̃‖² (paper, Def. 13) follows from Σ p f P(·|x), Σ p f and Σ p f², and so
without any row at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.corpus import Target
from contexture.inputs import FloatArray, IntArray

Columns: TypeAlias = sparse.csr_array | FloatArray
"""Functions of a target at some rows, one a column; sparse for classes."""


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
    def zero(cls, m: int, functions: int) -> Self:
        """Moments of no rows over m context values, for q functions."""
        # Function after function: what is added to some of them lies together.
        return cls(np.zeros((functions + 1, m)).T, *np.zeros((2, functions + 1)))

    @classmethod
    def of(cls, rows: Rows, weights: FloatArray, columns: Columns) -> Self:
        """Sum over rows of P, shape (r, m), with weights (r,) and `task_columns` (r, q + 1)."""
        return cls.zero(rows.shape[1], columns.shape[1] - 1).add(rows, weights, columns)

    def add(self, rows: Rows, weights: FloatArray, columns: Columns) -> Self:
        """Add rows of P; the arrays of this object are used up.

        Of classes, only those that some row has are looked at, so work and memory are those of the
        entries of P: the number of classes does not matter.

        Parameters
        ----------
        rows : csr_array or ndarray of shape (r, m)
            P(·|x).
        weights : ndarray of shape (r,)
            p(x), not necessarily normalised.
        columns : csr_array or ndarray of shape (r, q + 1)
            From `task_columns`.
        """
        weighted: Columns
        if isinstance(columns, sparse.csr_array):
            if columns.nnz == 0:
                return self
            data = columns.data * np.repeat(weights, np.diff(columns.indptr))
            for sums, terms in ((self.total, data), (self.square, data * columns.data)):
                sums += np.bincount(columns.indices, terms, len(sums))
            # Among the classes that are there: the others would be columns of zeros.
            present, places = np.unique(columns.indices, return_inverse=True)
            shape = (columns.shape[0], len(present))
            weighted = sparse.csr_array((data, places, columns.indptr), shape=shape)
        else:
            present = np.arange(columns.shape[1])
            weighted = weights[:, None] * columns
            self.total[:] += weighted.sum(axis=0)
            self.square[:] += (weighted * columns).sum(axis=0)
        product: Any = rows.T @ weighted
        if sparse.issparse(product):
            entries = product.tocoo()  # no place comes twice in a product
            self.cross[entries.row, present[entries.col]] += entries.data
        else:
            self.cross[:, present] += product
        return self

    def __sub__(self, other: TaskMoments) -> TaskMoments:
        return TaskMoments(
            self.cross - other.cross, self.total - other.total, self.square - other.square
        )

    def restricted(self, values: IntArray, functions: slice) -> TaskMoments:
        """Return the moments over some context values, of some of the q functions."""
        columns = np.append(np.arange(functions.start, functions.stop), len(self.total) - 1)
        return TaskMoments(
            self.cross[np.ix_(values, columns)], self.total[columns], self.square[columns]
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
        adjoint = self.cross[:, -1:] * -mean
        adjoint += self.cross[:, :-1]
        adjoint /= mass
        norm = (self.square[:-1] - mean**2 * seen) / mass
        # What is left of a constant after subtracting its mean is rounding, not a task.
        rounding = 64 * np.finfo(np.float64).eps * self.square[:-1] / mass
        return adjoint, np.where(norm > rounding, norm, 0.0)


def count_functions(target: Target) -> int:
    """Count the functions of a target, q: the number itself, or one indicator a class."""
    return 1 if target.kind == "number" else len(target.levels)


def task_columns(target: Target, shift: float = 0.0) -> Columns:
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
    csr_array or ndarray of shape (r, q + 1)
        The number itself (q = 1), or one indicator a class, sparse; 0 where it is missing.
    """
    values, q = target.values, count_functions(target)
    if target.kind == "number":
        seen = ~np.isnan(values)
        return np.column_stack([np.where(seen, values - shift, 0.0), seen]).astype(float)
    seen = values >= 0
    ends = np.append(0, np.cumsum(2 * seen))
    places = np.full((int(seen.sum()), 2), q)
    places[:, 0] = values[seen]
    return sparse.csr_array(
        (np.ones(places.size), places.ravel(), ends), shape=(len(values), q + 1)
    )


def sum_of(parts: Iterable[TaskMoments]) -> TaskMoments:
    """Add up moments, in order; beside the sum, one of them is held at a time."""
    remaining = iter(parts)
    first = next(remaining)
    total = TaskMoments(first.cross.copy(), first.total.copy(), first.square.copy())
    for part in remaining:
        for whole, piece in (
            (total.cross, part.cross),
            (total.total, part.total),
            (total.square, part.square),
        ):
            whole += piece
    return total
