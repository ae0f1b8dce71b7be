from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contexture import ExpectationOperator, decompose_operator
from contexture.errors import InputError
from contexture.scores import (
    compatibility,
    compatibility_from_spectrum,
    one_vs_rest,
    worst_case_error,
)
from contexture.scores.compatibility import compatibility_of_classes
from contexture.spectrum import Spectrum
from tests.scores.exact_worst_case import exact_worst_case, top_encoder


def some_operator(n: int = 12, m: int = 9, seed: int = 0) -> ExpectationOperator:
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.full(m, 0.3), size=n)
    return ExpectationOperator.from_conditional(P, rng.uniform(0.5, 2, n))


def test_against_the_definition() -> None:
    operator = some_operator()
    p, q, P = operator.input_weights, operator.context_weights, operator.conditional()
    f = np.random.default_rng(1).normal(size=12)
    centred = f - p @ f
    g = np.array([sum(p[x] * P[x, a] * centred[x] for x in range(12)) / q[a] for a in range(9)])
    expected = np.sqrt((q @ g**2) / (p @ centred**2))
    found = compatibility(operator, f)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.energy.shape == (0,)
    assert compatibility(operator, 3 - 7 * f).value == pytest.approx(expected, rel=1e-12)
    assert compatibility(operator, f + 1e6).value == pytest.approx(expected, rel=1e-6)
    assert compatibility_from_spectrum(decompose_operator(operator), f) == pytest.approx(
        expected, rel=1e-9
    )


def test_energy_tells_components_apart() -> None:
    operator = some_operator()
    spectrum = decompose_operator(operator)
    f = 3 * spectrum.left[:, 1] + 4 * spectrum.left[:, 4]
    found = compatibility(operator, f, spectrum)
    expected = np.zeros(spectrum.rank)
    expected[[1, 4]] = 9 / 25, 16 / 25
    np.testing.assert_allclose(found.energy, expected, atol=1e-10)
    s = spectrum.eigenvalues
    assert found.value == pytest.approx(np.sqrt((9 * s[1] + 16 * s[4]) / 25), rel=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.3, 1e12])
def test_a_constant_has_none(value: float) -> None:
    operator = some_operator()
    spectrum = decompose_operator(operator)
    found = compatibility(operator, np.full(12, value), spectrum)
    assert np.isnan(found.value)
    assert np.isnan(found.standard_error)
    assert np.isnan(found.energy).all()
    assert np.isnan(compatibility_from_spectrum(spectrum, np.full(12, value)))


def test_missing_values_count_as_the_mean() -> None:
    operator = some_operator()
    f = np.random.default_rng(1).normal(size=12)
    f[[2, 7]] = np.nan
    seen, p = ~np.isnan(f), operator.input_weights
    filled = np.where(seen, f, p[seen] @ f[seen] / p[seen].sum())
    expected = compatibility(operator, filled).value
    assert compatibility(operator, f).value == pytest.approx(expected, rel=1e-12)
    assert np.isnan(compatibility(operator, np.full(12, np.nan)).value)


def test_classes_are_pooled() -> None:
    operator = some_operator()
    p, q = operator.input_weights, operator.context_weights
    codes = np.array([0, 1, 2, 0, 1, 2, 2, 2, 0, -1, 1, 0])
    indicators = one_vs_rest(codes, 3)
    assert indicators.shape == (12, 3)
    assert np.isnan(indicators[9]).all()
    numerator = denominator = 0.0
    for f in indicators.T:
        seen = ~np.isnan(f)
        centred = np.where(seen, f - p[seen] @ f[seen] / p[seen].sum(), 0)
        numerator += q @ operator.adjoint(centred) ** 2
        denominator += p @ centred**2
    found = compatibility(operator, indicators).value
    assert found == pytest.approx(np.sqrt(numerator / denominator), rel=1e-12)
    # A class that nobody has adds nothing.
    assert compatibility(operator, one_vs_rest(codes, 4)).value == pytest.approx(found, rel=1e-12)


def test_standard_error_is_the_derivative() -> None:
    rng = np.random.default_rng(3)
    P, p, f = rng.dirichlet(np.full(5, 0.3), size=9), rng.uniform(0.5, 2, 9), rng.normal(size=9)
    p /= p.sum()
    step, influence = 1e-6, []
    for x in range(9):
        moved = [
            compatibility(
                ExpectationOperator.from_conditional(P, (1 - h) * p + h * np.eye(9)[x]), f
            ).value
            for h in (step, -step)
        ]
        influence.append((moved[0] - moved[1]) / (2 * step))
    expected = np.sqrt(np.sum((p * np.array(influence)) ** 2))
    found = compatibility(ExpectationOperator.from_conditional(P, p), f).standard_error
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (np.ones(11), r"the task has shape \(11, 1\); 12 rows are needed\."),
        (np.ones((12, 2, 2)), r"the task has shape \(12, 2, 2\); 12 rows are needed\."),
        (np.array([np.inf] + [0.0] * 11), "the task holds infinite values; ρ is defined for"),
    ],
)
def test_messages(task: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compatibility(some_operator(), task)


def bounds(spectrum: Spectrum) -> tuple[float, float]:
    squares = spectrum.eigenvalues
    return 1 - float(spectrum.singular_values[0]), 1 - float(np.sqrt(squares[:2].mean()))


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.02, 1))
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_worst_case_is_the_exact_one(seed: int, rank: int, position: float) -> None:
    operator = some_operator(seed=seed)
    spectrum = decompose_operator(operator)
    low, high = bounds(spectrum)
    epsilon = min(low + position * (high - low), high)
    expected = exact_worst_case(operator, top_encoder(spectrum, rank), epsilon)
    assert worst_case_error(spectrum, rank, epsilon) == pytest.approx(expected, abs=1e-6)


def test_no_encoder_of_that_rank_is_better() -> None:
    operator = some_operator()
    spectrum = decompose_operator(operator)
    low, high = bounds(spectrum)
    epsilon = (low + high) / 2
    best = worst_case_error(spectrum, 2, epsilon)
    rng = np.random.default_rng(4)
    for size in (0.05, 0.3, 3.0):
        other = spectrum.left[:, :2] + size * rng.normal(size=(12, 2))
        other -= operator.input_weights @ other
        assert exact_worst_case(operator, other, epsilon) > best - 1e-6


def test_worst_case_at_the_ends_of_the_range() -> None:
    operator = some_operator()
    spectrum = decompose_operator(operator)
    low, high = bounds(spectrum)
    assert worst_case_error(spectrum, 3, low) == pytest.approx(0, abs=1e-12)
    assert 0 < worst_case_error(spectrum, 3, high) < 1
    errors = [worst_case_error(spectrum, d, high) for d in range(1, 9)]
    assert (np.diff(errors) < 0).all()


def test_worst_case_where_the_next_component_is_as_good() -> None:
    """Two values of 1 and an encoder of one dimension: it misses a function altogether."""
    operator = ExpectationOperator.from_conditional(np.eye(4))
    spectrum = decompose_operator(operator)
    assert worst_case_error(spectrum, 1, 0.0) == 1.0
    encoder = top_encoder(spectrum, 1)
    assert exact_worst_case(operator, encoder, 0.0) == pytest.approx(1, abs=1e-6)


def test_worst_case_messages() -> None:
    spectrum = decompose_operator(some_operator())
    low, high = bounds(spectrum)
    with pytest.raises(InputError, match=r"epsilon is 0.99\d*; the theorem holds from 0\.\d+ to"):
        worst_case_error(spectrum, 2, 0.99)
    with pytest.raises(InputError, match="epsilon is"):
        worst_case_error(spectrum, 2, low - 1e-3)
    with pytest.raises(InputError, match="epsilon is"):
        worst_case_error(spectrum, 2, high + 1e-3)
    for rank in (0, 9):
        with pytest.raises(InputError, match=f"rank is {rank}; it must be between 1 and 8."):
            worst_case_error(spectrum, rank, (low + high) / 2)
    part = decompose_operator(some_operator(), rank=4)
    with pytest.raises(InputError, match="rank is 4; it must be between 1 and 3."):
        worst_case_error(part, 4, (low + high) / 2)


def test_a_task_of_words() -> None:
    operator = ExpectationOperator.from_conditional(np.eye(3))
    with pytest.raises(InputError, match="the task does not hold numbers .* one_vs_rest"):
        compatibility(operator, ["a", "b", "c"])


def test_codes_of_other_rows() -> None:
    with pytest.raises(InputError) as caught:
        compatibility_of_classes(some_operator(), np.zeros(11, int), 1)
    assert str(caught.value) == "the codes have shape (11,); one a row is needed: (12,)."


def test_functions_in_single_precision_give_the_same() -> None:
    operator = some_operator(5000, 40)
    spectrum = decompose_operator(operator, rank=20)
    single = replace(
        spectrum, left=spectrum.left.astype(np.float32), right=spectrum.right.astype(np.float32)
    )
    task = np.random.default_rng(3).normal(size=5000) + spectrum.left[:, 2]
    both = [compatibility(operator, task, s) for s in (spectrum, single)]
    np.testing.assert_allclose(both[1].energy, both[0].energy, atol=1e-6)
    assert both[1].energy.dtype == np.float64
    again = compatibility_from_spectrum(single, task)
    assert again == pytest.approx(compatibility_from_spectrum(spectrum, task), rel=1e-6)
