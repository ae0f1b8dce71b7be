"""Order contexts by usefulness, and say what the order cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

_ROUNDED = 0.1
"""Share by which a number of neighbours may miss the fraction that was asked for, unsaid."""


def rank(scores: pd.DataFrame) -> pd.DataFrame:
    """Sort contexts by τ, lowest first; those whose τ abstains come last.

    Parameters
    ----------
    scores : DataFrame
        With columns ``usefulness`` and ``abstains``.

    Returns
    -------
    DataFrame
        The same rows, numbered anew.
    """
    return scores.sort_values(["abstains", "usefulness"], kind="stable", ignore_index=True)


def ranking_caveats(scores: pd.DataFrame, abstentions: Mapping[str, str]) -> list[str]:
    """Sentences that belong beside a ranking.

    Parameters
    ----------
    scores : DataFrame
        As `rank` returns it, with ``context``, ``family`` and ``components``.
    abstentions : mapping
        Context to "", "too weak" or "too strong".

    Returns
    -------
    list of str
    """
    notes = []
    families = list(dict.fromkeys(scores["family"]))
    if len(families) > 1:
        notes.append(
            f"The ranking mixes {len(families)} families ({', '.join(families)}); τ compares "
            "contexts within a family better than across families."
        )
    for why, meaning in (
        ("too weak", "the association is so weak that τ says nothing"),
        ("too strong", "the association is so strong that τ says nothing"),
    ):
        names = [name for name in scores["context"] if abstentions[name] == why]
        if names:
            notes.append(f"τ abstains on {', '.join(names)}: {meaning}; they are listed last.")
    split = scores[scores["components"] > 1]
    if len(split):
        pairs = zip(split["context"], split["components"], strict=True)
        named = ", ".join(f"{name} ({parts})" for name, parts in pairs)
        notes.append(
            "Some contexts fall into parts that they never leave (s = 1), such as clusters or "
            f"isolated rows: {named}."
        )
    if any(family.endswith("knn") for family in families):
        notes.append(
            "The association of a KNN context is set by K/n: τ at a fixed K is not comparable "
            "between corpora of different size."
        )
    return notes


def context_caveats(contexts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what the values and the errors of each context hold, and what they leave out.

    Parameters
    ----------
    contexts : mapping
        Name to ``reference_draws``, ``reference_error``, ``details`` and others, as kept with the
        results; what is absent counts as usual.

    Returns
    -------
    list of str
    """
    notes = []
    draws = {name: int(each.get("reference_draws", 1)) for name, each in contexts.items()}
    several = [name for name in contexts if draws[name] > 1]
    if several:
        named = ", ".join(f"{name} ({draws[name]})" for name in several)
        notes.append(
            f"Values are means over independent draws of the reference rows: {named}. Standard "
            "errors hold what another draw would change; they do not hold the bias of a finite "
            "reference set, which a larger 'reference' lowers."
        )
    expected = [f"{error:.1g} ({name})" for name, error in _reference_errors(contexts).items()]
    if expected:
        notes.append(
            "By the experience of other corpora, τ over drawn reference rows differs from τ over "
            f"all rows by about {', '.join(expected)}, and up to 2.5 times as much."
        )
    fixed = [name for name in contexts if draws[name] == 1]
    if fixed:
        subject = "Standard errors are" if not several else f"{', '.join(fixed)}: errors are"
        notes.append(
            f"{subject} over inputs, with the context values held fixed; they do not include the "
            "choice of reference rows or masks."
        )
    for name, each in contexts.items():
        reached, wanted = each.get("largest_numerical_error", 0.0), each.get("tolerance", 1.0)
        if reached > wanted:
            notes.append(
                f"{name}: the solver knows the s_i² to {reached:.0e} only, and {wanted:.0e} was "
                "asked for; see numerical_error."
            )
        details = each.get("details") or {}
        description = each.get("description") or {}
        asked = description.get("fraction")
        if asked and abs(details.get("fraction", asked) / asked - 1) > _ROUNDED:
            drawn = isinstance(description.get("reference"), int)
            notes.append(
                f"{name}: K = {details['k']} is a fraction of {details['fraction']:.2g} of the "
                f"references, where {asked:g} was asked for"
                f"{'; a larger reference is nearer' if drawn else ''}."
            )
        if "recall" in details:
            notes.append(
                f"{name}: neighbours were found approximately, {details['recall']:.2%} ± "
                f"{details['recall_standard_error']:.2%} of the exact ones on "
                f"{details['recall_sample']} rows; those found are "
                f"{details['distance_ratio_mean'] - 1:.3%} farther on average, and "
                f"{details['distance_ratio_max'] - 1:.1%} at most."
            )
    return notes


def _reference_errors(contexts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {
        name: float(each["reference_error"])
        for name, each in contexts.items()
        if each.get("reference_error") is not None
    }
