"""What a route to a spectrum takes: blocks, passes, memory, disk and work, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from contexture.contexts.base import Extent
from contexture.estimators.exact import GRAM_LIMIT
from contexture.estimators.influence import TEMPORARY_BYTES
from contexture.estimators.kernel_lanczos import most_columns, work_of
from contexture.estimators.kernel_spectrum import GRAM_SIDE
from contexture.estimators.kernel_strips import STRIP_BYTES
from contexture.estimators.single_products import TORCH_BYTES, WORTH_LOADING
from contexture.moments import HALVES

Route: TypeAlias = Literal["exact", "krylov", "distributed", "matrix-free", "moments"]

MOMENT_BLOCKS = 24
"""Blocks of rows of which moments are kept: what is resumed, and what the errors come from."""

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

LEAST_ROWS = 64
"""Rows of a strip of tiles at least, however long they are."""

HELD_BLOCKS = 12
"""Blocks of vectors on a worker that helps with tiles (`kernel_cluster`): the one that is
multiplied, and up to 11 sums over groups, of its own and of others."""


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


def forms_gram(extent: Extent, rank: int) -> bool:
    """Whether a sparse operator in memory is solved by the Gram matrix of its smaller side."""
    side = min(extent.rows, extent.columns)
    return side <= GRAM_LIMIT or 3 * rank > side


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
    if route == "moments":
        return _moments(extent, D, rank, left > 0, draws, chunk_rows, tasks)
    n, m = extent.rows, extent.columns
    side = min(n, m)
    stored = (_SPARSE_ENTRY if extent.sparse else _FLOAT) * extent.nonzeros
    if extent.sparse:
        a_row = max(1, _SPARSE_ENTRY * extent.nonzeros // n)
        chunk = min(n, chunk_rows or max(1024, SPARSE_BLOCK_BYTES // a_row))
    else:
        chunk = min(n, chunk_rows or max(1, BLOCK_BYTES // (_FLOAT * m)))
    blocks = -(-n // chunk)
    basis = min(side, max(64, BASIS * rank // 512))
    number = _FLOAT if double else _FLOAT // 2
    passes, read, disk = 1.0, float(stored), stored
    solver_bytes, functions, after = 0, 0, 0
    if route == "exact" or (route == "krylov" and extent.sparse and forms_gram(extent, rank)):
        matrices = (4 if extent.sparse else 3) * stored
        solver = _gram_bytes(side, rank)
        # What parts of a sparse operator have, and what tells them apart, stands beside the whole;
        # block Krylov finds the left functions afterwards.
        copies = 2 if extent.sparse and route == "exact" else 1
        functions = _FLOAT * (copies * left * n + 3 * rank * m) + TEMPORARY_BYTES
        work = 2.0 * n * m * side + 4 / 3 * side**3
        if extent.sparse:
            work = extent.nonzeros**2 / max(1, n) + 4 / 3 * side**3
    elif route == "matrix-free":
        # Two passes of tiles for every block of vectors, and nothing of size n × m.
        passes, disk, blocks = 2.0 * basis / WIDE, 0, 1
        read = passes * _FLOAT * n * D
        solver_bytes = number * side * (2 * basis + 512)
        # That is for a basis, or a sparse operator and a basis where few weights count.
        matrices = _tile_bytes(extent, D, number) + _torch_bytes(work_of(rank, (n, m)), double)
        solver = _vector_bytes(extent, rank, left, number, solver_bytes)
        work = passes * n * m * (2.0 * D + 20 + 2 * WIDE)
    elif not extent.sparse:
        # P and M, which is float64 where float32 did not do; wide blocks without a filter.
        basis = min(side, most_columns(rank))
        passes, matrices = 2.0 * basis / WIDE, 2 * stored
        solver_bytes = number * side * basis
        solver, read = solver_bytes + number * side * 4 * WIDE, passes * stored
        after = 2 * number * rank * m + _FLOAT * left * (n + m) + TEMPORARY_BYTES
        matrices += _torch_bytes(work_of(rank, (n, m)), double)
        work = 4.0 * basis * n * m + 4.0 * side * basis**2
    else:
        # A basis that does not fit is kept on disk; a few blocks of vectors always are in memory.
        passes = 3.0 * basis / WIDTH
        # Without a filter, where most values are wanted, a basis may have three times as many.
        basis = min(side, max(basis, 3 * rank)) if forms_gram(extent, rank) else basis
        beside = _torch_bytes(float(side) * basis**2, double) + 4 * _FLOAT * basis**2
        matrices = (4 * BLOCK_BYTES if route == "distributed" else 3 * stored) + beside
        # The functions take the place of the basis: all for the errors, then those that are kept.
        after = number * rank * (m if m <= n else n + m) + _FLOAT * left * (n + m) + TEMPORARY_BYTES
        least = number * side * 12 * WIDTH + _FLOAT * side * 8
        whole = number * side * basis + least
        spare = BASIS_BYTES if room is None else min(BASIS_BYTES, room - matrices)
        solver = int(min(whole, max(least, spare)))
        if route == "distributed":
            # Workers hold blocks and one block of vectors; the basis is on disk.
            solver, after = least, 0
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
        work=float(n * extent.row_work + work),
    )


def _moments(
    extent: Extent, D: int, rank: int, left: bool, draws: int, chunk_rows: int | None, tasks: int
) -> Costs:
    n, m = extent.rows, extent.columns
    # More rows in a block would leave too few blocks for the errors over inputs.
    chunk = min(chunk_rows or n, -(-n // MOMENT_BLOCKS))
    gram, of_tasks = _FLOAT * m * m, _FLOAT * m * tasks
    each = extent.nonzeros**2 / n if extent.sparse else float(n) * m * m
    passes = 2 if left else 1
    return Costs(
        chunk_rows=chunk,
        blocks=-(-n // chunk),
        passes=float(passes),
        read_bytes=float(_FLOAT * n * D) * passes,
        disk_bytes=draws * -(-n // chunk) * HALVES * (gram + of_tasks),
        # Sums of a block of rows; or the totals of all draws, with what two halves are turned into.
        memory_bytes=max(HALVES * draws + 4, draws + 7) * gram
        + (HALVES * draws + 2) * of_tasks
        + 6 * BLOCK_BYTES
        + 3 * _FLOAT * rank * m,
        solver_bytes=0,
        work=n * extent.row_work * (draws + passes - 1) + draws * (each + 4 / 3 * m**3),
    )


def _gram_bytes(side: int, rank: int) -> int:
    """Memory of a Gram matrix in float64 and its eigenproblem; more where all vectors are found."""
    return (4 if 3 * rank > side else 3) * _FLOAT * side * side


def _tile_bytes(extent: Extent, D: int, number: int) -> int:
    """Memory of coordinates, and of the strips of two threads, whatever is done with them."""
    n, m = extent.rows, extent.columns
    # As they come, moved and scaled, with norms, and transposed in two units.
    coordinates = _FLOAT * (D + 2) * (3 * n + 5 * m)
    return coordinates + 2 * max(STRIP_BYTES, LEAST_ROWS * number * min(n, m))


def _vector_bytes(extent: Extent, rank: int, left: int, number: int, solver: int) -> int:
    """Memory of vectors on the worker that has the basis of tiles, or on one that helps it."""
    n, m = extent.rows, extent.columns
    side = min(n, m)
    functions = _FLOAT * (2 * left * n + 2 * rank * m)
    # A basis that is cut down has its new vectors beside it; a product, blocks of vectors.
    basis = min(side, most_columns(rank)) + max(rank + 6 * WIDE, 9 * WIDE)
    vectors = number * side * max(basis, HELD_BLOCKS * WIDE)
    if side <= GRAM_SIDE or 3 * rank > side:
        vectors = max(vectors, 2 * _FLOAT * side * side + _gram_bytes(side, rank))
    return max(solver + functions, vectors)


def _torch_bytes(multiplications: float, double: bool) -> int:
    """Memory of torch, where oneDNN may multiply so much in float32."""
    return TORCH_BYTES if not double and multiplications >= WORTH_LOADING else 0
