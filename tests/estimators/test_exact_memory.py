"""The exact route makes no left functions that are not wanted, and holds them once or twice."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

import contexture as cx
from contexture import ExpectationOperator
from contexture.estimators import influence
from contexture.estimators.exact import exact_spectrum


def tall(parts: int) -> ExpectationOperator:
    rng = np.random.default_rng(1)
    n, m = 6000 // parts, 120 // parts
    pieces = []
    for _ in range(parts):
        columns = np.concatenate([rng.choice(m, 6, replace=False) for _ in range(n)])
        entries = rng.dirichlet(np.ones(6), n).ravel()
        pieces.append(sparse.csr_array((entries, columns, 6 * np.arange(n + 1)), shape=(n, m)))
    return ExpectationOperator.from_conditional(sparse.block_diag(pieces, format="csr"))


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("held", ["sparse", "dense"])
def test_only_the_left_functions_that_are_wanted_are_made(
    parts: int, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influence, "TEMPORARY_BYTES", 2**20)
    operator, rank = tall(parts), 100
    if held == "dense":
        P = operator.conditional().toarray()
        operator = ExpectationOperator.from_conditional(P)
    n, m = operator.shape
    one = 8 * n * rank
    whole, peak = traced(operator, rank)
    # One array of them, or two where parts are put together.
    matrices = 3 * 8 * n * m if held == "dense" else 48 * operator.conditional().nnz
    fixed = matrices + 8 * (6 * m * m + 4 * m * rank) + 2**20
    assert peak < fixed + (2 if parts > 1 and held == "sparse" else 1) * one
    none, peak = traced(operator, rank, left_functions=False)
    assert peak < fixed < matrices + one
    few, peak = traced(operator, rank, functions=5)
    assert peak < fixed + one / 4
    assert (none.left.shape, none.right.shape) == ((n, 0), (m, rank))
    assert (few.left.shape, few.right.shape) == ((n, 5), (m, 5))
    for part in (none, few):
        np.testing.assert_array_equal(part.eigenvalues, whole.eigenvalues)
        np.testing.assert_array_equal(part.eigenvalue_covariance, whole.eigenvalue_covariance)
        kept = part.right.shape[1]
        np.testing.assert_array_equal(np.abs(part.right), np.abs(whole.right[:, :kept]))
    np.testing.assert_allclose(few.left, whole.left[:, :5], atol=1e-12)
    np.testing.assert_array_equal(few.right, whole.right[:, :5])
    assert (none.right.max(axis=0) >= -none.right.min(axis=0)).all()


def traced(operator: ExpectationOperator, rank: int, **wanted: object) -> tuple[cx.Spectrum, int]:
    """The spectrum, and the most memory that it took beside P."""
    exact_spectrum(operator, rank, **wanted)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        found = exact_spectrum(operator, rank, **wanted)  # type: ignore[arg-type]
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
