from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from contexture.contexts import recall
from contexture.contexts.recall import Neighbours


def found(recall: float, ratio: float) -> Neighbours:
    return Neighbours(np.zeros((3, 2), np.int32), recall, 0.01, ratio, 2.0, 3)


@pytest.mark.parametrize(
    ("recall", "ratio", "doubtful"),
    [
        (0.95, 1.01, False),
        (1.0, 1.0, False),
        (0.9499, 1.0, True),
        (1.0, 1.0101, True),
        (0.5, 3.0, True),
    ],
)
def test_doubt_begins_at_its_borders(recall: float, ratio: float, doubtful: bool) -> None:
    assert found(recall, ratio).doubt == (
        f"of the exact neighbours {recall:.1%} were found, and those found are {ratio:.3g} times "
        "as far as the exact ones: far neighbours weaken the association; set search to 'exact', "
        "or give the context a reference."
        if doubtful
        else ""
    )


def test_distances_of_pairs_are_not_held_feature_by_feature() -> None:
    generator = np.random.default_rng(0)
    X, rows = generator.normal(size=(3000, 40)), generator.permutation(3000)[:1000]
    positions = generator.integers(0, 3000, size=(1000, 30))
    expected = ((X[rows][:, None, :] - X[positions]) ** 2).sum(axis=2)
    tracemalloc.start()
    try:
        found_squares = recall._pair_distances(X, rows, positions)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found_squares, expected, rtol=1e-12)
    assert peak < 4 * 2**20 < 8 * 1000 * 30 * 40
