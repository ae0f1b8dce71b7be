"""What the report recommends, and what it cannot tell from it."""

from __future__ import annotations

import numpy as np
import pytest

from contexture.report.content import Curve
from contexture.report.verdict import judge


def curve(number: int, value: float, error: float, reference_error: float | None = None) -> Curve:
    scores = {
        "usefulness": value, "usefulness_standard_error": error, "best_rank": 3,
        "association": "moderate",
    }  # fmt: skip
    attributes = {} if reference_error is None else {"reference_error": reference_error}
    nothing = np.zeros(4)
    return Curve(number, f"c{number}", scores, attributes, nothing, nothing, nothing)


def test_two_standard_errors() -> None:
    curves = [curve(1, 1.5, 0.003), curve(2, 1.509, 0.004), curve(3, 1.511, 0.004)]
    assert judge(curves).doubt == (
        "Within two standard errors of it, and so not to be told apart: c2 (τ = 1.509)."
    )


@pytest.mark.parametrize("drawn", [(0.01, None), (None, 0.01), (0.008, 0.006)])
def test_what_references_add(drawn: tuple[float | None, float | None]) -> None:
    curves = [curve(1, 1.5, 0.0, drawn[0]), curve(2, 1.519, 0.0, drawn[1])]
    assert judge(curves).doubt == (
        "Within two standard errors of it, with the expected error of drawn reference rows, and "
        "so not to be told apart: c2 (τ = 1.519)."
    )
    curves = [curve(1, 1.5, 0.0, drawn[0]), curve(2, 1.521, 0.0, drawn[1])]
    assert judge(curves).doubt == ""


def test_both_kinds_of_error_add_in_squares() -> None:
    curves = [curve(1, 1.5, 0.003, 0.004), curve(2, 1.5, float("nan"), 0.012)]
    near, far = curve(3, 1.5259, 0.0, 0.012), curve(3, 1.5261, 0.0, 0.012)
    assert "c3" in judge([*curves, near]).doubt
    assert "c3" not in judge([*curves, far]).doubt
