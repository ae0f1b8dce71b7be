from __future__ import annotations

import logging
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import zarr
from threadpoolctl import threadpool_limits

import contexture as cx
from contexture.contexts import Features, Knn, MaskedKnn, knn, neighbours, recall
from contexture.contexts.neighbours import approximate_neighbours
from contexture.contexts.recall import Neighbours, compare, pooled
from contexture.contexts.search import nearest
from contexture.errors import ContextError
from tests.contexts.contract import dense, points, some_features

N, K = 2500, 20


@cache
def rows() -> np.ndarray:
    """Clusters that touch, with a few rows twice."""
    generator = np.random.default_rng(2)
    X = generator.normal(size=(8, 6))[generator.integers(0, 8, N)] * 1.5
    X += generator.normal(size=(N, 6))
    X[10:15] = X[5]
    return X


@cache
def exact(include: bool = True) -> np.ndarray:
    return nearest(rows(), rows(), K, np.arange(N), include)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put near misses in the place of the real search, which takes half a minute to compile."""
    graph = nearest(rows(), rows(), K + 2, np.arange(N), True).astype(np.int32)
    monkeypatch.setattr(neighbours, "_descend", lambda *_: np.delete(graph, K - 3, axis=1))


def test_descent() -> None:
    """One test, so that the search is compiled in one process only."""
    features = Features.from_array(rows())
    scores = []
    for include in (True, False):
        found = approximate_neighbours(rows(), K, 4, include)
        assert found.positions.shape == (N, K)
        assert found.positions.dtype == np.int32
        assert 0.99 < found.recall <= 1
        assert 0 <= found.recall_standard_error < 0.01
        assert 1 <= found.distance_ratio_mean < 1.001
        assert found.distance_ratio_mean <= found.distance_ratio_max < 1.1
        assert found.sample == 1000
        assert not found.doubt
        same = (found.positions == exact(include)).all(axis=1)
        assert same.mean() > 0.9
        # Where the same are found they stand in the same order: exact distances, ties by row.
        alike = (np.sort(found.positions) == np.sort(exact(include))).all(axis=1)
        np.testing.assert_array_equal(same, alike)
        own = found.positions == np.arange(N)[:, None]
        assert own[:, 0].all() == include
        assert not own[:, 1:].any()
    again = approximate_neighbours(rows(), K, 4, False)
    np.testing.assert_array_equal(again.positions, found.positions)
    assert again.details == found.details
    with threadpool_limits(1):
        for search in ("exact", "approximate"):
            context = Knn(k=K, search=search)  # type: ignore[arg-type]
            assert context.approximates(N) is (search == "approximate")
            evidence = context.fit(features, 4)
            assert ("recall" in evidence.details) is (search == "approximate")
            operator = cx.ExpectationOperator.from_evidence(evidence)
            spectrum = cx.decompose_operator(operator, 128)
            scores.append(cx.scores.usefulness(spectrum, max_rank=128).value)
    assert abs(scores[0] - scores[1]) <= 0.01


def test_far_neighbours_are_noticed() -> None:
    generator = np.random.default_rng(0)
    positions = exact().copy()
    wrong = generator.uniform(size=positions.shape) < 0.05
    wrong[:, 0] = False
    positions[wrong] = generator.integers(0, N, wrong.sum())
    found = compare(rows(), positions, 0, True)
    assert found.recall == pytest.approx(0.95, abs=0.02)
    assert found.distance_ratio_mean > 1.05
    assert found.doubt.startswith("of the exact neighbours 9")
    assert found.doubt.endswith(
        "times as far as the exact ones: far neighbours weaken the association; set search to "
        "'exact', or give the context a reference."
    )


def test_near_misses_are_harmless() -> None:
    further = nearest(rows(), rows(), K + 1, np.arange(N), True)
    missed = further[:, [*range(K - 1), K]]  # the next one instead of the last one
    found = compare(rows(), missed, 0, True)
    assert found.recall == pytest.approx(1 - 1 / (K - 1), abs=0.005)
    assert found.distance_ratio_mean < 1.01


def test_exact_neighbours_compare_to_one() -> None:
    found = compare(rows(), exact(), 1, True, sample=300)
    assert (found.recall, found.recall_standard_error) == (1, 0)
    assert (found.distance_ratio_mean, found.distance_ratio_max, found.sample) == (1, 1, 300)


def test_any_of_equal_neighbours_is_right() -> None:
    X = np.random.default_rng(1).integers(0, 3, size=(N, 2)).astype(float)
    positions = exact_among(X, K + 5)[:, [0, *range(6, K + 5)]]
    found = compare(X, positions, 1, True)
    assert found.recall == 1
    assert found.distance_ratio_max == 1


def exact_among(X: np.ndarray, k: int) -> np.ndarray:
    return nearest(X, X, k, np.arange(len(X)), True)


def test_missing_neighbours_are_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = np.concatenate([exact(), exact()[:, -1:]], axis=1).astype(np.int32)
    graph[:, -1] = -1
    graph[7, 3:] = -1  # too few
    graph[8, 0] = -1  # the row itself was not found
    graph[9] = graph[9][::-1]
    monkeypatch.setattr(neighbours, "_descend", lambda *_: graph)
    found = approximate_neighbours(rows(), K, 0, True)
    np.testing.assert_array_equal(found.positions, exact())
    assert found.recall == 1


def test_doubtful_neighbours_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graph = np.random.default_rng(0).permuted(np.tile(np.arange(N), (N, 1)), axis=1)[:, : K + 1]
    monkeypatch.setattr(neighbours, "_descend", lambda *_: graph.astype(np.int32))
    with caplog.at_level(logging.WARNING):
        found = approximate_neighbours(rows(), K, 0, True)
    assert caplog.messages == [found.doubt]
    assert found.recall < 0.1


def test_few_rows_are_searched_exactly() -> None:
    X = points(150)
    found = approximate_neighbours(X, 7, 0, False)
    np.testing.assert_array_equal(found.positions, nearest(X, X, 7, np.arange(150), False))
    assert (found.recall, found.distance_ratio_max, found.sample) == (1, 1, 150)


def test_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynndescent", None)
    with pytest.raises(ContextError) as caught:
        Knn(k=K, search="approximate").fit(Features.from_array(rows()))
    assert str(caught.value) == (
        "approximate neighbours need the package pynndescent: install it by `pip install "
        "'contexture[scale]'`, or set search to 'exact', or give the context a reference."
    )


def test_when_it_is_approximate(monkeypatch: pytest.MonkeyPatch) -> None:
    large = 10**6
    assert Knn(k=5).approximates(large)
    assert not Knn(k=5).approximates(100_000)
    assert not Knn(k=5, search="exact").approximates(large)
    assert not Knn(k=5, reference=5000).approximates(large)
    assert not Knn(k=5, reference=5000, search="approximate").approximates(large)
    assert Knn(k=5, reference=large).approximates(large)
    assert Knn(k=5, search="approximate").approximates(2001)
    assert not Knn(k=5, search="approximate").approximates(2000)
    assert not Knn(k=600, search="approximate").approximates(2400)
    assert Knn(k=5).draws(large)
    assert not Knn(k=5).draws(100_000)
    assert Knn(k=5).extent(large, 4).row_work < Knn(k=5, search="exact").extent(large, 4).row_work


def test_identity_tells_the_search_only_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    features = some_features()
    few = {Knn(k=5, search=s).identity(features, 0) for s in ("auto", "exact", "approximate")}
    assert len(few) == 1
    monkeypatch.setattr(knn, "ALWAYS_EXACT", 20)
    auto, sure, about = (
        Knn(k=5, search=s).identity(features, 0) for s in ("auto", "exact", "approximate")
    )
    assert auto == sure != about
    assert Knn(k=5, search="approximate").identity(features, 1) != about
    monkeypatch.setattr(knn, "EXACT_UP_TO", 40)
    assert Knn(k=5).identity(features, 0) == about


def test_names_tell_the_search() -> None:
    names = [Knn(k=3, search=s).label for s in ("auto", "exact", "approximate")]
    assert names == ["knn-3", "knn-3-exact", "knn-3-approximate"]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("stored", [False, True])
def test_rows_from_neighbours_found_before(stored: bool) -> None:
    features = Features.from_array(rows())
    context = Knn(k=K, search="approximate")
    found = context.find_neighbours(features, 4)
    assert 0.9 < found.recall < 1
    kept: np.ndarray | zarr.Array = found.positions
    if stored:
        kept = zarr.create_array({}, shape=(N, K), chunks=(1000, K), dtype="int32")
        kept[:] = found.positions
    evidence = context.fit_found(features, kept, found.details)
    block = evidence.rows(990, 1030).toarray()
    expected = np.zeros((40, N))
    np.put_along_axis(expected, found.positions[990:1030].astype(np.int64), 1 / K, axis=1)
    np.testing.assert_array_equal(block, expected)
    assert evidence.details == {"k": K, **found.details}
    assert all(isinstance(v, int | float) for v in evidence.details.values())


def test_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    # The search is exact for so few rows: only how masks are put together is tested.
    monkeypatch.setattr(knn, "ALWAYS_EXACT", 20)
    features = some_features(points(60, 5))
    for k in (3, 12):  # fewer and more neighbours than rows, over all masks
        context = MaskedKnn(k=k, n_masks=6, search="approximate", hidden=0.4)
        sure = context.model_copy(update={"search": "exact"}).fit(features, 2)
        evidence = context.fit(features, 2)
        assert evidence.details["recall"] == 1
        np.testing.assert_allclose(dense(evidence, 7), dense(sure), rtol=0, atol=1e-15)


def test_every_mask_is_compared_on_rows_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def exactly(X: np.ndarray, rows: np.ndarray, k: int, include_self: bool) -> np.ndarray:
        seen.append(tuple(rows))
        return recall.nearest(X[rows], X, k, rows, include_self)

    monkeypatch.setattr(recall, "exactly", exactly)
    X = points(300, 4)
    lists = recall.nearest(X, X, 5, np.arange(300), True)
    for mask in (0, 1, 1, 2):
        compare(X, lists, 7, True, 20, mask)
    assert seen[1] == seen[2]
    assert len(set(seen)) == 3


def test_pooled() -> None:
    one = Neighbours(np.zeros((3, 2), dtype=np.int32), 1.0, 0.3, 1.0, 1.0, 1000)
    two = replace(one, recall=0.5, recall_standard_error=0.4, distance_ratio_max=3.0)
    both = pooled(one.positions, [one, two])
    assert both.recall == 0.75
    assert both.recall_standard_error == pytest.approx(0.25)
    assert both.distance_ratio_max == 3
    assert both.sample == 2000
