from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from contexture.errors import CorpusError
from contexture.features import Recipe
from contexture.readers import READERS, AnyReader, Csv, OpenML, Packaged
from contexture.readers.openml import from_openml

SIZES = {
    "digits": (1797, 64),
    "iris": (150, 4),
    "wine": (178, 13),
    "breast_cancer": (569, 30),
    "diabetes": (442, 10),
}


@pytest.mark.parametrize("name", SIZES)
def test_packaged(name: str) -> None:
    corpus = Packaged(name=name).open()  # type: ignore[arg-type]
    assert (corpus.rows, len(corpus.feature_columns)) == SIZES[name]
    (target,) = corpus.read_targets()
    assert (target.kind == "number") == (name == "diabetes")
    assert "target" not in corpus.feature_columns
    again = Packaged(name=name).open(blocksize=4000 if name != "digits" else 200_000)  # type: ignore[arg-type]
    assert len(again.partitions) > 1
    Recipe.fit(again)


def test_packaged_target_is_never_a_feature() -> None:
    assert Packaged(name="iris").open().read_targets()[0].levels == (
        "setosa",
        "versicolor",
        "virginica",
    )
    assert "target" not in Packaged(name="iris", targets=()).open().columns


def test_openml_is_asked_for_by_name_or_number() -> None:
    for wrong in ({}, {"name": "abalone", "number": 183}):
        with pytest.raises(ValidationError, match="give either the name or the number"):
            OpenML(**wrong)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        OpenML(number=0)


def test_openml_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openml", None)
    with pytest.raises(CorpusError, match=r"pip install 'contexture\[openml\]'"):
        OpenML(name="abalone").open()


def test_openml_is_fetched_as_parquet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.0, 2.0], "y": ["n", "p"]}).to_parquet(tmp_path / "t.parquet")
    asked = []

    def get_dataset(wanted: object, download_data: bool) -> SimpleNamespace:
        asked.append((wanted, download_data))
        if wanted == 404:
            raise RuntimeError("Unknown dataset\nin several lines")
        file = tmp_path / "t.parquet" if wanted == "t" else None
        return SimpleNamespace(parquet_file=file, default_target_attribute="y")

    fake = SimpleNamespace(datasets=SimpleNamespace(get_dataset=get_dataset))
    monkeypatch.setitem(sys.modules, "openml", fake)  # type: ignore[arg-type]
    corpus = OpenML(name="t").open()
    assert (corpus.targets, corpus.feature_columns) == (("y",), ("a",))
    with pytest.raises(CorpusError, match="OpenML offers 5 only as ARFF, .*; convert it to"):
        OpenML(number=5).open()
    with pytest.raises(CorpusError, match="cannot fetch 404 from OpenML: Unknown dataset; check"):
        OpenML(number=404).open()
    assert asked == [("t", True), (5, True), (404, True)]


def test_openml_frames() -> None:
    frame = pd.DataFrame(
        {
            "a": [1.5, None, 2.0, 4.0],
            "b": pd.Categorical(["u", "v", None, "u"]),
            "y": pd.Categorical(["n", "p", "p", "n"]),
            "z": [1, 2, 3, 4],
        },
        index=[9, 8, 7, 6],
    )
    corpus = from_openml(frame, "y,z", OpenML(name="t"), "OpenML's t", blocksize=64)
    assert corpus.targets == ("y", "z")
    assert corpus.feature_columns == ("a", "b")
    assert len(corpus.partitions) == 2
    assert Recipe.fit(corpus).columns == ("a", "b=u", "b=v", "b=<missing>")
    other = from_openml(frame, "y", OpenML(name="t", targets=("z",)), "OpenML's t")
    assert other.feature_columns == ("a", "b", "y")
    with pytest.raises(CorpusError, match="OpenML's t does not have; did you mean|its columns are"):
        from_openml(frame, None, OpenML(name="t", targets=("q",)), "OpenML's t")


def test_the_union_chooses_by_name() -> None:
    adapter: TypeAdapter[AnyReader] = TypeAdapter(AnyReader)
    assert adapter.validate_python({"reader": "csv", "path": "x"}) == Csv(path="x")
    with pytest.raises(ValidationError, match="union_tag_invalid|does not match any of"):
        adapter.validate_python({"reader": "excel", "path": "x"})
    schema = adapter.json_schema()
    assert set(schema["discriminator"]["mapping"]) == {
        reader.model_fields["reader"].default for reader in READERS
    }


def test_openml_text_that_is_not_unicode() -> None:
    broken = pa.array([b"u", b"v", b"\xff"]).view(pa.string())
    frame = pa.table({"a": [1.0, 2.0, 3.0], "s": broken}).to_pandas(types_mapper=pd.ArrowDtype)
    with pytest.raises(CorpusError, match="column 's' of OpenML's t holds text in row 2 that is"):
        from_openml(frame, None, OpenML(name="t"), "OpenML's t", blocksize=16)
