"""Exact nearest neighbours: a product of matrices finds few candidates, their distances decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from contexture.contexts.reference import require_finite
from contexture.contexts.selection import decide, scan
from contexture.errors import InputError
from contexture.inputs import FloatArray, IntArray

TILE_BYTES = 1 << 21
"""Size of a tile of products; it should stay in the cache between the product and the scan."""

_TILE_COLUMNS = 4096
_CENTRE_SAMPLE = 1024
_GROUPS_PER_NEIGHBOUR = 6
_FAR = 2.0**50
"""How much farther out than the references a row may lie for float32."""

_WIDER = 16
"""How many times a tile the room for candidates in float64 may be: tiles of the references are
made anew for every panel of rows, so that panels should not be low."""

Tile: TypeAlias = Callable[[int, int], npt.NDArray[Any]]


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
        """Make ready the references, shape (m, D).

        Raises
        ------
        InputError
            If they are not finite.
        """
        R = np.ascontiguousarray(R, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            centre = np.median(R[:: max(1, len(R) // _CENTRE_SAMPLE)], axis=0)
            above, below = R.max(axis=0) - centre, centre - R.min(axis=0)
        reach = max(float(above.max()), float(below.max()))
        _require_within(reach, R)
        m, unit = len(R), _unit(reach)
        right = np.empty((R.shape[1] + 1, m), dtype=np.float32)
        for start in range(0, m, _TILE_COLUMNS):
            stop = min(start + _TILE_COLUMNS, m)
            right[:, start:stop] = _right(R[start:stop], centre, unit)
        return cls(R, centre, reach, right)

    def nearest(self, X: FloatArray, k: int, own: IntArray, include_self: bool) -> IntArray:
        """Find the k nearest references of every row; see `nearest`."""
        positions = np.empty((len(X), k), dtype=np.int64)
        if len(X) == 0:
            return positions
        X = np.ascontiguousarray(X, dtype=np.float64)
        own = np.asarray(own, dtype=np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = X - self.centre
        largest, unit = float(np.abs(moved).max()), _unit(self.reach)
        _require_within(largest, X)
        full = np.ones(len(X), dtype=np.bool_)
        if largest * unit < _FAR:
            moved *= unit
            single = np.dtype(np.float32)
            full = _search(
                X, moved, self.R, lambda start, stop: self.right[:, start:stop], single,
                k, own, include_self, positions,
            )  # fmt: skip
        again = np.flatnonzero(full)
        if again.size:
            # Too many candidates within the rounding of float32: equal or far rows.
            unit = _unit(max(self.reach, largest))
            moved = (X[again] - self.centre) * unit
            found = np.empty((again.size, k), dtype=np.int64)
            # Made tile by tile: as a whole it would be larger than the references.
            _search(
                X[again], moved, self.R,
                lambda start, stop: _right(self.R[start:stop], self.centre, unit),
                np.dtype(np.float64), k, own[again], include_self, found,
            )  # fmt: skip
            positions[again] = found
        return positions


def _require_within(largest: float, X: FloatArray) -> None:
    """Refuse what has no nearest rows: the loops would find none, and leave positions unwritten."""
    if not math.isfinite(largest):
        require_finite(X)
        raise InputError(
            "rows of X differ by more than floating point can hold, so none is the nearest; "
            "rescale X."
        )


def _unit(largest: float) -> float:
    """Give the power of two that takes the largest modulus to at most 1; it changes no digit."""
    return float(2.0 ** min(-math.frexp(largest)[1], 1000)) if largest > 0 else 1.0


def _right(R: FloatArray, centre: FloatArray, unit: float) -> FloatArray:
    """Give −2 rᵀ over ‖r‖²: ‖x − r‖² − ‖x‖² is one product, of (x, 1) with it."""
    w, D = R.shape
    part = (R - centre) * unit
    left = np.empty((w, D + 1))  # a product takes its transpose as it is
    np.multiply(part, -2.0, out=left[:, :D])
    np.einsum("ij,ij->i", part, part, out=left[:, D])
    return left.T


def _search(
    X: FloatArray,
    moved: FloatArray,
    R: FloatArray,
    right: Tile,
    kind: np.dtype[Any],
    k: int,
    own: IntArray,
    include_self: bool,
    positions: IntArray,
) -> npt.NDArray[np.bool_]:
    """Write the neighbours; tells which rows had too many candidates and got none."""
    (r, D), m = X.shape, len(R)
    groups = min(m, 1 << max(7, math.ceil(math.log2(_GROUPS_PER_NEIGHBOUR * k))))
    columns = min(m, max(_TILE_COLUMNS, groups))
    # In float64 there is room for all; one group more, since room is asked for once a group.
    room = (m if kind == np.float64 else min(m, 4 * k + 256)) + -(-columns // groups)
    beside = TILE_BYTES * (_WIDER if kind == np.float64 else 1)
    rows = max(1, min(r, TILE_BYTES // (kind.itemsize * columns), beside // (4 * room)))
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
            np.matmul(left[panel], right(start, start + w), out=products)
            scan(
                products, start, squares[panel], own[panel], include_self, k, unit, floor,
                least, bounds, candidates, values, counts,
            )  # fmt: skip
        decide(
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
