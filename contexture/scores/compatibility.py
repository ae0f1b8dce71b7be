"""How well a task suits a context: compatibility ρ and energy per component (theory.md §5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contexture.errors import InputError
from contexture.inputs import FloatArray, Floats
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum

_PANEL_ROWS = 4096


@dataclass(frozen=True)
class Compatibility:
    """Compatibility of one task, or of several pooled.

    Attributes
    ----------
    value : float
        ρ in [0, 1]; NaN for a constant task.
    standard_error : float
        Over inputs, context values held fixed.
    energy : ndarray of shape (r,)
        u_i² / ‖f̃‖² on the spectrum's functions, which adds up to at most 1 where P_X weights
        the inputs: how many components the task needs.
    """

    value: float
    standard_error: float
    energy: FloatArray


def compatibility(
    operator: ExpectationOperator,
    tasks: npt.ArrayLike,
    spectrum: Spectrum | None = None,
) -> Compatibility:
    """ρ(f, P⁺) = ‖T* f̃‖ / ‖f̃‖ with f̃ = f − E f (paper, Def. 13), exact from P.

    Several tasks (the classes of one target) are pooled: ρ² = Σ‖T* f̃_c‖² / Σ‖f̃_c‖². Missing
    values (NaN) are left out of the mean and count as the mean.

    Parameters
    ----------
    operator : ExpectationOperator
        On n inputs.
    tasks : array-like of shape (n,) or (n, q)
        Values of f, or of f_1 .. f_q, at the inputs.
    spectrum : Spectrum, optional
        Gives the energies; there are none without it.

    Returns
    -------
    Compatibility

    Raises
    ------
    InputError
        If the tasks do not have n rows, or hold infinite values.
    """
    p = operator.input_weights
    try:
        f = np.asarray(tasks, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise InputError(
            f"the task does not hold numbers ({cause}); code classes by one_vs_rest."
        ) from cause
    f = f[:, None] if f.ndim == 1 else f
    if f.ndim != 2 or len(f) != len(p):
        raise InputError(f"the task has shape {f.shape}; {len(p)} rows are needed.")
    if np.isinf(f).any():
        raise InputError("the task holds infinite values; ρ is defined for finite ones.")
    centred = _centred(f, p)
    norm = float(np.sum(p[:, None] * centred**2))
    functions = 0 if spectrum is None else spectrum.right.shape[1]
    if norm <= 0.0:
        return Compatibility(float("nan"), float("nan"), np.full(functions, np.nan))
    g = operator.adjoint(centred)
    square = float(np.sum(operator.context_weights[:, None] * g**2)) / norm
    value = float(np.sqrt(min(1.0, square)))
    # Influence of an input on ρ² (as in contexture.estimators.influence): numerator
    # 2 f̃ T g − T g², denominator f̃².
    influence = 2 * centred * operator.apply(g) - operator.apply(g**2) - square * centred**2
    of_square = np.sqrt(np.sum((p * influence.sum(axis=1)) ** 2)) / norm
    error = float(of_square / (2 * value)) if value > 0 else float(np.sqrt(of_square))
    energy = np.zeros(0)
    if spectrum is not None:
        # ⟨f, μ_i⟩ = ⟨T* f, ν_i⟩ / s_i, which needs no functions on the inputs.
        with np.errstate(divide="ignore", invalid="ignore"):
            u = inner_products(spectrum.right, operator.context_weights[:, None] * g)
            energy = np.sum(u**2, axis=1) / spectrum.eigenvalues[:functions] / norm
    return Compatibility(value, error, energy)


def _centred(f: FloatArray, p: FloatArray) -> FloatArray:
    seen = ~np.isnan(f)
    weights = np.where(seen, p[:, None], 0.0)
    mass = weights.sum(axis=0)
    filled = np.where(seen, f, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(mass > 0, (weights * filled).sum(axis=0) / mass, 0.0)
    centred = np.where(seen, f - mean, 0.0)
    # What is left of a constant after subtracting its mean is rounding, not a task.
    scale = np.abs(filled).max(axis=0, initial=0.0)
    constant = np.abs(centred).max(axis=0, initial=0.0) <= 8 * np.finfo(np.float64).eps * scale
    return np.where(constant, 0.0, centred)


def inner_products(functions: Floats, weighted: FloatArray) -> FloatArray:
    """Σ_a φ_i(a) g(a), added up in float64, without a copy of the functions in another type.

    Parameters
    ----------
    functions : ndarray of shape (m, r)
        φ_1 .. φ_r; in float32 or float64.
    weighted : ndarray of shape (m, q)
        Functions g_1 .. g_q, times the weights of the entries.

    Returns
    -------
    ndarray of shape (r, q)
    """
    total = np.zeros((functions.shape[1], weighted.shape[1]))
    for start in range(0, len(functions), _PANEL_ROWS):
        rows = slice(start, start + _PANEL_ROWS)
        total += functions[rows].astype(np.float64, copy=False).T @ weighted[rows]
    return total


def one_vs_rest(codes: npt.ArrayLike, levels: int) -> FloatArray:
    """Return indicators of the classes, (n, levels); rows of a missing class (−1) are NaN."""
    labels = np.asarray(codes)
    indicators: FloatArray = np.equal.outer(labels, np.arange(levels)).astype(np.float64)
    indicators[labels < 0] = np.nan
    return indicators


def compatibility_from_spectrum(spectrum: Spectrum, task: npt.ArrayLike) -> float:
    """ρ(f, P⁺) = sqrt(Σ_{i>=1} s_i² u_i² / Σ u_i²), the second route to the same number.

    Parameters
    ----------
    spectrum : Spectrum
        With functions for all components that carry the task; those left out count as s = 0.
    task : array-like of shape (n,)
        Values of f at the inputs.

    Returns
    -------
    float
        In [0, 1]; NaN for a constant task.
    """
    p = spectrum.input_weights
    centred = _centred(np.asarray(task, dtype=np.float64)[:, None], p)[:, 0]
    norm = float(p @ centred**2)
    if norm <= 0.0:
        return float("nan")
    u = np.nan_to_num(inner_products(spectrum.left, (p * centred)[:, None])[:, 0])
    return float(np.sqrt(np.sum(spectrum.eigenvalues[: len(u)] * u**2) / norm))


def worst_case_error(spectrum: Spectrum, rank: int, epsilon: float) -> float:
    """Worst squared error of the best d-dimensional encoder on F_ε (paper, Thm. 16).

    (s_1² − (1−ε)²) / (s_1² − s_{d+1}²), for 1 − s_1 <= ε <= 1 − sqrt((s_1² + s_2²)/2).

    Parameters
    ----------
    spectrum : Spectrum
    rank : int
        d, from 1.
    epsilon : float
        The tasks considered have ρ(f) >= 1 − ε.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If ε is outside the theorem's range, or s_{rank+1} is not known.
    """
    squares = spectrum.eigenvalues
    complete = len(squares) == min(len(spectrum.input_weights), len(spectrum.context_weights)) - 1
    most = len(squares) if complete else len(squares) - 1
    if not 1 <= rank <= most:
        raise InputError(f"rank is {rank}; it must be between 1 and {most}.")
    low = 1 - spectrum.singular_values[0]
    second = squares[1] if len(squares) > 1 else 0.0
    high = 1 - np.sqrt((squares[0] + second) / 2)
    if not low <= epsilon <= high:
        raise InputError(f"epsilon is {epsilon}; the theorem holds from {low:.6g} to {high:.6g}.")
    following = squares[rank] if rank < len(squares) else 0.0
    gap = squares[0] - following
    if gap <= 8 * np.finfo(np.float64).eps * squares[0]:
        return 1.0  # s_{d+1} = s_1: a function as good as those of the encoder is left out whole
    return float(np.clip((squares[0] - (1 - epsilon) ** 2) / gap, 0.0, 1.0))
