from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator, decompose_operator
from contexture.errors import InputError

P = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.25, 0.0, 0.75], [1.0, 0.0, 0.0, 0.0]])
WEIGHTS = [1.0, 2.0, 1.0]


@pytest.fixture(params=["dense", "csr", "coo", "matrix"])
def operator(request: pytest.FixtureRequest) -> ExpectationOperator:
    held = {
        "dense": np.asarray,
        "csr": sparse.csr_array,
        "coo": sparse.coo_array,
        "matrix": sparse.csr_matrix,
    }[request.param](P)
    return ExpectationOperator.from_conditional(held, WEIGHTS, ["a", "b", "never", "d"])


def test_marginals(operator: ExpectationOperator) -> None:
    assert operator.shape == (3, 3)
    np.testing.assert_allclose(operator.input_weights, [0.25, 0.5, 0.25])
    np.testing.assert_allclose(operator.context_weights, [0.375, 0.25, 0.375])
    assert operator.context_values.tolist() == ["a", "b", "d"]


def test_apply_and_adjoint(operator: ExpectationOperator) -> None:
    g = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(operator.apply(g), [1.5, 2.75, 1.0])
    f = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        operator.adjoint(f), [(0.125 + 0.75) / 0.375, (0.125 + 0.25) / 0.25, 2]
    )
    both = np.column_stack([f, np.ones(3)])
    assert operator.adjoint(both).shape == operator.apply(both).shape == (3, 2)
    np.testing.assert_allclose(operator.adjoint(both)[:, 0], operator.adjoint(f))


def test_normalised(operator: ExpectationOperator) -> None:
    M = operator.normalised()
    M = M.toarray() if sparse.issparse(M) else M
    p, q = operator.input_weights, operator.context_weights
    np.testing.assert_allclose(M, np.sqrt(p)[:, None] * P[:, [0, 1, 3]] / np.sqrt(q))
    np.testing.assert_allclose(M @ np.sqrt(q), np.sqrt(p))
    assert operator.total_association == pytest.approx(np.sum(M**2) - 1)


def test_equal_weights_by_default() -> None:
    operator = ExpectationOperator.from_conditional(P)
    np.testing.assert_allclose(operator.input_weights, 1 / 3)
    assert operator.context_values.tolist() == [0, 1, 3]


def test_what_is_given_is_not_changed() -> None:
    given = sparse.csr_array(P)
    given.data[0] = 0.5
    before = given.copy()
    operator = ExpectationOperator.from_conditional(given, WEIGHTS)
    operator.normalised()
    _ = operator.total_association
    np.testing.assert_array_equal(given.data, before.data)
    np.testing.assert_array_equal(given.indices, before.indices)


@pytest.mark.parametrize("held", [np.asarray, sparse.csr_array])
def test_rows_that_add_up_nearly_are_no_association(held: type) -> None:
    law = np.random.default_rng(0).dirichlet(np.ones(9))
    given = np.outer(1 + 9e-9 * np.array([1.0, -1.0, 0.5, -0.5, 0.0]), law)
    operator = ExpectationOperator.from_conditional(held(given))
    np.testing.assert_allclose(operator.conditional().sum(axis=1), 1, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(decompose_operator(operator).eigenvalues, 0)


@pytest.mark.parametrize("held", [np.asarray, sparse.csr_array, sparse.coo_array])
def test_only_rows_that_need_it_are_divided(held: type) -> None:
    thirds = np.array([[1 / 3, 1 / 3, 1 / 3], [0.1, 0.2, 0.7], [0.25, 0.25, 0.5 + 4e-9]])
    given = held(thirds)
    found = ExpectationOperator.from_conditional(given).conditional()
    found = found.toarray() if sparse.issparse(found) else found
    np.testing.assert_array_equal(found[:2], thirds[:2])
    assert found[2].sum() == pytest.approx(1, abs=1e-15)
    before = given.toarray() if sparse.issparse(given) else given
    assert before[2, 2] == 0.5 + 4e-9  # what the caller gave stays as it was


@pytest.mark.parametrize("held", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("least", [1e-310, 5e-324, 1e-300, 1e-160])
def test_values_that_next_to_nobody_chooses(held: type, least: float) -> None:
    P = held(np.array([[0.9, 0.1, least], [0.1, 0.9, least]]))
    operator = ExpectationOperator.from_conditional(P)
    assert operator.total_association == pytest.approx(0.64)
    np.testing.assert_allclose(operator.row_association(), 0.64)
    assert decompose_operator(operator).eigenvalues[0] == pytest.approx(0.64)


def test_what_is_no_number_is_not_zero() -> None:
    operator = ExpectationOperator((np.full((2, 2), np.nan),), np.full(2, 0.5), np.full(2, 0.5))
    assert np.isnan(operator.total_association)


def test_entries_given_twice_add_up() -> None:
    twice = sparse.csr_array(
        (np.array([0.5, 0.5, 0.25, 0.75]), np.array([0, 0, 0, 1]), np.array([0, 2, 4])),
        shape=(2, 2),
    )
    operator = ExpectationOperator.from_conditional(twice)
    dense = ExpectationOperator.from_conditional(twice.toarray())
    assert operator.total_association == pytest.approx(dense.total_association)
    np.testing.assert_allclose(operator.kernel(np.arange(2)), dense.kernel(np.arange(2)))


def test_whole_numbers_will_do() -> None:
    operator = ExpectationOperator.from_conditional([[1, 0], [0, 1]])
    assert operator.conditional().dtype == np.float64
    operator = ExpectationOperator.from_conditional(sparse.csr_array(np.eye(2, dtype=int)))
    assert operator.conditional().dtype == np.float64


def test_lazy_blocks_are_read_when_they_are_needed() -> None:
    reads: list[int] = []

    class Blocks(list):  # type: ignore[type-arg]
        def __iter__(self):  # type: ignore[no-untyped-def]
            for i in range(3):
                reads.append(i)
                yield P[i : i + 1, [0, 1, 3]]

    operator = ExpectationOperator(
        Blocks([0, 0, 0]), np.full(3, 1 / 3), P[:, [0, 1, 3]].mean(axis=0)
    )
    assert reads == []
    operator.apply(np.ones(3))
    assert reads == [0, 1, 2]
    whole = operator.in_memory()
    assert reads == [0, 1, 2] * 2
    whole.adjoint(np.ones(3))
    assert len(reads) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((0, 3)), r"P has shape \(0, 3\); rows and columns are needed\."),
        (np.zeros((3, 0)), r"P has shape \(3, 0\); rows and columns are needed\."),
        (np.ones(3), r"P has shape \(3,\); rows and columns are needed\."),
        ([[0.5, 0.5], [0.5, 0.4]], "row 1 of P adds up to 0.9; every row must add up to 1."),
        ([[0.0, 0.0], [0.5, 0.5]], "row 0 of P adds up to 0; every row must add up to 1."),
        ([[1.5, -0.5]], "P holds negative, NaN or infinite entries; it must be a law."),
        ([[np.nan, 1.0]], "P holds negative, NaN or infinite entries; it must be a law."),
        ([[np.inf, 1.0]], "P holds negative, NaN or infinite entries; it must be a law."),
    ],
)
def test_messages(given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExpectationOperator.from_conditional(given)  # type: ignore[arg-type]
    array = np.asarray(given)
    if array.ndim == 2 and array.size:
        with pytest.raises(InputError, match=message):
            ExpectationOperator.from_conditional(sparse.csr_array(array))


@pytest.mark.parametrize("values", [[1], [[1, 2, 3]], 5])
def test_as_many_context_values_as_columns(values: object) -> None:
    shape = r"\(1,\)|\(1, 3\)|\(\)"
    message = f"context_values has shape ({shape}), but P has 3 columns; one value for each is"
    with pytest.raises(InputError, match=message):
        ExpectationOperator.from_conditional(
            np.full((2, 3), 1 / 3), context_values=np.asarray(values)
        )


def test_bad_weights() -> None:
    with pytest.raises(InputError, match=r"weights have shape \(2,\); one number a row is needed"):
        ExpectationOperator.from_conditional(P, [1, 1])
    with pytest.raises(InputError, match="the weight of row 1 is 0.0"):
        ExpectationOperator.from_conditional(P, [1, 0, 1])


def test_rows_of_very_many_equal_entries_stay_what_they_are() -> None:
    """Their sum is off by its own rounding, and they are not."""
    k = 10**6
    P = sparse.csr_array(np.full((2, k), 1 / k))
    block = ExpectationOperator.from_conditional(P).blocks[0]
    assert isinstance(block, sparse.csr_array)
    np.testing.assert_array_equal(block.data, 1 / k)
