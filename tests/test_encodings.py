from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from contexture.encodings import OneHot

TEXTS = OneHot("c", ("02134", "2134", "9007199254740992", "9007199254740993"), True, False)


def codes(step: OneHot, values: Any) -> list[int]:
    """Which feature is 1 in each row; -1 if none is."""
    X = step.transform(pd.Series(values, name="c"))
    assert X.shape == (len(values), len(step.columns))
    return np.where(X.any(axis=1), X.argmax(axis=1), -1).tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2134", "02134", None, "9007199254740993", "x"], [1, 0, 4, 3, -1]),
        ([2**53 + 1, 2**53, 2134, 7], [3, 2, 1, -1]),
        (pd.array([2**53 + 1, None, 2134], "Int64"), [3, 4, 1]),
        ([2134.0, np.nan, 2134.5], [1, 4, -1]),  # whole numbers beside a missing one
    ],
)
def test_levels_of_text_at_numbers(values: Any, expected: list[int]) -> None:
    assert codes(TEXTS, values) == expected


def test_a_number_no_longer_exact_is_no_level() -> None:
    assert codes(TEXTS, [2.0**53, np.nan]) == [-1, 4]


def test_the_spelling_of_a_floating_number_comes_first() -> None:
    step = OneHot("c", ("7", "7.0", "8"), False, False)
    assert codes(step, [7.0, 8.0, np.inf, -0.0]) == [1, 2, -1, -1]


def test_levels_of_numbers_are_told_by_value() -> None:
    step = OneHot("c", ("1", "2.5"), True, True)
    assert codes(step, [1.0, 2.5, np.nan, 3.0]) == [0, 1, 2, -1]
    assert codes(step, [1, 3]) == [0, -1]
