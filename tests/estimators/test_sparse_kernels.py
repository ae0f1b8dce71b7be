from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from contexture.estimators.crew import Crew
from contexture.estimators.sparse_kernels import (
    column_dots,
    column_sums,
    combine,
    conditional_means,
    multiply,
    subtract_outer,
    subtract_scaled,
    transpose,
)

DTYPES = [(np.float32, 1e-5), (np.float64, 1e-13)]


def some_matrix(dtype: Any) -> sparse.csr_array:
    """Rows of 0 to 11 entries: every remainder of the loops over several of them."""
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(60, 20)) * (
        np.argsort(rng.random((60, 20))) < np.arange(60)[:, None] % 12
    )
    return sparse.csr_array(dense.astype(dtype))


@pytest.mark.parametrize(("dtype", "atol"), DTYPES)
@pytest.mark.parametrize("width", [1, 3, 8, 31, 32, 47, 64, 97])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_products_are_those_of_scipy(dtype: Any, atol: float, width: int, index: Any) -> None:
    A = some_matrix(dtype)
    A.indices, A.indptr = A.indices.astype(index), A.indptr.astype(index)
    V = np.random.default_rng(1).normal(size=(20, width)).astype(dtype)
    np.testing.assert_allclose(multiply(A, V), A @ V, rtol=0, atol=atol)
    np.testing.assert_allclose(multiply(A, np.asfortranarray(V)), A @ V, rtol=0, atol=atol)
    wide = np.repeat(A.data, 2)
    A.data = wide[::2]  # not contiguous
    np.testing.assert_allclose(multiply(A, V), A @ V, rtol=0, atol=atol)
    means, squares = conditional_means(A, V, dtype)
    assert means.dtype == squares.dtype == dtype
    np.testing.assert_allclose(means, A @ V, atol=atol)
    np.testing.assert_allclose(squares, A @ V**2, atol=atol)


def test_a_product_does_not_see_what_an_array_held() -> None:
    A, V = some_matrix(np.float64), np.ones((20, 2))
    with Crew(1) as crew:
        crew.give(np.full((60, 2), np.nan))
        np.testing.assert_allclose(multiply(A, V, crew), A @ V, atol=1e-13)


@pytest.mark.parametrize(("dtype", "atol"), DTYPES)
def test_small_kernels(dtype: Any, atol: float) -> None:
    rng = np.random.default_rng(2)
    X, Y, Z = (rng.normal(size=(50, 4)).astype(dtype) for _ in range(3))
    v, row = rng.normal(size=50).astype(dtype), rng.normal(size=4).astype(dtype)
    np.testing.assert_allclose(column_sums(X, v), X.T @ v, atol=20 * atol)
    np.testing.assert_allclose(column_dots(X, Y), (X * Y).sum(axis=0), atol=20 * atol)
    assert column_sums(X, v).dtype == column_dots(X, Y).dtype == np.float64
    found = X.copy()
    subtract_outer(found, v, row)
    np.testing.assert_allclose(found, X - np.outer(v, row), atol=atol)
    found = X.copy()
    subtract_scaled(found, Y, row)
    np.testing.assert_allclose(found, X - Y * row, atol=atol)
    found, a, b, c = Z.copy(), dtype(0.5), dtype(2), dtype(-1)
    combine(found, Y, X, a, b, c)
    np.testing.assert_allclose(found, a * Z - b * Y - c * X, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 32, 33, 100])
def test_transposed(dtype: Any, rows: int) -> None:
    X = np.random.default_rng(3).normal(size=(rows, 5)).astype(dtype)
    result = np.zeros((5, rows), dtype)
    transpose(X, result)
    np.testing.assert_array_equal(result, X.T)
    back = np.zeros_like(X)
    transpose(result.T, back.T)
    np.testing.assert_array_equal(back, X)
