from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contexture.contexts import Context, Counts, Features
from contexture.errors import ContextError
from tests.contexts.contract import ContextContract, N, dense, points

HEADER = "x,a,count\n"


def write(folder: Path, text: str, name: str = "counts.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def three() -> Features:
    return Features.from_array(points(3), ids=np.array(["u", "v", "w"]))


class TestCounts(ContextContract):
    kind = "counts"

    def table(self) -> pd.DataFrame:
        rng = np.random.default_rng(6)
        x = np.concatenate([np.arange(N), rng.integers(0, N, 80)])
        frame = pd.DataFrame({"x": x, "a": rng.integers(0, 9, len(x))})
        frame["x"] = frame["x"].map(lambda i: f"row {i}")
        frame["count"] = rng.integers(1, 7, len(x))
        frame["other"] = frame["count"] + frame["a"]
        return frame

    def context(self, folder: Path) -> Context:
        self.table().to_csv(folder / "counts.csv", index=False)
        return Counts(path=str(folder / "counts.csv"))

    def siblings(self, folder: Path) -> list[Context]:
        self.table().iloc[:-1].to_csv(folder / "shorter.csv", index=False)
        return [
            Counts(path=str(folder / "shorter.csv")),
            Counts(path=str(folder / "counts.csv"), count="other"),
        ]


def test_row_normalised_counts(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "u,tea,1\nu,oil,3\nv,oil,2\nw,tea,2\nw,tea,1\nw,air,1\n")
    evidence = Counts(path=path).fit(three())
    C = np.array([[0, 3, 1], [0, 2, 0], [1, 0, 3]], dtype=float)
    np.testing.assert_array_equal(evidence.context_values, ["air", "oil", "tea"])
    np.testing.assert_allclose(dense(evidence), C / C.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(evidence.input_weights, C.sum(axis=1) / C.sum())
    assert evidence.details == {"pairs": 6}


def test_zero_counts_are_not_stored(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "u,tea,1\nu,oil,0\nv,oil,2\nw,tea,2\n")
    evidence = Counts(path=path).fit(three())
    assert evidence.rows(0, 3).nnz == 3


def test_named_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item,plays\nu,1,1\nv,01,1\nw,1,4\n")
    evidence = Counts(path=path, input="user", context="item", count="plays").fit(three())
    np.testing.assert_array_equal(evidence.context_values, ["01", "1"])
    np.testing.assert_array_equal(dense(evidence), [[0, 1], [1, 0], [0, 1]])


def test_default_name_and_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Counts(path="x/plays.parquet").default_name == "counts-plays"
    assert Counts(path="plays.csv").resolved(tmp_path).path == str(tmp_path / "plays.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    home = Counts(path="~/plays.csv").resolved(Path("/elsewhere"))
    assert home.path == str(tmp_path / "plays.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEADER + "u,t,1\nv,t,-0.5\nw,t,1\n",
            "the count in row 2 of '{path}' is -0.5; negative counts have no meaning here.",
        ),
        (
            HEADER + "u,t,1\nv,t,two\nw,t,1\n",
            "the count in row 2 of '{path}' is 'two'; a finite number is needed.",
        ),
        (
            HEADER + "u,t,1\nv,t,1\nq,t,1\n",
            "'{path}' names 1 input(s) that are no id of the corpus, such as 'q'; names must "
            "match the id column (row numbers from 0 if there is none).",
        ),
        (
            HEADER + "u,t,1\n",
            "2 row(s) of the corpus have no count, such as 'v', 'w'; give them a positive count, "
            "or leave these rows out of both the corpus and the counts.",
        ),
        (
            HEADER + "u,t,1\nv,t,1e100\nw,t,1e-60\n",
            "the counts of row 'w' add up to 1.0e-160 of those of another row: too far apart to be "
            "told from 0; leave such rows out of the corpus.",
        ),
        (HEADER, "'{path}' has no rows."),
        ("x,a,n\nu,t,1\n", "'{path}' has no column 'count'; its columns are: x, a, n."),
    ],
)
def test_messages(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ContextError) as caught:
        Counts(path=path).fit(three())
    assert str(caught.value) == "context 'counts-counts': " + message.replace("{path}", path)


def test_missing_file(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere.csv")
    with pytest.raises(ContextError) as caught:
        Counts(path=path, name="plays").fit(three())
    assert str(caught.value) == (
        f"context 'plays': cannot read '{path}': no such file; check the path."
    )


def test_columns_differ() -> None:
    with pytest.raises(ValueError, match="input, context and count must be different columns"):
        Counts(path="counts.csv", input="a")


def test_counts_as_large_as_numbers_can_be(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "u,t,1e308\nv,t,1e308\nv,r,1e308\nw,t,1e308\n")
    rows = Counts(path=path).fit(three())
    np.testing.assert_allclose(rows.input_weights, [0.25, 0.5, 0.25])
