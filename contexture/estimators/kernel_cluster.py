"""Products with the operator of an RBF context, shared out among the workers of a Dask cluster.

Workers get the coordinates once, and for every pass the vectors; they compute their share of the
tiles and give back sums of min(n, m) × w. Basis and dense algebra stay in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import distributed
import numpy as np
import numpy.typing as npt

from contexture.contexts.rbf import RbfRows
from contexture.estimators import kernel_jobs
from contexture.estimators.block_jobs import Node, add_sums
from contexture.estimators.cluster_jobs import Jobs
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_strips import STRIP_BYTES, Progress
from contexture.estimators.kernel_tiles import SymmetricTiles
from contexture.inputs import FloatArray, Floats

GROUPS = 64
"""Into how many groups rows and tiles go at most: the most threads that work at once."""

LEAST_ROWS = 256
"""Rows of a group."""


class ClusterKernelProducts(KernelProducts):
    """`KernelProducts` whose passes are made by the workers of a cluster.

    The results have the same bits on any number of workers of the same kind, whichever of them die
    meanwhile.

    Parameters
    ----------
    client : distributed.Client
        Not asynchronous.
    evidence, threads, strip_bytes, progress
        See `KernelEntries`; the threads are those of this process.
    patience : float
        Seconds to wait for a worker when there is none.

    Raises
    ------
    InputError
        If there are no rows or no references.
    ClusterError
        Here and from every pass, if no worker is left or comes back, workers die again and again
        of the same job, or the scheduler is lost.
    """

    _work = 0.0

    def __init__(
        self,
        client: distributed.Client,
        evidence: RbfRows,
        threads: int | None = None,
        strip_bytes: int = STRIP_BYTES,
        progress: Progress | None = None,
        patience: float = 60.0,
    ) -> None:
        self._jobs = Jobs(client, patience)
        self._held: distributed.Future[Any] | None = None
        super().__init__(evidence, threads, strip_bytes, progress)
        self._held = None  # from now on, workers need other coordinates

    def expect(self, work: float, dtype: npt.DTypeLike) -> None:
        """Choose how to multiply, here and on the workers, for so many multiplications in all."""
        super().expect(work, dtype)
        self._work, self._held = work, None

    def gram(self, V: Floats) -> Floats:
        """G V; see `KernelProducts.gram`."""
        self.passes += 1
        if V.dtype == np.float32 and self._symmetric is not None:
            return self._symmetric.gram(V, np.matmul, self.progress, self._tiles_times)
        total = _groups(max(self.shape))
        return self._sum(kernel_jobs.gram_sums, V, total, self.progress)

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of M V if m <= n, of Mᵀ V else; see `KernelProducts.other`."""
        self.passes += 1
        length = max(self.shape)
        total = _groups(length)
        slots = [worker for worker, _ in self._jobs.slots(total)]
        found = self._jobs.in_order(
            lambda: (self._kernel(self._share), self._jobs.send(V)),
            lambda ready, number: self._jobs.submit(
                kernel_jobs.rows_of, *ready, total, number, worker=slots[number % len(slots)]
            ),
            total,
        )
        for number, values in enumerate(found):
            rows = kernel_jobs.part(length, total, number)
            yield rows, values
            if self.progress is not None:
                self.progress(rows.stop, length)

    def _marginal_sums(self, height: int) -> tuple[FloatArray, FloatArray]:
        n = len(self._X)
        total = _groups(n)

        def law() -> kernel_jobs.Law:
            return kernel_jobs.Law(self._X, self._R, self.input_weights, height)

        def attempt() -> tuple[FloatArray, FloatArray]:
            jobs = self._started(kernel_jobs.marginals_of, total, self._kernel(law))
            self._jobs.wait(jobs, lambda done: self._tell(self.progress, done, len(jobs), n))
            found = [self._jobs.result(job) for job in jobs]
            logs = np.concatenate([rows for logs, _ in found for rows in logs])
            sums = add_sums(total, *(sums for _, sums in found))[0, total]
            return logs, np.asarray(sums, np.float64)

        return self._jobs.persist(attempt)

    @cached_property
    def _symmetric(self) -> SymmetricTiles | None:
        return self._tiles(1)

    def _tiles_times(self, V: Floats, progress: Progress | None) -> Floats:
        """K V."""
        tiles = 0 if self._symmetric is None else len(self._symmetric.tiles)
        total = min(_groups(len(V)), 1 << (tiles.bit_length() - 1))
        return self._sum(kernel_jobs.tile_sums, V, total, progress)

    def _sum(
        self, job: Callable[..., dict[Node, Floats]], V: Floats, total: int,
        progress: Progress | None,
    ) -> Floats:  # fmt: skip
        def attempt() -> Floats:
            jobs = self._started(job, total, self._kernel(self._share), self._jobs.send(V))
            return self._jobs.total(
                jobs, total, lambda done, of: self._tell(progress, done, of, len(V))
            )

        return self._jobs.persist(attempt)

    def _started(
        self, job: Callable[..., Any], total: int, *given: distributed.Future[Any]
    ) -> list[distributed.Future[Any]]:
        """Start a job for all groups, once for every thread of the cluster."""
        return [
            self._jobs.submit(job, *given, total, numbers, worker=worker)
            for worker, numbers in self._jobs.slots(total)
        ]

    def _tell(self, progress: Progress | None, done: int, of: int, rows: int) -> None:
        if progress is not None:
            progress(rows * done // of, rows)

    def _kernel(self, make: Callable[[], object]) -> distributed.Future[Any]:
        """Coordinates on the workers."""
        if self._held is None or self._held.status in ("cancelled", "error"):
            self._held = self._jobs.keep(make())
        return self._held

    def _share(self) -> kernel_jobs.Share:
        return kernel_jobs.Share(
            *self._sides, self._symmetric, self.strip_bytes, self._work, self.threads
        )


def _groups(rows: int) -> int:
    """Give a number of groups: a power of two, as goes well with the usual numbers of workers."""
    return 1 << (max(1, min(GROUPS, rows // LEAST_ROWS)).bit_length() - 1)
