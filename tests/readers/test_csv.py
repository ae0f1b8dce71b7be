from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contexture.errors import CorpusError
from contexture.features import Recipe
from contexture.readers import Csv
from contexture.readers.byte_ranges import csv_record_ends
from tests.readers.contract import ReaderContract


class TestCsv(ReaderContract):
    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        frame.to_csv(folder / "t.csv", index=False)
        return {"path": str(folder / "t.csv")}

    def reader(self, source: dict[str, Any], **roles: Any) -> Csv:
        return Csv(**source, **roles)


def read(folder: Path, text: str | bytes, blocksize: int = 2**20, **options: Any) -> pd.DataFrame:
    path = folder / "x.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Csv(path=str(path), **options).open(blocksize).frame().compute()


def test_types_are_those_of_the_whole_corpus(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{i},{i}\n" for i in range(50)) + "x,7.5\n"
    frame = read(tmp_path, text, 40)
    assert frame["a"].tolist() == [*map(str, range(50)), "x"]
    assert frame["b"].dtype == np.float64


def test_missing_values_spellings_and_numbers(tmp_path: Path) -> None:
    frame = read(tmp_path, 'a,s\n 1 ,x\nNA,"NA"\n?,None\n1e3,\n')
    np.testing.assert_array_equal(frame["a"], [1, np.nan, np.nan, 1000])
    assert frame["s"].isna().tolist() == [False, True, False, True]
    frame = read(tmp_path, "a,s\n-9,NA\n2,y\n", missing=("-9",))
    assert frame["s"].tolist() == ["NA", "y"]
    assert np.isnan(frame["a"].iloc[0])


def test_other_spellings_of_a_table(tmp_path: Path) -> None:
    for text, options in (
        ("a;b\r\n1;u\r\n2;v", {"delimiter": ";"}),
        ("\ufeffa\tb\n1\tu\n2\tv\n", {"delimiter": "\\t"}),
        ("1,u\n2,v\n", {"names": ("a", "b")}),
        ('"a","b"\n"1","u"\n\n2,v\n\n', {}),
    ):
        frame = read(tmp_path, text, 6, **options)
        assert frame.to_dict("list") == {"a": [1.0, 2.0], "b": ["u", "v"]}


def test_leading_zeros_are_part_of_an_id(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("k,v\n007,1\n7,2\n")
    ids = Csv(path=str(tmp_path / "x.csv"), id="k").open().ids()
    assert ids.tolist() == ["007", "7"]


def classes(
    folder: Path, values: list[str], blocksize: int
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Read a column that stands for classes, as a target and as a feature."""
    path = folder / "x.csv"
    path.write_text("v,c\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
    (target,) = (
        Csv(path=str(path), targets=("c",), categorical=("c",)).open(blocksize).read_targets()
    )
    corpus = Csv(path=str(path), categorical=("c",)).open(blocksize)
    assert corpus.columns["c"] == "category"
    recipe = Recipe.fit(corpus)
    X = recipe.transform(corpus).compute()[:, 1:]
    known = target.values >= 0
    np.testing.assert_array_equal(X[known].argmax(axis=1), target.values[known])
    assert X[~known].sum() == X[~known, -1].sum()  # missing is the last level
    found = [target.levels[code] if code >= 0 else "" for code in target.values]
    return found, target.levels, recipe.columns[1:]


@pytest.mark.parametrize("blocksize", [1, 30, 2**20])
@pytest.mark.parametrize(
    "values",
    [
        ["02134", "2134", "02134", "5"],
        ["5", "2134", "", "+02134", "-007", "1.5"],
        ["0", "00", "1"],
        ["9007199254740993", "9007199254740992", "9007199254740992", "7"],
        ["7", "", "-9007199254740993", "-9007199254740992"],
        ["1234567890123456789012", "1234567890123456789013", "1"],
        ["9007199254740993.0", "9007199254740992.0", "1.5"],
    ],
)
def test_classes_that_are_no_floating_numbers(
    tmp_path: Path, values: list[str], blocksize: int
) -> None:
    found, levels, features = classes(tmp_path, values, blocksize)
    assert found == values
    assert levels == tuple(sorted({*values} - {""}))
    last = ("c=<missing>",) * ("" in values)
    assert features == (*(f"c={level}" for level in levels), *last)


@pytest.mark.parametrize("blocksize", [1, 2**20])
def test_classes_of_ordinary_numbers_are_told_by_value(tmp_path: Path, blocksize: int) -> None:
    values = [
        "10",
        "1.0",
        " 1 ",
        "",
        "1",
        "+2",
        "2.50",
        "-0",
        "0",
        "0.5",
        "1e3",
        "9007199254740991",
    ]
    found, levels, _ = classes(tmp_path, values, blocksize)
    assert levels == ("0", "0.5", "1", "2", "2.5", "10", "1000", "9007199254740991.0")
    assert found[:4] == ["10", "1", "1", ""]
    # Large ones that are spelled as floating numbers are such.
    _, levels, _ = classes(tmp_path, ["1e300", "1e16", "7"], blocksize)
    assert levels == ("7", "1e+16", "1e+300")


def test_leading_zeros_matter_to_classes_only(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,b\n007,9007199254740993\n7,1\n", targets=("b",))
    assert frame.to_dict("list") == {"a": [7.0, 7.0], "b": [2.0**53, 1.0]}


@pytest.mark.parametrize(
    "text", ["a,b\r1,2\n3,4\n5,6\n", "a,b\r1,2\r3,4\r5,6\r", "a,b\r1,2", "\ra,b\n1,2\n"]
)
def test_a_header_that_ends_in_a_carriage_return_alone(tmp_path: Path, text: str) -> None:
    message = (
        r"cannot read '.*x.csv': it has lines that end in a carriage return alone, .*; save it "
        r"with lines that end in a newline \(\\n\)$"
    )
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    ["a,b\r\n1,2\r\n", "a,b\r\r\n1,2\r\r\n", "a,b\n1,2", '"a",b\r\n1,2', 'a,"b"\n1,2\r'],
)
def test_headers_that_end_otherwise(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).to_dict("list") == {"a": [1.0], "b": [2.0]}


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_end_in_a_name(tmp_path: Path, end: str) -> None:
    frame = read(tmp_path, f'"a{end}x",b\r\n1,2\r\n')
    assert frame.to_dict("list") == {f"a{end}x": [1.0], "b": [2.0]}


CELL = st.text(st.sampled_from('a",\n\r;x '), max_size=8)


@given(
    rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=12),
    size=st.integers(1, 60),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_quotes_across_boundaries(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    size: int,
    quoting: Any,
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # a bare carriage return would be a line end
        rows = [(p.replace("\r", ""), q.replace("\r", "")) for p, q in rows]
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator="\n")
    writer.writerows([("p", "q"), ("start", "start"), *rows])
    path = tmp_path_factory.getbasetemp() / f"quotes{size}.csv"
    path.write_bytes(out.getvalue().encode())
    corpus = Csv(path=str(path), missing=("start",)).open(size)
    assert [tuple(r) for p in corpus.partitions for r in p.load().to_numpy()][1:] == rows


@given(data=st.text(st.sampled_from('a",\n'), max_size=40))
def test_both_ways_of_finding_record_ends_agree(data: str) -> None:
    state, ends = "start", []  # the rules spelled out, one character at a time
    for place, char in enumerate(data, 1):
        if state == "inside":
            state = "quote" if char == '"' else "inside"
        elif state == "quote" and char == '"' or state == "start" and char == '"':
            state = "inside"
        else:
            state = "start" if char in ",\n" else "field"
            if char == "\n":
                ends.append(place)
    found = csv_record_ends(data.encode(), ",")
    assert found == ((ends[0], ends[-1]) if ends else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read '.*x.csv': the file is empty"),
        ("a,b\n", "'.*x.csv' has no rows; there is nothing to read"),
        ("a,b\n1,2\n1,2,3\n", "cannot read '.*x.csv': row 1: Expected 2 columns, got 3: 1,2,3"),
        ('a,b\n1,"2\n3,4\n', "a quote opened after row 0 is never closed; close it, or double"),
        ("a,a\n1,2\n", "'.*x.csv' has two columns named 'a'; rename one of them"),
        (",a\n1,2\n", "column 1 of '.*x.csv' has no name; name it .*index=False"),
        (b"\x1f\x8b\x08\x00", r"it is compressed \(gzip\), .* unpack it first"),
        (b"\xff\xfea\x00", "it is UTF-16 text; save it as UTF-8"),
        (b"a,b\n1,\xff\n", "cannot read '.*x.csv': .*invalid UTF8 data"),
        (b"a,b\n1,\xed\xa0\xbd\n", "cannot read '.*x.csv': .*invalid UTF8 data"),  # a surrogate
        (b"a\xff,b\n1,2\n", "cannot read '.*x.csv': it is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, text)


def test_rows_in_messages_count_over_partitions(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="row 30: Expected 1 columns, got 2"):
        read(tmp_path, "a\n" + "1\n" * 30 + "1,2\n", 10)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot read '.*nil.csv': no such file; check the path"):
        Csv(path=str(tmp_path / "nil.csv")).open()
    with pytest.raises(CorpusError, match="it is a folder; name a file in it"):
        Csv(path=str(tmp_path)).open()
    with pytest.raises(CorpusError, match="cannot read 'nil://x': Protocol not known"):
        Csv(path="nil://x").open()


def test_roles_are_checked_before_the_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("rings,b\nthis is,not,a table\n")
    with pytest.raises(CorpusError, match=r"did you mean 'rings'\? Its columns are: rings, b"):
        Csv(path=str(tmp_path / "x.csv"), targets=("ring",)).open()


def test_a_change_after_opening(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n2\n")
    corpus = Csv(path=str(path)).open()
    path.write_text("a\n1\n3\n")
    with pytest.raises(CorpusError, match="changed while it was being read; open it again"):
        corpus.partitions[0].load()


@pytest.mark.parametrize("blocksize", [0, 2**31])
def test_blocksize_bounds(tmp_path: Path, blocksize: int) -> None:
    with pytest.raises(CorpusError, match="it must be between 1 and"):
        read(tmp_path, "a\n1\n", blocksize)


def test_resolved(tmp_path: Path) -> None:
    assert Csv(path="d/x.csv").resolved(tmp_path).path == str(tmp_path / "d" / "x.csv")
    assert Csv(path="/d/x.csv").resolved(tmp_path).path == "/d/x.csv"
    assert Csv(path="s3://d/x.csv").resolved(tmp_path).path == "s3://d/x.csv"
    assert Csv(path="~tmp.csv").resolved(tmp_path).path == str(tmp_path / "~tmp.csv")
