"""The borders of the rule, where only one of its parts decides, and the solver that follows it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator
from contexture.contexts import Context, Counts, Knn, MaskedRbf, Rbf
from contexture.contexts.base import Extent
from contexture.estimators.costs import costs_of
from contexture.estimators.draw_plan import FEWEST_REFERENCES, MOST_REFERENCES, RULES
from contexture.estimators.exact import GRAM_LIMIT, needs_gram
from contexture.estimators.machine import Machine
from contexture.estimators.options import Estimation
from contexture.estimators.plan import ContextPlan, plan_context
from contexture.estimators.room import require_room
from contexture.estimators.routes import MOMENT_ROWS, choose_route

GIB = 2**30


def operator(n: int, m: int) -> ExpectationOperator:
    rows = np.arange(n)
    P = sparse.csr_array((np.ones(n), (rows, rows % m)), shape=(n, m))
    return ExpectationOperator((P,), np.full(n, 1 / n), np.full(m, 1 / m))


@pytest.mark.parametrize(
    ("side", "rank", "expected"),
    [
        (GRAM_LIMIT, 10, "exact"),
        (GRAM_LIMIT + 1, 10, "krylov"),
        (3000, 1000, "krylov"),  # a third is not more than a third
        (3000, 1001, "exact"),
        (2999, 1000, "exact"),
        (3001, 1000, "krylov"),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_plan_and_solver_have_the_same_borders(
    side: int, rank: int, expected: str, wide: bool
) -> None:
    n, m = (side, side + 50) if wide else (side + 50, side)
    extent = Extent(n, m, 5 * n, True, 1.0)
    assert choose_route(Knn(k=5), extent, rank, Estimation(), None) == expected
    assert needs_gram(operator(n, m), rank) == (expected == "exact")


@pytest.mark.parametrize("context", [Rbf(gamma=1), Knn(fraction=0.05)])
def test_there_are_more_references_than_values_that_count(context: Rbf | Knn) -> None:
    options = Estimation(reference_error=0.9)  # any number of references would do
    sizes = {
        rank: plan_context(context, 10**6, 8, max_rank=rank, estimation=options).columns
        for rank in (100, FEWEST_REFERENCES, 2000)
    }
    assert sizes == {
        100: FEWEST_REFERENCES,
        FEWEST_REFERENCES: FEWEST_REFERENCES + 1,
        2000: 2001,
    }


def plan(context: Context, n: int, room: float | None = None, **options: object) -> ContextPlan:
    machine = None if room is None else Machine(Machine(0).memory_for(int(room)))
    return plan_context(context, n, 16, estimation=Estimation(**options), machine=machine)


@pytest.mark.parametrize("options", [{}, {"tolerance": 1e-6}, {"left_functions": "never"}], ids=str)
def test_what_is_chosen_fits_or_nothing_would(options: dict[str, object]) -> None:
    """Functions that are kept, and float64, count when the route is chosen."""
    context, n, seen = Knn(k=30), 200_000, set()
    for room in range(300_000_000, 2_200_000_000, 10_000_000):
        found = plan(context, n, room, **options)
        seen.add(found.route)
        if found.memory_bytes > room:
            others = [plan(context, n, room, **options, route=route).memory_bytes
                      for route in ("exact", "krylov", "distributed")]  # fmt: skip
            assert min(others) == found.memory_bytes
    assert seen == {"krylov", "distributed"}
    for rows in (n, n + 1):
        require_room([plan_context(context, rows, 16, machine=Machine(2 * GIB))], Machine(2 * GIB))


@pytest.mark.parametrize(
    ("context", "n", "room", "expected"),
    [
        (Knn(fraction=0.01, reference=MOST_REFERENCES), MOMENT_ROWS + 1, None, "moments"),
        (Knn(fraction=0.01, reference=MOST_REFERENCES), MOMENT_ROWS + 1, 5.8e9, "moments"),
        (Knn(fraction=0.01, reference=MOST_REFERENCES), MOMENT_ROWS + 1, 3e9, "krylov"),
        (Knn(fraction=0.01, reference=MOST_REFERENCES), 10**7, 1.5e9, "distributed"),
        (Knn(fraction=0.01, reference=MOST_REFERENCES + 1), MOMENT_ROWS + 1, None, "krylov"),
        (Knn(fraction=0.01, reference=20_000), MOMENT_ROWS, None, "krylov"),
        (Knn(fraction=0.01, reference=20_000), MOMENT_ROWS + 1, None, "krylov"),
        (Knn(fraction=0.01, reference=20_000), MOMENT_ROWS + 1, 1e9, "krylov"),
        (Knn(fraction=0.01, reference=20_000), 10**7, None, "krylov"),
        (Knn(fraction=0.01, reference=20_000), 10**8, None, "moments"),  # the least work
        (Knn(k=9, reference=1500), MOMENT_ROWS + 1, None, "moments"),
        (Knn(k=9, reference=1500), MOMENT_ROWS + 1, 3.4e8, "exact"),
        (Rbf(gamma=1, reference=20_000), MOMENT_ROWS + 1, None, "moments"),
        (Rbf(gamma=1, reference=20_000), MOMENT_ROWS + 1, 2e10, "matrix-free"),
        (Rbf(gamma=1, reference=20_000), MOMENT_ROWS, 2e10, "matrix-free"),
        (MaskedRbf(gamma=1, reference=20_000), MOMENT_ROWS + 1, 4e10, "moments"),
        (MaskedRbf(gamma=1, reference=20_000), MOMENT_ROWS + 1, 2e10, "krylov"),
        (MaskedRbf(gamma=1), 3000, 2.4e8, "krylov"),
    ],
    ids=str,
)
def test_moments_where_they_fit_and_pay(
    context: Context, n: int, room: float | None, expected: str
) -> None:
    found = plan(context, n, room)
    assert found.route == expected
    assert room is None or found.memory_bytes <= room


def test_gram_matrices_that_do_not_fit_leave_the_work_to_all_workers() -> None:
    counts = Counts.model_construct(kind="counts", name="c")
    tall, square = Extent(10**7, 1000, 10**8, True, 1.0), Extent(20_000, 20_000, 10**6, True, 1.0)
    for extent, rank, rooms, expected in (
        (tall, 512, (1e10, 2e10, 1e11), ("distributed", "krylov", "exact")),
        (square, 8192, (1.5e10, 2e10), ("distributed", "exact")),
    ):
        costs = partial(costs_of, extent=extent, D=16, rank=rank, left=128)
        for room, route in zip(rooms, expected, strict=True):
            assert choose_route(counts, extent, rank, Estimation(), int(room), costs) == route
            assert costs(route).memory_bytes <= room  # type: ignore[arg-type]


def test_references_without_their_draws_promise_less() -> None:
    drawn = plan(Rbf(gamma=2), 10**6)
    assert drawn.draws > 1
    assert drawn.error_reached
    once = plan(Rbf(gamma=2), 10**6, drawn.memory_bytes - 1)
    assert (once.route, once.columns, once.draws) == ("matrix-free", drawn.columns, 1)
    assert once.reference_error == pytest.approx(RULES["rbf"].error(once.columns, 1))
    assert not once.error_reached


def test_draws_that_were_asked_for_are_kept() -> None:
    """Though one draw by another route would be less work."""
    context, machine = Knn(k=100, reference=10_000), Machine(64 * GIB)
    found = {
        draws: plan_context(context, 10**6, 16, estimation=Estimation(draws=draws), machine=machine)
        for draws in (None, 3)
    }
    assert [(plan.route, plan.draws) for plan in found.values()] == [
        ("krylov", 1), ("moments", 3),
    ]  # fmt: skip
