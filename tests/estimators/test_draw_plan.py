from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contexture.errors import InputError
from contexture.estimators.draw_plan import RULES, ErrorRule, choose_draws


@pytest.mark.parametrize("rows", [3000, 100_000, 10_000_000])
@pytest.mark.parametrize("error", [0.1, 0.013, 0.005, 0.003, 0.0013])
@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.2])
def test_against_trying_everything(rows: int, error: float, exponent: float) -> None:
    rule = ErrorRule(0.3, 4.0, exponent)
    found = choose_draws(error, rows, rule=rule)
    m = np.arange(500, min(8192, rows) + 1, dtype=float)[:, None]
    R = np.arange(1, 9)[None, :]
    expected = np.hypot(0.3 / np.sqrt(m * R), 4.0 * m**-exponent)
    work = R * (rows * m + m**3)
    enough = expected <= error * (1 + 1e-9)
    assert found.reached == enough.any()
    if found.reached:
        assert found.work == work[enough].min()
        assert found.error <= error * (1 + 1e-9)
    else:
        assert (found.reference, found.draws) == (m.max(), 8)
        assert found.error == pytest.approx(expected.min())


def test_borders() -> None:
    # 0.3 / sqrt(900) is 0.01 exactly; one row fewer does not do with one draw.
    rule = ErrorRule(0.3, 1e-9)
    found = choose_draws(0.01, 10**6, rule=rule, draws=(1, 1))
    assert (found.reference, found.draws, found.reached) == (900, 1, True)
    easy = choose_draws(1.0, 10**6)
    assert (easy.reference, easy.draws) == (500, 1)
    assert choose_draws(1.0, 10**6, draws=(3, 8)).draws == 3
    small = choose_draws(0.01, 200, rule=rule)
    assert (small.reference, small.draws, small.reached) == (200, 5, True)
    assert not choose_draws(1e-9, 10**6).reached


def test_draws_do_not_buy_off_a_bias() -> None:
    rule = ErrorRule(1.0, 100.0)
    assert rule.error(1000, 10**6) == pytest.approx(0.1, rel=1e-3)
    assert not choose_draws(0.01, 10**6, rule=rule).reached
    assert set(RULES) == {"knn", "rbf"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"error": 0.0}, "error is 0.0; a positive number is needed."),
        ({"error": np.nan}, "error is nan; a positive number is needed."),
        ({"rule": ErrorRule(1.0, -1)}, "bias is -1; a positive number is needed."),
        ({"rule": ErrorRule(1, 1, np.inf)}, "exponent is inf; a positive number is needed."),
        ({"rows": 0}, "there are 0 rows; at least 1 is needed."),
        ({"draws": (3, 2)}, "draws reach from 3 to 2; 1 <= fewest <= most is needed."),
        ({"references": (0, 2)}, "references reach from 0 to 2; 1 <= fewest <= most is needed."),
    ],
)
def test_messages(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_draws(**{"error": 0.01, "rows": 1000, **arguments})
