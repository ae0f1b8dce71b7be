from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from contexture.contexts import Features, Rbf
from contexture.errors import StorageFullError, StoreError
from contexture.store import Store
from contexture.store.features import has_features, write_features
from contexture.store.operators import prepare_operator, read_operator, write_block
from contexture.store.runs import begin_run
from tests.store.made import corpus

MESSAGE = (
    "no space is left for the store '{url}'; free some and run the same command again, it goes on "
    "where it stopped."
)


def rbf(rows: int = 40) -> Any:
    return Rbf(gamma=3).fit(Features.from_array(np.random.default_rng(0).normal(size=(rows, 3))))


def fill_the_disk(patch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("set", "set_if_not_exists"):
        patch.setattr(zarr.storage.LocalStore, name, full)


def test_patched_writes(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store.zarr"))
    evidence, source = rbf(), corpus(tmp_path)
    prepare_operator(store, "op", evidence, 10)
    write_block(store, "op", evidence, 0)
    data = xr.Dataset({"v": ("x", np.ones(3))})
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch)
        for step in (
            lambda: write_block(store, "op", evidence, 1),
            lambda: prepare_operator(store, "other", evidence, 10),
            lambda: store.write("a/b", data),
            lambda: write_features(store, source, 10),
            lambda: begin_run(store, {}),
        ):
            with pytest.raises(StorageFullError) as caught:
                step()
            assert str(caught.value) == MESSAGE.format(url=store.url)
        with pytest.raises(StorageFullError, match="no space is left for the store"):
            Store.create(str(tmp_path / "another.zarr"))
    # There is room again: it goes on where it stopped.
    assert prepare_operator(store, "op", evidence, 10) == [1, 2, 3]
    assert prepare_operator(store, "other", evidence, 10) == [0, 1, 2, 3]
    assert has_features(store, write_features(store, source, 10))
    Store.create(str(tmp_path / "another.zarr"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    store = Store.create(str(small_disk / "store.zarr"))
    evidence = rbf(400)  # 1.28 MB before compression
    missing = prepare_operator(store, "op", evidence, 20)
    written: list[int] = []

    def write_all() -> None:
        for block in missing:
            written.append(write_block(store, "op", evidence, block))

    with pytest.raises(StorageFullError) as caught:
        write_all()
    assert str(caught.value) == MESSAGE.format(url=store.url)
    assert 0 < len(written) < len(missing)
    with pytest.raises(StoreError, match=f"lacks {20 - len(written)} of 20 blocks"):
        read_operator(store, "op")
    # Given room, only what is missing is computed.
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    missing = prepare_operator(store, "op", evidence, 20)
    assert missing == list(range(len(written), 20))
    for block in missing:
        write_block(store, "op", evidence, block)
    expected = evidence.rows(0, 400)
    np.testing.assert_allclose(read_operator(store, "op").conditional(), expected, atol=1e-15)
