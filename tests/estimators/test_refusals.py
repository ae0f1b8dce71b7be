"""Too little memory for the plan: refused in a sentence, and what that sentence names then fits."""

from __future__ import annotations

import pytest

from contexture.contexts import Context, Knn, MaskedKnn, MaskedRbf, Rbf
from contexture.errors import TooLargeError
from contexture.estimators.machine import BASE_BYTES, Machine, gibibytes
from contexture.estimators.options import Estimation
from contexture.estimators.plan import ContextPlan, plan_context
from contexture.estimators.room import require_room

GIB = 2**30
EVERYTHING = Rbf(gamma=1, reference="all")


def plan(context: Context, n: int, memory: int, **options: object) -> ContextPlan:
    return plan_context(context, n, 16, estimation=Estimation(**options), machine=Machine(memory))


@pytest.mark.parametrize(
    ("context", "n", "memory", "chosen", "advice", "instead", "options"),
    [
        (
            MaskedRbf(gamma=1),
            50_000,
            8 * GIB,
            {"route": "exact"},
            "give the context a 'reference' of a few thousand rows or give the workers more memory",
            MaskedRbf(gamma=1, reference=2000),
            {},
        ),
        (
            Knn(k=5),
            10**6,
            3 * GIB,
            {"route": "krylov"},
            "set route to 'distributed', choose a smaller max_rank than 512, or give the workers "
            "more memory",
            Knn(k=5),
            {"route": "distributed"},
        ),
        (
            Knn(k=5),
            10**7,
            4 * GIB,
            {"route": "distributed"},
            "give the context a 'reference' of a few thousand rows with a 'fraction' instead of k "
            "or give the workers more memory",
            Knn(fraction=0.01, reference=3000),
            {},
        ),
        (
            MaskedKnn(fraction=0.01, n_masks=5, reference="all"),
            10**6,
            3 * GIB // 2,
            {"route": "distributed"},
            "choose fewer masks, give the context a 'reference' of a few thousand rows or give the "
            "workers more memory",
            MaskedKnn(fraction=0.01, n_masks=5, reference=2000),
            {},
        ),
        (
            EVERYTHING,
            10**6,
            2 * GIB,
            {"route": "matrix-free"},
            "give the context a 'reference' of a few thousand rows or give the workers more memory",
            Rbf(gamma=1, reference=3000),
            {},
        ),
        (
            Rbf(gamma=1, reference=8000),
            10**6,
            3 * GIB // 2,
            {"route": "moments"},
            "choose a 'reference' smaller than 8,000, a smaller max_rank than 512, or give the "
            "workers more memory",
            Rbf(gamma=1, reference=2000),
            {},
        ),
    ],
    ids=["exact", "krylov", "distributed", "masked", "matrix-free", "moments"],
)
def test_what_does_not_fit_and_what_does(
    context: Context,
    n: int,
    memory: int,
    chosen: dict[str, str],
    advice: str,
    instead: Context,
    options: dict[str, str],
) -> None:
    too_large = plan(context, n, memory, **chosen)
    assert too_large.route == chosen["route"]
    more = Machine(memory).memory_for(too_large.memory_bytes)
    with pytest.raises(TooLargeError) as caught:
        require_room([too_large], Machine(memory))
    assert str(caught.value) == (
        f"context '{context.label}' on {n:,} rows needs about "
        f"{gibibytes(too_large.memory_bytes)} of memory on one worker, and beside what its "
        f"process takes {gibibytes(int(0.75 * memory) - BASE_BYTES)} may be used; {advice}, "
        f"{gibibytes(more)} for each thread."
    )
    require_room([plan(instead, n, memory, **options)], Machine(memory))
    # The memory that is named is enough, too.
    require_room([plan(context, n, more, **chosen)], Machine(more))


def test_disk_is_counted_for_all_contexts_together() -> None:
    one = plan(Knn(k=5), 10**6, 16 * GIB, route="krylov")
    disk = 2 * one.disk_bytes
    require_room([one, one], Machine(16 * GIB, disk=disk))
    with pytest.raises(TooLargeError) as caught:
        require_room([one, one], Machine(16 * GIB, disk=disk - 1))
    assert str(caught.value) == (
        f"the operators need up to {gibibytes(disk)} of disk, and {gibibytes(disk - 1)} are free "
        "where the store lies, or hold operators of it; free some, or give 'store' another place."
    )
