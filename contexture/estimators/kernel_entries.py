"""Entries of the operator of an RBF context, computed where they are needed.

With L(x) = log Σ_a exp(−γ‖x − a‖²) every entry of M = diag(p_X)^½ P diag(p_A)^-½ is an
exponential,

    M(x, a) = exp(2γ x·a + [½ log p_X(x) − L(x) − γ‖x‖²] + [−½ log p_A(a) − γ‖a‖²]),

whose argument is the product of two rows with D + 2 entries. L, p_A and Σ s_i² come from one pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.contexts.rbf import RbfRows
from contexture.errors import InputError
from contexture.estimators.crew import blas_threads
from contexture.estimators.kernel_marginals import KernelMarginals, marginal_sums
from contexture.estimators.kernel_strips import STRIP_BYTES, Progress, cached_rows, strip_rows
from contexture.inputs import FloatArray, Floats

_OFF = 12.0
"""Roundings of ‖x‖²/2 that end up in an s_i²: of L, of the constants, and both factors of G."""


class KernelEntries:
    """M of an RBF context as coordinates of its rows and columns.

    Parameters
    ----------
    evidence : RbfRows
        A fitted RBF context; its rows are read once and held centred, n × (D + 2) numbers.
    threads : int, optional
        Strips worked on at a time; as many as BLAS may use by default.
    strip_bytes : int
        Memory of one strip; each thread holds one.
    progress : callable, optional
        Called during the pass with the rows done and the rows in all.

    Attributes
    ----------
    kept : ndarray of int
        Positions of the context values with p_A > 0; the others are dropped.
    input_weights, context_weights : ndarray of shape (n,), (m,)
        P_X, and p_A of the context values that are kept.
    context_values : ndarray of shape (m,)

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
        self.threads = threads or blas_threads()
        self.strip_bytes = strip_bytes
        self.progress = progress
        self.input_weights = np.asarray(evidence.input_weights, dtype=np.float64)
        # Moved to the median, neither a common offset nor a few far rows cancel digits.
        centre = np.median(evidence.references, axis=0)
        root = np.sqrt(2.0 * evidence.gamma)
        X = (np.asarray(evidence.X[0:n], dtype=np.float64) - centre) * root
        R = (np.asarray(evidence.references, dtype=np.float64) - centre) * root
        half_inputs = 0.5 * np.einsum("ij,ij->i", X, X)
        half_references = 0.5 * np.einsum("ij,ij->i", R, R)
        self._X = np.column_stack([X, -half_inputs, np.ones(n)])
        self._R = np.column_stack([R, np.ones(m), -half_references])
        height = min(cached_rows(m), strip_rows(strip_bytes, 8 * m))
        self.marginals = KernelMarginals.of(*self._marginal_sums(height))
        weights = self.marginals.context_weights
        self.kept = np.flatnonzero(weights > np.finfo(np.float64).tiny)
        self.context_weights = weights[self.kept]
        self.context_values = np.asarray(evidence.context_values)[self.kept]
        # From here on exp(x·a) is an entry of M.
        self._log_rows = 0.5 * np.log(self.input_weights) - self.marginals.log_sums
        self._log_columns = -0.5 * np.log(self.context_weights)
        self._half_norms = half_inputs, half_references[self.kept]
        self._R = self._R[self.kept]
        self._X[:, -2] += self._log_rows
        self._R[:, -1] += self._log_columns

    def _marginal_sums(self, height: int) -> tuple[FloatArray, FloatArray]:
        """Go over all rows, ``height`` of them at a time."""
        p = self.input_weights
        return marginal_sums(self._X, self._R, p, height, self.threads, self.progress)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``: inputs and context values with positive probability."""
        return len(self._X), len(self._R)

    @property
    def total_association(self) -> float:
        """Σ_{i≥1} s_i², in closed form."""
        return self.marginals.total_association

    @property
    def diagonal(self) -> FloatArray | None:
        """Of MᵀM, shape (m,), if that is the smaller side."""
        n, m = self.shape
        return self.marginals.diagonal[self.kept] if m <= n else None

    def rounding(self, values: FloatArray, V: Floats) -> FloatArray:
        """Bound how far rounding of the exponents moves each s_i², to first order.

        An exponent is a difference of numbers as large as ‖x‖², off by as much of float64's
        rounding; that counts for a function as far as the function lives there, and for those that
        it is mixed with.

        Parameters
        ----------
        values : ndarray of shape (k,)
            s_i².
        V : ndarray of shape (min(n, m), k)
            Their singular vectors.
        """
        halves = self._half_norms[0 if self.shape[0] < self.shape[1] else 1]
        moved = np.einsum("i,ij,ij->j", halves, V, V)
        moved = np.minimum(_OFF * np.finfo(np.float64).eps * moved, 1.0)
        mixed = np.abs(values[:, None] - values) <= moved
        return np.asarray(np.where(mixed, moved, 0.0).max(axis=1))

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
