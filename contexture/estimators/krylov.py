"""Top eigenpairs of G = MᵀM (or M Mᵀ) by filtered block Lanczos.

A block Krylov space of f(G), f a Chebyshev filter, is grown with full reorthogonalisation;
Rayleigh and Ritz on G itself end it. Where the basis is full before the values are known well
enough, it is cut down to the best Ritz vectors and grown anew (thick restart).

What is guaranteed. Let (θ_i, w_i), i = 1 .. p, be the Ritz pairs of G on the final basis and
R its residuals G w_i − θ_i w_i. Then there are p eigenvalues of G within ‖R‖ of the θ_i one to
one (Kahan). For j <= p, split off the first j: if the rest of the spectrum ends below θ_{j+1} + ‖R‖
— the only thing taken on trust, and probed with random vectors — then for i <= j

    0 <= λ_i − θ_i <= 2 ‖R_j‖² / (g + √(g² + 4 ‖R_j‖²)),   g = θ_i − θ_{j+1} − ‖R‖

(Li and Li 2005), which is at most ‖R_j‖, and ‖R_j‖²/g where the gap is wide. The bound returned
is the least over several j, plus the rounding of the products.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

from contexture.estimators.basis import Basis
from contexture.estimators.chebyshev import Filter, find_cut
from contexture.estimators.deflation import Space, extend, orthonormalise, small_product
from contexture.estimators.products import Floats
from contexture.inputs import FloatArray

logger = logging.getLogger(__name__)

BLOCK = 32
EXTRA = 32
"""Ritz vectors beyond those wanted: the gap to them sharpens the bound of the last wanted."""

CUT_SHARE = 1.56
"""The filter cuts where this many times the wanted values lie above."""

SIZES = {1: 3.0, 2: 2.5, 3: 2.25}
"""Largest basis for a filter of degree 1, 2 or more, in multiples of the values wanted."""

MARGIN = 0.02
"""Residuals of f(G) must promise this share of the tolerance before those of G are computed."""

_CYCLES = 60
_PROBE, _PROBE_STEPS = 8, 4


@dataclass
class Eigenpairs:
    """What the solver found.

    Attributes
    ----------
    values : ndarray of shape (k,)
        Descending.
    errors : ndarray of shape (k,)
        Bounds on |θ_i − λ_i|; see the module.
    basis : Basis
        Its first k columns are the vectors.
    products : int
        Vectors that were multiplied by G.
    """

    values: FloatArray
    errors: FloatArray
    basis: Basis
    products: int


def bounds(values: FloatArray, residuals: FloatArray, count: int) -> FloatArray:
    """Bound the errors of the first ``count`` Ritz values.

    Parameters
    ----------
    values : ndarray of shape (p,)
        Ritz values, descending.
    residuals : ndarray of shape (p, p)
        RᵀR.
    count : int
        At most p.
    """
    p = len(values)
    squares = np.cumsum(np.maximum(np.diag(residuals), 0.0))
    sizes = {}
    for j in {p, count, *np.linspace(count, p - 1, 5).astype(int).tolist()}:
        # ‖R‖ is at most the Frobenius norm, and the root of the largest row sum of |RᵀR|.
        rows = np.abs(residuals[:j, :j]).sum(axis=1).max()
        sizes[j] = float(np.sqrt(min(squares[j - 1], rows)))
    best = np.full(count, sizes[p])
    for j, size in sizes.items():
        if j < p:
            gap = np.maximum(values[:count] - values[j] - sizes[p], 0.0)
            best = np.minimum(best, 2 * size**2 / (gap + np.sqrt(gap**2 + 4 * size**2) + 1e-300))
    return best


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
        self.goal = MARGIN * tolerance
        self.rounding = 16 * float(np.finfo(dtype).eps)

    def gram(self, X: Floats) -> Floats:
        """G X on the space."""
        self.products += X.shape[1]
        return self.space.clean(self._gram(X))

    def prepare(self, memory: int | None, workspace: Path | None) -> None:
        """Choose filter and basis."""
        dimension = self.space.dimension
        above = CUT_SHARE * self.count + 8
        self.filter = Filter(0.0, 1)
        if above < dimension / 2:
            draw = lambda w: self.space.draw(w, self.dtype)  # noqa: E731
            cut, _ = find_cut(self.gram, draw, dimension, above)
            self.filter = Filter.choose(cut, self.dtype)
        size = int(SIZES[min(self.filter.degree, 3)] * self.count) + 2 * BLOCK
        least = 2 * self.kept
        column = self.space.side * self.dtype.itemsize
        folder = None
        if memory is not None and memory // column < max(size, least):
            if memory // column >= least + 2 * BLOCK:
                size = memory // column
            else:
                folder = workspace or Path(tempfile.gettempdir())
        # The basis never outgrows the space; the second half holds G W in the end.
        self.limit = min(max(size, self.kept + 3 * BLOCK), dimension)
        self.basis = Basis(self.space.side, max(self.limit, least), self.dtype, folder)
        self.T = np.zeros((self.limit, self.limit))
        self.next = np.zeros((self.space.side, 0), self.dtype)
        self.link = np.zeros((0, 0))
        logger.debug(
            "filter of degree %d above %.3g, basis of %d columns%s",
            self.filter.degree, self.filter.cut, self.limit, " on disk" if folder else "",
        )  # fmt: skip

    def run(self) -> Eigenpairs:
        """Grow, cut down, and end when the values are known."""
        X = self.space.draw(min(BLOCK, self.space.dimension), self.dtype)
        self.next, _, _ = extend(self.basis, self.space, X, X.shape[1], 0.0)
        best, idle = np.inf, 0
        for _ in range(_CYCLES):
            full = self.grow()
            if not full and self.estimate()[0] > self.goal:
                self.cut_down(min(self.kept + 2 * BLOCK, self.limit - 4 * BLOCK))
                continue
            values, errors = self.settle()
            worst = float(errors.max())
            logger.debug("settled with %d columns left: error %.1e", self.basis.used, worst)
            if worst <= self.tolerance or self.next.shape[1] == 0:
                missed = self.probe(values)
                if missed is None:
                    break
                self.next = missed
                continue
            best, idle = (worst, 0) if worst < best / 2 else (best, idle + 1)
            if idle == 2:
                break
            self.goal /= 100  # the bounds for G were wider than those for f(G) promised
        return Eigenpairs(values[: self.count], errors, self.basis, self.products)

    def grow(self) -> bool:
        """Add blocks until the values seem known (True) or the basis is full (False)."""
        basis, previous = self.basis, 0
        check = max(int(1.5 * self.count), basis.used + 2 * BLOCK)
        seen: list[tuple[int, float]] = []
        while self.next.shape[1]:
            width = self.next.shape[1]
            if basis.used + width > self.limit:
                return False
            start = basis.used
            basis.append(self.next)
            Y = self.space.clean(self.filter.apply(self.gram, self.next))
            top = float(self.filter.at(1.0))
            self.next, H, R = extend(basis, self.space, Y, BLOCK, top, previous)
            previous = start
            del Y
            used = basis.used
            self.T[:used, start:used], self.T[start:used, :used] = H, H.T
            self.T[start:used, start:used] = (H[start:] + H[start:].T) / 2
            self.link = np.concatenate([np.zeros((len(R), start)), R], axis=1)
            if self._progress is not None:
                self._progress(min(used, self.limit), self.limit)
            if used < max(self.kept, min(check, self.limit - BLOCK)):
                continue
            error, _ = self.estimate()
            logger.debug("%d columns: error %.1e", used, error)
            if error <= self.goal:
                return True
            seen.append((used, error))
            check = _when(seen, self.goal)
        return True

    def ritz(self) -> tuple[FloatArray, FloatArray]:
        """Ritz values of f(G), descending, and their coordinates."""
        used = self.basis.used
        values, vectors = linalg.eigh(self.T[:used, :used], check_finite=False)
        return values[::-1], vectors[:, ::-1]

    def estimate(self) -> tuple[float, FloatArray]:
        """Largest error of the wanted values of G, from the residuals of f(G)."""
        values, Y = self.ritz()
        p = min(self.kept, len(values))
        E = self.link @ Y[:, :p]
        top = values[: self.count]
        if self.filter.degree > 1 and top[-1] < 1.05:
            return np.inf, values
        errors = bounds(values[:p], E.T @ E, len(top))
        return float((errors / self.filter.slope(self.filter.back(top))).max()), values

    def cut_down(self, count: int) -> None:
        """Keep the best Ritz vectors of f(G) only."""
        values, Y = self.ritz()
        self.basis.rotate(Y[:, :count])
        self.basis.used = count
        self.T[:] = 0.0
        self.T[:count, :count] = np.diag(values[:count])
        self.link = self.link @ Y[:, :count]

    def settle(self) -> tuple[FloatArray, FloatArray]:
        """Rayleigh and Ritz on G itself, with residuals; the basis becomes the Ritz vectors."""
        p = min(self.kept, self.basis.used)
        self.cut_down(p)
        basis, H, S = self.basis, np.zeros((p, p)), np.zeros((p, p))
        for a in range(0, p, BLOCK):
            b = min(a + BLOCK, p)
            X = basis.columns(a, b)
            S[:, a:b] = basis.inner(X)
            X = self.gram(X)
            H[:, a:b] = basis.inner(X)
            basis.put(p + a, X)
        values, Z = linalg.eigh((H + H.T) / 2, (S + S.T) / 2, check_finite=False)
        values, Z = values[::-1], Z[:, ::-1]
        basis.rotate(Z)
        basis.rotate(Z, first=p)
        self.T[:p, :p] = Z.T @ self.T[:p, :p] @ Z
        self.link = self.link @ Z
        residuals = basis.residual_gram(values)
        return values, bounds(values, residuals, min(self.count, p)) + self.rounding

    def probe(self, values: FloatArray) -> Floats | None:
        """Look for a value that was missed; give the block to go on with if there is one."""
        free = self.space.dimension - self.basis.used
        if free < 1:
            return None
        X = self.space.draw(min(_PROBE, free), self.dtype)
        for step in range(_PROBE_STEPS + 1):
            for _ in range(2):
                self.basis.subtract(X, self.basis.inner(X))
            X, _ = orthonormalise(self.space.clean(X), 0.0)
            if step < _PROBE_STEPS:
                X = self.filter.apply(self.gram, X)
        if not X.shape[1]:
            return None
        found, turn = np.linalg.eigh(small_product(X, self.gram(X)))
        if found[-1] <= values[self.count - 1] + 2 * self.tolerance + self.rounding:
            return None
        logger.info("a value of %.6g had been missed; going on", found[-1])
        new = np.ascontiguousarray(X @ turn.astype(self.dtype))
        # The block that was to come next is still what links the basis to the rest.
        both = np.concatenate([self.next, new], axis=1)
        block, H, R = extend(self.basis, self.space, both, both.shape[1], 0.0)
        self.link = R[:, : self.next.shape[1]] @ self.link
        return block


def _when(seen: list[tuple[int, float]], goal: float) -> int:
    """Columns at which the error may have come down, from how it came down so far."""
    if len(seen) < 2 or not np.isfinite(seen[-1][1] * seen[-2][1]):
        return seen[-1][0] + 2 * BLOCK
    (j, e), (last, error) = seen[-2:]
    rate = np.log(e / error) / (last - j) if e > error else 0.0
    ahead = np.log(error / goal) / rate if rate > 0 else 8 * BLOCK
    return last + int(min(0.7 * ahead, 3 * BLOCK))
