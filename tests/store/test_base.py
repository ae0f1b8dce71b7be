from __future__ import annotations

import errno
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import xarray as xr
import zarr

from contexture.errors import StoreError
from contexture.store.base import FORMAT, Store, require_store
from tests.store.far import PLACES, new_url


def message(url: Path, create: bool) -> str:
    with pytest.raises(StoreError) as caught:
        (Store.create if create else Store.open)(str(url))
    return str(caught.value)


def test_create_and_open(tmp_path: Path) -> None:
    url = str(tmp_path / "new" / "store.zarr")
    store = Store.create(url)
    assert store.root.attrs["contexture"] == {"format": FORMAT}
    store.group("runs/one").attrs["kept"] = 1
    for again in (Store.create(url), Store.open(url), pickle.loads(pickle.dumps(store))):
        assert again.group("runs/one").attrs["kept"] == 1


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Store.create(str(tmp_path / "empty"))
    Store.open(str(tmp_path / "empty"))


def test_missing(tmp_path: Path) -> None:
    url = tmp_path / "nowhere"
    assert message(url, create=False) == (
        f"there is no store at '{url}'; check the path, or make one with 'contexture audit'."
    )
    assert not url.exists()


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("kind", ["group", "array", "file inside", "other mark", "broken"])
def test_not_ours(tmp_path: Path, create: bool, kind: str) -> None:
    url = tmp_path / "x"
    if kind == "group":
        zarr.open_group(str(url), mode="w").create_group("inside")
    elif kind == "array":
        zarr.create_array(str(url), shape=(3,), dtype="int8")
    elif kind == "other mark":
        zarr.open_group(str(url), mode="w").attrs["contexture"] = "yes"
    else:
        url.mkdir()
        (url / ("zarr.json" if kind == "broken" else "letter.txt")).write_text("not JSON")
    before = sorted(p.name for p in url.iterdir())
    assert message(url, create) == (
        f"'{url}' is not a contexture store (it lacks the mark that one bears); choose another "
        "path."
    )
    assert sorted(p.name for p in url.iterdir()) == before


def test_the_mark_comes_with_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise RuntimeError("killed before the second step")

    monkeypatch.setattr(zarr.Group, "update_attributes", killed)
    store = Store.create(str(tmp_path / "x"))
    assert dict(store.root.attrs) == {"contexture": {"format": FORMAT}}


@pytest.mark.parametrize("place", PLACES)
def test_a_store_that_was_never_marked_is_completed(tmp_path: Path, place: str) -> None:
    url = new_url(tmp_path, place)
    zarr.open_group(url, mode="w")
    with pytest.raises(StoreError, match="is not a contexture store"):
        Store.open(url)
    require_store(url)
    Store.create(url).group("runs/one")
    assert Store.create(url).children("runs") == ["one"]
    assert Store.open(url).root.attrs["contexture"] == {"format": FORMAT}


def test_a_file_that_zarr_was_writing_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / f"zarr.{uuid4().hex}.partial").write_text("{")
    require_store(str(tmp_path / "x"))
    Store.create(str(tmp_path / "x"))
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "film.partial").write_text("mine")
    assert "is not a contexture store" in message(tmp_path / "y", create=True)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mark", [True, False])
def test_another_process_makes_the_store_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, mark: bool
) -> None:
    url = new_url(tmp_path, place)

    def looked(url: str) -> bool:
        # Nothing was there; a moment later, all or half of the other one's is.
        monkeypatch.undo()
        if mark:
            Store.create(url).group("runs/one")
        else:
            zarr.open_group(url, mode="w")
        return True

    monkeypatch.setattr("contexture.store.base._is_blank", looked)
    store = Store.create(url)
    assert store.root.attrs["contexture"] == {"format": FORMAT}
    assert store.children("runs") == (["one"] if mark else [])


def test_one_store_made_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for round_ in range(20):
            url = str(tmp_path / f"{round_}.zarr")
            for store in threads.map(Store.create, [url] * 8):
                assert store.root.attrs["contexture"] == {"format": FORMAT}


@pytest.mark.parametrize("create", [False, True])
def test_a_file(tmp_path: Path, create: bool) -> None:
    url = tmp_path / "x.zarr"
    url.write_text("text")
    assert message(url, create) == f"'{url}' is a file, not a store; choose another path."
    assert url.read_text() == "text"


@pytest.mark.parametrize("create", [False, True])
def test_a_newer_format(tmp_path: Path, create: bool) -> None:
    url = tmp_path / "x"
    Store.create(str(url)).root.attrs["contexture"] = {"format": FORMAT + 1}
    assert message(url, create) == (
        f"the store '{url}' has format {FORMAT + 1}, but this version of contexture reads up to "
        f"{FORMAT}; install a newer one."
    )


def test_groups(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "s"))
    assert store.find("runs/none") is None
    assert store.children("runs") == []
    for name in ("b", "a"):
        store.group(f"runs/{name}")
    assert store.children("runs") == ["a", "b"]
    store.remove("runs/a")
    store.remove("runs/a")
    store.remove("nothing/here")
    assert store.children("runs") == ["b"]


def test_a_damaged_group_hides_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store.create(str(tmp_path / "s"))
    for name in "abcd":
        store.group(f"runs/{name}")
    for name in "acd":
        (tmp_path / "s" / "runs" / name / "zarr.json").write_text("")
    (tmp_path / "s" / "runs" / "letter.txt").write_text("mine")
    zarr.create_array(store.url, name="runs/array", shape=(3,), dtype="int8")
    assert store.children("runs") == ["a", "b", "c", "d"]
    assert store.find("runs/a") is None
    store.remove("runs/a")
    assert store.children("runs") == ["b", "c", "d"]
    gc.collect()
    assert capfd.readouterr().err == ""


def test_a_removal_that_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Any, *_: Any, **__: Any) -> None:
        (Path(folder) / "zarr.json").unlink()
        raise RuntimeError("killed")

    store = Store.create(str(tmp_path / "s"))
    data = xr.Dataset({"v": ("x", np.ones(3))})
    store.write("runs/a", data)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(RuntimeError, match="killed"):
            store.remove("runs/a")
    assert store.find("runs/a") is None
    assert not (tmp_path / "s" / "runs" / "a").exists()
    store.write("runs/a", data)
    xr.testing.assert_identical(store.read("runs/a").load(), data)


def test_a_folder_without_metadata_is_removed(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "s"))
    store.group("runs")
    remains = tmp_path / "s" / "runs" / "a" / "v" / "c"
    remains.mkdir(parents=True)
    (remains / "0").write_bytes(b"chunk")
    store.remove("runs/a")
    assert not (tmp_path / "s" / "runs" / "a").exists()
    assert [entry.name for entry in (tmp_path / "s" / "aside").iterdir()] == ["zarr.json"]


def test_a_removal_that_is_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    store = Store.create(str(tmp_path / "s"))
    store.group("runs/a")
    store.group("aside")
    monkeypatch.setattr("contexture.store.aside.os.rename", forbidden)
    with pytest.raises(StoreError) as caught:
        store.remove("runs/a")
    assert str(caught.value) == (
        f"the store '{store.url}' cannot be written (Permission denied); choose another path."
    )


def test_one_group_asked_for_by_many_at_once(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "a.zarr"))
    with ThreadPoolExecutor(8) as threads:
        for round_ in range(20):
            paths = [f"runs/{round_}/tasks/target"] * 8
            for group in threads.map(store.group, paths):
                assert group.path == paths[0]


def test_datasets(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "s"))
    data = xr.Dataset({"v": ("x", np.array([0.0, np.nan, 1.0]))}, coords={"x": [3, 2, 1]})
    store.write("a/b", data)
    xr.testing.assert_identical(store.read("a/b").load(), data)
    store.write("a/b", data * 2)
    xr.testing.assert_equal(store.read("a/b").load(), data * 2)
    assert store.children("") == ["a"]
