"""How good neighbours are that were found approximately: compared with exact ones on a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.contexts.search import nearest
from contexture.inputs import FloatArray, IntArray

SAMPLE = 1000
"""Rows on which approximate neighbours are compared with exact ones."""

FARTHEST = 1.01
"""Mean ratio of distances above which neighbours are doubtful: 5 % far ones make more than it."""

LEAST_RECALL = 0.95
"""Recall below which neighbours are doubtful."""

_DIFFERENCES = 1 << 17
"""Differences of coordinates held at a time (1 MiB)."""


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of every row among all rows, and how good they are.

    Attributes
    ----------
    positions : ndarray of int32, shape (n, k)
        Nearest first.
    recall : float
        Share of the exact neighbours that were found, on a sample of rows; the own row is not
        counted.
    recall_standard_error : float
        Of that share, over rows.
    distance_ratio_mean, distance_ratio_max : float
        The root mean square distance of a row's neighbours over that of the exact ones: mean
        and largest over the sample. Recall alone does not tell near misses, which are harmless,
        from far ones, which connect what is apart.
    sample : int
        Rows in the sample.
    """

    positions: npt.NDArray[np.int32]
    recall: float
    recall_standard_error: float
    distance_ratio_mean: float
    distance_ratio_max: float
    sample: int

    @property
    def doubt(self) -> str:
        """What speaks against using these neighbours; empty if nothing does."""
        if self.distance_ratio_mean > FARTHEST or self.recall < LEAST_RECALL:
            return (
                f"of the exact neighbours {self.recall:.1%} were found, and those found are "
                f"{self.distance_ratio_mean:.3g} times as far as the exact ones: far neighbours "
                "weaken the association; set search to 'exact', or give the context a reference."
            )
        return ""

    @property
    def details(self) -> Mapping[str, float]:
        """The figures without the neighbours, as they are kept with an operator."""
        return {
            "recall": self.recall,
            "recall_standard_error": self.recall_standard_error,
            "distance_ratio_mean": self.distance_ratio_mean,
            "distance_ratio_max": self.distance_ratio_max,
            "recall_sample": self.sample,
        }


def compare(
    X: FloatArray,
    positions: npt.NDArray[np.integer[Any]],
    seed: int,
    include_self: bool,
    sample: int = SAMPLE,
    mask: int = 0,
) -> Neighbours:
    """Compare neighbours among all rows with the exact ones, on a sample of rows.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        All rows.
    positions : ndarray of int, shape (n, k)
        Neighbours of each row.
    seed : int
        Of the sample.
    include_self : bool
        Whether rows count as neighbours of their own; they are not counted here.
    sample : int
        Rows compared, at most n.
    mask : int
        Other masks look at other rows: what they say together is of as many rows.
    """
    n, k = positions.shape
    generator = np.random.default_rng([seed, 0xC0, mask] if mask else [seed, 0xC0])
    rows = generator.choice(n, min(n, sample), replace=False)
    exact = _pair_distances(X, rows, exactly(X, rows, k, include_self))
    found = _pair_distances(X, rows, positions[rows])
    others = 1 if include_self and k > 1 else 0
    exact, found = np.sort(exact)[:, others:], np.sort(found)[:, others:]
    # A neighbour as near as the last exact one is right, whichever of equals was taken.
    right = (found <= exact[:, -1:] * (1 + 1e-12)).mean(axis=1)
    first, second = exact.mean(axis=1), found.mean(axis=1)
    tiny = 1e-12 * float(second.max()) or 1.0  # coinciding rows are at distance 0
    ratio = np.sqrt((second + tiny) / (first + tiny))
    return Neighbours(
        positions.astype(np.int32, copy=False),
        float(right.mean()),
        float(right.std() / math.sqrt(len(rows))),
        float(ratio.mean()),
        float(ratio.max()),
        len(rows),
    )


def pooled(positions: npt.NDArray[np.int32], parts: Sequence[Neighbours]) -> Neighbours:
    """Pool what was found under several masks."""
    count = len(parts)
    errors = np.array([part.recall_standard_error for part in parts])
    return Neighbours(
        positions,
        float(np.mean([part.recall for part in parts])),
        float(np.sqrt((errors**2).sum()) / count),
        float(np.mean([part.distance_ratio_mean for part in parts])),
        max(part.distance_ratio_max for part in parts),
        sum(part.sample for part in parts),
    )


def exactly(X: FloatArray, rows: IntArray, k: int, include_self: bool) -> IntArray:
    """Find the exact neighbours of some rows among all."""
    return nearest(X[rows], X, k, rows, include_self)


def _pair_distances(
    X: FloatArray, rows: IntArray, positions: npt.NDArray[np.integer[Any]]
) -> FloatArray:
    squares = np.empty(positions.shape)
    step = max(1, _DIFFERENCES // (positions.shape[1] * X.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = X[rows[part]][:, None, :] - X[positions[part]]
        squares[part] = np.einsum("ijk,ijk->ij", difference, difference)
    return squares
