"""The plan: which route at which size, what can be overruled, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contexture.contexts import Context, Counts, Graph, Knn, MaskedKnn, MaskedRbf, Rbf
from contexture.contexts.base import Extent
from contexture.errors import ContextError, TooLargeError
from contexture.estimators.costs import BASIS_BYTES, MOMENT_BLOCKS, costs_of
from contexture.estimators.draw_plan import (
    FEWEST_NEIGHBOURS,
    MOST_DRAWS,
    MOST_REFERENCES,
    RULES,
    SHRINK_ROWS,
)
from contexture.estimators.exact import DENSE_SIDE, GRAM_LIMIT
from contexture.estimators.machine import Machine
from contexture.estimators.options import DRAWS, Estimation
from contexture.estimators.plan import LEFT_ROWS, ContextPlan, plan_context
from contexture.estimators.preparation import evidence_bytes
from contexture.estimators.room import require_room
from contexture.estimators.routes import MOMENT_ROWS, choose_route

GIB = 2**30


def route(context: Context, n: int, **options: object) -> str:
    machine = options.pop("machine", None)
    found = plan_context(
        context,
        n,
        16,
        estimation=Estimation(**options),
        machine=machine,  # type: ignore[arg-type]
    )
    return found.route


@pytest.mark.parametrize(
    ("context", "n", "expected"),
    [
        (Knn(k=30), GRAM_LIMIT, "exact"),
        (Knn(k=30), 1535, "exact"),  # more than a third of all values is wanted
        (Knn(k=30), 1536, "krylov"),
        (Knn(k=30), 10**6, "krylov"),
        (Knn(k=30, reference=1000), 40_000, "exact"),
        (Knn(k=30, reference=4000), MOMENT_ROWS, "krylov"),
        (Knn(k=30, reference=4000), MOMENT_ROWS + 1, "moments"),
        (Knn(fraction=0.01), SHRINK_ROWS, "krylov"),
        (Knn(fraction=0.01), SHRINK_ROWS + 1, "moments"),
        (Knn(fraction=0.01, reference="all"), SHRINK_ROWS + 1, "krylov"),
        (Rbf(gamma=1), DENSE_SIDE, "exact"),
        (Rbf(gamma=1), DENSE_SIDE + 1, "matrix-free"),
        (Rbf(gamma=1), SHRINK_ROWS, "matrix-free"),
        (Rbf(gamma=1), SHRINK_ROWS + 1, "moments"),
        (Rbf(gamma=1, reference="all"), 10**6, "matrix-free"),
        (Rbf(gamma=1, reference=2000), MOMENT_ROWS, "exact"),
        (MaskedRbf(gamma=1, reference=2000), MOMENT_ROWS + 1, "moments"),
        (MaskedRbf(gamma=1), DENSE_SIDE, "exact"),
        (MaskedRbf(gamma=1), DENSE_SIDE + 1, "krylov"),
        (MaskedKnn(k=30, n_masks=5), 10_000, "krylov"),
    ],
    ids=str,
)
def test_the_rule_at_its_borders(context: Context, n: int, expected: str) -> None:
    assert route(context, n) == expected


def test_one_worker_or_all_of_them() -> None:
    context = Knn(k=30)
    small, large = Machine(2 * GIB), Machine(64 * GIB)
    assert route(context, 10**6, machine=large) == "krylov"
    assert route(context, 10**6, machine=small) == "distributed"
    # A dense operator over drawn references that does not fit is kept as moments, if these do.
    kernel = Rbf(gamma=1, reference=4000)
    assert route(kernel, 40_000, machine=large) == "exact"
    assert route(kernel, 40_000, machine=Machine(3 * GIB)) == "moments"


def test_choices_can_be_overruled() -> None:
    assert route(Knn(k=30), 1000, route="krylov") == "krylov"
    assert route(Knn(k=30), 10**5, route="distributed") == "distributed"
    assert route(Knn(k=30), 10**5, route="exact") == "exact"
    assert route(Rbf(gamma=1), 1000, route="matrix-free") == "matrix-free"
    assert route(Knn(k=3, reference=100), 1000, route="moments") == "moments"
    one = {"routes": {"knn-30": "exact"}}
    assert route(Knn(k=30), 10**5, route="distributed", **one) == "exact"
    assert route(Knn(k=31), 10**5, route="distributed", **one) == "distributed"
    for way in ("auto", "tiles", "nystroem", "truncated"):
        kernel = plan_context(Rbf(gamma=1), 9000, 4, estimation=Estimation(kernel=way))
        assert (kernel.route, kernel.kernel) == ("matrix-free", way)
    for order, ordered in (("auto", True), ("never", False)):
        options = Estimation(local_order=order)
        assert plan_context(Knn(k=3), 200_000, 4, estimation=options).ordered is ordered
    found = plan_context(
        Knn(k=3, reference=100), 10**6, 16, estimation=Estimation(draws=7), chunk_rows=1000
    )
    assert (found.draws, found.chunk_rows, found.blocks) == (7, 1000, 1000)
    assert plan_context(Knn(k=3, reference=100), 10**6, 16).draws == DRAWS
    kept = [Estimation(left_functions=choice) for choice in ("auto", "always", "never")]
    plans = [plan_context(Knn(k=3), LEFT_ROWS + 1, 4, estimation=each) for each in kept]
    assert [plan.left_functions for plan in plans] == [False, True, False]
    assert plan_context(Knn(k=3), LEFT_ROWS, 4).left_functions
    assert plans[1].memory_bytes >= plans[0].memory_bytes


def test_the_plan_picks_the_references_for_a_wanted_error() -> None:
    sizes = []
    for error in (0.02, 0.01, 0.005):
        options = Estimation(reference_error=error, draws=2)
        found = plan_context(Rbf(gamma=2), 10**6, 8, estimation=options)
        assert found.resolved.label == found.context == "rbf-2"
        assert found.columns == found.resolved.reference_size(10**6)  # type: ignore[attr-defined]
        sizes.append(found.columns)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


def test_the_plan_picks_the_draws_too_and_says_what_to_expect() -> None:
    found = plan_context(Rbf(gamma=2), 10**6, 8)
    assert found.draws >= DRAWS
    assert found.reference_error == pytest.approx(
        RULES["rbf"].error(found.columns, found.draws), rel=1e-12
    )
    assert found.reference_error <= 0.01 * (1 + 1e-9)
    assert found.error_reached
    # Where references are at their end, more draws are all that is left.
    strict = plan_context(Rbf(gamma=2), 10**6, 8, estimation=Estimation(reference_error=0.006))
    assert strict.error_reached
    assert DRAWS < strict.draws <= MOST_DRAWS
    assert RULES["rbf"].error(MOST_REFERENCES, DRAWS) > 0.006
    never = plan_context(Rbf(gamma=2), 10**6, 8, estimation=Estimation(reference_error=1e-4))
    assert (never.columns, never.draws) == (MOST_REFERENCES, MOST_DRAWS)
    assert not never.error_reached
    own = plan_context(Rbf(gamma=2, reference=600), 10**6, 8)
    assert own.reference_error == pytest.approx(RULES["rbf"].error(600, DRAWS))
    assert plan_context(Rbf(gamma=2), 6000, 8).reference_error is None
    assert plan_context(Knn(k=9), 10**6, 8).reference_error is None


def test_a_fraction_is_never_rounded_to_a_neighbour_or_two() -> None:
    n = SHRINK_ROWS + 1
    for fraction in (0.0013, 0.002, 0.01, 0.02):
        found = plan_context(Knn(fraction=fraction), n, 8)
        assert found.route == "moments"
        k = found.resolved.neighbours(n)  # type: ignore[attr-defined]
        assert k >= FEWEST_NEIGHBOURS
        assert k / found.columns == pytest.approx(fraction, rel=0.06)
    # Among the most references it would be: all rows are kept.
    whole = plan_context(Knn(fraction=0.001), n, 8)
    assert (whole.route, whole.columns, whole.resolved.neighbours(n)) == (  # type: ignore[attr-defined]
        "krylov", n, 50,
    )  # fmt: skip


def test_as_many_values_as_references_can_be_asked_for() -> None:
    n, most = SHRINK_ROWS + 1, MOST_REFERENCES
    for context in (Rbf(gamma=1), Knn(fraction=0.01)):
        found = plan_context(context, n, 8, max_rank=most - 1)
        assert (found.route, found.columns, found.rank) == ("moments", most, most - 1)
        # The most references would not have as many values: all rows are kept.
        whole = plan_context(context, n, 8, max_rank=most)
        assert (whole.columns, whole.rank) == (n, most)
        assert whole.route == ("matrix-free" if context.kind == "rbf" else "krylov")


def test_large_blocks_leave_blocks_enough_for_the_errors() -> None:
    found = plan_context(Knn(k=9, reference=500), 60_000, 8, chunk_rows=100_000)
    assert (found.chunk_rows, found.blocks) == (2500, MOMENT_BLOCKS)


@pytest.mark.parametrize(("tolerance", "number"), [(5e-6, 4), (4.9e-6, 8), (1e-6, 8)])
def test_memory_is_planned_in_the_precision_of_the_solver(tolerance: float, number: int) -> None:
    options = Estimation(tolerance=tolerance)
    found = plan_context(Rbf(gamma=1, reference="all"), 10**5, 8, estimation=options)
    assert found.solver_bytes == number * 10**5 * (2 * 1280 + 512)


@pytest.mark.parametrize(
    ("context", "wanted", "message"),
    [
        (Knn(k=5), "moments", "needs drawn references, and all 1000 context values are used"),
        (Rbf(gamma=1), "distributed", "'distributed' is for sparse operators, and that of a rbf"),
        (Knn(k=5), "matrix-free", "is for kernels .rbf., and this is a knn context"),
    ],
)
def test_routes_that_do_not_suit(context: Context, wanted: str, message: str) -> None:
    with pytest.raises(ContextError, match=message):
        route(context, 1000, route=wanted)


def test_moments_take_the_same_memory_at_any_size() -> None:
    plans = [plan_context(Knn(fraction=0.01, reference=2048), n, 16) for n in (10**6, 10**8)]
    assert plans[0].memory_bytes == plans[1].memory_bytes < GIB
    assert plans[0].disk_bytes == plans[1].disk_bytes
    assert [plan.blocks for plan in plans] == [MOMENT_BLOCKS, MOMENT_BLOCKS]
    assert plans[1].work > 50 * plans[0].work
    assert plans[0].passes == 1
    assert plans[0].read_bytes == 8 * 16 * 10**6


def test_sums_over_many_classes_are_counted() -> None:
    one, many = (plan_context(Knn(k=5, reference=2048), 10**6, 4, tasks=t) for t in (2, 10_001))
    each = 8 * 2048 * (10_001 - 2)
    assert many.memory_bytes - one.memory_bytes == (2 * DRAWS + 2) * each
    assert many.disk_bytes - one.disk_bytes == DRAWS * MOMENT_BLOCKS * 2 * each


def test_a_basis_that_does_not_fit_goes_to_disk() -> None:
    extent = Extent(10**5, 10**5, 3 * 10**6, True, 100.0)
    whole = costs_of("krylov", extent, D=16, rank=512, left=0)
    less = costs_of("krylov", extent, D=16, rank=512, left=0, room=9 * whole.memory_bytes // 10)
    assert less.solver_bytes < whole.solver_bytes
    assert less.memory_bytes < whole.memory_bytes
    assert less.disk_bytes > whole.disk_bytes
    double = costs_of("krylov", extent, D=16, rank=512, left=0, double=True)
    assert double.solver_bytes == 2 * whole.solver_bytes - 8 * 8 * 10**5
    # Nor is more than a part of the memory taken for it, however much there is.
    large = costs_of("krylov", Extent(10**6, 10**6, 3 * 10**7, True, 1.0), D=16, rank=512, left=0)
    assert large.solver_bytes == BASIS_BYTES
    assert large.disk_bytes > 4 * 10**9
    context = Knn(k=30)
    assert choose_route(context, extent, 512, Estimation(), None) == "krylov"


def test_a_dense_operator_holds_its_matrix_twice_and_a_wide_basis() -> None:
    extent = Extent(20_000, 20_000, 4 * 10**8, False, 1.0)
    found = costs_of("krylov", extent, D=16, rank=512, left=0)
    assert found.solver_bytes == 4 * 20_000 * (4 * 512 + 2 * 128)
    assert found.memory_bytes > 2 * found.disk_bytes + found.solver_bytes
    assert found.disk_bytes == 8 * 4 * 10**8
    exactly = costs_of("exact", extent, D=16, rank=512, left=0)
    assert found.memory_bytes < exactly.memory_bytes
    assert found.work < exactly.work


def test_nobody_is_sent_to_a_route_that_is_refused() -> None:
    plan = plan_context(MaskedRbf(gamma=1), 20_000, 10)
    assert plan.route == "krylov"
    message = refused(plan, 2 * GIB)
    assert "distributed" not in message
    assert "give the context a 'reference' of a few thousand rows" in message
    with pytest.raises(ContextError, match="choose 'krylov' or 'exact', or leave the route out"):
        route(MaskedRbf(gamma=1), 1000, route="distributed")


def refused(plan: ContextPlan, memory: int) -> str:
    with pytest.raises(TooLargeError) as caught:
        require_room([plan], Machine(memory))
    return str(caught.value)


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    whole = plan_context(Rbf(gamma=1), 200_000, 8, estimation=Estimation(route="exact"))
    assert "give the context a 'reference' of a few thousand rows or" in refused(whole, 8 * GIB)
    neighbours = plan_context(Knn(k=5), 10**6, 8, estimation=Estimation(route="krylov"))
    assert "set route to 'distributed', choose a smaller max_rank than 512" in refused(
        neighbours, 2 * GIB
    )
    drawn = plan_context(Rbf(gamma=1, reference=8000), 10**6, 8)
    assert "choose a 'reference' smaller than 8,000" in refused(drawn, GIB)
    masked = plan_context(MaskedRbf(gamma=1), 50_000, 8)
    assert "context 'masked-rbf-1' on 50,000 rows needs about" in refused(masked, GIB)
    require_room([drawn], Machine(16 * GIB))
    with pytest.raises(TooLargeError, match="of disk, and 1.0 GiB are free"):
        require_room([drawn], Machine(16 * GIB, disk=GIB))


def test_what_would_not_help_is_not_advised() -> None:
    rare = plan_context(Knn(fraction=0.001), 10**6, 8)
    assert "give the context a 'reference' of 10,000 rows or give" in refused(rare, 2 * GIB)
    graph = Graph.model_construct(kind="graph", name="g")
    extent = Extent(10**6, 10**6, 10**9, True, 1.0)
    plan = replace(
        plan_context(Knn(k=5), 10**6, 8, estimation=Estimation(route="distributed")),
        resolved=graph, memory_bytes=36 * 10**9, rows_bytes=evidence_bytes(graph, extent, 8),
    )  # fmt: skip
    message = refused(plan, 16 * GIB)
    assert "each of them holds the whole matrix while its rows are computed" in message
    assert "distributed" not in message
    assert "max_rank" not in message


def test_files_are_planned_by_their_size(tmp_path: object) -> None:
    extent = Extent(10**6, 300, 10**7, True, 10.0)
    context = Counts.model_construct(kind="counts", name="c")
    assert choose_route(context, extent, 299, Estimation(), None) == "exact"
    wide = Extent(10**6, 5 * 10**5, 10**7, True, 10.0)
    assert choose_route(context, wide, 512, Estimation(), None) == "krylov"
