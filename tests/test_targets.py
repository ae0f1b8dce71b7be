from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contexture import targets
from contexture.errors import CorpusError
from contexture.targets import TargetColumn, find_keys

FRAMES = [
    pd.DataFrame({"s": np.array(["b", None], object), "c": [10.0, np.nan]}, index=[0, 1]),
    pd.DataFrame({"s": np.array(["a", "b"], object), "c": [2.0, 10.0]}, index=[2, 3]),
]


def test_classes_are_sorted_over_all_partitions() -> None:
    text, numbers = find_keys(iter(FRAMES), ("s", "c"))
    assert (text, numbers) == (("a", "b"), (2.0, 10.0))
    column, codes = TargetColumn("s", "class", text), TargetColumn("c", "class", numbers)
    assert (column.levels, codes.levels) == (("a", "b"), ("2", "10"))
    np.testing.assert_array_equal(column.values(FRAMES[0]["s"]), [1, -1])
    np.testing.assert_array_equal(codes.values(FRAMES[1]["c"]), [0, 1])
    assert column.values(FRAMES[0]["s"]).dtype == codes.values(FRAMES[0]["c"]).dtype == np.int64


def test_a_column_without_values_has_no_classes() -> None:
    empty = pd.DataFrame({"s": pd.Series([None, None], dtype="str")})
    (keys,) = find_keys([empty], ("s",))
    values = TargetColumn("s", "class", keys).values(empty["s"])
    np.testing.assert_array_equal(values, [-1, -1])
    assert TargetColumn.observed(values) == 0


def test_numbers_that_only_text_tells_apart() -> None:
    """As readers give them, where float64 would make one class of two."""
    frame = pd.DataFrame({"c": ["9007199254740993", "9007199254740992", None, "7"]}, dtype="str")
    (keys,) = find_keys([frame], ("c",))
    column = TargetColumn("c", "class", keys)
    assert column.levels == ("7", "9007199254740992", "9007199254740993")
    np.testing.assert_array_equal(column.values(frame["c"]), [2, 1, -1, 0])


def test_observed_values_are_counted() -> None:
    assert TargetColumn.observed(np.array([1.0, np.nan, -2.0])) == 2
    assert TargetColumn.observed(np.array([0, -1, 3])) == 2


@pytest.mark.parametrize(
    "target", [TargetColumn("y", "number"), TargetColumn("y", "class", (0.5, np.inf))]
)
def test_an_infinite_number_is_named_by_its_row_in_the_corpus(target: TargetColumn) -> None:
    column = pd.Series([0.5, np.inf], index=[40, 41])
    with pytest.raises(CorpusError, match="target 'y' is infinite in row 41; correct it, or leave"):
        target.values(column)


def test_a_target_that_names_its_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as that is known: what follows is not read."""
    assert targets.MOST_CLASSES == 10_000
    monkeypatch.setattr(targets, "MOST_CLASSES", 2)
    assert find_keys(iter(FRAMES), ("s", "c")) == [("a", "b"), (2.0, 10.0)]
    frames = iter([*FRAMES, pd.DataFrame({"s": ["a", "c"], "c": [2.0, 3.0]}), *FRAMES])
    with pytest.raises(CorpusError) as caught:
        find_keys(frames, ("s", "c"))
    assert str(caught.value) == (
        "target 's' has more than 2 classes, and each of them is scored; merge rare ones, or take "
        "it out of the targets (a column that names the rows is their id)"
    )
    assert len(list(frames)) == len(FRAMES)
