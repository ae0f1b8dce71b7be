"""What is read of arrays in files, and what becomes of values that few arrays hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from contexture.errors import CorpusError
from contexture.features import Recipe
from contexture.readers import Arrays
from tests.readers.test_arrays import WRITE, save


@pytest.mark.parametrize("kind", ["npz", "zarr"])
def test_large_ids_without_a_sign(tmp_path: Path, kind: str) -> None:
    X, k = np.arange(8.0).reshape(4, 2), np.array([1, 2, 3, 2**63 - 1], np.uint64)
    reader = Arrays(path=WRITE[kind](tmp_path, X, k=k), key="X", id="k")
    assert reader.open(blocksize=16).ids().tolist() == [1, 2, 3, 2**63 - 1]
    k[2:] = 2**63, 2**63 + 1
    WRITE[kind](tmp_path, X, k=k)
    message = r"id column 'k' holds 9.22\d*e\+18 in row 2; an id must be text or a whole number"
    with pytest.raises(CorpusError, match=message):
        reader.open(blocksize=16).ids()


@pytest.mark.parametrize("kind", ["npz", "zarr"])
@pytest.mark.parametrize(
    ("dtype", "large"), [("i8", 2**53), ("i8", -(2**63)), ("u8", 2**53), ("u8", 2**63)]
)
def test_classes_that_are_no_floating_numbers(
    tmp_path: Path, kind: str, dtype: str, large: int
) -> None:
    y = np.array([7, large + 1, large, large], dtype)
    X = np.column_stack([y, np.arange(4).astype(dtype)])
    roles: dict[str, Any] = {"targets": ("y",), "categorical": ("y", "x0")}
    corpus = Arrays(path=WRITE[kind](tmp_path, X, y=y), key="X", **roles).open(blocksize=16)
    (target,) = corpus.read_targets()
    assert target.levels == tuple(sorted(map(str, {7, large, large + 1})))
    assert [int(target.levels[code]) for code in target.values] == y.tolist()
    assert Recipe.fit(corpus).columns == (*(f"x0={level}" for level in target.levels), "x1")


@pytest.mark.parametrize("dtype", ["i1", "u1", "i8", "u8", "f4", "f8"])
def test_classes_of_ordinary_numbers_are_told_by_value(tmp_path: Path, dtype: str) -> None:
    y = np.array([10, 2, 2], dtype)
    roles: dict[str, Any] = {"targets": ("y",), "categorical": ("y",)}
    path = save(tmp_path, name="t.npz", X=np.zeros((3, 2)), y=y)
    corpus = Arrays(path=path, key="X", **roles).open(blocksize=16)
    assert corpus.dtypes["y"] == "float64"
    assert corpus.read_targets()[0].levels == ("2", "10")


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_dates_that_stand_for_classes(tmp_path: Path, unit: str) -> None:
    """Called alike in every unit, since their fingerprints are alike as well."""
    y = np.array(["2024-01-03", "NaT", "2024-01-02"], f"M8[{unit}]")
    path = save(tmp_path, name="t.npz", X=np.zeros((3, 2)), y=y)
    corpus = Arrays(path=path, key="X", targets=("y",), categorical=("y",)).open(blocksize=16)
    (target,) = corpus.read_targets()
    assert target.levels == ("2024-01-02 00:00:00", "2024-01-03 00:00:00")
    assert target.values.tolist() == [1, -1, 0]


class Counted:
    """A stream that adds up what is read from it."""

    def __init__(self, stream: Any, counts: list[int]) -> None:
        self._stream, self._counts = stream, counts

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        self._counts.append(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_only_the_rows_of_a_partition_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, order: str
) -> None:
    ordered = {"C": np.ascontiguousarray, "F": np.asfortranarray}[order]
    X = ordered(np.random.default_rng(0).normal(size=(1000, 20)))
    corpus = Arrays(path=WRITE[kind](tmp_path, X, y=np.zeros(3))).open(blocksize=8000)
    assert len(corpus.partitions) == 20
    counts: list[int] = []
    plain = fsspec.open

    @contextmanager
    def counted(path: str, mode: str) -> Iterator[Counted]:
        with plain(path, mode) as stream:
            yield Counted(stream, counts)

    monkeypatch.setattr("contexture.readers.array_files.fsspec.open", counted)
    for number in (0, 7, 19):
        counts.clear()
        frame = corpus.partitions[number].load()
        np.testing.assert_array_equal(frame, X[number * 50 : (number + 1) * 50])
        assert 8000 <= sum(counts) < 8000 + 1500  # and what says where they are


def test_a_damaged_npz_file_is_noticed(tmp_path: Path) -> None:
    path = Path(save(tmp_path, name="t.npz", X=np.zeros((1000, 4))))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="cannot read '.*t.npz': Bad CRC-32"):
        Arrays(path=str(path)).open(blocksize=320)
