"""All scores of one context on one corpus: what a run keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contexture.corpus import Target
from contexture.inputs import RowsOfX
from contexture.operator import ExpectationOperator
from contexture.order import Order
from contexture.scores.association import (
    Association,
    Sampled,
    kernel_deviation,
    lipschitz_constant,
    verdict,
)
from contexture.scores.compatibility import compatibility, compatibility_of_classes
from contexture.scores.decay import decay_rate
from contexture.scores.panels import Compatibility
from contexture.scores.usefulness import Usefulness, usefulness
from contexture.spectrum import Spectrum


@dataclass(frozen=True)
class TargetScore:
    """Compatibility of a target column with a context.

    Attributes
    ----------
    target : Target
    pooled : Compatibility
        Of the number, or of all classes together.
    classes : tuple of Compatibility
        One-vs-rest, in the order of the target's levels; empty for numbers.
    observed : int
        Rows at which the target is not missing.
    rows : int
        All rows.
    """

    target: Target
    pooled: Compatibility
    classes: tuple[Compatibility, ...]
    observed: int
    rows: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of one context (theory.md §4 and §5).

    Attributes
    ----------
    spectrum : Spectrum
    usefulness : Usefulness
    decay_rate : float
    association : {"weak", "moderate", "strong"}
    kernel_deviation, lipschitz : Sampled
    targets : tuple of TargetScore
    draws : int
        Independent draws of the references over which the values are means.
    """

    spectrum: Spectrum
    usefulness: Usefulness
    decay_rate: float
    association: Association
    kernel_deviation: Sampled
    lipschitz: Sampled
    targets: tuple[TargetScore, ...]
    draws: int = 1


def evaluate(
    operator: ExpectationOperator,
    spectrum: Spectrum,
    X: RowsOfX,
    targets: Sequence[Target] = (),
    max_rank: int = 512,
    beta: float = 1.0,
    rank_kept: int = 128,
    seed: int = 0,
    sampled: tuple[Sampled, Sampled] | None = None,
    order: Order | None = None,
) -> Evaluation:
    """Compute every score of a context.

    Parameters
    ----------
    operator : ExpectationOperator
        On n inputs.
    spectrum : Spectrum
        Of that operator, with at least ``max_rank`` values if they exist.
    X : array of shape (n, D)
        The inputs, for the Lipschitz constant; in the order of the corpus, as ``targets`` are.
    targets : sequence of Target
        Tasks.
    max_rank, beta
        As in `contexture.scores.usefulness`.
    rank_kept : int
        Functions kept, and components over which the energies of targets are given.
    seed : int
        Seed of the samples that some scores are taken on.
    sampled : (Sampled, Sampled), optional
        Kernel deviation and Lipschitz constant, where they are known already.
    order : Order, optional
        That of the operator and its spectrum, if it is not the corpus's; the spectrum that is
        given back has the corpus's.
    """
    places = None if order is None else order.places
    useful = usefulness(spectrum, max_rank, beta)
    rate = decay_rate(spectrum, max_rank)
    kept = spectrum.truncated(rank_kept)
    if sampled is None:
        deviation = kernel_deviation(operator, seed=seed, places=places)
        sampled = deviation, lipschitz_constant(operator, X, seed=seed, places=places)
    scores = []
    for target in targets:
        values = target.values if order is None else target.values[order.rows]
        score = _score_target(operator, kept, replace(target, values=values))
        scores.append(replace(score, target=target))
    return Evaluation(
        spectrum=kept if order is None else order.restored(kept),
        usefulness=useful,
        decay_rate=rate,
        association=verdict(rate, useful.max_rank, useful.abstention),
        kernel_deviation=sampled[0],
        lipschitz=sampled[1],
        targets=tuple(scores),
    )


def _score_target(operator: ExpectationOperator, spectrum: Spectrum, target: Target) -> TargetScore:
    rows = len(target.values)
    if target.kind == "number":
        observed = int((target.values == target.values).sum())
        pooled = compatibility(operator, target.values, spectrum)
        return TargetScore(target, pooled, (), observed, rows)
    found = compatibility_of_classes(operator, target.values, len(target.levels), spectrum)
    observed = int((target.values >= 0).sum())
    return TargetScore(target, found.pooled, found.each, observed, rows)
