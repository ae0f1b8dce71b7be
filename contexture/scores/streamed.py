"""Scores of a context of which only moments are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contexture.inputs import FloatArray
from contexture.scores.panels import Compatibilities, Compatibility, inner_products
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
    """ρ of a task from the moments of groups of rows; the third route to the same number.

    Parameters
    ----------
    parts : sequence of TaskMoments
        Of groups of rows: the two halves of the first block, those of the next, and so on (see
        `contexture.estimators.group_influence`). They are gone through twice for each panel of
        functions, one at a time, so they may be read when they are asked for.
    masses : ndarray of shape (G,)
        Σ p(x) of each group; G is even.
    marginals : ndarray of shape (G, m)
        Σ p(x) P(·|x) of each group. Context values that no row chose are left out.
    spectrum : Spectrum
        Its right functions give the energies.

    Returns
    -------
    Compatibilities
        Of all functions of the task pooled, and of each. The standard errors are the root of
        Σ_b (d_b − d_b')² over blocks, d being what leaving out a half changes: to first order, the
        sum of the influences of its rows.
    """
    mass, marginal = float(masses.sum()), marginals.sum(axis=0)
    kept = np.flatnonzero(marginal > 0)
    marginal, marginals = marginal[kept], marginals[:, kept]
    groups, q = len(parts), len(parts[0].total) - 1
    functions = spectrum.right.shape[1]
    # ‖T* f̃‖² and ‖f̃‖² over all rows, and below over all but those of one group.
    squares, norms = np.zeros((2, 1 + groups, q))
    energies = np.zeros((functions, q))
    width = max(1, PANEL_BYTES // (8 * len(kept)))
    for start in range(0, q, width):
        panel = slice(start, min(start + width, q))
        total = sum_of(part.restricted(kept, panel) for part in parts)
        adjoint, norms[0, panel] = total.adjoint(mass)
        # ⟨f, μ_i⟩ = ⟨T* f, ν_i⟩ / s_i.
        with np.errstate(divide="ignore", invalid="ignore"):
            u = inner_products(spectrum.right, adjoint)
            energies[:, panel] = u**2 / spectrum.eigenvalues[:functions, None]
        squares[0, panel] = _squared(adjoint, marginal / mass)
        for group in range(groups):
            rest = total - parts[group].restricted(kept, panel)
            left = mass - float(masses[group])
            adjoint, norms[1 + group, panel] = rest.adjoint(left)
            squares[1 + group, panel] = _squared(adjoint, (marginal - marginals[group]) / left)

    def of(chosen: slice) -> Compatibility:
        return _with_error(
            squares[:, chosen].sum(axis=1),
            norms[:, chosen].sum(axis=1),
            energies[:, chosen],
            masses / mass,
        )

    return Compatibilities(of(slice(None)), tuple(of(slice(c, c + 1)) for c in range(q)))


def _squared(adjoint: FloatArray, p: FloatArray) -> FloatArray:
    """‖T* f̃‖² of each function from p_A · T* f̃; writes to it."""
    kept = p > 0
    chosen = adjoint if kept.all() else adjoint[kept]
    chosen **= 2
    chosen /= p[kept, None]
    found: FloatArray = chosen.sum(axis=0)
    return found


def _with_error(
    squares: FloatArray, norms: FloatArray, energies: FloatArray, shares: FloatArray
) -> Compatibility:
    """ρ over all rows, and its error from the ρ without each half of a block, which follow."""
    if norms[0] <= 0.0:
        return Compatibility(float("nan"), float("nan"), np.full(len(energies), np.nan))
    ratios = np.zeros(len(norms))
    np.divide(squares, norms, out=ratios, where=norms > 0)
    values = np.sqrt(np.minimum(1.0, ratios))
    # Without rows of the share w, what is left weighs 1/(1 − w) times as much.
    changes = (values[0] - values[1:]) * (1.0 - shares)
    error = float(np.sqrt(np.sum((changes[0::2] - changes[1::2]) ** 2)))
    return Compatibility(float(values[0]), error, energies.sum(axis=1) / norms[0])
