from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import pdist

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.features import Recipe, validate_matrix
from contexture.readers import Csv, Parquet
from contexture.readers.base import Reader
from contexture.readers.frames import corpus_of

ABALONE = Path(__file__).parent.parent / "examples" / "data" / "abalone.csv"


class Roles(Reader):
    def open(self, blocksize: int = 0) -> Corpus:
        raise NotImplementedError


def corpus(frame: pd.DataFrame, rows: int = 1000, **roles: Any) -> Corpus:
    """Describe a frame, cut into partitions of so many rows."""
    columns = len(set(frame.columns) - set(roles.get("exclude", ())))
    return corpus_of(frame, Roles(**roles), "a table", 8 * columns * rows)


def features(frame: pd.DataFrame, rows: int = 1000, **roles: Any) -> np.ndarray:
    found = corpus(frame, rows, **roles)
    X: np.ndarray = Recipe.fit(found).transform(found).compute()
    return X


def test_abalone() -> None:
    found = []
    for blocksize in (2**26, 20_000):
        source = Csv(path=str(ABALONE), targets=("rings",)).open(blocksize)
        recipe = Recipe.fit(source)
        X = recipe.transform(source)
        assert X.shape == (4177, 10)
        assert X.dtype == np.float64
        assert X.chunks[0] == tuple(p.rows for p in source.partitions)
        found.append(X.compute())
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-12)
    assert np.median(pdist(found[0], "sqeuclidean")) == pytest.approx(8.332456, abs=5e-7)
    assert recipe.columns[:4] == ("sex=F", "sex=I", "sex=M", "length")
    np.testing.assert_allclose(found[0][:, 3:].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found[0][:, 3:].std(axis=0), 1, atol=1e-12)
    np.testing.assert_array_equal(np.unique(found[0][:, :3]), [0, 1])


def test_missing_numbers_become_the_median() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0, 10.0, np.nan], "b": [1.0, 2, 3, 4, 5]})
    filled = np.array([1.0, 3, 3, 10, 3])
    for rows in (1, 2, 5):
        X = features(frame, rows)
        np.testing.assert_allclose(X[:, 0], (filled - 4) / filled.std(), atol=1e-14)


def test_levels_and_missing_levels() -> None:
    frame = pd.DataFrame({"s": ["b", None, "<b>", "b", "A"], "t": ["u", "v", "v", "u", "u"]})
    for rows in (1, 5):
        recipe = Recipe.fit(corpus(frame, rows))
        assert recipe.columns == ("s=<b>", "s=A", "s=b", "s=<missing>", "t=u", "t=v")
        X = recipe.transform(corpus(frame, rows)).compute()
        np.testing.assert_array_equal(X[:, :4].argmax(axis=1), [2, 3, 0, 2, 1])
        np.testing.assert_array_equal(X[:, :4].sum(axis=1), 1)


def test_text_is_only_text() -> None:
    frame = pd.DataFrame({"s": ["1", "01", "nan", "<missing>", None, "True"]})
    recipe = Recipe.fit(corpus(frame))
    assert recipe.columns == (
        "s=01", "s=1", "s=<missing>", "s=True", "s=nan", "s=<<missing>>",
    )  # fmt: skip


def test_booleans_categories_and_forced_categories() -> None:
    frame = pd.DataFrame(
        {
            "f": [True, False, True],
            "c": pd.Categorical(["y", "x", "y"], categories=["y", "x", "never"]),
            "n": [10.0, 9.0, 9.5],
        }
    )
    recipe = Recipe.fit(corpus(frame, categorical=("n",)))
    assert recipe.columns == ("f=False", "f=True", "c=x", "c=y", "n=9", "n=9.5", "n=10")


def test_datetimes_are_seconds(tmp_path: Path) -> None:
    days = pd.to_datetime(["2024-01-01", None, "2024-01-02", "2024-01-05"])
    pq.write_table(pa.table({"d": pa.array(days), "a": [1, 2, 3, 5]}), tmp_path / "x.parquet")
    source = Parquet(path=str(tmp_path / "x.parquet")).open()
    X = Recipe.fit(source).transform(source).compute()
    filled = np.array([0.0, 1, 1, 4])
    np.testing.assert_allclose(X[:, 0], (filled - 1.5) / filled.std(), atol=1e-12)


def test_constants_are_dropped() -> None:
    frame = pd.DataFrame(
        {
            "one": [1.0] * 5,
            "same": ["x"] * 5,
            "imputed": [2.0, np.nan, 2.0, np.nan, 2.0],
            "noise": [0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3],
            "empty": [np.nan] * 5,
            "nothing": [None] * 5,
            "kept": [1.0, 2, 3, 4, 5],
            "some": ["x", None, "x", "x", "x"],
        }
    )
    for rows in (1, 5):
        recipe = Recipe.fit(corpus(frame, rows))
        assert recipe.columns == ("kept", "some=x", "some=<missing>")
        assert recipe.dropped == ("one", "same", "imputed", "noise", "empty", "nothing")


@pytest.mark.parametrize(
    ("shift", "scale"), [(1e9, 1e-3), (-1e12, 1.0), (0, 1e-200), (0, 1e200), (1e9, 1e6)]
)
def test_offsets_and_scales(shift: float, scale: float) -> None:
    steps = np.random.default_rng(0).integers(0, 1024, size=400).astype(float)
    values = shift + np.float64(scale) * steps
    exact = (values - shift) / scale
    expected = (exact - exact.mean()) / exact.std()
    frame = pd.DataFrame({"a": values})
    X = features(frame)
    np.testing.assert_allclose(X[:, 0], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(features(frame, 7), X, rtol=0, atol=1e-12)


COLUMN = st.one_of(
    st.lists(st.none() | st.floats(-1e6, 1e6).map(lambda v: v + 1e7), min_size=12, max_size=12).map(
        lambda v: pd.Series(v, dtype="float64")
    ),
    st.lists(st.none() | st.sampled_from("uvw"), min_size=12, max_size=12).map(
        lambda v: pd.Series(v, dtype="str")
    ),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(columns=st.lists(COLUMN, min_size=1, max_size=3), rows=st.integers(1, 12))
def test_features_do_not_depend_on_the_partitions(columns: list[pd.Series], rows: int) -> None:
    frame = pd.DataFrame({f"c{j}": column for j, column in enumerate(columns)})
    frame["k"] = np.arange(12.0)
    whole = corpus(frame)
    recipe = Recipe.fit(whole)
    X = recipe.transform(whole).compute()
    np.testing.assert_allclose(features(frame, rows), X, rtol=0, atol=1e-12)
    # New rows go the same way, and through JSON nothing is lost.
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    np.testing.assert_array_equal(again.transform_frame(frame), X)


def test_new_rows() -> None:
    frame = pd.DataFrame({"a": [1.0, 3.0], "s": ["u", "v"], "f": [True, False]})
    recipe = Recipe.fit(corpus(frame))
    new = pd.DataFrame({"f": [True, None], "s": ["never", "v"], "a": ["5", None], "more": [0, 0]})
    found = recipe.transform_frame(new)
    np.testing.assert_array_equal(found, [[3, 0, 0, 0, 1], [0, 0, 1, 0, 0]])
    assert found.flags.c_contiguous
    with pytest.raises(CorpusError, match="there is no column 's', .* needed are: a, s, f"):
        recipe.transform_frame(new.drop(columns="s"))
    with pytest.raises(CorpusError, match="there is no column 's'"):
        recipe.transform(corpus(frame.drop(columns="s")))
    with pytest.raises(CorpusError, match="column 'a' must hold number values; "):
        recipe.transform_frame(new.assign(a="x"))
    with pytest.raises(CorpusError, match="column 'a' is infinite in row 1; correct the value"):
        recipe.transform_frame(new.assign(a=[1, np.inf]))


def test_roles_stay_out_of_the_features() -> None:
    frame = pd.DataFrame({c: np.arange(4.0) + 1 for c in "abcdyiw"})
    recipe = Recipe.fit(corpus(frame, targets=("y",), id="i", weights="w", include=("a", "b", "c")))
    assert recipe.columns == ("a", "b", "c")
    recipe = Recipe.fit(corpus(frame, targets=("y",), id="i", weights="w", exclude=("b",)))
    assert recipe.columns == ("a", "c", "d")


def test_too_many_levels() -> None:
    frame = pd.DataFrame({"s": [f"n{i}" for i in range(30)] + [None]})
    with pytest.raises(
        CorpusError, match="column 's' has 30 levels, and max_levels is 29; exclude it, make it the"
    ):
        Recipe.fit(corpus(frame, 4), max_levels=29)
    assert len(Recipe.fit(corpus(frame, 4), max_levels=31).columns) == 31


def test_errors() -> None:
    frame = pd.DataFrame({"a": [1.0, 1.0], "b": ["x", "x"]})
    with pytest.raises(CorpusError, match=r"every feature column of a table is constant \(a, b\)"):
        Recipe.fit(corpus(frame))
    frame = pd.DataFrame({"s": ["x", "y"], "s=x": [1.0, 2.0]})
    with pytest.raises(CorpusError, match="two features would be called 's=x'; rename or exclude"):
        Recipe.fit(corpus(frame))
    frame = pd.DataFrame({"a": [1.7e308, -1.7e308, 1.0]})
    with pytest.raises(CorpusError, match="column 'a' reaches from .* too far to be scaled"):
        Recipe.fit(corpus(frame))
    with pytest.raises(CorpusError, match="not a recipe: 'scaled'; fit the features again"):
        Recipe.from_dict({})


def test_validate_matrix() -> None:
    X = validate_matrix(np.asfortranarray(np.arange(6).reshape(3, 2)))
    assert X.dtype == np.float64
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(validate_matrix([[1, 2], [3, 4]]), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), r"X has shape \(3,\); it must be \(rows, columns\)"),
        (np.array([["a"]]), "X has dtype <U1; it must hold numbers"),
        (np.zeros((0, 3)), r"X has shape \(0, 3\); it needs at least one row and one column"),
        (np.zeros((3, 0)), r"X has shape \(3, 0\); it needs at least one row"),
        (np.array([[1, 2], [np.nan, np.inf]]), "X is nan at row 1, column 0; every entry must be"),
        (np.ones((3, 2)), "every column of X is constant; a context needs features that vary"),
    ],
)
def test_matrices_that_are_none(X: np.ndarray, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        validate_matrix(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.ma.array([[1.0, 2], [3, 4]], mask=[[False, False], [False, True]]),
            "X is masked at row 1, column 1; fill in what is missing, or leave the row out",
        ),
        (
            sparse.csr_array(np.eye(3)),
            "X is a sparse matrix, and it must be an array; give X.toarray(), or where that is too "
            "large, fewer columns, such as those of a truncated SVD",
        ),
        (
            np.array([[1.7e308], [-1.7e308]]),
            "X varies by inf, and its squares cannot be held in floating point; rescale it to vary "
            "by 1e-100 to 1e+100",
        ),
        (
            np.array([[0.0, 1], [0, 1e101]]),
            "X varies by 1e+101, and its squares cannot be held in floating point; rescale it to "
            "vary by 1e-100 to 1e+100",
        ),
    ],
)
def test_values_that_cannot_be_used(X: Any, message: str) -> None:
    with pytest.raises(CorpusError) as caught:
        validate_matrix(X)
    assert str(caught.value) == message


def test_a_mask_that_hides_nothing_is_none() -> None:
    X = np.ma.array([[1.0, 2], [3, 4]], mask=False)
    np.testing.assert_array_equal(validate_matrix(X), [[1, 2], [3, 4]])


def test_validation_makes_nothing_as_large_as_the_matrix() -> None:
    X = np.random.default_rng(0).normal(size=(10_000, 100))
    tracemalloc.start()
    try:
        assert validate_matrix(X) is X
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.1 * X.nbytes
