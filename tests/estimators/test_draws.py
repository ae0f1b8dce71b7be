from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from contexture.errors import InputError
from contexture.estimators.draws import combine_draws, summarise_draws


def test_mean_and_errors() -> None:
    values = np.random.default_rng(0).normal(size=(5, 3))
    found = combine_draws(values, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(found.value, values.mean(axis=0))
    of_draws = values.std(axis=0, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(found.draw_error, of_draws)
    np.testing.assert_array_equal(found.input_error, [0.1, 0.2, 0.3])
    expected = np.sqrt(of_draws**2 + found.input_error**2)
    np.testing.assert_allclose(found.standard_error, expected)


def test_one_draw_has_no_error_over_draws() -> None:
    found = combine_draws([1.8], 0.01)
    assert (found.value, found.input_error) == (1.8, 0.01)
    assert np.isnan(found.draw_error)
    assert np.isnan(found.standard_error)
    assert np.isnan(found.half_width())


def test_half_widths_between_student_and_normal() -> None:
    values = [1.0, 2.0, 4.0]
    alone = combine_draws(values)
    student = stats.t.ppf(0.975, 2) * alone.standard_error
    assert alone.half_width() == pytest.approx(float(student))
    mostly_inputs = combine_draws(values, 1e4)
    assert mostly_inputs.half_width() == pytest.approx(1.96e4, rel=1e-4)
    both = combine_draws(values, 1.0)
    ratio = both.half_width(0.9) / both.standard_error
    assert stats.norm.ppf(0.95) < ratio < stats.t.ppf(0.95, 2)
    assert combine_draws([2.0, 2.0], 0.5).half_width() == pytest.approx(0.98, rel=1e-3)
    assert combine_draws([2.0, 2.0]).half_width() == 0


def test_infinite_decay_rates_have_no_error() -> None:
    found = combine_draws([np.inf, np.inf])
    assert found.value == np.inf
    assert np.isnan(found.draw_error)


def test_summary() -> None:
    squares = np.array([[0.8, 0.4, 0.0], [0.7, 0.5, 0.0], [0.9, 0.3, 0.0]])
    covariance = np.diag([1e-4, 4e-4, 0.0])
    found = summarise_draws(
        squares, [1.8, 1.9, 1.7], [3, 4, 3], [0.1, 0.2, 0.1], covariance, 0.02, 0.5, 0.01
    )
    assert (found.draws, found.note) == (3, "")
    np.testing.assert_allclose(found.eigenvalues.value, [0.8, 0.4, 0])
    np.testing.assert_allclose(found.eigenvalues.input_error, [0.01, 0.02, 0])
    roots = np.sqrt([0.8, 0.4])
    np.testing.assert_allclose(found.singular_values.value, [*roots, 0])
    np.testing.assert_allclose(
        found.singular_values.standard_error,
        [*(found.eigenvalues.standard_error[:2] / (2 * roots)), 0],
    )
    assert found.usefulness.value == pytest.approx(1.8)
    assert found.usefulness.standard_error == pytest.approx(np.hypot(0.1 / np.sqrt(3), 0.02))
    assert found.best_rank.value == pytest.approx(10 / 3)
    assert found.best_rank.input_error == 0.5
    assert found.decay_rate.input_error == 0.01


def test_summary_of_one_draw() -> None:
    found = summarise_draws([[0.8, 0.4]], [1.8], [3], [0.1], np.diag([1e-4, 4e-4]), 0.02)
    assert found.note == (
        "one reference draw: how much another draw would differ is not known; two or more are "
        "needed for a standard error."
    )
    assert np.isnan(found.singular_values.standard_error).all()
    np.testing.assert_allclose(found.eigenvalues.input_error, [0.01, 0.02])
    assert found.usefulness.input_error == 0.02


def test_messages() -> None:
    with pytest.raises(InputError, match=r"the draws have shape \(\); one or more draws are need"):
        combine_draws(1.0)
    with pytest.raises(InputError, match=r"the draws have shape \(0,\); one or more draws"):
        combine_draws([])
    message = (
        r"the error over inputs has shape \(3,\), but a draw has shape \(2,\); one error for each "
        "value is needed."
    )
    with pytest.raises(InputError, match=message):
        combine_draws(np.ones((4, 2)), np.ones(3))
    with pytest.raises(InputError, match=r"eigenvalues have shape \(2,\); one row for each draw"):
        summarise_draws([0.5, 0.4], [1.8], [1], [1], np.eye(2))
    message = r"the covariance has shape \(3, 3\); \(2, 2\) is needed for 2 eigenvalues."
    with pytest.raises(InputError, match=message):
        summarise_draws([[0.5, 0.4]], [1.8], [1], [1], np.eye(3))
    message = r"best_rank has shape \(2,\); one value for each of 1 draws is needed."
    with pytest.raises(InputError, match=message):
        summarise_draws([[0.5, 0.4]], [1.8], [1, 2], [1], np.eye(2))
