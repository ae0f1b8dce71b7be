"""Places at which no store can be made are refused, and nothing is written there."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contexture.errors import StorageFullError, StoreError
from contexture.store.base import Store, require_store
from contexture.store.place import free_disk, storage_errors
from tests.store.far import FarFileSystem

LOOKS: list[Callable[[str], Any]] = [Store.create, Store.open, require_store]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo://bucket/x.zarr", "there is no protocol 'foo'; choose a folder, or a URL"),
        ("memory://x.zarr", "would live in the memory of one process"),
        ("{file}/x.zarr", "cannot be made, since '{file}' is a file"),
        ("{file}", "is a file, not a store"),
        ("/proc/x.zarr", "cannot be made, since '/proc' may not be written"),
    ],
)
def test_refused(tmp_path: Path, url: str, message: str) -> None:
    if url.startswith("/proc") and os.access("/proc", os.W_OK):
        pytest.skip("this user may write everywhere")
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(StoreError) as caught:
        require_store(url.replace("{file}", str(file)))
    assert message.replace("{file}", str(file)) in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("below", ["", "/deep/x.zarr"])
def test_a_link_that_leads_nowhere(tmp_path: Path, below: str) -> None:
    link = tmp_path / "x.zarr"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError) as caught:
        require_store(f"{link}{below}")
    assert str(caught.value) == (
        f"the store '{link}{below}' cannot be made, since '{link}' is a link to "
        f"'{tmp_path}/nowhere', which is not there; make that folder, or choose another path."
    )
    (tmp_path / "nowhere").mkdir()
    require_store(f"{link}{below}")


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(StoreError, match=r"needs a package that is not installed: Install s3fs"):
        require_store("s3://bucket/x.zarr")


def test_a_new_place_is_fine(tmp_path: Path) -> None:
    require_store(str(tmp_path / "deep" / "er" / "x.zarr"))
    assert not list(tmp_path.iterdir())
    assert free_disk(str(tmp_path / "deep" / "x.zarr")) > 0
    assert free_disk("s3://bucket/x.zarr") is None


def sentence(look: Callable[[str], Any], url: str) -> str:
    with pytest.raises(StoreError) as caught:
        look(url)
    return str(caught.value)


def forbid(patch: pytest.MonkeyPatch, call: str, place: Path) -> None:
    """Let a call to the system be refused for a path; root is never refused."""
    real = getattr(os, call)

    def refused(path: Any, *arguments: Any, **options: Any) -> Any:
        if os.fspath(path) == str(place):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return real(path, *arguments, **options)

    patch.setattr(f"contexture.store.place.os.{call}", refused)


@pytest.mark.parametrize("look", LOOKS)
def test_a_folder_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[str], Any]
) -> None:
    url = tmp_path / "x.zarr"
    Store.create(str(url))
    forbid(monkeypatch, "listdir", url)
    assert sentence(look, str(url)) == (
        f"the store '{url}' cannot be reached, since '{url}' may not be read; get the right to "
        "read it, or choose another path."
    )


@pytest.mark.parametrize("look", [*LOOKS, free_disk])
def test_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[str], Any]
) -> None:
    url, access = tmp_path / "closed" / "deep" / "x.zarr", os.access
    url.parent.mkdir(parents=True)
    forbid(monkeypatch, "stat", url)
    monkeypatch.setattr(
        "contexture.store.place.os.access",
        lambda path, mode: access(path, mode) and "closed" not in os.fspath(path),
    )
    assert sentence(look, str(url)) == (
        f"the store '{url}' cannot be reached, since '{tmp_path / 'closed'}' may not be read; get "
        "the right to read it, or choose another path."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("below", ["", "x.zarr"])
def test_a_closed_folder(tmp_path: Path, look: Callable[[str], Any], below: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert f"since '{closed}' may not be read" in sentence(look, str(closed / below))
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize("look", [*LOOKS, free_disk])
def test_a_name_that_is_too_long(tmp_path: Path, look: Callable[[str], Any]) -> None:
    for url in (tmp_path / ("x" * 300), tmp_path / ("x" * 300) / "y.zarr"):
        assert sentence(look, str(url)) == (
            f"there can be no store at '{url}', since that name is too long for the file system; "
            "choose a shorter one."
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("look", LOOKS)
def test_other_troubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[str], Any]
) -> None:
    assert sentence(look, "a\0b") == (
        "the store 'a\0b' cannot be reached (embedded null byte); check the path, or choose "
        "another one."
    )

    def fail(_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("contexture.store.place.os.listdir", fail)
    assert sentence(look, str(tmp_path)) == (
        f"the store '{tmp_path}' cannot be reached (Input/output error); check the path, or "
        "choose another one."
    )


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("error", "what"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), None),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), None),
        (PermissionError("Access\n  Denied"), "Access Denied"),
        (RuntimeError(), "RuntimeError"),
        (TypeError("missing 1 required positional argument: 'host'"), None),
    ],
    ids=lambda case: type(case).__name__,
)
@pytest.mark.parametrize("step", ["__init__", "ls"])
def test_a_remote_place_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[str], Any],
    error: Exception,
    what: str | None,
    step: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(FarFileSystem, step, fail)
    FarFileSystem.clear_instance_cache()
    said = what or getattr(error, "strerror", None) or str(error)
    assert sentence(look, "far://nohost/x.zarr") == (
        f"the store 'far://nohost/x.zarr' cannot be reached ({said}); check its address, the "
        "network and your credentials, or choose another place."
    )


@pytest.mark.parametrize("look", LOOKS)
def test_a_host_that_listens_not(look: Callable[[str], Any]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ftp://127.0.0.1:{closed.getsockname()[1]}/x.zarr"
        assert "cannot be reached (Connection refused)" in sentence(look, url)


def test_metadata_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    url = str(tmp_path / "x.zarr")
    Store.create(url)
    monkeypatch.setattr("zarr.open_group", refused)
    for look in LOOKS:
        assert f"cannot be reached, since '{url}' may not be read" in sentence(look, url)


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
