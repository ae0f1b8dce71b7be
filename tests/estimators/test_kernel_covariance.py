"""The sampling error from some inputs against that from all of them."""

from __future__ import annotations

import numpy as np
import pytest

import contexture as cx
from contexture.contexts.rbf import RbfRows
from contexture.estimators import kernel_covariance as module
from contexture.estimators.exact import exact_spectrum
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_spectrum import kernel_spectrum
from contexture.inputs import FloatArray

RANK = 60


def rows(n: int, m: int | None, gamma: float) -> RbfRows:
    """Some groups of near rows, and outliers on which functions live alone."""
    generator = np.random.default_rng(3)
    X = generator.normal(size=(n, 5)) * 0.5
    X[: n // 20] *= 6.0
    p = generator.uniform(0.3, 2.0, n)
    features = cx.Features.from_array(X, input_weights=p)
    R = X if m is None else X[generator.choice(n, m, replace=False)]
    return RbfRows(X, R, gamma, features.input_weights, np.arange(len(R)), {})


X = rows(1500, 400, 1.0)
KINDS = {
    "values are the inputs": rows(1500, None, 1.0),
    "drawn values": X,
    "more values than inputs": RbfRows(
        X.references, X.X, 1.0, np.full(400, 1 / 400), np.arange(1500), {}
    ),
}


@pytest.fixture(params=sorted(KINDS))
def evidence(request: pytest.FixtureRequest) -> RbfRows:
    return KINDS[request.param]


def errors(
    evidence: RbfRows, monkeypatch: pytest.MonkeyPatch, size: int, seed: int = 0, left: bool = False
) -> FloatArray:
    monkeypatch.setattr(module, "COVARIANCE_ROWS", size)
    spectrum = kernel_spectrum(evidence, RANK, route="tiles", seed=seed, left_functions=left)
    assert spectrum.eigenvalue_covariance is not None
    return np.sqrt(np.diag(spectrum.eigenvalue_covariance))


def test_all_inputs_give_what_the_matrix_gives(
    evidence: RbfRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = exact_spectrum(cx.ExpectationOperator.from_evidence(evidence), RANK)
    assert exact.eigenvalue_covariance is not None
    expected = np.sqrt(np.diag(exact.eigenvalue_covariance))
    np.testing.assert_allclose(errors(evidence, monkeypatch, 10**6), expected, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("left", [False, True])
def test_some_inputs_suffice_for_functions_that_live_on_a_few(
    evidence: RbfRows, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = errors(evidence, monkeypatch, 10**6)
    some = errors(evidence, monkeypatch, evidence.shape[0] // 3, left=left)
    assert np.all(np.abs(some - whole) < 0.5 * whole + 5e-4)
    assert abs(np.median(some / whole) - 1) < 0.05


def test_inputs_of_large_weight_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = KINDS["values are the inputs"]
    weights = np.full(1500, 0.7 / 1499)
    weights[1200] = 0.3
    heavy = RbfRows(evidence.X, evidence.references, 1.0, weights, evidence.context_values, {})
    whole, some = (errors(heavy, monkeypatch, size) for size in (10**6, 300))
    clear = whole > 1e-3
    assert abs(np.median(some[clear] / whole[clear]) - 1) < 0.1
    assert np.all(some[clear] > 0.4 * whole[clear])


def test_an_even_sample_would_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    def even(*given: object) -> FloatArray:
        return np.full(1500, 1 / 1500)

    evidence = KINDS["values are the inputs"]
    whole = errors(evidence, monkeypatch, 10**6)
    monkeypatch.setattr(module, "_shares", even)
    found = errors(evidence, monkeypatch, 500)
    assert np.any((found < 0.1 * whole) & (whole > 1e-3))


def test_the_estimate_has_no_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one and the same spectrum, over many samples."""
    evidence = KINDS["values are the inputs"]
    products = KernelProducts(evidence)
    spectrum = kernel_spectrum(evidence, RANK)
    given = products, spectrum.eigenvalues, spectrum.right
    monkeypatch.setattr(module, "COVARIANCE_ROWS", 10**6)
    whole = module.sampled_covariance(*given, seed=0)
    monkeypatch.setattr(module, "COVARIANCE_ROWS", 300)
    some = [module.sampled_covariance(*given, seed=seed) for seed in range(40)]
    variances = np.array([np.diag(covariance) for covariance in some])
    error = variances.std(axis=0) / np.sqrt(len(some))
    assert np.all(np.abs(variances.mean(axis=0) - np.diag(whole)) < 5 * error + 1e-8)
    assert np.median(error[np.diag(whole) > 1e-6]) > 0.0


def test_draws_keep_to_their_chances() -> None:
    generator = np.random.default_rng(0)
    chances = np.array([1.0, 0.5, 0.0, 0.25, 1.0, 0.25, 0.7])
    drawn = [module._drawn(chances, generator) for _ in range(4000)]
    assert {len(rows) for rows in drawn} <= {3, 4}
    assert all(np.all(np.diff(rows) > 0) for rows in drawn)
    found = np.bincount(np.concatenate(drawn), minlength=7) / len(drawn)
    np.testing.assert_allclose(found, chances, atol=0.04)


def test_every_input_is_drawn_where_there_are_few() -> None:
    generator = np.random.default_rng(0)
    for n in (1, 2, 2048):
        np.testing.assert_array_equal(module._drawn(np.ones(n), generator), np.arange(n))
