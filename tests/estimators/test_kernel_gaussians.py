from __future__ import annotations

import numpy as np
import pytest

from contexture.estimators.kernel_gaussians import LANES, gaussians, powers_of_two
from contexture.inputs import FloatArray, Floats


def gaussians_of(X: Floats, A: Floats) -> Floats:
    result = np.full((len(X), len(A)), np.nan, np.float32)
    gaussians(X.astype(np.float32), A.T.astype(np.float32, "C"), result)
    return result


@pytest.mark.parametrize("rows", [8, 9, 15, 16, 131])
@pytest.mark.parametrize("columns", [LANES, LANES + 1, 2 * LANES - 1, 200])
@pytest.mark.parametrize("coordinates", [1, 2, 17])
def test_gaussians_of_any_number_of_rows_and_columns(
    rows: int, columns: int, coordinates: int
) -> None:
    rng = np.random.default_rng([rows, columns])
    width = 2.0 / np.sqrt(coordinates)
    X = (rng.normal(size=(rows, coordinates)) * width).astype(np.float32)
    A = (rng.normal(size=(columns, coordinates)) * width).astype(np.float32)
    squares = np.sum((X[:, None].astype(float) - A[None]) ** 2, axis=2)
    # Rounding of the exponent, and the polynomial.
    np.testing.assert_allclose(gaussians_of(X, A), np.exp2(-squares), rtol=2e-5, atol=2e-37)
    near = squares < 4
    assert near.any()
    np.testing.assert_allclose(gaussians_of(X, A)[near], np.exp2(-squares[near]), rtol=1e-6)


def test_near_points_far_from_the_origin_do_not_cancel() -> None:
    X = (np.random.default_rng(0).normal(size=(64, 3)) + 1e4).astype(np.float32)
    squares = np.sum((X[:, None].astype(float) - X[None]) ** 2, axis=2)
    found = gaussians_of(X, X)
    np.testing.assert_array_equal(found.diagonal(), 1.0)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(found, np.exp2(-squares), rtol=2e-5, atol=2e-37)


def test_far_points_end_at_the_smallest_entry() -> None:
    X = np.zeros((8, 2))
    A = np.full((LANES, 2), 1e10)
    A[0], A[1] = 0.0, 8.0
    found = gaussians_of(X, A)
    np.testing.assert_array_equal(found[:, 0], 1.0)
    np.testing.assert_allclose(found[:, 1:], np.exp(-85.0), rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(3, LANES), (8, LANES - 1), (0, 0)])
def test_fewer_rows_or_columns_than_are_worked_on_at_a_time(rows: int, columns: int) -> None:
    with pytest.raises(ValueError, match="too few rows or columns"):
        gaussians_of(np.zeros((rows, 2)), np.zeros((columns, 2)))


def test_what_is_no_number_is_not_hidden() -> None:
    X, A = np.zeros((8, 2)), np.zeros((LANES, 2))
    X[3, 1] = np.nan
    found = gaussians_of(X, A)
    assert np.isnan(found[3]).all()
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), 1.0)


def powers_of(X: FloatArray, A: FloatArray) -> FloatArray:
    result = np.full((len(X), A.shape[1]), np.nan)
    powers_of_two(X, A, result)
    return result


@pytest.mark.parametrize("rows", [8, 9, 15, 131])
@pytest.mark.parametrize("columns", [LANES, LANES + 1, 3 * LANES // 2, 200])
@pytest.mark.parametrize("coordinates", [1, 2, 17])
def test_powers_of_any_number_of_rows_and_columns(
    rows: int, columns: int, coordinates: int
) -> None:
    rng = np.random.default_rng([rows, columns])
    X, A = rng.normal(size=(rows, coordinates)), 4 * rng.normal(size=(coordinates, columns))
    np.testing.assert_allclose(powers_of(X, A), np.exp2(X @ A), rtol=1e-13)


def test_powers_over_the_whole_range_of_float64() -> None:
    A = np.concatenate([np.linspace(-1020, 1020, 8161), [-1020.5, -1e4, -1e300, -np.inf]])
    found = powers_of(np.ones((8, 1)), np.append(A, [1020.5, 1025.0, np.inf])[None])
    np.testing.assert_allclose(found[:, :-7], np.exp2(A[None, :-4]).repeat(8, axis=0), rtol=1e-15)
    np.testing.assert_array_equal(found[:, -7:-3], 0.0)
    np.testing.assert_array_equal(found[:, -3:], 2.0**1020)


def test_powers_of_what_is_no_number_are_none() -> None:
    X, A = np.ones((8, 1)), np.zeros((1, LANES))
    X[3] = np.nan
    found = powers_of(X, A)
    assert np.isnan(found[3]).all()
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), 1.0)


@pytest.mark.parametrize(("rows", "columns"), [(3, LANES), (8, LANES - 1), (0, 0)])
def test_powers_of_fewer_than_are_worked_on_at_a_time(rows: int, columns: int) -> None:
    with pytest.raises(ValueError, match="too few rows or columns"):
        powers_of(np.zeros((rows, 2)), np.zeros((2, columns)))
