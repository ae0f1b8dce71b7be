"""Values and bounds taken from vectors that are Ritz vectors, against Rayleigh and Ritz in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contexture.estimators.basis import Basis
from contexture.estimators.chebyshev import Filter
from contexture.estimators.convergence import bounds
from contexture.estimators.rayleigh import judge, polish, rayleigh_ritz
from contexture.inputs import FloatArray

SIDE, COLUMNS, COUNT = 300, 70, 50
VALUES = np.r_[np.linspace(0.95, 0.5, 60), 0.4 * 0.97 ** np.arange(240)]


def problem(noise: float) -> tuple[FloatArray, FloatArray]:
    """A matrix with `VALUES`, and Ritz vectors that are off by about ``noise``."""
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.normal(size=(SIDE, SIDE)))[0]
    G = (V * VALUES) @ V.T
    Q = np.linalg.qr(V[:, :COLUMNS] + noise * rng.normal(size=(SIDE, COLUMNS)))[0]
    return G, Q @ np.linalg.eigh(Q.T @ G @ Q)[1][:, ::-1]


def held(Q: FloatArray, dtype: Any) -> Basis:
    basis = Basis(SIDE, 2 * Q.shape[1], dtype)
    basis.append(np.ascontiguousarray(Q.astype(dtype)))
    return basis


@pytest.mark.parametrize(("dtype", "rounding"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("noise", [1e-3, 1e-5])
def test_values_are_those_of_rayleigh_and_ritz(dtype: Any, rounding: float, noise: float) -> None:
    G, Q = problem(noise)
    product = G.astype(dtype)
    judged = judge(held(Q, dtype), lambda X: product @ X, COUNT, 10 * rounding)
    assert judged is not None
    values, errors = judged
    turned, _, residuals = rayleigh_ritz(held(Q, dtype), lambda X: product @ X, COLUMNS)
    np.testing.assert_allclose(values, turned, rtol=0, atol=rounding)
    assert errors.shape == (COUNT,)
    assert np.all(np.abs(values[:COUNT] - VALUES[:COUNT]) <= errors + rounding)
    # Without the inner products of residuals they are wider, but of the same order.
    assert np.all(errors <= 30 * bounds(turned, residuals, COUNT) + rounding)


def test_vectors_that_are_not_wanted_need_not_be_ritz_vectors() -> None:
    G, Q = problem(1e-4)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    Q[:, COUNT:] = Q[:, COUNT:] @ turn
    judged = judge(held(Q, np.float64), lambda X: G @ X, COUNT, 1e-12)
    assert judged is not None
    values, errors = judged
    exact = np.linalg.eigvalsh(Q.T @ G @ Q)[::-1]
    np.testing.assert_allclose(values, exact, rtol=0, atol=1e-13)
    assert np.all(np.abs(values[:COUNT] - VALUES[:COUNT]) <= errors)


def test_wanted_vectors_that_are_no_ritz_vectors_are_turned_down() -> None:
    G, Q = problem(1e-4)
    angle = 1e-2
    both = Q[:, [3, 20]] @ np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    Q[:, [3, 20]] = both
    assert judge(held(Q, np.float64), lambda X: G @ X, COUNT, 1e-12) is None
    assert judge(held(Q, np.float64), lambda X: G @ X, 2, 1e-12) is not None


def test_a_basis_that_is_not_orthonormal_is_turned_down() -> None:
    G, Q = problem(1e-4)
    Q[:, 5] += 1e-4 * Q[:, 6]
    products = 0

    def product(X: FloatArray) -> FloatArray:
        nonlocal products
        products += 1
        return G @ X

    assert judge(held(Q, np.float64), product, COUNT, 1e-6) is None
    assert products == 0


def test_values_in_another_order_than_the_vectors_are_turned_down() -> None:
    G, Q = problem(0.0)
    Q[:, [3, COLUMNS - 1]] = Q[:, [COLUMNS - 1, 3]]
    assert judge(held(Q, np.float64), lambda X: G @ X, COUNT, 1e-12) is None


def test_what_a_basis_lacks_to_be_orthonormal_is_in_the_bounds() -> None:
    """Two vectors of one value, not quite at a right angle: the value comes out a little off."""
    G = np.diag(np.r_[0.9, 0.9, np.linspace(0.5, 0.0, SIDE - 2)])
    Q = np.eye(SIDE, 10)
    Q[:, 1] += 1.5e-8 * Q[:, 0]
    judged = judge(held(Q, np.float64), lambda X: G @ X, 2, 2e-8)
    assert judged is not None
    values, errors = judged
    assert np.abs(values[:2] - 0.9).max() > 1e-9
    assert np.all(np.abs(values[:2] - 0.9) <= errors)


def test_what_is_no_number_is_turned_down() -> None:
    G, Q = problem(0.0)
    assert judge(held(Q, np.float64), lambda X: np.nan * (G @ X), COUNT, 1e-6) is None
    Q[3, 3] = np.nan
    assert judge(held(Q, np.float64), lambda X: G @ X, COUNT, 1e-6) is None


def test_vectors_that_the_filter_made_dependent_have_no_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    basis = held(np.eye(SIDE, 8), np.float32)
    monkeypatch.setattr(Filter, "apply", lambda self, gram, X, crew: np.zeros_like(X))
    known = np.linspace(0.9, 0.6, 8), np.full(6, 1e-3)
    values, errors = polish(basis, Filter(0.5, 3), lambda X: X, known, 1e-5, 1e-6)
    np.testing.assert_array_equal(values, known[0])
    np.testing.assert_array_equal(errors, np.inf)
