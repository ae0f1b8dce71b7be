"""Decide how a spectrum will be computed, and what that takes, before anything is computed.

The figures are upper estimates from the shapes alone. A context that would not fit is refused
(`contexture.estimators.room`). The rule is `choose_route` (docs/scale.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from contexture.contexts.base import Context
from contexture.contexts.knn import KnnFields
from contexture.contexts.masked import MaskedKnn
from contexture.estimators.costs import BLOCK_BYTES, Costs, Route, costs_of
from contexture.estimators.draw_plan import reference_error, resolve
from contexture.estimators.machine import Machine
from contexture.estimators.options import DRAWS, Estimation, KernelRoute
from contexture.estimators.preparation import evidence_bytes, order_bytes, search_bytes
from contexture.estimators.routes import choose_route
from contexture.estimators.solution import SINGLE_LIMIT

LEFT_ROWS = 200_000
"""Rows up to which the functions on the inputs are kept, unless something else is said."""

_FLOAT, _INDEX = 8, 4


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
        Size of what is stored for the context, before compression: its neighbours, its operator or
        moments, and the functions that are kept; and of a basis that is not held in memory.
    memory_bytes : int
        Peak on one worker: the one that has the basis, or one that helps it.
    solver_bytes : int
        Memory that an iterative solver may fill with its basis; the rest goes to disk.
    work : float
        Floating-point operations, roughly.
    features_bytes : int
        Size of X with the names and weights of the rows, before compression; stored once for all
        contexts.
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
    features_bytes: int = 0


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
    kept = min(rank, rank_kept)
    drawn = options.draws or (wanted.draws if wanted is not None else DRAWS)

    def costs_by(route: Route) -> Costs:
        return costs_of(
            route,
            extent,
            D=D,
            rank=rank,
            left=kept if _keeps_left(options, n, route) else 0,
            draws=drawn if route == "moments" else 1,
            chunk_rows=chunk_rows,
            double=options.tolerance < SINGLE_LIMIT,
            room=room,
            tasks=tasks,
        )

    route = choose_route(chosen, extent, rank, options, room, costs_by)
    costs = costs_by(route)
    left = _keeps_left(options, n, route)
    draws = drawn if route == "moments" else 1
    error = reference_error(chosen, n, draws)
    ordering = order_bytes(chosen, extent)
    ordered = 0 < ordering <= (room or ordering) and route in ("krylov", "distributed")
    ordered = ordered and options.local_order == "auto"
    search = search_bytes(chosen, n, D)
    rows = evidence_bytes(chosen, extent, D) + BLOCK_BYTES
    memory = max(costs.memory_bytes, search, ordering if ordered else 0, rows)
    functions = _FLOAT * kept * (extent.columns + (n if left else 0))
    disk = costs.disk_bytes + _neighbours_bytes(chosen, n) + functions
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
        reference_error=error,
        # The last bit of a power must not decide.
        error_reached=wanted is None or (error or 0.0) <= options.reference_error * (1 + 1e-9),
        rank=rank,
        left_functions=left,
        ordered=ordered,
        search_bytes=search,
        rows_bytes=rows,
        features_bytes=_FLOAT * n * (D + 2),
        **{**vars(costs), "memory_bytes": memory, "disk_bytes": disk},
    )


def _keeps_left(options: Estimation, n: int, route: Route) -> bool:
    """Whether the functions on the inputs are kept."""
    if options.left_functions != "auto":
        return options.left_functions == "always"
    # Moments have no rows at hand: the functions cost another pass.
    return n <= LEFT_ROWS and route != "moments"


def _neighbours_bytes(context: Context, n: int) -> int:
    """Size of the neighbours of all rows as they are stored; 0 where none are searched before."""
    if not isinstance(context, KnnFields) or not context.approximates(n):
        return 0
    masks = context.n_masks if isinstance(context, MaskedKnn) else 1
    return _INDEX * n * masks * context.neighbours(n)
