from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contexture.errors import CorpusError
from contexture.readers import Jsonl
from tests.readers.contract import ReaderContract


class TestJsonl(ReaderContract):
    SMALL = 1000

    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        records = frame.to_dict("records")
        (folder / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        return {"path": str(folder / "t.jsonl")}

    def reader(self, source: dict[str, Any], **roles: Any) -> Jsonl:
        return Jsonl(**source, **roles)


def read(folder: Path, text: str, blocksize: int = 2**20, **options: Any) -> pd.DataFrame:
    (folder / "x.jsonl").write_text(text, encoding="utf-8")
    return Jsonl(path=str(folder / "x.jsonl"), **options).open(blocksize).frame().compute()


@pytest.mark.parametrize("blocksize", [8, 2**20])
def test_types_are_those_of_the_whole_corpus(tmp_path: Path, blocksize: int) -> None:
    lines = ['{"a": 1}', '{"a": 1.5}', '{"a": true, "b": 2}', '{"a": "x", "b": null}', ""]
    frame = read(tmp_path, "\n".join(lines), blocksize)
    assert frame["a"].tolist() == ["1", "1.5", "True", "x"]
    np.testing.assert_array_equal(frame["b"], [np.nan, np.nan, 2, np.nan])


@pytest.mark.parametrize("blocksize", [8, 2**20])
@pytest.mark.parametrize("large", [2**53, -(2**53) - 1, 2**63, 10**30])
def test_classes_that_are_no_floating_numbers(tmp_path: Path, blocksize: int, large: int) -> None:
    values = [large + 1, large, None, 7, large]
    lines = [json.dumps({"v": i, "c": value}) for i, value in enumerate(values)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    roles: dict[str, Any] = {"targets": ("c",), "categorical": ("c",)}
    (target,) = Jsonl(path=str(tmp_path / "x.jsonl"), **roles).open(blocksize).read_targets()
    assert target.levels == tuple(sorted(map(str, {7, large, large + 1})))
    found = [int(target.levels[code]) if code >= 0 else None for code in target.values]
    assert found == values


@pytest.mark.parametrize("blocksize", [8, 2**20])
def test_large_classes_among_floating_numbers(tmp_path: Path, blocksize: int) -> None:
    text = '{"v": 1, "c": 7}\n{"v": 2, "c": 7.0}\n{"v": 3, "c": 9007199254740993}\n'
    message = (
        r"column 'c' of '.*x.jsonl' stands for classes and holds a whole number of 2\*\*53 or more "
        "in row 2, but some of its numbers are read in floating point, .*; write them as text$"
    )
    for roles in ({}, {"targets": ("c",)}):
        with pytest.raises(CorpusError, match=message):
            read(tmp_path, text, blocksize, categorical=("c",), **roles)
    assert read(tmp_path, text, blocksize, categorical=("c",), exclude=("c",)).shape == (3, 1)
    assert read(tmp_path, text, blocksize)["c"].tolist() == [7, 7, 2**53]  # a quantity


@pytest.mark.parametrize("blocksize", [8, 2**20])
def test_classes_of_ordinary_numbers_are_told_by_value(tmp_path: Path, blocksize: int) -> None:
    values = [1, 1.0, None, 10, 2.5, 1e300, 2**53 - 1]
    lines = [json.dumps({"v": i, "c": value}) for i, value in enumerate(values)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    roles: dict[str, Any] = {"targets": ("c",), "categorical": ("c",)}
    (target,) = Jsonl(path=str(tmp_path / "x.jsonl"), **roles).open(blocksize).read_targets()
    assert target.levels == ("1", "2.5", "10", "9007199254740991.0", "1e+300")
    assert target.values.tolist() == [0, 0, -1, 2, 1, 4, 3]


def test_text_is_kept(tmp_path: Path) -> None:
    frame = read(tmp_path, '{"a": "<b>\u2028\\n"}\n{"a": "7"}\n')
    assert frame["a"].tolist() == ["<b>\u2028\n", "7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "has no rows; there is nothing to read"),
        ('{"a": 1}\n{"a": \n', "cannot read '.*x.jsonl': row 1 is not JSON: "),
        ("[1]\n", "row 0 is a list; each line must be an object"),
        ('{"a": 1, "a": 2}\n', "row 0 is not JSON: two columns are named 'a'"),
        ('{"a": 1}\n{"a": [1]}\n', "column 'a' of .* holds a list in row 1; .* so exclude it"),
        ('{"a": 1e999}\n', "column 'a' of .* is infinite in row 0"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, text)


def test_what_is_excluded_may_hold_anything(tmp_path: Path) -> None:
    text = '{"a": 1, "b": {"c": []}}\n'
    assert list(read(tmp_path, text, exclude=("b",)).columns) == ["a"]
    assert list(read(tmp_path, text, include=("a",)).columns) == ["a"]


HALF = "\\ud83d"
BROKEN = r"is not valid Unicode \(such as half of a surrogate pair\); "


@pytest.mark.parametrize("roles", [{}, {"targets": ("a",)}, {"id": "a"}])
@pytest.mark.parametrize("blocksize", [8, 2**20])
def test_half_of_a_surrogate_pair(tmp_path: Path, blocksize: int, roles: dict[str, Any]) -> None:
    text = '{"b": 1, "a": "x"}\n{"b": 2}\n{"b": 3, "a": "y' + HALF + '"}\n'
    message = rf"column 'a' of '.*x.jsonl' holds text in row 2 that {BROKEN}correct the value, or"
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, text, blocksize, **roles)


def test_half_of_a_surrogate_pair_where_it_does_no_harm(tmp_path: Path) -> None:
    text = '{"b": "' + HALF + '\\ude00", "a": "' + HALF + '"}\n'
    assert read(tmp_path, text, exclude=("a",))["b"].tolist() == ["\U0001f600"]


def test_a_name_with_half_of_a_surrogate_pair(tmp_path: Path) -> None:
    message = rf"column 2 of '.*x.jsonl' is named '\\ud83d', which {BROKEN}rename it"
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, '{"a": 1, "' + HALF + '": 2}\n')
