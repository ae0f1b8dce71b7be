"""Evidence on its way to another process: equal weights stay one number for all rows."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from contexture.contexts import Context, Knn, MaskedKnn, MaskedRbf, Rbf
from contexture.inputs import Features

N = 49 * 4  # (1/N) N is not 1 in float64 for 49 and multiples


@pytest.mark.parametrize(
    "context", [Knn(k=3), Rbf(gamma=2), MaskedKnn(k=3, n_masks=2), MaskedRbf(gamma=2)], ids=str
)
@pytest.mark.parametrize("equal", [True, False])
def test_weights_arrive_as_they_were(context: Context, equal: bool) -> None:
    X = np.random.default_rng(0).normal(size=(N, 3))
    weights = np.broadcast_to(1.0 / N, (N,)) if equal else np.full(N, 1.0 / N)
    evidence = context.fit(Features(X, np.arange(N), weights, "x"))
    one = pickle.dumps(evidence)
    there = pickle.loads(one)
    np.testing.assert_array_equal(there.input_weights, weights)
    assert (there.input_weights.strides == (0,)) is equal
    assert abs(there.rows(0, 9) - evidence.rows(0, 9)).max() == 0
    if equal:
        whole = pickle.dumps(context.fit(Features(X, np.arange(N), weights.copy(), "x")))
        assert len(one) < len(whole) - 7 * N
