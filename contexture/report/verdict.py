"""The one sentence that a reader takes away, and what stands beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from contexture.report.content import Curve
from contexture.report.numbers import fixed, with_error


@dataclass(frozen=True)
class Verdict:
    """Which context is recommended, and why.

    Attributes
    ----------
    recommended : str
        Name of the context; empty if all abstain.
    reason : str
        How the sentence goes on after the name; the whole sentence if all abstain.
    doubt : str
        Contexts that cannot be told from it, in a sentence; empty if there are none.
    """

    recommended: str
    reason: str
    doubt: str


def judge(curves: Sequence[Curve]) -> Verdict:
    """Recommend the context with the lowest τ among those whose τ says something.

    Parameters
    ----------
    curves : sequence of Curve
        In ranking order, at least one.
    """
    speaking = [curve for curve in curves if not curve.abstention]
    if not speaking:
        return Verdict("", _nothing(curves), "")
    best = speaking[0]
    error = float(best.scores["usefulness_standard_error"])
    dimensions = "1 dimension" if best.best_rank == 1 else f"{best.best_rank} dimensions"
    score = f"τ = {with_error(best.value, error)}, reached with {dimensions}"
    association = f"; its association is {best.scores['association']}."
    if len(curves) == 1:
        reason = f"is the only context of this audit, so τ has nothing to compare it with: {score}"
    elif len(speaking) == 1:
        reason = (
            f"is recommended: of {len(curves)} contexts it is the only one on which the "
            f"usefulness score does not abstain, {score}"
        )
    else:
        reason = (
            f"is recommended: of {len(speaking)} contexts that can be judged, it has the lowest "
            f"usefulness score, {score}"
        )
    return Verdict(best.name, reason + association, _doubt(best, speaking[1:]))


def _nothing(curves: Sequence[Curve]) -> str:
    count = Counter(curve.abstention for curve in curves)
    weak, strong = count["too weak"], count["too strong"]
    if len(curves) == 1:
        why = "too weak" if weak else "too strong"
        head = f"No context can be recommended: the only one, {curves[0].name}, is {why}."
    elif weak and strong:
        head = (
            f"No context can be recommended: the usefulness score abstains on all {len(curves)}, "
            f"{weak} being too weak and {strong} too strong."
        )
    else:
        why = "too weak" if weak else "too strong"
        head = (
            f"No context can be recommended: the usefulness score abstains on all {len(curves)}, "
            f"each being {why}."
        )
    if weak and strong:
        return f"{head} Try settings between them."
    if weak:
        return f"{head} Try stronger ones: fewer neighbours, a larger γ, milder transformations."
    return f"{head} Try weaker ones: more neighbours, a smaller γ, harsher transformations."


def _doubt(best: Curve, others: Sequence[Curve]) -> str:
    near = [
        other
        for other in others
        if other.value - best.value <= 2 * math.hypot(_error(best), _error(other))
    ]
    if not near:
        return ""
    named = [f"{other.name} (τ = {fixed(other.value)})" for other in near[:3]]
    if len(near) > 3:
        named.append(f"{len(near) - 3} more")
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    drawn = any(curve.reference_error for curve in (best, *near))
    added = ", with the expected error of drawn reference rows," if drawn else ","
    return f"Within two standard errors of it{added} and so not to be told apart: {listed}."


def _error(curve: Curve) -> float:
    """Error of τ as a score of the context over all rows."""
    # Inputs and references are drawn apart, so their errors add in squares. That is rather too
    # much: over several draws the first holds the spread of the references already, and contexts
    # over the same references err alike. A real difference that is doubted does less harm than a
    # false one that is believed.
    error = float(curve.scores["usefulness_standard_error"])
    return math.hypot(error if math.isfinite(error) else 0.0, curve.reference_error)
