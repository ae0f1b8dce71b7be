from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contexture import ExpectationOperator, Spectrum, decompose_operator
from contexture.scores import decay_rate, decay_rate_standard_error


def some_spectrum() -> Spectrum:
    P = np.random.default_rng(0).dirichlet(np.full(8, 0.3), size=30)
    return decompose_operator(ExpectationOperator.from_conditional(P))


def spectrum_of(squares: np.ndarray) -> Spectrum:
    base = some_spectrum()
    return replace(base, singular_values=np.sqrt(squares))


@pytest.mark.parametrize("rate", [1e-4, 0.003, 0.1, 1.0, 7.0])
@pytest.mark.parametrize("count", [1, 5, 512])
def test_decay_of_exact_exponentials(rate: float, count: int) -> None:
    squares = np.exp(-rate * np.arange(1, count + 1))
    assert decay_rate(spectrum_of(squares)) == pytest.approx(rate, rel=1e-5)


def test_decay_is_the_least_squares_fit() -> None:
    squares = np.sort(np.random.default_rng(0).random(40))[::-1]
    index = np.arange(1, 41)
    rates = np.linspace(1e-4, 1, 200001)
    losses = [np.sum((squares - np.exp(-rate * index)) ** 2) for rate in rates[::20]]
    found = decay_rate(spectrum_of(squares))
    assert found == pytest.approx(rates[::20][int(np.argmin(losses))], abs=2e-4)


def test_decay_at_the_extremes() -> None:
    assert decay_rate(spectrum_of(np.ones(9))) == pytest.approx(0, abs=1e-8)
    assert decay_rate(spectrum_of(np.zeros(9))) == np.inf
    assert decay_rate(spectrum_of(np.array([0.9, 0.5, 0.1])), 1) == pytest.approx(-np.log(0.9))


@pytest.mark.parametrize("max_rank", [3, 512])
def test_standard_error_is_the_derivative(max_rank: int) -> None:
    spectrum = some_spectrum()
    squares, step = spectrum.eigenvalues, 1e-5
    gradient = []
    for i in range(len(squares)):
        rates = [
            decay_rate(spectrum_of(squares + h * (np.arange(len(squares)) == i)), max_rank)
            for h in (step, -step)
        ]
        gradient.append((rates[0] - rates[1]) / (2 * step))
    expected = np.sqrt(np.array(gradient) @ spectrum.eigenvalue_covariance @ np.array(gradient))
    assert expected > 0
    assert decay_rate_standard_error(spectrum, max_rank) == pytest.approx(expected, rel=1e-3)


def test_no_standard_error_at_the_ends() -> None:
    assert np.isnan(decay_rate_standard_error(spectrum_of(np.zeros(7))))
    assert np.isnan(decay_rate_standard_error(spectrum_of(np.ones(7))))
