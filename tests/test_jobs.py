"""Operators computed, resumed and scored with and without a stored order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import distributed
import numpy as np
import pandas as pd
import pytest

import contexture as cx
from contexture.contexts import Context, Graph, Knn
from contexture.contexts.knn import KnnFields
from contexture.errors import ContextError
from contexture.jobs import compute_block, find_neighbours, find_order, fit_context
from contexture.order import OrderedRows, in_order
from contexture.score_jobs import Scoring, compute_scores
from contexture.store import Store
from contexture.store.features import read_features, write_features
from contexture.store.neighbours import neighbours_key, read_neighbours, write_neighbours
from contexture.store.operators import prepare_operator
from contexture.store.runs import begin_run

ROWS, RANK = 2100, 6
pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str, Path]:
    """A store with rows in 30 groups, a run, and a graph among them."""
    folder = tmp_path_factory.mktemp("jobs")
    rng = np.random.default_rng(0)
    group = rng.integers(0, 30, ROWS)
    X = 4 * rng.normal(size=(30, 3))[group] + rng.normal(size=(ROWS, 3))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["y"], frame["key"] = X[:, 0] + rng.normal(size=ROWS), [f"r{i}" for i in range(ROWS)]
    frame.to_csv(folder / "corpus.csv", index=False)
    corpus = cx.readers.Csv(path=str(folder / "corpus.csv"), id="key", targets=("y",)).open()
    store = Store.create(str(folder / "store.zarr"))
    key = write_features(store, corpus, 500)
    targets = {"name": "t", "targets": ["y"], "contexts": [], "configuration": {}}
    run = begin_run(store, targets)
    u = np.repeat(np.arange(ROWS), 6)
    v = rng.permutation(ROWS)[np.argsort(group, kind="stable")][rng.integers(0, ROWS, len(u))]
    members = [np.flatnonzero(group == g) for g in range(30)]
    near = np.array([rng.choice(members[group[i]]) for i in u])
    v = np.where(rng.uniform(size=len(u)) < 0.9, near, v)
    names = frame["key"].to_numpy()
    edges = pd.DataFrame({"source": names[u], "target": names[v]})
    edges.to_csv(folder / "edges.csv", index=False)
    return store, key, run, folder


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def stored(store: Store, features: str, context: Context, key: str, ordered: bool) -> str:
    """As the flow does: half of the blocks, and after a kill, the others."""
    for _ in ("begun", "resumed"):
        found = None
        if isinstance(context, KnnFields):
            found = find_neighbours(store.url, features, context, 0, ordered)
        rows = fit_context(store.url, features, context, 0, found, key)
        if ordered and not isinstance(rows, OrderedRows):
            rows = in_order(rows, find_order(store.url, features, context, 0))
        missing = prepare_operator(store, key, rows, 300)
        again = fit_context(store.url, features, context, 0, found, key)
        assert isinstance(again, OrderedRows) == ordered
        for block in missing[: 3 if len(missing) == 7 else None]:
            compute_block(store.url, key, again, block)
    assert len(missing) == 4
    return key


def test_scores_are_the_same_with_an_order_on_one_worker_and_on_two(
    place: tuple[Store, str, str, Path], client: distributed.Client
) -> None:
    store, features, run, folder = place
    knn, graph = Knn(k=8, search="approximate"), Graph(path=str(folder / "edges.csv"))
    # A search by descent would be compiled first; these are the same lists.
    lists = Knn(k=8, search="exact").fit(read_features(store, features)).nearest(0, ROWS)
    plain = neighbours_key(knn, read_features(store, features), 0)
    write_neighbours(store, plain, lists.astype(np.int32), {})
    for context in (knn, graph):
        found = {}
        for ordered, workers in ((False, None), (True, client if context is graph else None)):
            identity = context.identity(read_features(store, features), 0)
            key = f"{identity}-{ordered}"
            stored(store, features, context, key, ordered)
            named = context.model_copy(update={"name": key})
            scoring = Scoring(
                store.url, run, features, key, "", f"{named.name}", named,
                max_rank=RANK, rank_kept=5, tolerance=1e-12,
            )  # fmt: skip
            path = compute_scores(scoring, workers)
            data = store.read(path).load()
            task = store.read(f"runs/{run}/tasks/y/{named.name}").load()
            found[ordered] = data, task
        (data, task), (other, of_task) = found[False], found[True]
        assert "block Lanczos" in other.attrs["method"]
        np.testing.assert_array_equal(other["sample"], data["sample"])
        np.testing.assert_array_equal(other["context_value"], data["context_value"])
        for name in (
            "singular_value", "usefulness", "kernel_deviation", "lipschitz", "components",
            "total_association",
        ):  # fmt: skip
            np.testing.assert_allclose(other[name], data[name], rtol=0, atol=1e-10)
        for name in ("left", "right", "standard_error"):
            np.testing.assert_allclose(other[name], data[name], rtol=0, atol=1e-4)
        assert float(of_task["compatibility"]) == pytest.approx(float(task["compatibility"]))


def test_a_file_that_changes_while_it_is_read_is_refused(
    place: tuple[Store, str, str, Path], tmp_path: Path
) -> None:
    """Under the key of the old content there must be nothing of the new one."""
    store, key, _, folder = place
    edges = tmp_path / "edges.csv"
    edges.write_bytes((folder / "edges.csv").read_bytes())
    graph = Graph(path=str(edges))
    operator = f"{graph.identity(read_features(store, key), 0)}-300"
    fit_context(store.url, key, graph, 0, None, operator)
    frame = pd.read_csv(edges)
    frame.iloc[::-1].to_csv(edges, index=False)
    with pytest.raises(ContextError) as caught:
        fit_context(store.url, key, graph, 0, None, operator)
    assert str(caught.value) == (
        "context 'graph-edges': its file changed while it was being read; let it be written "
        "first, and run the audit again."
    )


def test_neighbours_found_before_there_was_an_order_are_not_searched_again(
    place: tuple[Store, str, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key, _, _ = place
    context, features = Knn(k=5, search="approximate"), read_features(store, key)
    plain = neighbours_key(context, features, 3)
    lists = np.random.default_rng(0).integers(0, ROWS, size=(ROWS, 5)).astype(np.int32)
    write_neighbours(store, plain, lists, {"recall": 0.5})
    found = find_neighbours(store.url, key, context, 3, True)
    assert found != plain
    positions, details, order = read_neighbours(store, found)
    assert order is not None
    assert details == {"recall": 0.5}
    np.testing.assert_array_equal(order.columns[positions[:]], lists[order.rows])
    rows = fit_context(store.url, key, context, 3, found)
    whole = fit_context(store.url, key, context, 3, plain)
    P, Q = (each.rows(0, ROWS).toarray() for each in (whole, rows))
    np.testing.assert_array_equal(Q, P[order.rows][:, order.columns])
    assert find_neighbours(store.url, key, context, 3, True) == found
    assert read_neighbours(store, plain)[2] is None


def test_a_scoring_is_a_value() -> None:
    scoring = Scoring("s", "r", "f", "o", "t", "k", Knn(k=3))
    assert scoring.path == "runs/r/contexts/knn-3"
    assert scoring == dataclasses.replace(scoring)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scoring.run = "x"  # type: ignore[misc]
