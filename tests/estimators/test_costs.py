"""The memory that is planned is no less than what is taken."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from contexture.contexts.base import Extent
from contexture.estimators import kernel_strips
from contexture.estimators.block_jobs import Node, add_sums, tree_sums
from contexture.estimators.cluster_jobs import MOST_SUMS
from contexture.estimators.costs import HELD_BLOCKS, LEAST_ROWS, WIDE, costs_of
from contexture.estimators.kernel_cluster import GROUPS
from contexture.estimators.kernel_lanczos import BLOCK
from contexture.estimators.single_products import TORCH_BYTES

EXACT = """
from pathlib import Path
import numpy as np
from scipy import sparse
from contexture import ExpectationOperator
from contexture.estimators import decompose_operator

def taken():  # what getrusage tells may be the peak of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def solve(n, m, k, rank):
    generator = np.random.default_rng(0)
    columns = (generator.integers(0, m, (n, 1)) + np.arange(k) ** 2) % m
    # As many connected parts: rows and columns of a part have the same remainder.
    columns += np.arange(n)[:, None] % {parts} - columns % {parts}
    rows = np.repeat(np.arange(n), k)
    P = sparse.csr_array((np.full(n * k, 1 / k), (rows, columns.ravel())), shape=(n, m))
    operator = ExpectationOperator.from_conditional(P)
    decompose_operator(operator, rank, functions={left} or None, left_functions={left} > 0,
                       route="exact")

solve(500, 60, 5, 50)
before = taken()
solve(200_001, 600, 5, 512)
print(taken() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in /proc")
@pytest.mark.parametrize(("left", "parts"), [(0, 1), (128, 1), (128, 3)])
def test_a_tall_operator_takes_no_more_than_was_planned(left: int, parts: int) -> None:
    script = EXACT.replace("{left}", str(left)).replace("{parts}", str(parts))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    extent = Extent(200_001, 600, 5 * 200_001, True, 1.0)
    planned = costs_of("exact", extent, D=16, rank=512, left=left).memory_bytes
    assert 0 < int(done.stdout) <= planned


def test_nothing_is_planned_for_functions_that_are_not_kept() -> None:
    sizes = [
        costs_of("exact", Extent(n, 600, 5 * n, True, 1.0), D=16, rank=512, left=0).memory_bytes
        for n in (10**6, 10**7)
    ]
    assert sizes[1] - sizes[0] < 8 * 9 * 10**6 * 40  # the entries, and no column for every value


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 7, 11, 24, 43, 64])
def test_sums_of_a_helper_are_no_more_than_planned(slots: int) -> None:
    """As `kernel_cluster` has them made, and added up two at a time."""
    size = 1 << 16

    def peak(job: object, *arguments: object) -> tuple[dict[Node, np.ndarray], int]:
        tracemalloc.start()
        try:
            found = job(*arguments)  # type: ignore[operator]
            return found, round(tracemalloc.get_traced_memory()[1] / (8 * size))
        finally:
            tracemalloc.stop()

    jobs, most = [], 0
    for part in np.array_split(np.arange(GROUPS), slots):
        found, held = peak(tree_sums, GROUPS, part.tolist(), lambda number: np.ones(size))
        most = max(most, held)
        jobs.append(found)
    while len(jobs) > MOST_SUMS:
        pairs, jobs = [jobs[i : i + 2] for i in range(0, len(jobs), 2)], []
        for pair in pairs:
            found, held = peak(add_sums, GROUPS, *pair)
            most = max(most, held + sum(map(len, pair)))
            jobs.append(found)
    assert most < HELD_BLOCKS  # one more is what is multiplied


def test_tiles_are_planned_for_with_their_coordinates_and_blocks() -> None:
    assert (LEAST_ROWS, WIDE) == (kernel_strips._LEAST_ROWS, BLOCK)
    n, few = 10**5, 16
    thin, wide = (
        costs_of("matrix-free", Extent(n, n, n * n, False, 1.0), D=D, rank=few, left=0)
        for D in (10, 510)
    )
    # Each as it comes, and as it is multiplied, on a worker that helps, too.
    assert wide.memory_bytes - thin.memory_bytes >= 2 * 8 * n * 500
    strips = 2 * kernel_strips.STRIP_BYTES
    assert thin.memory_bytes >= strips + 2 * 8 * n * 12 + 4 * n * BLOCK * HELD_BLOCKS
    double = costs_of(
        "matrix-free", Extent(n, n, n * n, False, 1.0), D=10, rank=few, left=0, double=True
    )
    more = double.memory_bytes - (thin.memory_bytes - TORCH_BYTES)
    assert more >= 4 * n * BLOCK * HELD_BLOCKS
