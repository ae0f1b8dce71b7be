from __future__ import annotations

import numpy as np
import pytest

from contexture.contexts.tallies import (
    add_counts,
    add_pairs,
    count_pairs,
    rows_of_counts,
    rows_of_lists,
)


def some_neighbours(r: int = 30, k: int = 4, m: int = 9) -> np.ndarray:
    generator = np.random.default_rng(5)
    return np.array([generator.permutation(m)[:k] for _ in range(r)])


def chosen(neighbours: np.ndarray, m: int = 9) -> np.ndarray:
    table = np.zeros((len(neighbours), m))
    np.put_along_axis(table, neighbours, 1.0, axis=1)
    return table


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_count_pairs(kind: type) -> None:
    neighbours = some_neighbours().astype(kind)
    before = neighbours.copy()
    out = np.zeros((9, 9), dtype=kind)
    for part in (neighbours[:11], neighbours[11:], neighbours[:0]):
        count_pairs(part, out)
    one = chosen(neighbours)
    np.testing.assert_array_equal(out, np.triu(one.T @ one))
    np.testing.assert_array_equal(neighbours, before)


def test_add_pairs() -> None:
    neighbours, weights = some_neighbours(), np.random.default_rng(1).uniform(size=30)
    out = np.ones((9, 9))
    add_pairs(neighbours, weights, out)
    one = chosen(neighbours)
    np.testing.assert_allclose(out, 1 + np.triu((one.T * weights) @ one), rtol=0, atol=1e-12)


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
