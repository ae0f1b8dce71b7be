"""Jobs on a cluster whose workers die, all of them or again and again, or whose scheduler does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import distributed
import numpy as np
import pytest

from contexture.errors import ClusterError
from contexture.estimators.distributed import DistributedProducts
from tests.estimators.blocks import OPERATORS, blocked, near, sparse_operator, vectors, whole

pytestmark = pytest.mark.xdist_group("prefect")


def test_vectors_lost_with_a_worker(client: distributed.Client, tmp_path: Path) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    V = vectors(operator, np.float64)
    # One group: its worker dies, and is the only one that has the vectors.
    with DistributedProducts(client, operator, hold=False, groups=1) as products:
        expected = products.gram(V)
        rows = whole(products, V)
        (tmp_path / "deadly").write_text("1")
        np.testing.assert_array_equal(products.gram(V), expected)
        assert not (tmp_path / "deadly").exists()
        (tmp_path / "deadly").write_text("1")
        np.testing.assert_array_equal(whole(products, V), rows)
        assert not (tmp_path / "deadly").exists()


def test_all_workers_die_and_come_back(client: distributed.Client) -> None:
    operator = OPERATORS["sparse"]
    V = vectors(operator, np.float64)
    with DistributedProducts(client, operator, hold=True) as products:
        expected = products.gram(V)
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)
        np.testing.assert_array_equal(products.gram(V), expected)


def test_a_block_that_kills_every_worker(
    cluster: distributed.LocalCluster, client: distributed.Client, tmp_path: Path
) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    before, cluster.scheduler.allowed_failures = cluster.scheduler.allowed_failures, 0
    try:
        with DistributedProducts(client, operator, hold=True, groups=1) as products:
            (tmp_path / "deadly").write_text("1")
            with pytest.raises(ClusterError) as caught:
                products.gram(vectors(operator, np.float64))
            assert str(caught.value) == (
                "Dask workers died again and again on the same part of a product, most likely "
                "for want of memory; give them more, or choose smaller blocks."
            )
            # What failed is not remembered.
            products.gram(vectors(operator, np.float64))
    finally:
        cluster.scheduler.allowed_failures = before


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    line = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
    line += ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_cluster_by_address(tmp_path: Path) -> None:
    operator = OPERATORS["sparse"]
    M = operator.normalised()
    V = vectors(operator, np.float64)
    place = tmp_path / "scheduler.json"
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            command("scheduler", "--port", "0", "--scheduler-file", str(place))
        )
        join = ["worker", "--scheduler-file", str(place), "--no-nanny", "--nthreads", "2"]
        worker = stack.enter_context(command(*join))
        end = time.monotonic() + 30
        while not place.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        client = stack.enter_context(
            distributed.Client(scheduler_file=str(place), set_as_default=False, timeout=5)
        )
        client.wait_for_workers(1, timeout=30)
        products = DistributedProducts(client, operator, patience=0.2)
        expected = products.gram(V)
        near(expected, M.T @ (M @ V), np.float64)
        worker.kill()
        worker.wait()
        with pytest.raises(ClusterError) as caught:
            products.gram(V)
        assert str(caught.value) == (
            "all workers of the Dask cluster are gone, and none came back in 0.2 seconds; start "
            "some with 'dask worker' and run the same command again."
        )
        scheduler.kill()
        scheduler.wait()
        with pytest.raises(ClusterError) as caught:
            products.gram(V)
        assert str(caught.value) == (
            "the connection to the Dask scheduler was lost; start the cluster and run the same "
            "command again."
        )
