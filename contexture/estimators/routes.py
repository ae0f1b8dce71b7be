"""The routes to a spectrum: which one suits a context, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from contexture.contexts.base import Context, Extent
from contexture.contexts.rbf import Rbf
from contexture.contexts.reference import ReferenceContext
from contexture.errors import ContextError
from contexture.estimators.exact import DENSE_SIDE, GRAM_LIMIT
from contexture.estimators.kernel_lanczos import most_columns, work_of
from contexture.estimators.options import Estimation
from contexture.estimators.single_products import TORCH_BYTES, WORTH_LOADING

Route: TypeAlias = Literal["exact", "krylov", "distributed", "matrix-free", "moments"]

MOMENT_ROWS = 50_000
"""Rows above which a context over drawn references is kept as moments, not as rows of P."""

GROUPS = 24
"""Blocks of rows of which moments are kept: what is resumed, and what the jackknife leaves out."""

BLOCK_BYTES = 32 * 2**20
"""Size of a dense temporary of one block of rows; a block has as many rows as fit into it."""

SPARSE_BLOCK_BYTES = 8 * 2**20
"""Size of the entries of one block of a sparse operator."""

_FLOAT = 8
_SPARSE_ENTRY = 12  # a float64 and an int32

BASIS = 1280
"""Vectors of a Krylov basis for the 512 values of a usual audit; in proportion for others."""

BASIS_BYTES = 3 * 2**30
"""Basis that is held in memory at most; a larger one lies on disk, where it costs little time,
since it is gone through panel by panel."""

WIDTH, WIDE = 32, 128
"""Vectors that a pass over the operator serves at once: where it is sparse, and where dense."""


@dataclass(frozen=True)
class Costs:
    """What a route takes; the attributes are those of `contexture.estimators.plan.ContextPlan`."""

    chunk_rows: int
    blocks: int
    passes: float
    read_bytes: float
    disk_bytes: int
    memory_bytes: int
    solver_bytes: int
    work: float


def choose_route(
    context: Context, extent: Extent, rank: int, options: Estimation, room: int | None
) -> Route:
    """Choose the route, or check the one that was asked for.

    The rule: drawn references on more than `MOMENT_ROWS` rows go by moments. A sparse operator
    whose smaller side is at most `GRAM_LIMIT`, or of which a third of all values is wanted, is
    solved exactly; any other by block Krylov, on one worker if it fits there and else on all.
    A dense operator is solved exactly up to a smaller side of `DENSE_SIDE` if it fits; beyond, an
    RBF context goes matrix-free, one over drawn references by moments, and any other by block
    Krylov in memory, unless more than a third of its values is wanted.

    Parameters
    ----------
    context : Context
    extent : Extent
    rank : int
    options : Estimation
    room : int or None
        Bytes that may be used on one worker; no limit if None.

    Raises
    ------
    ContextError
        If the route asked for does not suit the context.
    """
    drawn = isinstance(context, ReferenceContext) and context.draws_references(extent.rows)
    side = min(extent.rows, extent.columns)
    asked = options.route_of(context.label)
    if asked != "auto":
        _check(asked, context, extent, drawn)
        return asked
    if drawn and extent.rows > MOMENT_ROWS:
        return "moments"
    exact = costs_of("exact", extent, D=1, rank=rank, left=rank)
    fits = room is None or exact.memory_bytes <= room
    if extent.sparse:
        if side <= GRAM_LIMIT or 3 * rank > side:
            return "exact"
        krylov = costs_of("krylov", extent, D=1, rank=rank, left=0, room=room)
        return "krylov" if room is None or krylov.memory_bytes <= room else "distributed"
    if side <= DENSE_SIDE and fits:
        return "exact"
    if isinstance(context, Rbf) and not drawn:
        return "matrix-free"
    if drawn:
        return "moments"
    return "exact" if 3 * rank > side else "krylov"


def _check(route: str, context: Context, extent: Extent, drawn: bool) -> None:
    if route == "moments" and not drawn:
        raise ContextError(
            f"context '{context.label}': route 'moments' needs drawn references, and all "
            f"{extent.columns} context values are used; give the context a 'reference' smaller "
            f"than {extent.rows}."
        )
    if route == "matrix-free" and not isinstance(context, Rbf):
        raise ContextError(
            f"context '{context.label}': route 'matrix-free' is for kernels (rbf), and this is "
            f"a {context.kind} context; choose 'krylov', or leave the route out."
        )
    if route == "distributed" and not extent.sparse:
        free = ", 'matrix-free'" if isinstance(context, Rbf) else ""
        raise ContextError(
            f"context '{context.label}': route 'distributed' is for sparse operators, and that of "
            f"a {context.kind} context is dense; choose 'krylov'{free} or 'exact', or leave the "
            "route out."
        )


def costs_of(
    route: Route,
    extent: Extent,
    *,
    D: int,
    rank: int,
    left: int,
    draws: int = 1,
    chunk_rows: int | None = None,
    double: bool = False,
    room: int | None = None,
    tasks: int = 0,
) -> Costs:
    """Estimate what a route takes.

    Parameters
    ----------
    route : Route
    extent : Extent
    D : int
        Features.
    rank, left : int
        Values wanted, and functions on the inputs that are kept.
    draws : int
        Of the references.
    chunk_rows : int, optional
        Rows of a block.
    double : bool
        Whether an iterative solver works in float64.
    room : int, optional
        Bytes that may be used on one worker: bounds the basis that is held in memory.
    tasks : int
        Columns of sums over targets, kept with moments.
    """
    n, m = extent.rows, extent.columns
    side = min(n, m)
    rows_work = n * extent.row_work * draws
    functions = _FLOAT * (left * n + 2 * rank * m)
    if route == "moments":
        # More rows in a block would leave too few groups for the errors over inputs.
        chunk = min(chunk_rows or n, -(-n // GROUPS))
        gram, of_tasks = _FLOAT * m * m, _FLOAT * m * tasks
        dense = 0.0 if extent.sparse else float(n) * m * m
        each = extent.nonzeros**2 / n if extent.sparse else dense
        return Costs(
            chunk_rows=chunk,
            blocks=-(-n // chunk),
            passes=2.0 if left else 1.0,
            read_bytes=float(_FLOAT * n * D) * (2 if left else 1),
            disk_bytes=draws * -(-n // chunk) * (gram + of_tasks) + _FLOAT * left * n,
            memory_bytes=(draws + 4) * gram
            + (draws + 2) * of_tasks
            + 6 * BLOCK_BYTES
            + 3 * _FLOAT * rank * m,
            solver_bytes=0,
            work=rows_work * (1 + (left > 0) / draws) + draws * (each + 4 / 3 * m**3),
        )
    stored = (_SPARSE_ENTRY if extent.sparse else _FLOAT) * extent.nonzeros
    if extent.sparse:
        a_row = max(1, _SPARSE_ENTRY * extent.nonzeros // n)
        chunk = min(n, chunk_rows or max(1024, SPARSE_BLOCK_BYTES // a_row))
    else:
        chunk = min(n, chunk_rows or max(1, BLOCK_BYTES // (_FLOAT * m)))
    blocks = -(-n // chunk)
    basis = min(side, max(64, BASIS * rank // 512))
    number = _FLOAT if double else _FLOAT // 2
    passes, read, disk, solver_bytes, after = 1.0, float(stored), stored, 0, 0
    if route == "exact":
        matrices = (4 if extent.sparse else 3) * stored
        solver = 3 * _FLOAT * side * side
        functions += _FLOAT * rank * 2 * n
        work = 2.0 * n * m * side + 4 / 3 * side**3
        if extent.sparse:
            work = extent.nonzeros**2 / max(1, n) + 4 / 3 * side**3
    elif route == "matrix-free":
        # Two passes of tiles for every block of vectors, and nothing of size n × m.
        passes, disk, blocks, matrices = 2.0 * basis / WIDE, 0, 1, 4 * BLOCK_BYTES
        solver, read = number * side * (2 * basis + 512), passes * _FLOAT * n * D
        solver_bytes = solver  # or for a sparse operator, where few weights count
        matrices += _torch_bytes(work_of(rank, (n, m)), double)
        work = passes * n * m * (2.0 * D + 20 + 2 * WIDE)
    elif not extent.sparse:
        # P and M, which is float64 where float32 did not do; wide blocks without a filter.
        basis = min(side, most_columns(rank))
        passes, matrices = 2.0 * basis / WIDE, 2 * stored
        solver_bytes = number * side * basis
        solver, read = solver_bytes + number * side * 4 * WIDE, passes * stored
        after, functions = 2 * number * rank * m + _FLOAT * left * (n + m), 0
        matrices += _torch_bytes(work_of(rank, (n, m)), double)
        work = 4.0 * basis * n * m + 4.0 * side * basis**2
    else:
        # A basis that does not fit is kept on disk; a few blocks of vectors always are in memory.
        passes = 3.0 * basis / WIDTH
        torch = _torch_bytes(float(side) * basis**2, double)
        matrices = (stored if route == "distributed" else 3 * stored) + torch
        # The functions take the place of the basis: all for the errors, then those that are kept.
        after, functions = number * rank * m + _FLOAT * left * (n + m), 0
        least = number * side * 12 * WIDTH + _FLOAT * side * 8
        whole = number * side * basis + least
        spare = BASIS_BYTES if room is None else min(BASIS_BYTES, room - matrices)
        solver = int(min(whole, max(least, spare)))
        if route == "distributed":
            # Workers hold blocks and one block of vectors; the basis is on disk.
            matrices, solver, after = 4 * BLOCK_BYTES + torch, least, 0
        solver_bytes = solver
        disk += number * side * basis if solver < whole else 0
        read = passes * stored
        work = passes * 4.0 * WIDTH * extent.nonzeros + 4.0 * side * basis**2
    temporaries = 5 * _FLOAT * chunk * m if not extent.sparse else 3 * _SPARSE_ENTRY * chunk
    return Costs(
        chunk_rows=chunk,
        blocks=blocks,
        passes=passes,
        read_bytes=read,
        disk_bytes=disk,
        memory_bytes=int(max(matrices + solver + functions, matrices + after, temporaries)),
        solver_bytes=solver_bytes,
        work=float(rows_work + work),
    )


def _torch_bytes(multiplications: float, double: bool) -> int:
    """Memory of torch, where oneDNN may multiply so much in float32."""
    return TORCH_BYTES if not double and multiplications >= WORTH_LOADING else 0
