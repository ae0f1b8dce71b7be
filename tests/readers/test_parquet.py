from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contexture.errors import CorpusError
from contexture.readers import Parquet
from tests.readers.contract import ReaderContract, table


class TestParquetFile(ReaderContract):
    # Row groups are what partitions are made of; the blocksize has no say.
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        frame.to_parquet(folder / "t.parquet", index=False, row_group_size=20)
        return {"path": str(folder / "t.parquet")}

    def reader(self, source: dict[str, Any], **roles: Any) -> Parquet:
        return Parquet(**source, **roles)


class TestParquetFolder(TestParquetFile):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        (folder / "t").mkdir(exist_ok=True)
        for start in range(0, len(frame), 25):
            name = folder / "t" / f"{start:04}.parquet"
            frame.iloc[start : start + 25].to_parquet(name, index=False)
        (folder / "t" / "_notes.parquet").write_text("left alone")
        return {"path": str(folder / "t")}


def write(folder: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return str(folder / "x.parquet")


def test_kinds(tmp_path: Path) -> None:
    days = pd.to_datetime(["2024-01-02", None, "2024-01-03"])
    path = write(
        tmp_path,
        n=pa.array([1, None, 3], pa.int32()),
        s=["u", None, ""],
        f=[True, False, None],
        d=pa.array(days),
        c=pa.array(["x", "y", "x"]).dictionary_encode(),
        m=pa.array([1, 2, 3], pa.decimal128(5, 2)),
    )
    corpus = Parquet(path=path, targets=("f", "d")).open()
    kinds = ["number", "category", "category", "datetime", "category", "number"]
    assert list(corpus.columns.values()) == kinds
    frame = corpus.frame().compute()
    assert frame["f"].tolist()[:2] == ["True", "False"]
    assert frame["s"].isna().tolist() == [False, True, False]
    flag, day = corpus.read_targets()
    assert (flag.levels, flag.values.tolist()) == (("False", "True"), [1, 0, -1])
    np.testing.assert_array_equal(day.values, [1704153600, np.nan, 1704240000])


def test_types_differ_between_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": ["x", "y"]}), tmp_path / "1.parquet")
    frame = Parquet(path=str(tmp_path)).open().frame().compute()
    assert frame["a"].tolist() == ["1", "2", "x", "y"]


def test_the_same_values_stored_otherwise(tmp_path: Path) -> None:
    frame = table()
    found = set()
    for codec in ("snappy", "gzip"):
        frame.to_parquet(tmp_path / "t.parquet", compression=codec, index=False)
        found.add(Parquet(path=str(tmp_path / "t.parquet")).open().fingerprint)
    assert len(found) == 1


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read '.*nil': no such file"):
        Parquet(path=str(tmp_path / "nil")).open()
    with pytest.raises(CorpusError, match="the folder holds no file that ends in .parquet"):
        Parquet(path=str(tmp_path)).open()
    path = write(tmp_path, a=[[1], [2]], b=[1, 2])
    with pytest.raises(CorpusError, match="'a' of .* values of type list<.*>, .* exclude it"):
        Parquet(path=path).open()
    assert Parquet(path=path, exclude=("a",)).open().feature_columns == ("b",)
    pq.write_table(pa.table({"b": [1.0]}), tmp_path / "y.parquet")
    with pytest.raises(CorpusError, match="has a column 'a' and '.*y.parquet' has none; all files"):
        Parquet(path=str(tmp_path)).open()
    (tmp_path / "z.parquet").write_text("no table at all")
    with pytest.raises(CorpusError, match="cannot read '.*z.parquet': Parquet magic bytes not"):
        Parquet(path=str(tmp_path / "z.parquet")).open()
    (tmp_path / "f" / "year=2024").mkdir(parents=True)
    pq.write_table(pa.table({"b": [1.0]}), tmp_path / "f" / "year=2024" / "y.parquet")
    with pytest.raises(CorpusError, match=r"is named like a column \(key=value\)"):
        Parquet(path=str(tmp_path / "f")).open()
    pq.write_table(pa.table({"b": pa.array([], pa.float64())}), tmp_path / "e.parquet")
    with pytest.raises(CorpusError, match="has no rows; there is nothing to read"):
        Parquet(path=str(tmp_path / "e.parquet")).open()


def test_a_change_after_opening(tmp_path: Path) -> None:
    corpus = Parquet(path=write(tmp_path, a=[1, 2])).open()
    write(tmp_path, a=list(range(1000)))
    with pytest.raises(CorpusError, match="changed while it was being read; open it again"):
        corpus.partitions[0].load()


def test_an_unnamed_index_is_no_column(tmp_path: Path) -> None:
    table().iloc[::-1].to_parquet(tmp_path / "t.parquet", index=True)
    assert "__index_level_0__" not in Parquet(path=str(tmp_path / "t.parquet")).open().columns
