from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from contexture import ExpectationOperator
from contexture.contexts.rbf import RbfRows
from contexture.estimators import single_products as module
from contexture.estimators.basis import Basis
from contexture.estimators.crew import Crew
from contexture.estimators.dense_lanczos import DenseProducts
from contexture.estimators.kernel_products import KernelProducts
from contexture.inputs import Floats

pytest.importorskip("torch")


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if oneDNN were faster here."""
    module._onednn_is_wider.cache_clear()
    monkeypatch.setattr(module, "wide_vectors", lambda: False)
    torch = module._torch()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    yield
    module._onednn_is_wider.cache_clear()


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


ARRAYS = {
    "C-ordered": lambda A: A,
    "a transpose": np.asfortranarray,
    "with gaps between rows": lambda A: np.repeat(A, 2, axis=1)[:, ::2],
    "not to be written to": lambda A: np.frombuffer(A.tobytes(), A.dtype).reshape(A.shape),
    "float64": lambda A: A.astype(np.float64),
}


@pytest.mark.parametrize("first", ARRAYS)
@pytest.mark.parametrize("second", ARRAYS)
def test_a_product_is_right_however_its_factors_lie_in_memory(first: str, second: str) -> None:
    A, B = random(70, 130), random(130, 33, seed=1)
    found = module.by_onednn(ARRAYS[first](A), ARRAYS[second](B))
    assert found.shape == (70, 33)
    assert found.dtype == (np.float64 if "float64" in (first, second) else np.float32)
    np.testing.assert_allclose(found, A.astype(float) @ B, rtol=0, atol=2e-5)


@pytest.mark.parametrize("rows", [20, 500])
def test_only_the_smaller_factor_is_copied(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    A, B = np.asfortranarray(random(rows, 100)), random(100, 50, seed=1)
    copied, before = [], np.ascontiguousarray

    def copy(X: Floats) -> Floats:
        copied.append(0 if X.flags.c_contiguous else X.size)
        return before(X)

    monkeypatch.setattr(np, "ascontiguousarray", copy)
    np.testing.assert_allclose(module.by_onednn(A, B), A @ B, atol=2e-5)
    assert sum(copied) == min(A.size, B.size)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0))])
def test_products_of_nothing(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    found = module.by_onednn(*(np.zeros(shape, np.float32) for shape in shapes))
    assert found.shape == (shapes[0][0], shapes[1][1])
    assert not found.any()


def test_onednn_is_taken_where_it_is_faster_and_worth_loading(wider: None) -> None:
    assert module.multiply_for(1e15) is module.by_onednn
    assert module.multiply_for(1e9) is np.matmul


def test_blas_is_taken_where_it_has_vectors_as_wide(
    wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "wide_vectors", lambda: True)
    assert module.multiply_for(1e15) is np.matmul


def test_blas_is_taken_where_onednn_has_no_wider_vectors(
    wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._torch().backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert module.multiply_for(1e15) is np.matmul


def test_blas_is_taken_without_torch(wider: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("no torch")

    monkeypatch.setattr(module, "_torch", missing)
    assert module.multiply_for(1e15) is np.matmul


def openmp_threads() -> int:
    pools = ThreadpoolController().select(user_api="openmp").info()
    return max(pool["num_threads"] for pool in pools)


def test_beside_other_threads_a_product_takes_one_thread(
    wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply, product = module.multiply_for(1e15, alone=True), module.by_onednn
    seen = []

    def watched(A: Floats, B: Floats) -> Floats:
        result = product(A, B)
        seen.append(openmp_threads())
        return result

    monkeypatch.setattr(module, "by_onednn", watched)
    factors, before = (random(300, 200), random(200, 100)), openmp_threads()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):  # new to torch, and not
            found = pool.submit(multiply, *factors).result()
            np.testing.assert_allclose(found, factors[0] @ factors[1], atol=1e-4)
        # As before, for whatever else is done in that thread.
        assert pool.submit(openmp_threads).result() == before
    assert multiply(*factors).shape == (300, 100)
    assert seen == [1, 1, 1]
    assert openmp_threads() == before


def test_products_with_a_kernel_are_the_same_by_onednn_and_by_blas(
    wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(0).normal(size=(900, 5))
    evidence = RbfRows(X, X[:700], 0.4, np.full(900, 1 / 900), np.arange(700), {})
    products = KernelProducts(evidence, threads=2, strip_bytes=1 << 18)
    assert products.multiply is np.matmul  # too little work
    V, functions = random(700, 40), random(700, 6, seed=1)
    rows = np.arange(0, 900, 3)

    def results() -> list[Floats]:
        found = [products.gram(V), *(part for _, part in products.other(V))]
        for _, first, second in products.expectations(functions.copy(), rows):
            found += [first, second]
        return found

    by_blas = results()
    used = []

    def multiply(A: Floats, B: Floats) -> Floats:
        used.append(threading.get_ident())
        return module.multiply_for(1e15, alone=True)(A, B)

    monkeypatch.setattr(products, "_multiply", multiply)
    for found, expected in zip(results(), by_blas, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    assert len(set(used)) >= 2
    assert threading.get_ident() not in used


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_products_with_a_dense_operator_are_the_same_by_onednn_and_by_blas(
    shape: tuple[int, int],
) -> None:
    P = np.random.default_rng(0).random(shape)
    operator = ExpectationOperator.from_conditional(P / P.sum(axis=1, keepdims=True))
    products, V = DenseProducts(operator, np.float32), random(200, 16)
    assert products.multiply is np.matmul  # too little work
    by_blas = products.gram(V)
    products.multiply = module.by_onednn
    np.testing.assert_allclose(products.gram(V), by_blas, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("place", ["in memory", "on disk"])
def test_a_basis_is_worked_on_the_same_by_onednn_and_by_blas(
    place: str, wider: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    columns, X = random(3000, 64), random(3000, 32, seed=1)
    H = np.random.default_rng(2).normal(size=(40, 32))
    Z = np.random.default_rng(3).normal(size=(64, 50))

    def results(work: float) -> list[Floats]:
        multiply = module.multiply_for(work, alone=True)
        with Crew(2) as crew:
            basis = Basis(3000, 70, np.float32, tmp_path if place == "on disk" else None, crew)
            monkeypatch.setattr(basis, "_multiply", multiply)
            basis.append(columns)
            less = X.copy()
            inner = basis.inner(X, 5, 60)
            basis.subtract(less, H, first=24)
            basis.rotate(Z)
            return [inner, less, basis.drain(50)]

    for found, expected in zip(results(1e15), results(1.0), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-4)


def test_which_product_a_basis_takes_depends_on_its_size(wider: None) -> None:
    assert Basis(2000, 600, np.float32)._multiply is np.matmul
    assert Basis(1_500_000, 600, np.float32)._multiply is module._alone
    assert Basis(1_500_000, 600, np.float64)._multiply is np.matmul
