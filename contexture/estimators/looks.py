"""When it is worth to look whether the values are known.

A look costs a dense eigenproblem: as much as a block or two where vectors are short, and next to
nothing where they are long.
"""

from __future__ import annotations

import numpy as np

from contexture.estimators.forecast import Forecast
from contexture.estimators.sizes import BLOCK

_SHARE = 1.75
"""Columns for one of the wanted values, at which to look first where nothing was foreseen."""

_EARLY, _LARGE_SIDE = 0.9, 50_000
"""From this length of the vectors on, the first look comes so much before it is foreseen."""

_LATE = 1.25
"""A forecast is late if it is so many times what would be taken without one."""

_ONE_STEP = 300
"""Error, as a multiple of the wanted one, that a block more takes off near the end. By trial."""


class Looks:
    """When to look next.

    Parameters
    ----------
    count, kept : int
        Values wanted, and Ritz vectors that are kept for them.
    side : int
        Length of the vectors.
    limit : int
        Columns of the basis.
    foreseen : Forecast or None
    """

    def __init__(
        self, count: int, kept: int, side: int, limit: int, foreseen: Forecast | None
    ) -> None:
        self._count, self._kept, self._limit, self._foreseen = count, kept, limit, foreseen
        self._early = _EARLY if side > _LARGE_SIDE else 1.0
        self._cycle, self._at, self._foreseen_at = -1, 0, 0
        self._seen: list[tuple[int, float]] = []

    def forget(self) -> None:
        """Take what was foreseen for past: the run has taken another course."""
        self._foreseen = None

    def begin(self, used: int) -> None:
        """Begin to fill a basis that has so many columns."""
        self._cycle, self._seen, self._foreseen_at = self._cycle + 1, [], 0
        first, foreseen = max(int(_SHARE * self._count), self._kept + 2 * BLOCK), self._foreseen
        if foreseen is not None:
            if self._cycle < foreseen.cycle:
                self._foreseen_at = self._limit + 1  # not before it is full
            elif self._cycle == foreseen.cycle:
                self._foreseen_at = int(self._early * foreseen.columns)
            # One look before, where it is late: what repeats many times has no density.
            if self._foreseen_at <= _LATE * first:
                first = self._foreseen_at
        self._at = min(max(first, used + 2 * BLOCK), self._limit - BLOCK)

    def due(self, used: int) -> bool:
        """Whether to look with so many columns."""
        return used >= max(self._kept, self._at)

    def missed(self, used: int, error: float, goal: float) -> None:
        """Say what was seen, where it was not good enough."""
        self._seen.append((used, error))
        self._at = min(next_look(self._seen, goal, BLOCK), self._limit - BLOCK)
        self._at, self._foreseen_at = max(self._at, self._foreseen_at), 0


def next_look(seen: list[tuple[int, float]], goal: float, step: int) -> int:
    """Columns at which the error may have come down, from how it came down so far."""
    if len(seen) < 2 or not np.isfinite(seen[-1][1] * seen[-2][1]):
        return seen[-1][0] + (step if seen[-1][1] < _ONE_STEP * goal else 2 * step)
    (j, e), (last, error) = seen[-2:]
    rate = np.log(e / error) / (last - j) if e > error else 0.0
    ahead = np.log(error / goal) / rate if rate > 0 else 8 * step
    return last + int(min(0.7 * ahead, 3 * step))
