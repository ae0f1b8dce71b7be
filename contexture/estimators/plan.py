"""Decide how a spectrum will be computed, and what that takes, before anything is computed.

The figures are upper estimates from the shapes alone. A context that would not fit is refused
here, with a sentence that says what would.
"""

from __future__ import annotations

from dataclasses import dataclass

from contexture.contexts.base import Context
from contexture.errors import TooLargeError
from contexture.estimators.exact import GRAM_LIMIT

BLOCK_BYTES = 32 * 2**20
"""Size of a dense temporary of one block of rows; a block has as many rows as fit into it."""

MEMORY_SHARE = 0.75
"""Part of a worker's memory that a plan may fill; Dask begins to pause workers at 0.8."""

_FLOAT = 8
_SPARSE_ENTRY = 12  # a float64 and an int32

LANCZOS_BASIS = 4
"""Vectors of the Lanczos basis for every singular value wanted, as PROPACK allocates them."""


@dataclass(frozen=True)
class Machine:
    """What a plan may use.

    Attributes
    ----------
    memory : int
        Bytes that one Dask worker thread may use.
    disk : int or None
        Free bytes where the store lies; None if unknown.
    """

    memory: int
    disk: int | None = None


@dataclass(frozen=True)
class ContextPlan:
    """How one context will be computed.

    Attributes
    ----------
    context, family : str
    route : str
        "dense Gram", "sparse Gram" or "Lanczos".
    rows, columns, nonzeros : int
        Shape of P and the entries stored.
    chunk_rows, blocks : int
        Rows of a block, and number of blocks.
    rank : int
        Singular values that will be computed.
    disk_bytes : int
        Size of the operator before compression.
    memory_bytes : int
        Peak on one worker.
    work : float
        Floating-point operations, roughly.
    """

    context: str
    family: str
    route: str
    rows: int
    columns: int
    nonzeros: int
    chunk_rows: int
    blocks: int
    rank: int
    disk_bytes: int
    memory_bytes: int
    work: float


def plan_context(
    context: Context, n: int, D: int, max_rank: int = 512, chunk_rows: int | None = None
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
        Rows of a block; by default as many as fill `BLOCK_BYTES` when dense.

    Raises
    ------
    ContextError
        If the context does not fit that many rows or features.
    """
    extent = context.extent(n, D)
    m, side = extent.columns, min(n, extent.columns)
    rank = max(1, min(max_rank, side - 1))
    chunk = min(n, chunk_rows or max(1, BLOCK_BYTES // (_FLOAT * m)))
    # Left, right, influence and temporaries of the functions, all in float64.
    functions = _FLOAT * rank * (4 * n + 3 * m)
    scored = _FLOAT * 256 * n + 3 * _FLOAT * min(n, 1000) ** 2
    if extent.sparse:
        stored = _SPARSE_ENTRY * extent.nonzeros
        matrices = 4 * stored  # P, M, its transpose, and blocks while they are put together
        if side <= GRAM_LIMIT or 3 * rank > side:
            route, solver = "sparse Gram", 3 * _FLOAT * side * side
            work = extent.nonzeros**2 / max(1, n) + 4 / 3 * side**3
        else:
            route = "Lanczos"
            solver = _FLOAT * LANCZOS_BASIS * rank * (n + m)
            steps = LANCZOS_BASIS * rank
            work = 4.0 * steps * extent.nonzeros + 2.0 * (n + m) * steps**2
    else:
        stored = _FLOAT * extent.nonzeros
        route, matrices, solver = "dense Gram", 3 * stored, 3 * _FLOAT * side * side
        work = 2.0 * n * m * side + 4 / 3 * side**3
    temporaries = 5 * _FLOAT * chunk * m
    return ContextPlan(
        context=context.label,
        family=context.family,
        route=route,
        rows=n,
        columns=m,
        nonzeros=extent.nonzeros,
        chunk_rows=chunk,
        blocks=-(-n // chunk),
        rank=rank,
        disk_bytes=stored,
        memory_bytes=int(max(matrices + solver + functions + scored, temporaries)),
        work=float(n * extent.row_work + work),
    )


def require_room(plans: list[ContextPlan], machine: Machine) -> None:
    """Refuse what would not fit.

    Parameters
    ----------
    plans : list of ContextPlan
    machine : Machine

    Raises
    ------
    TooLargeError
        Naming the first context that needs more memory than a worker has, or the disk space
        that all need together.
    """
    room = int(machine.memory * MEMORY_SHARE)
    for plan in plans:
        if plan.memory_bytes > room:
            raise TooLargeError(
                f"context '{plan.context}' on {plan.rows:,} rows needs about "
                f"{gibibytes(plan.memory_bytes)} of memory on one worker, and "
                f"{gibibytes(room)} may be used; {_advice(plan, room)}."
            )
    needed = sum(plan.disk_bytes for plan in plans)
    if machine.disk is not None and needed > machine.disk:
        raise TooLargeError(
            f"the operators need up to {gibibytes(needed)} of disk, and "
            f"{gibibytes(machine.disk)} are free where the store lies; free some, or give "
            "'store' another place."
        )


def _advice(plan: ContextPlan, room: int) -> str:
    whole = plan.columns == plan.rows
    if plan.family not in ("graph", "counts") and whole:
        return (
            "give the context a 'reference' of a few thousand rows, or give the workers more memory"
        )
    if plan.family not in ("graph", "counts"):
        return (
            f"choose a 'reference' smaller than {plan.columns:,}, a smaller max_rank than "
            f"{plan.rank}, or give the workers more memory"
        )
    return f"choose a smaller max_rank than {plan.rank}, or give the workers more memory"


def gibibytes(count: int) -> str:
    """Write a number of bytes for people: ``3.2 GiB``, ``40 MiB``."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count} B"
