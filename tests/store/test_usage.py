"""Disk that a plan may count on."""

from __future__ import annotations

from pathlib import Path

import pytest

from contexture.store import usage
from contexture.store.usage import usable_disk


def test_what_may_serve_again_counts_as_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "free_disk", lambda url: 1000)
    assert usable_disk(str(tmp_path / "none.zarr")) == 1000
    sizes = {"operators/knn/b/0": 300, "operators/rbf/1": 50, "neighbours/x": 20, "features/X": 7,
             "runs/left": 5000}  # fmt: skip
    for name, size in sizes.items():
        path = tmp_path / "x.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * size)
    found = usable_disk(str(tmp_path / "x.zarr"))
    assert found == 1377
    assert (found.free, found.features, found.contexts) == (1000, 7, 370)
    # No more than is going to be stored: the rest belongs to data that changed.
    assert found.usable_for(features=7, contexts=100) == 1107


def test_remote_stores_have_no_disk() -> None:
    assert usable_disk("s3://bucket/x.zarr") is None
