"""Places at which no store can be made are refused, and nothing is written there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contexture.errors import StoreError
from contexture.store.base import require_store
from contexture.store.place import free_disk


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
