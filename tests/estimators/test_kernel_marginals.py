from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from contexture.estimators.kernel_marginals import marginal_sums
from contexture.inputs import FloatArray


def coordinates(X: FloatArray, A: FloatArray) -> tuple[FloatArray, FloatArray]:
    halves = [0.5 * np.einsum("ij,ij->i", Z, Z)[:, None] for Z in (X, A)]
    return (
        np.hstack([X, -halves[0], np.ones((len(X), 1))]),
        np.hstack([A, np.ones((len(A), 1)), -halves[1]]),
    )


def directly(X: FloatArray, A: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    exponents = -0.5 * ((X[:, None] - A) ** 2).sum(axis=2)
    logs = logsumexp(exponents, axis=1)
    P = np.exp(exponents - logs[:, None])
    return logs, np.stack([weights @ P, weights @ P**2])


@pytest.mark.parametrize("columns", [1, 15, 16, 37, 2100])  # with few, and with several panels
@pytest.mark.parametrize("rows", [1, 7, 8, 61])
@pytest.mark.parametrize("dimensions", [1, 5, 120])
def test_sums_are_those_of_the_whole_matrix(rows: int, columns: int, dimensions: int) -> None:
    rng = np.random.default_rng([rows, columns, dimensions])
    X, A = rng.normal(size=(rows, dimensions)), rng.normal(size=(columns, dimensions))
    weights = rng.dirichlet(np.ones(rows))
    along, across = coordinates(X, A)
    for height, threads in ((64, 1), (16, 2), (3, 1)):
        logs, sums = marginal_sums(along, across, weights, height, threads)
        expected, of_all = directly(X, A, weights)
        np.testing.assert_allclose(logs, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(sums, of_all, rtol=1e-11, atol=1e-300)


def test_rows_far_from_every_reference_do_not_underflow() -> None:
    rng = np.random.default_rng(0)
    X, A = rng.normal(size=(40, 3)), rng.normal(size=(50, 3))
    # Sums of about e^-250, e^-550, e^-1600, e^-5000 and e^-130000.
    X[4], X[5], X[7], X[20], X[21] = 15.0, 21.0, 34.0, 60.0, -300.0
    weights = np.full(40, 1 / 40)
    for height in (64, 8):
        logs, sums = marginal_sums(*coordinates(X, A), weights, height)
        expected, of_all = directly(X, A, weights)
        np.testing.assert_allclose(logs, expected, rtol=1e-12)
        np.testing.assert_allclose(sums, of_all, rtol=1e-9)
        np.testing.assert_allclose(sums[0].sum(), 1.0, rtol=1e-13)


def test_coordinates_so_far_out_that_exponents_are_rounded_above_zero() -> None:
    X = np.full((40, 1), 3e10) + np.arange(40.0)[:, None]
    along, across = coordinates(X, X)
    assert (along @ across.T).max() > 1020
    logs, sums = marginal_sums(along, across, np.full(40, 1 / 40), 16)
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(sums[0].sum(), 1.0, rtol=1e-12)
