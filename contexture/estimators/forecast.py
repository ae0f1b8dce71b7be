"""How many columns a filtered block Lanczos run is going to need, from a small model of it.

A Krylov space knows of an operator its eigenvalues and how much of each is in the start, nothing
else. So an operator with an eighth of the eigenvalues, spread alike, and a block of an eighth of
the columns converges in as many steps. Its spectrum has some hundred values for some hundred wanted
ones: the run is foreseen in milliseconds, within some hundredths where the values are spread evenly
enough for a density.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from contexture.estimators.chebyshev import Filter
from contexture.estimators.convergence import promised_error
from contexture.estimators.density import Density
from contexture.estimators.sizes import BLOCK, columns_kept
from contexture.inputs import FloatArray

SCALE = 8
"""Eigenvalues of the operator for one of the model. A block has to have some columns left: with one
only, small ranks are foreseen a quarter too low.
"""

_SINGLY, _OTHERS = 2, 4
"""The model has the top of the spectrum value by value, to this many times the values that are
kept; for the others, which the filter presses to within ±1, this many times as many in all.
"""

_CYCLES = 4


@dataclass(frozen=True)
class Forecast:
    """When the values are going to be known.

    Attributes
    ----------
    cycle : int
        After so many times that the basis was full and cut down.
    columns : int
        In the basis then.
    """

    cycle: int
    columns: int


def forecast(
    density: Density, dimension: int, filter: Filter, count: int, kept: int, limit: int, goal: float
) -> Forecast:
    """Run the solver on the model.

    Parameters
    ----------
    density : Density
    dimension : int
        Of the space in which the solver works.
    filter : Filter
    count, kept : int
        Values wanted, and Ritz vectors that are kept for them.
    limit : int
        Columns of the basis.
    goal : float
        Error of the values of G at which the solver is content.
    """
    model = _Model(density, dimension, filter, count, kept, limit, goal)
    for cycle in range(_CYCLES):
        ends = model.fill()
        if model.exhausted or model.known_at(ends[-1]):
            first = bisect_left(ends, True, key=model.known_at)
            return Forecast(cycle, min(ends[min(first, len(ends) - 1)] * SCALE, limit))
        model.cut_down()
    return Forecast(_CYCLES, limit)


class _Model:
    """A run on a diagonal matrix.

    Q is the basis, T the projection of the filtered values on it, both with one block more: that
    which comes next.
    """

    def __init__(
        self,
        density: Density,
        dimension: int,
        filter: Filter,
        count: int,
        kept: int,
        limit: int,
        goal: float,
    ) -> None:
        self.filter, self.goal, self.block = filter, goal, BLOCK // SCALE
        self.count = max(1, round(count / SCALE))
        self.kept = max(self.count + 1, round(kept / SCALE))
        self.limit = max(limit // SCALE, self.kept + self.block)
        n = max(dimension // SCALE, self.kept, 2 * self.block)
        singly = min(n, _SINGLY * self.kept)
        others = min(n - singly, _OTHERS * singly)
        each = (n - singly) / max(others, 1)
        places = np.concatenate([np.arange(singly), singly + each * np.arange(others)]) + 0.5
        mass = np.repeat([1.0, each], [singly, others])
        self.images = filter.anywhere(density.quantile(places * SCALE))[:, None]
        start = np.random.default_rng(0).standard_normal((len(mass), self.block))
        self.Q = np.zeros((len(mass), self.limit + self.block))
        self.T = np.zeros((self.Q.shape[1],) * 2)
        self.Q[:, : self.block] = np.linalg.qr(start * np.sqrt(mass)[:, None])[0]
        self.used = 0

    @property
    def exhausted(self) -> bool:
        """Whether the model has no room for another block beside the one that comes next."""
        return self.used + 2 * self.block > len(self.Q)

    def fill(self) -> list[int]:
        """Add blocks until the basis is full; give the columns after each with enough for all."""
        ends: list[int] = []
        b = self.block
        while not ends or (self.used + b <= self.limit and not self.exhausted):
            a, used = self.used, self.used + b
            Y, Q = self.images * self.Q[:, a:used], self.Q[:, :used]
            C = np.zeros((used, b))
            for _ in range(2):
                part = Q.T @ Y
                Y -= Q @ part
                C += part
            self.T[:used, a:used], self.T[a:used, :used] = C, C.T
            self.Q[:, used : used + b], self.T[used : used + b, a:used] = np.linalg.qr(Y)
            self.used = used
            if used >= self.kept:
                ends.append(used)
        return ends

    def ritz(self, used: int) -> tuple[FloatArray, FloatArray]:
        """Ritz values of the first columns, descending, and their coordinates."""
        values, Y = linalg.eigh(self.T[:used, :used], check_finite=False, driver="evd")
        return values[::-1], Y[:, ::-1]

    def known_at(self, used: int) -> bool:
        """Whether the values are known with the first columns."""
        values, Y = self.ritz(used)
        E = self.T[used : used + self.block, :used] @ Y[:, : self.kept]
        return promised_error(self.filter, values[: self.kept], E, self.count) <= self.goal

    def cut_down(self) -> None:
        """Keep the best Ritz vectors, and the block that comes next."""
        kept, b, used = columns_kept(self.kept, self.limit, self.block), self.block, self.used
        values, Y = self.ritz(used)
        self.Q[:, :kept] = self.Q[:, :used] @ Y[:, :kept]
        self.Q[:, kept : kept + b] = self.Q[:, used : used + b].copy()
        self.T[:] = 0.0
        self.T[:kept, :kept] = np.diag(values[:kept])
        self.used = kept
