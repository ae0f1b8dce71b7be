from __future__ import annotations

import errno
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from contexture.errors import StorageFullError, StoreError
from contexture.store.base import FORMAT, Store, plain, slug, storage_errors


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
        zarr.open_group(str(url), mode="w")
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


HOSTILE = [
    "", " ", "  ", ".", "..", "...", "../../x", "a/b", "a%2Fb", "a\\b", "/etc/passwd", "<b>", "~",
    "a", "a ", " a", "\n", "zarr.json", "c", "__x", "%", "%25", "é", "長" * 80, "長" * 80 + "x",
    "x" * 300, "x" * 301, "con:", "a\0b", "'; drop table", "{{7*7}}",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_slugs_are_one_harmless_segment(name: str) -> None:
    found = slug(name)
    assert found
    assert found == found.strip()
    assert len(found.encode()) <= 220
    assert "/" not in found
    assert "\\" not in found
    assert found[0] not in "._"
    assert found.isprintable()
    assert found not in ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def test_slugs_tell_names_apart() -> None:
    assert len({slug(name) for name in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("name", ["rings", "shell weight", "A-1_b.c"])
def test_usual_names_stay(name: str) -> None:
    assert slug(name) == name


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_space(code: int) -> None:
    with pytest.raises(StorageFullError) as caught, storage_errors("s3://x"):
        raise OSError(code, "text")
    assert str(caught.value) == (
        "no space is left for the store 's3://x'; free some and run the same command again, it "
        "goes on where it stopped."
    )
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_forbidden(code: int) -> None:
    with pytest.raises(StoreError) as caught, storage_errors("/there"):
        raise OSError(code, "Not so")
    assert str(caught.value) == (
        "the store '/there' cannot be written (Not so); choose another path."
    )


def test_other_errors_pass() -> None:
    with pytest.raises(ConnectionResetError), storage_errors("x"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_plain() -> None:
    given = {1: np.float64(0.5), "a": [np.int64(3), (True, None)], "b": {"c": np.bool_(True)}}
    assert plain(given) == {"1": 0.5, "a": [3, [True, None]], "b": {"c": True}}
