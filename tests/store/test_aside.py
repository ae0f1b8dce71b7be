"""What is written aside, put in place, removed, and swept after a kill."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contexture.store import Store, aside
from contexture.store.aside import ASIDE, abandoned, alive, new_path
from tests.store.far import PLACES, new_url

DAY = 24 * 60 * 60


@pytest.fixture(params=PLACES)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return Store.create(new_url(tmp_path, request.param))


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store.zarr"))


@pytest.fixture(scope="module")
def gone() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name(machine: str, process: int, age: float = 0) -> str:
    return f"{int(time.time() - age):x}-{machine}-{process}-0123abcd"


def group(store: Store, path: str, value: int, **attributes: Any) -> None:
    """Make a group with an array of two chunks."""
    made = store.group(path)
    made.create_array("x", shape=(4,), chunks=(2,), dtype="int8")[:] = value
    made.attrs.update({"value": value, **attributes})


def values(store: Store, path: str) -> list[int]:
    return np.asarray(store.group(path)["x"][:]).tolist()


def test_paths_are_new_and_those_of_this_process_stay(store: Store) -> None:
    paths = {new_path() for _ in range(100)}
    assert len(paths) == 100
    for path in paths:
        store.group(path)
    assert abandoned(store.url) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells machines apart")
def test_what_a_killed_process_left_is_swept_at_once(store: Store, gone: int) -> None:
    here = aside._machine()
    left = name(here, gone)
    others = [name(here, os.getpid()), name("f00", gone), name("", gone), name("f00", 1, DAY)]
    for each in (left, *others):
        store.group(f"{ASIDE}/{each}")
    assert abandoned(store.url) == [f"{ASIDE}/{left}"]
    Store.create(store.url)
    assert store.children(ASIDE) == sorted(others)


def test_what_nobody_can_tell_of_is_swept_after_a_week(store: Store, gone: int) -> None:
    old = [name(each, os.getpid(), 8 * DAY) for each in ("f00", "")]
    for each in (*old, "of somebody else", "a-b-c-d"):
        store.group(f"{ASIDE}/{each}")
    assert sorted(abandoned(store.url)) == sorted(f"{ASIDE}/{each}" for each in old)
    Store.create(store.url)
    assert store.children(ASIDE) == ["a-b-c-d", "of somebody else"]


def test_remains_without_metadata_are_swept(folder: Store) -> None:
    place = Path(folder.url, ASIDE, name("f00", 1, 8 * DAY), "X", "c")
    place.mkdir(parents=True)
    (place / "0").write_bytes(b"chunk")
    Store.create(folder.url)
    assert [entry.name for entry in Path(folder.url, ASIDE).iterdir()] == ["zarr.json"]


def test_no_trouble_with_remains_ends_a_run(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    folder.group(f"{ASIDE}/{name('f00', 1, 8 * DAY)}")
    monkeypatch.setattr("contexture.store.base.move_away", refuse)
    assert Store.create(folder.url).children(ASIDE) != []


def test_layouts_that_earlier_versions_left_are_swept(folder: Store) -> None:
    key = "operators/knn-5-0abc-10"
    kept = [key, f"{key}/tasks-77", "operators/knn-5-0abc-12345678", f"{key}-local", "runs/a"]
    old = [f"{key}-0123abcd", f"{key}/tasks-77-0123abcd"]
    young = f"{key}-4567abcd"
    for path in (*kept, *old, young, "runs/a-0123abcd"):
        folder.group(path)
        if path != young:
            os.utime(Path(folder.url, path), times=(time.time() - 2 * DAY,) * 2)
    assert sorted(abandoned(folder.url)) == sorted(old)
    Store.create(folder.url)
    assert folder.children("operators") == sorted(
        path.removeprefix("operators/") for path in (key, young, kept[2], kept[3])
    )
    assert folder.children(key) == ["tasks-77"]
    assert folder.children("runs") == ["a", "a-0123abcd"]


def test_alive(gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert alive(os.getpid())
    assert not alive(gone)

    def forbidden(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", forbidden)
    assert alive(gone)  # it belongs to somebody else


@pytest.mark.parametrize("mark", ["complete", "prepared"])
def test_the_first_one_stays(store: Store, mark: str) -> None:
    for value in (1, 2):
        with store.aside() as staged:
            group(store, staged, value, **{mark: True})
            store.put(staged, "features/key")
        assert values(store, "features/key") == [1] * 4
        assert store.children(ASIDE) == []


def test_what_is_there_is_replaced_where_that_is_asked_for(store: Store) -> None:
    for value in (1, 2):
        with store.aside() as staged:
            group(store, staged, value, complete=True)
            store.put(staged, "features/key", force=True)
        assert values(store, "features/key") == [value] * 4
        assert store.group("features/key").attrs["value"] == value
        assert store.children(ASIDE) == []


def test_what_only_the_old_one_had_is_gone(store: Store) -> None:
    group(store, "features/key", 1, complete=True)
    store.group("features/key").create_array("y", shape=(1,), dtype="int8")[:] = 1
    with store.aside() as staged:
        made = store.group(staged)
        # Zarr writes no chunk for what is zero.
        made.create_array("x", shape=(4,), chunks=(2,), dtype="int8")[2:] = 5
        made.attrs["complete"] = True
        store.put(staged, "features/key", force=True)
    assert values(store, "features/key") == [0, 0, 5, 5]
    assert list(store.group("features/key").array_keys()) == ["x"]


def test_nobody_finds_a_gap_where_one_is_replaced(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(folder, "features/key", 7, complete=True)
    opened, replace, seen = folder.group("features/key")["x"], os.replace, []

    def watched(*arguments: Any) -> None:
        replace(*arguments)
        seen.append(np.asarray(opened[:]).tolist() + values(folder, "features/key"))

    with folder.aside() as staged:
        group(folder, staged, 7, complete=True)
        monkeypatch.setattr("contexture.store.aside.os.replace", watched)
        folder.put(staged, "features/key", force=True)
        monkeypatch.undo()
    assert seen == [[7] * 8] * len(seen)
    assert len(seen) >= 4


@pytest.mark.parametrize("remains", ["no metadata", "does not count", "empty"])
def test_remains_of_a_kill_are_in_nobodys_way(folder: Store, remains: str) -> None:
    if remains == "does not count":
        group(folder, "features/key", 1)
    else:
        place = Path(folder.url, "features", "key")
        place.mkdir(parents=True)
        if remains == "no metadata":
            (place / "x").write_bytes(b"chunk")
    with folder.aside() as staged:
        group(folder, staged, 2, complete=True)
        folder.put(staged, "features/key")
    assert values(folder, "features/key") == [2] * 4
    assert folder.children(ASIDE) == []


def test_one_that_another_process_puts_there_instead_of_remains_stays(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_away = aside.move_away
    group(folder, "features/key", 1)

    def late(url: str, path: str) -> str | None:
        # Another process has looked at the same remains, and was faster.
        folder.remove(path)
        group(folder, path, 3, complete=True)
        return move_away(url, path)

    with folder.aside() as staged:
        group(folder, staged, 2, complete=True)
        monkeypatch.setattr(aside, "move_away", late)
        folder.put(staged, "features/key")
    assert values(folder, "features/key") == [3] * 4
    assert folder.children(ASIDE) == []


def test_other_troubles_are_told(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    folder.group(ASIDE)
    folder.group("features")
    with folder.aside() as staged:
        group(folder, staged, 2, complete=True)
        monkeypatch.setattr("contexture.store.aside.os.rename", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            folder.put(staged, "features/key")
        monkeypatch.undo()
    assert folder.children(ASIDE) == []


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt])
def test_nothing_stays_aside_after_an_error(store: Store, end: type[BaseException]) -> None:
    def write() -> None:
        with store.aside() as staged:
            group(store, staged, 1)
            raise end

    with pytest.raises(end):
        write()
    assert store.children(ASIDE) == []
