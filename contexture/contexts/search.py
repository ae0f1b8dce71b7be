"""Exact nearest neighbours: a product of matrices finds few candidates, their distances decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numba
import numpy as np
import numpy.typing as npt

from contexture.inputs import FloatArray, IntArray

TILE_BYTES = 1 << 21
"""Size of a tile of products; it should stay in the cache between the product and the scan."""

_TILE_COLUMNS = 4096
_CENTRE_SAMPLE = 1024
_GROUPS_PER_NEIGHBOUR = 6
_FAR = 2.0**60
"""How much farther out than the references a row may lie for float32."""


@dataclass(frozen=True)
class References:
    """Reference rows made ready for many searches.

    Attributes
    ----------
    R : ndarray of shape (m, D)
        The references as they came.
    centre : ndarray of shape (D,)
        About the median of R: a common offset would cost digits of the products, and a mean
        could be moved by a few far rows. Any centre gives the same neighbours.
    reach : float
        Largest modulus in R after the move.
    right : ndarray of float32, shape (D + 1, m)
        −2 R and its squared norms after the move, in units in which nothing overflows.
    """

    R: FloatArray
    centre: FloatArray
    reach: float
    right: npt.NDArray[np.float32]

    @classmethod
    def of(cls, R: FloatArray) -> Self:
        """Make ready the references, shape (m, D)."""
        R = np.ascontiguousarray(R, dtype=np.float64)
        centre = np.median(R[:: max(1, len(R) // _CENTRE_SAMPLE)], axis=0)
        reach = max(float((R.max(axis=0) - centre).max()), float((centre - R.min(axis=0)).max()))
        return cls(R, centre, reach, _right(R, centre, _unit(reach), np.dtype(np.float32)))

    def nearest(self, X: FloatArray, k: int, own: IntArray, include_self: bool) -> IntArray:
        """Find the k nearest references of every row; see `nearest`."""
        positions = np.empty((len(X), k), dtype=np.int64)
        if len(X) == 0:
            return positions
        X = np.ascontiguousarray(X, dtype=np.float64)
        own = np.asarray(own, dtype=np.int64)
        moved = X - self.centre
        largest, unit = float(np.abs(moved).max()), _unit(self.reach)
        full = np.ones(len(X), dtype=np.bool_)
        if largest * unit < _FAR:
            moved *= unit
            full = _search(X, moved, self.R, self.right, k, own, include_self, positions)
        again = np.flatnonzero(full)
        if again.size:
            # Too many candidates within the rounding of float32: equal or far rows.
            unit = _unit(max(self.reach, largest))
            right = _right(self.R, self.centre, unit, np.dtype(np.float64))
            moved = (X[again] - self.centre) * unit
            found = np.empty((again.size, k), dtype=np.int64)
            _search(X[again], moved, self.R, right, k, own[again], include_self, found)
            positions[again] = found
        return positions


def _unit(largest: float) -> float:
    """Give the power of two that takes the largest modulus to at most 1; it changes no digit."""
    return float(2.0 ** -math.frexp(largest)[1]) if largest > 0 else 1.0


def _right(R: FloatArray, centre: FloatArray, unit: float, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Give −2 rᵀ over ‖r‖²: ‖x − r‖² − ‖x‖² is one product, of (x, 1) with it."""
    m, D = R.shape
    right = np.empty((D + 1, m), dtype=kind)
    for start in range(0, m, _TILE_COLUMNS):
        part = (R[start : start + _TILE_COLUMNS] - centre) * unit
        right[D, start : start + len(part)] = np.einsum("ij,ij->i", part, part)
        part *= -2.0
        right[:D, start : start + len(part)] = part.T
    return right


def _search(
    X: FloatArray,
    moved: FloatArray,
    R: FloatArray,
    right: npt.NDArray[Any],
    k: int,
    own: IntArray,
    include_self: bool,
    positions: IntArray,
) -> npt.NDArray[np.bool_]:
    """Write the neighbours; tells which rows had too many candidates and got none."""
    (r, D), m, kind = X.shape, len(R), right.dtype
    groups = min(m, 1 << max(7, math.ceil(math.log2(_GROUPS_PER_NEIGHBOUR * k))))
    columns = min(m, max(_TILE_COLUMNS, groups))
    # In float64 there is room for all; one group more, since room is asked for once a group.
    room = (m if kind == np.float64 else min(m, 4 * k + 256)) + -(-columns // groups)
    rows = max(1, min(r, TILE_BYTES // (kind.itemsize * columns), TILE_BYTES // (4 * room)))
    squares = np.einsum("ij,ij->i", moved, moved)
    left = np.ones((r, D + 1), dtype=kind)
    left[:, :D] = moved
    limits = np.finfo(kind)
    # Rounding of the entries, of D + 1 sums in any order, and of the distances afterwards.
    unit = (D + 8) * float(limits.eps)
    floor = 8.0 * (D + 8) * float(limits.tiny)
    tile = np.empty(rows * columns, dtype=kind)
    least = np.empty((rows, groups), dtype=kind)
    bounds, counts = np.empty(rows), np.empty(rows, dtype=np.int64)
    candidates, values = np.empty((rows, room), dtype=np.int32), np.empty((rows, room), dtype=kind)
    full = np.zeros(r, dtype=np.bool_)
    for top in range(0, r, rows):
        panel = slice(top, min(r, top + rows))
        h = panel.stop - top
        least[:], counts[:] = np.inf, 0
        for start in range(0, m, columns):
            w = min(columns, m - start)
            products = tile[: h * w].reshape(h, w)
            np.matmul(left[panel], right[:, start : start + w], out=products)
            _scan(
                products, start, squares[panel], own[panel], include_self, k, unit, floor,
                least, bounds, candidates, values, counts,
            )  # fmt: skip
        _decide(
            X[panel], R, own[panel], k, bounds, candidates, values, counts,
            positions[panel], full[panel],
        )  # fmt: skip
    return full


def nearest(X: FloatArray, R: FloatArray, k: int, own: IntArray, include_self: bool) -> IntArray:
    """Find the k nearest references of every row.

    A product of matrices in float32 finds the candidates, with room for its rounding; their
    distances are computed without cancellation, and ties are broken by the order of the
    references. So the outcome is exact, and does not depend on how rows are cut into blocks.

    Parameters
    ----------
    X : ndarray of shape (r, D)
    R : ndarray of shape (m, D)
    k : int
        At most m, or m − 1 where a row itself is left out.
    own : ndarray of shape (r,)
        Position of each row among the references, −1 if it is none.
    include_self : bool
        Whether a row that is a reference counts as its own first neighbour, or not at all.

    Returns
    -------
    ndarray of shape (r, k)
        Positions among the references, nearest first.

    See Also
    --------
    References : for many calls with the same references.
    """
    return References.of(R).nearest(X, k, own, include_self)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scan(
    tile, start, squares, own, include_self, k, unit, floor,
    least, bounds, candidates, values, counts,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Note the columns of a tile that may be neighbours.

    The columns fall into groups. The k-th smallest of their minima bounds the k-th smallest
    product, closely if there are several times k groups; only groups that reach below it are
    looked into.
    """
    h, w = tile.shape
    groups, room = least.shape[1], candidates.shape[1]
    deep = w // groups * groups
    depth = -(-w // groups)
    inside = np.empty(groups, tile.dtype)
    hits = np.empty(groups + 1, np.int64)
    for i in range(h):
        count = counts[i]
        if count < 0:
            continue
        row = tile[i]
        here = own[i] - start
        if own[i] >= 0 and here >= 0 and here < w:
            row[here] = -np.inf if include_self else np.inf
        inside[:] = np.inf
        for first in range(0, deep, groups):
            _lower(inside, row[first : first + groups])
        _lower(inside[: w - deep], row[deep:])
        _lower(least[i], inside)
        kth = np.float64(_above(least[i], k, tile.dtype.type(-squares[i])))
        # Columns with at most this product have ‖r‖ <= ‖x‖ + ‖x − r‖ <= far.
        far = math.sqrt(squares[i]) + math.sqrt(max(kth + squares[i], 0.0))
        error = unit * (squares[i] + 2.1 * far * far) + floor
        bound = kth + 2.0 * error
        bounds[i] = bound
        found = 0
        for g in range(groups):
            hits[found] = g
            found += inside[g] <= bound
        for hit in hits[:found]:
            if count + depth > room:
                count = _drop(candidates[i], values[i], count, bound)
                if count + depth > room:
                    count = -1
                    break
            into, what = candidates[i, count:], values[i, count:]
            n = 0
            for j in range(hit, w, groups):
                value = row[j]
                into[n] = start + j
                what[n] = value
                n += value <= bound
            count += n
        counts[i] = count


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _lower(a, b):  # type: ignore[no-untyped-def]
    """Set a to the smaller of a and b, entry by entry."""
    for i in range(len(b)):
        x, y = a[i], b[i]
        a[i] = y if y < x else x


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _drop(candidates, values, count, bound):  # type: ignore[no-untyped-def]
    """Drop the candidates above the bound, which has come down since; returns how many stay."""
    kept = 0
    for c in range(count):
        if values[c] <= bound:
            candidates[kept] = candidates[c]
            values[kept] = values[c]
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _above(a, k, low):  # type: ignore[no-untyped-def]
    """Give a number that at least k entries, and few more, do not exceed.

    Halving an interval from below all of them counts in vector registers; a selection would
    mispredict most of its branches.
    """
    high = a.dtype.type(-np.inf)
    for value in a:  # an infinite one is a row left out
        high = value if (value > high) & (value < np.inf) else high
    for _ in range(30):
        middle = low + (high - low) * a.dtype.type(0.5)
        count = 0
        for value in a:
            count += 1 if value <= middle else 0
        if count >= k:
            high = middle
            if count <= k + (k >> 3):
                break
        else:
            low = middle
    return high


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def squared(x, y):  # type: ignore[no-untyped-def]
    """‖x − y‖², added up in one order on every machine."""
    a = b = c = d = 0.0
    whole = len(x) & ~3
    for i in range(0, whole, 4):
        a += (x[i] - y[i]) ** 2
        b += (x[i + 1] - y[i + 1]) ** 2
        c += (x[i + 2] - y[i + 2]) ** 2
        d += (x[i + 3] - y[i + 3]) ** 2
    for i in range(whole, len(x)):
        a += (x[i] - y[i]) ** 2
    return (a + b) + (c + d)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _decide(X, R, own, k, bounds, candidates, values, counts, positions, full):  # type: ignore[no-untyped-def]
    """Order the candidates of every row by distance and position, and write the first k."""
    distances = np.empty(candidates.shape[1])
    for i in range(len(X)):
        if counts[i] < 0:
            full[i] = True
            continue
        count = _drop(candidates[i], values[i], counts[i], bounds[i])
        for c in range(count):
            j = candidates[i, c]
            distances[c] = -1.0 if j == own[i] else squared(X[i], R[j])
        if count > 128:
            sort(distances, candidates[i], count)
            for c in range(k):
                positions[i, c] = candidates[i, c]
        else:
            _rank(distances[:count], candidates[i, :count], positions[i])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sort(distances, positions, count):  # type: ignore[no-untyped-def]
    """Sort by distance, then position, in place.

    Shell's way: plain insertion for the usual few dozen, still fast for thousands.
    """
    gap = 1
    while 9 * gap < count:
        gap = 3 * gap + 1
    while gap > 0:
        for c in range(gap, count):
            d, p = distances[c], positions[c]
            e = c
            while e >= gap and (
                distances[e - gap] > d or (distances[e - gap] == d and positions[e - gap] > p)
            ):
                distances[e] = distances[e - gap]
                positions[e] = positions[e - gap]
                e -= gap
            distances[e] = d
            positions[e] = p
        gap //= 3


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rank(distances, candidates, positions):  # type: ignore[no-untyped-def]
    """Write the first candidates, each to its rank; without a branch that depends on them."""
    for c in range(len(candidates)):
        d, p = distances[c], candidates[c]
        rank = 0
        for e in range(len(candidates)):
            rank += (distances[e] < d) | ((distances[e] == d) & (candidates[e] < p))
        if rank < len(positions):
            positions[rank] = p
