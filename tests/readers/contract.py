"""What every reader must do; a test class for each reader inherits `ReaderContract`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.features import Recipe
from contexture.readers import READERS, Reader


def table(rows: int = 60) -> pd.DataFrame:
    """Two numbers, a class of numbers, a number to predict, an id and a weight; no row alike."""
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "a": rng.normal(size=70)[:rows].round(6),
            "b": (1e9 + rng.normal(size=70)[:rows]).round(3),
            "c": rng.integers(0, 3, size=70)[:rows].astype(float),
            "y": rng.normal(size=70)[:rows].round(6),
            "key": np.arange(100, 100 + rows),
            "w": rng.uniform(0.5, 2, size=70)[:rows].round(6),
        }
    )


class ReaderContract:
    """Subclasses say how a table is written, and which reader reads it."""

    SMALL = 500
    """A blocksize that cuts the table into several partitions."""

    appends = True
    """Whether rows can be added without touching the earlier ones."""

    def write(self, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
        """Write the table; return the arguments of the reader."""
        raise NotImplementedError

    def reader(self, source: dict[str, Any], **roles: Any) -> Reader:
        raise NotImplementedError

    def open(
        self, frame: pd.DataFrame, folder: Path, blocksize: int | None = None, **roles: Any
    ) -> Corpus:
        folder.mkdir(exist_ok=True, parents=True)
        reader = self.reader(self.write(frame, folder), **roles)
        return reader.open(self.SMALL if blocksize is None else blocksize)

    def test_partitions_give_the_same_frame(self, tmp_path: Path) -> None:
        small, large = self.open(table(), tmp_path), self.open(table(), tmp_path, 2**26)
        assert len(small.partitions) > 1
        assert small.rows == large.rows == 60
        assert sum(p.rows for p in small.partitions) == 60
        pd.testing.assert_frame_equal(small.frame().compute(), large.frame().compute())
        expected = table().astype("float64")
        found = small.frame().compute()[list(expected.columns)]
        pd.testing.assert_frame_equal(found, expected, check_index_type=False)

    def test_partitions_give_the_same_features(self, tmp_path: Path) -> None:
        roles = {"targets": ("y",), "id": "key", "weights": "w", "categorical": ("c",)}
        found = []
        for blocksize in (self.SMALL, 2**26):
            corpus = self.open(table(), tmp_path, blocksize, **roles)
            recipe = Recipe.fit(corpus)
            assert recipe.columns == ("a", "b", "c=0", "c=1", "c=2")
            X = recipe.transform(corpus)
            assert X.chunks[0] == tuple(p.rows for p in corpus.partitions)
            found.append(X.compute())
        np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-12)

    def test_roles_are_honoured(self, tmp_path: Path) -> None:
        roles = {"targets": ("y",), "id": "key", "weights": "w", "exclude": ("c",)}
        corpus = self.open(table(), tmp_path, **roles)
        assert corpus.feature_columns == ("a", "b")
        np.testing.assert_array_equal(corpus.ids(), np.arange(100, 160))
        assert corpus.ids().dtype == np.int64
        weights = table()["w"].to_numpy()
        np.testing.assert_allclose(corpus.weights(), weights / weights.sum(), rtol=1e-14)
        (target,) = corpus.read_targets()
        assert (target.name, target.kind, target.levels) == ("y", "number", ())
        np.testing.assert_array_equal(target.values, table()["y"])

    def test_include_chooses_the_features(self, tmp_path: Path) -> None:
        corpus = self.open(table(), tmp_path, include=("b",), targets=("y",))
        assert corpus.feature_columns == ("b",)
        assert set(corpus.columns) == {"b", "y"}

    def test_categorical_numbers_are_class_targets(self, tmp_path: Path) -> None:
        corpus = self.open(table(), tmp_path, targets=("c",), categorical=("c",))
        (target,) = corpus.read_targets()
        assert (target.kind, target.levels) == ("class", ("0", "1", "2"))
        np.testing.assert_array_equal(target.values, table()["c"])

    def test_fingerprints_are_stable(self, tmp_path: Path) -> None:
        one = self.open(table(), tmp_path / "one")
        two = self.open(table(), tmp_path / "two")
        assert one.fingerprint == two.fingerprint
        assert len(one.fingerprint) == 16
        assert int(one.fingerprint, 16) >= 0
        assert len({p.fingerprint for p in one.partitions}) == len(one.partitions)

    def test_one_changed_value_changes_one_fingerprint(self, tmp_path: Path) -> None:
        changed = table()
        changed.loc[0, "a"] = -changed.loc[0, "a"]  # as long as before, in text too
        if changed.loc[0, "a"] < 0:
            changed.loc[0, "a"] = abs(changed.loc[0, "a"]) + 1
        one = self.open(table(), tmp_path / "one")
        two = self.open(changed, tmp_path / "two")
        assert one.fingerprint != two.fingerprint
        assert one.partitions[0].fingerprint != two.partitions[0].fingerprint

    def test_a_role_changes_the_fingerprint(self, tmp_path: Path) -> None:
        one = self.open(table(), tmp_path)
        assert one.fingerprint != self.open(table(), tmp_path, targets=("y",)).fingerprint

    def test_appending_keeps_earlier_partitions(self, tmp_path: Path) -> None:
        if not self.appends:
            pytest.skip("this source cannot be appended to")
        before = self.open(table(50), tmp_path / "before").partitions
        after = self.open(table(60), tmp_path / "after").partitions
        assert len(before) > 1
        kept = [p.fingerprint for p in before[:-1]]
        assert kept == [p.fingerprint for p in after[: len(kept)]]

    def test_partitions_are_picklable(self, tmp_path: Path) -> None:
        corpus = self.open(table(), tmp_path, targets=("y",))
        for partition in corpus.partitions:
            again = pickle.loads(pickle.dumps(partition))
            pd.testing.assert_frame_equal(again.load(), partition.load())
            assert list(again.load(["b"]).columns) == ["b"]

    @pytest.mark.parametrize("columns", [None, ["b"], ["y"], ["key", "w"]])
    def test_a_change_after_opening_is_noticed(
        self, tmp_path: Path, columns: list[str] | None
    ) -> None:
        corpus = self.open(table(), tmp_path, targets=("y",), id="key", weights="w")
        changed = table()
        digits = f"{changed.loc[0, 'a']:.6f}"
        changed.loc[0, "a"] = float(digits[:-1] + ("1" if digits[-1] != "1" else "2"))
        self.write(changed, tmp_path)
        with pytest.raises(CorpusError, match="changed while it was being read; open it again"):
            corpus.partitions[0].load(columns)

    def test_an_unknown_column(self, tmp_path: Path) -> None:
        with pytest.raises(
            CorpusError, match=r"^targets names the column 'yy', .* Its columns are|its columns are"
        ):
            self.open(table(), tmp_path, targets=("yy",))

    def test_a_column_in_two_roles(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="'y' has two roles, targets and id; take it out"):
            self.open(table(), tmp_path, targets=("y",), id="y")

    def test_no_column_left(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"no feature column is left in .*exclude fewer"):
            self.open(table(), tmp_path, exclude=tuple(table().columns))

    def test_infinite_feature(self, tmp_path: Path) -> None:
        frame = table()
        frame.loc[17, "a"] = np.inf
        with pytest.raises(CorpusError, match=r"column 'a' of .* is infinite in row 17; correct"):
            self.open(frame, tmp_path)
        assert self.open(frame, tmp_path, exclude=("a",)).rows == 60

    def test_schema_makes_a_form(self, tmp_path: Path) -> None:
        reader = self.reader(self.write(table(), tmp_path))
        schema = type(reader).model_json_schema()
        assert schema["title"] != type(reader).__name__
        fields = schema["properties"]
        assert all("title" in field for field in fields.values())
        assert all("description" in field for n, field in fields.items() if n != "reader")
        positions = [field["position"] for field in fields.values()]
        assert len(set(positions)) == len(positions)
        assert type(reader) in READERS
        assert type(reader).model_validate_json(reader.model_dump_json()) == reader
        with pytest.raises(ValueError, match="frozen"):
            reader.id = "key"
