from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contexture.estimators.kernel_strips import add_transposed, exponential_strips
from contexture.inputs import Floats


def strips_of(along: Floats, across: Floats, dtype: Any, threads: int = 1) -> Floats:
    parts = exponential_strips(
        lambda strip, rows, own: strip.copy(), along, across, dtype, 1 << 16, threads
    )
    return np.concatenate(list(parts))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-7), (np.float64, 1e-12)])
@pytest.mark.parametrize("columns", [1, 5, 256, 257, 700])
@pytest.mark.parametrize("threads", [1, 2])
def test_strips_are_the_exponentials(dtype: Any, rtol: float, columns: int, threads: int) -> None:
    rng = np.random.default_rng(0)
    along, across = rng.normal(size=(300, 3)) * 5, rng.normal(size=(3, columns)) * 3
    found = strips_of(along, across, dtype, threads)
    assert found.dtype == dtype
    exponents = along @ across
    kept = np.abs(exponents) < 80
    assert kept.mean() > 0.9
    np.testing.assert_allclose(found[kept], np.exp(exponents[kept]), rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponents_beyond_all_bounds(dtype: Any) -> None:
    along = np.array([[-1e6], [-700.0], [-85.5], [0.0], [-0.0]])
    found = strips_of(along, np.ones((1, 300)), dtype)
    np.testing.assert_allclose(found[:3], np.exp(-85.0), rtol=1e-5)
    np.testing.assert_array_equal(found[3:], 1.0)
    high = strips_of(np.array([[88.0], [100.0]]), np.ones((1, 3)), dtype)
    np.testing.assert_allclose(high[0], np.exp(88.0), rtol=1e-5)
    assert (high[1] >= 1.7e38).all()


def test_what_is_no_number_is_not_hidden() -> None:
    found = strips_of(np.array([[np.nan], [0.0]]), np.ones((1, 300)), np.float32)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], 1.0)


@pytest.mark.parametrize("columns", [3, 4096, 5000])
def test_a_transposed_product_is_added(columns: int) -> None:
    rng = np.random.default_rng(1)
    strip, T = rng.normal(size=(40, columns)), rng.normal(size=(40, 6))
    total = rng.normal(size=(6, columns))
    wanted = total + T.T @ strip
    add_transposed(total, strip, T)
    np.testing.assert_allclose(total, wanted, atol=1e-12)
