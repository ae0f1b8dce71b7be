"""Reported standard errors against the spread over repeated samples of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contexture import ExpectationOperator, decompose_operator, scores

REPETITIONS = 300
N = 4000  # at 400, neighbouring values still repel each other: not yet first order


@pytest.fixture(scope="module")
def repeated() -> dict[str, np.ndarray]:
    """Draw N inputs from a fixed finite context, again and again, and score each sample."""
    rng = np.random.default_rng(20)
    kinds, m = 60, 8
    # Separated values and a minimum of τ inside, so that the delta method applies.
    P = rng.dirichlet(np.full(m, 0.25), size=kinds) @ (0.9 * np.eye(m) + 0.1 / m)
    law = rng.dirichlet(np.full(kinds, 2.0))
    task = P @ np.linspace(-1, 1, m) ** 3 + 0.3 * rng.normal(size=kinds)
    found: dict[str, list[Any]] = {name: [] for name in ("s", "es", "t", "et", "r", "er", "d")}
    for _ in range(REPETITIONS):
        rows = rng.choice(kinds, N, p=law)
        operator = ExpectationOperator.from_conditional(P[rows])
        spectrum = decompose_operator(operator)
        useful = scores.usefulness(spectrum)
        rho = scores.compatibility(operator, task[rows])
        found["s"].append(spectrum.eigenvalues)
        found["es"].append(np.sqrt(np.diag(spectrum.eigenvalue_covariance)))
        found["t"].append(useful.value)
        found["et"].append(useful.standard_error)
        found["d"].append(useful.best_rank)
        found["r"].append(rho.value)
        found["er"].append(rho.standard_error)
    return {name: np.array(values) for name, values in found.items()}


def test_of_eigenvalues(repeated: dict[str, np.ndarray]) -> None:
    spread = repeated["s"].std(axis=0, ddof=1)
    np.testing.assert_allclose(repeated["es"].mean(axis=0), spread, rtol=0.15)


def test_of_usefulness(repeated: dict[str, np.ndarray]) -> None:
    assert (repeated["d"] == np.median(repeated["d"])).mean() > 0.9
    assert repeated["et"].mean() == pytest.approx(repeated["t"].std(ddof=1), rel=0.15)


def test_of_compatibility(repeated: dict[str, np.ndarray]) -> None:
    assert repeated["er"].mean() == pytest.approx(repeated["r"].std(ddof=1), rel=0.15)


def test_of_singular_values_follows_from_that_of_their_squares() -> None:
    P = np.random.default_rng(1).dirichlet(np.ones(6), size=40)
    spectrum = decompose_operator(ExpectationOperator.from_conditional(P))
    squares = np.sqrt(np.diag(spectrum.eigenvalue_covariance))
    np.testing.assert_allclose(
        spectrum.standard_error, squares / (2 * spectrum.singular_values), rtol=1e-12
    )


def test_of_kernel_deviation() -> None:
    P = np.random.default_rng(2).dirichlet(np.full(12, 0.2), size=700)
    operator = ExpectationOperator.from_conditional(P, np.random.default_rng(3).uniform(1, 3, 700))
    whole = scores.kernel_deviation(operator)
    assert (whole.standard_error, whole.rows) == (0.0, 700)
    drawn = [scores.kernel_deviation(operator, max_rows=100, seed=s) for s in range(120)]
    values = np.array([d.value for d in drawn])
    assert np.mean([d.standard_error for d in drawn]) == pytest.approx(values.std(ddof=1), rel=0.2)
    assert values.mean() == pytest.approx(whole.value, abs=4 * values.std() / np.sqrt(120))
