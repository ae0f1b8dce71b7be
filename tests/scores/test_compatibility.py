from __future__ import annotations

from collections.abc import Callable
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
from contexture.scores.panels import Compatibility
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


def low_ones_missing(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P, P_X, and a task that P tells something of: only values above the median are observed."""
    rng = np.random.default_rng(5)
    P, p = rng.dirichlet(np.full(5, 0.3), size=n), rng.uniform(0.5, 2, n)
    f = 4 * P[:, 0] + rng.normal(size=n)
    return P, p / p.sum(), np.where(f > np.median(f), f, np.nan)


def by_differences(of_weights: Callable[[np.ndarray], np.ndarray], p: np.ndarray) -> np.ndarray:
    """The infinitesimal jackknife of statistics of P_X, each derivative taken numerically."""
    step, influence = 1e-6, []
    for x in range(len(p)):
        up, down = (of_weights((1 - h) * p + h * np.eye(len(p))[x]) for h in (step, -step))
        influence.append((up - down) / (2 * step))
    return np.sqrt(np.sum((p[:, None] * np.array(influence)) ** 2, axis=0))


@pytest.mark.parametrize("shift", [0, -40])
def test_standard_error_where_low_values_are_missing(shift: float) -> None:
    """The mean is one of the values observed, and their own influence on it counts."""
    P, p, f = low_ones_missing(30)
    tasks = np.column_stack((f, np.where(np.isnan(f), P[:, 1], P[:, 2])))
    for task in (f + shift, tasks + shift):

        def value(weights: np.ndarray, task: np.ndarray = task) -> np.ndarray:
            operator = ExpectationOperator.from_conditional(P, weights)
            return np.array([compatibility(operator, task).value])

        operator = ExpectationOperator.from_conditional(P, p)
        found = compatibility(operator, task).standard_error
        assert found == pytest.approx(by_differences(value, p)[0], rel=1e-6)


def test_standard_error_where_classes_are_missing() -> None:
    """Pooled and of each, though what is missing depends on the class."""
    P, p, f = low_ones_missing(40)
    codes = np.where(np.isnan(f), -1, np.digitize(f, np.nanquantile(f, [0.4, 0.8])))
    codes[np.flatnonzero(codes < 0)[:3]] = 0, 1, 2

    def found(weights: np.ndarray) -> list[Compatibility]:
        operator = ExpectationOperator.from_conditional(P, weights)
        classes = compatibility_of_classes(operator, codes, 3)
        return [classes.pooled, *classes.each]

    expected = by_differences(lambda weights: np.array([c.value for c in found(weights)]), p)
    np.testing.assert_allclose([c.standard_error for c in found(p)], expected, rtol=1e-6)


def test_standard_error_is_the_spread_where_low_values_are_missing() -> None:
    """Rows are drawn anew, many times: what one draw says is what they do."""
    P, _, f = low_ones_missing(40)
    rng, found = np.random.default_rng(6), []
    for _ in range(400):
        rows = rng.integers(0, 40, 1000)
        found.append(compatibility(ExpectationOperator.from_conditional(P[rows]), f[rows]))
    errors = [one.standard_error for one in found]
    assert np.mean(errors) == pytest.approx(np.std([one.value for one in found]), rel=0.1)


def test_masked_numbers_are_missing() -> None:
    operator = some_operator()
    spectrum = decompose_operator(operator)
    values = np.random.default_rng(1).normal(size=12)
    mask = np.isin(np.arange(12), [2, 7])
    gaps = np.where(mask, np.nan, values)
    expected = compatibility(operator, gaps, spectrum)
    for under in (999.0, np.nan, np.inf):
        masked = np.ma.array(np.where(mask, under, values), mask=mask)
        for task in (masked, masked[:, None], masked.harden_mask()):
            found = compatibility(operator, task, spectrum)
            assert (found.value, found.standard_error) == (expected.value, expected.standard_error)
            np.testing.assert_array_equal(found.energy, expected.energy)
        again = compatibility_from_spectrum(spectrum, masked)
        assert again == compatibility_from_spectrum(spectrum, gaps)
        assert again == pytest.approx(expected.value, rel=1e-9)
        np.testing.assert_array_equal(masked.mask, mask)  # what was given stays as it is
    nothing = np.ma.array(values, mask=True)
    assert np.isnan(compatibility(operator, nothing).value)
    assert np.isnan(compatibility_from_spectrum(spectrum, nothing))
    unmasked = np.ma.array(values)
    assert compatibility(operator, unmasked).value == compatibility(operator, values).value


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([3, 1, 4, 9], int),
        ([True, False, True, False], bool),
        ([3, 1, 4, "?"], object),
        ([3, 1, 4, None], object),
        (["3", "1", "4", "?"], str),
    ],
)
def test_whatever_lies_under_the_mask(values: list[object], kind: type) -> None:
    operator = ExpectationOperator.from_conditional(np.random.default_rng(2).dirichlet([1] * 3, 4))
    task = np.ma.array(values, mask=[False, False, False, True], dtype=kind)
    expected = [*np.array(values[:3], dtype=float), np.nan]
    assert compatibility(operator, task).value == compatibility(operator, expected).value


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint8])
def test_masked_codes_are_missing(kind: type) -> None:
    operator = some_operator()
    codes = np.array([0, 1, 2, 0, 1, 2, 2, 2, 0, 1, 1, 0])
    mask = np.isin(np.arange(12), [0, 9])
    masked = np.ma.array(np.where(mask, 77, codes).astype(kind), mask=mask)
    missing = np.where(mask, -1, codes)
    np.testing.assert_array_equal(one_vs_rest(masked, 3), one_vs_rest(missing, 3))
    found = compatibility_of_classes(operator, masked, 3)
    expected = compatibility_of_classes(operator, missing, 3)
    for one, other in zip(
        (found.pooled, *found.each), (expected.pooled, *expected.each), strict=True
    ):
        assert (one.value, one.standard_error) == (other.value, other.standard_error)


def test_masked_words_are_no_numbers() -> None:
    words = np.ma.array(["a", "b", "c"], mask=[False, True, False])
    with pytest.raises(InputError, match="the task does not hold numbers .* one_vs_rest"):
        compatibility(ExpectationOperator.from_conditional(np.eye(3)), words)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (np.ones(11), r"the task has shape \(11,\); one value a row is needed: \(12,\)\."),
        (np.ones((12, 1)), r"the task has shape \(12, 1\); one value a row is needed"),
        (np.full(12, np.inf), "the task holds infinite values; ρ is defined for finite ones"),
        (["a"] * 12, "the task does not hold numbers .* one_vs_rest"),
    ],
)
def test_messages_of_the_second_route(task: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compatibility_from_spectrum(decompose_operator(some_operator()), task)


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
