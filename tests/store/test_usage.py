"""Disk that a plan may count on."""

from __future__ import annotations

from pathlib import Path

import pytest

from contexture.store import usage
from contexture.store.usage import usable_disk


def test_what_operators_take_counts_as_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "free_disk", lambda url: 1000)
    assert usable_disk(str(tmp_path / "none.zarr")) == 1000
    for name, size in (("operators/knn/block/0", 300), ("operators/rbf/1", 50), ("features/X", 7)):
        path = tmp_path / "x.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * size)
    assert usable_disk(str(tmp_path / "x.zarr")) == 1350


def test_remote_stores_have_no_disk() -> None:
    assert usable_disk("s3://bucket/x.zarr") is None
