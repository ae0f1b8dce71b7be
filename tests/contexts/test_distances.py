"""Squared distances where products of coordinates cancel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import contexture as cx
from contexture.contexts import MaskedRbf, Rbf
from contexture.contexts.distances import squared_distances


def far_pair() -> np.ndarray:
    """Rows near the origin, and two that are near each other a billion widths away."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    X[7] = 1e9
    X[8] = X[7] + 1
    return X


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_every_pair_has_its_digits(shift: float) -> None:
    X = far_pair() + shift
    found, exact = squared_distances(X, X), cdist(X, X, "sqeuclidean")
    near = exact < 1e-4 * exact.max()
    np.testing.assert_allclose(found[near], exact[near], rtol=1e-9)
    np.testing.assert_allclose(found[~near], exact[~near], rtol=1e-9)
    assert (found.diagonal() == 0).all()


def test_kernels_know_near_rows_far_out() -> None:
    X = far_pair()
    kernel = np.exp(-cdist(X, X, "sqeuclidean"))
    expected = kernel / kernel.sum(axis=1, keepdims=True)
    assert expected[8, 7] == pytest.approx(np.exp(-3) / (1 + np.exp(-3)))
    operator = cx.operator_of(X, Rbf(gamma=1, scale="absolute"))
    np.testing.assert_allclose(operator.conditional(), expected, atol=1e-12)
    masked = cx.operator_of(X, MaskedRbf(gamma=1, scale="absolute", n_masks=3, hidden=0.34))
    row = np.asarray(masked.conditional())[8]
    two = np.exp(-2.0)  # of two features that a mask keeps
    assert row[7] == pytest.approx(two / (1 + two), abs=1e-12)
