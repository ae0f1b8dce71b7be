from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator, decompose_operator
from contexture.contexts import Features, Knn
from contexture.errors import InputError
from contexture.scores import decay_rate, kernel_deviation, lipschitz_constant, verdict


def some_operator(n: int = 20, m: int = 15, held_sparse: bool = False) -> ExpectationOperator:
    rng = np.random.default_rng(0)
    P = rng.gamma(0.3, size=(n, m)) * (rng.random((n, m)) < 0.4) + 1e-3 * np.eye(n, m)
    P[P.sum(axis=1) == 0, 0] = 1
    P /= P.sum(axis=1, keepdims=True)
    held = sparse.csr_array(P) if held_sparse else P
    return ExpectationOperator.from_conditional(held, rng.uniform(0.5, 2, n))


def kernel(operator: ExpectationOperator) -> np.ndarray:
    P = operator.conditional()
    P = P.toarray() if sparse.issparse(P) else P
    n, m = P.shape
    return np.array(
        [
            [
                sum(P[x, a] * P[y, a] / operator.context_weights[a] for a in range(m))
                for y in range(n)
            ]
            for x in range(n)
        ]
    )


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, "strong"), (2 / 512, "strong"), (2.001 / 512, "moderate"), (19.99 / 512, "moderate"),
     (20 / 512, "weak"), (np.inf, "weak")],
)  # fmt: skip
def test_verdict(rate: float, expected: str) -> None:
    assert verdict(rate, 512) == expected


@pytest.mark.parametrize("held_sparse", [False, True])
def test_kernel_deviation_against_a_double_loop(held_sparse: bool) -> None:
    operator = some_operator(held_sparse=held_sparse)
    p, k = operator.input_weights, kernel(operator)
    expected = sum(p[x] * p[y] * abs(k[x, y] - 1) for x in range(len(p)) for y in range(len(p)))
    found = kernel_deviation(operator)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert (found.standard_error, found.rows) == (0.0, 20)


def test_kernel_deviation_of_the_extremes() -> None:
    # A = X on n inputs: 2 (1 − 1/n).
    n = 300
    identity = ExpectationOperator.from_conditional(sparse.csr_array(np.eye(n)))
    assert kernel_deviation(identity).value == pytest.approx(2 * (1 - 1 / n), rel=1e-12)
    assert kernel_deviation(identity, max_rows=50, seed=1).value == pytest.approx(
        2 * (1 - 1 / n), rel=1e-12
    )


def test_kernel_against_a_loop() -> None:
    for held_sparse in (False, True):
        operator = some_operator(held_sparse=held_sparse)
        expected = kernel(operator)
        rows, columns = np.array([3, 0, 7]), np.array([1, 1, 19, 4])
        np.testing.assert_allclose(operator.kernel(rows), expected[rows], rtol=1e-12)
        np.testing.assert_allclose(
            operator.kernel(rows, columns), expected[np.ix_(rows, columns)], rtol=1e-12
        )
        np.testing.assert_allclose(operator.row_association(), np.diag(expected) - 1, rtol=1e-10)


def brute_lipschitz(k: np.ndarray, X: np.ndarray) -> float:
    n = len(X)
    quotients = [
        abs(k[z, i] - k[z, j]) / np.linalg.norm(X[i] - X[j])
        for i in range(n)
        for j in range(i + 1, n)
        if (X[i] != X[j]).any()
        for z in range(n)
    ]
    return float(max(quotients))


@pytest.mark.parametrize("held_sparse", [False, True])
def test_lipschitz_against_brute_force_with_duplicates(held_sparse: bool) -> None:
    operator = some_operator(held_sparse=held_sparse)
    X = np.random.default_rng(1).normal(size=(20, 3))
    X[[4, 9, 11]] = X[0]
    found = lipschitz_constant(operator, X)
    assert found.value == pytest.approx(brute_lipschitz(kernel(operator), X), rel=1e-12)
    assert (found.standard_error, found.rows) == (0.0, 20)


def test_lipschitz_on_a_sample_is_no_larger() -> None:
    operator = some_operator()
    X = np.random.default_rng(1).normal(size=(20, 3))
    whole = lipschitz_constant(operator, X).value
    for seed in range(5):
        part = lipschitz_constant(operator, X, max_rows=8, seed=seed)
        assert part.rows == 8
        assert np.isnan(part.standard_error)
        assert 0 < part.value <= whole


def test_lipschitz_where_all_rows_coincide() -> None:
    assert np.isnan(lipschitz_constant(some_operator(), np.ones((20, 2))).value)


def test_lipschitz_message() -> None:
    with pytest.raises(InputError, match="X has 19 rows, but the operator has 20."):
        lipschitz_constant(some_operator(), np.ones((19, 2)))


def test_a_larger_neighbourhood_is_a_weaker_association() -> None:
    X = np.random.default_rng(1).normal(size=(120, 3))
    found = []
    for k in (2, 8, 40, 100):
        operator = ExpectationOperator.from_evidence(Knn(k=k).fit(Features.from_array(X)))
        found.append(
            (
                kernel_deviation(operator).value,
                operator.total_association,
                lipschitz_constant(operator, X).value,
                -decay_rate(decompose_operator(operator)),
            )
        )
    assert (np.diff(found, axis=0) < 0).all()
