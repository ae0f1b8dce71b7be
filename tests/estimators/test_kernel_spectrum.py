from __future__ import annotations

import logging

import numpy as np
import pytest

import contexture as cx
from contexture.contexts.rbf import RbfRows
from contexture.errors import InputError
from contexture.estimators import convergence, kernel_nystroem
from contexture.estimators import kernel_spectrum as module
from contexture.estimators.dense import top_of
from contexture.estimators.exact import exact_spectrum
from contexture.estimators.kernel_lanczos import _Lanczos, top_pairs
from contexture.estimators.kernel_nystroem import nystroem_start, sampled_start
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_ritz import bounds
from contexture.estimators.kernel_spectrum import Route, kernel_spectrum
from contexture.estimators.kernel_truncation import plan_truncation, truncate

RANK = 100


def rbf_rows(
    n: int, gamma: float, m: int | None = None, weights: bool = False, D: int = 8
) -> RbfRows:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(n, D)) * 0.8 ** np.arange(D)
    X[:4] = X[4:8]  # duplicates
    p = generator.uniform(0.2, 2.0, n) if weights else None
    features = cx.Features.from_array(X, input_weights=p)
    R = X if m is None else X[generator.choice(n, m, replace=False)]
    return RbfRows(X, R, gamma, features.input_weights, np.arange(len(R)), {})


def exact(evidence: RbfRows, rank: int = RANK) -> cx.Spectrum:
    return exact_spectrum(cx.ExpectationOperator.from_evidence(evidence), rank)


EVIDENCE = {
    "fast": rbf_rows(700, 0.3, weights=True),
    "slow": rbf_rows(700, 1.5),
    "drawn": rbf_rows(1200, 0.7, m=500, weights=True),
}
R, X = EVIDENCE["drawn"].X, EVIDENCE["drawn"].references
wide = RbfRows(X, R, 0.7, np.full(500, 1 / 500), np.arange(1200), {})
EVIDENCE["more references than inputs"] = wide


ROUTES = [(name, route) for name in EVIDENCE for route in ("gram", "tiles", "nystroem")]
EVIDENCE["narrow"] = rbf_rows(400, 15.0, weights=True)


@pytest.mark.parametrize(("name", "route"), [*ROUTES, ("narrow", "truncated"), ("narrow", "gram")])
def test_every_route_gives_the_exact_spectrum(name: str, route: Route) -> None:
    theirs = exact(EVIDENCE[name])
    ours = kernel_spectrum(EVIDENCE[name], RANK, route=route, left_functions=True)
    error = np.abs(ours.eigenvalues - theirs.eigenvalues)
    assert error.max() < 1e-5
    assert theirs.components == ours.components
    assert np.all(error <= ours.numerical_error)
    assert ours.numerical_error.max() <= 1.2e-5
    assert ours.total_association == pytest.approx(theirs.total_association, rel=1e-10)
    np.testing.assert_allclose(ours.context_weights, theirs.context_weights, rtol=1e-5)
    for mine, other in ((ours.left, theirs.left), (ours.right, theirs.right)):
        assert mine.shape == other.shape
    if name != "narrow":  # there, values near 1 lie too close for functions of their own
        close = dict(rtol=0.02, atol=1e-6)
        np.testing.assert_allclose(ours.standard_error, theirs.standard_error, **close)
        np.testing.assert_allclose(ours.left[:, :2], theirs.left[:, :2], atol=2e-3)
        np.testing.assert_allclose(ours.right[:, :2], theirs.right[:, :2], atol=2e-3)


def test_functions_that_are_not_wanted_are_left_out() -> None:
    spectrum = kernel_spectrum(EVIDENCE["fast"], RANK, functions=3)
    assert spectrum.left.shape == (700, 0)
    assert spectrum.right.shape == (700, 3)
    assert spectrum.rank == RANK
    extended = spectrum.extend(EVIDENCE["fast"].rows(0, 50))
    whole = kernel_spectrum(EVIDENCE["fast"], RANK, functions=3, left_functions=True)
    np.testing.assert_allclose(extended, whole.left[:50], atol=1e-6)
    assert spectrum.method == "tiles: Gram matrix in float64; 2 passes"


def test_double_precision_on_demand() -> None:
    spectrum = kernel_spectrum(EVIDENCE["fast"], 40, tolerance=1e-10, route="tiles")
    assert np.abs(spectrum.eigenvalues - exact(EVIDENCE["fast"]).eigenvalues[:40]).max() < 1e-12
    assert spectrum.numerical_error.max() < 1e-10


def test_a_basis_too_large_for_the_memory_is_restarted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "contexture.estimators.kernel_strips"):
        spectrum = kernel_spectrum(EVIDENCE["slow"], 40, memory=700 * 4 * 340, route="tiles")
    messages = [record.getMessage() for record in caplog.records]
    used = [int(text.split()[2]) for text in messages if text.startswith("basis of")]
    assert max(used) <= 340
    assert min(np.diff(used)) < 0
    assert np.abs(spectrum.eigenvalues - exact(EVIDENCE["slow"]).eigenvalues[:40]).max() < 1e-5


@pytest.mark.parametrize("route", ["gram", "tiles", "nystroem", "truncated"])
def test_progress_goes_on_to_its_end(route: Route) -> None:
    seen: list[tuple[int, int]] = []
    kernel_spectrum(EVIDENCE["slow"], 40, route=route, progress=lambda *told: seen.append(told))
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) <= 2  # those of the pass for the marginals, and of a sparse solver
    assert all(0 <= d <= t for d, t in seen)
    if route == "tiles":
        assert len(set(totals)) == 1
        assert list(done) == sorted(done)
        assert done[-1] >= 0.5 * totals[-1]


def test_weights_are_only_dropped_where_there_is_memory_for_a_sparse_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GRAM_SIDE", 100)
    narrow = rbf_rows(600, 300.0)
    enough, little = 2 * 36 * 600 * 600, 40_000
    assert "dropped" in kernel_spectrum(narrow, 50, memory=enough).method
    assert "dropped" not in kernel_spectrum(narrow, 50, memory=little).method


@pytest.mark.parametrize("gamma", [1e-9, 1e5])
@pytest.mark.parametrize("route", ["gram", "tiles", "nystroem", "truncated"])
def test_no_and_full_association(gamma: float, route: Route) -> None:
    evidence = rbf_rows(400, gamma)
    spectrum = kernel_spectrum(evidence, 50, route=route)
    if gamma > 1:  # every row is a context of its own, but for the four duplicates
        np.testing.assert_allclose(spectrum.eigenvalues, 1.0, atol=1e-9)
        assert spectrum.components >= 51
    else:
        np.testing.assert_allclose(spectrum.eigenvalues, 0.0, atol=5e-6)
        assert spectrum.components == 1


def test_groups_far_apart_are_components() -> None:
    X = np.random.default_rng(0).normal(size=(300, 3)) + 1e3 * (np.arange(300) % 3)[:, None]
    evidence = RbfRows(X, X, 1.0, np.full(300, 1 / 300), np.arange(300), {})
    for route in ("gram", "tiles", "nystroem", "truncated"):
        spectrum = kernel_spectrum(evidence, 20, route=route)
        assert spectrum.components == 3
        assert np.all(spectrum.eigenvalues <= 1)


def test_larger_operators_choose_truncation_or_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRAM_SIDE", 100)
    narrow = rbf_rows(600, 300.0)
    assert kernel_spectrum(narrow, 50).method.startswith("negligible weights dropped (‖ΔM‖ <= ")
    assert kernel_spectrum(EVIDENCE["fast"], 50).method.startswith(
        "tiles: block Lanczos in float32"
    )
    # Most of all values: the Gram matrix after all.
    assert kernel_spectrum(EVIDENCE["fast"], 400).method.startswith("tiles: Gram matrix")


def test_nothing_can_be_associated() -> None:
    X = np.zeros((3, 1))
    evidence = RbfRows(X, X[:1], 1.0, np.full(3, 1 / 3), np.arange(1), {})
    message = r"the operator has 3 input\(s\) and 1 context value\(s\); two of each are needed\."
    with pytest.raises(InputError, match=message):
        kernel_spectrum(evidence)


@pytest.mark.parametrize("gamma", [3.0, 30.0, 300.0])
@pytest.mark.parametrize("tolerance", [1e-5, 1e-3, 0.3])
def test_the_bound_of_truncation_holds(gamma: float, tolerance: float) -> None:
    evidence = rbf_rows(250, gamma, weights=True)
    products = KernelProducts(evidence)
    cut = truncate(products, tolerance)
    M = products.tile(slice(None), slice(None))
    distance = np.linalg.norm(M - cut.operator.normalised().toarray(), 2)
    assert distance <= cut.bound
    assert 2 * cut.bound <= tolerance
    P = cut.operator.conditional()
    np.testing.assert_allclose(P.sum(axis=1), 1.0)
    plan = plan_truncation(products, tolerance)
    assert plan.entries == P.nnz  # the sample holds all rows
    assert plan.density == P.nnz / 250**2
    assert plan.possible == (plan.density <= 0.03)
    assert not plan_truncation(products, tolerance, memory=1000).possible


def test_nystroem_is_exact_with_all_landmarks() -> None:
    evidence = rbf_rows(150, 2.0)
    products = KernelProducts(evidence)
    begun = nystroem_start(products, 20, landmarks=150)
    exact_values = np.append(1.0, exact(evidence, 19).eigenvalues)
    np.testing.assert_allclose(begun.values, exact_values, atol=1e-7)
    np.testing.assert_allclose(begun.vectors.T @ begun.vectors, np.eye(20), atol=1e-7)


@pytest.mark.parametrize("name", ["drawn", "more references than inputs"])
def test_a_start_from_sampled_rows_is_a_product(name: str) -> None:
    products = KernelProducts(EVIDENCE[name])  # fewer rows than are sampled: all of them
    begun = sampled_start(products, 5, 50, np.float64, seed=2)
    assert products.passes == 1  # that of the marginals
    generator = np.random.default_rng([2, 0x7374])
    generator.choice(1200, 1200, replace=False)
    V = generator.standard_normal((500, 5))
    expected = products.gram(V)
    if name == "drawn":  # of M itself, whose smaller side are the references
        diagonal = np.diag(products.gram(np.eye(500)))
        large = diagonal >= products.total_association / 500
        assert 0 < large.sum() < 500
        expected += np.where(large, 10 * diagonal, 0.0)[:, None] * V
    np.testing.assert_allclose(begun, expected, atol=1e-10)
    np.testing.assert_array_equal(begun, sampled_start(products, 5, 50, np.float64, seed=2))


def test_a_start_knows_of_functions_on_a_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty rows far from all others, and from each other: a sample of 40 holds one of them."""
    monkeypatch.setattr(kernel_nystroem, "SAMPLED_ROWS", 40)
    X = np.random.default_rng(0).normal(size=(800, 2))
    X[:20] += 100 * np.arange(1, 21)[:, None]
    evidence = RbfRows(X, X, 1.0, np.full(800, 1 / 800), np.arange(800), {})
    products = KernelProducts(evidence)
    own = np.linalg.qr(sampled_start(products, 120, 140, np.float64, seed=0))[0][:20]
    assert np.linalg.svd(own)[1][:20].min() > 0.9


@pytest.mark.parametrize(
    ("error", "before", "blocks"),
    [
        (1e-4, np.inf, 1),  # near enough to be met by the next block
        (0.0, np.inf, 1),
        (0.1, np.inf, 2),  # nothing is known of how it falls
        (0.1, 0.1, 2),  # not at all
        (0.09, 0.1, 4),  # in 87 steps
        (2e-3, 1e-1, 1),  # in less than one and a half
        (5e-3, 1e-1, 2),  # in two and some
        (1e-2, 1e-1, 2),  # in three
        (1e-2, 3.2e-2, 2),  # in six
        (1e-2, 2.1e-2, 4),  # in more than nine
    ],
)
def test_the_basis_is_looked_at_when_the_bound_may_be_met(
    error: float, before: float, blocks: int
) -> None:
    solver = _Lanczos(lambda V: V, np.ones(9) / 3, 2, 1e-5, np.float64, 0, 2, None, None, np.matmul)
    assert solver.ahead(error, before) == blocks


def test_large_sides_start_from_sampled_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_SIDE", 100)
    evidence = EVIDENCE["more references than inputs"]
    ours = kernel_spectrum(evidence, 50, route="tiles", left_functions=True)
    assert np.abs(ours.eigenvalues - exact(evidence, 50).eigenvalues).max() < 1e-5


@pytest.mark.parametrize("width", [24, 64])
def test_lanczos_finds_values_that_repeat(width: int) -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate([np.full(20, 0.9), np.linspace(0.5, 0, 179)])
    V = np.linalg.qr(generator.normal(size=(200, 200)))[0]
    G = (V[:, 1:] * values) @ V[:, 1:].T + np.outer(V[:, 0], V[:, 0])
    pairs = top_pairs(lambda W: G @ W, V[:, 0], 30, 1e-9, np.float64, block=width)
    error = np.abs(pairs.values - values[:30])
    assert error.max() < 1e-9
    assert np.all(error <= pairs.errors + 1e-13)
    assert np.abs(pairs.vectors.T @ V[:, 0]).max() < 1e-12


def test_bounds_hold_for_ritz_values_on_any_basis() -> None:
    generator = np.random.default_rng(0)
    values = 0.9 ** np.arange(100)
    G = np.diag(values)
    for noise in (1e-1, 1e-2, 1e-4):
        Q = np.linalg.qr(np.eye(100)[:, :30] + noise * generator.normal(size=(100, 30)) / 10)[0]
        theta, Y = top_of(Q.T @ G @ Q, 30)
        W = Q @ Y
        R = G @ W - W * theta
        errors = bounds(theta, R.T @ R, 20)
        assert np.all(values[:20] - theta[:20] <= errors)
        assert np.all(errors <= convergence.bounds(theta, R.T @ R, 20))
    assert errors.max() < 1e-6
    # With no value to spare there is no gap, and the norm of the residuals is all there is.
    alone = R[:, :20].T @ R[:, :20]
    np.testing.assert_array_equal(
        bounds(theta[:20], alone, 20), convergence.bounds(theta[:20], alone, 20)
    )


@pytest.mark.parametrize("away", [1e2, 1e4, 1e5, 1e6])
def test_rows_far_from_the_others_are_right_to_a_stated_error(away: float) -> None:
    """Three pairs of rows, each far from all else: float64 itself has no more digits for them."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(300, 5))
    X[:3] = generator.normal(size=(3, 5)) * away
    X[3:6] = X[:3] + 0.5 * generator.normal(size=(3, 5))
    evidence = RbfRows(X, X, 0.5, np.full(300, 1 / 300), np.arange(300), {})
    found = kernel_spectrum(evidence, 20, route="tiles")
    squares = np.sum((X[:, None] - X[None]) ** 2, axis=2)
    P = np.exp(-squares / 2)
    P /= P.sum(axis=1, keepdims=True)
    M = P / np.sqrt(P.mean(axis=0)) / np.sqrt(300)
    exactly = np.linalg.eigvalsh(M.T @ M)[::-1][1:21]
    assert (np.abs(found.eigenvalues - exactly) <= found.numerical_error).all()
    if away <= 1e5:
        assert found.components == 4
        assert found.numerical_error.max() < 1e-3
    if away == 1e2:
        assert found.numerical_error.max() < 1e-5
