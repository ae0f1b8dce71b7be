"""The spectrum of a context: singular values and functions of its expectation operator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.errors import InputError
from contexture.inputs import FloatArray, Floats

LEFT_NAME = "left singular functions mu_i on the inputs"
FUNCTION_VALUE = "function_value"


@dataclass(frozen=True)
class Spectrum:
    """Top singular values and functions of T, without the trivial pair s_0 = 1.

    Conventions, settled here once: values descend; every function has mean 0 and variance 1
    under its marginal; signs are fixed by letting the entry of μ_i with the largest modulus be
    positive (of ν_i, where there are no μ_i). Where values repeat, only the subspace that the
    functions span has a meaning.

    Attributes
    ----------
    singular_values : ndarray of shape (k,)
        s_1 >= s_2 >= ... in [0, 1].
    left : ndarray of shape (n, r) or (n, 0)
        μ_1 .. μ_r on X, r <= k; NaN where s_i² is below `noise_floor`. Without columns where
        they were not wanted: `extend` gives them at any inputs.
    right : ndarray of shape (m, r)
        ν_1 .. ν_r on A; NaN likewise. Both are of the type in which they were computed: float32
        where the solver worked in it, whose rounding is far below the tolerance it was asked for.
    eigenvalue_covariance : ndarray of shape (k, k)
        Sampling covariance of the s_i² over inputs, the context values held fixed
        (`contexture.estimators.influence`).
    input_weights, context_weights : ndarray of shape (n,) and (m,)
        P_X and P_A.
    context_values : ndarray of shape (m,)
        What the rows of `right` stand for.
    total_association : float
        Σ_{i>=1} s_i² over the *whole* spectrum, in closed form.
    components : int
        Number of singular values equal to 1, the trivial one included: the connected parts
        that the context never leaves, or so rarely (s_i² > 1 − 1e-10) that rounding hides it.
    method : str
        How the values were found.
    noise_floor : float
        Functions with s_i² below it cannot be told from rounding and are not given.
    numerical_error : ndarray of shape (k,)
        Bound on what the method itself adds to each s_i²: from the residuals of an iterative
        solver, rounding for a dense one. Sampling error is apart, in `standard_error`.
    function_values : ndarray of shape (r,), optional
        Singular values that belong to the functions, where `singular_values` are means over
        several reference draws and the functions those of the first. The first r of
        `singular_values` by default.
    """

    singular_values: FloatArray
    left: Floats
    right: Floats
    eigenvalue_covariance: FloatArray
    input_weights: FloatArray
    context_weights: FloatArray
    context_values: npt.NDArray[Any]
    total_association: float
    components: int
    method: str
    noise_floor: float
    numerical_error: FloatArray
    function_values: FloatArray | None = None

    @property
    def eigenvalues(self) -> FloatArray:
        """s_i², shape (k,)."""
        return self.singular_values**2

    @property
    def rank(self) -> int:
        """k, the number of singular values known."""
        return len(self.singular_values)

    @property
    def standard_error(self) -> FloatArray:
        """Standard error of each s_i over inputs, shape (k,), by the delta method."""
        of_squares = np.sqrt(np.maximum(np.diag(self.eigenvalue_covariance), 0.0))
        floor = np.sqrt(self.noise_floor)
        return of_squares / (2.0 * np.maximum(self.singular_values, floor))

    def truncated(self, rank: int) -> Self:
        """Keep all values but only the first ``rank`` functions (copies, to free the rest)."""
        if rank >= self.right.shape[1]:
            return self
        left, right = self.left[:, :rank].copy(), self.right[:, :rank].copy()
        own = None if self.function_values is None else self.function_values[:rank]
        return replace(self, left=left, right=right, function_values=own)

    def extend(self, rows: Rows) -> Floats:
        """Values of the left functions at new inputs: μ_i(x) = s_i⁻¹ Σ_a P(a|x) ν_i(a).

        The s_i are those that belong to the functions (`function_values`).

        Parameters
        ----------
        rows : csr_array or ndarray of shape (r, m)
            P⁺(a|x) of the new inputs over `context_values`. A row that lost part of its mass
            to context values unknown here is normalised again.

        Returns
        -------
        ndarray of shape (r, number of functions)
            NaN where s_i² is below `noise_floor`; of the type of `right`.

        Raises
        ------
        InputError
            If a row has no mass on the known context values, or entries that are negative or no
            numbers, or the columns do not match.
        """
        m = len(self.context_weights)
        if rows.shape[1] != m:
            raise InputError(
                f"the rows have {rows.shape[1]} columns, but the spectrum has {m} context values."
            )
        entries = np.asarray(rows) if isinstance(rows, np.ndarray) else rows.data
        if not np.isfinite(entries).all() or (entries < 0).any():
            raise InputError("the rows hold negative, NaN or infinite entries; each must be a law.")
        mass = np.asarray(rows.sum(axis=1)).ravel()
        empty = np.flatnonzero(mass <= 0)
        if empty.size:
            raise InputError(f"row {empty[0]} puts no weight on any context value known here.")
        values = self.function_values
        if values is None:
            values = self.singular_values[: self.right.shape[1]]
        # Normalised before it is rounded: what is left of a row may be very small.
        if isinstance(rows, np.ndarray):
            law: Rows = rows / mass[:, None]
        else:
            law = sparse.csr_array(sparse.diags_array(1.0 / mass) @ rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = law.astype(self.right.dtype, copy=False) @ self.right
            means /= values.astype(means.dtype)
            return np.asarray(means)

    def to_dataset(self, ids: npt.NDArray[Any] | None = None) -> xr.Dataset:
        """Lay the spectrum out with named dimensions, as it is kept in the store.

        Parameters
        ----------
        ids : ndarray of shape (n,), optional
            Names of the inputs; 0 .. n-1 by default.

        Returns
        -------
        xarray.Dataset
            ``singular_value``, ``standard_error``, ``numerical_error`` over ``component`` (from
            1); ``left`` over (``sample``, ``function``) and ``right`` over (``context_value``,
            ``function``), ``function`` being the first components. ``left`` and ``sample`` are
            absent where the left functions were not wanted. ``function_value`` over
            ``function`` is there where `function_values` are.
        """
        k, r = self.rank, self.right.shape[1]
        data = xr.Dataset(
            {
                "singular_value": ("component", self.singular_values),
                "standard_error": ("component", self.standard_error),
                "numerical_error": ("component", self.numerical_error),
                "right": (("context_value", "function"), self.right),
            },
            coords={
                "component": np.arange(1, k + 1),
                "function": np.arange(1, r + 1),
                "context_value": self.context_values,
            },
        )
        if self.left.shape[1] == r:
            samples = np.arange(len(self.left)) if ids is None else ids
            data["left"] = (("sample", "function"), self.left)
            data = data.assign_coords(sample=samples)
            data["left"].attrs = {"long_name": LEFT_NAME}
        if self.function_values is not None:
            data[FUNCTION_VALUE] = ("function", self.function_values)
            data[FUNCTION_VALUE].attrs = {
                "long_name": "singular value of the reference draw that the functions belong to"
            }
        data["singular_value"].attrs = {
            "long_name": "singular value s_i of the expectation operator",
            "range": "0 to 1",
            "source": "theory.md §1; trivial s_0 = 1 removed",
        }
        data["standard_error"].attrs = {
            "long_name": "standard error of s_i over inputs, context values held fixed"
        }
        data["numerical_error"].attrs = {
            "long_name": "bound on the error of s_i^2 that the numerical method makes"
        }
        data["right"].attrs = {"long_name": "right singular functions nu_i on the context values"}
        data.attrs = {
            "total_association": self.total_association,
            "components": self.components,
            "method": self.method,
            "noise_floor": self.noise_floor,
        }
        return data


def fix_signs(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Flip pairs of functions so that the largest modulus in each left one is positive.

    Where there are no left ones, the right ones decide.
    """
    left, right = left.copy(), right.copy()
    fix_signs_in_place(left, right)
    return left, right


def fix_signs_in_place(left: Floats, right: Floats) -> None:
    """As `fix_signs`, without copies."""
    deciding = left if left.shape[1] else right
    if deciding.size == 0:
        return
    # Comparisons with NaN are false: such columns keep their sign.
    least, most = deciding.min(axis=0), deciding.max(axis=0)
    signs = np.where(-least > most, -1.0, 1.0)
    for i in np.flatnonzero(-least == most):  # the first of them decides
        if deciding[:, i].argmin() < deciding[:, i].argmax():
            signs[i] = -1.0
    left *= signs[: left.shape[1]]
    right *= signs
