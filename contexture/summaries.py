"""Summaries: what one pass over the partitions finds in every column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.delayed import delayed

from contexture.corpus import Corpus
from contexture.partition import Partition
from contexture.values import numbers

LEVELS_COUNTED = 100_000
"""Beyond so many levels of one column, counting them stops."""


@dataclass(frozen=True)
class Summary:
    """One column over some rows.

    Parameters
    ----------
    rows, missing : int
        How many rows there are, and how many of them lack a value.
    low, high, total : float
        Extremes and sum of the values of a number or datetime column.
    levels : frozenset
        The values of a category; cut off beyond `LEVELS_COUNTED` where summaries are added.
    """

    rows: int
    missing: int
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    levels: frozenset[Any] = frozenset()

    def __add__(self, other: Summary) -> Summary:
        levels = self.levels | other.levels
        if len(levels) > LEVELS_COUNTED:
            levels = frozenset(list(levels)[: LEVELS_COUNTED + 1])
        return Summary(
            self.rows + other.rows,
            self.missing + other.missing,
            min(self.low, other.low),
            max(self.high, other.high),
            self.total + other.total,
            levels,
        )


def summarise(corpus: Corpus) -> dict[str, Summary]:
    """Summarise the feature columns of a corpus, partition by partition on the workers."""
    names = corpus.feature_columns
    hot = tuple(name for name in names if corpus.columns[name] == "category")
    return _fold([delayed(_of_partition)(p, names, hot) for p in corpus.partitions])


def _of_partition(
    partition: Partition, names: tuple[str, ...], hot: tuple[str, ...]
) -> dict[str, Summary]:
    frame, found = partition.load(names), {}
    for name in names:
        held = frame[name].dropna()
        missing = len(frame) - len(held)
        if name in hot:
            levels = frozenset(held.unique().tolist())
            found[name] = Summary(len(frame), missing, levels=levels)
        elif len(held) == 0:
            found[name] = Summary(len(frame), missing)
        else:
            values = numbers(held)
            with np.errstate(over="ignore"):
                total = float(values.sum())
            low, high = float(values.min()), float(values.max())
            found[name] = Summary(len(frame), missing, low, high, total)
    return found


def _add(parts: list[dict[str, Summary]]) -> dict[str, Summary]:
    total = parts[0]
    for part in parts[1:]:
        total = {name: total[name] + part[name] for name in total}
    return total


def _fold(parts: list[Any]) -> dict[str, Summary]:
    while len(parts) > 1:  # as a tree, so that no worker holds the levels of all partitions
        parts = [delayed(_add)(parts[i : i + 8]) for i in range(0, len(parts), 8)]
    result: dict[str, Summary] = parts[0].compute()
    return result
