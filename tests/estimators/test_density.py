"""The spectral density, against eigenvalues that are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contexture.estimators.density import PROBES, STEPS, Density
from contexture.inputs import FloatArray, Floats

SIDE = 4000


def estimated(values: FloatArray, dtype: type = np.float64) -> Density:
    generator = np.random.default_rng(0)
    column = values.astype(dtype)[:, None]
    gram: Callable[[Floats], Floats] = lambda X: column * X  # noqa: E731
    draw = lambda w: generator.normal(size=(len(values), w)).astype(dtype)  # noqa: E731
    return Density.estimate(gram, draw, len(values))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [1, 3, 6])
def test_so_many_values_lie_above_a_quantile(power: int, dtype: type) -> None:
    values = np.linspace(1, 0, SIDE) ** power
    density = estimated(values, dtype)
    for count in (150, 300, 1000, 2500):
        assert (values > density.quantile(count)).sum() == pytest.approx(count, rel=0.15)
    assert 0.95 < density.top <= 1 + 1e-6
    assert density.weights.sum() == pytest.approx(SIDE, rel=1e-5)
    assert density.counts[0] < 5
    assert density.counts[-1] == pytest.approx(SIDE, rel=0.02)
    assert (np.diff(density.counts) >= 0).all()
    assert (np.diff(density.values) <= 0).all()


def test_quantiles_are_spaced_like_the_values() -> None:
    """Nodes of many probes in one row would make clusters, with gaps between them."""
    values = np.linspace(1, 0, SIDE) ** 3
    density = estimated(values)
    counts = np.arange(100, 2000, 20)
    steps = -np.diff(density.quantile(counts)) / -np.diff(values[counts])
    assert (steps > 0.4).all()
    assert (steps < 2.5).all()


def test_no_cut_through_a_value_that_comes_many_times() -> None:
    values = np.r_[np.linspace(1.0, 0.6, 50), np.full(1000, 0.4), np.linspace(0.1, 0, 500)]
    assert not 0.39 < estimated(values).cut(500) < 0.41
    smooth = np.linspace(1, 0, SIDE) ** 3
    density = estimated(smooth)
    assert density.cut(300) == density.quantile(300)


@pytest.mark.parametrize("side", [1, 3, PROBES, STEPS])
def test_small_spaces(side: int) -> None:
    values = np.linspace(1, 0.5, side)
    density = estimated(values)
    assert density.top == pytest.approx(1.0, rel=1e-6)
    assert density.values.min() >= 0.5 - 1e-9
    assert density.weights.sum() == pytest.approx(side)
