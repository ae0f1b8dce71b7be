from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator
from contexture.contexts.distances import nearest
from contexture.estimators import ordering
from contexture.estimators.crew import Crew
from contexture.estimators.ordering import halved, local_order, order_of_weights


def neighbours(n: int, m: int) -> ExpectationOperator:
    """Rows in the plane among m of them, all in no order."""
    X = np.random.default_rng(0).normal(size=(n, 2))
    found = nearest(X, X[:m], 6, np.arange(n), True)
    P = sparse.csr_array(
        (np.full(6 * n, 1 / 6), found.ravel(), np.arange(0, 6 * n + 1, 6)), shape=(n, m)
    )
    return ExpectationOperator.from_conditional(P)


def touched(M: sparse.csr_array, rows: int = 64) -> float:
    """Context values that consecutive rows gather, a row."""
    starts = range(0, M.shape[0] - rows, rows)
    return float(np.mean([len(np.unique(M[i : i + rows].indices)) for i in starts])) / rows


@pytest.mark.parametrize("shape", [(3000, 3000), (3000, 1200)])
@pytest.mark.parametrize("cached", [0, 10**6])
def test_what_is_near_comes_together(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], cached: int
) -> None:
    monkeypatch.setattr(ordering, "CACHED_SIDE", cached)
    monkeypatch.setattr(ordering, "_LEAF", 16)
    operator = neighbours(*shape)
    M = operator.normalised()
    roots = np.sqrt(operator.input_weights), np.sqrt(operator.context_weights)
    found = []
    for threads in (1, 2):
        with Crew(threads) as crew:
            found.append(local_order(M, *roots, seed=1, crew=crew))
    rows, columns = found[0]
    np.testing.assert_array_equal(np.sort(rows), np.arange(M.shape[0]))
    np.testing.assert_array_equal(np.sort(columns), np.arange(M.shape[1]))
    assert touched(M[rows][:, columns]) < 0.5 * touched(M)
    assert np.abs(np.diff(rows)).mean() > 10  # and not because they were in order before
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cached", [0, 10**6])
def test_weights_of_any_kind(monkeypatch: pytest.MonkeyPatch, cached: int) -> None:
    """Counts, empty rows and columns, and a pattern in whole numbers."""
    monkeypatch.setattr(ordering, "CACHED_SIDE", cached)
    monkeypatch.setattr(ordering, "_LEAF", 16)
    P = neighbours(1000, 1000).conditional()
    P = sparse.csr_array((np.ones(P.nnz, np.int8), P.indices, P.indptr), shape=P.shape)
    before = P.copy()
    rows, columns = order_of_weights(P)
    assert (before != P).nnz == 0
    assert touched(P[rows][:, columns], 32) < 0.6 * touched(P, 32)
    holes = sparse.csr_array(P * (np.arange(1000) % 10 > 0)[:, None])
    holes = sparse.csr_array(holes[:, np.random.default_rng(0).permutation(1000)] * 3.0)
    holes.eliminate_zeros()
    holes.resize((1000, 1100))
    rows, columns = order_of_weights(holes)
    np.testing.assert_array_equal(np.sort(rows), np.arange(1000))
    np.testing.assert_array_equal(np.sort(columns), np.arange(1100))


def test_points_in_one_place_are_left_alone() -> None:
    order = halved(np.ones((2000, 3), np.float32))
    np.testing.assert_array_equal(order, np.arange(2000))


def test_a_few_far_points_do_not_matter() -> None:
    places = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    places[7] = np.float32(1e30)
    order = halved(places.copy())
    np.testing.assert_array_equal(np.sort(order), np.arange(5000))
