"""What comes before the blocks is part of the plan."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contexture.contexts import Counts, Features, Graph, Knn, MaskedKnn, MaskedRbf, Rbf
from contexture.contexts.base import Context, Extent
from contexture.contexts.neighbours import EXACT_UP_TO
from contexture.errors import TooLargeError
from contexture.estimators.machine import Machine
from contexture.estimators.options import Estimation
from contexture.estimators.plan import ContextPlan, plan_context
from contexture.estimators.preparation import (
    evidence_bytes,
    known_before,
    order_bytes,
    search_bytes,
)
from contexture.estimators.room import require_room

GIB = 2**30
N = 10**6


def plan(context: Context, n: int, room: int | None = None, **options: object) -> ContextPlan:
    machine = None if room is None else Machine(Machine(0).memory_for(room))
    return plan_context(context, n, 16, estimation=Estimation(**options), machine=machine)


def test_what_is_known_before_has_an_order() -> None:
    assert known_before(Graph.model_construct(kind="graph"), 10)
    assert known_before(Counts.model_construct(kind="counts"), 10)
    assert not known_before(Rbf(gamma=1), N)
    assert plan(Knn(k=30), EXACT_UP_TO + 1).ordered
    assert not plan(Knn(k=30), EXACT_UP_TO).ordered
    assert not plan(Knn(k=30), EXACT_UP_TO + 1, route="exact").ordered
    assert not plan(Knn(k=30, search="exact"), N).ordered
    assert plan(Knn(k=30), N, route="distributed").ordered
    needed = order_bytes(Knn(k=30), Extent(N, N, 30 * N, True, 1.0))
    assert plan(Knn(k=30), N, needed, route="distributed").ordered
    assert not plan(Knn(k=30), N, needed - 1, route="distributed").ordered
    extent = Extent(N, 1000, 10**7, True, 1.0)
    assert order_bytes(Counts.model_construct(kind="counts"), extent) == 92 * 10**7


def test_a_search_is_part_of_the_memory() -> None:
    assert search_bytes(Knn(k=30), EXACT_UP_TO, 16) == 0
    assert search_bytes(Rbf(gamma=1), N, 16) == 0
    # Measured: 1040 bytes a row beside X; among 60 000 rows 454 for 10 neighbours.
    assert 1 <= search_bytes(Knn(k=30), N, 16) / (N * (1040 + 8 * 16)) < 1.05
    assert 1 <= search_bytes(Knn(k=10), N, 16) / (N * (454 + 8 * 16)) < 1.2
    assert plan(Knn(k=30), N, route="distributed").memory_bytes >= search_bytes(Knn(k=30), N, 16)


def test_a_search_for_every_mask_is_bounded_before_it_begins() -> None:
    """Lists of all masks are held at once."""
    few, many = (MaskedKnn(k=30, n_masks=masks) for masks in (5, 50))
    assert search_bytes(few, EXACT_UP_TO, 16) == 0
    grown = search_bytes(many, N, 16) - search_bytes(few, N, 16)
    assert grown == N * 4 * 30 * 45
    found = plan(many, N, route="distributed")
    assert found.memory_bytes >= found.search_bytes > 7 * 10**9
    unordered = plan(many, N, found.search_bytes, route="distributed")
    require_room([unordered], Machine(Machine(0).memory_for(unordered.memory_bytes)))
    with pytest.raises(TooLargeError) as caught:
        require_room([unordered], Machine(4 * GIB))
    assert str(caught.value).endswith(
        "choose fewer masks, give the context a 'reference' of a few thousand rows with a "
        "'fraction' instead of k or give the workers more memory, 9.6 GiB for each thread."
    )


def peak_of(work: Callable[[], object]) -> int:
    """Bytes held at most, beside what was there before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "context",
    [
        Knn(k=3),
        Knn(k=3, reference=9000),
        MaskedKnn(k=3, n_masks=3, hidden=0.01),
        Rbf(gamma=1, scale="absolute"),
        MaskedRbf(gamma=1, scale="absolute", n_masks=3, hidden=0.01),
    ],
    ids=str,
)
def test_evidence_is_bounded(context: Context) -> None:
    n, D = 20_000, 100
    X = np.random.default_rng(0).normal(size=(n, D))
    features = Features(X, np.arange(n), np.broadcast_to(1 / n, (n,)), "bounded")
    context.fit(features).rows(0, 2)  # compiled before it is measured
    peak = peak_of(lambda: context.fit(features).rows(0, 2))
    planned = evidence_bytes(context, context.extent(n, D), D)
    # Beside it there are numbers of rows, and what one tile or one draw takes.
    assert 0.9 * planned < peak < planned + 12 * 2**20


@pytest.mark.parametrize("name", ["edges.csv", "edges.parquet"])
@pytest.mark.parametrize("kind", ["graph", "directed", "counts"])
def test_tables_are_bounded_while_they_are_read(tmp_path: Path, name: str, kind: str) -> None:
    n, edges = 5000, 100_000
    rng = np.random.default_rng(0)
    u = np.concatenate([np.arange(n), rng.integers(0, n, edges - n)])
    frame = pd.DataFrame({"x": u, "a": rng.integers(0, n, edges)}).astype(str)
    frame = ("some-node-" + frame).assign(count=1.5)
    path = tmp_path / name
    if name.endswith("csv"):
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    more = {"source": "x", "target": "a", "weight": "count", "directed": kind == "directed"}
    context: Context = Counts(path=str(path)) if kind == "counts" else Graph(path=str(path), **more)
    ids = np.array([f"some-node-{i}" for i in range(n)])
    features = Features(np.zeros((n, 1)), ids, np.broadcast_to(1 / n, (n,)), "tables")
    context.fit(features)
    planned = evidence_bytes(context, context.extent(n, 1), 1)
    assert 0.3 * planned < peak_of(lambda: context.fit(features)) < planned + 4 * 2**20
