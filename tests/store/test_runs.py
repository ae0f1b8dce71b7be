from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import contexture as cx
from contexture.contexts import Knn
from contexture.errors import StoreError
from contexture.store import Store, open_store, run_table
from contexture.store.left import take_over
from contexture.store.naming import slug
from contexture.store.results import _scalars, result_key, reuse_context
from contexture.store.runs import begin_run, finish_run, list_runs, mark_interrupted, note
from tests.store.made import CONTEXTS, audit, context_key, corpus, table
from tests.store.test_features import HOSTILE, with_targets


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store.zarr"))


def status(store: Store) -> list[str]:
    return [attributes["status"] for _, attributes in list_runs(store)]


def test_a_run_from_beginning_to_end(store: Store) -> None:
    run = begin_run(store, {"name": "one", "seed": np.int64(3), "contexts": []})
    attributes = dict(list_runs(store))[run]
    assert attributes["status"] == "running"
    assert (attributes["name"], attributes["seed"]) == ("one", 3)
    assert attributes["process"] == os.getpid()
    assert attributes["parent"] is None
    assert "finished" not in attributes
    with pytest.raises(StoreError) as caught:
        open_store(store.url)
    assert str(caught.value) == (
        f"the store '{store.url}' holds no finished run (1 unfinished); run 'contexture audit' "
        "again, it goes on where the last one stopped."
    )
    note(store, run, {"blocks": 4})
    finish_run(store, run, "complete", {"seconds": 2.5})
    attributes = dict(list_runs(store))[run]
    assert (attributes["status"], attributes["blocks"], attributes["seconds"]) == (
        "complete",
        4,
        2.5,
    )
    assert attributes["finished"] >= attributes["started"]


def test_runs_sort_by_time_and_know_their_parent(store: Store) -> None:
    first = begin_run(store, {})
    finish_run(store, first, "complete", {})
    second = begin_run(store, {})
    finish_run(store, second, "failed", {})
    third = begin_run(store, {})
    names = [name for name, _ in list_runs(store)]
    assert names[0] == first
    assert set(names) == {first, second, third}
    assert dict(list_runs(store))[third]["parent"] == first
    table_ = run_table(store)
    assert list(table_["run"]) == names
    assert list(table_.columns) == [
        "run",
        "name",
        "status",
        "started",
        "finished",
        "contexts",
        "rows",
    ]


def test_a_run_whose_process_is_gone_was_interrupted(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = ("gone", "alive", "elsewhere", "odd", "container", "before")
    runs = {name: begin_run(store, {}) for name in names}
    note(store, runs["gone"], {"process": gone.pid})
    note(store, runs["elsewhere"], {"process": gone.pid, "host": "another machine"})
    note(store, runs["odd"], {"process": None})
    # From before a container or the machine was started anew: the number belongs to another now.
    note(store, runs["container"], {"namespace": "pid:[1]"})
    note(store, runs["before"], {"boot": "another"})
    mark_interrupted(store)
    found = {name: dict(list_runs(store))[run]["status"] for name, run in runs.items()}
    assert found == {
        "gone": "interrupted", "alive": "running", "elsewhere": "running", "odd": "interrupted",
        "container": "interrupted", "before": "interrupted",
    }  # fmt: skip
    assert socket.gethostname() != "another machine"


def test_begin_marks_the_interrupted(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    note(store, begin_run(store, {}), {"process": gone.pid})
    begin_run(store, {})
    assert sorted(status(store)) == ["interrupted", "running"]


def damage(store: Store, path: str, text: str = "") -> None:
    (Path(store.url) / path / "zarr.json").write_text(text)


@pytest.mark.parametrize("text", ["", "{", '{"zarr_format": 3, "node_type": "array"}'])
def test_a_damaged_run_is_in_no_others_way(store: Store, text: str) -> None:
    first, second, third = (begin_run(store, {"name": "one"}) for _ in range(3))
    runs = sorted((first, second, third))
    for run in runs:
        finish_run(store, run, "complete", {})
    for run in (runs[0], runs[2]):
        damage(store, f"runs/{run}", text)
    if "array" in text:  # an array is no run
        assert [run for run, _ in list_runs(store)] == [runs[1]]
    else:
        assert status(store) == ["damaged", "complete", "damaged"]
        assert run_table(store)["status"].tolist() == status(store)
        assert run_table(store)["started"].str[:2].tolist() == ["20", "20", "20"]
    assert open_store(store.url).run == runs[1]
    new = begin_run(store, {})
    assert dict(list_runs(store))[new]["parent"] == runs[1]


def test_a_damaged_run_that_is_asked_for(store: Store) -> None:
    run = begin_run(store, {})
    finish_run(store, run, "complete", {})
    damage(store, f"runs/{run}")
    with pytest.raises(StoreError) as caught:
        open_store(store.url, run)
    assert str(caught.value) == (
        f"run '{run}' of the store '{store.url}' is damaged (its metadata cannot be read); choose "
        "another run, or run 'contexture audit' again."
    )
    with pytest.raises(StoreError, match=r"holds no finished run \(1 unfinished\)"):
        open_store(store.url)


def test_a_damaged_run_whose_name_tells_no_time(store: Store) -> None:
    store.group("runs/by hand")
    damage(store, "runs/by hand")
    assert list_runs(store) == [("by hand", {"status": "damaged"})]


def test_a_run_that_is_removed_while_they_are_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin_run(store, {})
    find = Store.find

    def late(self: Store, path: str) -> object:
        if path == f"runs/{run}":
            store.remove(path)
        return find(self, path)

    monkeypatch.setattr(Store, "find", late)
    assert list_runs(store) == []


def test_what_a_damaged_run_had_is_taken_over(tmp_path: Path) -> None:
    store, first = audit(tmp_path)
    key = store.group(f"runs/{first}/contexts/knn-5").attrs["result_key"]
    damage(store, f"runs/{first}")
    assert reuse_context(store, begin_run(store, {}), "knn-5", key, {})
    damage(store, f"runs/{first}/contexts/knn-5")
    other = begin_run(store, {})
    store.group(f"results/{key}").attrs["run"] = first
    assert not reuse_context(store, other, "knn-5", key, {})
    assert store.children(f"runs/{other}") == []


def test_result_keys() -> None:
    base = result_key("op", {"a": 1, "b": 2})
    assert base == result_key("op", {"b": 2, "a": 1})
    assert len({base, result_key("op2", {"a": 1, "b": 2}), result_key("op", {"a": 1, "b": 3})}) == 3


def test_results_are_taken_over(tmp_path: Path) -> None:
    store, first = audit(tmp_path)
    second = begin_run(store, {"contexts": ["renamed"], "targets": ["y", "label"]})
    key = store.group(f"runs/{first}/contexts/knn-5").attrs["result_key"]
    assert not reuse_context(store, second, "renamed", "0" * 16, {})
    assert store.children(f"runs/{second}") == []
    assert reuse_context(store, second, "renamed", key, {"description": "new"})
    old, new = (
        store.read(f"runs/{run}/contexts/{name}").load()
        for run, name in ((first, "knn-5"), (second, "renamed"))
    )
    xr.testing.assert_equal(old, new)
    assert new.attrs["context"] == "renamed"
    assert new.attrs["copied_from"] == first
    assert new.attrs["description"] == "new"
    assert new.attrs["complete"] is True
    for target in ("y", "label"):
        old, new = (
            store.read(f"runs/{run}/tasks/{target}/{name}").load()
            for run, name in ((first, "knn-5"), (second, "renamed"))
        )
        xr.testing.assert_identical(old, new)
        assert store.group(f"runs/{second}/tasks/{target}").attrs["target"] == target
    finish_run(store, second, "complete", {"configuration": {"max_rank": 20}})
    assert open_store(store.url).scores()["context"].tolist() == ["renamed"]


@pytest.mark.parametrize("damage", ["removed", "incomplete", "other key"])
def test_what_is_not_whole_is_not_taken_over(tmp_path: Path, damage: str) -> None:
    store, first = audit(tmp_path, finish=None)
    path = f"runs/{first}/contexts/knn-5"
    key = store.group(path).attrs["result_key"]
    if damage == "removed":
        store.remove(f"runs/{first}")
    else:
        store.group(path).attrs.update(
            {"complete": False} if damage == "incomplete" else {"result_key": "x"}
        )
    second = begin_run(store, {})
    assert not reuse_context(store, second, "knn-5", key, {})
    assert store.children(f"runs/{second}") == []


@pytest.mark.parametrize("left", [{}, {"run": "r"}, {"context": "knn-5"}])
def test_an_index_that_a_kill_left_without_names_is_none(
    store: Store, left: dict[str, str]
) -> None:
    store.group("results/" + "0" * 16).attrs.update(left)
    assert not reuse_context(store, "run", "knn-5", "0" * 16, {})
    assert not take_over(store, "run", "knn-5", "0" * 16)


def test_results_are_there_although_the_run_that_computed_them_was_removed(tmp_path: Path) -> None:
    store, first = audit(tmp_path)
    key = store.group(f"runs/{first}/contexts/knn-5").attrs["result_key"]
    second = begin_run(store, {})
    assert reuse_context(store, second, "knn-5", key, {})
    store.remove(f"runs/{first}")
    assert reuse_context(store, begin_run(store, {}), "knn-5", key, {})


@pytest.mark.parametrize("part", ["contexts", "tasks/y"])
def test_results_that_are_damaged_are_not_taken_over(tmp_path: Path, part: str) -> None:
    store, first = audit(tmp_path)
    key = store.group(f"runs/{first}/contexts/knn-5").attrs["result_key"]
    array = {"contexts": "usefulness", "tasks/y": "compatibility"}[part]
    (Path(store.url) / "runs" / first / part / "knn-5" / array / "c").write_bytes(b"")
    second = begin_run(store, {})
    assert not reuse_context(store, second, "knn-5", key, {})
    assert store.children(f"runs/{second}/contexts") == []
    assert store.children(f"runs/{second}/tasks/y") == []


@pytest.mark.parametrize("group", ["contexts", "tasks/y"])
def test_results_in_a_damaged_group_are_not_taken_over(tmp_path: Path, group: str) -> None:
    """What the group says of them would be lost."""
    store, first = audit(tmp_path)
    key = store.group(f"runs/{first}/contexts/knn-5").attrs["result_key"]
    (Path(store.url) / "runs" / first / group / "zarr.json").write_text("{")
    second = begin_run(store, {})
    assert not reuse_context(store, second, "knn-5", key, {})
    assert store.children(f"runs/{second}/contexts") == []


def test_targets_in_a_damaged_group_are_taken_over(tmp_path: Path) -> None:
    store, first = audit(tmp_path)
    key = store.group(f"runs/{first}/contexts/knn-5").attrs["result_key"]
    (Path(store.url) / "runs" / first / "tasks" / "zarr.json").write_text("{")
    second = begin_run(store, {})
    assert reuse_context(store, second, "knn-5", key, {})
    assert store.children(f"runs/{second}/tasks/y") == ["knn-5"]


def test_runs_in_a_damaged_group_are_found(tmp_path: Path) -> None:
    store, first = audit(tmp_path)
    (Path(store.url) / "runs" / "zarr.json").write_text("{")
    assert [(run, attributes["status"]) for run, attributes in list_runs(store)] == [
        (first, "complete")
    ]


def test_errors_say_what_they_are_over() -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    operator = cx.operator_of(X, Knn(k=5))
    made = cx.evaluate(operator, cx.decompose_operator(operator, 20), X, [], 20)
    for draws, over in (
        (1, "over inputs, context values held fixed"),
        (3, "over inputs and draws of the references"),
    ):
        found = _scalars(replace(made, draws=draws))
        for name in ("usefulness_standard_error", "best_rank_standard_error"):
            assert found[name][1]["long_name"] == over


def test_results_of_an_unfinished_run_are_taken_over(tmp_path: Path) -> None:
    store, first = audit(tmp_path, finish="interrupted")
    key = store.group(f"runs/{first}/contexts/knn-5").attrs["result_key"]
    assert reuse_context(store, begin_run(store, {}), "knn-5", key, {})


def test_what_is_written_of_a_context(tmp_path: Path) -> None:
    source = corpus(tmp_path)
    store, run = audit(tmp_path, source)
    X = cx.Recipe.fit(source).transform(source).compute()
    features = cx.Features.from_array(X, source.ids(), source.weights())
    operator = cx.operator_of(features, CONTEXTS[0])
    spectrum = cx.decompose_operator(operator, 20)
    expected = cx.evaluate(operator, spectrum, X, source.read_targets(), 20, 1.0, 6)
    data = store.read(f"runs/{run}/contexts/knn-5").load()
    assert data.sizes == {
        "component": 20, "sample": 37, "context_value": 37, "function": 6,
    }  # fmt: skip
    np.testing.assert_allclose(data["singular_value"], spectrum.singular_values, atol=1e-12)
    np.testing.assert_allclose(data["usefulness_curve"], expected.usefulness.curve, atol=1e-9)
    np.testing.assert_allclose(data["left"] ** 2, expected.spectrum.left**2, atol=1e-6)
    assert data["sample"].values.tolist() == source.ids().tolist()
    for name, value in [
        ("usefulness", expected.usefulness.value),
        ("usefulness_standard_error", expected.usefulness.standard_error),
        ("best_rank", expected.usefulness.best_rank),
        ("decay_rate", expected.decay_rate),
        ("total_association", spectrum.total_association),
        ("kernel_deviation", expected.kernel_deviation.value),
        ("lipschitz", expected.lipschitz.value),
    ]:
        assert data[name].item() == pytest.approx(value, rel=1e-8), name
        assert data[name].attrs["long_name"]
    assert data.attrs["family"] == "knn"
    assert data.attrs["complete"] is True
    for score in expected.targets:
        task = store.read(f"runs/{run}/tasks/{score.target.name}/knn-5").load()
        assert task["compatibility"].item() == pytest.approx(score.pooled.value, rel=1e-9)
        assert (task.attrs["observed"], task.attrs["rows"]) == (score.observed, 37)
        np.testing.assert_allclose(task["energy"], score.pooled.energy, atol=1e-8)
    assert task["level"].values.tolist() == ["cat", "dog", "eel"]
    assert task["class_energy"].shape == (3, 6)


def test_a_spectrum_longer_than_d0_can_be_kept(tmp_path: Path) -> None:
    store, run = audit(tmp_path)
    source = corpus(tmp_path)
    X = cx.Recipe.fit(source).transform(source).compute()
    operator = cx.operator_of(X, Knn(k=5))
    spectrum = cx.decompose_operator(operator, 30)
    evaluation = cx.evaluate(operator, spectrum, X, (), max_rank=20, rank_kept=6)
    cx.store.results.write_context(
        store, run, "longer", "knn", evaluation, np.arange(37), context_key("x"), {}
    )
    data = store.read(f"runs/{run}/contexts/longer")
    assert data["singular_value"].shape == (30,)
    np.testing.assert_array_equal(np.isnan(data["usefulness_curve"]), np.arange(30) >= 20)


def test_hostile_names_of_targets_stay_inside(tmp_path: Path) -> None:
    frame, roles = with_targets(HOSTILE)
    store, run = audit(tmp_path, corpus(tmp_path, frame, **roles))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus.csv", "store.zarr"]
    assert store.children(f"runs/{run}/tasks") == sorted(map(slug, HOSTILE))
    found = open_store(store.url)
    assert found.targets == HOSTILE
    for name in HOSTILE:
        assert found.task(name, "knn-5").attrs["target"] == name
        assert 0 <= found.task(name, "knn-5")["compatibility"].item() <= 1
    assert store.children("runs") == [run]


def test_the_table_is_as_the_tests_believe() -> None:
    assert table()["b"].isna().sum() == table()["y"].isna().sum() == 2
