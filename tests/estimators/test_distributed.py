"""Products on Dask workers: real processes on loopback."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import distributed
import numpy as np
import pytest
from scipy import sparse

from contexture.contexts import Knn
from contexture.errors import InputError
from contexture.estimators.distributed import DistributedProducts
from contexture.estimators.parts import connected_parts
from contexture.estimators.products import BlockProducts
from contexture.estimators.randomized import Settings, solve
from contexture.inputs import Features
from contexture.operator import ExpectationOperator
from contexture.store import operators
from contexture.store.base import Store
from tests.estimators.blocks import (
    OPERATORS,
    Made,
    blocked,
    dense_operator,
    near,
    sparse_operator,
    vectors,
    whole,
)
from tests.workers import scale

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("hold", [True, False])
def test_equal_to_products_in_memory(client: distributed.Client, name: str, hold: bool) -> None:
    operator = OPERATORS[name]
    M = operator.normalised()
    n, m = operator.shape
    M = M if m <= n else M.T
    with DistributedProducts(client, operator, hold=hold) as products:
        assert products.shape == (n, m)
        for dtype in (np.float64, np.float32):
            V = vectors(operator, dtype)
            kept = V.copy()
            near(products.gram(V), M.T @ (M @ V), dtype)
            near(whole(products, V), M @ V, dtype)
            np.testing.assert_array_equal(V, kept)
            np.testing.assert_array_equal(products.gram(np.asfortranarray(V)), products.gram(V))
        components = products.components()
        expected = connected_parts(sparse.csr_array(operator.normalised()))
        assert components[0] == expected[0]
        np.testing.assert_array_equal(components[1], expected[1])
        np.testing.assert_array_equal(components[2], expected[2])


def test_the_same_bits_on_1_2_and_4_workers(
    cluster: distributed.LocalCluster, client: distributed.Client, tmp_path: Path
) -> None:
    operator = blocked(sparse_operator(), 40, tmp_path)
    V = vectors(operator, np.float32)
    found = []
    with ExitStack() as stack:
        held = stack.enter_context(DistributedProducts(client, operator, hold=True, groups=8))
        read = stack.enter_context(DistributedProducts(client, operator, hold=False, groups=8))
        for workers in (1, 2, 4):
            scale(cluster, client, workers)
            double = held.gram(V.astype(np.float64))
            found.append((held.gram(V), whole(held, V), double, read.gram(V), whole(read, V)))
            # New workers take over their part of the groups.
            groups = held._holders.groups(V.dtype)
            held._jobs.wait(groups)
            shares = held._holders.shares(groups)
            assert sorted(len(numbers) for _, numbers in shares) == [8 // workers] * workers
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_solver_on_1_2_and_4_workers(
    cluster: distributed.LocalCluster, client: distributed.Client
) -> None:
    operator = blocked(sparse_operator(), 64)
    root = np.sqrt(operator.context_weights)
    M = operator.normalised()
    parts, _, labels = connected_parts(M)
    assert parts == 3
    settings = Settings(tolerance=1e-5)
    exact = np.linalg.eigvalsh((M.T @ M).toarray())[::-1][parts : parts + 12]
    local = solve(BlockProducts(operator), root, 12, settings, labels).values
    np.testing.assert_allclose(local, exact, rtol=0, atol=1e-5)
    found = []
    with DistributedProducts(client, operator, groups=8) as products:
        for workers in (1, 2, 4):
            scale(cluster, client, workers)
            found.append(solve(products, root, 12, settings, labels).values)
    np.testing.assert_allclose(found[0], local, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_the_scheduler_forgets_what_is_done(
    cluster: distributed.LocalCluster, client: distributed.Client
) -> None:
    operator = OPERATORS["sparse"]
    V = vectors(operator, np.float32)

    def keys(least: int) -> int:
        for _ in range(50):  # released keys take a moment
            if len(cluster.scheduler.tasks) <= least:
                break
            time.sleep(0.05)
        return len(cluster.scheduler.tasks)

    with DistributedProducts(client, operator, hold=True, groups=4) as products:
        for _ in range(100):
            products.gram(V)
        for _ in range(5):
            whole(products, V)
        # A piece that is given up in the middle leaves nothing, either.
        next(products.other(V))
        assert keys(5) <= 5  # four groups, and where they come from
    assert keys(0) == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_memory_of_a_worker_does_not_grow_with_n(client: distributed.Client) -> None:
    def begin() -> int:
        Path("/proc/self/clear_refs").write_text("5")
        return peak()

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10

    rows, columns = 250, 800  # a block has 1.6 MB
    growth = {}
    for blocks in (8, 8, 160):
        n = blocks * rows
        operator = ExpectationOperator(
            Made(blocks, rows, columns), np.full(n, 1 / n), np.full(columns, 1 / columns)
        )
        V = vectors(operator, np.float64, 32)
        with DistributedProducts(client, operator, hold=False, groups=4) as products:
            before = client.run(begin)
            products.gram(V)
            for _ in products.other(V):
                pass
            growth[blocks] = max(after - before[w] for w, after in client.run(peak).items())
    assert growth[160] < growth[8] + (8 << 20)  # the blocks are 256 MB


def test_blocks_of_a_store(client: distributed.Client, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(200, 3))
    evidence = Knn(k=5, include_self=False).fit(Features.from_array(X), 0)
    store = Store.create(str(tmp_path / "store.zarr"))
    for block in operators.prepare_operator(store, "knn", evidence, 32):
        operators.write_block(store, "knn", evidence, block)
    operator = operators.read_operator(store, "knn")
    M = operator.in_memory().normalised()
    heard: list[tuple[str, int, int]] = []
    with DistributedProducts(
        client, operator, groups=2, progress=lambda *what: heard.append(what)
    ) as products:
        V = vectors(operator, np.float32)
        near(products.gram(V), M.T @ (M @ V), np.float32)
        whole(products, V)
        assert products.components()[0] == connected_parts(M)[0]
    for stage in ("load", "gram", "other", "components"):
        steps = [(done, total) for name, done, total in heard if name == stage]
        assert steps == sorted(steps)
        assert steps[-1] == (2, 2)


def test_blocks_of_different_length(client: distributed.Client) -> None:
    operator = dense_operator(40, 8)
    P = operator.conditional()
    M = operator.normalised()
    pieces = [P[:5], P[5:6], P[6:30], P[30:]]
    uneven = ExpectationOperator(pieces, operator.input_weights, operator.context_weights)
    V = vectors(operator, np.float64)
    with DistributedProducts(client, uneven, groups=3) as products:
        near(products.gram(V), M.T @ (M @ V), np.float64)

    class Lazy(Made):
        def __getitem__(self, block: int) -> np.ndarray:
            return super().__getitem__(block)[: 3 if block == 1 else None]

    lazy = ExpectationOperator(Lazy(5, 8, 8), np.full(40, 1 / 40), np.full(8, 1 / 8))
    message = (
        "block 1 of the operator has 3 rows where 8 were expected; all blocks but the last must "
        "have the same number of rows."
    )
    with (
        DistributedProducts(client, lazy) as products,
        pytest.raises(InputError, match=f"^{message}$"),
    ):
        products.gram(V)
