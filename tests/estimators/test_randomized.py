from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

import contexture as cx
from contexture import ExpectationOperator, Spectrum, decompose_operator
from contexture.errors import InputError
from contexture.estimators import exact
from contexture.estimators.products import BlockProducts, SparseProducts
from contexture.inputs import Floats
from tests.estimators.blocks import lazy, neighbours


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(exact, "GRAM_LIMIT", 100)
    with threadpool_limits(1):
        yield


def token_like(n: int, m: int, seed: int = 0) -> sparse.csr_array:
    """Few frequent values and many rare ones: a spectrum with a flat tail."""
    rng = np.random.default_rng(seed)
    law = 1.0 / np.arange(1, m + 1)
    rows, columns = np.repeat(np.arange(n), 12), rng.choice(m, n * 12, p=law / law.sum())
    P = sparse.csr_array((np.ones(n * 12), (rows, columns)), shape=(n, m))
    P.sum_duplicates()
    return P / 12


def dense(P: sparse.csr_array, rank: int, weights: np.ndarray | None = None) -> Spectrum:
    return decompose_operator(ExpectationOperator.from_conditional(P.toarray(), weights), rank)


def close(found: Spectrum, expected: Spectrum, tolerance: float) -> None:
    error = np.abs(found.eigenvalues - expected.eigenvalues)
    assert error.max() <= tolerance
    assert (error <= np.maximum(found.numerical_error, found.noise_floor)).all()
    assert found.components == expected.components
    assert "block Lanczos" in found.method


HARD = {
    "neighbours": neighbours(700, 10),
    "tall": neighbours(900, 8, m=500),
    "wide": neighbours(420, 12, m=800),
    "few neighbours": neighbours(900, 3),
    "tokens": token_like(900, 600),
    "many parts": sparse.csr_array(
        sparse.block_diag([neighbours(400, 6), neighbours(350, 5, seed=1), sparse.eye_array(12)])
    ),
    "duplicated rows": sparse.csr_array(neighbours(350, 7)[np.repeat(np.arange(350), 2)]),
    "clustered values": sparse.csr_array(
        sparse.block_diag([neighbours(300, 6)] * 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("tolerance", [1e-5, 1e-10])
def test_hard_operators_agree_with_the_dense_route(name: str, tolerance: float) -> None:
    P = HARD[name]
    weights = np.random.default_rng(1).uniform(0.5, 2, P.shape[0])
    operator = ExpectationOperator.from_conditional(P, weights)
    found, expected = decompose_operator(operator, 40, tolerance), dense(P, 40, weights)
    close(found, expected, tolerance)
    if tolerance < 1e-6:
        # Projections on the whole group do not depend on the basis inside of it.
        cut = int(np.argmax(-np.diff(expected.eigenvalues[20:]))) + 21
        for one, two, w in (
            (found.left, expected.left, operator.input_weights),
            (found.right, expected.right, operator.context_weights),
        ):
            overlap = one[:, :cut].T @ (w[:, None] * two[:, :cut])
            np.testing.assert_allclose(np.linalg.svd(overlap)[1], 1, atol=1e-6)
        np.testing.assert_allclose(np.trace(found.eigenvalue_covariance[:cut, :cut]) >= 0, True)


@pytest.mark.parametrize("name", ["neighbours", "wide", "many parts"])
def test_lazy_blocks_give_the_same(name: str) -> None:
    P = HARD[name]
    whole = ExpectationOperator.from_conditional(P)
    one, two = (decompose_operator(o, 30, 1e-10) for o in (whole, lazy(whole)))
    assert one.components == two.components
    np.testing.assert_allclose(one.eigenvalues, two.eigenvalues, atol=2e-10)
    np.testing.assert_allclose(one.standard_error, two.standard_error, rtol=1e-3, atol=1e-6)


def test_basis_on_disk_and_restarts_give_the_same(tmp_path: Path) -> None:
    operator = ExpectationOperator.from_conditional(HARD["neighbours"])
    plain = decompose_operator(operator, 40, 1e-10)
    folder = tmp_path / "new"
    disk = decompose_operator(operator, 40, 1e-10, memory=1, workspace=folder)
    np.testing.assert_allclose(disk.eigenvalues, plain.eigenvalues, atol=1e-12)
    assert list(folder.iterdir()) == []
    small = decompose_operator(operator, 40, 1e-10, memory=700 * 8 * (2 * 72 + 64))
    np.testing.assert_allclose(small.eigenvalues, plain.eigenvalues, atol=2e-10)


@pytest.mark.parametrize("held", [lambda operator: operator, lazy])
def test_functions_of_the_longer_side_are_found_a_few_at_a_time(
    held: Callable[[ExpectationOperator], ExpectationOperator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be a sum over all rows of P, which comes in one piece."""
    seen: list[int] = []
    for kind in (BlockProducts, SparseProducts):
        genuine = kind.other

        def counted(self: Any, V: Floats, genuine: Any = genuine) -> Any:
            seen.append(V.shape[1])
            return genuine(self, V)

        monkeypatch.setattr(kind, "other", counted)
    P = HARD["wide"]
    found = decompose_operator(held(ExpectationOperator.from_conditional(P)), 90)
    close(found, dense(P, 90), 1e-5)
    assert len(seen) >= 3
    assert max(seen) <= 32
    assert sum(seen) >= 89


def test_seed_decides_everything_and_nothing() -> None:
    operator = ExpectationOperator.from_conditional(HARD["tokens"])
    one, two, other = (decompose_operator(operator, 20, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.eigenvalues, two.eigenvalues)
    np.testing.assert_array_equal(one.right, two.right)
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, atol=1e-5)


@pytest.mark.parametrize(("tolerance", "dtype"), [(1e-5, np.float32), (1e-9, np.float64)])
def test_functions_are_of_the_type_that_was_worked_in(tolerance: float, dtype: type) -> None:
    operator = ExpectationOperator.from_conditional(neighbours(1500, 8))
    found = decompose_operator(operator, rank=30, tolerance=tolerance)
    assert (found.left.dtype, found.right.dtype) == (dtype, dtype)
    again = found.extend(operator.conditional())
    assert again.dtype == dtype
    np.testing.assert_allclose(again, found.left, atol=1e-4 if dtype == np.float32 else 1e-12)
    assert found.to_dataset()["left"].dtype == dtype
    assert found.singular_values.dtype == np.float64


def test_functions_that_are_not_wanted() -> None:
    operator = ExpectationOperator.from_conditional(HARD["neighbours"])
    whole = decompose_operator(operator, 20)
    part = decompose_operator(operator, 20, functions=5, left_functions=False)
    assert part.left.shape == (700, 0)
    assert part.right.shape == (700, 5)
    np.testing.assert_allclose(np.abs(part.right), np.abs(whole.right[:, :5]), atol=1e-6)
    np.testing.assert_array_equal(part.eigenvalues, whole.eigenvalues)
    np.testing.assert_allclose(
        np.diag(part.eigenvalue_covariance), np.diag(whole.eigenvalue_covariance), rtol=1e-4
    )
    few = decompose_operator(ExpectationOperator.from_conditional(np.full((3, 4), 0.25)), 2,
                             functions=1, left_functions=False)  # fmt: skip
    assert (few.left.shape, few.right.shape, few.rank) == ((3, 0), (4, 1), 2)


def test_repeated_values_beyond_the_block() -> None:
    """40 parts that are joined only faintly: each value comes 40 times."""
    part = neighbours(12, 4, seed=2).toarray()
    P = 0.999 * np.kron(np.eye(40), part)
    P[:, 0] += 0.001
    found = decompose_operator(ExpectationOperator.from_conditional(sparse.csr_array(P)), 100, 1e-9)
    close(found, dense(sparse.csr_array(P), 100), 1e-9)


def test_rank_above_what_exists() -> None:
    rng = np.random.default_rng(0)
    few = rng.dirichlet(np.full(300, 0.05), size=6)
    P = sparse.csr_array(few[rng.integers(0, 6, 400)])
    for tolerance in (1e-5, 1e-10):
        found = decompose_operator(ExpectationOperator.from_conditional(P), 30, tolerance)
        expected = dense(P, 30)
        np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, atol=tolerance)
        np.testing.assert_array_equal(np.isnan(found.right[0]), np.arange(30) >= 5)


@pytest.mark.parametrize("tolerance", [1e-5, 1e-10])
def test_what_is_dropped_below_the_floor_is_in_the_error(tolerance: float) -> None:
    """A part known to 1e-10 beside one that is solved in float32."""
    rng = np.random.default_rng(0)
    few = rng.dirichlet(np.full(300, 0.05), size=6)
    flip = 0.5 - 3e-4  # s = 6e-4
    channel = np.array([[1 - flip, flip], [flip, 1 - flip]])
    P = sparse.csr_array(sparse.block_diag([few[rng.integers(0, 6, 400)], channel]))
    found = decompose_operator(ExpectationOperator.from_conditional(P), 8, tolerance)
    assert "block Lanczos" in found.method
    expected = dense(P, 8)
    assert expected.eigenvalues[6] == pytest.approx(3.6e-7, rel=1e-6)
    assert (found.eigenvalues[6] == 0) == (tolerance == 1e-5)
    error = np.abs(found.eigenvalues - expected.eigenvalues)
    assert (error[:7] <= found.numerical_error[:7] + 1e-10).all()


def test_parts_alone_fill_the_rank() -> None:
    P = sparse.csr_array(sparse.eye_array(400))
    found = decompose_operator(ExpectationOperator.from_conditional(P), 50)
    assert found.components == 400
    assert found.method == "exact: connected parts in closed form"
    np.testing.assert_array_equal(found.eigenvalues, 1)


def test_progress_ends() -> None:
    seen: list[tuple[int, int]] = []
    operator = ExpectationOperator.from_conditional(HARD["neighbours"])
    decompose_operator(operator, 20, progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert all(0 < done <= total for done, total in seen)


@pytest.mark.parametrize("tolerance", [0, 1, -1e-3, 2.0, float("nan"), "1e-5", True, None])
def test_tolerance_must_be_between_0_and_1(tolerance: object) -> None:
    operator = ExpectationOperator.from_conditional(np.full((3, 3), 1 / 3))
    with pytest.raises(InputError) as caught:
        cx.decompose_operator(operator, tolerance=tolerance)
    assert str(caught.value) == (
        f"tolerance is {tolerance!r}; a number between 0 and 1 is needed, such as 1e-5, by which "
        "an s_i² may be off."
    )
