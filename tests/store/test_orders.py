"""Operators that are stored in an order of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator
from contexture.contexts.matrix import MatrixRows
from contexture.order import Order, in_order
from contexture.store import Store
from contexture.store.operators import (
    is_whole,
    open_operator,
    prepare_operator,
    read_operator,
    write_block,
)
from contexture.store.orders import read_order


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store.zarr"))


def evidence() -> MatrixRows:
    amounts = sparse.random_array((20, 15), density=0.2, rng=np.random.default_rng(0), format="lil")
    amounts[:, [0]] = 0.3
    amounts[:, [4, 14]] = 0  # nobody chooses these
    matrix = sparse.csr_array(amounts)
    return MatrixRows.from_amounts(
        matrix, np.arange(20), np.arange(15) * 10, "c", "count", {"q": 1}
    )


def shuffle(seed: int) -> Order:
    rng = np.random.default_rng(seed)
    return Order(rng.permutation(20), rng.permutation(15))


def test_round_trip(store: Store) -> None:
    rows, order = evidence(), shuffle(1)
    for block in prepare_operator(store, "op", in_order(rows, order), 6):
        assert not is_whole(store, "op")
        write_block(store, "op", in_order(rows, order), block)
    assert is_whole(store, "op")
    found = open_operator(store, "op")
    expected = ExpectationOperator.from_evidence(rows)
    assert found.order is not None
    assert found.details == {"q": 1}
    np.testing.assert_array_equal(found.order.rows, order.rows)
    r, c = found.order.rows, found.order.columns
    np.testing.assert_array_equal(found.operator.context_values, expected.context_values[c])
    np.testing.assert_allclose(found.operator.context_weights, expected.context_weights[c])
    np.testing.assert_allclose(found.operator.input_weights, expected.input_weights[r])
    P = expected.conditional()
    np.testing.assert_allclose(found.operator.conditional().toarray(), P.toarray()[r][:, c])
    assert read_operator(store, "op").shape == expected.shape


def test_blocks_of_two_orders_are_never_mixed(store: Store) -> None:
    rows = evidence()
    one, two = in_order(rows, shuffle(1)), in_order(rows, shuffle(2))
    for part in (one, two, rows):
        assert prepare_operator(store, "op", part, 6) == [0, 1, 2, 3]
        write_block(store, "op", part, 1)
        assert prepare_operator(store, "op", part, 6) == [0, 2, 3]
    assert read_order(store.find("operators/op")) is None
    for block in prepare_operator(store, "op", one, 6):
        write_block(store, "op", one, block)
    # A whole one stays, in whichever order it is.
    assert prepare_operator(store, "op", two, 6) == []
    assert prepare_operator(store, "op", rows, 6) == []


def test_stores_from_before_have_the_order_of_the_corpus(store: Store) -> None:
    rows = evidence()
    for block in prepare_operator(store, "op", rows, 6):
        write_block(store, "op", rows, block)
    assert "sample_order" not in store.group("operators/op")
    assert open_operator(store, "op").order is None
    assert read_order(None) is None
    assert not is_whole(store, "other")
