"""What rows of inputs from outside of the corpus must be like, for contexts that give them."""

from __future__ import annotations

import numpy as np
import pytest

from contexture.contexts import ConditionalRows
from contexture.errors import InputError
from contexture.estimators import decompose_operator
from contexture.operator import ExpectationOperator


def check_extension(evidence: ConditionalRows, X: np.ndarray, own: list[int]) -> None:
    """Left functions at the training rows are what they were (theory.md §1)."""
    operator = ExpectationOperator.from_evidence(evidence)
    if operator.shape[1] < evidence.shape[1]:
        return  # columns that nobody chooses were dropped
    spectrum = decompose_operator(operator, 3)
    rows = evidence.rows_of(X, own)  # type: ignore[attr-defined]
    np.testing.assert_allclose(spectrum.extend(rows), spectrum.left, rtol=0, atol=1e-8)


def check_bad_inputs(evidence: ConditionalRows, X: np.ndarray) -> None:
    """What cannot be used is refused by a sentence."""
    m = evidence.shape[1]
    for inputs, own, message in [
        (np.ones((3, 5)), None, "the inputs have shape (3, 5); one row an input and 4 features "
         "are needed."),
        (X[0], None, "the inputs have shape (4,); one row an input and 4 features are "
         "needed."),
        (X * np.nan, None, "the inputs hold NaN or infinite values; give finite "
         "numbers."),
        (X[:2], [0, m], f"own needs one number an input, from 0 to {m - 1}, or -1 for an "
         "input that is no reference."),
        (X[:2], [0], f"own needs one number an input, from 0 to {m - 1}, or -1 for an "
         "input that is no reference."),
    ]:  # fmt: skip
        with pytest.raises(InputError) as caught:
            evidence.rows_of(inputs, own)  # type: ignore[attr-defined]
        assert str(caught.value) == message
