from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from contexture import ExpectationOperator
from contexture.contexts.rbf import RbfRows
from contexture.estimators import basis as basis_module
from contexture.estimators import single_products as module
from contexture.estimators.basis import Basis
from contexture.estimators.crew import Crew
from contexture.estimators.dense_lanczos import DenseProducts
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.single_products import Multiply
from contexture.inputs import Floats

torch = pytest.importorskip("torch")
if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
    pytest.skip("this torch comes without oneDNN", allow_module_level=True)


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if oneDNN were faster here, and torch cost nothing to load."""
    module._onednn_is_wider.cache_clear()
    monkeypatch.setattr(module, "blas_kernels", lambda: "Haswell")
    monkeypatch.setattr(module, "WORTH_LOADING", 1e6)
    monkeypatch.setattr(module.os, "name", "posix")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    yield
    module._onednn_is_wider.cache_clear()


class Calls:
    """The operator of torch, counted: from which threads it was called, with how many threads."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.openmp: list[int] = []
        self._operator = torch.ops.mkldnn._linear_pointwise

    def __call__(self, *arguments: Any) -> Any:
        result = self._operator(*arguments)
        self.threads.append(threading.get_ident())
        self.openmp.append(openmp_threads())
        return result


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", calls)
    return calls


def openmp_threads() -> int:
    pools = ThreadpoolController().select(user_api="openmp").info()
    return max(pool["num_threads"] for pool in pools)


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


ARRAYS = {
    "C-ordered": lambda A: A,
    "a transpose": np.asfortranarray,
    "with gaps between rows": lambda A: np.repeat(A, 2, axis=1)[:, ::2],
    "not to be written to": lambda A: np.frombuffer(A.tobytes(), A.dtype).reshape(A.shape),
    "float64": lambda A: A.astype(np.float64),
}
SUITED = {"C-ordered", "a transpose"}


@pytest.mark.parametrize("first", ARRAYS)
@pytest.mark.parametrize("second", ARRAYS)
def test_a_product_is_right_however_its_factors_lie_in_memory(
    first: str, second: str, calls: Calls
) -> None:
    A, B = random(70, 130), random(130, 33, seed=1)
    found = module.by_onednn(ARRAYS[first](A), ARRAYS[second](B), 1)
    assert found.shape == (70, 33)
    assert found.dtype == (np.float64 if "float64" in (first, second) else np.float32)
    np.testing.assert_allclose(found, A.astype(float) @ B, rtol=0, atol=2e-5)
    assert len(calls.threads) == ({first, second} <= SUITED)


@pytest.mark.parametrize("rows", [20, 500])
def test_only_the_smaller_factor_is_copied(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    A, B = np.asfortranarray(random(rows, 100)), random(100, 50, seed=1)
    copied, before = [], np.ascontiguousarray

    def copy(X: Floats) -> Floats:
        copied.append(0 if X.flags.c_contiguous else X.size)
        return before(X)

    monkeypatch.setattr(np, "ascontiguousarray", copy)
    np.testing.assert_allclose(module.by_onednn(A, B, 1), A @ B, atol=2e-5)
    assert sum(copied) == min(A.size, B.size)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0))])
def test_products_of_nothing(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    found = module.by_onednn(*(np.zeros(shape, np.float32) for shape in shapes), 1)
    assert found.shape == (shapes[0][0], shapes[1][1])
    assert not found.any()


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_where_torch_may_round_more_products_are_by_blas(precision: str, calls: Calls) -> None:
    A, B, before = random(70, 130), random(130, 33, seed=1), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = module.by_onednn(A, B, 1)
        assert not calls.threads
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found, A @ B)
    module.by_onednn(A, B, 1)
    assert calls.threads


def test_precision_before_torch_2_9(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        backends = None
        set_to = "highest"

        def get_float32_matmul_precision(self) -> str:
            return self.set_to

    old = Old()
    assert module._is_exact(old)
    old.set_to = "medium"
    assert not module._is_exact(old)


def test_onednn_is_taken_where_it_is_faster_and_worth_loading(wider: None) -> None:
    assert module.multiply_for(1e9, np.float32) is module._on_all_cores
    assert module.multiply_for(1e9, np.float32, alone=True) is module._on_one_core
    assert module.multiply_for(1e9, np.float64) is np.matmul
    assert module.multiply_for(1e5, np.float32) is np.matmul
    assert module.multiply_for(1e5, np.float32, alone=True) is np.matmul


def test_what_is_worth_loading_grows_with_the_cores(
    wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "blas_threads", lambda: 16)
    assert module.multiply_for(15e6, np.float32) is np.matmul
    assert module.multiply_for(17e6, np.float32) is not np.matmul


@pytest.mark.parametrize("kernels", ["SkylakeX", "Cooperlake", None, "neoversev1"])
def test_blas_is_taken_where_its_vectors_may_be_as_wide(
    kernels: str | None, wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "blas_kernels", lambda: kernels)
    assert module.multiply_for(1e15, np.float32) is np.matmul


def test_blas_is_taken_where_onednn_has_no_wider_vectors(
    wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert module.multiply_for(1e15, np.float32) is np.matmul


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_blas_is_taken_where_torch_cannot_be_loaded(
    error: type[Exception], wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise error("no torch")

    monkeypatch.setattr(module, "_torch", broken)
    assert module.multiply_for(1e15, np.float32) is np.matmul


def test_blas_is_taken_where_the_operator_is_another(
    wider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *a: operator(*a) + 1)
    assert module.multiply_for(1e15, np.float32) is np.matmul
    module._onednn_is_wider.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda A, B: operator(A, B))
    assert module.multiply_for(1e15, np.float32) is np.matmul


@pytest.mark.parametrize(("alone", "threads"), [(True, 1), (False, 2)])
def test_products_take_as_many_threads_as_they_may(
    alone: bool, threads: int, wider: None, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "blas_threads", lambda: 2)
    multiply, factors = (
        module.multiply_for(1e15, np.float32, alone=alone),
        (random(300, 200), random(200, 100)),
    )
    calls.openmp.clear()
    module._openmp()

    def work() -> tuple[Floats, int]:
        # As it may be in a thread that others use too; what it was is put back.
        with threadpool_limits(3, "openmp"):
            return multiply(*factors), openmp_threads()

    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):  # a thread that is new to torch, and one that is not
            found, after = pool.submit(work).result()
            np.testing.assert_allclose(found, factors[0] @ factors[1], atol=1e-4)
            assert after == 3
    assert calls.openmp == [threads, threads]


@pytest.mark.parametrize("references", [700, 900])
def test_products_with_a_kernel_are_the_same_by_onednn_and_by_blas(
    references: int, wider: None, calls: Calls
) -> None:
    X = np.random.default_rng(0).normal(size=(900, 5))
    evidence = RbfRows(X, X[:references], 0.4, np.full(900, 1 / 900), np.arange(references), {})
    products = KernelProducts(evidence, threads=2, strip_bytes=1 << 18)
    V, functions = random(references, 140), random(references, 6, seed=1)
    rows = np.arange(0, 900, 3)

    def results() -> list[Floats]:
        found = [products.gram(V), *(part for _, part in products.other(V))]
        for _, first, second in products.expectations(functions.copy(), rows):
            found += [first, second]
        return found

    by_blas = results()
    assert not calls.threads
    products.expect(1e8, np.float64)
    assert products.multiply is np.matmul
    products.expect(1e8, np.float32)
    assert products.multiply is module._on_all_cores
    calls.threads.clear()
    for found, expected in zip(results(), by_blas, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    assert len(set(calls.threads)) >= 2
    assert threading.get_ident() not in calls.threads
    # What is in float64 stays so.
    many = V.astype(np.float64)
    np.testing.assert_allclose(products.gram(many), by_blas[0], rtol=2e-5, atol=2e-6)
    assert products.gram(many).dtype == np.float64


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_products_with_a_dense_operator_are_the_same_by_onednn_and_by_blas(
    shape: tuple[int, int], wider: None, calls: Calls
) -> None:
    P = np.random.default_rng(0).random(shape)
    operator = ExpectationOperator.from_conditional(P / P.sum(axis=1, keepdims=True))
    V = random(200, 16)
    by_blas = DenseProducts(operator, np.float32).gram(V)
    assert not calls.threads
    found = DenseProducts(operator, np.float32, count=500).gram(V)
    np.testing.assert_allclose(found, by_blas, rtol=2e-5, atol=2e-6)
    assert len(calls.threads) >= 2
    assert DenseProducts(operator, np.float64, count=500).multiply is np.matmul


@pytest.mark.parametrize("place", ["in memory", "on disk"])
def test_a_basis_is_worked_on_the_same_by_onednn_and_by_blas(
    place: str, wider: None, calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(basis_module, "wide_vectors", lambda: False)
    columns, X = random(3000, 64), random(3000, 32, seed=1)
    H = np.random.default_rng(2).normal(size=(40, 32))
    Z = np.random.default_rng(3).normal(size=(64, 50))

    def results(multiply: Multiply | None) -> list[Floats]:
        with Crew(2) as crew:
            basis = Basis(3000, 70, np.float32, tmp_path if place == "on disk" else None, crew)
            assert basis._multiply is module._on_one_core
            if multiply is not None:
                monkeypatch.setattr(basis, "_multiply", multiply)
            basis.append(columns)
            less, found = X.copy(), []
            for step in (
                lambda: basis.inner(X, 5, 60),
                lambda: basis.subtract(less, H, first=24),
                lambda: basis.rotate(Z),
            ):
                calls.threads.clear()
                found.append(step())
                assert bool(calls.threads) == (multiply is None)
            return [found[0], less, basis.drain(50)]

    for found, expected in zip(results(None), results(np.matmul), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-4)


def test_which_product_a_basis_takes_depends_on_its_size_and_type(wider: None) -> None:
    assert Basis(2000, 10, np.float32)._multiply is np.matmul
    assert Basis(2000, 60, np.float32)._multiply is module._on_one_core
    assert Basis(2000, 60, np.float64)._multiply is np.matmul
