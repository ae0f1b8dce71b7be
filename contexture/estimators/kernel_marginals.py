"""Row sums and marginals of an RBF context, by one streamed pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from contexture.inputs import FloatArray

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the rows done so far in this pass and the rows in all."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class KernelMarginals:
    """What one pass over the tiles tells of an RBF context.

    Attributes
    ----------
    log_sums : ndarray of shape (n,)
        L(x) = log Σ_a exp(−γ‖x − a‖²).
    context_weights : ndarray of shape (m,)
        p_A.
    total_association : float
        Σ_ij p_X(i) P_ij² / p_A(j) − 1.
    """

    log_sums: FloatArray
    context_weights: FloatArray
    total_association: float


@cache
def _controller() -> ThreadpoolController:
    # Looking for the libraries takes milliseconds: once is enough.
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread.

    Within threads of one's own; and for small eigenproblems, of which a second thread saves a
    third where it is alone, and waits many times as long where it is not.
    """
    context: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return context


def blas_threads() -> int:
    """Threads that BLAS would use, which honours OMP_NUM_THREADS and limits set around."""
    pools = [pool["num_threads"] for pool in _controller().info() if pool["user_api"] == "blas"]
    return max(1, min(max(pools, default=1), os.cpu_count() or 1))


def in_threads(
    work: Callable[[slice, int], Result],
    count: int,
    height: int,
    threads: int,
    progress: Progress | None,
) -> Iterator[Result]:
    """Run ``work(rows, thread)`` over strips of rows; strip i is always thread i mod t's.

    Sums are thus made in one order, and the same input gives the same bits.

    Parameters
    ----------
    work : callable
        What to do with a strip.
    count, height : int
        Rows in all, and of a strip.
    threads : int
        Strips at a time.
    progress : callable, optional
        Called after every batch of strips.
    """
    strips = [slice(i, min(i + height, count)) for i in range(0, count, height)]
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(strips), threads):
            batch: Sequence[slice] = strips[first : first + threads]
            # BLAS is held to one thread only while strips are computed, not while the caller
            # of a generator does something else.
            with one_thread():
                results = list(pool.map(work, batch, range(len(batch))))
            yield from results
            if progress is not None:
                progress(batch[-1].stop, count)


def kernel_marginals(
    X: FloatArray,
    R: FloatArray,
    input_weights: FloatArray,
    height: int,
    threads: int = 1,
    progress: Progress | None = None,
) -> KernelMarginals:
    """Log row sums, p_A and the total association of exp(x·r), in float64.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Coordinates of the inputs.
    R : ndarray of shape (m, d)
        Coordinates of the references.
    input_weights : ndarray of shape (n,)
        P_X.
    height : int
        Rows of a strip.
    threads : int
        Strips at a time.
    progress : callable, optional
        Called with the rows done and the rows in all.
    """
    n, m = len(X), len(R)
    across = np.ascontiguousarray(R.T)
    log_sums = np.empty(n)
    first = [np.zeros(m) for _ in range(threads)]
    second = [np.zeros(m) for _ in range(threads)]
    held = [np.empty((height, m)) for _ in range(threads)]

    def add(rows: slice, own: int) -> None:
        strip = held[own][: rows.stop - rows.start]
        np.matmul(X[rows], across, out=strip)
        # The nearest reference is moved to distance 0, so that no row underflows.
        top = strip.max(axis=1)
        strip -= top[:, None]
        np.exp(strip, out=strip)
        sums = strip.sum(axis=1)
        log_sums[rows] = top + np.log(sums)
        p = input_weights[rows]
        first[own] += (p / sums) @ strip
        np.square(strip, out=strip)
        second[own] += (p / sums**2) @ strip

    for _ in in_threads(add, n, height, threads, progress):
        pass
    weights, squares = np.sum(first, axis=0), np.sum(second, axis=0)
    chosen = weights > 0
    total = float(np.sum(squares[chosen] / weights[chosen])) - 1.0
    return KernelMarginals(log_sums, weights, max(0.0, total))
