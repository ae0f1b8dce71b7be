"""The groups of blocks on workers: what is held, what is lost with one, what makes way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import distributed
import numpy as np
import pytest

from contexture.estimators.block_layout import Layout
from contexture.estimators.distributed import DistributedProducts
from contexture.operator import ExpectationOperator
from tests.estimators.blocks import Made, blocked, sparse_operator, vectors

pytestmark = pytest.mark.xdist_group("prefect")


def test_a_killed_worker_costs_its_blocks_only(client: distributed.Client, tmp_path: Path) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    watched = operator.blocks
    V = vectors(operator, np.float64)
    with DistributedProducts(client, operator, hold=True, groups=10) as products:
        watched.counts()
        expected = products.gram(V)
        assert watched.counts() == [1] * 10
        products.gram(V)
        assert watched.counts() == [0] * 10
        places = products._jobs.places(products._holders.groups(V.dtype))
        (victim,) = places[0]
        pids = client.run(os.getpid)
        os.kill(pids[victim], signal.SIGKILL)
        for _ in range(3):
            np.testing.assert_array_equal(products.gram(V), expected)
        client.wait_for_workers(2, timeout=30)
        for _ in range(3):
            np.testing.assert_array_equal(products.gram(V), expected)
        read = watched.counts()
        lost = [place == (victim,) for place in places]
        assert sum(lost) == 5
        assert all(bool(count) == gone for count, gone in zip(read, lost, strict=True))


def test_blocks_are_held_where_there_is_room(client: distributed.Client) -> None:
    limit = 2 * 2**30 * 0.4

    def held(n: int, hold: bool | None = None) -> list[object]:
        made = Made(n // 1000, 1000, 1000)
        operator = ExpectationOperator(made, np.full(n, 1 / n), np.full(1000, 1e-3))
        with DistributedProducts(client, operator, hold=hold) as products:
            return [products._holders._key(np.dtype(t)) for t in ("f4", "f8")]

    assert limit / 4 > 200_000 * 1000 > limit / 8
    assert held(10_000) == [np.float32, np.float64]
    assert held(200_000) == [np.float32, None]
    assert held(300_000) == [None, None]
    assert held(300_000, hold=True) == [np.float32, np.float64]
    assert held(10_000, hold=False) == [None, None]


def test_the_other_type_makes_way(
    client: distributed.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    watched = operator.blocks
    size = Layout.of(operator).size
    room = size(np.dtype("f8")) + 1
    monkeypatch.setattr("contexture.estimators.cluster_jobs.Jobs.memory", lambda self: room / 0.4)
    with DistributedProducts(client, operator) as products:
        watched.counts()
        for dtype in (np.float32, np.float32, np.float64):
            products.gram(vectors(operator, dtype))
        assert watched.counts() == [2] * 10
        assert list(products._holders._groups) == [np.float64]
        products.gram(vectors(operator, np.float32))
        assert watched.counts() == [1] * 10
