from __future__ import annotations

import numpy as np
import pytest

import contexture as cx
from contexture.contexts import Rbf
from contexture.contexts.rbf import RbfRows
from contexture.errors import InputError
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_tiles import SymmetricTiles
from contexture.inputs import Floats


def corpus(n: int, D: int = 5, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, D)) * 0.8 ** np.arange(D)


def rbf_rows(X: np.ndarray, R: np.ndarray, gamma: float, weights: object = None) -> RbfRows:
    features = cx.Features.from_array(X, input_weights=weights)
    return RbfRows(X, R, gamma, features.input_weights, np.arange(len(R)), {})


def cases() -> dict[str, RbfRows]:
    X, generator = corpus(420), np.random.default_rng(1)
    weights = generator.uniform(0.1, 2.0, 420)
    far = X.copy()
    far[[3, 77]] = [[1e3], [-2e4]]
    offset = X + 1e6
    return {
        "all": rbf_rows(X, X, 2.0),
        "drawn": rbf_rows(X, X[::7], 2.0),
        "weights": rbf_rows(X, X, 2.0, weights),
        "duplicates": rbf_rows(np.repeat(X[:60], 7, axis=0), X[:60], 2.0, weights),
        "outliers": rbf_rows(far, far, 2.0),
        "outliers among the inputs only": rbf_rows(far, X[100:300], 2.0),
        "outliers among the references only": rbf_rows(X[100:], far, 2.0),
        "tiny gamma": rbf_rows(X, X, 1e-9),
        "huge gamma": rbf_rows(X, X, 1e6),
        "offset": rbf_rows(offset, offset[:200], 3.0),
        "more references than inputs": rbf_rows(X[:200], X, 2.0, weights[:200]),
        "one tile and a row": rbf_rows(X[:257], X[:257], 2.0),
        "two rows": rbf_rows(X[:2], X[:2], 2.0),
    }


CASES = cases()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_equal_the_dense_operator(name: str, threads: int) -> None:
    evidence = CASES[name]
    operator = cx.ExpectationOperator.from_evidence(evidence)
    M = np.asarray(operator.normalised())
    products = KernelProducts(evidence, threads=threads, strip_bytes=1)  # strips of 64 rows
    assert products.shape == M.shape
    # Both routes round γ‖x − c‖²: with far outliers that is what they differ by.
    centred = np.asarray(evidence.X) - np.median(evidence.references, axis=0)
    rounding = 1e-11 + 4e-16 * evidence.gamma * np.max(np.sum(centred**2, axis=1))
    np.testing.assert_array_equal(products.context_values, operator.context_values)
    np.testing.assert_allclose(products.context_weights, operator.context_weights, rtol=rounding)
    association = pytest.approx(operator.total_association, rel=rounding, abs=rounding)
    assert products.total_association == association
    np.testing.assert_allclose(products.tile(slice(None), slice(None)), M, atol=rounding)
    side = min(M.shape)
    V = np.linalg.qr(np.random.default_rng(2).normal(size=(side, min(side, 7))))[0]
    across = M @ V if M.shape[1] == side else M.T @ V
    gram = M.T @ across if M.shape[1] == side else M @ across
    for dtype, tolerance in ((np.float64, rounding), (np.float32, 3e-6)):
        typed = np.ascontiguousarray(V, dtype)
        ours = products.gram(typed)
        assert ours.dtype == dtype
        assert np.linalg.norm(ours - gram, 2) < tolerance
        np.testing.assert_array_equal(ours, products.gram(typed))
        parts = list(products.other(typed))
        assert [rows.start for rows, _ in parts] == [0, *(rows.stop for rows, _ in parts[:-1])]
        assert np.linalg.norm(np.concatenate([part for _, part in parts]) - across, 2) < tolerance


def test_rounding_of_single_precision_stays_small_far_from_the_centre() -> None:
    """Two dense groups, both 1e3 widths from the centre: nearness must not cancel."""
    X = np.concatenate([corpus(300) * 0.01 + 1e3, corpus(300, seed=1) * 0.01 - 1e3])
    evidence = rbf_rows(X, X, 100.0)
    M = np.asarray(cx.ExpectationOperator.from_evidence(evidence).normalised())
    products = KernelProducts(evidence)
    V = np.linalg.qr(np.random.default_rng(0).normal(size=(600, 40)))[0].astype(np.float32)
    assert np.linalg.norm(products.gram(V) - M.T @ (M @ V), 2) < 1e-5


@pytest.mark.parametrize("change", ["none", "order", "one row fewer", "one number"])
def test_tiles_serve_twice_only_where_the_context_values_are_the_inputs(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = corpus(300)
    R = X.copy()
    if change == "order":
        R = R[::-1].copy()
    elif change == "one row fewer":
        R = R[1:]
    elif change == "one number":
        R[17, 2] += 0.5
    twice: list[int] = []

    def gram(self: SymmetricTiles, V: Floats, *others: object) -> Floats:
        twice.append(len(V))
        return genuine(self, V, *others)  # type: ignore[arg-type]

    genuine = SymmetricTiles.gram
    monkeypatch.setattr(SymmetricTiles, "gram", gram)
    evidence = rbf_rows(X, R, 2.0)
    M = np.asarray(cx.ExpectationOperator.from_evidence(evidence).normalised())
    products = KernelProducts(evidence)
    V = np.random.default_rng(0).normal(size=(len(R), 3)).astype(np.float32)
    np.testing.assert_allclose(products.gram(V), M.T @ (M @ V), atol=1e-5)
    np.testing.assert_allclose(products.gram(V.astype(float)), M.T @ (M @ V), atol=1e-9)
    assert len(twice) == (change == "none")


def test_context_values_that_nobody_chooses_are_dropped() -> None:
    X = corpus(50)
    R = np.concatenate([X[:20], np.full((1, 5), 1e4)])
    products = KernelProducts(rbf_rows(X, R, 2.0))
    assert products.shape == (50, 20)
    np.testing.assert_array_equal(products.kept, np.arange(20))


def test_a_drawn_context_and_a_corpus_read_by_slices() -> None:
    evidence = Rbf(gamma=5.0, reference=64).fit(cx.Features.from_array(corpus(300)), seed=3)
    operator = cx.ExpectationOperator.from_evidence(evidence)
    products = KernelProducts(evidence)
    np.testing.assert_allclose(
        products.tile(slice(0, 300), slice(0, 64)), operator.normalised(), atol=1e-13
    )


def test_progress_counts_the_rows_of_a_pass() -> None:
    seen: list[tuple[int, int]] = []
    evidence = rbf_rows(corpus(1000), corpus(1000), 2.0)
    products = KernelProducts(
        evidence, threads=2, strip_bytes=1, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(504, 1000), (1000, 1000)]
    assert products.passes == 1
    products.gram(np.ones((1000, 1)))
    assert products.passes == 2
    assert len(seen) == 4


def test_nothing_to_work_on() -> None:
    with pytest.raises(InputError, match=r"P has shape \(5, 0\); rows and columns are needed\."):
        KernelProducts(rbf_rows(corpus(5), corpus(0), 2.0))
