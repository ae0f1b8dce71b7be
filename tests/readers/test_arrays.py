from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from contexture.errors import CorpusError
from contexture.readers import Arrays
from tests.readers.contract import ReaderContract, table


class TestNpy(ReaderContract):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        np.save(folder / "t.npy", frame.to_numpy(dtype=np.float64))
        return {"path": str(folder / "t.npy"), "columns": tuple(frame.columns)}

    def reader(self, source: dict[str, Any], **roles: Any) -> Arrays:
        return Arrays(**source, **roles)


class TestNpyByColumns(TestNpy):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        np.save(folder / "t.npy", np.asfortranarray(frame.to_numpy(dtype=np.float64)))
        return {"path": str(folder / "t.npy"), "columns": tuple(frame.columns)}


class TestNpz(TestNpy):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        values = frame.to_numpy(dtype=np.float64)
        np.savez_compressed(folder / "t.npz", X=values, other=np.zeros(3))
        return {"path": str(folder / "t.npz"), "columns": tuple(frame.columns)}


class TestNpzStored(TestNpy):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        values = frame.to_numpy(dtype=np.float64)
        np.savez(folder / "t.npz", before=np.zeros(3), X=values, after=np.zeros(3))
        return {"path": str(folder / "t.npz"), "columns": tuple(frame.columns)}


class TestNpzByColumns(TestNpy):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        values = np.asfortranarray(frame.to_numpy(dtype=np.float64))
        np.savez_compressed(folder / "t.npz", X=values, other=np.zeros(3))
        return {"path": str(folder / "t.npz"), "columns": tuple(frame.columns)}


class TestZarr(TestNpy):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        values = frame.to_numpy(dtype=np.float64)
        array = zarr.create_array(
            str(folder / "t.zarr"), shape=values.shape, chunks=(7, 3), dtype="f8", overwrite=True
        )
        array[:] = values
        return {"path": str(folder / "t.zarr"), "columns": tuple(frame.columns)}


class TestZarrGroup(TestNpy):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        values = frame.to_numpy(dtype=np.float64)
        group = zarr.open_group(str(folder / "t.zarr"), mode="w")
        group.create_array("X", shape=values.shape, chunks=(7, 3), dtype="f8")[:] = values
        return {"path": str(folder / "t.zarr"), "columns": tuple(frame.columns), "key": "X"}


def test_vectors_beside_the_matrix(tmp_path: Path) -> None:
    X = table().to_numpy()[:, :3]
    y, k = np.array(["u", "v"] * 30), np.arange(60, dtype=">i4")[::-1]
    objects = np.array([None] * 60)
    np.savez(tmp_path / "t.npz", X=X, y=y, k=k, unused=objects)
    reader = Arrays(path=str(tmp_path / "t.npz"), key="X", targets=("y",), id="k")
    corpus = reader.open(blocksize=300)
    assert corpus.feature_columns == ("x0", "x1", "x2")
    assert corpus.ids().tolist() == list(range(60))[::-1]
    (target,) = corpus.read_targets()
    assert target.levels == ("u", "v")
    assert target.values.tolist() == [0, 1] * 30


def test_where_it_was_written_does_not_matter(tmp_path: Path) -> None:
    found = set()
    for name, order in (("a", "<f8"), ("b", ">f8")):
        np.save(tmp_path / f"{name}.npy", table().to_numpy().astype(order))
        found.add(Arrays(path=str(tmp_path / f"{name}.npy")).open().fingerprint)
    assert len(found) == 1


def test_matrices_of_other_numbers(tmp_path: Path) -> None:
    for values in (np.arange(6).reshape(3, 2) % 2 > 0, np.arange(3, dtype="u1"), np.ones((3, 1))):
        np.save(tmp_path / "t.npy", values)
        corpus = Arrays(path=str(tmp_path / "t.npy")).open()
        assert set(corpus.columns.values()) == {"number"}


def save(folder: Path, *, name: str = "t.npy", **arrays: Any) -> str:
    path = folder / name
    np.save(path, arrays["X"]) if name.endswith(".npy") else np.savez(path, **arrays)
    return str(path)


def test_nan_is_an_error(tmp_path: Path) -> None:
    X = np.ones((9, 2))
    X[5, 1] = np.nan
    path = save(tmp_path, X=X)
    with pytest.raises(CorpusError, match="column 'x1' of .* is NaN in row 5; an array cannot say"):
        Arrays(path=path).open(blocksize=32)
    assert Arrays(path=path, targets=("x1",)).open().feature_columns == ("x0",)


@pytest.mark.parametrize("codecs", [["vlen-utf8", "pickle"], ["pickle"]])
def test_pickled_chunks_are_refused(tmp_path: Path, codecs: list[str]) -> None:
    # The chunk would make this test fail if it were ever unpickled.
    metadata = {
        "zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|O", "compressor": None,
        "fill_value": None, "order": "C", "filters": [{"id": codec} for codec in codecs],
    }  # fmt: skip
    (tmp_path / ".zarray").write_text(json.dumps(metadata))
    (tmp_path / "0").write_bytes(b"cbuiltins\nexit\n(tR.")
    with pytest.raises(CorpusError, match="cannot read '.*': .*pickle"):
        Arrays(path=str(tmp_path)).open()


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read '.*nil.npy': no such file"):
        Arrays(path=str(tmp_path / "nil.npy")).open()
    with pytest.raises(CorpusError, match="it holds Python objects, and reading them could run"):
        Arrays(path=save(tmp_path, X=np.array([[None]]))).open()
    with pytest.raises(CorpusError, match=r"the array has shape \(2, 2, 2\); reshape it"):
        Arrays(path=save(tmp_path, X=np.zeros((2, 2, 2)))).open()
    with pytest.raises(CorpusError, match="the matrix has dtype <U1, not numbers"):
        Arrays(path=save(tmp_path, X=np.array([["a"]]))).open()
    with pytest.raises(CorpusError, match="has no rows"):
        Arrays(path=save(tmp_path, X=np.zeros((0, 3)))).open()
    path = save(tmp_path, X=np.zeros((3, 2)))
    with pytest.raises(CorpusError, match="3 column names were given for 2 columns"):
        Arrays(path=path, columns=("a", "b", "c")).open()
    path = save(tmp_path, name="t.npz", X=np.zeros((3, 2)), Y=np.zeros((3, 2)), y=np.zeros(2))
    with pytest.raises(CorpusError, match=r"it has 2 matrices among its arrays \(X, Y, y\); name"):
        Arrays(path=path).open()
    with pytest.raises(CorpusError, match="it has no array 'Z'; its arrays are: X, Y, y"):
        Arrays(path=path, key="Z").open()
    with pytest.raises(CorpusError, match=r"'y' has shape \(2,\) beside 3 rows; it needs one"):
        Arrays(path=path, key="X", targets=("y",)).open()
    (tmp_path / "bad.npy").write_bytes(b"not an array at all")
    with pytest.raises(CorpusError, match="cannot read '.*bad.npy': "):
        Arrays(path=str(tmp_path / "bad.npy")).open()
    (tmp_path / "bad.npz").write_bytes(b"not an array at all")
    with pytest.raises(CorpusError, match="cannot read '.*bad.npz': File is not a zip file"):
        Arrays(path=str(tmp_path / "bad.npz")).open()
    whole = (tmp_path / "t.npy").read_bytes()
    (tmp_path / "t.npy").write_bytes(whole[:-8])
    with pytest.raises(CorpusError, match="the file ends too early; copy it again"):
        Arrays(path=str(tmp_path / "t.npy")).open()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="cannot read '.*empty': "):
        Arrays(path=str(tmp_path / "empty")).open()


def group(folder: Path, X: np.ndarray, **vectors: np.ndarray) -> str:
    root = zarr.open_group(str(folder / "g.zarr"), mode="w")
    for name, values in {"X": X, **vectors}.items():
        root.create_array(name, data=values)
    return str(folder / "g.zarr")


WRITE = {
    "npy": lambda folder, X, **vectors: save(folder, X=X),
    "npz": lambda folder, X, **vectors: save(folder, name="t.npz", X=X, **vectors),
    "zarr": group,
}


@pytest.mark.parametrize("kind", WRITE)
def test_a_change_after_opening_spares_what_did_not_change(tmp_path: Path, kind: str) -> None:
    X = np.arange(24.0).reshape(12, 2)
    corpus = Arrays(path=WRITE[kind](tmp_path, X)).open(blocksize=32)
    first, last = corpus.partitions[0], corpus.partitions[-1]
    X[11, 1] = 7
    WRITE[kind](tmp_path, X)
    if kind != "zarr":  # which may hold all rows in one chunk
        assert first.load()["x1"].tolist() == [1, 3]
    with pytest.raises(CorpusError, match="'.*' changed while it was being read; open it again"):
        last.load()


@pytest.mark.parametrize("kind", ["npz", "zarr"])
def test_vectors_are_compared_by_themselves(tmp_path: Path, kind: str) -> None:
    X, y = np.zeros((6, 2)), np.arange(6)
    corpus = Arrays(path=WRITE[kind](tmp_path, X, y=y), key="X", targets=("y",)).open()
    y[5] = 7
    WRITE[kind](tmp_path, X, y=y)
    assert corpus.partitions[0].load(["x0", "x1"]).shape == (6, 2)
    for columns in (["y"], ["x0", "y"], None):
        with pytest.raises(CorpusError, match="changed while it was being read; open it again"):
            corpus.partitions[0].load(columns)


@pytest.mark.parametrize("kind", WRITE)
@pytest.mark.parametrize("shape", [(9, 2), (6, 3), (6,), ()])
def test_another_shape_after_opening(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    corpus = Arrays(path=WRITE[kind](tmp_path, np.zeros((6, 2)))).open()
    WRITE[kind](tmp_path, np.ones(shape))
    with pytest.raises(CorpusError, match="changed while it was being read|cannot read"):
        corpus.partitions[0].load()


@pytest.mark.parametrize("role", [{"targets": ("s",)}, {"id": "s"}])
def test_text_that_is_not_unicode(tmp_path: Path, role: dict[str, Any]) -> None:
    s = np.array(["u", "v", "w", "\ud83d"])
    path = save(tmp_path, name="t.npz", X=np.zeros((4, 2)), s=s)
    message = "column 's' of '.*t.npz' holds text in row 3 that is not valid Unicode"
    with pytest.raises(CorpusError, match=message):
        Arrays(path=path, key="X", **role).open(blocksize=32)
    codes = np.array([1, 2, 3, 0x110000], np.uint32)  # more than there are characters
    np.savez(path, X=np.zeros((4, 2)), s=codes.view("U1"))
    with pytest.raises(CorpusError, match="cannot read '.*t.npz': "):
        Arrays(path=path, key="X", **role).open()
