"""Scores of a context of which only moments are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contexture.inputs import FloatArray
from contexture.scores.compatibility import Compatibility, inner_products
from contexture.spectrum import Spectrum
from contexture.task_moments import TaskMoments, sum_of


def compatibility_of_moments(
    parts: Sequence[TaskMoments],
    masses: FloatArray,
    marginals: FloatArray,
    spectrum: Spectrum,
    function: int | None = None,
) -> Compatibility:
    """ρ of a task from the moments of groups of rows; the third route to the same number.

    Parameters
    ----------
    parts : sequence of TaskMoments
        Of groups of rows, over the context values that some row chose.
    masses : ndarray of shape (G,)
        Σ p(x) of each group.
    marginals : ndarray of shape (G, m)
        Σ p(x) P(·|x) of each group.
    spectrum : Spectrum
        Its right functions give the energies.
    function : int, optional
        Which function of the task; all pooled by default.

    Returns
    -------
    Compatibility
        The standard error is that of the jackknife that leaves one group out: 0 if there is
        only one group.
    """
    chosen = slice(None) if function is None else slice(function, function + 1)
    total = sum_of(parts)
    adjoint, norm = (array[..., chosen] for array in total.adjoint(float(masses.sum())))
    functions = spectrum.right.shape[1]
    if norm.sum() <= 0.0:
        return Compatibility(float("nan"), float("nan"), np.full(functions, np.nan))
    value = _root(total, float(masses.sum()), marginals.sum(axis=0), chosen)
    # ⟨f, μ_i⟩ = ⟨T* f, ν_i⟩ / s_i.
    with np.errstate(divide="ignore", invalid="ignore"):
        u = inner_products(spectrum.right, adjoint)
        energy = np.sum(u**2, axis=1) / spectrum.eigenvalues[:functions] / norm.sum()
    groups = len(parts)
    without = [
        _root(total - part, float(masses.sum() - mass), marginals.sum(axis=0) - marginal, chosen)
        for part, mass, marginal in zip(parts, masses, marginals, strict=True)
        if groups > 1
    ]
    spread = np.asarray(without) - np.mean(without) if without else np.zeros(1)
    error = float(np.sqrt((groups - 1) / groups * np.sum(spread**2)))
    return Compatibility(value, error, energy)


def _root(total: TaskMoments, mass: float, marginal: FloatArray, chosen: slice) -> float:
    adjoint, norm = (array[..., chosen] for array in total.adjoint(mass))
    if norm.sum() <= 0.0:
        return 0.0
    p = marginal / mass
    kept = p > 0
    square = float(np.sum(adjoint[kept] ** 2 / p[kept, None])) / float(norm.sum())
    return float(np.sqrt(min(1.0, square)))
