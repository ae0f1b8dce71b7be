"""Moments: they merge exactly, and give the spectrum of the operator that they stand for."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest
from scipy import sparse

import contexture as cx
from contexture.contexts import Context, Knn, MaskedKnn, MaskedRbf, Rbf
from contexture.errors import InputError
from contexture.estimators.streamed import moment_spectrum
from contexture.moments import Moments, halves_of, in_units, unit_of

REFERENCE = [
    Knn(k=5, reference=90),
    Knn(fraction=0.1, reference=60, include_self=False),
    MaskedKnn(k=4, n_masks=5, reference=70),
    Rbf(gamma=8, reference=50),
    MaskedRbf(gamma=8, n_masks=3, reference=40),
]


def features(weighted: bool = False, n: int = 400) -> cx.Features:
    generator = np.random.default_rng(5)
    X = generator.normal(size=(n, 4))
    X[: n // 5] += 40.0  # two clusters that no neighbour joins
    weights = generator.uniform(0.5, 2.0, n) if weighted else None
    return cx.Features.from_array(X, input_weights=weights)


def moments_of(
    context: Context, data: cx.Features, step: int, order: slice = slice(None)
) -> tuple[Moments, list[Moments]]:
    evidence = context.fit(data, 3)
    n, m = evidence.shape
    p = evidence.input_weights * n
    p = np.ones(n) if np.ptp(p) == 0 else p
    groups = [
        Moments.zero(m, unit_of(evidence)).add(evidence.rows(i, min(i + step, n)), p[i : i + step])
        for i in range(0, n, step)
    ][order]
    total = groups[0]
    for group in groups[1:]:
        total = total + group
    return total, groups


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("context", REFERENCE, ids=lambda c: c.label)
def test_the_spectrum_is_that_of_the_operator(context: Context, weighted: bool) -> None:
    data = features(weighted)
    total, groups = moments_of(context, data, 34)
    exact = cx.decompose(data, context, rank=30, seed=3)
    found = moment_spectrum(total, 30, groups, exact.context_values, exact.input_weights)
    np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues, atol=1e-10)
    assert found.components == exact.components
    assert found.total_association == pytest.approx(exact.total_association, rel=1e-10)
    np.testing.assert_allclose(found.context_weights, exact.context_weights, rtol=1e-12)
    # Functions: the same span, of variance 1 and mean 0 under P_A.
    p = found.context_weights
    known = found.eigenvalues > 1e-8
    inner = found.right[:, known].T @ (p[:, None] * found.right[:, known])
    np.testing.assert_allclose(inner, np.eye(known.sum()), atol=1e-8)
    np.testing.assert_allclose(p @ found.right[:, known], 0, atol=1e-8)
    across = found.right[:, known].T @ (p[:, None] * exact.right[:, known])
    assert abs(abs(np.linalg.det(across)) - 1) < 1e-6
    assert found.left.shape == (len(exact.left), 0)


@pytest.mark.parametrize("context", REFERENCE[:3], ids=lambda c: c.label)
def test_neighbours_are_counted_without_rounding(context: Context) -> None:
    whole, groups = moments_of(context, features(), 400)
    cut, groups = moments_of(context, features(), 23)
    backwards, _ = moments_of(context, features(), 23, slice(None, None, -1))
    for other in (cut, backwards):
        np.testing.assert_array_equal(other.gram, whole.gram)
        np.testing.assert_array_equal(other.marginal, whole.marginal)
    # A part taken away and put back leaves no trace: appending and removing are exact.
    without = cut - groups[2]
    assert without.rows == 400 - 23
    again = without + groups[2]
    np.testing.assert_array_equal(again.gram, whole.gram)
    assert again.mass == whole.mass == 400


def test_removing_a_part_is_never_having_had_it() -> None:
    data, context = features(), REFERENCE[3]
    total, groups = moments_of(context, data, 100)
    rest = groups[0] + groups[1] + groups[3]
    less = moment_spectrum(total - groups[2], 20)
    np.testing.assert_allclose(less.eigenvalues, moment_spectrum(rest, 20).eigenvalues, atol=1e-12)


def test_grouped_errors_are_those_of_single_rows() -> None:
    data = features(n=2000)
    context = Knn(k=12, reference=100)
    exact = cx.decompose(data, context, rank=10, seed=3)
    evidence = context.fit(data, 3)
    # Rows in an order that means much, by the first coordinate: halves differ as samples do.
    P = evidence.rows(0, 2000)[np.argsort(data.X[:, 0])]
    halves = [
        Moments.zero(100, 1 / 12).add(P[i : i + 20][half], np.ones(half.sum()))
        for i in range(0, 2000, 20)
        for half in halves_of(slice(i, i + 20))
    ]
    total = functools.reduce(operator.add, halves)
    assert total.rows == 2000
    found = moment_spectrum(total, 10, halves)
    np.testing.assert_allclose(found.standard_error[1:], exact.standard_error[1:], rtol=0.35)


def test_halves_are_the_same_however_they_are_asked_for() -> None:
    first, second = halves_of(slice(0, 200_000))
    np.testing.assert_array_equal(first, ~second)
    assert abs(second.mean() - 0.5) < 0.005
    pieces = [halves_of(slice(start, start + 999))[1] for start in range(0, 9990, 999)]
    np.testing.assert_array_equal(np.concatenate(pieces), second[:9990])
    for lag in (1, 2, 24, 2500):
        assert abs(np.mean(second[:-lag] == second[lag:]) - 0.5) < 0.005
    assert [len(half) for half in halves_of(slice(5, 5))] == [0, 0]


def test_halves_are_those_of_splitmix64() -> None:
    """The first bits of its published outputs for the seed 0; stores depend on them."""
    outputs = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    expected = [output >> 63 == 1 for output in outputs]
    assert halves_of(slice(0, 4))[1].tolist() == expected == [True, False, False, True]

    def splitmix(row: int) -> int:
        z = (row + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    assert [splitmix(row) for row in range(4)] == outputs
    rows = range(10**10, 10**10 + 50)
    found = halves_of(slice(rows.start, rows.stop))[1]
    assert found.tolist() == [splitmix(row) >> 63 == 1 for row in rows]


def test_values_that_nobody_chose_are_left_out() -> None:
    P = np.array([[0.5, 0.5, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.5, 0.0]])
    for rows in (P, sparse.csr_array(P)):
        found = moment_spectrum(Moments.zero(4).add(rows, np.ones(3)), 10)
        assert found.context_values.tolist() == [0, 1, 2]
        np.testing.assert_allclose(found.eigenvalues, [0.25, 0.25], atol=1e-12)
        assert found.total_association == pytest.approx(0.5)


def test_units() -> None:
    data = features()
    assert unit_of(Knn(k=5).fit(data)) == 1 / 5
    assert unit_of(MaskedKnn(k=5, n_masks=4).fit(data)) == 1 / 20
    assert unit_of(Rbf(gamma=1).fit(data)) == 1.0
    rows = sparse.csr_array(np.array([[2 / 15, 13 / 15]]))
    whole = in_units(rows, 1 / 15)
    assert isinstance(whole, sparse.csr_array)
    assert whole.data.tolist() == [2.0, 13.0]


def test_errors() -> None:
    with pytest.raises(InputError, match="the rows have 3 columns; 4 context values are kept"):
        Moments.zero(4).add(np.full((2, 3), 1 / 3), np.ones(2))
    with pytest.raises(InputError, match="over 4 and 3 context values .* do not belong to one"):
        Moments.zero(4) + Moments.zero(3)
    with pytest.raises(InputError, match="in units of 1 and 0.5"):
        Moments.zero(4) + Moments.zero(4, 0.5)
    with pytest.raises(InputError, match=r"1 context value\(s\); two of each are needed"):
        moment_spectrum(Moments.zero(3).add(np.array([[1.0, 0.0, 0.0]]), np.ones(1)))
    rows = Moments.zero(2).add(np.eye(2), np.ones(2))
    message = "the moments of 1 half of a block have no other half; two are needed of each."
    with pytest.raises(InputError, match=message):
        moment_spectrum(rows, halves=[rows])
