"""Usefulness τ of a context, read off its spectrum (paper, Eq. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from contexture.errors import InputError
from contexture.inputs import FloatArray
from contexture.spectrum import Spectrum

ABSTENTION_MARGIN = 0.01
"""τ within this fraction of β below 1 + β is called no answer."""

NEGLIGIBLE = 0.05
"""s_1² below this is hardly an association: Eq. 4 would call a flat, tiny spectrum excellent."""

Abstention: TypeAlias = Literal["", "too weak", "too strong"]


@dataclass(frozen=True)
class Usefulness:
    """The usefulness curve and its minimum.

    Attributes
    ----------
    value : float
        τ = min_d τ_d, in (1, 1 + β]; lower is better.
    standard_error : float
        Over inputs, context values held fixed, at the minimising d.
    best_rank : int
        d* = argmin_d τ_d: how many dimensions the context deserves.
    curve : ndarray of shape (d_0,)
        τ_1 .. τ_{d_0}.
    max_rank : int
        d_0 as it was used: at most the rank available.
    beta : float
    abstention : str
        Empty, or which extreme makes τ uninformative: "too weak" or "too strong".
    """

    value: float
    standard_error: float
    best_rank: int
    curve: FloatArray
    max_rank: int
    beta: float
    abstention: Abstention

    @property
    def abstains(self) -> bool:
        """Whether τ says nothing: it is too near 1 + β, or there is no association to speak of."""
        return self.abstention != ""


def usefulness(
    spectrum: Spectrum | npt.ArrayLike, max_rank: int = 512, beta: float = 1.0
) -> Usefulness:
    """Score a context without a downstream task.

    τ_d = 1/(1 − s_{d+1}²) + β Σ_{i≤d} s_i² / Σ_{i≤d_0} s_i² and τ = min_d τ_d over d = 1 .. d_0
    (paper, Eq. 4). Only the top d_0 values count, so s_{d_0+1} = 0 and τ_{d_0} = 1 + β.

    Parameters
    ----------
    spectrum : Spectrum or array-like of shape (k,)
        Or its singular values s_1 >= s_2 >= ..., the trivial one removed.
    max_rank : int
        d_0; fewer are used if fewer are available.
    beta : float
        Weight of the second term, positive.

    Returns
    -------
    Usefulness

    Raises
    ------
    InputError
        If there are no singular values, or they are not in [0, 1] and descending, or the
        parameters are out of range.
    """
    singular = (
        spectrum.singular_values
        if isinstance(spectrum, Spectrum)
        else np.asarray(spectrum, dtype=np.float64)
    )
    _check(singular, max_rank, beta)
    squares = singular[:max_rank] ** 2
    d0 = len(squares)
    total = squares.sum()
    if total == 0.0:
        # A says nothing about X at all: every τ_d is 0/0 in its second term. The limit of ever
        # weaker associations is 1 + β, reached with one component.
        return Usefulness(1 + beta, 0.0, 1, np.full(d0, 1 + beta), d0, beta, "too weak")
    following = np.append(squares[1:], 0.0)
    with np.errstate(divide="ignore"):
        curve = 1.0 / (1.0 - following) + beta * np.cumsum(squares) / total  # Eq. 4
    curve[-1] = 1 + beta  # its exact value, free of the rounding of the sum
    best = int(np.argmin(curve))
    abstention: Abstention = ""
    if curve[best] > 1 + beta * (1 - ABSTENTION_MARGIN):
        # Near 1 + β the minimum sits at one end: few components, or all of them.
        weak = squares[0] < 0.5 if d0 == 1 else 2 * (best + 1) <= d0
        abstention = "too weak" if weak else "too strong"
    elif squares[0] < NEGLIGIBLE:
        abstention = "too weak"
    error = 0.0
    if isinstance(spectrum, Spectrum):
        error = _standard_error(squares, best, beta, spectrum.eigenvalue_covariance[:d0, :d0])
    return Usefulness(float(curve[best]), error, best + 1, curve, d0, beta, abstention)


def _check(singular: FloatArray, max_rank: int, beta: float) -> None:
    if singular.ndim != 1 or singular.size == 0:
        raise InputError(
            f"singular values have shape {singular.shape}; one or more in a row are needed."
        )
    inside = np.isfinite(singular).all() and singular.min() >= 0 and singular.max() <= 1
    if not inside or (np.diff(singular) > 0).any():
        raise InputError("singular values must lie in [0, 1] and descend.")
    if max_rank < 1:
        raise InputError(f"max_rank is {max_rank}; at least 1 is needed.")
    if not (np.isfinite(beta) and beta > 0):
        raise InputError(f"beta is {beta}; a positive number is needed.")


def _standard_error(squares: FloatArray, best: int, beta: float, covariance: FloatArray) -> float:
    """Delta method at the minimising d (d itself does not move to first order)."""
    total = squares.sum()
    gradient = np.full(len(squares), -beta * squares[: best + 1].sum() / total**2)
    gradient[: best + 1] += beta / total
    if best + 1 < len(squares):
        gradient[best + 1] += 1.0 / (1.0 - squares[best + 1]) ** 2
    return float(np.sqrt(max(0.0, gradient @ covariance @ gradient)))
