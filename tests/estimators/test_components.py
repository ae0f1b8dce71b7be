"""Connected components from blocks, against those of the matrix in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from contexture.estimators.components import components_of_blocks, join, labels
from contexture.estimators.parts import connected_parts


def blocks_of(P: sparse.csr_array, size: int) -> list[sparse.csr_array]:
    return [P[i : i + size] for i in range(0, P.shape[0], size)]


def check(P: sparse.csr_array, size: int) -> int:
    found = components_of_blocks(iter(blocks_of(P, size)), P.shape[1])
    expected = connected_parts(P)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[2], expected[2])
    return found[0]


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("density", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("columns", [30, 100, 300])
def test_random(size: int, density: float, columns: int) -> None:
    # Thin ones have inputs without context values, and context values without inputs.
    generator = np.random.default_rng(columns)
    check(sparse.random_array((100, columns), density=density, format="csr", rng=generator), size)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_met_one_link_at_a_time(backwards: bool) -> None:
    n = 500
    order = np.arange(n - 1)[:: -1 if backwards else 1]
    links = np.stack([order, order + 1], axis=1).ravel()
    P = sparse.csr_array((np.ones(2 * n - 2), links, np.arange(0, 2 * n - 1, 2)), shape=(n - 1, n))
    assert check(P, 1) == 1
    assert check(P[np.random.default_rng(0).permutation(n - 1)], 3) == 1


def test_interleaved_parts() -> None:
    n, parts = 600, 7
    generator = np.random.default_rng(1)
    columns = generator.integers(0, n // parts, (n, 4)) * parts + np.arange(n)[:, None] % parts
    P = sparse.coo_array(
        (np.ones(4 * n), (np.repeat(np.arange(n), 4), columns.ravel())), shape=(n, n)
    ).tocsr()
    assert check(P, 64) >= parts


def test_dense_blocks_and_stored_zeros() -> None:
    P = sparse.csr_array(np.kron(np.eye(4), np.ones((3, 2))))
    expected = connected_parts(P)
    dense = components_of_blocks([P[:5].toarray(), P[5:].toarray()], 8)
    zeros = P.copy()
    zeros = sparse.csr_array(
        (np.r_[P.data, 0.0], np.r_[P.indices, 0], np.r_[P.indptr[:-1], P.nnz + 1]), shape=P.shape
    )
    for found in (dense, components_of_blocks([zeros], 8)):
        assert found[0] == expected[0] == 4
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[2], expected[2])
    assert zeros.nnz == P.nnz + 1  # what came was left as it was


def test_forests_add_up() -> None:
    """What another worker joined comes as pairs."""
    one, other = np.arange(6), np.arange(6)
    join(one, np.array([0, 4]), np.array([3, 5]))
    join(other, np.array([3]), np.array([5]))
    members = np.flatnonzero(other != np.arange(6))
    join(one, members, other[members])
    assert labels(one, np.array([1, 4]))[2].tolist() == [1, 0, 2, 1, 1, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 20), st.floats(0.02, 0.6))
def test_dense_blocks_have_the_parts_of_sparse_ones(
    seed: int, n: int, m: int, density: float
) -> None:
    P = sparse.random_array((n, m), density=density, rng=np.random.default_rng(seed)).toarray()
    cuts = [slice(0, n // 2), slice(n // 2, n)]
    dense = components_of_blocks([P[cut] for cut in cuts], m)
    listed = components_of_blocks([sparse.csr_array(P[cut]) for cut in cuts], m)
    assert dense[0] == listed[0]
    np.testing.assert_array_equal(dense[1], listed[1])
    np.testing.assert_array_equal(dense[2], listed[2])
