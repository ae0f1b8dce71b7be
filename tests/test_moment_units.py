"""Entries of P of a KNN context count whole units, though 1/K is none in floating point."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from contexture.moments import Moments, in_units


@pytest.mark.parametrize("whole", [47, 50, 93, 160])
def test_entries_are_counted_in_whole_numbers(whole: int) -> None:
    counts = np.arange(1.0, whole + 1)
    P = np.stack([counts / whole, 1 - counts / whole])
    # Where a division is off by the last bit, a sum would remember the order of its parts.
    assert ((P / (1 / whole)) % 1 != 0).any()
    for rows in (P, sparse.csr_array(P)):
        q = in_units(rows, 1 / whole)
        np.testing.assert_array_equal(
            q if isinstance(q, np.ndarray) else q.toarray(), [counts, whole - counts]
        )
    moments = Moments.zero(whole, 1 / whole).add(sparse.csr_array(P), np.ones(2))
    np.testing.assert_array_equal(moments.gram % 1, 0)
    np.testing.assert_array_equal(moments.marginal, np.full(whole, float(whole)))
