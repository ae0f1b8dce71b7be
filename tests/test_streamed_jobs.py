"""Moments of tasks; left functions in a second pass; what is subtracted from targets."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import contexture as cx
from contexture import moments, streamed_jobs
from contexture.contexts import Context, Knn, MaskedKnn, Rbf
from contexture.contexts.redraw import redrawn
from contexture.jobs import fit_context
from contexture.moments import halves_of
from contexture.score_jobs import Scoring
from contexture.store import Store, columns, left
from contexture.store.base import array_of
from contexture.store.features import read_features, read_targets, targets_key, write_features
from contexture.store.left import finish_left, missing_left, take_over
from contexture.store.moments import (
    StoredMoments,
    prepare_moments,
    prepare_tasks,
    stored_shifts,
)
from contexture.store.results import reuse_context
from contexture.store.runs import begin_run, finish_run
from contexture.streamed_jobs import (
    compute_left,
    compute_moments,
    find_shifts,
    fit_draws,
    score_moments,
)
from contexture.task_moments import sum_of, task_columns

ROWS, KEPT, BLOCK = 210, 6, 50


@pytest.fixture
def place(tmp_path: Path) -> tuple[Store, str]:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    frame["y"] = frame["a"] + 1e7 + rng.normal(size=ROWS)
    frame.loc[:60, "y"] = np.nan
    frame["label"] = rng.choice(["u", "v"], ROWS)
    frame["w"] = rng.uniform(1, 2, size=ROWS)
    frame["key"] = [f"r{i}" for i in range(ROWS)]
    frame.to_csv(tmp_path / "c.csv", index=False)
    source = cx.readers.Csv(
        path=str(tmp_path / "c.csv"), id="key", weights="w", targets=("y", "label")
    )
    store = Store.create(str(tmp_path / "store.zarr"))
    return store, write_features(store, source.open(), 64)


def scored(store: Store, features: str, context: Context, draws: int = 1) -> Scoring:
    """All that comes before the left functions; in a run of its own."""
    described = {"name": "t", "targets": ["y", "label"], "contexts": [], "configuration": {}}
    run, key = begin_run(store, described), f"{context.label}-{draws}"
    evidence = fit_draws(store.url, features, context, 0, draws)
    tasks, shifts = targets_key(store, features), find_shifts(store.url, features)
    for block in prepare_moments(store, key, evidence, 70):
        prepare_tasks(store, key, tasks, read_targets(store, features, slice(0, 0)), shifts)
        assert stored_shifts(store, key, tasks) == shifts
        rows = (70 * block, min(70 * block + 70, ROWS))
        compute_moments(
            store.url, features, key, tasks, evidence, shifts, *rows, block, True, True
        )  # fmt: skip
    scoring = Scoring(
        store.url, run, features, key, tasks, "same", context, max_rank=20, rank_kept=KEPT,
        left_functions=True,
    )  # fmt: skip
    return scoring


def stream(scoring: Scoring, most: int | None = None) -> list[int]:
    """Compute missing blocks, some of them or all; where they begin."""
    url, features = scoring.url, scoring.features_key
    evidence = fit_context(url, features, scoring.context, scoring.seed)
    return [
        compute_left(scoring, evidence, rows.start, rows.stop)
        for rows in missing_left(scoring.store, scoring.path)[:most]
    ]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left, "BLOCK_BYTES", BLOCK * 8 * KEPT)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "context",
    [Knn(k=3, reference=60), Rbf(gamma=4, reference=50), MaskedKnn(k=3, n_masks=3, reference=40)],
    ids=lambda c: c.label,
)
def test_left_functions_are_those_of_the_rows(place: tuple[Store, str], context: Context) -> None:
    store, features = place
    scoring = scored(store, features, context)
    score_moments(scoring)
    assert "complete" not in store.group(scoring.path).attrs
    assert stream(scoring) == list(range(0, ROWS, BLOCK))
    finish_left(store, scoring.path)
    data = store.read(scoring.path)
    inputs = read_features(store, features)
    operator = cx.operator_of(inputs, context)
    expected = cx.decompose_operator(operator, 20).left[:, :KEPT]
    found = data["left"].to_numpy()
    assert data["left"].dims == ("sample", "function")
    assert data["sample"].to_numpy().tolist() == inputs.names.tolist()
    assert "left_done" not in data
    assert "left_block" not in data.sizes
    signs = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=0, atol=1e-8)
    # Mean 0 and variance 1 under the weights of the rows.
    np.testing.assert_allclose(inputs.input_weights @ found, 0, atol=1e-10)
    np.testing.assert_allclose(inputs.input_weights @ found**2, 1, atol=1e-10)


@pytest.mark.usefixtures("small_blocks")
def test_left_functions_over_several_draws_are_those_of_the_first(
    place: tuple[Store, str],
) -> None:
    store, features = place
    context, found = Knn(k=3, reference=60), []
    for draws in (1, 3):
        scoring = scored(store, features, context, draws)
        score_moments(scoring)
        stream(scoring)
        found.append(store.read(scoring.path).load())
    one, three = found
    np.testing.assert_array_equal(three["function_value"], one["singular_value"][:KEPT])
    assert abs(three["singular_value"] - one["singular_value"]).max() > 1e-3
    np.testing.assert_allclose(three["left"], one["left"], atol=1e-12)
    weights = read_features(store, features).input_weights
    np.testing.assert_allclose(weights @ three["left"].to_numpy() ** 2, 1, atol=1e-10)


@pytest.mark.usefixtures("small_blocks")
def test_the_reader_is_told_what_settles_the_signs(place: tuple[Store, str]) -> None:
    store, features = place
    scoring = scored(store, features, Rbf(gamma=4, reference=50))
    score_moments(scoring)
    stream(scoring)
    data = store.read(scoring.path)
    right = data["right"].to_numpy()
    assert (right.max(axis=0) > -right.min(axis=0)).all()
    assert data["left"].attrs["signs"] == streamed_jobs.SIGNS_OF_RIGHT
    assert data["left"].attrs["long_name"]


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_pass_goes_on_in_the_next_run(place: tuple[Store, str]) -> None:
    store, features = place
    context = Knn(k=3, reference=60)
    first = scored(store, features, context)
    score_moments(first)
    assert stream(first, most=2) == [0, 50]
    second = scored(store, features, context)
    # The first is not known to be dead yet: nothing is taken from it.
    assert not take_over(store, second.run, context.label, "same")
    finish_run(store, first.run, "interrupted", {})
    assert not reuse_context(store, second.run, context.label, "same", {})
    assert not take_over(store, second.run, context.label, "another")
    assert take_over(store, second.run, context.label, "same")
    assert store.find(first.path) is None
    assert store.group(second.path).attrs["taken_from"] == first.run
    assert store.find(f"runs/{second.run}/tasks/y/{context.label}") is not None
    assert stream(second) == [100, 150, 200]
    finish_left(store, second.path)
    # The same as in one go; and a third run copies it, piece by piece.
    values = store.read(second.path)["left"].to_numpy()
    third = scored(store, features, context)
    assert reuse_context(store, third.run, context.label, "same", {})
    copied = store.read(third.path)
    np.testing.assert_array_equal(copied["left"], values)
    assert copied["left"].attrs == store.read(second.path)["left"].attrs
    assert np.isfinite(values).all()
    fresh = scored(store, features, context)
    score_moments(fresh)
    stream(fresh)
    np.testing.assert_array_equal(store.read(fresh.path)["left"], values)
    # What is whole is not moved.
    assert not take_over(store, third.run, context.label, "same")


def test_nothing_follows_where_nothing_is_wanted(place: tuple[Store, str]) -> None:
    store, features = place
    scoring = scored(store, features, Knn(k=3, reference=60))
    without = Scoring(**{**vars(scoring), "left_functions": False})
    score_moments(without)
    assert store.group(without.path).attrs["complete"]
    assert missing_left(store, without.path) == []
    assert "left" not in store.read(without.path)


def test_shifts_are_near_the_middle(
    place: tuple[Store, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a whole chunk holds no value."""
    store, features = place
    monkeypatch.setattr("contexture.streamed_jobs.COLUMN_ROWS", 30)
    shift, of_class = find_shifts(store.url, features)
    assert shift == pytest.approx(1e7, abs=2)
    assert of_class == 0
    assert columns.COLUMN_ROWS > ROWS
    assert stored_shifts(store, "none", "none") is None


def many_classes(tmp_path: Path, rows: int, classes: int) -> tuple[Store, str]:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    frame["label"] = [f"c{code}" for code in rng.integers(0, classes, rows)]
    frame.loc[::9, "label"] = None
    frame.to_csv(tmp_path / "many.csv", index=False)
    source = cx.readers.Csv(path=str(tmp_path / "many.csv"), targets=("label",))
    store = Store.create(str(tmp_path / "many.zarr"))
    return store, write_features(store, source.open(), 4096)


def moments_of(
    store: Store, features: str, key: str, context: Context, tasks_wanted: bool = True
) -> StoredMoments:
    """Moments over two draws, in one block."""
    evidence = fit_draws(store.url, features, context, 0, 2)
    rows = evidence[0].shape[0]
    prepare_moments(store, key, evidence, rows)
    prepare_tasks(store, key, "t", read_targets(store, features, slice(0, 0)), [0.0])
    compute_moments(
        store.url, features, key, "t", evidence, [0.0], 0, rows, 0, True, tasks_wanted
    )  # fmt: skip
    return StoredMoments(store, key)


@pytest.mark.parametrize(
    "context", [Knn(fraction=0.1, reference=30), Rbf(gamma=1, reference=30)], ids=lambda c: c.label
)
def test_windows_and_tiles_change_nothing(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of tasks are those of whole columns, wherever they are cut."""
    rows, classes = 400, 25
    store, features = many_classes(tmp_path, rows, classes)
    whole = moments_of(store, features, "whole", context)
    monkeypatch.setattr(streamed_jobs, "WINDOW_BYTES", 8 * 3 * 70)
    monkeypatch.setattr(moments, "TILE_BYTES", 8 * 30 * 32)
    pieces = moments_of(store, features, "pieces", context)
    data = read_features(store, features)
    columns = task_columns(read_targets(store, features)[0]).toarray()
    first = context.fit(data, 0)
    for draw in range(2):
        P = redrawn(first, data.X, data.ids, 0, draw).rows(0, rows)
        cross = np.asarray(P.T @ columns)
        for found in (whole, pieces):
            halves = found.tasks("t", 0, draw)
            assert len(halves) == 2
            for sums, half in zip(halves, halves_of(slice(0, rows)), strict=True):
                np.testing.assert_allclose(sums.cross, P[half].T @ columns[half], atol=1e-11)
                np.testing.assert_array_equal(sums.total, columns[half].sum(axis=0))
                np.testing.assert_array_equal(sums.square, columns[half].sum(axis=0))
            sums = sum_of(halves)
            np.testing.assert_allclose(sums.cross, cross, rtol=0, atol=1e-11)
            np.testing.assert_array_equal(sums.total, columns.sum(axis=0))
            np.testing.assert_array_equal(
                found.masses, [h.sum() for h in halves_of(slice(0, rows))]
            )
    np.testing.assert_allclose(pieces.marginals(1), whole.marginals(1), atol=1e-11)
    # Where tasks are not wanted, nothing is written of them.
    alone = moments_of(store, features, "alone", context, tasks_wanted=False)
    assert alone.draws == 2
    assert not np.asarray(array_of(store.group("operators/alone/tasks-t"), "done")[:]).any()


def test_a_window_holds_features_and_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.arange(60.0).reshape(20, 3)
    evidence = Rbf(gamma=1).fit(cx.Features.from_array(X), 0)
    monkeypatch.setattr(streamed_jobs, "WINDOW_BYTES", 8 * 3 * 10)
    assert list(streamed_jobs._windows(evidence, 5, 20)) == [(5, 15), (15, 20)]
    assert list(streamed_jobs._windows(evidence, 5, 20, 2))[0] == (5, 11)


def test_memory_does_not_grow_with_rows_and_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns of all rows × classes would be 61 MiB."""
    rows, classes = 20_000, 400
    store, features = many_classes(tmp_path, rows, classes)
    context = Knn(k=3, reference=30)
    monkeypatch.setattr(streamed_jobs, "WINDOW_BYTES", 2**20)
    monkeypatch.setattr(moments, "TILE_BYTES", 2**18)
    moments_of(store, features, "first", context)  # what is compiled and opened once
    evidence = fit_draws(store.url, features, context, 0, 2)
    tracemalloc.start()
    try:
        compute_moments(
            store.url, features, "first", "t", evidence, [0.0], 0, rows, 0, True, True
        )  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * 2**20
