"""Laws of theory.md §1 and §4 that hold for every finite context."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from threadpoolctl import threadpool_limits

from contexture import ExpectationOperator, Spectrum, decompose_operator, scores
from contexture.estimators import exact
from tests.properties.finite import Finite, finite_contexts, parts_of, textbook


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def known(spectrum: Spectrum) -> np.ndarray:
    """Components whose functions are given."""
    return np.flatnonzero(~np.isnan(spectrum.left[0]))


@given(finite_contexts())
def test_values_are_those_of_the_svd(context: Finite) -> None:
    P, _, _, svd = textbook(context)
    spectrum = decompose_operator(context.operator)
    assert spectrum.rank == min(P.shape) - 1
    np.testing.assert_allclose(spectrum.eigenvalues, svd[1:] ** 2, rtol=0, atol=2e-10)
    assert (np.diff(spectrum.singular_values) <= 0).all()
    assert spectrum.singular_values.min() >= 0
    assert spectrum.singular_values.max() <= 1


@given(finite_contexts())
def test_sum_of_squares_has_a_closed_form(context: Finite) -> None:
    _, _, _, svd = textbook(context)
    operator = context.operator
    total = float(np.sum(svd**2)) - 1  # ‖M‖_F² − 1
    spectrum = decompose_operator(operator)
    assert operator.total_association == pytest.approx(total, abs=1e-12 * operator.shape[0])
    assert spectrum.eigenvalues.sum() == pytest.approx(total, abs=2e-9)
    assert spectrum.total_association == operator.total_association
    np.testing.assert_allclose(
        operator.input_weights @ operator.row_association(), total, atol=1e-12
    )


@given(finite_contexts())
def test_expansion_of_the_joint_law(context: Finite) -> None:
    P, _, q, _ = textbook(context)
    spectrum = decompose_operator(context.operator)
    k = known(spectrum)
    scaled = spectrum.left[:, k] * spectrum.singular_values[k]
    found = scaled @ spectrum.right[:, k].T
    # What lies below the noise floor is at most 1e-5 √(1/p_X p_A) in an entry.
    atol = 1e-4 * np.sqrt(1 / spectrum.input_weights.min() / q.min())
    np.testing.assert_allclose(found, P / q - 1, rtol=0, atol=atol)
    if len(k) == spectrum.rank:
        np.testing.assert_allclose(found, P / q - 1, rtol=0, atol=1e-7 / q.min())
    association = np.sum(scaled**2, axis=1)
    np.testing.assert_allclose(association, context.operator.row_association(), atol=1e-6)


@given(finite_contexts())
def test_functions_are_singular_pairs(context: Finite) -> None:
    operator = context.operator
    spectrum = decompose_operator(operator)
    k = known(spectrum)
    s, mu, nu = spectrum.singular_values[k], spectrum.left[:, k], spectrum.right[:, k]
    # T ν = s μ and T* μ = s ν, in the norms of L²(P_X) and L²(P_A).
    forth = np.sqrt(spectrum.input_weights)[:, None] * (operator.apply(nu) - s * mu)
    back = np.sqrt(spectrum.context_weights)[:, None] * (operator.adjoint(mu) - s * nu)
    np.testing.assert_allclose(forth, 0, atol=1e-10)
    np.testing.assert_allclose(back, 0, atol=1e-10)
    # The floor is s² = 1e-10: rounding of 1e-16 over s_i s_j.
    for functions, weights in ((mu, spectrum.input_weights), (nu, spectrum.context_weights)):
        gram = functions.T @ (weights[:, None] * functions)
        np.testing.assert_allclose(gram, np.eye(len(k)), atol=1e-4)
        np.testing.assert_allclose(
            gram[:3, :3] * np.outer(s, s)[:3, :3], np.diag(s**2)[:3, :3], atol=1e-10
        )
        np.testing.assert_allclose(weights @ functions, 0, atol=1e-8)
        assert np.isnan(spectrum.left).any(axis=0).sum() == spectrum.rank - len(k)
    largest = np.abs(mu).argmax(axis=0)
    assert (mu[largest, np.arange(len(k))] > 0).all()


@given(finite_contexts())
def test_out_of_sample_extension_agrees_on_the_sample(context: Finite) -> None:
    spectrum = decompose_operator(context.operator)
    k = np.flatnonzero(spectrum.eigenvalues > 1e-6)
    found = spectrum.extend(context.operator.conditional())[:, k]
    np.testing.assert_allclose(found, spectrum.left[:, k], atol=1e-7)


@given(finite_contexts(), st.integers(0, 10**6))
def test_operator_and_adjoint(context: Finite, seed: int) -> None:
    operator = context.operator
    rng = np.random.default_rng(seed)
    f, g = rng.normal(size=operator.shape[0]), rng.normal(size=operator.shape[1])
    p, q = operator.input_weights, operator.context_weights
    assert p @ operator.apply(g) == pytest.approx(q @ g, abs=1e-12)
    assert q @ operator.adjoint(f) == pytest.approx(p @ f, abs=1e-12)
    left, right = p @ (operator.apply(g) * f), q @ (g * operator.adjoint(f))
    assert left == pytest.approx(right, abs=1e-12)
    np.testing.assert_allclose(operator.apply(np.ones(len(q))), 1, atol=1e-12)
    np.testing.assert_allclose(operator.adjoint(np.ones(len(p))), 1, atol=1e-12)


@given(finite_contexts())
def test_sparse_and_dense_routes_agree(context: Finite) -> None:
    one, two = (decompose_operator(c.operator) for c in (context, context.other()))
    np.testing.assert_allclose(one.eigenvalues, two.eigenvalues, rtol=0, atol=2e-10)
    assert one.components == two.components
    same_subspaces(one, two)
    np.testing.assert_allclose(one.total_association, two.total_association, atol=1e-12)


def same_subspaces(one: Spectrum, two: Spectrum) -> None:
    """Compare projectors where the values have a gap; single vectors mean nothing."""
    squares = one.eigenvalues
    for d in range(1, len(squares)):
        if squares[d - 1] - squares[d] > 1e-3:
            for side, weights in (("left", one.input_weights), ("right", one.context_weights)):
                first, second = getattr(one, side)[:, :d], getattr(two, side)[:, :d]
                projectors = [functions @ (functions.T * weights) for functions in (first, second)]
                np.testing.assert_allclose(projectors[0], projectors[1], rtol=0, atol=1e-8)


@given(finite_contexts())
def test_number_of_components(context: Finite) -> None:
    P, _, _, svd = textbook(context)
    parts = parts_of(P)
    spectrum = decompose_operator(Finite(context.P, context.weights, True).operator)
    assert spectrum.components == parts
    assert int(np.sum(svd > 1 - 1e-12)) == parts
    ones = min(parts - 1, spectrum.rank)
    np.testing.assert_array_equal(spectrum.singular_values[:ones], 1)
    # Functions with s = 1 are constant on every part.
    np.testing.assert_allclose(spectrum.left[:, :ones], P @ spectrum.right[:, :ones], atol=1e-9)


@given(finite_contexts(), st.integers(0, 10**6))
def test_two_routes_to_compatibility(context: Finite, seed: int) -> None:
    operator = context.operator
    spectrum = decompose_operator(operator)
    f = np.random.default_rng(seed).normal(size=operator.shape[0])
    exactly = scores.compatibility(operator, f, spectrum)
    assert 0 <= exactly.value <= 1
    assert scores.compatibility_from_spectrum(spectrum, f) == pytest.approx(exactly.value, abs=1e-5)
    assert np.nansum(exactly.energy) <= 1 + 1e-6
    for i in np.flatnonzero(spectrum.eigenvalues > 1e-6)[:3]:
        own = scores.compatibility(operator, spectrum.left[:, i]).value
        assert own == pytest.approx(spectrum.singular_values[i], abs=1e-6)


@given(finite_contexts(), st.integers(1, 20))
def test_fewer_values_are_the_first_ones(context: Finite, rank: int) -> None:
    operator = context.operator
    whole, part = decompose_operator(operator), decompose_operator(operator, rank)
    assert part.rank == min(rank, whole.rank)
    np.testing.assert_allclose(part.eigenvalues, whole.eigenvalues[: part.rank], atol=2e-10)


@given(finite_contexts(), st.integers(0, 10**6))
def test_row_order_does_not_matter(context: Finite, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(context.P))
    permuted = Finite(context.P[order], context.weights[order], context.sparse)
    one, two = (decompose_operator(c.operator) for c in (context, permuted))
    np.testing.assert_allclose(one.eigenvalues, two.eigenvalues, rtol=0, atol=2e-10)
    np.testing.assert_allclose(one.context_weights, two.context_weights, atol=1e-14)


@given(finite_contexts(), st.integers(1, 5))
def test_blocks_do_not_matter(context: Finite, rows: int) -> None:
    whole = context.operator
    P = whole.conditional()
    blocks = [P[i : i + rows] for i in range(0, P.shape[0], rows)]
    cut = ExpectationOperator(blocks, whole.input_weights, whole.context_weights)
    f = np.arange(float(whole.shape[0]))
    np.testing.assert_allclose(cut.adjoint(f), whole.adjoint(f), atol=1e-12)
    g = np.arange(2.0 * whole.shape[1]).reshape(-1, 2)
    np.testing.assert_allclose(cut.apply(g), whole.apply(g), atol=1e-12)
    assert cut.total_association == pytest.approx(whole.total_association, abs=1e-12)
    one, two = decompose_operator(whole), decompose_operator(cut)
    np.testing.assert_allclose(one.eigenvalues, two.eigenvalues, rtol=0, atol=1e-12)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 10**6), st.booleans())
def test_independent_context(n: int, m: int, seed: int, held_sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    P = np.tile(rng.dirichlet(np.ones(m)), (n, 1))
    operator = Finite(P, rng.uniform(0.5, 2, n), held_sparse).operator
    spectrum = decompose_operator(operator)
    np.testing.assert_array_equal(spectrum.singular_values, 0)
    useful = scores.usefulness(spectrum)
    assert (useful.value, useful.abstention) == (2, "too weak")
    assert scores.decay_rate(spectrum) == np.inf
    assert operator.total_association == pytest.approx(0, abs=1e-12)
    assert scores.kernel_deviation(operator).value == pytest.approx(0, abs=1e-12)
    assert scores.compatibility(operator, rng.normal(size=n)).value == pytest.approx(0, abs=1e-6)


@given(st.integers(2, 20), st.integers(0, 10**6), st.booleans())
def test_context_that_is_the_input(n: int, seed: int, held_sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    P = np.eye(n)[rng.permutation(n)]
    spectrum = decompose_operator(Finite(P, rng.uniform(0.5, 2, n), held_sparse).operator)
    np.testing.assert_allclose(spectrum.singular_values, 1, atol=1e-12)
    assert spectrum.components == n
    useful = scores.usefulness(spectrum)
    assert (useful.value, useful.abstention) == (2, "too strong")
    assert scores.decay_rate(spectrum) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("copies", [1, 3])
def test_lanczos_agrees_with_dense(monkeypatch: pytest.MonkeyPatch, seed: int, copies: int) -> None:
    """Also on identical parts, whose values repeat, and on parts with repeated values."""
    rng = np.random.default_rng(seed)
    part = rng.gamma(0.3, size=(60, 50)) * (rng.random((60, 50)) < 0.3)
    part[:, 0] += 0.05
    part /= part.sum(axis=1, keepdims=True)
    P = np.kron(np.eye(copies), part)
    weights = np.tile(rng.uniform(0.5, 2, 60), copies)
    monkeypatch.setattr(exact, "GRAM_LIMIT", 10)
    found = decompose_operator(Finite(P, weights, True).operator, 12, 1e-11, seed)
    assert "Lanczos" in found.method
    assert found.components == copies
    expected = decompose_operator(Finite(P, weights, False).operator, 12)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=0, atol=1e-9)
    same_subspaces(found, expected)


@pytest.mark.parametrize("multiplicity", [2, 5, 8])
def test_lanczos_finds_repeated_values_in_one_part(
    monkeypatch: pytest.MonkeyPatch, multiplicity: int
) -> None:
    """A Krylov space grown from one vector sees one copy of a repeated value only."""
    size = 6
    block = np.kron(np.eye(multiplicity), 0.8 * np.eye(size) + 0.2 / size)
    P = 0.9 * block + 0.1 / (size * multiplicity)  # one part; s repeats many times
    n = len(P)
    P = np.concatenate([P, P])  # more rows than columns
    monkeypatch.setattr(exact, "GRAM_LIMIT", 5)
    rank = n // 3
    found = decompose_operator(Finite(P, np.ones(2 * n), True).operator, rank, 1e-11)
    expected = decompose_operator(Finite(P, np.ones(2 * n), False).operator, rank)
    assert found.method == "block Lanczos in float64"
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=0, atol=1e-9)
    gram = found.left.T @ (found.input_weights[:, None] * found.left)
    np.testing.assert_allclose(gram, np.eye(rank), atol=1e-8)


@pytest.mark.parametrize("rank", [2, 4, 9, 15])
def test_lanczos_on_an_operator_of_low_rank(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    rng = np.random.default_rng(3)
    few = rng.gamma(0.2, size=(5, 60)) * (rng.random((5, 60)) < 0.6) + 1e-4
    few /= few.sum(axis=1, keepdims=True)
    P = few[rng.integers(0, 5, 80)]
    monkeypatch.setattr(exact, "GRAM_LIMIT", 5)
    found = decompose_operator(Finite(P, np.ones(80), True).operator, rank, 1e-11)
    assert found.method == "block Lanczos in float64"
    expected = decompose_operator(Finite(P, np.ones(80), False).operator, rank)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(np.isnan(found.left[0]), np.arange(rank) >= 4)


def test_identical_parts_of_different_mass() -> None:
    rng = np.random.default_rng(5)
    part = rng.dirichlet(np.ones(5), size=7)
    P = np.kron(np.eye(4), part)
    weights = np.repeat([1.0, 4.0, 4.0, 0.5], 7)
    spectrum = decompose_operator(
        ExpectationOperator.from_conditional(sparse.csr_array(P), weights)
    )
    one = decompose_operator(ExpectationOperator.from_conditional(part))
    assert spectrum.components == 4
    expected = np.concatenate([np.ones(3), np.repeat(one.singular_values, 4)])
    np.testing.assert_allclose(spectrum.singular_values, expected, atol=1e-12)
