"""Scores of a context of which only moments are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contexture.errors import InputError
from contexture.inputs import FloatArray, IntArray
from contexture.moments import HALVES
from contexture.scores.panels import (
    Compatibilities,
    Compatibility,
    compatibility_from_sums,
    inner_products,
)
from contexture.spectrum import Spectrum
from contexture.task_moments import TaskMoments, sum_of

PANEL_BYTES = 32 * 2**20
"""Size of an array of context values × functions, which says how many functions are taken at a
time; a few such arrays are held at once."""


def compatibility_of_moments(
    parts: Sequence[TaskMoments],
    masses: FloatArray,
    marginals: FloatArray,
    spectrum: Spectrum,
) -> Compatibilities:
    """ρ of a task from the moments of halves of blocks; the third route to the same number.

    Parameters
    ----------
    parts : sequence of TaskMoments
        Of the two halves of the first block of rows, of those of the next, and so on (see
        `contexture.estimators.group_influence`). They are gone through twice for each panel of
        functions, one at a time, so they may be read when they are asked for.
    masses : ndarray of shape (G,)
        Σ p(x) of each half.
    marginals : ndarray of shape (G, m)
        Σ p(x) P(·|x) of each half. Context values that no row chose are left out.
    spectrum : Spectrum
        Its right functions give the energies.

    Returns
    -------
    Compatibilities
        Of all functions of the task pooled, and of each. The square of a standard error is the sum
        over blocks of the squares of what the influences of the two halves differ by.

    Raises
    ------
    InputError
        If a half has no other, or there are not as many masses and marginals.
    """
    groups = len(parts)
    if not groups or groups % HALVES or not groups == len(masses) == len(marginals):
        raise InputError(
            f"there are moments of {groups} halves of blocks, {len(masses)} masses and "
            f"{len(marginals)} marginals; as many are needed of each, and two of every block."
        )
    mass, marginal = float(masses.sum()), marginals.sum(axis=0)
    kept = np.flatnonzero(marginal / mass > 0)
    p = marginal[kept] / mass
    turned = (marginals[0::HALVES, kept] - marginals[1::HALVES, kept]) / mass
    q, functions = len(parts[0].total) - 1, spectrum.right.shape[1]
    squares, norms = np.zeros((2, q))
    changes = np.zeros((2, len(turned), q))
    energies = np.zeros((functions, q))
    width = max(1, PANEL_BYTES // (8 * len(kept)))
    for start in range(0, q, width):
        panel = slice(start, min(start + width, q))
        total = sum_of(part.restricted(kept, panel) for part in parts)
        adjoint, norms[panel] = total.adjoint(mass)
        # ⟨f, μ_i⟩ = ⟨T* f, ν_i⟩ / s_i.
        with np.errstate(divide="ignore", invalid="ignore"):
            u = inner_products(spectrum.right, adjoint)
            energies[:, panel] = u**2 / spectrum.eigenvalues[:functions, None]
        adjoint /= p[:, None]
        squares[panel] = np.einsum("ac,ac,a->c", adjoint, adjoint, p)
        for block, of_marginal in enumerate(turned):
            part = _difference(parts, block, kept, panel)
            changes[:, block, panel] = _changes(total, part, mass, adjoint, of_marginal)
            del part  # makes room for the next one

    def of(chosen: slice) -> Compatibility:
        square, norm = float(squares[chosen].sum()), float(norms[chosen].sum())
        of_square, of_norm = changes[:, :, chosen].sum(axis=2)
        influences = of_square - (square / norm if norm > 0 else 0.0) * of_norm
        energy = energies[:, chosen].sum(axis=1)
        return compatibility_from_sums(norm, square, float(np.sum(influences**2)), energy)

    return Compatibilities(of(slice(None)), tuple(of(slice(c, c + 1)) for c in range(q)))


def _difference(
    parts: Sequence[TaskMoments], block: int, kept: IntArray, panel: slice
) -> TaskMoments:
    """Subtract one half of a block from the other."""
    one, other = (parts[HALVES * block + half].restricted(kept, panel) for half in range(HALVES))
    return one - other


def _changes(
    total: TaskMoments, part: TaskMoments, mass: float, g: FloatArray, of_marginal: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Change ‖T* f̃‖² and ‖f̃‖² of each function, to first order, by adding to the moments.

    Both are homogeneous in the sums of moments, but for the mass that they are divided by, which
    ρ does not depend on.

    Parameters
    ----------
    total, part : TaskMoments
        Of all rows, and what is added; in the units of the weights, as ``mass``.
    mass : float
        Σ p over all rows.
    g : ndarray of shape (m, q)
        T* f̃.
    of_marginal : ndarray of shape (m,)
        What is added to Σ p(x) P(·|x), over ``mass``.
    """
    seen = total.total[-1]
    mean = total.total[:-1] / seen if seen > 0 else np.zeros(g.shape[1])
    moved = part.total[:-1] - mean * part.total[-1]
    of_mean = moved / seen if seen > 0 else moved
    of_square = np.einsum("ac,ac->c", g, part.cross[:, :-1])
    of_square -= mean * (part.cross[:, -1] @ g) + of_mean * (total.cross[:, -1] @ g)
    of_square *= 2.0 / mass
    of_square -= np.einsum("ac,ac,a->c", g, g, of_marginal)
    of_norm = part.square[:-1] - mean * (part.total[:-1] + moved)
    return of_square, of_norm / mass
