"""The routes to a spectrum: which one suits a context, and fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from contexture.contexts.base import Context, Extent
from contexture.contexts.rbf import Rbf
from contexture.contexts.reference import ReferenceContext
from contexture.errors import ContextError
from contexture.estimators.costs import MOMENT_BLOCKS, Costs, Route, costs_of, forms_gram
from contexture.estimators.draw_plan import MOST_REFERENCES
from contexture.estimators.exact import DENSE_SIDE
from contexture.estimators.options import Estimation

__all__ = ["MOMENT_BLOCKS", "MOMENT_ROWS", "Route", "choose_route"]

MOMENT_ROWS = 50_000
"""Rows above which a context over drawn references is kept as moments, not as rows of P."""


def choose_route(
    context: Context,
    extent: Extent,
    rank: int,
    options: Estimation,
    room: int | None,
    costs: Callable[[Route], Costs] | None = None,
) -> Route:
    """Choose the route, or check the one that was asked for.

    The first that fits is taken of those that suit the context; if none does, the one that needs
    the least memory.

    Drawn references on more than `MOMENT_ROWS` rows go by moments; where these do not fit, or where
    P is sparse, has more than `MOST_REFERENCES` columns and takes less work, as on fewer rows:

    A sparse operator whose smaller side is at most `GRAM_LIMIT`, or of which a third of all values
    is wanted, is solved exactly; beyond, by block Krylov on one worker, or else on all. (Where the
    exact one does not fit, block Krylov on one worker forms the same Gram matrices, but holds fewer
    functions.) A dense operator is solved exactly up to a smaller side of `DENSE_SIDE`; beyond, one
    over drawn references goes by moments. An RBF context goes matrix-free, and any other by block
    Krylov in memory, unless more than a third of its values is wanted.

    Parameters
    ----------
    context : Context
    extent : Extent
    rank : int
    options : Estimation
    room : int or None
        Bytes that may be used on one worker; no limit if None.
    costs : callable, optional
        What a route takes; by default roughly, from the extent.

    Raises
    ------
    ContextError
        If the route asked for does not suit the context.
    """
    drawn = isinstance(context, ReferenceContext) and context.draws_references(extent.rows)
    asked = options.route_of(context.label)
    if asked != "auto":
        _check(asked, context, extent, drawn)
        return asked
    if costs is None:
        costs = partial(costs_of, extent=extent, D=1, rank=rank, left=0)
    long = drawn and extent.rows > MOMENT_ROWS
    if extent.sparse:
        suited = _of_sparse(extent, rank, long, costs, (options.draws or 1) > 1)
    else:
        suited = _of_dense(extent, rank, drawn, long, isinstance(context, Rbf))
    needed = {route: costs(route).memory_bytes for route in suited}
    fitting = [route for route in suited if room is None or needed[route] <= room]
    return fitting[0] if fitting else min(suited, key=lambda route: needed[route])


def _of_sparse(
    extent: Extent, rank: int, long: bool, costs: Callable[[Route], Costs], draws: bool
) -> list[Route]:
    """Routes of a sparse operator, the best first.

    ``long``: it could be kept as moments; ``draws``: several were asked for, as only moments have.
    """
    found: list[Route] = ["exact"] if forms_gram(extent, rank) else []
    found += ["krylov", "distributed"]
    if not long:
        return found
    few = draws or extent.columns <= MOST_REFERENCES
    pays = few or costs("moments").work <= costs(found[0]).work
    return ["moments", *found] if pays else [*found, "moments"]


def _of_dense(extent: Extent, rank: int, drawn: bool, long: bool, kernel: bool) -> list[Route]:
    """Routes of a dense operator, the best first."""
    side = min(extent.rows, extent.columns)
    most = 3 * rank > side and not (drawn or kernel)
    found: list[Route] = ["exact"] if (side <= DENSE_SIDE or most) and not long else []
    found += ["moments"] if drawn else []
    return [*found, "matrix-free" if kernel else "krylov"]


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
