from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import contexture as cx
from contexture import ExpectationOperator, decompose, decompose_operator
from contexture.contexts import Knn, Rbf
from contexture.errors import CorpusError, EvidenceError, InputError
from contexture.estimators.exact import NOISE_FLOOR, connected_parts
from tests.estimators.twins import covariance, eigenvalue_influence


def binary_channel(flip: float) -> np.ndarray:
    return np.array([[1 - flip, flip], [flip, 1 - flip]])


@pytest.mark.parametrize("held", [np.asarray, sparse.csr_array])
def test_binary_symmetric_channel(held: object) -> None:
    spectrum = decompose_operator(ExpectationOperator.from_conditional(held(binary_channel(0.1))))
    np.testing.assert_allclose(spectrum.singular_values, [0.8], atol=1e-14)
    np.testing.assert_allclose(np.abs(spectrum.left), 1, atol=1e-14)
    np.testing.assert_allclose(spectrum.left, spectrum.right, atol=1e-14)
    assert spectrum.components == 1


def test_walk_on_a_cycle() -> None:
    # Cosines: s_j = |cos(2πj/n)|, each twice; an odd cycle is one part.
    n = 15
    P = (np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1)) / 2
    expected = np.sort(np.abs(np.cos(2 * np.pi * np.arange(1, n) / n)))[::-1]
    for held in (P, sparse.csr_array(P)):
        spectrum = decompose_operator(ExpectationOperator.from_conditional(held))
        np.testing.assert_allclose(spectrum.singular_values, expected, atol=1e-12)
    # An even one falls into two parts as a bipartite graph of inputs and context values.
    even = (np.roll(np.eye(8), 1, axis=1) + np.roll(np.eye(8), -1, axis=1)) / 2
    for held in (even, sparse.csr_array(even)):
        spectrum = decompose_operator(ExpectationOperator.from_conditional(held))
        assert spectrum.components == 2
        assert spectrum.singular_values[0] == pytest.approx(1, abs=1e-12)


def test_products_multiply() -> None:
    one, two = binary_channel(0.1), np.random.default_rng(0).dirichlet(np.ones(3), size=4)
    first, second = (
        decompose_operator(ExpectationOperator.from_conditional(P)).singular_values
        for P in (one, two)
    )
    both = decompose_operator(ExpectationOperator.from_conditional(np.kron(one, two)))
    products = np.outer(np.append(1, first), np.append(1, second)).ravel()
    expected = np.zeros(both.rank)
    expected[: len(products) - 1] = np.sort(products)[::-1][1:]
    np.testing.assert_allclose(both.singular_values, expected, atol=1e-9)


def test_classes_without_overlap() -> None:
    """One label for each input: s = 1 for every labelling (theory.md §7)."""
    labels = np.array([0, 0, 1, 1, 1, 2])
    spectrum = decompose_operator(ExpectationOperator.from_conditional(np.eye(3)[labels]))
    np.testing.assert_allclose(spectrum.singular_values, [1, 1], atol=1e-12)
    assert spectrum.components == 3


def test_parts_with_more_and_fewer_values_than_inputs() -> None:
    """The rank is that of the whole operator, not the sum over its parts."""
    rng = np.random.default_rng(0)
    P = np.zeros((8, 8))
    P[:6, :2], P[6:, 2:] = rng.dirichlet([1, 1], size=6), rng.dirichlet(np.ones(6), size=2)
    found = [
        decompose_operator(ExpectationOperator.from_conditional(held))
        for held in (P, sparse.csr_array(P))
    ]
    assert [s.rank for s in found] == [7, 7]
    np.testing.assert_allclose(found[0].eigenvalues, found[1].eigenvalues, atol=1e-12)
    for spectrum in found:
        whole = np.isnan(spectrum.left).all(axis=0) == np.isnan(spectrum.left).any(axis=0)
        assert whole.all()
        np.testing.assert_array_equal(np.isnan(spectrum.left[0]), spectrum.eigenvalues == 0)
        np.testing.assert_array_equal(np.isnan(spectrum.right[0]), spectrum.eigenvalues == 0)


def test_functions_just_above_the_floor_have_mean_zero_and_variance_one() -> None:
    X = np.random.default_rng(0).normal(size=(200, 2))
    spectrum = decompose(X, Rbf(gamma=1))
    k = np.flatnonzero(spectrum.eigenvalues > 0)
    assert spectrum.eigenvalues[k].min() < 1e-9
    assert spectrum.eigenvalues[k].min() > NOISE_FLOOR
    for functions, weights in (
        (spectrum.left[:, k], spectrum.input_weights),
        (spectrum.right[:, k], spectrum.context_weights),
    ):
        np.testing.assert_allclose(weights @ functions, 0, atol=1e-9)
        gram = functions.T @ (weights[:, None] * functions)
        np.testing.assert_allclose(gram, np.eye(len(k)), atol=1e-5)


def test_connected_parts() -> None:
    M = sparse.csr_array(np.array([[1.0, 0, 0], [0, 0, 2], [3, 0, 0], [0, 1, 1]]))
    parts, of_x, of_a = connected_parts(M)
    assert parts == 2
    assert of_x[0] == of_x[2] == of_a[0] != of_x[1] == of_x[3] == of_a[1] == of_a[2]


def test_a_stored_zero_connects_nothing() -> None:
    rows, columns = [0, 0, 1, 2], [0, 2, 0, 2]
    P = sparse.csr_array(([1.0, 0.0, 1.0, 1.0], (rows, columns)), shape=(3, 3))
    assert P.nnz == 4
    assert decompose_operator(ExpectationOperator.from_conditional(P)).components == 2
    assert P.nnz == 4  # what the caller gave stays as it was


def test_influence_is_the_derivative() -> None:
    """Move a little weight to one input and solve again."""
    rng = np.random.default_rng(3)
    P, p = rng.dirichlet(np.full(5, 0.3), size=9), rng.uniform(0.5, 2, 9)
    p /= p.sum()
    spectrum = decompose_operator(ExpectationOperator.from_conditional(P, p))
    operator = ExpectationOperator.from_conditional(P, p)
    influence = eigenvalue_influence(operator, spectrum.eigenvalues, spectrum.right)
    np.testing.assert_allclose(p @ influence, 0, atol=1e-12)
    step = 1e-6
    for x in range(9):
        moved = [
            decompose_operator(
                ExpectationOperator.from_conditional(P, (1 - h) * p + h * np.eye(9)[x])
            ).eigenvalues
            for h in (step, -step)
        ]
        np.testing.assert_allclose(influence[x], (moved[0] - moved[1]) / (2 * step), atol=1e-6)
    expected = sum(p[x] ** 2 * np.outer(influence[x], influence[x]) for x in range(9))
    np.testing.assert_allclose(covariance(influence, p), expected, atol=1e-15)
    np.testing.assert_allclose(spectrum.eigenvalue_covariance, expected, atol=1e-12)


def test_decompose_takes_arrays_and_features() -> None:
    X = np.random.default_rng(1).normal(size=(50, 3))
    one = decompose(X, Knn(k=5), rank=7)
    two = decompose(cx.Features.from_array(X), Knn(k=5), rank=7)
    np.testing.assert_array_equal(one.singular_values, two.singular_values)
    assert one.rank == 7
    assert one.left.shape == one.right.shape == (50, 7)
    np.testing.assert_array_equal(one.context_values, np.arange(50))


@pytest.mark.parametrize("context", [Knn(k=5), Rbf(gamma=3), Knn(k=4, reference=30)])
def test_row_order_does_not_change_the_scores(context: cx.contexts.Context) -> None:
    rng = np.random.default_rng(1)
    X, ids, task = rng.normal(size=(60, 3)), np.arange(60), rng.normal(size=60)
    order = rng.permutation(60)
    scores = []
    for rows in (np.arange(60), order):
        operator = cx.operator_of(cx.Features.from_array(X[rows], ids[rows]), context, seed=4)
        spectrum = decompose_operator(operator)
        scores.append(
            [
                *spectrum.eigenvalues[:20],
                cx.scores.usefulness(spectrum).value,
                cx.scores.decay_rate(spectrum),
                cx.scores.compatibility(operator, task[rows]).value,
                cx.scores.kernel_deviation(operator).value,
                cx.scores.lipschitz_constant(operator, X[rows]).value,
            ]
        )
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-7)


@pytest.mark.parametrize(
    ("P", "message"),
    [
        (np.ones((1, 1)), "the operator has 1 input(s) and 1 context value(s); two of each are"),
        (np.ones((5, 1)), "the operator has 5 input(s) and 1 context value(s); two of each are"),
        (np.ones((1, 2)) / 2, "the operator has 1 input(s) and 2 context value(s); two of each"),
        (np.eye(2)[[0, 0, 0]], "the operator has 3 input(s) and 1 context value(s); two of each"),
    ],
)
def test_nothing_to_associate(P: np.ndarray, message: str) -> None:
    for held in (P, sparse.csr_array(P)):
        with pytest.raises(InputError) as caught:
            decompose_operator(ExpectationOperator.from_conditional(held))
        assert str(caught.value).startswith(message)


def test_weaker_evidence_is_refused() -> None:
    class Draws:
        pass

    class Noise(Knn):
        def fit(self, features: cx.Features, seed: int = 0) -> Draws:  # type: ignore[override]
            return Draws()

    with pytest.raises(EvidenceError) as caught:
        decompose(np.eye(4), Noise(k=2))
    assert str(caught.value) == (
        "context 'knn-2' gives Draws, but an exact spectrum needs rows of P(a|x); use an estimator "
        "for samples or pairs."
    )
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("rank", [0, -1, 5.0, True, "5"])
def test_rank_must_be_a_whole_number(rank: object) -> None:
    operator = ExpectationOperator.from_conditional(np.full((3, 3), 1 / 3))
    with pytest.raises(InputError, match="rank is .*; a whole number from 1 on is needed"):
        cx.decompose_operator(operator, rank=rank)


@pytest.mark.parametrize("name", ["functions", "memory"])
@pytest.mark.parametrize("number", [-1, 2.5, True])
def test_numbers_of_functions_and_bytes_must_be_whole(name: str, number: object) -> None:
    operator = ExpectationOperator.from_conditional(np.full((3, 3), 1 / 3))
    with pytest.raises(InputError, match=f"{name} is .*; a whole number from 0 on is needed"):
        cx.decompose_operator(operator, rank=2, **{name: number})  # type: ignore[arg-type]


def test_seed_must_be_a_whole_number() -> None:
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(InputError, match="seed is -1; a whole number from 0 on is needed"):
        cx.decompose(X, cx.contexts.Knn(k=3), seed=-1)


@pytest.mark.parametrize("factor", [1e-170, 1e160])
def test_squares_that_cannot_be_held(factor: float) -> None:
    X = np.random.default_rng(0).normal(size=(20, 2)) * factor
    with pytest.raises(CorpusError, match="rescale it to vary by 1e-100 to 1e\\+100"):
        cx.decompose(X, cx.contexts.Knn(k=3))


def test_no_matrix() -> None:
    with pytest.raises(CorpusError, match="X is no matrix of numbers"):
        cx.decompose([[1.0, 2.0], [3.0]], cx.contexts.Knn(k=1))
