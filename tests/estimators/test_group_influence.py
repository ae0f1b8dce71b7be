from __future__ import annotations

import numpy as np
import pytest

from contexture import ExpectationOperator, decompose_operator
from contexture.errors import InputError
from contexture.estimators.group_influence import covariance_of_halves, group_influence
from tests.estimators.twins import covariance, eigenvalue_influence


def some_operator(n: int = 90, m: int = 30) -> ExpectationOperator:
    rng = np.random.default_rng(0)
    P = rng.gamma(0.5, size=(n, m)) * (rng.random((n, m)) < 0.4)
    P[:, 0] += 1e-3
    P /= P.sum(axis=1, keepdims=True)
    return ExpectationOperator.from_conditional(P, rng.uniform(0.5, 2, n))


def moments(
    operator: ExpectationOperator, groups: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    P, p = operator.conditional(), operator.input_weights
    return [((P[g].T * p[g]) @ P[g], P[g].T @ p[g]) for g in groups]


def test_groups_of_one_row_are_rows() -> None:
    operator = some_operator()
    spectrum = decompose_operator(operator)
    values, right = spectrum.eigenvalues, spectrum.right
    single = moments(operator, [np.array([i]) for i in range(operator.shape[0])])
    found = np.array([group_influence(B, C, values, right) for B, C in single])
    expected = eigenvalue_influence(operator, values, right) * operator.input_weights[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    by_rows = covariance(eigenvalue_influence(operator, values, right), operator.input_weights)
    # A row is in one half of its block, and nothing in the other; it does not matter in which.
    signs = np.random.default_rng(3).choice([-1, 1], (len(found), 1))
    np.testing.assert_allclose(covariance_of_halves(signs * found), by_rows, atol=1e-12)


def test_groups_add_up_to_nothing() -> None:
    operator = some_operator()
    spectrum = decompose_operator(operator)
    values, right = spectrum.eigenvalues, spectrum.right
    groups = np.array_split(np.random.default_rng(1).permutation(90), 6)
    found = np.array([group_influence(*g, values, right) for g in moments(operator, groups)])
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-12)
    halves = found[0::2] - found[1::2]
    assert np.linalg.matrix_rank(covariance_of_halves(halves), tol=1e-12) == 3
    # The influence of a difference is the difference of the influences.
    (B, C), (other, marginal), *_ = moments(operator, groups)
    difference = group_influence(B - other, C - marginal, values, right)
    np.testing.assert_allclose(difference, halves[0], atol=1e-14)
    few = np.array([group_influence(*g, values, right[:, :4]) for g in moments(operator, groups)])
    np.testing.assert_allclose(few[:, :4], found[:, :4], atol=1e-14)
    assert not few[:, 4:].any()
    right = right.copy()
    right[:, 2] = np.nan
    assert group_influence(*moments(operator, groups)[0], values, right)[2] == 0


def test_leaving_a_group_out() -> None:
    """The first-order change against the true one, at large groups of many rows."""
    rng = np.random.default_rng(2)
    P = (rng.dirichlet(np.full(6, 0.3), size=40) @ (0.9 * np.eye(6) + 0.1 / 6))[
        rng.integers(0, 40, 20000)
    ]
    operator = ExpectationOperator.from_conditional(P)
    spectrum = decompose_operator(operator)
    groups = np.array_split(np.arange(20000), 20)
    for (B, C), rows in list(zip(moments(operator, groups), groups, strict=True))[:4]:
        h = group_influence(B, C, spectrum.eigenvalues, spectrum.right)
        left = decompose_operator(ExpectationOperator.from_conditional(np.delete(P, rows, axis=0)))
        moved = left.eigenvalues - spectrum.eigenvalues
        np.testing.assert_allclose(moved, -h * 20 / 19, atol=0.03 * np.abs(h).max())


def test_messages() -> None:
    with pytest.raises(InputError, match=r"shape \(29, 3\); 30 rows and at most 3 columns"):
        group_influence(np.eye(30), np.ones(30), np.ones(3), np.ones((29, 3)))
    message = (
        r"the Gram matrix of a group has shape \(29, 29\), but its marginal has 30 entries; one "
        "context value a row and column is needed."
    )
    with pytest.raises(InputError, match=message):
        group_influence(np.eye(29), np.ones(30), np.ones(3), np.ones((30, 3)))
    message = (
        r"the differences of halves have shape \(0, 3\); one row for each of at least one block "
        "is needed."
    )
    with pytest.raises(InputError, match=message):
        covariance_of_halves(np.ones((0, 3)))
