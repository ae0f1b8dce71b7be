"""How often 95 % intervals hold the true value, on samples from laws that are known."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from contexture import ExpectationOperator, Features, Spectrum, decompose_operator
from contexture.contexts import Context, Knn, Rbf
from contexture.contexts.rbf import kernel_rows
from contexture.contexts.redraw import redrawn
from contexture.estimators.draws import combine_draws
from contexture.estimators.group_influence import covariance_of_halves, group_influence
from contexture.estimators.influence import covariance_of
from contexture.estimators.options import DRAWS
from contexture.evaluation import Evaluation
from contexture.moments import Moments, halves_of, unit_of
from contexture.scores import usefulness
from contexture.streaming import Draw, evaluate_draws

REPETITIONS = 200
N = 300
BLOCKS = 20


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def scores_of(spectrum: Spectrum) -> np.ndarray:
    """s_1², s_2², τ."""
    return np.append(spectrum.eigenvalues[:2], usefulness(spectrum).value)


def finite_law(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """All inputs there are, with their context laws, and how likely each is."""
    rng = np.random.default_rng(20)
    law = rng.dirichlet(np.full(60, 2.0))
    if kind == "dirichlet":
        return rng.dirichlet(np.full(8, 0.25), size=60) @ (0.9 * np.eye(8) + 0.1 / 8), law
    # Four blocks, left with a probability of their own: a stochastic block model.
    block = rng.integers(0, 4, 60)
    mixing = np.array([0.8, 0.6, 0.45, 0.3])[:, None] * np.eye(4)
    mixing += (1 - mixing.sum(axis=1, keepdims=True)) / 4
    return np.repeat(mixing[block], 5, axis=1) / 5, law


@pytest.fixture(scope="module", params=["dirichlet", "blocks"])
def replicated(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    P, law = finite_law(request.param)
    true = scores_of(decompose_operator(ExpectationOperator.from_conditional(P, law)))
    rng = np.random.default_rng(21)
    values, errors, halved = [], [], []
    for _ in range(REPETITIONS):
        rows = P[rng.choice(60, N, p=law)]
        given = ExpectationOperator.from_conditional(rows)
        spectrum = decompose_operator(given)
        squares, right = spectrum.eigenvalues, spectrum.right
        by_rows = covariance_of(given, squares, right)
        by_halves = covariance_of_halves(
            np.array(
                [
                    group_influence(signs * part.T @ part / N, signs @ part / N, squares, right)
                    for part, signs in (
                        (part, rng.choice([-1, 1], len(part)))
                        for part in np.split(rows[np.argsort(rows[:, 0])], BLOCKS)
                    )
                ]
            )
        )
        values.append(scores_of(spectrum))
        for kept, covariance in ((errors, by_rows), (halved, by_halves)):
            replaced = Spectrum(**{**vars(spectrum), "eigenvalue_covariance": covariance})
            of_squares = np.sqrt(np.diag(covariance)[:2])
            kept.append(np.append(of_squares, usefulness(replaced).standard_error))
    return {
        "true": true,
        "values": np.array(values),
        "rows": np.array(errors),
        "halves": np.array(halved),
    }


@pytest.mark.parametrize("form", ["rows", "halves"])
def test_over_inputs(replicated: dict[str, np.ndarray], form: str) -> None:
    quantile = 1.96 if form == "rows" else stats.t.ppf(0.975, BLOCKS)
    off = np.abs(replicated["values"] - replicated["true"])
    covered = (off <= quantile * replicated[form]).mean(axis=0)

    assert (covered >= 0.88).all()
    assert (covered <= 0.99).all()


def test_the_two_forms_agree(replicated: dict[str, np.ndarray]) -> None:
    ratio = replicated["halves"].mean(axis=0) / replicated["rows"].mean(axis=0)
    np.testing.assert_allclose(ratio, 1, atol=0.05)


def rbf(X: np.ndarray, references: np.ndarray) -> ExpectationOperator:
    squared = np.sum((X[:, None] - references[None]) ** 2, axis=2)
    return ExpectationOperator.from_conditional(kernel_rows(squared, 0.4))


def test_over_inputs_and_references() -> None:
    """Against the mean over other inputs and as many references, found once.

    400 draws of 40 references, each with 8000 inputs of its own (seed 99): known to .001, .002
    and .002, a tenth of the errors here. That is not the truth at many references: see
    `contexture.estimators.draws`.
    """
    true = np.array([0.53469, 0.28530, 1.78186])
    rng = np.random.default_rng(30)
    scale, n, m, draws, repetitions = np.array([1.5, 0.9]), 1600, 40, 4, 100

    def sample(count: int) -> np.ndarray:
        return rng.normal(size=(count, 2)) * scale

    covered, errors, values = [], [], []
    for _ in range(repetitions):
        X = sample(n)
        each = [
            decompose_operator(rbf(X, X[rng.choice(n, m, replace=False)]), 20) for _ in range(draws)
        ]
        variances = np.diag(each[0].eigenvalue_covariance)[:2]
        of_inputs = np.append(np.sqrt(variances), usefulness(each[0]).standard_error)
        found = combine_draws([scores_of(spectrum) for spectrum in each], of_inputs)
        covered.append(np.abs(found.value - true) <= found.half_width())
        errors.append(found.standard_error)
        values.append(found.value)
    assert (np.mean(covered, axis=0) >= 0.88).all()
    assert (np.mean(covered, axis=0) <= 0.99).all()
    ratio = np.mean(errors, axis=0) / np.std(values, axis=0, ddof=1)
    np.testing.assert_allclose(ratio, 1, atol=0.3)


def reported(X: np.ndarray, context: Context) -> Evaluation:
    """What an audit says by moments: three draws of the references, 24 blocks of rows."""
    data = Features.from_array(X)
    first, edges = context.fit(data, 0), np.linspace(0, len(X), 25).astype(int)
    draws = []
    for draw in range(DRAWS):
        evidence = redrawn(first, data.X, data.ids, 0, draw)
        parts = [
            Moments.zero(evidence.shape[1], unit_of(evidence)).add(
                evidence.rows(start, stop)[half], np.ones(half.sum())
            )
            for start, stop in itertools.pairwise(edges)
            for half in halves_of(slice(start, stop))
        ]
        draws.append(
            Draw(
                functools.reduce(operator.add, parts),
                lambda parts=parts: parts,  # type: ignore[misc]
                np.array([part.mass for part in parts]),
                np.stack([part.marginal * part.unit for part in parts]),
                evidence.context_values,
                [],
            )
        )
    return evaluate_draws(draws, first, data.X, max_rank=30)


@pytest.mark.parametrize("context", [Knn(fraction=0.15, reference=40), Rbf(gamma=2, reference=40)])
def test_the_errors_of_a_run_are_the_spread_of_its_values(context: Context) -> None:
    rng = np.random.default_rng(31)
    values, errors = [], []
    for _ in range(60):
        found = reported(rng.normal(size=(500, 3)) * np.array([1.5, 1.0, 0.6]), context)
        useful, spectrum = found.usefulness, found.spectrum
        some = [0, 1, 4, 9]
        values.append([useful.value, useful.best_rank, *spectrum.singular_values[some]])
        errors.append(
            [useful.standard_error, useful.best_rank_standard_error, *spectrum.standard_error[some]]
        )
    ratio = np.mean(errors, axis=0) / np.std(values, axis=0, ddof=1)
    # Rows of a small corpus are the pool of its references, too, which makes errors too large.
    assert (ratio > 0.6).all()
    assert (ratio < 2.2).all()
