from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from contexture.estimators.kernel_ritz import TopPairs, refined
from contexture.inputs import FloatArray, Floats

SIDE = 60


def operator(top: list[float]) -> tuple[FloatArray, FloatArray]:
    """G with these values beside the trivial one, and its eigenvectors."""
    values = np.r_[1.0, top, np.linspace(0.5, 0.0, SIDE - 1 - len(top))]
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(SIDE, SIDE)))[0]
    return (Q * values) @ Q.T, Q


def pairs_of(G: FloatArray, Q: FloatArray, count: int, off: float) -> TopPairs:
    """Ritz pairs whose vectors are off by about that much."""
    V = Q[:, 1 : 1 + count] + off * np.random.default_rng(1).normal(size=(SIDE, count))
    V -= Q[:, :1] @ (Q[:, :1].T @ V)
    V = np.linalg.qr(V)[0]
    values, turn = linalg.eigh(V.T @ G @ V)
    V = (V @ turn[:, ::-1]).astype(np.float32)
    return TopPairs(values[::-1].copy(), V, np.zeros(count), count)


@pytest.mark.parametrize("off", [1e-8, 1e-5, 1e-3])
@pytest.mark.parametrize(("ones", "count"), [(3, 6), (3, 3), (1, 6)])
def test_values_equal_to_one_are_told_from_vectors_in_single_precision(
    off: float, ones: int, count: int
) -> None:
    top = [*[1.0] * ones, 0.955, 0.95, 0.9, 0.6]
    G, Q = operator(top)
    pairs = pairs_of(G, Q, count, off)
    found = refined(lambda V: G @ V, Q[:, 0], pairs, ones)
    assert (found.values[:ones] >= 1.0 - 1e-10).all()
    assert (found.values[:ones] <= 1.0 + 1e-13).all()
    np.testing.assert_array_equal(found.values[ones:], pairs.values[ones:])
    np.testing.assert_array_equal(found.vectors[:, ones:], pairs.vectors[:, ones:])
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(count), atol=1e-6)
    np.testing.assert_allclose(Q[:, 0] @ found.vectors, 0.0, atol=1e-6)


def test_values_just_below_one_stay_below() -> None:
    G, Q = operator([1.0, 1.0 - 1e-7, 1.0 - 5e-5, 0.9, 0.8])
    found = refined(lambda V: G @ V, Q[:, 0], pairs_of(G, Q, 5, 1e-5), 3)
    np.testing.assert_allclose(found.values[:3], [1.0, 1.0 - 1e-7, 1.0 - 5e-5], atol=2e-9)


def test_exact_vectors_take_one_pass() -> None:
    G, Q = operator([1.0, 1.0, 0.5])
    widths: list[int] = []

    def gram(V: Floats) -> Floats:
        widths.append(V.shape[1])
        return G @ V

    refined(gram, Q[:, 0], pairs_of(G, Q, 3, 0.0), 2)
    assert widths == [2]


def test_a_space_that_is_whole() -> None:
    G, Q = np.eye(3), np.eye(3)
    pairs = TopPairs(np.ones(2), Q[:, 1:].astype(np.float32), np.zeros(2), 2)
    found = refined(lambda V: G @ V, Q[:, 0], pairs, 2)
    np.testing.assert_array_equal(found.values, 1.0)
