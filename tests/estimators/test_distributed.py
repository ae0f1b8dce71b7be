"""Products on Dask workers: real processes on loopback, some of which are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cloudpickle
import dask
import distributed
import numpy as np
import pytest
from scipy import sparse

from contexture.contexts import Knn
from contexture.errors import ClusterError, InputError
from contexture.estimators.block_layout import Layout
from contexture.estimators.distributed import DistributedProducts
from contexture.estimators.parts import connected_parts
from contexture.estimators.products import BlockProducts
from contexture.estimators.randomized import Settings, solve
from contexture.inputs import Features
from contexture.operator import ExpectationOperator
from contexture.store import operators
from contexture.store.base import Store

pytestmark = pytest.mark.xdist_group("prefect")
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import tests

TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    # Processes that begin as copies of one that has imported everything: a fresh one needs two
    # seconds for that, and here many are killed.
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        distributed.utils.get_mp_context()
        multiprocessing.get_context("forkserver").set_forkserver_preload(
            ["distributed", "contexture.estimators.block_jobs"]
        )
        with distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit="1GiB",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster:
            yield cluster


@pytest.fixture
def client(cluster: distributed.LocalCluster) -> Iterator[distributed.Client]:
    with distributed.Client(cluster, set_as_default=False) as client:
        scale(cluster, client, 2)
        yield client


def scale(cluster: distributed.LocalCluster, client: distributed.Client, workers: int) -> None:
    cluster.scale(workers)
    end = time.monotonic() + 30
    while len(client.nthreads()) != workers:
        assert time.monotonic() < end
        time.sleep(0.05)


class Watched(Sequence):
    """Blocks that note in a folder who read which, and can be told to kill their reader."""

    def __init__(self, blocks: Sequence, folder: Path) -> None:
        self.blocks, self.folder = blocks, folder

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, block: int) -> object:
        deadly = self.folder / "deadly"
        try:
            lives = int(deadly.read_text())
        except FileNotFoundError:
            (self.folder / f"{block}-{os.getpid()}-{uuid.uuid4().hex}").touch()
            return self.blocks[block]
        deadly.write_text(str(lives - 1)) if lives > 1 else deadly.unlink()
        os.kill(os.getpid(), signal.SIGKILL)

    def counts(self) -> list[int]:
        """How often each block was read since the last call."""
        found = [int(path.name.split("-")[0]) for path in self.folder.iterdir()]
        for path in self.folder.iterdir():
            path.unlink()
        return np.bincount(found, minlength=len(self)).tolist()


class Made(Sequence):
    """Blocks that are computed when they are read, so that n is as large as one likes."""

    def __init__(self, blocks: int, rows: int, columns: int) -> None:
        self.blocks, self.rows, self.columns = blocks, rows, columns

    def __len__(self) -> int:
        return self.blocks

    def __getitem__(self, block: int) -> np.ndarray:
        P = np.random.default_rng(block).random((self.rows, self.columns))
        return P / P.sum(axis=1, keepdims=True)


def blocked(operator: ExpectationOperator, rows: int, folder: Path | None = None) -> object:
    P = operator.conditional()
    blocks = [P[i : i + rows] for i in range(0, P.shape[0], rows)]
    return ExpectationOperator(
        blocks if folder is None else Watched(blocks, folder),
        operator.input_weights,
        operator.context_weights,
    )


def sparse_operator(n: int = 600, m: int = 400, parts: int = 3) -> ExpectationOperator:
    generator = np.random.default_rng(5)
    columns = generator.integers(0, m // parts, (n, 5)) * parts + np.arange(n)[:, None] % parts
    P = sparse.coo_array(
        (generator.random(5 * n), (np.repeat(np.arange(n), 5), columns.ravel())), shape=(n, m)
    ).tocsr()
    P = sparse.csr_array(P / P.sum(axis=1)[:, None])
    return ExpectationOperator.from_conditional(P, generator.random(n))


def dense_operator(n: int, m: int) -> ExpectationOperator:
    P = np.random.default_rng(6).random((n, m)) ** 8
    return ExpectationOperator.from_conditional(P / P.sum(axis=1, keepdims=True))


OPERATORS = {
    "sparse": blocked(sparse_operator(), 64),
    "dense": blocked(dense_operator(150, 40), 19),
    "wide": blocked(sparse_operator(200, 500), 33),
    "wide and dense": blocked(dense_operator(30, 90), 4),
    "one block": sparse_operator(50, 50),
}


def vectors(operator: ExpectationOperator, dtype: type, width: int = 7) -> np.ndarray:
    generator = np.random.default_rng(8)
    return generator.normal(size=(min(operator.shape), width)).astype(dtype)


def near(found: np.ndarray, expected: np.ndarray, dtype: type) -> None:
    assert found.dtype == dtype
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()


def whole(products: DistributedProducts, V: np.ndarray) -> np.ndarray:
    pieces = list(products.other(V))
    ends = [rows.stop for rows, _ in pieces]
    assert [rows.start for rows, _ in pieces] == [0, *ends[:-1]]
    assert ends[-1] == max(products.shape)
    return np.concatenate([values for _, values in pieces])


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


def test_a_killed_worker_costs_its_blocks_only(client: distributed.Client, tmp_path: Path) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    watched = operator.blocks
    V = vectors(operator, np.float64)
    with DistributedProducts(client, operator, hold=True, groups=10) as products:
        watched.counts()
        expected = products.gram(V)
        assert watched.counts() == [1] * 10
        products.gram(V)
        assert watched.counts() == [0] * 10
        places = products._jobs.places(products._holders.groups(V.dtype))
        (victim,) = places[0]
        pids = client.run(os.getpid)
        os.kill(pids[victim], signal.SIGKILL)
        for _ in range(3):
            np.testing.assert_array_equal(products.gram(V), expected)
        client.wait_for_workers(2, timeout=30)
        for _ in range(3):
            np.testing.assert_array_equal(products.gram(V), expected)
        read = watched.counts()
        lost = [place == (victim,) for place in places]
        assert sum(lost) == 5
        assert all(bool(count) == gone for count, gone in zip(read, lost, strict=True))


def test_vectors_lost_with_a_worker(client: distributed.Client, tmp_path: Path) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    V = vectors(operator, np.float64)
    # One group: its worker dies, and is the only one that has the vectors.
    with DistributedProducts(client, operator, hold=False, groups=1) as products:
        expected = products.gram(V)
        rows = whole(products, V)
        (tmp_path / "deadly").write_text("1")
        np.testing.assert_array_equal(products.gram(V), expected)
        assert not (tmp_path / "deadly").exists()
        (tmp_path / "deadly").write_text("1")
        np.testing.assert_array_equal(whole(products, V), rows)
        assert not (tmp_path / "deadly").exists()


def test_all_workers_die_and_come_back(client: distributed.Client) -> None:
    operator = OPERATORS["sparse"]
    V = vectors(operator, np.float64)
    with DistributedProducts(client, operator, hold=True) as products:
        expected = products.gram(V)
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)
        np.testing.assert_array_equal(products.gram(V), expected)


def test_a_block_that_kills_every_worker(
    cluster: distributed.LocalCluster, client: distributed.Client, tmp_path: Path
) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    before, cluster.scheduler.allowed_failures = cluster.scheduler.allowed_failures, 0
    try:
        with DistributedProducts(client, operator, hold=True, groups=1) as products:
            (tmp_path / "deadly").write_text("1")
            with pytest.raises(ClusterError) as caught:
                products.gram(vectors(operator, np.float64))
            assert str(caught.value) == (
                "Dask workers died again and again on the same part of a product, most likely "
                "for want of memory; give them more, or choose smaller blocks."
            )
            # What failed is not remembered.
            products.gram(vectors(operator, np.float64))
    finally:
        cluster.scheduler.allowed_failures = before


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


def test_blocks_are_held_where_there_is_room(client: distributed.Client) -> None:
    limit = 2 * 2**30 * 0.4

    def held(n: int, hold: bool | None = None) -> list[object]:
        made = Made(n // 1000, 1000, 1000)
        operator = ExpectationOperator(made, np.full(n, 1 / n), np.full(1000, 1e-3))
        with DistributedProducts(client, operator, hold=hold) as products:
            return [products._holders._key(np.dtype(t)) for t in ("f4", "f8")]

    assert limit / 4 > 200_000 * 1000 > limit / 8
    assert held(10_000) == [np.float32, np.float64]
    assert held(200_000) == [np.float32, None]
    assert held(300_000) == [None, None]
    assert held(300_000, hold=True) == [np.float32, np.float64]
    assert held(10_000, hold=False) == [None, None]


def test_the_other_type_makes_way(
    client: distributed.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = blocked(sparse_operator(), 64, tmp_path)
    watched = operator.blocks
    size = Layout.of(operator).size
    room = size(np.dtype("f8")) + 1
    monkeypatch.setattr("contexture.estimators.cluster_jobs.Jobs.memory", lambda self: room / 0.4)
    with DistributedProducts(client, operator) as products:
        watched.counts()
        for dtype in (np.float32, np.float32, np.float64):
            products.gram(vectors(operator, dtype))
        assert watched.counts() == [2] * 10
        assert list(products._holders._groups) == [np.float64]
        products.gram(vectors(operator, np.float32))
        assert watched.counts() == [1] * 10


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


def test_what_does_not_add_up() -> None:
    weights = np.full(8, 1 / 8)
    short = ExpectationOperator([np.full((5, 8), 1 / 8)], weights, weights)
    with pytest.raises(InputError) as caught:
        Layout.of(short)
    assert str(caught.value) == (
        "the operator has 8 rows, which its 1 blocks do not add up to; all blocks but the last "
        "must have the same number of rows."
    )
    with pytest.raises(InputError) as caught:
        Layout.of(OPERATORS["sparse"], 11)
    assert str(caught.value) == "groups is 11; it must be between 1 and the number of blocks, 10."


def test_steps_cover_all_blocks() -> None:
    n = 100_000
    weights = np.full(n, 1 / n)
    layout = Layout.of(ExpectationOperator(Made(200, 500, 3), weights, np.full(3, 1 / 3)), 5)
    steps = layout.steps()
    assert [block for _, blocks in steps for block in blocks] == list(range(200))
    for group, blocks in steps:
        assert set(blocks) <= set(layout.group(group)[0])
        rows = layout.rows(blocks)
        assert rows.stop - rows.start <= 1 << 14
    assert len(steps) == 10


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    line = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
    line += ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_cluster_by_address(tmp_path: Path) -> None:
    operator = OPERATORS["sparse"]
    M = operator.normalised()
    V = vectors(operator, np.float64)
    place = tmp_path / "scheduler.json"
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            command("scheduler", "--port", "0", "--scheduler-file", str(place))
        )
        join = ["worker", "--scheduler-file", str(place), "--no-nanny", "--nthreads", "2"]
        worker = stack.enter_context(command(*join))
        end = time.monotonic() + 30
        while not place.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        client = stack.enter_context(
            distributed.Client(scheduler_file=str(place), set_as_default=False, timeout=5)
        )
        client.wait_for_workers(1, timeout=30)
        products = DistributedProducts(client, operator, patience=0.2)
        expected = products.gram(V)
        near(expected, M.T @ (M @ V), np.float64)
        worker.kill()
        worker.wait()
        with pytest.raises(ClusterError) as caught:
            products.gram(V)
        assert str(caught.value) == (
            "all workers of the Dask cluster are gone, and none came back in 0.2 seconds; start "
            "some with 'dask worker' and run the same command again."
        )
        scheduler.kill()
        scheduler.wait()
        with pytest.raises(ClusterError) as caught:
            products.gram(V)
        assert str(caught.value) == (
            "the connection to the Dask scheduler was lost; start the cluster and run the same "
            "command again."
        )
