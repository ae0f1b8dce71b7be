"""How well a task suits a context: compatibility ρ and energy per component (theory.md §5)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contexture.errors import InputError
from contexture.inputs import FloatArray, IntArray
from contexture.operator import ExpectationOperator
from contexture.scores.centred import CentredClasses, CentredColumns
from contexture.scores.panels import (
    Compatibilities,
    Compatibility,
    compatibilities,
    inner_products,
)
from contexture.spectrum import Spectrum


def compatibility(
    operator: ExpectationOperator,
    tasks: npt.ArrayLike,
    spectrum: Spectrum | None = None,
) -> Compatibility:
    """ρ(f, P⁺) = ‖T* f̃‖ / ‖f̃‖ with f̃ = f − E f (paper, Def. 13), exact from P.

    Several tasks (the classes of one target) are pooled: ρ² = Σ‖T* f̃_c‖² / Σ‖f̃_c‖². Missing
    values (NaN or masked) are left out of the mean and count as the mean.

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
        If the tasks do not have n rows, or hold infinite values or other than numbers.

    See Also
    --------
    compatibility_of_classes : from codes, without an array of rows × classes.
    """
    p, f = operator.input_weights, _numbers(tasks)
    f = f[:, None] if f.ndim == 1 else f
    if f.ndim != 2 or len(f) != len(p):
        raise InputError(f"the task has shape {f.shape}; {len(p)} rows are needed.")
    return compatibilities(operator, CentredColumns(f, p), spectrum).pooled


def compatibility_of_classes(
    operator: ExpectationOperator,
    codes: npt.ArrayLike,
    levels: int,
    spectrum: Spectrum | None = None,
) -> Compatibilities:
    """ρ of the classes of a target, pooled and one-vs-rest.

    As `compatibility` of `one_vs_rest` and of each of its columns, in memory that grows neither
    with the classes nor with rows × classes.

    Parameters
    ----------
    operator : ExpectationOperator
        On n inputs.
    codes : array-like of shape (n,)
        The class of each input, from 0; −1 or masked where it is missing.
    levels : int
        How many classes there are.
    spectrum : Spectrum, optional
        Gives the energies; there are none without it.

    Raises
    ------
    InputError
        If there is not one code an input.
    """
    labels = _labels(codes)
    p = operator.input_weights
    if labels.shape != p.shape:
        raise InputError(f"the codes have shape {labels.shape}; one a row is needed: {p.shape}.")
    return compatibilities(operator, CentredClasses(labels, levels, p), spectrum)


def one_vs_rest(codes: npt.ArrayLike, levels: int) -> FloatArray:
    """Return indicators of the classes, (n, levels); NaN where it is missing (−1 or masked)."""
    labels = _labels(codes)
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
        Values of f at the inputs; those missing (NaN or masked) count as the mean.

    Returns
    -------
    float
        In [0, 1]; NaN for a constant task.

    Raises
    ------
    InputError
        If there is not one value an input, or the task holds infinite values or other than
        numbers.
    """
    p = spectrum.input_weights
    f = _numbers(task)
    if f.shape != p.shape:
        raise InputError(f"the task has shape {f.shape}; one value a row is needed: {p.shape}.")
    centred = CentredColumns(f[:, None], p).piece(slice(0, len(f)), slice(0, 1))[:, 0]
    norm = float(p @ centred**2)
    if norm <= 0.0:
        return float("nan")
    u = np.nan_to_num(inner_products(spectrum.left, (p * centred)[:, None])[:, 0])
    return float(np.sqrt(np.sum(spectrum.eigenvalues[: len(u)] * u**2) / norm))


def _numbers(tasks: npt.ArrayLike) -> FloatArray:
    """Finite values, NaN where they are missing."""
    given: npt.ArrayLike = tasks
    try:
        if np.ma.isMaskedArray(tasks):
            # Under the mask of objects or words may stand what is no number.
            kind = np.float64 if tasks.dtype.kind in "biuf" else np.object_
            given = np.ma.filled(tasks.astype(kind), np.nan)
        f = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise InputError(
            f"the task does not hold numbers ({cause}); code classes by one_vs_rest."
        ) from cause
    if np.isinf(f).any():
        raise InputError("the task holds infinite values; ρ is defined for finite ones.")
    return f


def _labels(codes: npt.ArrayLike) -> IntArray:
    """Codes of classes, negative where the class is missing."""
    if not np.ma.isMaskedArray(codes):
        return np.asarray(codes)
    # As int64, so that −1 fits beside codes without a sign.
    return np.where(np.ma.getmaskarray(codes), np.int64(-1), np.ma.getdata(codes))


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
