from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator
from contexture.estimators.chebyshev import LIMITS, MOST_DEGREE, Filter
from contexture.estimators.components import components_of_blocks
from contexture.estimators.convergence import bounds
from contexture.estimators.crew import Crew
from contexture.estimators.parts import connected_parts
from contexture.estimators.products import BlockProducts, SparseProducts


@pytest.mark.parametrize("shape", [(70, 40), (40, 70), (50, 50)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_ways_to_multiply_agree(shape: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(0)
    P = rng.gamma(0.3, size=shape) * (rng.random(shape) < 0.3) + 1e-3
    P /= P.sum(axis=1, keepdims=True)
    operator = ExpectationOperator.from_conditional(
        sparse.csr_array(P), rng.uniform(0.5, 2, shape[0])
    )
    M = operator.normalised()
    blocks = ExpectationOperator(
        [operator.conditional()[i : i + 16] for i in range(0, shape[0], 16)],
        operator.input_weights,
        operator.context_weights,
    )
    dense = M.toarray() if shape[1] <= shape[0] else M.toarray().T
    V = rng.normal(size=(dense.shape[1], 5)).astype(dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    with Crew(2) as crew:
        for products in (
            SparseProducts(lambda: M, shape, crew),
            BlockProducts(blocks, crew),
        ):
            assert products.shape == shape
            found = products.gram(V)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, dense.T @ (dense @ V), atol=tolerance)
            result = np.full((len(dense), 5), np.nan)
            for rows, values in products.other(V):
                result[rows] = values
            np.testing.assert_allclose(result, dense @ V, atol=tolerance)


@pytest.mark.parametrize("held_sparse", [False, True])
def test_threads_change_nothing(held_sparse: bool) -> None:
    P = sparse.csr_array(sparse.random_array((3000, 2000), density=0.02, rng=0))
    P = sparse.csr_array(P / P.sum(axis=1)[:, None])
    V = np.random.default_rng(1).normal(size=(2000, 32))
    operator = ExpectationOperator.from_conditional(P if held_sparse else P.toarray())
    M, found = sparse.csr_array(operator.normalised()), []
    for threads in (1, 3):
        with Crew(threads) as crew:
            found.append(SparseProducts(lambda: M, M.shape, crew).gram(V))
            found.append(BlockProducts(operator, crew).gram(V))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found[1], found[3], atol=1e-14)
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)


def test_parts_of_blocks_are_those_of_the_whole() -> None:
    M = sparse.csr_array(sparse.random_array((80, 90), density=0.012, rng=3))
    M = M[np.flatnonzero(np.diff(M.indptr))]
    M = M[:, np.unique(M.indices)]
    parts, of_x, of_a = connected_parts(M)
    found = components_of_blocks([M[:20], M[20:30].toarray(), M[30:]], M.shape[1])
    assert found[0] == parts > 5
    for one, two in ((of_x, found[1]), (of_a, found[2])):
        np.testing.assert_array_equal(one[:, None] == one, two[:, None] == two)


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_filter(degree: int) -> None:
    f, values = Filter(0.3, degree), np.array([0.35, 0.6, 1.0])
    np.testing.assert_allclose(f.back(f.at(values)), values, atol=1e-12)
    everywhere = np.linspace(0, 1, 50)
    coefficients = np.eye(degree + 1)[degree]
    polynomial = np.polynomial.chebyshev.chebval(2 * everywhere / 0.3 - 1, coefficients)
    np.testing.assert_allclose(
        f.anywhere(everywhere), everywhere if degree == 1 else polynomial, atol=1e-12 * 20**degree
    )
    applied = f.apply(lambda X: values[:, None] * X, np.eye(3))
    np.testing.assert_allclose(np.diag(applied), f.at(values), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_filter_is_as_steep_as_rounding_allows(dtype: type) -> None:
    ratio, most = LIMITS[np.dtype(dtype)]
    f = Filter.choose(0.1, 0.12, 0.5, dtype)
    assert 1 < f.degree < MOST_DEGREE
    assert f.at(0.5) <= ratio * f.at(0.12)
    steeper = Filter(f.cut, f.degree + 1)
    assert steeper.at(0.5) > ratio * steeper.at(0.12) or steeper.at(1.0) > most
    assert Filter.choose(0.4, 0.45, 0.5, dtype).degree > f.degree
    assert Filter.choose(0.1, 0.12, 0.05, dtype).degree == 1


def test_bounds_hold() -> None:
    rng = np.random.default_rng(0)
    values = np.sort(rng.uniform(0, 1, 60))[::-1]
    Q, _ = np.linalg.qr(np.eye(60)[:, :20] + 2e-3 * rng.normal(size=(60, 20)))
    G = np.diag(values)
    ritz, Z = np.linalg.eigh(Q.T @ G @ Q)
    ritz, W = ritz[::-1], (Q @ Z)[:, ::-1]
    R = G @ W - W * ritz
    found = bounds(ritz, R.T @ R, 12)
    assert (np.abs(ritz[:12] - values[:12]) <= found).all()
    assert found[0] < 0.2 * np.linalg.norm(R, 2)
