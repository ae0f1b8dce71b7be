from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from contexture.errors import CorpusError
from contexture.features import Recipe
from contexture.readers import Parquet
from contexture.readers.parquet import ParquetBlock
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


@pytest.mark.parametrize(
    "empty", [[np.nan] * 2, pd.array([None] * 2, "boolean"), [None] * 2, [pd.NaT] * 2]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_file_in_which_a_column_is_all_missing(tmp_path: Path, empty: Any, first: bool) -> None:
    """Whatever type it has there: pandas writes NaN as a number, for one."""
    days = pd.to_datetime(["2024-01-02", "2024-01-03", None])
    whole = pd.DataFrame({"x": [1.0, 2, 3], "when": days, "n": [1, 2, 3], "s": ["u", "v", "u"]})
    gaps = pd.DataFrame({"x": [4.0, 5], "when": empty, "n": empty, "s": empty})
    whole.to_parquet(tmp_path / ("b.parquet" if first else "a.parquet"))
    gaps.to_parquet(tmp_path / ("a.parquet" if first else "b.parquet"))
    corpus = Parquet(path=str(tmp_path), targets=("when",)).open()
    assert corpus.columns == {"x": "number", "when": "datetime", "n": "number", "s": "category"}
    frame = corpus.frame().compute().sort_values("x", ignore_index=True)
    assert frame["when"].tolist()[:2] == days.tolist()[:2]
    assert frame["when"].isna().tolist() == [False, False, True, True, True]
    np.testing.assert_array_equal(frame["n"], [1, 2, 3, np.nan, np.nan])
    assert frame["s"].tolist()[:3] == ["u", "v", "u"]
    assert frame["s"].isna().tolist() == [False, False, False, True, True]


def test_dates_that_stand_for_classes(tmp_path: Path) -> None:
    days = ["2024-01-02", "2023-05-06 07:08:09.000010", None, "2024-01-02"]
    table = pa.table({"d": pa.array(pd.to_datetime(days, format="ISO8601")), "a": [1, 2, 3, 5]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=1)
    levels = ("2023-05-06 07:08:09.000010", "2024-01-02 00:00:00")
    corpus = Parquet(path=str(tmp_path / "x.parquet"), categorical=("d",)).open()
    assert corpus.columns["d"] == "category"
    recipe = Recipe.fit(corpus)
    assert recipe.columns == (*(f"d={level}" for level in levels), "d=<missing>", "a")
    X = recipe.transform(corpus).compute()
    np.testing.assert_array_equal(X[:, :3].argmax(axis=1), [1, 0, 2, 1])
    np.testing.assert_allclose(recipe.transform_frame(table.to_pandas()), X)
    corpus = Parquet(path=str(tmp_path / "x.parquet"), categorical=("d",), targets=("d",)).open()
    (target,) = corpus.read_targets()
    assert (target.kind, target.levels) == ("class", levels)
    assert target.values.tolist() == [1, 0, -1, 1]


@pytest.mark.parametrize("group", [1, 9])
def test_classes_that_are_no_floating_numbers(tmp_path: Path, group: int) -> None:
    values = [7, 2**53 + 1, 2**53, None, 2**53, -(2**63)]
    columns = {"c": pa.array(values, pa.int64()), "v": [1, 2, 3, 4, 5, 7]}
    for c in (columns["c"], columns["c"].dictionary_encode()):
        pq.write_table(pa.table({**columns, "c": c}), tmp_path / "x.parquet", row_group_size=group)
        corpus = Parquet(path=str(tmp_path / "x.parquet"), categorical=("c",)).open()
        levels = ("-9223372036854775808", "7", "9007199254740992", "9007199254740993")
        recipe = Recipe.fit(corpus)
        assert recipe.columns == (*(f"c={level}" for level in levels), "c=<missing>", "v")
        X = recipe.transform(corpus).compute()
        np.testing.assert_array_equal(X[:, :5].argmax(axis=1), [1, 3, 2, 4, 2, 0])
        roles: dict[str, Any] = {"targets": ("c",), "categorical": ("c",)}
        (target,) = Parquet(path=str(tmp_path / "x.parquet"), **roles).open().read_targets()
        assert (target.levels, target.values.tolist()) == (levels, [1, 3, 2, -1, 2, 0])


@pytest.mark.parametrize("group", [1, 9])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([5, 2**63, 2**63 + 1], pa.uint64()),
        pa.array([5, 2**53, 2**53 + 1], pa.decimal128(20, 0)),
        pa.array([5, 2**63, 2**63 + 1], pa.uint64()).dictionary_encode(),
    ],
)
def test_large_classes_that_are_read_in_floating_point(
    tmp_path: Path, values: pa.Array, group: int
) -> None:
    table = pa.table({"c": values, "v": [1, 2, 3]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=group)
    message = (
        r"column 'c' of '.*x.parquet' stands for classes and holds a whole number of 2\*\*53 or "
        "more in row 1, but some of its numbers are read in floating point, .*; write them as text$"
    )
    for roles in ({}, {"targets": ("c",)}):
        with pytest.raises(CorpusError, match=message):
            Parquet(path=str(tmp_path / "x.parquet"), categorical=("c",), **roles).open()
    assert Parquet(path=str(tmp_path / "x.parquet")).open().columns["c"] == "number"


def test_large_classes_in_one_file_and_floating_numbers_in_another(tmp_path: Path) -> None:
    """As pandas writes whole numbers, some of them missing: 7 would be 7.0 there."""
    pq.write_table(pa.table({"c": [7, 2**53 + 1], "v": [1, 2]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"c": [7.0, None], "v": [1, 2]}), tmp_path / "1.parquet")
    with pytest.raises(CorpusError, match="column 'c' of .* or more in row 1, .* write them as"):
        Parquet(path=str(tmp_path), categorical=("c",)).open()
    empty = pa.array([None, None], pa.float64())
    pq.write_table(pa.table({"c": empty, "v": [1, 2]}), tmp_path / "1.parquet")
    corpus = Parquet(path=str(tmp_path), categorical=("c",)).open()
    assert Recipe.fit(corpus).columns[:3] == ("c=7", "c=9007199254740993", "c=<missing>")


def test_classes_of_ordinary_numbers_are_told_by_value(tmp_path: Path) -> None:
    for values, levels in (
        ([1, 10, None, 2**53 - 1], ("1", "10", "9007199254740991.0")),
        ([1.0, 1e300, None, 0.5], ("0.5", "1", "1e+300")),
        (pa.array([1, 10, None, 2], pa.decimal128(20, 0)), ("1", "2", "10")),
        (pa.array([1, 10, None, 2], pa.uint64()), ("1", "2", "10")),
    ):
        path = write(tmp_path, c=values, v=[1, 2, 3, 4])
        roles: dict[str, Any] = {"targets": ("c",), "categorical": ("c",)}
        corpus = Parquet(path=path, **roles).open()
        assert corpus.dtypes["c"] == "float64"
        assert corpus.read_targets()[0].levels == levels


def test_ids_that_no_int64_holds(tmp_path: Path) -> None:
    ids = pa.array([5, 2**63, 2**63 + 1], pa.uint64())  # the last two are one as floating numbers
    corpus = Parquet(path=write(tmp_path, k=ids, a=[1, 2, 3]), id="k").open()
    message = r"id column 'k' holds 9.22\d*e\+18 in row 1; an id must be text or a whole number"
    with pytest.raises(CorpusError, match=message):
        corpus.ids()


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


def test_a_change_of_the_same_size_after_opening(tmp_path: Path) -> None:
    path = Path(write(tmp_path, a=[1, 2]))
    corpus, size = Parquet(path=str(path)).open(), path.stat().st_size
    write(tmp_path, a=[1, 3])
    os.utime(path, (1, 1))  # whatever the clock of the file system can tell apart
    assert path.stat().st_size == size
    with pytest.raises(CorpusError, match="changed while it was being read; open it again"):
        corpus.partitions[0].load()


def test_a_file_that_was_only_touched_or_copied(tmp_path: Path) -> None:
    path = write(tmp_path, a=[1, 2], b=["x", None])
    corpus = Parquet(path=path, targets=("b",)).open()
    os.utime(path, (1, 1))
    assert corpus.partitions[0].load(["a"])["a"].tolist() == [1, 2]
    write(tmp_path, a=[1, 2], b=["y", None])
    os.utime(path, (1, 1))
    with pytest.raises(CorpusError, match="changed while it was being read; open it again"):
        corpus.partitions[0].load(["a"])


def test_a_checksum_says_more_than_the_time_of_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As object stores have one; what they keep of an old listing is not asked."""
    plain, kept = LocalFileSystem.info, {}

    def info(self: LocalFileSystem, path: str, **options: Any) -> dict[str, Any]:
        tag = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return kept.setdefault(path, plain(self, path, **options) | {"ETag": tag})

    monkeypatch.setattr(LocalFileSystem, "info", info)
    monkeypatch.setattr(LocalFileSystem, "invalidate_cache", lambda *_: kept.clear())
    path = write(tmp_path, a=[1, 2])
    corpus, time = Parquet(path=path).open(), os.stat(path).st_mtime_ns
    os.utime(path, (1, 1))
    with monkeypatch.context() as patch:  # the values need not be compared
        patch.setattr(ParquetBlock, "_content", None)
        assert corpus.partitions[0].load()["a"].tolist() == [1, 2]
    write(tmp_path, a=[1, 3])
    os.utime(path, ns=(time, time))
    with pytest.raises(CorpusError, match="changed while it was being read; open it again"):
        corpus.partitions[0].load()


def test_text_that_is_not_unicode(tmp_path: Path) -> None:
    """Parquet takes any bytes for text."""
    broken = pa.array([b"x", None, b"\xed\xa0\xbd"]).view(pa.string())
    path = tmp_path / "t.parquet"
    for column in (broken, broken.cast(pa.large_binary()).view(pa.large_string())):
        rows = pa.table({"s": pa.concat_arrays([column, column]), "b": range(6)})
        pq.write_table(rows.slice(1), path, row_group_size=1)
        message = r"column 's' of '.*t.parquet' holds text in row 1 that is not valid Unicode"
        for roles in ({}, {"targets": ("s",)}, {"id": "s"}):
            with pytest.raises(CorpusError, match=message):
                Parquet(path=str(path), **roles).open()
        assert Parquet(path=str(path), exclude=("s",)).open().rows == 5


def test_an_unnamed_index_is_no_column(tmp_path: Path) -> None:
    table().iloc[::-1].to_parquet(tmp_path / "t.parquet", index=True)
    assert "__index_level_0__" not in Parquet(path=str(tmp_path / "t.parquet")).open().columns
