"""Too little memory for the plan: refused in a sentence, and what that sentence names then fits."""

from __future__ import annotations

import pytest

from contexture.contexts import Context, Knn, MaskedKnn, MaskedRbf, Rbf
from contexture.contexts.neighbours import EXACT_UP_TO
from contexture.errors import TooLargeError
from contexture.estimators.machine import BASE_BYTES, Disk, Machine, gibibytes
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


def test_rows_that_no_worker_can_search_are_not_sent_to_all_of_them() -> None:
    machine = Machine(3 * GIB)
    wide = plan_context(Knn(k=5), 100_000, 2000, machine=machine)
    assert (wide.route, wide.memory_bytes) == ("krylov", wide.rows_bytes)
    with pytest.raises(TooLargeError) as caught:
        require_room([wide], machine)
    assert "distributed" not in str(caught.value)
    assert "give the context a 'reference' of a few thousand rows" in str(caught.value)


def test_disk_is_counted_for_all_contexts_together() -> None:
    one = plan(Knn(k=5), 10**6, 16 * GIB, route="krylov")
    disk = 2 * one.disk_bytes + one.features_bytes  # X once
    require_room([one, one], Machine(16 * GIB, disk=disk))
    with pytest.raises(TooLargeError) as caught:
        require_room([one, one], Machine(16 * GIB, disk=disk - 1))
    assert str(caught.value) == (
        f"the features and contexts need up to {gibibytes(disk)} of disk, and "
        f"{gibibytes(disk - 1)} are free where the store lies, or hold what may serve again; "
        "free some, or give 'store' another place."
    )


def test_features_and_neighbours_take_disk() -> None:
    moments = plan_context(Knn(k=5, reference=500), 10**7, 500)
    assert moments.features_bytes == 8 * 10**7 * 502
    require_room([moments], Machine(16 * GIB, disk=45 * 10**9))
    with pytest.raises(TooLargeError, match="need up to 38 GiB of disk, and 28 GiB are free"):
        require_room([moments], Machine(16 * GIB, disk=30 * 10**9))
    n = EXACT_UP_TO + 1
    exactly, near = (plan(Knn(k=30, search=way), n, 16 * GIB) for way in ("exact", "approximate"))
    assert near.disk_bytes - exactly.disk_bytes == 4 * 30 * n
    masks = [MaskedKnn(k=30, n_masks=5, search=way) for way in ("exact", "approximate")]
    exactly, near = (plan(context, n, 64 * GIB) for context in masks)
    assert near.disk_bytes - exactly.disk_bytes == 5 * 4 * 30 * n


@pytest.mark.parametrize("route", ["moments", "exact"])
def test_functions_that_are_kept_take_disk(route: str) -> None:
    context = Knn(k=5, reference=500)
    kept = [
        plan(context, 10**5, 64 * GIB, route=route, left_functions=left).disk_bytes
        for left in ("never", "always")
    ]
    assert kept[1] - kept[0] == 8 * 128 * 10**5


def test_what_belongs_to_other_data_is_not_counted_on() -> None:
    one = plan(Knn(k=5), 10**6, 16 * GIB, route="krylov")
    features, contexts = one.features_bytes, one.disk_bytes
    for held in ((features, contexts), (10 * features, 10 * contexts)):
        require_room([one], Machine(16 * GIB, disk=Disk(0, *held)))
    for short in (
        Disk(contexts - 1, 10 * features, 0),
        Disk(features - 1, 0, 10 * contexts),
        Disk(0, features, contexts - 1),
    ):
        with pytest.raises(TooLargeError, match="or hold what may serve again"):
            require_room([one], Machine(16 * GIB, disk=short))
