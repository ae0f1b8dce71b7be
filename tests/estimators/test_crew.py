from __future__ import annotations

import threading

import numpy as np
import pytest

from contexture.estimators import crew as module
from contexture.estimators.crew import (
    ALONE,
    LARGE_PROBLEM,
    Crew,
    blas_threads,
    panels_of,
    wide_vectors,
)
from contexture.estimators.intrinsics import CACHE_LINE


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order(threads: int) -> None:
    with Crew(threads) as crew:
        assert list(crew.each(lambda i: i * i, range(50))) == [i * i for i in range(50)]
        done: list[int] = []
        crew.do(done.append, range(20))
        assert sorted(done) == list(range(20))


def test_work_is_shared_and_little_work_is_not() -> None:
    met = threading.Barrier(2)  # only two threads at a time get past it
    with Crew(2) as crew:
        crew.do(lambda _: met.wait(30), range(2))
        names = set(crew.each(lambda _: threading.get_ident(), range(4), size=10))
        assert names == {threading.get_ident()}
        assert crew.pieces(1) == 1
        assert crew.pieces(1e12) == 16
    assert ALONE.pieces(1e12) == 1


def test_little_is_begun_ahead_of_what_is_taken() -> None:
    begun: list[int] = []
    with Crew(2) as crew:
        results = crew.each(begun.append, range(1000))
        next(results)
        assert len(begun) <= 6


def test_an_error_reaches_the_caller() -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise ValueError("no. 3")

    with Crew(2) as crew, pytest.raises(ValueError, match="no. 3"):
        crew.do(fail, range(9))


def test_blas_has_one_thread_meanwhile() -> None:
    before = blas_threads()
    with Crew() as crew:
        assert crew.threads == before
        assert blas_threads() == 1
        assert crew.solve(blas_threads, LARGE_PROBLEM - 1) == 1
        assert crew.solve(blas_threads, LARGE_PROBLEM) == before
        assert blas_threads() == 1
    assert blas_threads() == before


def test_arrays_are_used_again_while_open() -> None:
    with Crew(1) as crew:
        first = crew.take((4, 3), np.float32)
        crew.give(first)
        assert crew.take((4, 3), np.float64) is not first
        assert crew.take((3, 4), np.float32) is not first
        assert crew.take((4, 3), np.float32) is first
        assert crew.take((4, 3), np.float32) is not first
        part = first[1:]
        crew.give(part, first.T)  # parts of something else are nobody's to give
        assert not np.shares_memory(crew.take((3, 3), np.float32), part)
        assert not np.shares_memory(crew.take((3, 4), np.float32), first)
        crew.give(first)
    assert crew.take((4, 3), np.float32) is not first
    crew.give(first)
    assert crew.take((4, 3), np.float32) is not first


def test_nobody_is_given_what_somebody_has() -> None:
    with Crew(1) as crew:
        first = crew.take((4, 3), np.float32)
        crew.give(first, first[:], first.reshape(-1))
        assert crew.take((4, 3), np.float32) is first
        assert not np.shares_memory(crew.take((4, 3), np.float32), first)
        assert not np.shares_memory(crew.take((12,), np.float32), first)
        crew.give(first)
        crew.give(first)
        assert crew.take((4, 3), np.float32) is first
        assert crew.take((4, 3), np.float32) is not first


def test_memory_of_something_else_is_not_kept() -> None:
    with Crew(1) as crew:
        foreign = np.ndarray((4, 3), np.float32, bytearray(48))
        crew.give(foreign)
        assert crew.take((4, 3), np.float32) is not foreign


@pytest.mark.parametrize(
    ("architecture", "wide"), [("SkylakeX", True), ("Haswell", False), (None, False)]
)
def test_the_vectors_of_blas(
    architecture: str | None, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "blas_kernels", lambda: architecture)
    assert wide_vectors() is wide


@pytest.mark.parametrize(
    ("pools", "kernels"),
    [
        ([("scipy.libs", "SkylakeX"), ("numpy.libs", "Haswell")], "Haswell"),
        ([("lib", "Zen")], "Zen"),
        ([("lib", None)], None),
        ([], None),
    ],
)
def test_the_kernels_are_those_of_numpy(
    pools: list[tuple[str, str | None]], kernels: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Controller:
        def info(self) -> list[dict[str, object]]:
            blas = [
                {"user_api": "blas", "filepath": f"/x/{folder}/libblas.so", "architecture": name}
                for folder, name in pools
            ]
            return [{"user_api": "openmp", "filepath": "/x/numpy.libs/libgomp.so"}, *blas]

    monkeypatch.setattr(module, "_controller", Controller)
    assert module.blas_kernels.__wrapped__() == kernels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (1001, 32)])
def test_arrays_begin_on_a_line_of_the_cache(shape: tuple[int, int], dtype: type) -> None:
    array = ALONE.take(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % CACHE_LINE == 0


@pytest.mark.parametrize("side", [1, 1000, 5000, 20_000, 100_001])
def test_panels_cover_every_row_once(side: int) -> None:
    panels = panels_of(side)
    rows = np.concatenate([np.arange(side)[panel] for panel in panels])
    np.testing.assert_array_equal(rows, np.arange(side))
    assert max(p.stop - p.start for p in panels) <= 8192
