"""The bound of the errors: never too small, and not much too large where it can be known."""

from __future__ import annotations

import numpy as np
import pytest

from contexture.estimators.chebyshev import Filter
from contexture.estimators.convergence import bounds, promised_error

SPECTRA = {
    "decaying": 0.9 ** np.arange(80),
    "flat": np.linspace(1, 0.5, 80),
    "clustered": np.repeat(0.5 ** np.arange(16), 5),
    "low rank": np.r_[np.linspace(1, 0.5, 12), np.zeros(68)],
}


def ritz(values: np.ndarray, count: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values on a basis that is nearly that of the top, and RᵀR."""
    generator = np.random.default_rng(0)
    tilted = np.eye(len(values))[:, :count] + noise * generator.normal(size=(len(values), count))
    Q = np.linalg.qr(tilted)[0]
    G = np.diag(values)
    theta, Y = np.linalg.eigh(Q.T @ G @ Q)
    theta, W = theta[::-1], Q @ Y[:, ::-1]
    R = G @ W - W * theta
    return theta, R.T @ R


@pytest.mark.parametrize("noise", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("name", SPECTRA)
def test_no_error_is_larger(name: str, noise: float) -> None:
    values = SPECTRA[name]
    theta, residuals = ritz(values, 30, noise)
    for count in (1, 5, 12, 20):
        errors = values[:count] - theta[:count]
        bound = bounds(theta, residuals, count)
        assert (errors <= bound + 1e-15).all()
        # From the lengths of the residuals alone it is wider, or the same.
        assert (bounds(theta, np.diag(residuals), count) >= bound).all()


def test_the_bound_falls_with_the_square_of_the_residual_at_a_gap() -> None:
    values = np.r_[np.linspace(1.0, 0.8, 10), np.linspace(0.4, 0.0, 60)]
    found = []
    for noise in (1e-2, 1e-3):
        theta, residuals = ritz(values, 30, noise)
        bound, errors = bounds(theta, residuals, 10), values[:10] - theta[:10]
        assert (errors <= bound).all()
        # Within a factor that is that of the gap: a bound of another size would say nothing.
        assert bound.max() < 60 * errors.max()
        found.append(bound.max())
    assert found[1] < found[0] / 50


def test_it_is_reached_by_two_by_two_matrices() -> None:
    """G = [[a, e], [e, b]] beside a third, smaller value: the bound for a is all but its error."""
    a, b, e = 0.9, 0.3, 0.01
    largest = np.linalg.eigvalsh([[a, e], [e, b]])[-1]
    theta, residuals = np.array([a, b]), np.diag([e**2, 0.0])
    # The basis holds the first direction and, apart from it, a Ritz value at b.
    (bound,) = bounds(theta, residuals, 1)
    assert largest - a <= bound <= 1.1 * (largest - a)


def test_without_a_gap_there_is_the_norm_of_the_residual() -> None:
    theta = np.full(4, 0.5)
    residuals = np.diag([0.04, 0.01, 0.0, 0.0]) + 0.0
    np.testing.assert_allclose(bounds(theta, residuals, 2), [0.2, 0.2])


@pytest.mark.parametrize("degree", [1, 3, 7])
@pytest.mark.parametrize("noise", [1e-2, 1e-4])
def test_residuals_of_the_filter_promise_what_those_of_the_operator_keep(
    degree: int, noise: float
) -> None:
    values, count = np.r_[np.linspace(0.9, 0.3, 40), np.linspace(0.2, 0.0, 60)], 20
    f = Filter(0.25, degree)
    generator = np.random.default_rng(0)
    Q = np.linalg.qr(np.eye(100)[:, :35] + noise * generator.normal(size=(100, 35)))[0]
    images = f.anywhere(values)
    phi, Y = np.linalg.eigh(Q.T @ (images[:, None] * Q))
    phi, W = phi[::-1], Q @ Y[:, ::-1]
    coupling = images[:, None] * W - W * phi
    promised = promised_error(f, phi, coupling, count)
    quotients = np.sum(W**2 * values[:, None], axis=0)
    R = values[:, None] * W - W * quotients
    kept = bounds(quotients, R.T @ R, count).max()
    assert np.abs(quotients - values[:35])[:count].max() <= kept
    # Wherever the residuals of the filter may come from, and no wider than that.
    assert (1 - 1e-9) * kept <= promised <= 200 * kept


def test_values_that_the_filter_does_not_lift_promise_nothing() -> None:
    f = Filter(0.25, 3)
    assert promised_error(f, np.array([9.0, 1.01]), np.zeros((2, 2)), 2) == np.inf
    assert promised_error(f, np.array([9.0, 1.01]), np.zeros((2, 2)), 1) == 0.0
    assert promised_error(Filter(0.0, 1), np.array([0.5, 0.1]), np.zeros((2, 2)), 2) == 0.0
