"""All scores of a context from its moments and a sample of its rows: nothing of size n × m."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.contexts.base import ConditionalRows
from contexture.corpus import Target
from contexture.estimators.draws import combine_draws
from contexture.estimators.streamed import moment_spectrum
from contexture.evaluation import Evaluation, TargetScore
from contexture.inputs import FloatArray, RowsOfX
from contexture.moments import Moments
from contexture.scores.association import verdict
from contexture.scores.decay import decay_rate
from contexture.scores.panels import Compatibility
from contexture.scores.sampled import sampled_association
from contexture.scores.streamed import compatibility_of_moments
from contexture.scores.usefulness import Usefulness, usefulness
from contexture.spectrum import Spectrum
from contexture.task_moments import TaskMoments


@dataclass(frozen=True)
class Task:
    """A target and its moments.

    Attributes
    ----------
    target : Target
        Its values are not looked at.
    parts : sequence of TaskMoments
        One for each half of a block of rows, as those of the context; they may be read when they
        are asked for.
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
    halves : callable
        Gives the moments of the two halves of the first block of rows, of those of the next, and
        so on.
    masses : ndarray of shape (G,)
        Σ p of each half.
    marginals : ndarray of shape (G, m)
        Σ p P(·|x) of each half.
    context_values : ndarray of shape (m,)
        Names of the references.
    tasks : sequence of Task
    """

    total: Moments
    halves: Callable[[], Iterable[Moments]]
    masses: FloatArray
    marginals: FloatArray
    context_values: npt.NDArray[Any]
    tasks: Sequence[Task]


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

    The s_i² and the scores of targets are means over the draws, τ, d* and λ those of the mean
    spectrum. The functions, and the scores that are taken on a sample of rows, are those of the
    first draw.

    Over several draws the standard errors hold what another sample of inputs and other draws would
    change. Those of τ and d* are of the numbers reported: over draws by the jackknife that leaves
    one draw out of the mean spectrum, over inputs by the bootstrap of `usefulness` around the mean
    spectrum, with the mean covariance of the draws (inputs move all draws alike).

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
        moment_spectrum(d.total, max_rank, d.halves(), d.context_values, weights) for d in draws
    ]
    spectra = [each.truncated(rank_kept) for each in spectra]
    spectrum = _mean_spectrum(spectra)
    rate = decay_rate(spectrum, max_rank)
    of_inputs = _covariance_over_inputs(spectra)
    useful = usefulness(replace(spectrum, eigenvalue_covariance=of_inputs), max_rank, beta)
    if len(draws) > 1:
        pseudo = _pseudo_values(spectra, useful, max_rank, beta)
        errors = combine_draws(
            pseudo, [useful.standard_error, useful.best_rank_standard_error]
        ).standard_error
        useful = replace(
            useful,
            standard_error=float(errors[0]),
            best_rank_standard_error=float(errors[1]),
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


def _pseudo_values(
    spectra: Sequence[Spectrum], whole: Usefulness, max_rank: int, beta: float
) -> FloatArray:
    """R τ − (R − 1) τ₋ᵣ of the mean spectrum without each draw, and the same of d*; shape (R, 2).

    Their spread is the jackknife's of τ and d* over draws. That of the τ and d* of single draws
    would be of other numbers: τ is a minimum, and its mean is not that of the mean spectrum.
    """
    k, R = min(s.rank for s in spectra), len(spectra)
    squares = np.stack([s.eigenvalues[:k] for s in spectra])
    without = (squares.sum(axis=0) - squares) / (R - 1)
    without = np.sort(without, axis=1)[:, ::-1]  # rounding may have swapped equal ones
    roots = np.sqrt(np.clip(without, 0.0, 1.0))
    left_out = [usefulness(each, max_rank, beta) for each in roots]
    reported = np.asarray([whole.value, float(whole.best_rank)])
    others = np.asarray([[u.value, u.best_rank] for u in left_out])
    return np.asarray(R * reported - (R - 1) * others)


def _covariance_over_inputs(spectra: Sequence[Spectrum]) -> FloatArray:
    """Covariance of the mean s_i² over inputs: they are the same for all draws."""
    k = min(spectrum.rank for spectrum in spectra)
    return np.asarray(np.mean([s.eigenvalue_covariance[:k, :k] for s in spectra], axis=0))


def _mean_spectrum(spectra: Sequence[Spectrum]) -> Spectrum:
    """Return the first spectrum with the mean s_i² of all, and the covariance of that mean.

    Its functions are the first draw's, and so are the singular values that go with them.
    """
    if len(spectra) == 1:
        return spectra[0]
    k = min(spectrum.rank for spectrum in spectra)
    squares = np.stack([spectrum.eigenvalues[:k] for spectrum in spectra])
    centred = squares - squares.mean(axis=0)
    of_draws = centred.T @ centred / (len(spectra) - 1) / len(spectra)
    first = spectra[0]
    return replace(
        first,
        singular_values=np.sqrt(squares.mean(axis=0)),
        right=first.right[:, :k],
        function_values=first.singular_values[: min(k, first.right.shape[1])],
        eigenvalue_covariance=_covariance_over_inputs(spectra) + of_draws,
        numerical_error=first.numerical_error[:k],
        total_association=float(np.mean([s.total_association for s in spectra])),
        method=f"{first.method}, mean of {len(spectra)} reference draws",
    )


def _score_target(
    draws: Sequence[Draw], spectra: Sequence[Spectrum], number: int, rows: int
) -> TargetScore:
    task = draws[0].tasks[number]
    found = [
        compatibility_of_moments(draw.tasks[number].parts, draw.masses, draw.marginals, spectrum)
        for draw, spectrum in zip(draws, spectra, strict=True)
    ]
    classes = zip(*(each.each for each in found), strict=True)
    return TargetScore(
        target=task.target,
        pooled=_mean_compatibility([each.pooled for each in found]),
        classes=tuple(map(_mean_compatibility, classes)) if task.target.kind == "class" else (),
        observed=task.observed,
        rows=rows,
    )


def _mean_compatibility(found: Sequence[Compatibility]) -> Compatibility:
    if len(found) == 1:
        return found[0]
    of_inputs = float(np.mean([each.standard_error for each in found]))
    mean = combine_draws([each.value for each in found], of_inputs)
    return Compatibility(float(mean.value), float(mean.standard_error), found[0].energy)
