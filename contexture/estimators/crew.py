"""Threads and scratch arrays of a solver.

Pieces of work run side by side, each with a BLAS of one thread.

The threads of BLAS itself spin for a while after every call. What runs between two calls, such as
a sparse product, then shares the cores with threads that do nothing, and beside other work on the
machine every call waits for the slowest of its threads. Here each thread works on a piece of its
own, and nobody spins.

Memory that is given back to the system and asked for again has to be mapped and cleared again,
which takes as long as a product with a sparse matrix. So blocks of vectors are kept and used again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from contexture.estimators.intrinsics import CACHE_LINE
from contexture.inputs import Floats

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST_ROWS, PANEL_ROWS, PANELS = 1024, 8192, 8
"""Rows of a panel at least and at most, and panels wanted: enough for several threads."""

_KEPT = 6
"""Scratch arrays that are kept: the filter and orthonormalising need five at a time."""

_LEAST_WORK = 4e6
"""Multiplications of a piece: about a millisecond."""

_AHEAD = 2
"""Pieces begun per thread before the result of the first is taken: bounds what is held."""

_WIDE = ("SkylakeX", "Cooperlake", "SapphireRapids")
"""Kernels of OpenBLAS for AVX-512; another BLAS counts as one without."""

LARGE_PROBLEM = 1500
"""Side of a dense eigenproblem from which the threads of BLAS are worth their spinning."""


@cache
def _controller() -> ThreadpoolController:
    # Looking for the libraries takes milliseconds: once is enough.
    return ThreadpoolController()


def blas_threads() -> int:
    """Threads that BLAS may use here: OMP_NUM_THREADS and limits set around are honoured."""
    pools = [pool["num_threads"] for pool in _controller().info() if pool["user_api"] == "blas"]
    return max(1, min(max(pools, default=1), os.cpu_count() or 1))


def one_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread.

    Within threads of one's own; and for small eigenproblems, of which a second thread saves a
    third where it is alone, and waits many times as long where it is not.
    """
    context: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return context


@cache
def blas_kernels() -> str | None:
    """Name of the kernels of the OpenBLAS that NumPy multiplies with; None for another BLAS."""
    pools = [pool for pool in _controller().info() if pool["user_api"] == "blas"]
    # SciPy's wheels bring an OpenBLAS of their own, of another version.
    own = [pool for pool in pools if "numpy" in Path(pool["filepath"]).parent.name] or pools
    return own[0].get("architecture") if own else None


def wide_vectors() -> bool:
    """Whether BLAS works on vectors of 512 bits here: what is fast depends on it."""
    return blas_kernels() in _WIDE


def panels_of(side: int) -> list[slice]:
    """Cut rows into panels of about equal size, whatever the number of threads."""
    rows = int(np.clip(-(-side // PANELS), LEAST_ROWS, PANEL_ROWS))
    rows = -(-side // -(-side // rows))
    return [slice(i, min(i + rows, side)) for i in range(0, side, rows)]


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Floats:
    """Give an array of any content that begins where a line of the cache does.

    Elsewhere, a row of 32 numbers in float32 lies on three lines, not on two, and whoever gathers
    rows reads half as much again.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + CACHE_LINE, np.uint8)
    first = -room.ctypes.data % CACHE_LINE
    array: Floats = room[first : first + size].view(dtype).reshape(shape)
    return array


def _is_whole(array: Floats) -> bool:
    """Whether an array has memory of its own, from here or from NumPy."""
    room = array.base
    if not array.flags.c_contiguous:
        return False
    return room is None or (
        isinstance(room, np.ndarray)  # what came over a network may lie in a bytearray
        and room.dtype == np.uint8
        and room.nbytes == array.nbytes + CACHE_LINE
    )


class Crew:
    """Some threads and scratch arrays; as a context, it holds BLAS to one thread meanwhile.

    Parameters
    ----------
    threads : int, optional
        As many as BLAS may use by default.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = blas_threads() if threads is None else threads
        self._pool: ThreadPoolExecutor | None = None
        self._stack = ExitStack()
        self._open = False
        self._free: list[Floats] = []

    def __enter__(self) -> Self:
        self._stack.enter_context(one_thread())
        if self.threads > 1:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.threads))
        self._open = True
        return self

    def __exit__(self, *error: object) -> None:
        self._pool, self._open = None, False
        self._free.clear()
        self._stack.close()

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Floats:
        """Give an array of any content: one that was given back, or a new one."""
        for i, array in enumerate(self._free):
            if array.shape == shape and array.dtype == dtype:
                return self._free.pop(i)
        return aligned(shape, dtype)

    def give(self, *arrays: Floats) -> None:
        """Take back arrays that nobody uses anymore."""
        if self._open:
            for array in arrays:
                if _is_whole(array) and not any(np.may_share_memory(array, f) for f in self._free):
                    self._free.insert(0, array)
            del self._free[_KEPT:]

    def each(
        self, work: Callable[[Item], Result], items: Iterable[Item], size: float = np.inf
    ) -> Iterator[Result]:
        """Results of ``work`` for every item, in the order of the items, to be taken one by one.

        ``size`` is the work in multiplications: a little is done by the thread that calls.
        """
        if self._pool is None or size < _LEAST_WORK:
            yield from map(work, items)
            return
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(self._pool.submit(work, item))
            if len(waiting) > _AHEAD * self.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def pieces(self, work: float) -> int:
        """Into how many parts to cut that many multiplications.

        More than threads, since threads are not equally fast, but none so small that handing it
        over would count.
        """
        return int(np.clip(work / _LEAST_WORK, 1, 8 * self.threads)) if self._pool else 1

    def do(
        self, work: Callable[[Item], object], items: Iterable[Item], size: float = np.inf
    ) -> None:
        """Call ``work`` for every item; ``size`` as in `each`."""
        for _ in self.each(work, items, size):
            pass

    def solve(self, work: Callable[[], Result], side: int) -> Result:
        """Call ``work``, a dense problem of that side, with the threads that suit it."""
        if self._pool is None or side < LARGE_PROBLEM:
            return work()
        with _controller().limit(limits=self.threads, user_api="blas"):
            return work()


ALONE = Crew(1)
"""No threads beside the one that calls."""
