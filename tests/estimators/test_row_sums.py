from __future__ import annotations

import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

from contexture.estimators.row_sums import LEAD, sum_row


def summed(width: int) -> Any:
    """Compile a sum over the entries ``first`` to ``last`` for a width."""

    @numba.njit
    def call(result: Any, i: Any, column: Any, V: Any, indices: Any, entries: Any,
             first: Any, last: Any) -> None:  # fmt: skip
        sum_row(result, i, column, V, indices, entries, first, last, width)

    return call


@pytest.mark.parametrize("width", [1, 4, 32])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_the_sum_of_some_rows(width: int, dtype: Any, rtol: float, index: Any) -> None:
    rng = np.random.default_rng(0)
    V = rng.random((40, width + 7)).astype(dtype)
    entries, indices = rng.random(100).astype(dtype), rng.integers(0, 40, 100).astype(index)
    call = summed(width)
    for first, last in [(0, 0), (0, 1), (3, 6), (10, 17), (0, 100 - LEAD), (0, 100), (97, 100)]:
        # What is outside the entries and the columns must neither be read nor written.
        given = np.full(100, np.nan, dtype)
        given[first:last] = entries[first:last]
        result = np.full((5, width + 7), -1, dtype)
        call(result, 3, 2, V, indices, given, first, last)
        expected = np.full((5, width + 7), -1, dtype)
        terms = entries[first:last, None] * V[indices[first:last], 2 : width + 2]
        expected[3, 2 : width + 2] = terms.sum(axis=0)
        np.testing.assert_allclose(result, expected, rtol=rtol)


def test_large_indices_are_not_taken_for_negative_ones() -> None:
    """Indices are read without a sign, at their own width."""
    V = np.arange(2.0**8).reshape(-1, 1)
    result = np.zeros((1, 1))
    summed(1)(result, 0, 0, V, np.array([200, 255], np.uint8), np.ones(2), 0, 2)
    assert result[0, 0] == 455


@pytest.mark.parametrize(("dtype", "lines"), [(np.float32, 2), (np.float64, 4)])
def test_every_line_of_a_row_is_asked_for(dtype: Any, lines: int) -> None:
    V, call = np.ones((10, 32), dtype), summed(32)
    result = np.zeros((1, 32), dtype)
    call(result, 0, 0, V, np.zeros(9, np.int32), np.ones(9, dtype), 0, 9)
    np.testing.assert_array_equal(result, 9)
    (signature,) = call.signatures
    asked = call.inspect_llvm(signature).count("call void @llvm.prefetch")
    assert asked % lines == 0
    assert asked >= lines


@pytest.mark.parametrize(
    ("dtype", "entries"),
    [
        (np.float32, np.ones(2)),
        (np.int64, np.ones(2, np.int64)),
        (np.float64, np.ones(4)[::2]),
    ],
)
def test_what_it_would_misread_is_refused(dtype: Any, entries: Any) -> None:
    V = np.ones((10, 4), dtype)
    with pytest.raises(numba.core.errors.TypingError):
        summed(4)(np.zeros((1, 4), dtype), 0, 0, V, np.zeros(2, np.int32), entries, 0, 2)


GUARDED = """
import ctypes, mmap, sys
import numba
import numpy as np
from contexture.estimators.row_sums import sum_row

page = mmap.PAGESIZE
room = mmap.mmap(-1, 2 * page)
start = ctypes.addressof(ctypes.c_char.from_buffer(room))
libc = ctypes.CDLL(None, use_errno=True)
if libc.mprotect(ctypes.c_void_p(start + page), page, 0):
    sys.exit("no page can be closed")
# The indices end where memory does.
indices = np.frombuffer(room, np.int32, count=60, offset=page - 240)
indices[:] = np.arange(60) % 7

@numba.njit
def call(result, V, indices, entries):
    sum_row(result, 0, 0, V, indices, entries, 0, 60, 8)

result = np.zeros((1, 8))
call(result, np.ones((7, 8)), indices, np.ones(60))
print(result[0, 0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pages are closed in another way there")
def test_nothing_is_read_beyond_the_indices() -> None:
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "60.0"), done.stderr
