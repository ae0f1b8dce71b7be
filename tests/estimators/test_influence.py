from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator, decompose_operator
from contexture.errors import InputError
from contexture.estimators import influence
from contexture.estimators.influence import covariance_of
from tests.estimators.twins import covariance, eigenvalue_influence


def some_operator(n: int = 90, m: int = 30, held_sparse: bool = False) -> ExpectationOperator:
    rng = np.random.default_rng(0)
    P = rng.gamma(0.5, size=(n, m)) * (rng.random((n, m)) < 0.4)
    P[:, 0] += 1e-3
    P /= P.sum(axis=1, keepdims=True)
    held = sparse.csr_array(P) if held_sparse else P
    return ExpectationOperator.from_conditional(held, rng.uniform(0.5, 2, n))


def in_blocks(operator: ExpectationOperator, rows: int) -> ExpectationOperator:
    P = operator.conditional()
    blocks = [P[i : i + rows] for i in range(0, P.shape[0], rows)]
    return ExpectationOperator(blocks, operator.input_weights, operator.context_weights)


@pytest.mark.parametrize("held_sparse", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 90])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 1e-4)])
@pytest.mark.parametrize("room", [2**12, 2**26])
def test_streamed_is_the_whole(
    monkeypatch: pytest.MonkeyPatch,
    held_sparse: bool,
    rows: int,
    dtype: Any,
    rtol: float,
    room: int,
) -> None:
    monkeypatch.setattr(influence, "TEMPORARY_BYTES", room)
    whole = some_operator(held_sparse=held_sparse)
    spectrum = decompose_operator(whole)
    values, right = spectrum.eigenvalues, spectrum.right
    expected = covariance(eigenvalue_influence(whole, values, right), whole.input_weights)
    found = covariance_of(in_blocks(whole, rows), values, right, dtype)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=rtol)
    assert found.dtype == np.float64


@pytest.mark.parametrize("held_sparse", [False, True])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_left_functions_come_in_the_same_pass(held_sparse: bool, dtype: Any, atol: float) -> None:
    whole = some_operator(held_sparse=held_sparse)
    spectrum = decompose_operator(whole)
    values = spectrum.eigenvalues.copy()
    values[-1] = 0.0
    left = np.zeros((90, 9))
    covariance_of(in_blocks(whole, 7), values, spectrum.right, dtype, left)
    np.testing.assert_allclose(left, spectrum.left[:, :9], atol=atol)
    every = np.zeros((90, len(values)))
    covariance_of(whole, values, spectrum.right, dtype, every)
    np.testing.assert_allclose(every[:, :9], left, atol=atol)
    assert np.isnan(every[:, -1]).all()
    # In another order: every row of ``left`` is still that of its input.
    order, again = np.random.default_rng(1).permutation(90), np.zeros((90, 9))
    found = covariance_of(whole, values, spectrum.right, dtype, again, order)
    np.testing.assert_allclose(again, left, atol=atol)
    expected = covariance_of(whole, values, spectrum.right, dtype)
    np.testing.assert_allclose(found, expected, atol=atol)


@pytest.mark.parametrize("held_sparse", [False, True])
def test_functions_that_are_not_given(held_sparse: bool) -> None:
    operator = some_operator(held_sparse=held_sparse)
    spectrum = decompose_operator(operator)
    values, right = spectrum.eigenvalues, spectrum.right
    whole = covariance_of(operator, values, right, np.float64)
    part = covariance_of(operator, values, right[:, :5], np.float64)
    np.testing.assert_allclose(part[:5, :5], whole[:5, :5], rtol=1e-10)
    assert not part[5:].any()
    assert not part[:, 5:].any()
    none = covariance_of(operator, values, right[:, :0])
    np.testing.assert_array_equal(none, np.zeros_like(whole))
    below_floor = right.copy()
    below_floor[:, 7] = np.nan
    part = covariance_of(operator, values, below_floor, np.float64)
    assert not part[7].any()
    assert not part[:, 7].any()
    others = np.delete(np.arange(len(values)), 7)
    np.testing.assert_allclose(
        part[np.ix_(others, others)], whole[np.ix_(others, others)], rtol=1e-8, atol=1e-18
    )


def test_single_precision_at_the_ends_of_the_range() -> None:
    """s² from 1 − 4e-4 down to 1e-6, and an s² of 1 that has no error."""
    rng = np.random.default_rng(3)
    noise = rng.dirichlet(np.ones(8), size=500)
    part = np.abs(1 / 8 + (noise - 1 / 8) * np.append(1.0, 10.0 ** -np.arange(0.5, 4, 0.5)))
    part /= part.sum(axis=1, keepdims=True)
    P = np.kron(np.eye(2), part)
    leak = rng.uniform(0, 2e-4, (1000, 1))  # two parts, hardly ever left
    P = (1 - leak) * P + leak * np.roll(P, 8, axis=1)
    operator = ExpectationOperator.from_conditional(P)
    spectrum = decompose_operator(operator)
    values = spectrum.eigenvalues
    known = np.isfinite(spectrum.right[0]) & (values > 1e-6)
    assert 1e-6 < values[known].min() < 1e-5
    assert 1 - 1e-3 < values[0] < 1
    exact = np.diag(covariance_of(operator, values, spectrum.right, np.float64))[known]
    single = np.diag(covariance_of(operator, values, spectrum.right))[known]
    np.testing.assert_allclose(np.sqrt(single), np.sqrt(exact), rtol=1e-3)
    apart = ExpectationOperator.from_conditional(sparse.csr_array(np.kron(np.eye(2), noise)))
    spectrum = decompose_operator(apart)
    assert spectrum.singular_values[0] == 1
    found = covariance_of(apart, spectrum.eigenvalues, spectrum.right)
    assert np.sqrt(found[0, 0]) < 1e-7


class Lazy(Sequence[Any]):
    """Blocks made when they are asked for; how often each was is counted."""

    def __init__(self, blocks: int, rows: int, m: int, entries: int) -> None:
        self.blocks, self.rows, self.m, self.entries = blocks, rows, m, entries
        self.asked = np.zeros(blocks, dtype=int)

    def __len__(self) -> int:
        return self.blocks

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(self.blocks))

    def __getitem__(self, block: Any) -> Any:
        self.asked[block] += 1
        rng = np.random.default_rng(block)
        if not self.entries:
            P = rng.random((self.rows, self.m), dtype=np.float64)
            return P / P.sum(axis=1, keepdims=True)
        indices = rng.integers(0, self.m, self.rows * self.entries)
        pointers = np.arange(0, len(indices) + 1, self.entries)
        data = np.full(len(indices), 1 / self.entries)
        return sparse.csr_array((data, indices, pointers), shape=(self.rows, self.m))


@pytest.mark.parametrize(
    ("blocks", "rows", "m", "entries", "k"),
    [(2, 20000, 400, 8, 200), (2, 6000, 12000, 8, 200), (2, 800, 3000, 0, 200), (1, 9, 9000, 0, 2)],
    ids=["few references", "whole graph", "kernel", "wide"],
)
def test_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch, blocks: int, rows: int, m: int, entries: int, k: int
) -> None:
    """Also where n × k and m × k would be far more than the room."""
    room = 4 * 2**20
    monkeypatch.setattr(influence, "TEMPORARY_BYTES", room)
    lazy = Lazy(blocks, rows, m, entries)
    n = blocks * rows
    operator = ExpectationOperator(lazy, np.full(n, 1 / n), np.full(m, 1 / m))
    right = np.random.default_rng(0).normal(size=(m, k))
    values = np.linspace(0.9, 0.1, k)
    block = lazy[0]
    size = block.data.nbytes + (block.indices.nbytes + block.indptr.nbytes if entries else 0)
    lazy.asked[:] = 0
    tracemalloc.start()
    covariance_of(operator, values, right)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A block while it is made takes three times its size; an interpreter's small change.
    assert peak < room + 3 * size + 3 * 8 * k**2 + 2**18
    np.testing.assert_array_equal(lazy.asked, 1)


@pytest.mark.parametrize("held_sparse", [False, True])
def test_messages(held_sparse: bool) -> None:
    operator = some_operator(held_sparse=held_sparse)
    message = (
        r"the right functions have shape \(30, 4\); 30 rows and at most 3 columns, one for each "
        "eigenvalue, are needed."
    )
    with pytest.raises(InputError, match=message):
        covariance_of(operator, np.ones(3), np.ones((30, 4)))
    with pytest.raises(InputError, match=r"shape \(29, 3\); 30 rows and at most 3 columns"):
        covariance_of(operator, np.ones(3), np.ones((29, 3)))
