"""Moments of a context over its values: sums over rows that merge and never hold n × m numbers.

With m context values, all that a spectrum needs of n rows is Σ_x p(x) P(·|x) and the m × m matrix
Σ_x p(x) P(·|x) P(·|x)ᵀ (theory.md §2). Such sums are added up in any order, so that a lost worker,
a resumed run, an appended or a removed partition are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import blas

from contexture.contexts.base import ConditionalRows, Rows
from contexture.errors import InputError
from contexture.inputs import FloatArray

TILE_BYTES = 32 * 2**20
"""Size of a dense temporary of rows × context values."""

HALVES = 2
"""Moments are kept of two halves of every block of rows: their difference gives the errors."""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIXING = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
"""Constants of SplitMix64."""


@dataclass(frozen=True)
class Moments:
    """Sums over some rows of a context.

    Attributes
    ----------
    rows : int
        How many rows were added.
    mass : float
        Σ p(x), in the units in which the weights were given.
    marginal : ndarray of shape (m,)
        Σ p(x) q(x), where P(·|x) = `unit` · q(x).
    gram : ndarray of shape (m, m)
        Upper triangle of Σ p(x) q(x) q(x)ᵀ; zeros below the diagonal.
    unit : float
        1/K for a KNN context, so that its q are whole numbers; with equal weights of 1 every sum
        is one too, and adding and subtracting are exact to the last bit. 1 where P is no multiple
        of anything.
    """

    rows: int
    mass: float
    marginal: FloatArray
    gram: FloatArray
    unit: float = 1.0

    @classmethod
    def zero(cls, m: int, unit: float = 1.0) -> Self:
        """Moments of no rows over m context values."""
        return cls(0, 0.0, np.zeros(m), np.zeros((m, m)), unit)

    def add(self, rows: Rows, weights: FloatArray) -> Self:
        """Add rows of P; the arrays of this object are used up.

        Parameters
        ----------
        rows : csr_array or ndarray of shape (r, m)
            P(·|x).
        weights : ndarray of shape (r,)
            p(x), not necessarily normalised.

        Raises
        ------
        InputError
            If the rows have another number of columns.
        """
        m = len(self.marginal)
        if rows.shape[1] != m:
            raise InputError(f"the rows have {rows.shape[1]} columns; {m} context values are kept.")
        if not rows.shape[0]:
            return self
        q = in_units(rows, self.unit)
        self.marginal[:] += q.T @ weights
        if isinstance(q, sparse.csr_array):
            q.sort_indices()
            _add_sparse(q.indptr, q.indices, q.data, weights, self.gram)
        else:
            scaled = np.sqrt(weights)[:, None] * q
            # In Fortran order, `gram` is its transpose, and its upper triangle the lower one.
            blas.dsyrk(1.0, scaled.T, 1.0, self.gram.T, lower=1, overwrite_c=1)
        return type(self)(
            self.rows + rows.shape[0],
            self.mass + float(weights.sum()),
            self.marginal,
            self.gram,
            self.unit,
        )

    def __add__(self, other: Moments) -> Moments:
        return self._combined(other, 1.0)

    def __sub__(self, other: Moments) -> Moments:
        return self._combined(other, -1.0)

    def _combined(self, other: Moments, sign: float) -> Moments:
        if other.marginal.shape != self.marginal.shape or other.unit != self.unit:
            raise InputError(
                f"moments over {len(self.marginal)} and {len(other.marginal)} context values (in "
                f"units of {self.unit:g} and {other.unit:g}) do not belong to one context."
            )
        return Moments(
            self.rows + int(sign) * other.rows,
            self.mass + sign * other.mass,
            self.marginal + sign * other.marginal,
            self.gram + sign * other.gram,
            self.unit,
        )

    @property
    def context_weights(self) -> FloatArray:
        """P_A, shape (m,); 0 where no row chose the value."""
        return self.marginal * (self.unit / self.mass)

    def second_moment(self, mass: float | None = None) -> FloatArray:
        """E_x[P(·|x) P(·|x)ᵀ], symmetric, shape (m, m).

        Parameters
        ----------
        mass : float, optional
            Of more rows, among which these are some; the sum over these is then divided by it.
        """
        full = self.gram + np.triu(self.gram, 1).T
        full *= self.unit**2 / (self.mass if mass is None else mass)
        return full

    @property
    def total_association(self) -> float:
        """Σ_{i≥1} s_i² = tr(diag(p_A)^-1 E[P Pᵀ]) − 1 (theory.md §4)."""
        p = self.context_weights
        kept = p > 0
        diagonal = np.diag(self.gram)[kept] * (self.unit**2 / self.mass)
        return max(0.0, float(np.sum(diagonal / p[kept])) - 1.0)


def in_units(rows: Rows, unit: float) -> Rows:
    """Rows of P divided by ``unit``; whole numbers exactly, where that is what they are."""
    if unit == 1.0:
        return rows
    if isinstance(rows, sparse.csr_array):
        return sparse.csr_array(
            (np.rint(rows.data / unit), rows.indices, rows.indptr), shape=rows.shape
        )
    return np.rint(rows / unit)


@numba.njit(cache=True, nogil=True)
def _add_sparse(
    pointers: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    entries: FloatArray,
    weights: FloatArray,
    gram: FloatArray,
) -> None:  # pragma: no cover - compiled
    for row in range(len(weights)):
        for i in range(pointers[row], pointers[row + 1]):
            scaled = weights[row] * entries[i]
            line = gram[columns[i]]
            for j in range(i, pointers[row + 1]):
                line[columns[j]] += scaled * entries[j]


def unit_of(evidence: ConditionalRows) -> float:
    """Return the largest number of which all entries of P are known to be multiples, or 1."""
    plain = getattr(evidence, "plain", evidence)
    neighbours = getattr(plain, "k", None)
    masks = len(getattr(evidence, "masks", ((),)))
    return 1.0 if neighbours is None else 1.0 / (neighbours * masks)


def masses(weights: FloatArray, rows: slice) -> FloatArray:
    """P_X of some rows, in units in which equal weights are 1.

    Sums of whole numbers then stay whole, and exact.
    """
    if weights.strides == (0,):
        return np.ones(rows.stop - rows.start)
    return np.asarray(weights[rows] * len(weights))


def halves_of(rows: slice) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which of some rows belong to the first half, and which to the second.

    By a hash of the number of the row (SplitMix64: Steele, Lea and Flood 2014), so that nothing of
    the order of rows is in it, and it is the same for ever: moments of the targets may be added to
    those of the context by a later run, with another seed.
    """
    mixed = np.arange(rows.start + 1, rows.stop + 1, dtype=np.uint64) * _STEP
    for shift, factor in _MIXING:
        mixed ^= mixed >> shift
        mixed *= factor
    # The last step of the function leaves the first bit as it is.
    second = mixed >> np.uint64(63) > 0
    return ~second, second


def tiles(start: int, stop: int, m: int) -> Iterator[slice]:
    """Cut rows so that a dense temporary of some rows × m context values stays small."""
    step = max(1, TILE_BYTES // (8 * m))
    for low in range(start, stop, step):
        yield slice(low, min(low + step, stop))
