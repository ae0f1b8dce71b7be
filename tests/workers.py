"""Dask workers of tests: real processes on loopback, that can be killed and come back soon."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dask
import distributed


@contextmanager
def local_cluster(*preload: str) -> Iterator[distributed.LocalCluster]:
    """Two workers that begin as copies of a process which has imported ``preload``.

    A fresh one needs two seconds for that, and in these tests many are killed.
    """
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        distributed.utils.get_mp_context()
        multiprocessing.get_context("forkserver").set_forkserver_preload(["distributed", *preload])
        with distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit="1GiB",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster:
            yield cluster


def scale(cluster: distributed.LocalCluster, client: distributed.Client, workers: int) -> None:
    """Have that many workers, and wait until they are there."""
    cluster.scale(workers)
    end = time.monotonic() + 30
    while len(client.nthreads()) != workers:
        assert time.monotonic() < end
        time.sleep(0.05)
