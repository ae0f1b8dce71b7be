"""When the solver looks at its values."""

from __future__ import annotations

import pytest

from contexture.estimators.forecast import Forecast
from contexture.estimators.looks import Looks, next_look
from contexture.estimators.sizes import BLOCK

COUNT, KEPT, LIMIT = 512, 544, 1216


def at(looks: Looks) -> int:
    """Columns of the first look."""
    return next(used for used in range(0, LIMIT + 1, BLOCK) if looks.due(used))


def test_when_to_look_again() -> None:
    assert next_look([(100, 1e-2)], 1e-6, 32) == 164
    assert next_look([(100, 1e-4)], 1e-6, 32) == 132
    assert next_look([(100, float("inf")), (164, 1e-2)], 1e-6, 32) == 228
    # A tenth every 10 columns: 20 more would do, and 0.7 of the way is gone at once.
    assert next_look([(100, 1e-2), (110, 1e-3)], 1e-5, 32) == 124
    assert next_look([(100, 1e-2), (110, 1e-2)], 1e-5, 32) == 110 + 96


@pytest.mark.parametrize(("side", "first"), [(20_000, 928), (100_000, 864)])
def test_the_first_look_is_when_values_are_foreseen_to_be_known(side: int, first: int) -> None:
    looks = Looks(COUNT, KEPT, side, LIMIT, Forecast(0, 928))
    looks.begin(0)
    assert at(looks) == first
    looks.missed(first, 1e-5, 1e-6)
    assert at(looks) == first + BLOCK


def test_in_a_cycle_too_early_there_is_one_look_before_the_basis_is_full() -> None:
    looks = Looks(COUNT, KEPT, 20_000, LIMIT, Forecast(1, 704))
    looks.begin(0)
    assert at(looks) == 896
    looks.missed(896, 1e-2, 1e-6)
    assert not looks.due(LIMIT)
    looks.begin(608)
    assert at(looks) == 704
    looks.begin(608)  # not foreseen
    assert at(looks) == 608 + 2 * BLOCK


def test_a_late_forecast_does_not_put_off_the_first_look() -> None:
    looks = Looks(COUNT, KEPT, 20_000, LIMIT, Forecast(0, 1152))
    looks.begin(0)
    assert at(looks) == 896
    looks.missed(896, 1e-2, 1e-6)
    assert at(looks) == 1152
    looks.missed(1152, 1e-5, 1e-6)
    assert at(looks) == 1152 + BLOCK


def test_what_was_foreseen_is_past_once_the_run_has_taken_another_course() -> None:
    looks = Looks(COUNT, KEPT, 20_000, LIMIT, Forecast(1, 704))
    looks.begin(0)
    looks.forget()
    looks.begin(544)
    assert at(looks) == 896


def test_without_a_forecast_the_first_look_follows_from_the_rank() -> None:
    looks = Looks(COUNT, KEPT, 20_000, LIMIT, None)
    looks.begin(0)
    assert at(looks) == 896
    looks = Looks(COUNT, KEPT, 20_000, 700, None)
    looks.begin(0)
    assert looks.due(700 - BLOCK)
    assert not looks.due(KEPT - 1)
