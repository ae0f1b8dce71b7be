"""What comes before the blocks is part of the plan."""

from __future__ import annotations

import pytest

from contexture.contexts import Counts, Graph, Knn, MaskedKnn, Rbf
from contexture.contexts.base import Context, Extent
from contexture.contexts.neighbours import EXACT_UP_TO
from contexture.errors import TooLargeError
from contexture.estimators.machine import Machine
from contexture.estimators.options import Estimation
from contexture.estimators.plan import ContextPlan, plan_context
from contexture.estimators.preparation import known_before, order_bytes, search_bytes
from contexture.estimators.room import require_room

GIB = 2**30
N = 10**6


def plan(context: Context, n: int, room: int | None = None, **options: object) -> ContextPlan:
    machine = None if room is None else Machine(Machine(0).memory_for(room))
    return plan_context(context, n, 16, estimation=Estimation(**options), machine=machine)


def test_what_is_known_before_has_an_order() -> None:
    assert known_before(Graph.model_construct(kind="graph"), 10)
    assert known_before(Counts.model_construct(kind="counts"), 10)
    assert not known_before(Rbf(gamma=1), N)
    assert plan(Knn(k=30), EXACT_UP_TO + 1).ordered
    assert not plan(Knn(k=30), EXACT_UP_TO).ordered
    assert not plan(Knn(k=30), EXACT_UP_TO + 1, route="exact").ordered
    assert not plan(Knn(k=30, search="exact"), N).ordered
    assert plan(Knn(k=30), N, route="distributed").ordered
    needed = order_bytes(Knn(k=30), Extent(N, N, 30 * N, True, 1.0))
    assert plan(Knn(k=30), N, needed, route="distributed").ordered
    assert not plan(Knn(k=30), N, needed - 1, route="distributed").ordered
    extent = Extent(N, 1000, 10**7, True, 1.0)
    assert order_bytes(Counts.model_construct(kind="counts"), extent) == 92 * 10**7


def test_a_search_is_part_of_the_memory() -> None:
    assert search_bytes(Knn(k=30), EXACT_UP_TO, 16) == 0
    assert search_bytes(Rbf(gamma=1), N, 16) == 0
    # Measured: 1040 bytes a row beside X.
    assert search_bytes(Knn(k=30), N, 16) == pytest.approx(N * (1040 + 8 * 16), rel=0.02)
    assert plan(Knn(k=30), N, route="distributed").memory_bytes >= search_bytes(Knn(k=30), N, 16)


def test_a_search_for_every_mask_is_bounded_before_it_begins() -> None:
    """Lists of all masks are held at once."""
    few, many = (MaskedKnn(k=30, n_masks=masks) for masks in (5, 50))
    assert search_bytes(few, EXACT_UP_TO, 16) == 0
    grown = search_bytes(many, N, 16) - search_bytes(few, N, 16)
    assert grown == N * 4 * 30 * 45
    found = plan(many, N, route="distributed")
    assert found.memory_bytes >= found.search_bytes > 7 * 10**9
    unordered = plan(many, N, found.search_bytes, route="distributed")
    require_room([unordered], Machine(Machine(0).memory_for(unordered.memory_bytes)))
    with pytest.raises(TooLargeError) as caught:
        require_room([unordered], Machine(4 * GIB))
    assert str(caught.value).endswith(
        "choose fewer masks, give the context a 'reference' of a few thousand rows with a "
        "'fraction' instead of k or give the workers more memory, 9.6 GiB for each thread."
    )
