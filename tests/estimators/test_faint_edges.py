"""Weights so faint that s_i = 1 to rounding join no parts: one count on every route."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import contexture as cx
from contexture import ExpectationOperator, decompose_operator, moments
from contexture.contexts import Rbf
from contexture.estimators import exact, routes
from contexture.estimators.parts import firm
from contexture.estimators.streamed import moment_spectrum
from tests.estimators.blocks import lazy, neighbours


@pytest.mark.parametrize("edge", [1e-300, 1e-40, 1e-13, 1e-11])
@pytest.mark.parametrize("rank", [1, 2, 30])
def test_exact_routes(edge: float, rank: int) -> None:
    """Below, above and at what is left out of the pattern, and however few values are wanted."""
    rng = np.random.default_rng(0)
    P = np.zeros((21, 18))
    P[:8, :7], P[8:18, 7:16] = rng.dirichlet(np.ones(7), 8), rng.dirichlet(np.ones(9), 10)
    P[18:, 16:] = 0.5
    P[0, 12], P[9, 2], P[20, 0] = edge, edge, edge
    for held in (P, sparse.csr_array(P)):
        spectrum = decompose_operator(ExpectationOperator.from_conditional(held), rank)
        assert spectrum.components == 3
        np.testing.assert_allclose(spectrum.eigenvalues[:2], 1, atol=1e-10)
        assert rank < 3 or spectrum.eigenvalues[2] < 0.9


def test_edges_that_are_not_faint_join() -> None:
    P = np.eye(4)
    P[0, 1] = P[1, 0] = P[2, 3] = P[3, 2] = 1e-6
    P /= P.sum(axis=1, keepdims=True)
    for held in (P, sparse.csr_array(P)):
        spectrum = decompose_operator(ExpectationOperator.from_conditional(held))
        assert spectrum.components == 2


@pytest.mark.parametrize("tolerance", [1e-5, 1e-10])
@pytest.mark.parametrize("edge", [1e-300, 1e-40, 1e-15])
@pytest.mark.parametrize("held", ["whole", "blocks"])
def test_block_lanczos(
    edge: float, tolerance: float, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "GRAM_LIMIT", 100)
    parts = [neighbours(160, 6).toarray(), neighbours(140, 5, seed=1).toarray(), np.eye(2)]
    P = np.asarray(sparse.block_diag(parts).toarray())
    P[0, 200], P[170, 3], P[-1, 0] = edge, edge, edge
    operator = ExpectationOperator.from_conditional(sparse.csr_array(P))
    assert operator.conditional().nnz == np.count_nonzero(P)
    found = decompose_operator(lazy(operator) if held == "blocks" else operator, 30, tolerance)
    assert "block Lanczos" in found.method
    assert found.components == 4
    expected = decompose_operator(ExpectationOperator.from_conditional(P), 30)
    assert expected.components == 4
    error = np.abs(found.eigenvalues - expected.eigenvalues)
    assert error.max() <= tolerance
    assert (error <= found.numerical_error + 1e-10).all()


def test_block_lanczos_with_edges_that_are_not_faint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "GRAM_LIMIT", 100)
    P = np.asarray(sparse.block_diag([neighbours(150, 6)] * 2).toarray())
    P[0, 200] = 1e-6
    P /= P.sum(axis=1, keepdims=True)
    for tolerance in (1e-5, 1e-10):
        operator = ExpectationOperator.from_conditional(sparse.csr_array(P))
        assert decompose_operator(operator, 30, tolerance).components == 1


@pytest.mark.parametrize("rank", [1, 20])
def test_groups_that_only_faint_weights_join(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of 1e-40 are not 0, but s_1 is 1 to rounding; on both routes."""
    X = np.random.default_rng(0).normal(size=(400, 2))
    X[:150] += 20.0
    context = Rbf(gamma=1, scale="absolute", reference=100)
    whole = cx.decompose(X, context, rank)
    monkeypatch.setattr(routes, "MOMENT_ROWS", 300)
    found = cx.decompose(X, context, rank)
    assert (whole.method[:5], found.method[:7]) == ("exact", "moments")
    assert (cx.operator_of(X, context).conditional() > 0).any(axis=1).all()
    assert (whole.components, found.components) == (2, 2)
    np.testing.assert_allclose(found.eigenvalues, whole.eigenvalues, atol=1e-10)


@pytest.mark.parametrize("edge", [1e-40, 1e-12])
def test_moments(edge: float) -> None:
    P = np.kron(np.eye(3), np.random.default_rng(0).dirichlet(np.ones(4), 5))
    P[0, 5] = P[6, 9] = edge
    for rows in (P, sparse.csr_array(P)):
        total = moments.Moments.zero(12).add(rows, np.ones(15))
        for rank in (1, 2, 11):
            assert moment_spectrum(total, rank).components == 3


def test_what_is_firm() -> None:
    P = np.eye(3)
    P[0, 1], P[1, 2], P[2, 0] = 1e-12, 1e-11, 1e-13
    held, p = sparse.csr_array(P), np.full(3, 1 / 3)
    expected = P.copy()
    expected[0, 1] = expected[2, 0] = 0.0
    np.testing.assert_array_equal(firm(held, p, p, 3).toarray(), expected)
    np.testing.assert_array_equal(held.toarray(), P)
    # Faint as it is for the row, it may be much of a column.
    rare = np.array([1 / 2, 1e-12, 1 / 2])
    expected[0, 1] = P[0, 1]
    np.testing.assert_array_equal(firm(held, p, rare, 3).toarray(), expected)
    whole = sparse.csr_array(np.eye(3))
    assert firm(whole, p, p, 3) is whole
    assert firm(sparse.csr_array((2, 3)), p[:2], p, 2).nnz == 0
