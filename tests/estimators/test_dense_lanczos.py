"""Dense operators that are too long for their Gram matrix."""

from __future__ import annotations

import numpy as np
import pytest

from contexture import ExpectationOperator, decompose_operator
from contexture.errors import InputError
from contexture.estimators import exact
from contexture.estimators.dense_lanczos import DenseProducts, solve_dense
from contexture.estimators.exact import exact_spectrum
from contexture.estimators.products import BlockProducts
from contexture.estimators.solution import Settings


def operator(n: int, m: int, width: float = 0.3) -> ExpectationOperator:
    rng = np.random.default_rng(0)
    X, A = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
    P = np.exp(-((X[:, None] - A[None]) ** 2).sum(-1) / width**2) + 1e-9
    weights = rng.uniform(0.5, 2, n)
    return ExpectationOperator.from_conditional(P / P.sum(axis=1, keepdims=True), weights)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "DENSE_SIDE", 500)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("shape", [(900, 700), (700, 900)])
@pytest.mark.parametrize(("tolerance", "dtype"), [(1e-5, np.float32), (1e-10, np.float64)])
def test_a_long_dense_operator_has_the_spectrum_of_its_gram_matrix(
    shape: tuple[int, int], tolerance: float, dtype: type
) -> None:
    whole = operator(*shape)
    found, expected = decompose_operator(whole, 60, tolerance), exact_spectrum(whole, 60)
    assert found.method == f"block Lanczos in {np.dtype(dtype)}"
    error = np.abs(found.eigenvalues - expected.eigenvalues)
    assert (error <= found.numerical_error).all()
    assert found.numerical_error.max() <= tolerance
    assert (found.components, found.left.dtype) == (1, dtype)
    top = expected.eigenvalues > 0.05
    close = 1e-2 if dtype == np.float32 else 1e-6
    for ours, theirs in ((found.left, expected.left), (found.right, expected.right)):
        np.testing.assert_allclose(np.abs(ours[:, top]), np.abs(theirs[:, top]), atol=close)
    np.testing.assert_allclose(
        found.standard_error[top], expected.standard_error[top], rtol=1e-3, atol=1e-7
    )


@pytest.mark.usefixtures("long")
def test_the_route_can_be_overruled() -> None:
    whole, short = operator(700, 600), operator(120, 90)
    assert decompose_operator(whole, 10).method.startswith("block Lanczos")
    assert decompose_operator(whole, 10, route="exact").method.startswith("exact")
    assert decompose_operator(short, 10).method.startswith("exact")
    assert decompose_operator(short, 10, route="krylov").method.startswith("block Lanczos")


def test_a_route_that_there_is_not() -> None:
    with pytest.raises(InputError, match="route is 'exakt'; 'auto', 'exact' or 'krylov' is needed"):
        decompose_operator(operator(20, 10), 3, route="exakt")  # type: ignore[arg-type]


@pytest.mark.parametrize("route", ["auto", "exact", "krylov"])
def test_nothing_to_be_associated(route: str) -> None:
    alone = ExpectationOperator.from_conditional(np.ones((5, 1)))
    with pytest.raises(InputError, match="5 input.s. and 1 context value.s.; two of each"):
        decompose_operator(alone, 3, route=route)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(90, 60), (60, 90)])
@pytest.mark.parametrize("held", [np.float32, np.float64])
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_products_are_those_of_the_blocks(shape: tuple[int, int], held: type, given: type) -> None:
    whole = operator(*shape)
    V = np.random.default_rng(1).normal(size=(60, 5)).astype(given)
    ours, theirs = DenseProducts(whole, held), BlockProducts(whole)
    assert ours.gram(V).dtype == given
    close = 1e-6 if np.float32 in (held, given) else 1e-14
    np.testing.assert_allclose(ours.gram(V), theirs.gram(V), atol=close)
    both = [np.concatenate([part for _, part in p.other(V)]) for p in (ours, theirs)]
    np.testing.assert_allclose(both[0], both[1], atol=close)


def test_a_basis_without_room_is_left_to_the_solver_that_has_a_disk() -> None:
    whole = operator(700, 600)
    small = Settings(1e-5, memory=600 * 4 * 100)
    assert solve_dense(whole, 20, small, np.zeros(600, int)) is None
    found = decompose_operator(whole, 20, memory=600 * 4 * 100, route="krylov")
    expected = exact_spectrum(whole, 20)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, atol=1e-5)


def test_parts_that_are_joined_as_faintly_as_rounding_are_counted() -> None:
    """As in the exact route: weights of 1e-300 join nothing that a spectrum could tell."""
    P = np.full((300, 260), 1e-300)
    P[:150, :130] = P[150:, 130:] = 1 / 130
    P[:150, :130] += np.eye(150, 130) / 3
    whole = ExpectationOperator.from_conditional(P / P.sum(axis=1, keepdims=True))
    found = decompose_operator(whole, 20, route="krylov")
    assert found.components == exact_spectrum(whole, 20).components == 2
    np.testing.assert_allclose(found.eigenvalues[0], 1.0, atol=1e-10)


@pytest.mark.parametrize("tolerance", [1e-5, 1e-10])
def test_parts_are_taken_out_whole(tolerance: float) -> None:
    first, second = operator(300, 200).conditional(), operator(250, 260).conditional()
    P = np.block([[first, np.zeros((300, 260))], [np.zeros((250, 200)), second]])
    whole = ExpectationOperator.from_conditional(P)
    found = decompose_operator(whole, 40, tolerance, route="krylov")
    expected = exact_spectrum(whole, 40)
    assert found.components == expected.components == 2
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, atol=tolerance)
    assert found.eigenvalues[0] == 1.0 > found.eigenvalues[1]


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    decompose_operator(
        operator(900, 800), 30, route="krylov", progress=lambda *now: seen.append(now)
    )
    assert seen
    assert all(0 < done <= total for done, total in seen)
