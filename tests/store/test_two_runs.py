"""Features of two runs on one store at once, or of one that is killed: what counts is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contexture.corpus import Corpus
from contexture.store import Store, features
from contexture.store.aside import ASIDE
from contexture.store.features import (
    features_key,
    has_features,
    read_features,
    read_targets,
    write_features,
)
from tests.store.far import PLACES, FarFileSystem, new_url
from tests.store.made import ROWS, corpus


class Killed(BaseException):
    """Stands for a signal; nothing is done after it."""


@pytest.fixture(params=PLACES)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return Store.create(new_url(tmp_path, request.param))


@pytest.fixture
def source(tmp_path: Path) -> Corpus:
    return corpus(tmp_path)


@pytest.fixture
def fingerprint(tmp_path: Path, source: Corpus) -> str:
    alone = Store.create(str(tmp_path / "alone.zarr"))
    return read_features(alone, write_features(alone, source, 8)).fingerprint


def meanwhile(patch: pytest.MonkeyPatch, what: Callable[[], Any]) -> None:
    """Let something be done once, when X is written and its content is about to be read."""
    content = features._content

    def first(*arguments: Any) -> str:
        patch.setattr(features, "_content", content)
        what()
        return content(*arguments)

    patch.setattr(features, "_content", first)


def die(*_: Any, **__: Any) -> None:
    raise Killed


def require_whole(store: Store, source: Corpus, fingerprint: str) -> None:
    key = features_key(source, 8)
    found = read_features(store, key)
    assert found.fingerprint == fingerprint
    assert np.all(np.any(np.asarray(found.X[:]) != 0, axis=1))
    assert [len(target.values) for target in read_targets(store, key)] == [ROWS, ROWS]
    assert len(found.ids) == ROWS
    assert store.children("features") == [key]


def test_a_run_that_begins_and_dies_takes_nothing_from_another(
    store: Store, source: Corpus, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("contexture.store.features.write_targets", die)
            with pytest.raises(Killed):
                write_features(store, source, 8)

    meanwhile(monkeypatch, other)
    write_features(store, source, 8)
    require_whole(store, source, fingerprint)


@pytest.mark.parametrize("force", [False, True])
def test_features_that_another_run_completed_meanwhile_are_taken(
    store: Store,
    source: Corpus,
    fingerprint: str,
    monkeypatch: pytest.MonkeyPatch,
    force: bool,
) -> None:
    def other() -> None:
        key = write_features(store, source, 8)
        store.group(f"features/{key}").attrs["first"] = True

    meanwhile(monkeypatch, other)
    key = write_features(store, source, 8, force)
    require_whole(store, source, fingerprint)
    assert ("first" in store.group(f"features/{key}").attrs) is not force
    assert store.children(ASIDE) == []


def test_features_are_there_while_they_are_written_anew(
    store: Store, source: Corpus, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = write_features(store, source, 8)
    opened = read_features(store, key)
    before = np.asarray(opened.X[:])
    looked = []

    def look() -> None:
        looked.append(read_features(store, key).fingerprint)
        np.testing.assert_array_equal(opened.X[:], before)

    meanwhile(monkeypatch, look)
    write_features(store, source, 8, force=True)
    assert looked == [fingerprint]
    np.testing.assert_array_equal(opened.X[:], before)
    require_whole(store, source, fingerprint)


def test_force_repairs_features_that_are_damaged(
    store: Store, source: Corpus, fingerprint: str
) -> None:
    key = write_features(store, source, 8)
    store.group(f"features/{key}")["X"][3:20] = 7.0
    write_features(store, source, 8, force=True)
    require_whole(store, source, fingerprint)
    assert not np.any(np.asarray(read_features(store, key).X[:]) == 7.0)


@pytest.mark.parametrize("step", ["write_targets", "_content", "Store.put"])
def test_features_after_a_kill(
    store: Store,
    source: Corpus,
    fingerprint: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"contexture.store.features.{step}", die)
        patch.setattr(Store, "remove", lambda *_: None)  # nobody tidies up after a kill
        with pytest.raises(Killed):
            write_features(store, source, 8)
    assert not has_features(store, features_key(source, 8))
    assert len(store.children(ASIDE)) == 1
    write_features(store, source, 8)
    require_whole(store, source, fingerprint)


KILLED = """
import os, signal, sys
from pathlib import Path
from contexture.store import Store, features
from tests.store.made import corpus
features._content = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
features.write_features(Store.create(sys.argv[1]), corpus(Path(sys.argv[2])), 8)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells machines apart")
def test_what_a_killed_run_left_is_gone_with_the_next(
    tmp_path: Path, source: Corpus, fingerprint: str
) -> None:
    url = str(tmp_path / "store.zarr")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(tmp_path)], env=os.environ | {"PYTHONPATH": "."}
    )
    assert done.returncode == -signal.SIGKILL
    assert len(Store(url).children(ASIDE)) == 1
    store = Store.create(url)
    assert store.children(ASIDE) == []
    write_features(store, source, 8)
    require_whole(store, source, fingerprint)


def test_features_whose_copying_was_interrupted_do_not_count(
    tmp_path: Path, source: Corpus, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, copies = Store.create(new_url(tmp_path, "far")), []
    copy = FarFileSystem.cp_file

    def some(self: FarFileSystem, old: str, new: str, **options: Any) -> None:
        copies.append(new)
        if len(copies) > 5:
            raise Killed
        copy(self, old, new, **options)

    with monkeypatch.context() as patch:
        patch.setattr(FarFileSystem, "cp_file", some)
        with pytest.raises(Killed):
            write_features(store, source, 8)
    assert not has_features(store, features_key(source, 8))
    write_features(store, source, 8)
    require_whole(store, source, fingerprint)


def test_what_is_half_removed_far_away_does_not_count(
    tmp_path: Path, source: Corpus, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(new_url(tmp_path, "far"))
    key = write_features(store, source, 8)
    with monkeypatch.context() as patch:
        patch.setattr(FarFileSystem, "rm", die)
        with pytest.raises(Killed):
            store.remove(f"features/{key}")
    assert not has_features(store, key)
    write_features(store, source, 8)
    require_whole(store, source, fingerprint)
    store.remove(f"features/{key}")
    assert store.children("features") == []


def test_features_written_by_many_at_once(tmp_path: Path, source: Corpus, fingerprint: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for round_ in range(3):
            stores = [Store(str(tmp_path / f"{round_}.zarr"))] * 4
            keys = list(
                threads.map(lambda s: write_features(Store.create(s.url), source, 8), stores)
            )
            assert len(set(keys)) == 1
            require_whole(stores[0], source, fingerprint)
            assert stores[0].children(ASIDE) == []
