"""The stored order: neighbours come near, and whatever follows is the same as without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator, decompose_operator
from contexture.contexts import Features, Knn
from contexture.contexts.base import ConditionalRows
from contexture.contexts.matrix import MatrixRows
from contexture.corpus import Target
from contexture.errors import EvidenceError
from contexture.evaluation import evaluate
from contexture.order import Order, OrderedRows, in_order, inverse


def ring(n: int, k: int, seed: int = 0) -> np.ndarray:
    """The k nearest of n shuffled points on a ring, nearest first."""
    rng = np.random.default_rng(seed)
    row_of = rng.permutation(n)
    place = inverse(row_of)
    steps = np.array([(-1) ** i * ((i + 1) // 2) for i in range(k)])
    return row_of[(place[:, None] + steps) % n].astype(np.int32)


def counts(n: int, m: int, seed: int = 0) -> MatrixRows:
    """Inputs and context values on one line, both shuffled, with weights; two values unused."""
    rng = np.random.default_rng(seed)
    x, a = rng.uniform(size=n), rng.uniform(size=m)
    amounts = np.where(np.abs(x[:, None] - a) < 0.08, rng.integers(1, 9, size=(n, m)), 0.0)
    amounts[:, :2] = 0
    amounts[np.arange(n), 2 + np.argmin(np.abs(x[:, None] - a[2:]), axis=1)] += 1
    names = np.array([f"a{i}" for i in range(m)], dtype=object)
    return MatrixRows.from_amounts(
        sparse.csr_array(amounts), np.arange(n), names, "c", "count", {"pairs": 3}
    )


def spread(rows: sparse.csr_array) -> float:
    """How far the columns of entries are from those of the row's first: what products gather."""
    entries = rows.tocoo()
    places = entries.row * rows.shape[1] / rows.shape[0]
    return float(np.abs(places - entries.col).mean()) / rows.shape[1]


def matrix_of(evidence: ConditionalRows) -> sparse.csr_array:
    return sparse.csr_array(evidence.rows(0, evidence.shape[0]))


@pytest.mark.parametrize("lists", [1, 2, 40])
def test_neighbours_come_near(lists: int) -> None:
    positions = np.concatenate([ring(900, 6)] * lists, axis=1)
    order = Order.of_neighbours(positions, lists)
    assert sorted(order.rows) == sorted(order.columns) == list(range(900))
    stored = order.sorted(positions)
    assert stored.dtype == positions.dtype
    np.testing.assert_array_equal(order.columns[stored], positions[order.rows])
    far = np.abs(positions - np.arange(900)[:, None]).mean()
    near = np.abs(stored - np.arange(900)[:, None].astype(int)).mean()
    assert near < far / 20


def test_a_matrix_comes_near() -> None:
    evidence = counts(700, 150)
    order = Order.of_evidence(evidence)
    stored = in_order(evidence, order)
    P, Q = matrix_of(evidence), matrix_of(stored)
    np.testing.assert_array_equal(Q.toarray(), P.toarray()[order.rows][:, order.columns])
    assert Q.has_sorted_indices
    assert spread(Q) < spread(P) / 3
    assert stored.shape == evidence.shape
    assert stored.sparse
    assert stored.details == {"pairs": 3}
    assert stored.entries(3, 9) == Q.indptr[9] - Q.indptr[3]
    np.testing.assert_array_equal(stored.input_weights, evidence.input_weights[order.rows])
    np.testing.assert_array_equal(stored.context_values, evidence.context_values[order.columns])


def test_rows_that_are_not_known_before_have_no_order() -> None:
    rows = Knn(k=2).fit(Features.from_array(np.arange(8.0)[:, None]))
    with pytest.raises(EvidenceError) as caught:
        Order.of_evidence(rows)
    assert str(caught.value) == (
        "the rows of KnnRows are computed on demand, and an order needs all of them at hand; "
        "store them as they come."
    )


def test_the_order_of_what_is_left() -> None:
    order = Order(np.array([1, 0, 2]), np.array([3, 0, 4, 1, 2]))
    kept = order.kept(np.array([0, 2, 4]))  # context values 3, 4 and 2
    assert kept.columns.tolist() == [1, 2, 0]
    assert kept.rows is order.rows
    assert kept.fingerprint != order.fingerprint == replace(order).fingerprint


@pytest.mark.parametrize(("n", "m"), [(2300, 40), (90, 130)])
def test_all_scores_are_the_same_in_any_order(n: int, m: int) -> None:
    """Also those that are taken on a sample of the rows."""
    evidence = counts(n, m)
    rng = np.random.default_rng(1)
    order = Order(rng.permutation(n), rng.permutation(m))
    plain = ExpectationOperator.from_evidence(evidence)
    shuffled = ExpectationOperator.from_evidence(in_order(evidence, order))
    kept = np.flatnonzero(matrix_of(in_order(evidence, order)).sum(axis=0) > 0)
    y = rng.normal(size=n)
    y[::7] = np.nan
    targets = (
        Target("y", "number", y, ()),
        Target("c", "class", rng.integers(-1, 3, size=n), ("u", "v", "w")),
    )
    X = rng.normal(size=(n, 3))
    one = evaluate(plain, decompose_operator(plain, 20), X, targets, 20, rank_kept=8)
    two = evaluate(
        shuffled, decompose_operator(shuffled, 20), X, targets, 20, rank_kept=8,
        order=order.kept(kept),
    )  # fmt: skip
    for name in ("kernel_deviation", "lipschitz"):
        a, b = getattr(one, name), getattr(two, name)
        assert b.value == pytest.approx(a.value, abs=1e-10)
        assert b.standard_error == pytest.approx(a.standard_error, abs=1e-10, nan_ok=True)
    assert two.usefulness.value == pytest.approx(one.usefulness.value, abs=1e-10)
    assert [score.target for score in two.targets] == list(targets)
    for a, b in zip(one.targets, two.targets, strict=True):
        for c, d in zip((a.pooled, *a.classes), (b.pooled, *b.classes), strict=True):
            np.testing.assert_allclose(d.energy, c.energy, atol=1e-10)
            assert (d.value, d.standard_error) == pytest.approx((c.value, c.standard_error))
    a, b = one.spectrum, two.spectrum
    for name in (
        "singular_values", "left", "right", "eigenvalue_covariance", "input_weights",
        "context_weights",
    ):  # fmt: skip
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=0, atol=1e-10)
    np.testing.assert_array_equal(b.context_values, a.context_values)
    # New inputs come with the context values of the corpus.
    new = plain.conditional()[5:9]
    np.testing.assert_allclose(b.extend(new), a.left[5:9], atol=1e-10)


def test_signs_are_those_of_the_corpus() -> None:
    """Functions of two equal parts have their largest modulus everywhere: the first row decides."""
    P = sparse.csr_array(np.kron(np.eye(2), np.full((3, 3), 1 / 3)))
    rows = MatrixRows(P, np.full(6, 1 / 6), np.arange(6), {})
    order = Order(np.arange(6)[::-1].copy(), np.arange(6)[::-1].copy())
    plain = ExpectationOperator.from_evidence(rows)
    expected = decompose_operator(plain, 1)
    found = order.restored(
        decompose_operator(ExpectationOperator.from_evidence(in_order(rows, order)), 1)
    )
    np.testing.assert_allclose(found.left, expected.left)
    np.testing.assert_allclose(found.right, expected.right)
    without = replace(expected, left=np.empty((6, 0)))
    np.testing.assert_allclose(order.restored(without).left, np.empty((6, 0)))
    assert isinstance(in_order(rows, order), OrderedRows)
    assert isinstance(in_order(rows, order), ConditionalRows)
