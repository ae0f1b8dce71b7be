"""The groups of blocks on the workers of a cluster: loaded, found, moved, let go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.config
import distributed
import numpy as np

from contexture.contexts.base import Rows
from contexture.estimators import block_jobs
from contexture.estimators.block_layout import Layout
from contexture.estimators.cluster_jobs import Jobs, Progress

MEMORY_SHARE = 0.4
"""Share of the workers' memory that blocks may take; Dask begins to write to disk at 0.6."""

Key = np.dtype[Any] | None
"""The type in which a group is held; None if it is read for every product."""


class Holders:
    """Which worker has which groups.

    Parameters
    ----------
    jobs : Jobs
    blocks : sequence of csr_array or ndarray
        Of the operator; pickled.
    layout : Layout
    hold : bool or None
        Whether workers hold the rows; by size if None.
    progress : callable
        Hears of the stage "load".
    """

    def __init__(
        self, jobs: Jobs, blocks: Sequence[Rows], layout: Layout, hold: bool | None,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._jobs = jobs
        self._blocks = blocks
        self._layout = layout
        self._hold = hold
        self._progress = progress
        self._source: distributed.Future[Any] | None = None
        self._groups: dict[Key, list[distributed.Future[Any]]] = {}
        self._homes: dict[Key, list[str]] = {}
        self._keys: dict[Any, Key] = {}

    def groups(self, dtype: np.dtype[Any] | None = None) -> list[distributed.Future[Any]]:
        """Give all groups in a type, or, for None, in whichever way they are there.

        What is not there is loaded. Groups of a worker that has too many go to one that came
        later; first those that came to where they are because their worker was lost.
        """
        key = next(iter(self._groups), None) if dtype is None else self._key(dtype)
        threads = self._jobs.threads()
        total = len(self._layout)
        if any(future.status in ("cancelled", "error") for future in self._groups.get(key, ())):
            self._forget(key)
        if key not in self._groups:
            slots = [worker for worker, count in threads.items() for _ in range(count)]
            homes = [slots[number * len(slots) // total] for number in range(total)]
            self._homes[key] = homes
            self._groups[key] = [self._load(key, i, homes[i]) for i in range(total)]
            if key is not None:
                self._jobs.wait(self._groups[key], lambda done: self._progress("load", done, total))
        else:
            self._balance(key, threads)
        return self._groups[key]

    def shares(self, groups: Sequence[distributed.Future[Any]]) -> list[tuple[str, list[int]]]:
        """Share out the work on groups by where they are, to one job a thread, in order."""
        threads = self._jobs.threads()
        workers = list(threads)
        at: dict[str, list[int]] = {}
        for number, places in enumerate(self._jobs.places(groups)):
            spare = workers[number * len(workers) // len(groups)]
            at.setdefault(next((p for p in places if p in threads), spare), []).append(number)
        return [
            (worker, part.tolist())
            for worker, numbers in at.items()
            for part in np.array_split(numbers, min(threads[worker], len(numbers)))
        ]

    def close(self) -> None:
        """Let the workers forget all."""
        for key in list(self._groups):
            self._forget(key)
        self._source = None

    def _forget(self, key: Key) -> None:
        del self._groups[key], self._homes[key]

    def _key(self, dtype: np.dtype[Any]) -> Key:
        if dtype not in self._keys:
            room = MEMORY_SHARE * self._jobs.memory()
            size = self._layout.size(dtype)
            hold = size <= room if self._hold is None else self._hold
            self._keys[dtype] = dtype if hold else None
            held = sum(self._layout.size(key) for key in self._groups if key is not None)
            if hold and held + size > room:
                # No room for both types. That of which nothing is wanted any more goes; were it
                # wanted, it would be loaded again.
                for key in [key for key in self._groups if key is not None]:
                    self._forget(key)
        return self._keys[dtype]

    def _load(self, key: Key, number: int, worker: str) -> distributed.Future[Any]:
        if self._source is None or self._source.status in ("cancelled", "error"):
            self._source = self._jobs.keep(self._blocks)
        # Dask warns of large tasks. The scheduler keeps these, on purpose, to load again.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            return self._jobs.submit(
                block_jobs.load_group, self._source, *self._layout.group(number), key,
                worker=worker,
            )  # fmt: skip

    def _balance(self, key: Key, threads: dict[str, int]) -> None:
        groups, homes = self._groups[key], self._homes[key]
        at = [
            next((p for p in places if p in threads), None) for places in self._jobs.places(groups)
        ]
        load = {worker: at.count(worker) / count for worker, count in threads.items()}
        for number in sorted(range(len(groups)), key=lambda i: homes[i] in threads):
            idle = min(load, key=lambda worker: load[worker])
            place = at[number]
            if place is None or load[idle] + 1 / threads[idle] >= load[place]:
                continue
            groups[number] = self._load(key, number, idle)
            homes[number] = idle
            load[place] -= 1 / threads[place]
            load[idle] += 1 / threads[idle]
