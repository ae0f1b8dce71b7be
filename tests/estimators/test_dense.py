from __future__ import annotations

import numpy as np
import pytest

from contexture.estimators.dense import top_of


@pytest.mark.parametrize("count", [1, 5, 14, 29, 30])
def test_the_top(count: int) -> None:
    A = np.random.default_rng(0).normal(size=(30, 30))
    H = A + A.T
    values, vectors = top_of(H, count)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(H)[::-1][:count], atol=1e-10)
    np.testing.assert_allclose(H @ vectors, vectors * values, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-10)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_none_is_lost_where_many_are_equal(value: float) -> None:
    H = np.full(1500, value)
    H[:3] = 2.0, 3.0, 4.0
    values, vectors = top_of(np.diag(H), 500)
    assert values.tolist() == [4.0, 3.0, 2.0, *[value] * 497]
    assert vectors.shape == (1500, 500)
