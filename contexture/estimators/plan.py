"""Decide how a spectrum will be computed, and what that takes, before anything is computed.

The figures are upper estimates from the shapes alone. A context that would not fit is refused
(`contexture.estimators.room`). The rule is `choose_route` (docs/scale.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from contexture.contexts.base import Context
from contexture.contexts.reference import ReferenceContext
from contexture.estimators.draw_plan import (
    FEWEST_REFERENCES,
    MOST_DRAWS,
    MOST_REFERENCES,
    DrawPlan,
    choose_draws,
    rule_of,
)
from contexture.estimators.machine import Machine
from contexture.estimators.options import DRAWS, Estimation, KernelRoute
from contexture.estimators.preparation import evidence_bytes, order_bytes, search_bytes
from contexture.estimators.routes import BLOCK_BYTES, Route, choose_route, costs_of
from contexture.estimators.solution import SINGLE_LIMIT

SHRINK_ROWS = 50_000
"""Rows above which a context over all rows becomes one over drawn references, where it means the
same over fewer and nothing else was asked for."""

FEWEST_NEIGHBOURS = 10
"""K among references that the plan chooses, at least: a fraction rounded to one neighbour, or two,
is another context."""

LEFT_ROWS = 200_000
"""Rows up to which the functions on the inputs are kept, unless something else is said."""


@dataclass(frozen=True)
class ContextPlan:
    """How one context will be computed.

    Attributes
    ----------
    context, family : str
    resolved : Context
        The context with what the plan chose for it: the size of its reference set.
    route : str
        "exact", "krylov", "distributed", "matrix-free" or "moments".
    rows, columns, nonzeros : int
        Shape of P and its entries.
    kernel : str
        How a matrix-free route goes: "auto", "tiles", "nystroem" or "truncated".
    draws : int
        Independent draws of the references.
    reference_error : float or None
        Error of τ, against all rows as references, that is to be expected of them; None where
        all rows are.
    error_reached : bool
        Whether that is what was wanted of references that the plan chose, or less.
    chunk_rows, blocks : int
        Rows of a block, and number of blocks.
    rank : int
        Singular values that will be computed.
    left_functions : bool
        Whether the functions on the inputs are kept.
    ordered : bool
        Whether rows and context values are stored in a local order.
    search_bytes : int
        What the search of neighbours among all rows takes, before the first block.
    rows_bytes : int
        What a worker holds while it computes rows: the references, or the whole of a matrix.
    passes : float
        How often the operator, or X where no operator is held, is gone through.
    read_bytes : float
        What these passes read.
    disk_bytes : int
        Size of what is stored before compression.
    memory_bytes : int
        Peak on one worker.
    solver_bytes : int
        Memory that an iterative solver may fill with its basis; the rest goes to disk.
    work : float
        Floating-point operations, roughly.
    """

    context: str
    family: str
    resolved: Context
    route: Route
    rows: int
    columns: int
    nonzeros: int
    kernel: KernelRoute
    draws: int
    reference_error: float | None
    error_reached: bool
    chunk_rows: int
    blocks: int
    rank: int
    left_functions: bool
    ordered: bool
    search_bytes: int
    rows_bytes: int
    passes: float
    read_bytes: float
    disk_bytes: int
    memory_bytes: int
    solver_bytes: int
    work: float


def plan_context(
    context: Context,
    n: int,
    D: int,
    max_rank: int = 512,
    chunk_rows: int | None = None,
    estimation: Estimation | None = None,
    machine: Machine | None = None,
    rank_kept: int = 128,
    tasks: int = 0,
) -> ContextPlan:
    """Plan one context on n rows of D features.

    Parameters
    ----------
    context : Context
    n, D : int
        Shape of X.
    max_rank : int
        d_0.
    chunk_rows : int, optional
        Rows of a block; chosen by the route if left out.
    estimation : Estimation, optional
        What the user decided.
    machine : Machine, optional
        Decides between one worker and all of them; unlimited if left out.
    rank_kept : int
        Functions that the store keeps.
    tasks : int
        Columns of sums that moments keep for all targets: one a number or class, and one a target.

    Raises
    ------
    ContextError
        If the context does not fit that many rows or features, or the route does not suit it.
    """
    options = estimation or Estimation()
    chosen, wanted = resolve(context, n, D, options, max_rank)
    extent = chosen.extent(n, D)
    rank = max(1, min(max_rank, min(n, extent.columns) - 1))
    room = None if machine is None else machine.room
    route = choose_route(chosen, extent, rank, options, room)
    left = options.left_functions == "always" or (
        # Moments have no rows at hand: the functions cost another pass.
        options.left_functions == "auto" and n <= LEFT_ROWS and route != "moments"
    )
    draws = 1
    if route == "moments":
        draws = options.draws or (wanted.draws if wanted is not None else DRAWS)
    kept = min(rank, rank_kept)
    costs = costs_of(
        route,
        extent,
        D=D,
        rank=rank,
        left=kept if left else 0,
        draws=draws,
        chunk_rows=chunk_rows,
        double=options.tolerance < SINGLE_LIMIT,
        room=room,
        tasks=tasks,
    )
    ordering = order_bytes(chosen, extent)
    ordered = 0 < ordering <= (room or ordering) and route in ("krylov", "distributed")
    ordered = ordered and options.local_order == "auto"
    search = search_bytes(chosen, n, D)
    rows = evidence_bytes(chosen, extent, D) + BLOCK_BYTES
    memory = max(costs.memory_bytes, search, ordering if ordered else 0, rows)
    return ContextPlan(
        context=context.label,
        family=context.family,
        resolved=chosen,
        route=route,
        rows=n,
        columns=extent.columns,
        nonzeros=extent.nonzeros,
        kernel=options.kernel if route == "matrix-free" else "auto",
        draws=draws,
        reference_error=_reference_error(chosen, n, draws),
        error_reached=wanted is None or wanted.reached,
        rank=rank,
        left_functions=left,
        ordered=ordered,
        search_bytes=search,
        rows_bytes=rows,
        **{**vars(costs), "memory_bytes": memory},
    )


def resolve(
    context: Context, n: int, D: int, options: Estimation, max_rank: int = 512
) -> tuple[Context, DrawPlan | None]:
    """Return the context with a reference set chosen for it, where it has many rows and none.

    A KNN context with a fixed K stays as it is: over fewer references it would be another one; so
    does one whose fraction of the most references would be a few neighbours, rounded. What was
    chosen comes with it; None where nothing was.
    """
    if n <= SHRINK_ROWS or options.route_of(context.label) not in ("auto", "moments"):
        return context, None
    if not isinstance(context, ReferenceContext) or context.reference is not None:
        return context, None
    if not context.can_shrink:
        return context, None
    # Below d_0 references there are fewer values, and τ is another number.
    fewest = max(FEWEST_REFERENCES, max_rank + 1)
    fraction = getattr(context, "fraction", None)
    if fraction is not None:
        fewest = max(fewest, math.ceil(FEWEST_NEIGHBOURS / fraction))
        if fewest > MOST_REFERENCES:
            return context, None
    wanted = choose_draws(
        options.reference_error,
        n,
        rule=rule_of(context.family),
        references=(min(fewest, MOST_REFERENCES), MOST_REFERENCES),
        draws=(options.draws or DRAWS, options.draws or MOST_DRAWS),
        dense=not context.extent(n, D).sparse,
    )
    # The name stays: it is the same context, estimated.
    drawn = context.model_copy(update={"reference": wanted.reference, "name": context.label})
    return drawn, wanted


def _reference_error(context: Context, n: int, draws: int) -> float | None:
    if not isinstance(context, ReferenceContext) or not context.draws_references(n):
        return None
    # τ lies between 1 and 1 + β: a rule made for many references must not promise more.
    return min(1.0, rule_of(context.family).error(context.reference_size(n), draws))
