"""What a plan may use: a worker is more than its data."""

from __future__ import annotations

import pickle

import pytest

from contexture.contexts import Rbf
from contexture.errors import TooLargeError
from contexture.estimators.machine import BASE_BYTES, MEMORY_SHARE, Disk, Machine, gibibytes
from contexture.estimators.options import Estimation
from contexture.estimators.plan import plan_context
from contexture.estimators.room import require_room

MIB = 2**20


def test_the_process_itself_has_its_part() -> None:
    assert Machine(1000 * MIB).room == 750 * MIB - BASE_BYTES
    assert Machine(1000 * MIB, threads=4).room == 750 * MIB - BASE_BYTES // 4
    assert Machine(200 * MIB).room == 0
    for threads in (1, 3):
        enough = Machine(Machine(0, threads=threads).memory_for(5 * MIB), threads=threads)
        assert 5 * MIB <= enough.room <= 5 * MIB + 2
    assert MEMORY_SHARE < 0.8


def test_a_worker_that_would_die_is_refused_at_the_border() -> None:
    """On the route that takes least, too."""
    plan = plan_context(Rbf(gamma=5), 9000, 4, 64, estimation=Estimation(route="matrix-free"))
    enough = Machine(0).memory_for(plan.memory_bytes)
    require_room([plan], Machine(enough))
    with pytest.raises(TooLargeError) as caught:
        require_room([plan], Machine(enough - 2))
    needed = gibibytes(plan.memory_bytes)
    assert str(caught.value) == (
        f"context 'rbf-5' on 9,000 rows needs about {needed} of memory on one worker, and beside "
        f"what its process takes {needed} may be used; give the context a 'reference' of a few "
        f"thousand rows or give the workers more memory, {gibibytes(enough)} for each thread."
    )
    with pytest.raises(TooLargeError, match="beside what its process takes 0 B may be used"):
        require_room([plan], Machine(200 * MIB))


def test_disk_that_holds_something_is_free_up_to_what_is_stored() -> None:
    disk = Disk(100, 10, 30)
    assert disk == 140
    found = [disk.usable_for(*stored) for stored in ((0, 0), (5, 0), (10, 30), (99, 99))]
    assert found == [100, 105, 140, 140]
    again = pickle.loads(pickle.dumps(disk))
    assert (again, again.usable_for(5, 7)) == (140, 112)


def test_sizes_for_people() -> None:
    assert [gibibytes(x) for x in (3.2 * 2**30, 40 * MIB, 2048, 12)] == [
        "3.2 GiB",
        "40 MiB",
        "2.0 KiB",
        "12 B",
    ]
