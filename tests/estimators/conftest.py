"""Fixtures of the tests that need Dask workers."""

from __future__ import annotations

from collections.abc import Iterator

import distributed
import pytest

from tests.workers import local_cluster, scale


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    with local_cluster("contexture.estimators.block_jobs") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: distributed.LocalCluster) -> Iterator[distributed.Client]:
    with distributed.Client(cluster, set_as_default=False) as client:
        scale(cluster, client, 2)
        yield client
