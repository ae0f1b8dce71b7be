"""Tables that contexts bring along: files that cannot be read, or say less than they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contexture.contexts import Context, Counts, Features, Graph, naming, tables
from contexture.errors import ContextError, InputError
from tests.contexts.contract import dense, points

IDS = ["a", "b", "c", "d"]


def four() -> Features:
    return Features.from_array(points(4), ids=np.array(IDS))


def write(folder: Path, text: str, name: str = "edges.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def refused(context: Context) -> str:
    with pytest.raises(ContextError) as caught:
        context.fit(four())
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("source,target\n0,a,b\n1,b,c\n2,c,d\n", 3),
        ("source,target\na,b,\nb,c,\nc,d,\n", 3),
        ("source,target\n0,0,a,b\n", 4),
        # Without the column of the row numbers the edges would seem whole.
        ("source,target\na,b,c\nb,c,d\nc,d,a\nd,a,b\n", 3),
    ],
)
def test_rows_with_more_fields_than_the_header(tmp_path: Path, text: str, fields: int) -> None:
    path = write(tmp_path, text)
    message = (
        f"context 'graph-edges': row 1 of '{path}' has {fields} fields, but its header names 2; "
        "name every column, and end no row with a separator."
    )
    assert refused(Graph(path=path)) == message
    with pytest.raises(ContextError) as caught:
        Graph(path=path).extent(4, 1)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source,target\na,b\na,b,c\n", "Expected 2 fields in line 3, saw 3; correct the file."),
        ("", "No columns to parse from file; correct the file."),
    ],
)
def test_malformed_text(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    message = refused(Graph(path=path))
    assert message.startswith(f"context 'graph-edges': cannot read '{path}': ")
    assert message.endswith(said)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_bytes(b"source,target\na,\xff\n")
    path = str(tmp_path / "edges.csv")
    assert refused(Graph(path=path)) == (
        f"context 'graph-edges': cannot read '{path}': it is not UTF-8 text; save it as UTF-8."
    )
    folder = str(tmp_path)
    assert refused(Graph(path=folder, name="g")) == (
        f"context 'g': cannot read '{folder}': it is a folder; name a file in it."
    )


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        ({"x": ["a", None, "c", "d"]}, ("x", 2)),
        ({"a": ["t", "t", None, "t"]}, ("a", 3)),
        ({"a": pa.array([1, 2, 3, None])}, ("a", 4)),
        ({"count": [1.0, 2.0, float("nan"), 1.0]}, ("count", 3)),
        ({"count": pa.array([1, None, 1, 1])}, ("count", 2)),
    ],
)
def test_tables_with_values_missing(
    tmp_path: Path, columns: dict[str, Any], where: tuple[str, int]
) -> None:
    path = str(tmp_path / "c.parquet")
    whole: dict[str, Any] = {"x": IDS, "a": ["t", "t", "u", "u"], "count": [1, 2, 3, 4]}
    pq.write_table(pa.table({**whole, **columns}), path)
    assert refused(Counts(path=path)) == (
        f"context 'counts-c': column '{where[0]}' of '{path}' has no value in row {where[1]}; give "
        "it one, or leave the row out."
    )


def test_nodes_missing_from_an_edge_list(tmp_path: Path) -> None:
    path = str(tmp_path / "e.parquet")
    pq.write_table(pa.table({"source": IDS, "target": ["b", "c", None, "a"]}), path)
    assert refused(Graph(path=path)) == (
        f"context 'graph-e': column 'target' of '{path}' has no value in row 3; give it one, or "
        "leave the row out."
    )


def test_an_index_that_pandas_wrote_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"source": IDS, "target": [*IDS[1:], "a"], "other": 1.5})
    frame.to_parquet(tmp_path / "plain.parquet")
    frame.set_index("source").to_parquet(tmp_path / "index.parquet")
    plain, index = (
        dense(Graph(path=str(tmp_path / f"{name}.parquet")).fit(four()))
        for name in ("plain", "index")
    )
    np.testing.assert_array_equal(index, plain)


def test_names_that_two_rows_have(tmp_path: Path) -> None:
    path = write(tmp_path, "source,target\na,b\nb,a\n")
    twice = Features(points(3), np.array(["a", "b", "b"]), np.full(3, 1 / 3), "by hand")
    with pytest.raises(InputError) as caught:
        Graph(path=path).fit(twice)
    assert str(caught.value) == "the id 'b' is given more than once; ids must be unique."


class CredentialsError(Exception):
    """As packages for remote files have them, that derive from nothing in particular."""


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (
            "s3://bucket/e.csv",
            ImportError("Install s3fs to access S3"),
            "it needs a package that is not installed: Install s3fs to access S3.",
        ),
        (
            "s3://bucket/e.csv",
            CredentialsError("Unable to locate credentials\nand more"),
            "Unable to locate credentials; check its address, the network and your credentials.",
        ),
        (
            "https://host/e.csv",
            CredentialsError(),
            "CredentialsError; check its address, the network and your credentials.",
        ),
        ("/data/e.csv", OSError("Input/output error"),
         "Input/output error; check the file and the right to read it."),
    ],
)  # fmt: skip
def test_places_that_cannot_be_reached(
    path: str, error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fsspec, "open", fails)
    for step in (
        lambda: Graph(path=path).fit(four()),
        lambda: Counts(path=path, name="graph-e").extent(4, 1),
        lambda: Graph(path=path).data_fingerprint(),
    ):
        with pytest.raises(ContextError) as caught:
            step()
        assert str(caught.value) == f"context 'graph-e': cannot read '{path}': {message}"


def test_unknown_protocols() -> None:
    for step in (lambda: Graph(path="nil://e.csv").fit(four()),
                 lambda: Graph(path="nil://e.csv").data_fingerprint()):  # fmt: skip
        with pytest.raises(ContextError) as caught:
            step()
        assert str(caught.value) == (
            "context 'graph-e': cannot read 'nil://e.csv': there is no protocol 'nil'; give a "
            "file, or a URL that fsspec knows, such as s3://bucket/table.csv."
        )


def test_mistakes_of_our_own_stay_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise TypeError("a mistake")

    path = write(tmp_path, "source,target\na,b\nc,d\n")
    for module, name in [(tables, "_require_values"), (naming, "_factorize")]:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, wrong)
            with pytest.raises(TypeError, match="a mistake"):
                Graph(path=path).fit(four())


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PIECE_ROWS", 3)
    monkeypatch.setattr(naming, "PIECE_ROWS", 3)


def contexts(folder: Path, kind: str) -> list[Context]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": [*IDS, *rng.choice(IDS, 15)], "a": rng.integers(90, 110, 19)})
    frame["count"] = rng.integers(1, 9, 19)
    frame["target"] = [*IDS, *rng.choice(IDS, 15)]
    path = folder / f"t.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, row_group_size=4)
    return [
        Counts(path=str(path)),
        Graph(path=str(path), source="x", weight="count"),
        Graph(path=str(path), source="x", directed=True),
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_pieces_do_not_matter(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    made = contexts(tmp_path, kind)
    whole = [(context.fit(four()), context.extent(4, 1)) for context in made]
    request.getfixturevalue("small_pieces")
    for context, (evidence, extent) in zip(made, whole, strict=True):
        again = context.fit(four())
        np.testing.assert_array_equal(dense(again), dense(evidence))
        np.testing.assert_array_equal(again.context_values, evidence.context_values)
        assert again.details == evidence.details
        assert context.extent(4, 1) == extent
    values = whole[0][0].context_values.tolist()
    assert values == sorted(values)  # as text
    assert values != sorted(values, key=int)


@pytest.mark.usefixtures("small_pieces")
def test_rows_are_counted_over_all_pieces(tmp_path: Path) -> None:
    header, good = "source,target,w\n", "a,b,1\nb,c,1\nc,d,1\nd,a,1\n"
    path = write(tmp_path, header + good + "a,b,-2\n")
    assert refused(Graph(path=path, weight="w")) == (
        f"context 'graph-edges': the weight in row 5 of '{path}' is -2; negative weights have no "
        "meaning here."
    )
    path = write(tmp_path, header + good + "a,x,1\nb,y,1\nb,z,1\n")
    assert refused(Graph(path=path, weight="w")) == (
        f"context 'graph-edges': '{path}' names 2 node(s) in its first 6 rows that are no id of "
        "the corpus, such as 'x', 'y'; names must match the id column (row numbers from 0 if "
        "there is none)."
    )


def test_moments_are_written_alike_in_all_pieces(tmp_path: Path, small_pieces: None) -> None:
    days = pd.to_datetime(["2024-01-02 00:00"] * 4 + ["2024-01-02 12:00"])
    frame = pd.DataFrame({"x": [*IDS, "a"], "a": days, "count": 1})
    frame.to_parquet(tmp_path / "t.parquet")
    evidence = Counts(path=str(tmp_path / "t.parquet")).fit(four())
    assert evidence.context_values.tolist() == ["2024-01-02 00:00:00", "2024-01-02 12:00:00"]
