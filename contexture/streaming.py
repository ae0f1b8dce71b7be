"""All scores of a context from its moments and a sample of its rows: nothing of size n × m."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.contexts.base import ConditionalRows, Rows
from contexture.contexts.reference import read_rows
from contexture.corpus import Target
from contexture.estimators.draws import combine_draws, summarise_draws
from contexture.estimators.streamed import moment_spectrum
from contexture.evaluation import Evaluation, TargetScore
from contexture.inputs import FloatArray, IntArray, RowsOfX
from contexture.moments import Moments
from contexture.operator import ExpectationOperator
from contexture.scores.association import Sampled, kernel_deviation, lipschitz_constant, verdict
from contexture.scores.compatibility import Compatibility
from contexture.scores.decay import decay_rate
from contexture.scores.streamed import compatibility_of_moments
from contexture.scores.usefulness import usefulness
from contexture.spectrum import Spectrum
from contexture.task_moments import TaskMoments

SAMPLED_ROWS = 1000
"""Rows among which the kernel deviation and the Lipschitz constant are taken."""


@dataclass(frozen=True)
class Task:
    """A target and its moments.

    Attributes
    ----------
    target : Target
        Its values are not looked at.
    parts : sequence of TaskMoments
        One for each group of rows.
    observed : int
        Rows that have a value.
    """

    target: Target
    parts: Sequence[TaskMoments]
    observed: int


@dataclass(frozen=True)
class Draw:
    """What is known of a context over one draw of its references.

    Attributes
    ----------
    total : Moments
        Of all rows.
    groups : callable
        Gives the moments of groups of rows, one after the other.
    masses : ndarray of shape (G,)
        Σ p of each group.
    marginals : ndarray of shape (G, m)
        Σ p P(·|x) of each group.
    context_values : ndarray of shape (m,)
        Names of the references.
    tasks : sequence of Task
    """

    total: Moments
    groups: Callable[[], Iterable[Moments]]
    masses: FloatArray
    marginals: FloatArray
    context_values: npt.NDArray[Any]
    tasks: Sequence[Task]


def sample_positions(weights: FloatArray, seed: int) -> IntArray:
    """Positions of rows drawn by their weights without replacement, ascending."""
    n = len(weights)
    generator = np.random.default_rng([seed, 0x5A])
    if n <= SAMPLED_ROWS:
        return np.arange(n)
    if weights.strides == (0,):  # one weight for all: nothing of size n is needed
        return np.sort(generator.choice(n, SAMPLED_ROWS, replace=False, shuffle=False))
    return np.sort(generator.choice(n, SAMPLED_ROWS, replace=False, p=weights))


def rows_at(evidence: Any, positions: IntArray, points: FloatArray) -> Rows:
    """Return the rows of P at a few positions, where X is ``points``."""
    references = getattr(getattr(evidence, "plain", evidence), "positions", None)
    own = None
    if references is not None:
        places = np.minimum(np.searchsorted(references, positions), len(references) - 1)
        own = np.where(references[places] == positions, places, -1)
    rows: Rows = evidence.rows_of(points, own)
    return rows


def evaluate_draws(
    draws: Sequence[Draw],
    evidence: ConditionalRows,
    X: RowsOfX,
    max_rank: int = 512,
    beta: float = 1.0,
    rank_kept: int = 128,
    seed: int = 0,
) -> Evaluation:
    """Compute every score of a context from the moments over one or more reference draws.

    Values are means over the draws, and their errors hold what another draw would change. The
    functions, and the scores that are taken on a sample of rows, are those of the first draw.

    Parameters
    ----------
    draws : sequence of Draw
    evidence : ConditionalRows
        Of the first draw.
    X : array of shape (n, D)
    max_rank, beta, rank_kept, seed
        As in `contexture.evaluation.evaluate`.
    """
    weights = evidence.input_weights
    spectra = [
        moment_spectrum(d.total, max_rank, d.groups(), d.context_values, weights) for d in draws
    ]
    spectra = [each.truncated(rank_kept) for each in spectra]
    spectrum = _mean_spectrum(spectra)
    useful = usefulness(spectrum, max_rank, beta)
    rate = decay_rate(spectrum, max_rank)
    if len(draws) > 1:
        each = [usefulness(s, max_rank, beta) for s in spectra]
        k = spectrum.rank
        summary = summarise_draws(
            np.stack([s.eigenvalues[:k] for s in spectra]),
            [u.value for u in each],
            [u.best_rank for u in each],
            [decay_rate(s, max_rank) for s in spectra],
            np.mean([s.eigenvalue_covariance[:k, :k] for s in spectra], axis=0),
            float(np.mean([u.standard_error for u in each])),
            float(np.mean([u.best_rank_standard_error for u in each])),
        )
        useful = replace(
            useful,
            standard_error=float(summary.usefulness.standard_error),
            best_rank_standard_error=float(summary.best_rank.standard_error),
        )
    sampled = sampled_association(draws[0].total.context_weights, evidence, X, seed)
    return Evaluation(
        spectrum=spectrum,
        usefulness=useful,
        decay_rate=rate,
        association=verdict(rate, useful.max_rank, useful.abstention),
        kernel_deviation=sampled[0],
        lipschitz=sampled[1],
        targets=tuple(
            _score_target(draws, spectra, number, len(weights))
            for number in range(len(draws[0].tasks))
        ),
        draws=len(draws),
    )


def _mean_spectrum(spectra: Sequence[Spectrum]) -> Spectrum:
    """Return the first spectrum with the mean s_i² of all, and the covariance of that mean."""
    if len(spectra) == 1:
        return spectra[0]
    k = min(spectrum.rank for spectrum in spectra)
    squares = np.stack([spectrum.eigenvalues[:k] for spectrum in spectra])
    of_inputs = np.mean([s.eigenvalue_covariance[:k, :k] for s in spectra], axis=0)
    centred = squares - squares.mean(axis=0)
    of_draws = centred.T @ centred / (len(spectra) - 1) / len(spectra)
    first = spectra[0]
    return replace(
        first,
        singular_values=np.sqrt(squares.mean(axis=0)),
        right=first.right[:, :k],
        left=first.left,
        eigenvalue_covariance=of_inputs + of_draws,
        numerical_error=first.numerical_error[:k],
        total_association=float(np.mean([s.total_association for s in spectra])),
        method=f"{first.method}, mean of {len(spectra)} reference draws",
    )


def sampled_association(
    context_weights: FloatArray, evidence: ConditionalRows, X: RowsOfX, seed: int
) -> tuple[Sampled, Sampled]:
    """Take kernel deviation and Lipschitz constant among a sample of rows.

    Parameters
    ----------
    context_weights : ndarray of shape (m,)
        P_A over all rows.
    evidence : ConditionalRows
        Of a context over references.
    X : array of shape (n, D)
    seed : int
        Seed of the sample.
    """
    weights = evidence.input_weights
    positions = sample_positions(weights, seed)
    points = read_rows(X, positions)
    rows = rows_at(evidence, positions, points)
    kept = np.flatnonzero(context_weights > 0)
    equal = np.full(len(positions), 1 / len(positions))
    sampled = ExpectationOperator((rows[:, kept],), equal, context_weights[kept])
    deviation = kernel_deviation(sampled, max_rows=len(positions), seed=seed)
    kernel = np.abs(sampled.kernel(np.arange(len(positions))) - 1.0)
    # Both x and x' are from the sample: twice the variance of the row means, to first order.
    error = float(2.0 * kernel.mean(axis=1).std(ddof=1) / np.sqrt(len(positions)))
    known = len(positions) == len(weights)
    deviation = replace(deviation, standard_error=0.0 if known else error)
    return deviation, lipschitz_constant(sampled, points, max_rows=len(positions), seed=seed)


def _score_target(
    draws: Sequence[Draw], spectra: Sequence[Spectrum], number: int, rows: int
) -> TargetScore:
    task = draws[0].tasks[number]

    def over_draws(function: int | None) -> Compatibility:
        return _mean_compatibility(
            [_of_draw(draw, s, number, function) for draw, s in zip(draws, spectra, strict=True)]
        )

    classes = range(len(task.target.levels)) if task.target.kind == "class" else ()
    return TargetScore(
        target=task.target,
        pooled=over_draws(None),
        classes=tuple(over_draws(level) for level in classes),
        observed=task.observed,
        rows=rows,
    )


def _of_draw(draw: Draw, spectrum: Spectrum, number: int, function: int | None) -> Compatibility:
    kept = draw.total.context_weights > 0
    parts = [replace(part, cross=part.cross[kept]) for part in draw.tasks[number].parts]
    return compatibility_of_moments(parts, draw.masses, draw.marginals[:, kept], spectrum, function)


def _mean_compatibility(found: Sequence[Compatibility]) -> Compatibility:
    if len(found) == 1:
        return found[0]
    of_inputs = float(np.mean([each.standard_error for each in found]))
    mean = combine_draws([each.value for each in found], of_inputs)
    return Compatibility(float(mean.value), float(mean.standard_error), found[0].energy)
