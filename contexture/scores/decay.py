"""How fast the squared singular values of a context decay (paper, Section 5)."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from contexture.spectrum import Spectrum


def decay_rate(spectrum: Spectrum, max_rank: int = 512) -> float:
    """Rate λ of s_i² ≈ exp(−λ i), i >= 1, by non-linear least squares (paper, Section 5).

    Parameters
    ----------
    spectrum : Spectrum
    max_rank : int
        d_0; that many values are fitted.

    Returns
    -------
    float
        In [0, inf]: small for a strong association, large for a weak one; inf if all s are 0.
    """
    squares = spectrum.eigenvalues[:max_rank]
    if not squares.any():
        return float("inf")
    index = np.arange(1, len(squares) + 1)

    def loss(log_rate: float) -> float:
        return float(np.sum((squares - np.exp(-np.exp(log_rate) * index)) ** 2))

    # The loss may have flat parts, so a grid finds the valley before it is descended.
    grid = np.linspace(np.log(1e-9), np.log(50.0), 400)
    losses = [loss(g) for g in grid]
    at = int(np.argmin(losses))
    if at == 0:
        return 0.0
    bounds = (grid[at - 1], grid[min(at + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(
        loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    )
    return float(np.exp(found.x))


def decay_rate_standard_error(spectrum: Spectrum, max_rank: int = 512) -> float:
    """Give the standard error of `decay_rate` over inputs, context values held fixed.

    The fitted rate solves Σ_i i e_i (s_i² − e_i) = 0 with e_i = exp(−λ i); how it follows the
    s_i² to first order is the derivative of that equation.

    Parameters
    ----------
    spectrum : Spectrum
    max_rank : int
        d_0.

    Returns
    -------
    float
        NaN at the ends of the range (λ = 0 or inf), where there is no derivative.
    """
    squares = spectrum.eigenvalues[:max_rank]
    rate = decay_rate(spectrum, max_rank)
    if not 0.0 < rate < np.inf:
        return float("nan")
    index = np.arange(1.0, len(squares) + 1)
    fitted = np.exp(-rate * index)
    curvature = float((index**2 * fitted) @ (2 * fitted - squares))
    if curvature <= 0.0:
        return float("nan")
    gradient = -index * fitted / curvature
    covariance = spectrum.eigenvalue_covariance[: len(squares), : len(squares)]
    return float(np.sqrt(max(0.0, float(gradient @ covariance @ gradient))))
