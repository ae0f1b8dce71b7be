"""Refuse what would not fit, with a sentence that says what would."""

from __future__ import annotations

import math

from contexture.contexts.counts import Counts
from contexture.contexts.graph import Graph
from contexture.contexts.masked import MaskedKnn
from contexture.contexts.reference import ReferenceContext
from contexture.errors import TooLargeError
from contexture.estimators.draw_plan import FEWEST_NEIGHBOURS
from contexture.estimators.machine import Disk, Machine, gibibytes
from contexture.estimators.plan import ContextPlan


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
    room = machine.room
    for plan in plans:
        if plan.memory_bytes > room:
            raise TooLargeError(
                f"context '{plan.context}' on {plan.rows:,} rows needs about "
                f"{gibibytes(plan.memory_bytes)} of memory on one worker, and beside what its "
                f"process takes {gibibytes(room)} may be used; {_advice(plan, machine)}."
            )
    if machine.disk is None:
        return
    # X is stored once for all contexts.
    features = max((plan.features_bytes for plan in plans), default=0)
    contexts = sum(plan.disk_bytes for plan in plans)
    needed, usable = features + contexts, int(machine.disk)
    if isinstance(machine.disk, Disk):
        usable = machine.disk.usable_for(features, contexts)
    if needed > usable:
        raise TooLargeError(
            f"the features and contexts need up to {gibibytes(needed)} of disk, and "
            f"{gibibytes(usable)} are free where the store lies, or hold what may serve again; "
            "free some, or give 'store' another place."
        )


def _advice(plan: ContextPlan, machine: Machine) -> str:
    enough = gibibytes(machine.memory_for(plan.memory_bytes))
    more = f"or give the workers more memory, {enough} for each thread"
    searched = plan.search_bytes > machine.room  # whatever the route, as are its rows
    if isinstance(plan.resolved, Graph | Counts) and plan.rows_bytes > machine.room:
        return (
            f"give the workers more memory, {enough} for each thread: each of them holds the whole "
            "matrix while its rows are computed"
        )
    dense = plan.nonzeros == plan.rows * plan.columns
    helps = not (searched or dense or plan.rows_bytes > machine.room)
    if plan.route == "krylov" and helps:
        return f"set route to 'distributed', choose a smaller max_rank than {plan.rank}, {more}"
    if isinstance(plan.resolved, ReferenceContext):
        if plan.columns < plan.rows:
            return (
                f"choose a 'reference' smaller than {plan.columns:,}, a smaller max_rank than "
                f"{plan.rank}, {more}"
            )
        by_number = getattr(plan.resolved, "k", None) is not None
        other = "with a 'fraction' instead of k " if by_number else ""
        fewer = "choose fewer masks, " if searched and isinstance(plan.resolved, MaskedKnn) else ""
        fraction = getattr(plan.resolved, "fraction", None)
        rows = "a few thousand"
        if fraction is not None and fraction < FEWEST_NEIGHBOURS / 2000:
            rows = f"{math.ceil(FEWEST_NEIGHBOURS / fraction):,}"
        return f"{fewer}give the context a 'reference' of {rows} rows {other}{more}"
    return f"choose a smaller max_rank than {plan.rank}, {more}"
