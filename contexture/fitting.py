"""Fitting: the encodings of a corpus's feature columns.

Up to rounding, what is fitted does not depend on how the corpus is cut into partitions: medians
and levels are exact, and moments are taken about a centre, so that summation order is harmless.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from dask_ml.preprocessing import StandardScaler

from contexture.corpus import Corpus
from contexture.encodings import Encoding, OneHot, Scaled, encode_partitions
from contexture.errors import CorpusError
from contexture.summaries import LEVELS_COUNTED, Summary, summarise
from contexture.values import level_text, numbers

ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""A spread below this, relative to the largest value, is rounding noise."""


def fit_encodings(corpus: Corpus, max_levels: int) -> dict[str, Encoding]:
    """Fit the feature columns that vary; those that are constant are left out.

    Parameters
    ----------
    corpus : Corpus
        Its feature columns are used; targets, ids and weights never are.
    max_levels : int
        Levels that a category may have, at most.

    Returns
    -------
    dict of str to Scaled or OneHot
        By column, in no particular order.

    Raises
    ------
    CorpusError
        If a category has more levels, or a number is too large to be scaled.
    """
    summaries = summarise(corpus)
    hot = {n: s for n, s in summaries.items() if corpus.columns[n] == "category"}
    rest = {n: s for n, s in summaries.items() if n not in hot}
    return _fit_one_hot(corpus, hot, max_levels) | _fit_scaled(corpus, rest)


def _fit_one_hot(
    corpus: Corpus, summaries: dict[str, Summary], max_levels: int
) -> dict[str, Encoding]:
    fitted: dict[str, Encoding] = {}
    for name, found in summaries.items():
        levels, missing = found.levels, found.missing > 0
        if len(levels) + missing > max_levels:
            count = "more than " * (len(levels) > LEVELS_COUNTED)
            raise CorpusError(
                f"column {name!r} has {count}{min(len(levels), LEVELS_COUNTED)} levels, and "
                f"max_levels is {max_levels}; exclude it, make it the id, or raise max_levels"
            )
        if len(levels) + missing > 1:
            texts = tuple(map(level_text, sorted(levels)))
            fitted[name] = OneHot(name, texts, missing, corpus.dtypes[name] != "str")
    return fitted


def _fit_scaled(corpus: Corpus, summaries: dict[str, Summary]) -> dict[str, Encoding]:
    """Fit the columns that vary, by dask-ml's scaler on columns that are centred already."""
    rough: list[Scaled] = []
    for name, found in summaries.items():
        if not found.low < found.high:
            continue
        if max(abs(found.low), abs(found.high)) > np.finfo(np.float64).max / (4 * found.rows):
            # The sum might overflow in one partitioning and not in another.
            raise CorpusError(
                f"column {name!r} reaches from {found.low} to {found.high}, which is too far to "
                "be scaled in floating point; rescale or exclude it"
            )
        fill = found.total / (found.rows - found.missing)
        centre = fill
        if found.missing:
            # Dask's quantiles are approximate and depend on the partitions.
            fill = float(np.nanmedian(numbers(corpus.frame()[name].compute())))
            centre += (fill - centre) * (found.missing / found.rows)
        spread = max(found.high - centre, centre - found.low)
        # To the unit interval by a power of two, which is exact: squares can neither overflow
        # nor vanish.
        kind: Any = corpus.columns[name]
        rough.append(
            Scaled(name, kind, fill, centre, 0.0, float(np.exp2(np.ceil(np.log2(spread)))))
        )
    if not rough:
        return {}
    scaler = StandardScaler().fit(encode_partitions(corpus.partitions, rough, by_columns=True))
    fitted: dict[str, Encoding] = {}
    for step, mean, variance in zip(rough, scaler.mean_, scaler.var_, strict=True):
        deviation = float(np.sqrt(variance)) * step.scale
        found = summaries[step.name]
        if deviation > ROUNDING * max(abs(found.low), abs(found.high)):
            fitted[step.name] = Scaled(
                step.name, step.kind, step.fill, step.centre, float(mean) * step.scale, deviation
            )
    return fitted
