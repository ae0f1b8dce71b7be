from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from contexture.estimators.intrinsics import float32_of_bits, prefetch


def ask() -> Any:
    """Compile a function that asks for the first 32 columns of one row."""

    @numba.njit
    def asked_and_read(V: Any, row: Any) -> Any:
        prefetch(V, row, 32)
        return V[0, 0]

    return asked_and_read


@pytest.mark.parametrize(("dtype", "lines"), [(np.float32, 2), (np.float64, 4)])
@pytest.mark.parametrize("index", [np.int32, np.int64, np.uint64])
def test_every_line_of_a_row_is_asked_for(dtype: type, lines: int, index: type) -> None:
    V = np.arange(320, dtype=dtype).reshape(10, 32)
    before, function = V.copy(), ask()
    assert function(V, index(3)) == 0
    np.testing.assert_array_equal(V, before)
    (signature,) = function.signatures
    assert function.inspect_llvm(signature).count("call void @llvm.prefetch") == lines


def test_a_place_that_does_not_exist_is_no_error() -> None:
    V, function = np.zeros((10, 32), np.float32), ask()
    for row in (9, 2**40, -(2**40)):
        assert function(V, row) == 0


def test_bits_of_a_float() -> None:
    read = numba.njit(lambda bits: float32_of_bits(bits))
    for value in (1.0, -0.375, 1e-30, np.inf):
        bits = np.float32(value).view(np.int32)
        assert read(bits) == np.float32(value)
