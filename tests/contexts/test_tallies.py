from __future__ import annotations

import numpy as np

from contexture.contexts.tallies import (
    add_counts,
    rows_of_counts,
    rows_of_lists,
)


def some_neighbours(r: int = 30, k: int = 4, m: int = 9) -> np.ndarray:
    generator = np.random.default_rng(5)
    return np.array([generator.permutation(m)[:k] for _ in range(r)])


def test_tables_and_lists_agree() -> None:
    lists = np.concatenate([some_neighbours(), some_neighbours()[::-1]], axis=1).astype(np.int32)
    table = np.zeros((30, 9), dtype=np.int32)
    add_counts(lists, table)
    a, b = rows_of_counts(table, 8), rows_of_lists(lists.copy(), 9, 8)
    np.testing.assert_array_equal(a.toarray(), table / 8)
    np.testing.assert_array_equal(b.toarray(), a.toarray())
    assert a.nnz == b.nnz == np.count_nonzero(table)
    assert b.has_canonical_format


def test_no_rows() -> None:
    assert rows_of_counts(np.zeros((0, 9), dtype=np.int32), 8).shape == (0, 9)
    assert rows_of_lists(np.zeros((0, 8), dtype=np.int32), 9, 8).shape == (0, 9)
