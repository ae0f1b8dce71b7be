"""Hard cases of RBF contexts on every route without a matrix, against NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from contexture import ExpectationOperator
from contexture.contexts.rbf import RbfRows
from contexture.estimators.kernel_spectrum import Route, kernel_spectrum
from contexture.inputs import FloatArray


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class Case:
    """Inputs and references that are hard in one way.

    Attributes
    ----------
    X, R : ndarray of shape (n, D), (m, D)
    gamma : float
    components : int
        Right number of values that are 1, the trivial one included.
    rank : int
    """

    X: FloatArray
    R: FloatArray
    gamma: float
    components: int = 1
    rank: int = 20


rng = np.random.default_rng(0)
CLOUD = rng.normal(size=(240, 3))
FAR = CLOUD + 1e2 * (np.arange(240) % 4)[:, None]
OUTSIDE = np.concatenate([CLOUD[:60], [[1e3, 0, 0], [0, -1e4, 0]]])
CASES = {
    "disconnected": Case(FAR, FAR, 1.0, 4),
    "more parts than the rank": Case(CLOUD[:150], CLOUD[:150], 1e7, 150),
    "isolated rows": Case(np.r_[CLOUD, 1e3 * np.eye(3)], np.r_[CLOUD, 1e3 * np.eye(3)], 1.0, 4),
    "duplicated rows": Case(np.repeat(CLOUD[:60], 4, axis=0), CLOUD, 1.0),
    "all rows are equal": Case(np.zeros((90, 2)), np.zeros((90, 2)), 1.0),
    "references that nobody chooses": Case(CLOUD, OUTSIDE, 1.0),
    "rank above what exists": Case(np.repeat(CLOUD[:7], 20, axis=0), CLOUD[:100], 0.5, rank=30),
    "rank above the side": Case(CLOUD, CLOUD[:40], 1.0, rank=1000),
    "clustered values at the cut": Case(
        # Twelve copies of one cloud that touch a little: each value comes twelve times.
        *[np.concatenate([np.c_[CLOUD[:20, :2], np.full(20, 4.0 * i)] for i in range(12)])] * 2,
        1.2,
    ),
    "smaller than the block": Case(CLOUD[:17], CLOUD[:24], 1.0, rank=16),
    "two inputs": Case(CLOUD[:2], CLOUD[:3], 0.3),
    "nothing decays": Case(np.arange(200.0)[:, None], np.arange(200.0)[:, None], 8.0),
}


@pytest.mark.parametrize(
    ("case", "route"),
    [(case, route) for case in CASES for route in ("gram", "tiles", "nystroem", "truncated")],
)
def test_the_spectrum_is_that_of_the_dense_matrix(case: str, route: Route) -> None:
    c = CASES[case]
    p = np.random.default_rng(1).uniform(0.5, 2, len(c.X))
    evidence = RbfRows(c.X, c.R, c.gamma, p / p.sum(), np.arange(len(c.R)), {})
    found = kernel_spectrum(evidence, c.rank, route=route, left_functions=True)

    operator = ExpectationOperator.from_evidence(evidence)
    M = operator.normalised()
    exactly = np.linalg.eigvalsh(M @ M.T if len(M) <= M.shape[1] else M.T @ M)[::-1][1:]
    rank = min(c.rank, len(exactly))
    error = np.abs(found.eigenvalues - exactly[:rank])
    assert found.rank == rank
    assert error.max() <= 1e-5
    assert (error <= np.maximum(found.numerical_error, found.noise_floor)).all()
    assert found.total_association == pytest.approx(exactly.sum(), abs=1e-6)
    if rank < c.components:
        # All that were wanted are 1: there are at least that many.
        assert rank + 1 <= found.components <= c.components
    else:
        assert found.components == c.components
    for functions, weights in (
        (found.left, operator.input_weights),
        (found.right, found.context_weights),
    ):
        known = found.eigenvalues > 1e-2
        gram = functions[:, known].T @ (weights[:, None] * functions[:, known])
        np.testing.assert_allclose(gram, np.eye(known.sum()), atol=1e-3)
        np.testing.assert_allclose(weights @ functions[:, known], 0, atol=1e-3)
        np.testing.assert_array_equal(np.isnan(functions).all(axis=0), found.eigenvalues == 0)
