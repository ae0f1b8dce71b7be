from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from contexture.contexts import Knn
from contexture.errors import ConfigurationError, StoreError
from contexture.store import Store, open_store
from contexture.store.base import attributes_of
from contexture.store.features import read_features
from contexture.store.neighbours import has_neighbours, neighbours_key
from contexture.store.prune import find_unused, prune
from contexture.store.results import reuse_context
from contexture.store.runs import begin_run, finish_run, list_runs, note
from tests.store.made import nights


@pytest.fixture
def nightly(tmp_path: Path) -> tuple[Store, list[str]]:
    store, runs = nights(tmp_path, 4)
    assert [len(store.children(kind)) for kind in KINDS] == [4, 4, 4, 4]
    return store, runs


KINDS = ("features", "operators", "neighbours", "results")


def test_what_only_old_runs_needed_goes(nightly: tuple[Store, list[str]]) -> None:
    store, runs = nightly
    before = {run: open_store(store.url, run).scores() for run in runs[2:]}
    found = find_unused(store, keep=2)
    assert found.runs == tuple(runs[:2])
    assert len(found.paths) == 2 * 5
    size, taken = found.size, disk(store)
    files = [file for path in found.paths for file in (Path(store.url) / path).rglob("*")]
    assert size == sum(file.stat().st_size for file in files if file.is_file())
    prune(store, found)
    assert 0 < size <= taken - disk(store) + 10_000
    assert [run for run, _ in list_runs(store)] == runs[2:]
    assert [len(store.children(kind)) for kind in KINDS] == [2, 2, 2, 2]
    for run, scores in before.items():
        pd.testing.assert_frame_equal(open_store(store.url, run).scores(), scores)
        found_context = attributes_of(store.find(f"runs/{run}/contexts/knn-5"))
        assert store.find(f"operators/{found_context['operator']}") is not None
        features = read_features(store, found_context["features"])
        assert has_neighbours(store, neighbours_key(Knn(k=5), features, 0))
        assert reuse_context(store, runs[3], "again", found_context["result_key"], {})
    assert find_unused(store, keep=2).paths == ()


def disk(store: Store) -> int:
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(store.url)
        for name in names
    )


def test_few_runs_stay_all(nightly: tuple[Store, list[str]]) -> None:
    store, _ = nightly
    for keep in (4, 5, 100):
        assert find_unused(store, keep).paths == ()


def test_what_an_interrupted_run_was_computing_stays(nightly: tuple[Store, list[str]]) -> None:
    """Although runs after it were complete, and no run names it yet."""
    store, runs = nightly
    key = store.group(f"runs/{runs[0]}/contexts/knn-5").attrs["operator"]
    interrupted = begin_run(store, {"name": "another"})
    begun = Path(store.url) / "operators" / "begun"
    shutil.copytree(Path(store.url) / "operators" / key, begun)
    at(begun, 60)
    finish_run(store, interrupted, "interrupted", {})
    complete = begin_run(store, {"name": "test"})
    finish_run(store, complete, "complete", {})
    prune(store, find_unused(store, keep=1))
    assert [run for run, _ in list_runs(store)] == [interrupted, complete]
    assert store.children("operators") == ["begun"]
    at(begun, -3600)
    prune(store, find_unused(store, keep=1))
    assert store.children("operators") == []


def at(folder: Path, seconds: float) -> None:
    """Let all files of a folder be written so many seconds from now."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + seconds,) * 2)


def test_what_was_written_for_a_run_that_has_not_begun_stays(
    nightly: tuple[Store, list[str]],
) -> None:
    store, runs = nightly
    key = store.group(f"runs/{runs[0]}/contexts/knn-5").attrs["features"]
    at(Path(store.url) / "features" / key, 60)
    prune(store, find_unused(store, keep=1))
    assert len(store.children("features")) == 2
    assert key in store.children("features")


def test_a_damaged_run_goes_when_all_that_stay_are_newer(
    nightly: tuple[Store, list[str]],
) -> None:
    store, runs = nightly
    (Path(store.url) / "runs" / runs[0] / "zarr.json").write_text("")
    assert find_unused(store, len(runs)).runs == ()
    unused = find_unused(store, 1)
    assert runs[0] in unused.runs
    prune(store, unused)
    assert [run for run, _ in list_runs(store)] == runs[-1:]


def test_runs_of_each_name_stay(nightly: tuple[Store, list[str]]) -> None:
    store, runs = nightly
    store.group(f"runs/{runs[0]}").attrs["name"] = "monthly"
    assert find_unused(store, keep=2).runs == (runs[1],)


def test_a_run_that_begins_meanwhile_stops_it(nightly: tuple[Store, list[str]]) -> None:
    store, _ = nightly
    found = find_unused(store, keep=1)
    run = begin_run(store, {})
    with pytest.raises(StoreError, match=f"run '{run}' on .* is under way"):
        prune(store, found)
    assert [len(store.children(kind)) for kind in KINDS] == [4, 4, 4, 4]
    finish_run(store, run, "failed", {})
    note(store, run, {"status": "running", "process": None})  # killed
    prune(store, found)
    assert dict(list_runs(store))[run]["status"] == "running"


def test_a_store_behind_a_url() -> None:
    with pytest.raises(StoreError) as caught:
        find_unused(Store("memory://a.zarr"))
    assert str(caught.value) == (
        "'memory://a.zarr' is no folder, and only those can be pruned while others may use them; "
        "remove old groups under 'runs/' with the tools of the place."
    )


def test_a_prune_that_was_interrupted_goes_on(
    nightly: tuple[Store, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, runs = nightly
    genuine = Store.remove
    for ends in range(1, 15):
        removed: list[str] = []

        def remove(self: Store, path: str, removed: list[str] = removed, ends: int = ends) -> None:
            if len(removed) == ends:
                raise KeyboardInterrupt
            removed.append(path)
            genuine(self, path)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "remove", remove)
            try:
                prune(store, find_unused(store, keep=1))
            except KeyboardInterrupt:
                assert len(open_store(store.url, runs[3]).scores()) == 1
                continue
        break
    assert find_unused(store, keep=1).paths == ()
    assert [len(store.children(kind)) for kind in KINDS] == [1, 1, 1, 1]


def test_refusals(nightly: tuple[Store, list[str]]) -> None:
    store, _ = nightly
    with pytest.raises(ConfigurationError, match=r"^0 runs cannot be kept; keep at least 1\.$"):
        find_unused(store, keep=0)
    run = begin_run(store, {})
    with pytest.raises(StoreError) as caught:
        find_unused(store, keep=1)
    assert str(caught.value).startswith(f"run '{run}' on ")
    assert str(caught.value).endswith(
        f" is under way; let it end first. If it was killed there, remove 'runs/{run}' from the "
        "store."
    )


def test_an_empty_store(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "empty.zarr"))
    assert find_unused(store).paths == ()
