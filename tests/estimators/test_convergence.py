"""The bound of the errors: never too small, and not much too large where it can be known."""

from __future__ import annotations

import numpy as np
import pytest

from contexture.estimators.convergence import bounds, next_check

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


def test_when_to_look_again() -> None:
    assert next_check([(100, 1e-2)], 1e-6, 32) == 164
    assert next_check([(100, np.inf), (164, 1e-2)], 1e-6, 32) == 228
    # A tenth every 10 columns: 20 more would do, and 0.7 of the way is gone at once.
    assert next_check([(100, 1e-2), (110, 1e-3)], 1e-5, 32) == 124
    assert next_check([(100, 1e-2), (110, 1e-2)], 1e-5, 32) == 110 + 96
