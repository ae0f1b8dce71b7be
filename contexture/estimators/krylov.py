"""Top eigenpairs of G = MᵀM (or M Mᵀ) by filtered block Lanczos.

A block Krylov space of f(G), f a Chebyshev filter, is grown with full reorthogonalisation;
Rayleigh and Ritz on G itself end it. Where the basis is full before the values are known well
enough, it is cut down to the best Ritz vectors and grown anew (thick restart).

What is guaranteed of the values stands in `contexture.estimators.convergence`.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

from contexture.estimators.basis import Basis
from contexture.estimators.chebyshev import Filter
from contexture.estimators.convergence import Eigenpairs, bounds, promised_error
from contexture.estimators.deflation import Space, extend
from contexture.estimators.density import Density
from contexture.estimators.forecast import forecast
from contexture.estimators.looks import Looks
from contexture.estimators.rayleigh import find_missed, judge, polish, rayleigh_ritz
from contexture.estimators.sizes import BLOCK, CUT_SHARE, EXTRA, basis_columns, columns_kept
from contexture.estimators.sparse_kernels import column_dots
from contexture.inputs import FloatArray, Floats

logger = logging.getLogger(__name__)

MARGIN = 0.5
"""Residuals of f(G) must promise this share of the tolerance before those of G are computed."""

OFF = 0.1
"""Share of the tolerance by which vectors may miss being Ritz vectors of G: less than a residual,
which may be as large as the root of the tolerance.
"""

_CYCLES = 60


def top_eigenpairs(
    products: Callable[[Floats], Floats],
    space: Space,
    count: int,
    tolerance: float,
    dtype: npt.DTypeLike,
    *,
    memory: int | None = None,
    workspace: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Eigenpairs:
    """Find the largest eigenpairs of G on a space.

    Parameters
    ----------
    products : callable
        V ↦ G V.
    space : Space
        Where to look; it also draws the start vectors.
    count : int
        Eigenpairs wanted, at most ``space.dimension``.
    tolerance : float
        Wanted bound of the errors. Where rounding stands in the way, the bounds returned are
        larger.
    dtype : float32 or float64
        Of the vectors and products.
    memory : int, optional
        Bytes for the basis; no limit if left out.
    workspace : Path, optional
        Where the basis goes that does not fit; the folder for temporary files if left out.
    progress : callable, optional
        Called with (columns done, columns expected).
    """
    solver = _Solver(products, space, count, tolerance, np.dtype(dtype), progress)
    solver.prepare(memory, workspace)
    return solver.run()


class _Solver:
    """State of a run: basis, the projection T of f(G) on it, and the block that comes next."""

    next: Floats
    link: FloatArray

    def __init__(
        self,
        gram: Callable[[Floats], Floats],
        space: Space,
        count: int,
        tolerance: float,
        dtype: np.dtype[Any],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.space, self.count, self.tolerance, self.dtype = space, count, tolerance, dtype
        self.kept = min(count + EXTRA, space.dimension)
        self.products, self._gram, self._progress = 0, gram, progress
        self.rounding = 16 * float(np.finfo(dtype).eps)
        self.goal = max(MARGIN * tolerance, self.rounding / 16)
        self.largest = 0.0  # norm of a column of f(G) Q so far: what rounding is relative to
        self._forget()

    def gram(self, X: Floats) -> Floats:
        """G X on the space."""
        self.products += X.shape[1]
        return self.space.clean(self._gram(X))

    def prepare(self, memory: int | None, workspace: Path | None) -> None:
        """Choose filter and basis."""
        dimension = self.space.dimension
        above = CUT_SHARE * self.count + 8
        self.filter, density = Filter(0.0, 1), None
        if above < dimension / 2:
            draw = lambda w: self.space.draw(w, self.dtype)  # noqa: E731
            density = Density.estimate(self.gram, draw, dimension)
            cut, least = density.cut(above), float(density.quantile(self.count))
            # The probes see the largest value from below.
            self.filter = Filter.choose(cut, least, min(1.0, 1.05 * density.top), self.dtype)
        column = self.space.side * self.dtype.itemsize
        fit = None if memory is None else memory // column
        size, fits = basis_columns(self.count, self.kept, self.filter.degree, fit)
        folder = None if fits else workspace or Path(tempfile.gettempdir())
        # The basis never outgrows the space; the second half holds G W in the end.
        self.limit = min(size, dimension)
        foreseen = None
        if density is not None:
            foreseen = forecast(
                density, dimension, self.filter, self.count, self.kept, self.limit, self.goal
            )
        self.looks = Looks(self.count, self.kept, self.space.side, self.limit, foreseen)
        self.basis = Basis(
            self.space.side, max(self.limit, 2 * self.kept), self.dtype, folder, self.space.crew
        )
        self.T = np.zeros((self.limit, self.limit))
        logger.debug(
            "filter of degree %d above %.3g, basis of %d columns%s; %s",
            self.filter.degree, self.filter.cut, self.limit, " on disk" if folder else "",
            foreseen,
        )  # fmt: skip

    def run(self) -> Eigenpairs:
        """Grow, cut down, and end when the values are known."""
        self.start()
        best, promised, unlifted, missed = np.inf, np.inf, 0, None
        for _ in range(_CYCLES):
            full = self.grow()
            before, promised = promised, self.estimate()
            if promised == np.inf:
                # Values that are wanted lie below the cut, or are not in the basis yet.
                unlifted += 1
                if unlifted == 1 and not full:
                    self.cut_down(columns_kept(self.kept, self.limit))
                else:
                    self.drop_filter()
                continue
            # Going on helps as long as it did; else let the bounds for G decide.
            if not full and self.goal < promised < before / 1.2:
                self.cut_down(columns_kept(self.kept, self.limit))
                continue
            values, errors = self.settle()
            self.looks.forget()
            worst = float(errors.max())
            # The bounds for G were wider than those for f(G) promised, and stay so.
            stalled = worst > max(self.tolerance, best / 2)
            if stalled and worst < np.inf:
                values, errors = self.polish(values, errors)
                worst = float(errors.max())
            if worst == np.inf:
                break  # the vectors are spoilt
            logger.debug("settled with %d columns left: error %.1e", self.basis.used, worst)
            if worst <= self.tolerance or self.next.shape[1] == 0:
                missed = self.probe(values)
                if missed is None:
                    break
                self.next = missed
                continue
            if stalled:
                break
            best, self.goal = worst, max(self.goal / 100, self.rounding / 16)
        values = values[: self.count]
        # No eigenvalue is above 1: more than that nothing can be off that was or may be missed.
        errors = np.minimum(errors, 1.0)
        return Eigenpairs(
            values,
            errors if missed is None else np.maximum(errors, 1.0 - values),
            self.basis,
            self.products,
        )

    def start(self) -> None:
        """Begin with random vectors and an empty basis."""
        self.basis.used = 0
        self.T[:] = 0.0
        self._forget()
        X = self.space.draw(min(BLOCK, self.space.dimension), self.dtype)
        self.next, _, _ = extend(self.basis, self.space, X, X.shape[1], 0.0)
        self.link = np.zeros((0, 0))

    def drop_filter(self) -> None:
        """Begin anew without a filter: where values fall steeply, an estimated cut may miss some.

        There a Krylov space of G itself knows them soon.
        """
        logger.debug("wanted values are below the cut at %.3g; no filter", self.filter.cut)
        self.filter, self.largest = Filter(0.0, 1), 0.0
        self.looks.forget()
        self.start()

    def grow(self) -> bool:
        """Add blocks until the values seem known (True) or the basis is full (False)."""
        basis, previous = self.basis, 0
        self.looks.begin(basis.used)
        while self.next.shape[1]:
            width = self.next.shape[1]
            if basis.used + width > self.limit:
                return False
            start = basis.used
            basis.append(self.next)
            Y = self.filter.apply(self.gram, self.next, self.space.crew)
            self.largest = max(self.largest, float(np.sqrt(column_dots(Y, Y).max())))
            self.space.crew.give(self.next)
            self.next, H, R = extend(basis, self.space, Y, BLOCK, self.largest, previous)
            previous = start
            used = basis.used
            self._forget()
            self.T[:used, start:used], self.T[start:used, :used] = H, H.T
            self.T[start:used, start:used] = (H[start:] + H[start:].T) / 2
            self.link = np.concatenate([np.zeros((len(R), start)), R], axis=1)
            if self._progress is not None:
                self._progress(min(used, self.limit), self.limit)
            if not self.looks.due(used):
                continue
            error = self.estimate()
            logger.debug("%d columns: error %.1e", used, error)
            if error <= self.goal:
                return True
            self.looks.missed(used, error, self.goal)
        return True

    def _forget(self) -> None:
        """T has changed."""
        self._ritz: tuple[FloatArray, FloatArray] = np.zeros(0), np.zeros((0, 0))

    def ritz(self) -> tuple[FloatArray, FloatArray]:
        """Ritz values of f(G), descending, and their coordinates."""
        used = self.basis.used
        if len(self._ritz[0]) != used:
            # Divide and conquer: all vectors are wanted, and it takes half the time.
            T = self.T[:used, :used]
            values, vectors = self.space.crew.solve(
                lambda: linalg.eigh(T, check_finite=False, driver="evd"), used
            )
            self._ritz = values[::-1], vectors[:, ::-1]
        return self._ritz

    def estimate(self) -> float:
        """Largest error of the wanted values of G, from the residuals of f(G)."""
        values, Y = self.ritz()
        p = min(self.kept, len(values))
        E = self.link @ Y[:, :p]
        return promised_error(self.filter, values[:p], E, self.count)

    def cut_down(self, count: int) -> None:
        """Keep the best Ritz vectors of f(G) only."""
        values, Y = self.ritz()
        self.basis.rotate(Y[:, :count])
        self.basis.used = count
        self._forget()
        self.T[:] = 0.0
        self.T[:count, :count] = np.diag(values[:count])
        self.link = self.link @ Y[:, :count]

    def settle(self) -> tuple[FloatArray, FloatArray]:
        """Give values of G and bounds; the basis becomes Ritz vectors: of f(G), if they will do."""
        p = min(self.kept, self.basis.used)
        wanted = min(self.count, p)
        self.cut_down(p)
        off = max(self.rounding, OFF * self.tolerance)
        judged = judge(self.basis, self.gram, wanted, off)
        if judged is not None and judged[1].max() + self.rounding <= self.tolerance:
            return judged[0], judged[1] + self.rounding
        try:
            values, Z, residuals = rayleigh_ritz(self.basis, self.gram, p)
        except np.linalg.LinAlgError:  # rounding has made the vectors dependent
            return self.filter.back(self.ritz()[0]), np.full(wanted, np.inf)
        self.T[:p, :p] = Z.T @ self.T[:p, :p] @ Z
        self._forget()
        self.link = self.link @ Z
        return values, bounds(values, residuals, wanted) + self.rounding

    def polish(self, values: FloatArray, errors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Take off what rounding left; the basis is none of a Krylov space afterwards."""
        values, errors = polish(
            self.basis, self.filter, self.gram, (values, errors), self.tolerance, self.rounding
        )
        p = len(values)
        self.T[:p, :p] = np.diag(self.filter.at(values))
        self._forget()
        self.link = np.zeros((len(self.link), p))
        return values, errors

    def probe(self, values: FloatArray) -> Floats | None:
        """Look for a value that was missed; give the block to go on with if there is one."""
        least = values[self.count - 1] + 2 * self.tolerance + self.rounding
        new = find_missed(self.basis, self.space, self.filter, self.gram, least)
        if new is None:
            return None
        # The block that was to come next is still what links the basis to the rest.
        both = np.concatenate([self.next, new], axis=1)
        block, H, R = extend(self.basis, self.space, both, both.shape[1], 0.0)
        self.link = R[:, : self.next.shape[1]] @ self.link
        return block
