from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.readers import Csv

ABALONE = Path(__file__).parent.parent / "examples" / "data" / "abalone.csv"


def corpus(folder: Path, text: str, blocksize: int = 2**20, **roles: Any) -> Corpus:
    (folder / "x.csv").write_text(text)
    return Csv(path=str(folder / "x.csv"), **roles).open(blocksize)


def test_abalone() -> None:
    found = Csv(path=str(ABALONE), targets=("rings",)).open(blocksize=20_000)
    assert found.rows == 4177
    assert len(found.partitions) == 10
    assert found.feature_columns[0] == "sex"
    assert found.columns["sex"] == "category"
    frame = found.frame()
    assert frame.known_divisions
    assert len(frame) == 4177
    (rings,) = found.read_targets()
    assert rings.values.sum() == 41493
    assert pickle.loads(pickle.dumps(found)) == found


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    found = corpus(tmp_path, "a,s\n1,x\n2,y\n")
    (tmp_path / "x.csv").unlink()
    frame = found.frame()
    with pytest.raises(CorpusError, match="no such file"):
        frame.compute()


def test_row_numbers_are_the_ids_where_there_are_none(tmp_path: Path) -> None:
    found = corpus(tmp_path, "a\n1\n2\n3\n", 2)
    assert len(found.partitions) == 3
    np.testing.assert_array_equal(found.ids(), [0, 1, 2])
    np.testing.assert_array_equal(found.frame().compute().index, [0, 1, 2])
    np.testing.assert_array_equal(found.weights(), [1 / 3] * 3)


def test_text_ids(tmp_path: Path) -> None:
    ids = corpus(tmp_path, "k,a\nu,1\nv,2\n", 4, id="k").ids()
    assert ids.tolist() == ["u", "v"]
    assert isinstance(ids[0], str)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("uvwuxvu", "id column 'k' holds 'u' 3 times .again in row 3.; 3 rows repeat an earlier"),
        ("1213", "id column 'k' holds .*1.* 2 times .again in row 2.; 1 rows repeat an earlier"),
    ],
)
def test_duplicate_ids(tmp_path: Path, keys: str, message: str) -> None:
    text = "k,a\n" + "".join(f"{key},{i}\n" for i, key in enumerate(keys))
    found = corpus(tmp_path, text, 6, id="k")
    with pytest.raises(CorpusError, match=message):
        found.ids()


def test_missing_ids(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="id column 'k' is missing in row 1; every row needs"):
        corpus(tmp_path, "k,a\nu,1\n,2\n", 4, id="k")


@pytest.mark.parametrize("bad", ["", "inf", "-1", "0"])
def test_bad_weights(tmp_path: Path, bad: str) -> None:
    found = corpus(tmp_path, f"w,a\n1,1\n2,2\n{bad},3\n{bad},4\n", 4, weights="w")
    with pytest.raises(CorpusError, match=r"weights column 'w' holds .* in row 2; weights must be"):
        found.weights()


def test_weights(tmp_path: Path) -> None:
    found = corpus(tmp_path, "w,a\n1,1\n3,2\n", weights="w")
    np.testing.assert_array_equal(found.weights(), [0.25, 0.75])
    apart = corpus(tmp_path, "w,a\n1e100,1\n1e-49,2\n1e-51,3\n", 4, weights="w")
    with pytest.raises(CorpusError, match="1e-51 in row 2 and 1e.100 elsewhere: too far"):
        apart.weights()
    large = corpus(tmp_path, "w,a\n1e308,1\n1e308,2\n", weights="w")
    np.testing.assert_array_equal(large.weights(), [0.5, 0.5])
    with pytest.raises(CorpusError, match="weights column 's' of .* does not hold numbers; name a"):
        corpus(tmp_path, "s,a\nu,1\nv,2\n", weights="s")


@pytest.mark.parametrize("blocksize", [8, 2**20])
def test_targets(tmp_path: Path, blocksize: int) -> None:
    text = "a,n,s,c\n1,0.5,v,10\n2,,u,9\n3,1.5,,10\n4,2,u,\n"
    found = corpus(tmp_path, text, blocksize, targets=("n", "s", "c"), categorical=("c",))
    number, text_target, code = found.read_targets()
    assert (number.name, number.kind, number.levels) == ("n", "number", ())
    np.testing.assert_array_equal(number.values, [0.5, np.nan, 1.5, 2])
    assert (text_target.kind, text_target.levels) == ("class", ("u", "v"))
    np.testing.assert_array_equal(text_target.values, [1, 0, -1, 0])
    assert text_target.values.dtype == np.int64
    assert code.levels == ("9", "10")
    np.testing.assert_array_equal(code.values, [1, 0, 1, -1])


def test_infinite_target(tmp_path: Path) -> None:
    found = corpus(tmp_path, "a,y\n1,1\n2,-inf\n", targets=("y",))
    with pytest.raises(CorpusError, match="target 'y' is infinite in row 1; correct it, or leave"):
        found.read_targets()


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"targets": ("A",)}, r"targets names the column 'A', which .*; did you mean 'a'\?"),
        ({"id": "zzz"}, "id names the column 'zzz', which .* not have; its columns are: a, b"),
        ({"weights": "zzz"}, "weights names the column 'zzz'"),
        ({"include": ("zzz",)}, "include names the column 'zzz'"),
        ({"exclude": ("zzz",)}, "exclude names the column 'zzz'"),
        ({"categorical": ("zzz",)}, "categorical names the column 'zzz'"),
        ({"targets": ("a",), "weights": "a"}, "'a' has two roles, targets and weights"),
        ({"targets": ("a",), "include": ("a", "b")}, "'a' has two roles, targets and include"),
        ({"include": ("a",), "exclude": ("a",)}, "'a' has two roles, include and exclude"),
        ({"id": "a", "categorical": ("a",)}, "'a' has two roles, id and categorical"),
        ({"targets": ("a", "a")}, "targets names the column 'a' twice; name it once"),
        ({"include": ()}, "no feature column is left"),
    ],
)
def test_wrong_roles(tmp_path: Path, roles: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        corpus(tmp_path, "a,b\n1,2\n3,4\n", **roles)


def test_a_target_may_be_excluded(tmp_path: Path) -> None:
    found = corpus(tmp_path, "a,b\n1,2\n3,4\n", targets=("b",), exclude=("b",))
    assert found.feature_columns == ("a",)
    np.testing.assert_array_equal(found.read_targets()[0].values, [2, 4])


def test_partitions_load_in_other_processes() -> None:
    found = Csv(path=str(ABALONE), targets=("rings",)).open(blocksize=100_000)
    with dask.config.set(scheduler="processes", num_workers=1):
        assert len(found.frame().compute()) == 4177
