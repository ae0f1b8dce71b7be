from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from contexture.errors import InputError
from contexture.estimators.draws import combine_draws


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
