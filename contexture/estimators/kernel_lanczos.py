"""Top eigenpairs of an operator whose products cost the same for one vector as for a hundred.

Plain block Lanczos with wide blocks: entries of a kernel are computed anew for every product,
so a filter (several products for one block) costs more than the columns that it saves. Full
reorthogonalisation; where the basis is full, it is cut down to the best Ritz vectors and grown
anew (thick restart).

How the values are bounded stands in `kernel_ritz`. That nothing larger was missed is taken on
trust; the wide random start makes it sure but for values that repeat more often than a block has
columns.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
from scipy import linalg

from contexture.estimators.crew import LARGE_PROBLEM, one_thread
from contexture.estimators.dense import top_of
from contexture.estimators.kernel_ritz import TopPairs, bounds
from contexture.estimators.single_products import Multiply
from contexture.inputs import FloatArray, Floats

BLOCK = 128

_COLUMNS = 3
"""Columns that are multiplied for every value wanted, roughly."""

_NEARLY = 100
"""The next block brings an error down by so much where the values at the cut decay."""

_CYCLES = 30
_IDLE = 3
"""Restarts after which the bound must have come down by a fifth. Where the values at the cut
are all alike, no basis tells them apart, and they are right long before the bound says so."""


def extra(count: int) -> int:
    """Ritz values beyond those wanted: the gap to them sharpens the bound of the last wanted."""
    return min(128, max(32, count // 4))


def expected_columns(count: int) -> int:
    """Columns that are multiplied for so many values, roughly."""
    return _COLUMNS * count


def most_columns(count: int, block: int = BLOCK) -> int:
    """Columns that a basis has before it is cut down, where there is memory."""
    return 4 * count + 2 * block


def work_of(count: int, shape: tuple[int, int]) -> float:
    """Multiplications by which `top_pairs` finds the values of a dense operator, roughly."""
    return 2.0 * expected_columns(count) * shape[0] * shape[1]


def top_pairs(
    gram: Callable[[Floats], Floats],
    trivial: FloatArray,
    count: int,
    tolerance: float,
    dtype: npt.DTypeLike = np.float32,
    *,
    seed: int = 0,
    start: Floats | None = None,
    block: int = BLOCK,
    limit: int | None = None,
    progress: Callable[[int, float], None] | None = None,
    multiply: Multiply = np.matmul,
) -> TopPairs:
    """Find the largest eigenpairs of G beside the trivial one.

    Parameters
    ----------
    gram : callable
        V ↦ G V, shape (side, w); V is the transpose of a C-ordered array, and what is returned
        may be written to.
    trivial : ndarray of shape (side,) or (side, parts)
        Orthonormal eigenvectors to the eigenvalue 1, deflated.
    count : int
        Eigenpairs wanted beside them, at most as many as there are.
    tolerance : float
        Wanted bound of the errors.
    dtype : float32 or float64
        Of the vectors; what lies below is float64.
    seed : int
        Of the start.
    start : ndarray of shape (side, w), optional
        Vectors to start from, as wide as the start is good; random ones by default.
    block : int
        Columns of a product.
    limit : int, optional
        Columns of the basis; at least ``count`` + `extra` + 2 ``block`` are taken.
    progress : callable, optional
        Called with the columns of the basis and the error bound, as far as it is known.
    multiply : callable
        (A, B) ↦ A B, for what is not written to memory that is there already.

    Returns
    -------
    TopPairs
    """
    solver = _Lanczos(
        gram, trivial, count, tolerance, dtype, seed, block, limit, progress, multiply
    )
    return solver.run(start)


class _Lanczos:
    """State of a run. Vectors are rows here, so that many of them are one array without gaps."""

    def __init__(
        self,
        gram: Callable[[Floats], Floats],
        trivial: FloatArray,
        count: int,
        tolerance: float,
        dtype: npt.DTypeLike,
        seed: int,
        block: int,
        limit: int | None,
        progress: Callable[[int, float], None] | None,
        multiply: Multiply,
    ) -> None:
        self.trivial = np.ascontiguousarray(trivial.reshape(len(trivial), -1).T, dtype)
        side, self.free = len(trivial), len(trivial) - len(self.trivial)
        self.gram, self.count, self.tolerance, self.progress = gram, count, tolerance, progress
        self.multiply = multiply
        self.block = min(block, self.free)
        self.kept = min(count + extra(count), self.free)
        most = most_columns(count, block)
        wanted = most if limit is None else min(limit, most)
        self.limit = min(max(wanted, self.kept + 2 * self.block), self.free)
        self.Q = np.empty((self.limit, side), dtype)
        self.H = np.zeros((self.limit, self.limit))
        self.used, self.products = 0, 0
        self.generator = np.random.default_rng([seed, 0x6B65])
        self.floor = 8 * float(np.finfo(dtype).eps)

    def run(self, start: Floats | None) -> TopPairs:
        random = self.generator.standard_normal((self.Q.shape[1], self.block)).T
        first = random if start is None else start[:, : self.limit].T
        # For a block: arrays of some megabytes that come and go leave gaps that add up.
        self.room = np.empty((max(len(first), self.block), self.Q.shape[1]), self.Q.dtype)
        new = self.orthonormal(first.astype(self.Q.dtype, order="C"))[0]
        if not len(new):  # a start that knows of the trivial vector only
            new = self.orthonormal(random.astype(self.Q.dtype, order="C"))[0]
        check, before, known = 0, np.inf, np.zeros(self.count)
        cycles, best, idle = 0, np.inf, 0
        while True:
            new, link, whole = self.grow(new)
            full = not len(new) or self.used + len(new) > self.limit
            due = self.used >= max(check, min(1.25 * self.count + self.block, self.limit))
            if not (full or (due and self.used >= self.kept)):
                self.report(before)
                continue
            values, Y = self.ritz()
            # The last quarter of the Ritz values is not near any eigenvalue.
            sure = max(min(self.count, len(values)), min(len(values), 3 * self.used // 4))
            residuals = link @ Y[self.used - link.shape[1] :, :sure]
            with one_thread():
                errors = bounds(
                    values[:sure], residuals.T @ residuals, min(self.count, len(values))
                )
            worst = float(errors.max())
            settled = whole or bool(np.all(values[: self.count] <= known + self.tolerance))
            known = values[: self.count]
            self.report(worst)
            done = worst <= self.tolerance and settled and self.used >= self.kept
            if full:
                cycles, idle = cycles + 1, 0 if worst < 0.8 * best else idle + 1
                best = min(best, worst)
            if done or not len(new) or cycles == _CYCLES or idle == _IDLE:
                vectors = self.turned(Y[:, : self.count]).T
                return TopPairs(known, vectors, errors, self.products)
            check, before = self.used + self.block * self.ahead(worst, before), worst
            if full:
                self.restart(values, Y)

    def ahead(self, error: float, before: float) -> int:
        """How many blocks to grow until the bound may have come down to the tolerance."""
        if error <= _NEARLY * self.tolerance:
            return 1
        if not error < before < np.inf:
            return 2
        # It falls geometrically at least.
        steps = np.log(error / self.tolerance) / np.log(before / error)
        return 4 if steps > 8 else 2 if steps > 2 else 1

    def report(self, error: float) -> None:
        if self.progress is not None:
            self.progress(self.used, error)

    def subtract(self, W: Floats) -> Floats:
        """Take what is of the basis out of W, in place; give the coefficients of it, (used, w)."""
        Q = self.Q[: self.used]
        C = self.multiply(Q, W.T)
        # By NumPy, which alone can write to memory that is there.
        W -= np.matmul(C.T, Q, out=self.room[: len(W)])
        return C

    def turned(self, Y: FloatArray) -> Floats:
        """Combine vectors of the basis, the columns of Y being the coefficients."""
        return self.multiply(Y.T.astype(self.Q.dtype), self.Q[: self.used])

    def orthonormal(self, W: Floats, clean: bool = False) -> tuple[Floats, FloatArray]:
        """Orthonormal vectors Z beyond the basis, and B with Wᵀ = Zᵀ B + rounding there.

        W is used up. Directions of which only rounding is left are given up. ``clean``: the basis
        has been taken out of W once.
        """
        B = np.eye(len(W))
        for step in range(4):
            W -= np.matmul(W @ self.trivial.T, self.trivial, out=self.room[: len(W)])
            if step or not clean:
                self.subtract(W)
            S = (W @ W.T).astype(np.float64)
            with one_thread():
                lengths, turn = linalg.eigh(S, driver="evd", check_finite=False)
            lengths = np.sqrt(np.maximum(lengths, 0.0))
            large = lengths > self.floor
            # No more than the space has left: what is beyond it is rounding, how long so ever.
            large[: max(0, len(lengths) - (self.free - self.used))] = False
            turn, lengths = turn[:, large], lengths[large]
            even = np.matmul((turn / lengths).T.astype(W.dtype), W, out=self.room[: len(lengths)])
            W = W[: len(lengths)]
            W[:] = even
            B = (lengths[:, None] * turn.T) @ B
            # Once a sweep hardly shortens anything, it has left nothing of the basis.
            if step and np.all(np.abs(lengths - 1.0) < 0.1):
                break
        return W, B

    def grow(self, new: Floats) -> tuple[Floats, FloatArray, bool]:
        """Take a block into the basis; the next one, its link to the last, and if it is whole."""
        first, last = self.used, self.used + len(new)
        self.Q[first:last] = new
        self.used = last
        self.products += len(new)
        W = np.ascontiguousarray(self.gram(new.T).T)
        C = self.subtract(W)
        H = C.astype(np.float64)
        self.H[:last, first:last], self.H[first:last, :last] = H, H.T
        self.H[first:last, first:last] = (H[first:] + H[first:].T) / 2
        W, B = self.orthonormal(W, clean=True)
        missing = min(self.block, self.limit - last) - len(W)
        if missing <= 0 or len(W) >= self.block // 2:
            return W, B, True
        # Nothing new from here: look elsewhere, where values that repeat may hide.
        fresh = self.generator.standard_normal((W.shape[1], missing)).astype(W.dtype).T
        both = np.concatenate([W, fresh - (fresh @ W.T) @ W])
        B = np.concatenate([B, np.zeros((missing, B.shape[1]))])
        both, turned = self.orthonormal(both)
        return both, turned @ B, False

    def ritz(self) -> tuple[FloatArray, FloatArray]:
        used = self.used
        with nullcontext() if used >= LARGE_PROBLEM else one_thread():
            return top_of(self.H[:used, :used], min(used, self.kept + 1))

    def restart(self, values: FloatArray, Y: FloatArray) -> None:
        """Keep the best Ritz vectors only."""
        kept = min(self.kept, self.limit - 2 * self.block) if self.limit > self.kept else self.kept
        kept = max(kept, min(self.count, len(values)))
        self.Q[:kept] = self.turned(Y[:, :kept])
        self.H[:] = 0.0
        self.H[:kept, :kept] = np.diag(values[:kept])
        self.used = kept
