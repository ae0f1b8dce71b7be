"""Jobs on a Dask cluster that may lose workers at any time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from math import inf
from typing import Any, TypeVar

import dask.config
import distributed
import numpy as np
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from contexture.errors import ClusterError
from contexture.estimators.block_jobs import add_sums, handed_on
from contexture.inputs import Floats

REPEATS = 20
"""How often a piece of work is begun again because workers took what it needs with them."""

POLL = 1.0
"""Seconds between two looks at whether there still are workers."""

TRANSFER = 120.0
"""Seconds that a result may be on its way before we look whether there still are workers."""

PRIORITY = 2
"""Before whole contexts: what waits for a part of a product holds its basis meanwhile."""

MOST_SUMS = 4
"""Sums that this process takes in; more are added on the workers first."""

Progress = Callable[[str, int, int], None]
"""Hears of a stage ("load", "gram", "other", "components") how many groups of how many are done."""

Result = TypeVar("Result")


class Jobs:
    """Submits jobs to a cluster, waits for them, and says in a sentence when that is hopeless.

    Parameters
    ----------
    client : distributed.Client
        Not asynchronous.
    patience : float
        Seconds to wait for a worker when there is none.
    """

    def __init__(self, client: distributed.Client, patience: float) -> None:
        self._client: Any = client  # many of its methods have no types
        self._patience = patience

    def threads(self) -> dict[str, int]:
        """Addresses and threads of the workers, waiting for one if there is none.

        Raises
        ------
        ClusterError
            If none comes, or the scheduler is lost.
        """
        end = time.monotonic() + self._patience
        while True:
            try:
                found = dict(self._client.nthreads())
            except (OSError, TimeoutError, ValueError) as error:
                raise self._lost() from error
            if found:
                return dict(sorted(found.items()))
            if time.monotonic() > end:
                raise ClusterError(
                    "all workers of the Dask cluster are gone, and none came back in "
                    f"{self._patience:g} seconds; start some with 'dask worker' and run the same "
                    "command again."
                )
            time.sleep(min(0.1, self._patience))

    def _lost(self) -> ClusterError:
        return ClusterError(
            "the connection to the Dask scheduler was lost; start the cluster and run the same "
            "command again."
        )

    def memory(self) -> float:
        """Memory of all workers in bytes; infinite if they have no limit."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] or inf for worker in workers]
        return float(sum(limits))

    def places(self, futures: Sequence[distributed.Future[Any]]) -> list[tuple[str, ...]]:
        """Tell which workers hold each result; none while it is computed (again)."""
        found = self._client.who_has(list(futures))
        return [tuple(found.get(future.key, ())) for future in futures]

    def submit(
        self, job: Callable[..., Any], *arguments: Any, worker: str | None = None
    ) -> distributed.Future[Any]:
        """Start a job, on a certain worker as long as that is there."""
        where = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
        started: distributed.Future[Any] = self._client.submit(
            job, *arguments, pure=False, retries=2, priority=PRIORITY, **where
        )
        return started

    def slots(self, total: int) -> list[tuple[str, list[int]]]:
        """Share out so many groups, to one job a thread: addresses of workers, and groups."""
        slots = [worker for worker, count in self.threads().items() for _ in range(count)]
        parts = np.array_split(np.arange(total), min(total, len(slots)))
        return [(worker, part.tolist()) for worker, part in zip(slots, parts, strict=False)]

    def keep(self, thing: object) -> distributed.Future[Any]:
        """Bring something to the workers; if it is lost with one, the scheduler sends it again."""
        # Dask warns of large tasks, which the scheduler keeps here on purpose.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            return self.submit(handed_on, thing)

    def total(
        self,
        jobs: Sequence[distributed.Future[Any]],
        total: int,
        heard: Callable[[int, int], None],
    ) -> Floats:
        """Add up what jobs give, along the tree of `block_jobs`.

        Parameters
        ----------
        jobs : sequence of Future
            Of dictionaries of nodes.
        total : int
            Number of groups.
        heard : callable
            Is told how many jobs of how many have ended.
        """
        while len(jobs) > MOST_SUMS:
            jobs = [self.submit(add_sums, total, *jobs[i : i + 2]) for i in range(0, len(jobs), 2)]
        self.wait(jobs, lambda done: heard(done, len(jobs)))
        return add_sums(total, *(self.result(job) for job in jobs))[0, total]

    def send(self, vectors: Floats) -> distributed.Future[Any]:
        """Send vectors to one worker, from which the others get them; they are lost with it."""
        first = next(iter(self.threads()))
        try:
            sent: distributed.Future[Any] = self._client.scatter(
                vectors, workers=[first], hash=False
            )
        except (KeyError, OSError, TimeoutError) as error:
            # The worker went away meanwhile; Dask says so in several ways.
            raise CancelledError(f"the worker at {first} is lost") from error
        return sent

    def wait(
        self, jobs: Iterable[distributed.Future[Any]], heard: Callable[[int], None] | None = None
    ) -> None:
        """Wait until all jobs ended, well or not.

        Parameters
        ----------
        jobs : iterable of Future
        heard : callable, optional
            Is told how many have ended.
        """
        waiting = set(jobs)
        total = len(waiting)
        while waiting:
            try:
                with self._client.as_current():
                    waiting = distributed.wait(  # type: ignore[no-untyped-call]
                        waiting, timeout=POLL, return_when="FIRST_COMPLETED"
                    ).not_done
            except TimeoutError:
                self.threads()
            if heard is not None:
                heard(total - len(waiting))

    def result(self, job: distributed.Future[Any]) -> Any:
        """Wait for a job and take its result, or raise what it raised."""
        while True:
            self.wait([job])
            try:
                return job.result(timeout=TRANSFER)
            except TimeoutError:
                self.threads()

    def persist(self, attempt: Callable[[], Result]) -> Result:
        """Do a piece of work again as long as it fails for nothing but the loss of workers.

        Raises
        ------
        ClusterError
            If a worker dies again and again of the same job, or the cluster is lost.
        """
        for repeat in range(REPEATS):
            try:
                return attempt()
            except KilledWorker as error:
                raise ClusterError(
                    "Dask workers died again and again on the same part of a product, most "
                    "likely for want of memory; give them more, or choose smaller blocks."
                ) from error
            except (CancelledError, CommClosedError, TimeoutError) as error:
                if self._client.status != "running":
                    raise self._lost() from error
                time.sleep(min(1.0, 0.05 * repeat))
        raise ClusterError(
            f"workers of the Dask cluster were lost {REPEATS} times during one product; look "
            "into their logs, most likely they lack memory."
        )

    def in_order(
        self, begin: Callable[[], Result], start: Callable[[Result, int], distributed.Future[Any]],
        total: int,
    ) -> Iterator[Any]:  # fmt: skip
        """Give the results of many jobs in order, with only a few ahead of the one wanted.

        Parameters
        ----------
        begin : callable
            Gives what the jobs need; called again if it was lost.
        start : callable
            Starts the job of a number, given that.
        total : int
            Number of jobs.
        """
        flight: deque[distributed.Future[Any]] = deque()
        ready: list[Result] = []

        def attempt(number: int) -> Any:
            try:
                if not ready:
                    ready.append(begin())
                width = min(2 * sum(self.threads().values()), total - number)
                while len(flight) < width:
                    flight.append(start(ready[0], number + len(flight)))
                return self.result(flight[0])
            except Exception:
                ready.clear()
                flight.clear()
                raise

        for number in range(total):
            result = self.persist(lambda number=number: attempt(number))  # type: ignore[misc]
            flight.popleft()
            yield result
