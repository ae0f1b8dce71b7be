"""A polynomial filter that lifts the wanted end of a spectrum, and where it has to cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contexture.estimators.crew import ALONE, Crew, panels_of
from contexture.estimators.sparse_kernels import combine
from contexture.inputs import FloatArray, Floats

Apply = Callable[[Floats], Floats]
"""X ↦ G X for a block of columns."""

LIMITS = {np.dtype(np.float32): (1e4, 2e5), np.dtype(np.float64): (1e6, 1e13)}
"""How many times larger the filter may be at the top than at the least wanted value, and how large
it may be at λ = 1. Found by trial.

Rounding of what is lifted most hides what is lifted least, the less so in float64. What rounding
lets in of the trivial functions is taken off after every product, but is lifted by one of them.
"""

MOST_DEGREE = 10


@dataclass(frozen=True)
class Filter:
    """f(λ) = T_d((2λ − c) / c): within ±1 on [0, c], steeply growing above.

    Degree 1 stands for f(λ) = λ, for which no cut is needed.
    """

    cut: float
    degree: int

    @classmethod
    def choose(cls, cut: float, least: float, top: float, dtype: npt.DTypeLike) -> Filter:
        """Take the largest degree that `LIMITS` allows.

        Parameters
        ----------
        cut, least, top : float
            Where to cut; the least wanted eigenvalue and the largest, as far as they are known.
        dtype : float32 or float64
        """
        ratio, most = LIMITS[np.dtype(dtype)]
        if not 0 < cut < top:
            return cls(max(cut, 0.0), 1)

        def bearable(f: Filter) -> bool:
            return bool(f.at(top) <= ratio * f.at(least) and f.at(1.0) <= most)

        with np.errstate(over="ignore"):  # above a cut of almost 0 the filter has no bound
            degrees = [d for d in range(2, MOST_DEGREE + 1) if bearable(cls(cut, d))]
        return cls(cut, max(degrees, default=1))

    def at(self, value: npt.ArrayLike) -> FloatArray:
        """f(λ) for λ at or above the cut (below it: as if at the cut, but for degree 1)."""
        x = np.asarray(value, dtype=np.float64)
        if self.degree == 1:
            return x
        t = np.maximum(2.0 * x / self.cut - 1.0, 1.0)
        return np.asarray(np.cosh(self.degree * np.arccosh(t)))

    def anywhere(self, value: npt.ArrayLike) -> FloatArray:
        """f(λ) for any λ from 0 on."""
        x = np.asarray(value, dtype=np.float64)
        if self.degree == 1:
            return x
        t = np.clip(2.0 * x / self.cut - 1.0, -1.0, 1.0)
        return np.where(x < self.cut, np.cos(self.degree * np.arccos(t)), self.at(x))

    def back(self, image: npt.ArrayLike) -> FloatArray:
        """λ at or above the cut with f(λ) = ``image``."""
        y = np.asarray(image, dtype=np.float64)
        if self.degree == 1:
            return y
        t = np.cosh(np.arccosh(np.maximum(y, 1.0)) / self.degree)
        return np.asarray((t + 1.0) * self.cut / 2.0)

    def apply(self, gram: Apply, X: Floats, crew: Crew = ALONE) -> Floats:
        """f(G) X by the recurrence of the Chebyshev polynomials; X stays as it is."""
        Y = gram(X)
        if self.degree == 1:
            return Y
        scale = 2.0 / self.cut
        _combine(Y, X, X, (scale, 1.0, 0.0), crew)
        before = X
        for _ in range(2, self.degree + 1):
            Z = gram(Y)
            _combine(Z, Y, before, (2 * scale, 2.0, 1.0), crew)
            if before is not X:
                crew.give(before)
            before, Y = Y, Z
        if before is not X:
            crew.give(before)
        return Y


def _combine(
    Z: Floats, Y: Floats, X: Floats, factors: tuple[float, float, float], crew: Crew
) -> None:
    """Z ← a Z − b Y − c X without a temporary."""
    a, b, c = (Z.dtype.type(f) for f in factors)
    crew.do(lambda rows: combine(Z[rows], Y[rows], X[rows], a, b, c), panels_of(len(Z)), Z.size)
