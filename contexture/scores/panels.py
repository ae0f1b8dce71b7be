"""Compatibility of many tasks in two passes over P a panel, with nothing of size inputs × tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.inputs import FloatArray, Floats
from contexture.operator import ExpectationOperator
from contexture.scores.centred import Centred
from contexture.spectrum import Spectrum

PANEL_BYTES = 64 * 2**20
"""Size of an array of context values × tasks, or of some inputs × tasks. It says how many tasks are
taken at a time; about four such arrays are held at once, and at most a quarter of a square P.
Fewer tasks need more passes over P."""

_PRODUCT_ROWS = 4096


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


@dataclass(frozen=True)
class Compatibilities:
    """Compatibility of several tasks.

    Attributes
    ----------
    pooled : Compatibility
        Of all together: ρ² = Σ‖T* f̃_c‖² / Σ‖f̃_c‖².
    each : tuple of Compatibility
        Of each on its own.
    """

    pooled: Compatibility
    each: tuple[Compatibility, ...]


@dataclass(frozen=True)
class _Sums:
    """What ρ and its errors are made of, filled panel by panel."""

    norms: FloatArray  # ‖f̃‖² of each task
    squares: FloatArray  # ‖T* f̃‖²
    spreads: FloatArray  # Σ_x (p(x) times the influence of x on ‖f̃‖² ρ²)²
    energies: FloatArray  # u_i², shape (r, q)
    above: FloatArray  # numerator and denominator of the influence of each input on the pooled ρ²
    below: FloatArray


def compatibilities(
    operator: ExpectationOperator, tasks: Centred, spectrum: Spectrum | None = None
) -> Compatibilities:
    """ρ(f, P⁺) = ‖T* f̃‖ / ‖f̃‖ of each task, and of all pooled (paper, Def. 13), exact from P.

    Parameters
    ----------
    operator : ExpectationOperator
        On n inputs.
    tasks : Centred
        f̃_1 .. f̃_q.
    spectrum : Spectrum, optional
        Gives the energies; there are none without it.
    """
    (n, m), q = operator.shape, tasks.functions
    functions = 0 if spectrum is None else spectrum.right.shape[1]
    norms, squares, spreads = np.zeros((3, q))
    above, below = np.zeros((2, n))
    sums = _Sums(norms, squares, spreads, np.zeros((functions, q)), above, below)
    width = max(1, PANEL_BYTES // (8 * m))
    for start in range(0, q, width):
        _fill(sums, slice(start, min(start + width, q)), operator, tasks, spectrum)
    norm, square = float(norms.sum()), float(squares.sum())
    influence = above - (square / norm if norm > 0 else 0.0) * below
    spread = float(np.sum((operator.input_weights * influence) ** 2))
    each = zip(norms, squares, spreads, sums.energies.T, strict=True)
    return Compatibilities(
        compatibility_from_sums(norm, square, spread, sums.energies.sum(axis=1)),
        tuple(compatibility_from_sums(*one) for one in each),
    )


def _fill(
    sums: _Sums,
    panel: slice,
    operator: ExpectationOperator,
    tasks: Centred,
    spectrum: Spectrum | None,
) -> None:
    """Enter some tasks: one pass of T*, and one of T for their errors."""
    w = panel.stop - panel.start
    both, sums.norms[panel], offsets = _adjoint(operator, tasks, panel)
    if not sums.norms[panel].any():
        return
    sums.squares[panel] = operator.context_weights @ both[:, w:]
    if spectrum is not None:
        # ⟨f, μ_i⟩ = ⟨T* f, ν_i⟩ / s_i, which needs no functions on the inputs.
        with np.errstate(divide="ignore", invalid="ignore"):
            u = inner_products(spectrum.right, operator.context_weights[:, None] * both[:, :w])
            sums.energies[:, panel] = u**2 / spectrum.eigenvalues[: len(u), None]
    if offsets.any():
        both[:, :w] -= offsets  # T of a constant is that constant
    ratio = np.zeros(w)
    np.divide(sums.squares[panel], sums.norms[panel], out=ratio, where=sums.norms[panel] > 0)
    for rows, block, inside in _tiles(operator, w):
        # Influence of an input on ρ² (as in contexture.estimators.influence): numerator
        # 2 f̃ (T g − E[T g | f has a value]) − T g², denominator f̃². An input with a value moves
        # the mean that is taken off f, hence f̃ at every such input: the expectation says by how
        # much. It is E f̃ = 0 where no value is missing.
        below = tasks.piece(rows, panel)
        means = np.asarray(_rows(block, inside) @ both)
        above = means[:, :w]
        above *= below
        above *= 2.0
        above -= means[:, w:]
        below *= below
        sums.above[rows] += above.sum(axis=1)
        sums.below[rows] += below.sum(axis=1)
        below *= ratio
        above -= below
        above *= operator.input_weights[rows, None]
        above *= above
        sums.spreads[panel] += above.sum(axis=0)
        del below, means, above  # before there are others


def _adjoint(
    operator: ExpectationOperator, tasks: Centred, panel: slice
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give g = T* f̃ with g² beside it, (m, 2w), so that one pass takes T of both; and ‖f̃‖².

    And E[T g | f has a value], of which the same pass over P takes what is needed.
    """
    w = panel.stop - panel.start
    both, norms = np.zeros((operator.shape[1], 2 * w)), np.zeros(w)
    g, columns = both[:, :w], w
    for rows, block, inside in _tiles(operator, w):
        f = tasks.piece(rows, panel)
        p, P = operator.input_weights[rows, None], _rows(block, inside)
        weighted = p * f
        g += P.T @ weighted
        weighted *= f
        norms += weighted.sum(axis=0)
        missing = tasks.missing(rows, panel)
        columns = w + missing.shape[1]
        if columns > w:
            both[:, w:columns] += P.T @ (p * missing)  # where g² will be
    g /= operator.context_weights[:, None]
    offsets = np.zeros(w)
    if columns > w:
        # Over the rows with a value Σ p T g is minus that over the others: over all it is E f̃ = 0.
        lost = (g * both[:, w:columns]).sum(axis=0)
        observed = tasks.observed[panel]
        np.divide(-lost, observed, out=offsets, where=observed > 0)
    np.square(g, out=both[:, w:])
    return both, norms, offsets


def compatibility_from_sums(
    norm: float, square: float, spread: float, energy: FloatArray
) -> Compatibility:
    """From Σ‖f̃‖², Σ‖T* f̃‖², the sum of squares of p(x) times the influence of x, and Σ u_i²."""
    if norm <= 0.0:
        return Compatibility(float("nan"), float("nan"), np.full(len(energy), np.nan))
    value = float(np.sqrt(min(1.0, square / norm)))
    of_square = np.sqrt(spread) / norm
    error = float(of_square / (2 * value)) if value > 0 else float(np.sqrt(of_square))
    return Compatibility(value, error, energy / norm)


def _tiles(operator: ExpectationOperator, width: int) -> Iterator[tuple[slice, Rows, slice]]:
    """Rows by their numbers, with the block of P that they stand in, and where they stand there.

    So many at a time as fill half a panel with twice ``width`` columns.
    """
    height = max(1, PANEL_BYTES // (32 * width))
    start = 0
    for block in operator.blocks:
        for first in range(0, block.shape[0], height):
            last = min(first + height, block.shape[0])
            yield slice(start + first, start + last), block, slice(first, last)
        start += block.shape[0]


def _rows(block: Rows, inside: slice) -> Rows:
    if inside == slice(0, block.shape[0]):
        return block
    if not isinstance(block, sparse.csr_array):
        return block[inside]
    # As slicing does, but without a look at every entry, which takes longer than the product.
    ends = block.indptr[inside.start : inside.stop + 1]
    entries = slice(int(ends[0]), int(ends[-1]))
    return sparse.csr_array(
        (block.data[entries], block.indices[entries], ends - ends[0]),
        shape=(len(ends) - 1, block.shape[1]),
    )


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
    for start in range(0, len(functions), _PRODUCT_ROWS):
        rows = slice(start, start + _PRODUCT_ROWS)
        total += functions[rows].astype(np.float64, copy=False).T @ weighted[rows]
    return total
