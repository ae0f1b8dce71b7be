from __future__ import annotations

import numba
import numpy as np

from contexture.estimators.intrinsics import float32_of_bits


def test_bits_of_a_float() -> None:
    read = numba.njit(lambda bits: float32_of_bits(bits))
    for value in (1.0, -0.375, 1e-30, np.inf):
        bits = np.float32(value).view(np.int32)
        assert read(bits) == np.float32(value)
