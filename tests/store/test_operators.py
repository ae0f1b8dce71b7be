from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator, decompose_operator
from contexture.contexts import Context, Features, Knn, MaskedKnn, Rbf
from contexture.contexts.matrix import MatrixRows
from contexture.errors import StoreError
from contexture.store import Store
from contexture.store.operators import prepare_operator, read_operator, write_block

X = np.random.default_rng(5).normal(size=(33, 4))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store.zarr"))


def features() -> Features:
    ids = np.array([f"row {i}" for i in range(len(X))])
    return Features.from_array(X, ids, np.arange(1.0, len(X) + 1))


def dense(operator: ExpectationOperator) -> np.ndarray:
    P = operator.conditional()
    return P.toarray() if sparse.issparse(P) else P


@pytest.mark.parametrize("chunk_rows", [1, 7, 11, 33, 500])
@pytest.mark.parametrize(
    "context",
    [Knn(k=4), Rbf(gamma=3), MaskedKnn(k=3, n_masks=4), Knn(k=4, reference=20)],
    ids=lambda c: c.label,
)
def test_round_trip(store: Store, context: Context, chunk_rows: int) -> None:
    evidence = context.fit(features(), 2)
    missing = prepare_operator(store, "op", evidence, chunk_rows)
    assert missing == list(range(-(-33 // chunk_rows)))
    for block in reversed(missing):
        assert write_block(store, "op", evidence, block) == block
    assert prepare_operator(store, "op", evidence, chunk_rows) == []
    found, expected = read_operator(store, "op"), ExpectationOperator.from_evidence(evidence)
    assert found.shape == expected.shape
    assert len(found.blocks) == len(missing)
    np.testing.assert_allclose(dense(found), dense(expected), rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.context_weights, expected.context_weights, atol=1e-15)
    np.testing.assert_allclose(found.input_weights, expected.input_weights, atol=0)
    assert found.context_values.tolist() == expected.context_values.tolist()
    one, two = decompose_operator(found, 10), decompose_operator(expected, 10)
    np.testing.assert_allclose(one.eigenvalues, two.eigenvalues, rtol=0, atol=1e-12)
    f = np.random.default_rng(0).normal(size=33)
    np.testing.assert_allclose(found.adjoint(f), expected.adjoint(f), atol=1e-14)
    with pytest.raises(IndexError):
        found.blocks[len(missing)]
    assert len(found.blocks[0:2]) == min(2, len(missing))


def test_columns_that_nobody_chooses_are_dropped(store: Store) -> None:
    """Also where a whole block is empty in a column, and rows differ in length."""
    rng = np.random.default_rng(0)
    amounts = sparse.random_array((20, 15), density=0.15, rng=rng, format="lil")
    amounts[:, [0]] = 0.3
    amounts[:, [4, 14]] = 0
    evidence = MatrixRows.from_amounts(
        sparse.csr_array(amounts), np.arange(20), np.arange(15) * 10, "c", "count", {}
    )
    for block in prepare_operator(store, "op", evidence, 6):
        write_block(store, "op", evidence, block)
    found, expected = read_operator(store, "op"), ExpectationOperator.from_evidence(evidence)
    assert not {40, 140} & set(found.context_values.tolist())
    np.testing.assert_array_equal(found.context_values, expected.context_values)
    np.testing.assert_allclose(dense(found), dense(expected), atol=1e-16)


@pytest.mark.parametrize("context", [Knn(k=4), Rbf(gamma=3)], ids=lambda c: c.label)
def test_only_what_is_missing_is_computed_again(store: Store, context: Context) -> None:
    evidence = context.fit(features())
    for block in (0, 3):
        prepare_operator(store, "op", evidence, 10)
        write_block(store, "op", evidence, block)
    assert prepare_operator(store, "op", evidence, 10) == [1, 2]
    with pytest.raises(StoreError) as caught:
        read_operator(store, "op")
    assert str(caught.value) == (
        "operator 'op' lacks 2 of 4 blocks; run the audit again, it computes only these."
    )


@pytest.mark.parametrize("context", [Knn(k=4), Rbf(gamma=3)], ids=lambda c: c.label)
def test_a_block_without_its_entry_does_not_count(store: Store, context: Context) -> None:
    evidence = context.fit(features())
    for block in prepare_operator(store, "op", evidence, 10):
        write_block(store, "op", evidence, block)
    expected = dense(read_operator(store, "op"))
    group = store.group("operators/op")
    group["done"][2] = 0
    name = "data" if evidence.sparse else "conditional"
    group[name][2 if evidence.sparse else slice(20, 25)] = 0.125  # half written
    group["partial_context_weight"][2] = 99.0
    assert prepare_operator(store, "op", evidence, 10) == [2]
    write_block(store, "op", evidence, 2)
    np.testing.assert_array_equal(dense(read_operator(store, "op")), expected)


def test_a_block_is_entered_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = Knn(k=4).fit(features())
    prepare_operator(store, "op", evidence, 10)

    class Broken(type(evidence)):  # type: ignore[misc]
        def rows(self, start: int, stop: int) -> sparse.csr_array:
            raise KeyboardInterrupt

    broken = Broken(**{f: getattr(evidence, f) for f in evidence.__dataclass_fields__})
    with pytest.raises(KeyboardInterrupt):
        write_block(store, "op", broken, 1)
    assert prepare_operator(store, "op", evidence, 10) == [0, 1, 2, 3]


def test_a_layout_that_was_not_finished_is_laid_out_again(store: Store) -> None:
    evidence = Knn(k=4).fit(features())
    prepare_operator(store, "op", evidence, 10)
    write_block(store, "op", evidence, 0)
    store.group("operators/op").attrs["prepared"] = False
    with pytest.raises(StoreError, match="holds no operator 'op'"):
        read_operator(store, "op")
    assert prepare_operator(store, "op", evidence, 10) == [0, 1, 2, 3]


def test_force_begins_anew(store: Store) -> None:
    evidence = Knn(k=4).fit(features())
    for block in prepare_operator(store, "op", evidence, 10):
        write_block(store, "op", evidence, block)
    store.remove("operators/op")
    assert prepare_operator(store, "op", evidence, 10) == [0, 1, 2, 3]


@pytest.mark.parametrize("context", [Knn(k=4), Rbf(gamma=3)], ids=lambda c: c.label)
@pytest.mark.parametrize("laid_out", [False, True])
def test_what_another_run_removed_meanwhile_is_no_row_of_zeros(
    store: Store, context: Context, laid_out: bool
) -> None:
    evidence = context.fit(features())
    for block in prepare_operator(store, "op", evidence, 10):
        write_block(store, "op", evidence, block)
    operator = read_operator(store, "op")
    whole = dense(operator)
    store.remove("operators/op")
    if laid_out:
        prepare_operator(store, "op", evidence, 10)
    with pytest.raises(StoreError) as caught:
        dense(operator)
    assert str(caught.value) == (
        "'operators/op' was removed while it was read, most likely by another run with --force; "
        "let that one end, and run the audit again."
    )
    if laid_out:
        for block in range(4):
            write_block(store, "op", evidence, block)
        np.testing.assert_array_equal(dense(operator), whole)


def test_unknown_operator(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        read_operator(store, "none")
    assert str(caught.value) == f"the store '{store.url}' holds no operator 'none'."


def test_an_operator_that_another_run_laid_out_meanwhile_stays(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "a.zarr"))
    features = Features.from_array(np.random.default_rng(0).normal(size=(20, 3)))
    evidence = Knn(k=3).fit(features)
    assert prepare_operator(store, "knn", evidence, 8) == [0, 1, 2]
    write_block(store, "knn", evidence, 1)
    # A second layout, made aside by another run that had not seen the first.
    store.group("operators/knn-late").attrs["late"] = True
    store.put("operators/knn-late", "operators/knn")
    assert store.children("operators") == ["knn"]
    assert prepare_operator(store, "knn", evidence, 8) == [0, 2]
