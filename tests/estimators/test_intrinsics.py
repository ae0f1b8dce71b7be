from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from contexture.estimators.intrinsics import float32_of_bits, prefetch


@numba.njit
def _asked_and_read(V: Any, rows: Any) -> Any:
    for i in range(len(rows)):
        prefetch(V, rows[i], 32)
    return V[rows[0], 0]


@pytest.mark.parametrize(("dtype", "lines"), [(np.float32, 2), (np.float64, 4)])
def test_every_line_of_a_row_is_asked_for(dtype: type, lines: int) -> None:
    V = np.arange(320, dtype=dtype).reshape(10, 32)
    before = V.copy()
    assert _asked_and_read(V, np.array([3, 0, 9])) == 96
    np.testing.assert_array_equal(V, before)
    code = _asked_and_read.inspect_llvm(_asked_and_read.signatures[-1])
    calls = [line for line in code.splitlines() if "call void @llvm.prefetch" in line]
    assert len(calls) % lines == 0
    assert calls


def test_a_place_that_does_not_exist_is_no_error() -> None:
    V = np.zeros((10, 32), np.float32)
    assert _asked_and_read(V, np.array([9, 2**40, -(2**40)])) == 0


def test_bits_of_a_float() -> None:
    read = numba.njit(lambda bits: float32_of_bits(bits))
    for value in (1.0, -0.375, 1e-30, np.inf):
        bits = np.float32(value).view(np.int32)
        assert read(bits) == np.float32(value)
